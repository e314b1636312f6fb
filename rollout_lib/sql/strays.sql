-- Which rows that are not legacy's were written while the phase ran, and are stamped so that no look of it counts them?
-- By the order of writing, which no clock can turn: a row is younger than the entry that began the phase if its
-- transaction is. Asked at the phase's end, of the eight days before it and of what no clock that was ever set says.
-- Binds: rollout (text), began (timestamptz), lag (interval: rows of before it may come as late), ahead (timestamptz).
-- Columns: rows, bad, first_at, last_at (of those of this century or the next; no row at all where the order cannot be told: a view, a foreign or a
-- distributed table, or no entry).
SELECT count(l.created_at) AS rows, count(l.created_at) FILTER (WHERE meant(l.status) <> 'success') AS bad,
       min(l.created_at) FILTER (WHERE l.created_at >= CAST('2001-01-01' AS timestamptz)) AS first_at,
       max(l.created_at) FILTER (WHERE l.created_at < CAST('2200-01-01' AS timestamptz)
                                 AND l.created_at >= CAST('2001-01-01' AS timestamptz)) AS last_at
  FROM (SELECT age(e.xmin) AS age FROM rollout.ledger e
         WHERE e.rollout = CAST(:rollout AS text) AND e.at >= CAST(:began AS timestamptz) ORDER BY e.seq LIMIT 1) start
  LEFT JOIN webhook_routing_logs l
    ON (l.created_at >= CAST(:began AS timestamptz) - interval '8 days'
        AND l.created_at < CAST(:began AS timestamptz) - CAST(:lag AS interval)
        OR l.created_at < CAST('2001-01-01' AS timestamptz) OR l.created_at >= CAST(:ahead AS timestamptz))
   AND age(l.xmin) < start.age AND meant(l.routed_to) <> 'legacy'
 WHERE (SELECT c.relkind IN ('r', 'p') FROM pg_class c WHERE c.oid = to_regclass('webhook_routing_logs'))
   AND to_regclass('pg_dist_partition') IS NULL
 GROUP BY start.age
