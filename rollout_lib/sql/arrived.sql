-- How many rows of unified, stamped later than routing went off, were written since? By the order of writing, which
-- no clock can turn: a row is younger than the off if its transaction is. The off is the configuration row's own writing, or
-- the first entry made since, whichever is older: neither a later edit of that row nor another off forgives.
-- Asked only while routing is off and such rows exist. Binds: rollout (text), off, settled, as_of (timestamptz).
-- Columns: arrived (null where the order cannot be told: a view, a foreign or a distributed table, routing on).
SELECT CASE WHEN (SELECT c.relkind IN ('r', 'p') FROM pg_class c WHERE c.oid = to_regclass('webhook_routing_logs'))
             AND to_regclass('pg_dist_partition') IS NULL
             AND (SELECT NOT f.enabled OR f.percentage = 0 FROM webhook_routing_config f
                   ORDER BY f.created_at DESC LIMIT 1)
            THEN (SELECT count(*)
                    FROM webhook_routing_logs l
                   WHERE meant(l.routed_to) = 'unified'
                     AND l.created_at > CAST(:settled AS timestamptz) AND l.created_at < CAST(:as_of AS timestamptz)
                     AND age(l.xmin) < greatest(
                         (SELECT age(f.xmin) FROM webhook_routing_config f ORDER BY f.created_at DESC LIMIT 1),
                         (SELECT age(e.xmin) FROM rollout.ledger e
                           WHERE e.rollout = CAST(:rollout AS text) AND e.at >= CAST(:off AS timestamptz)
                           ORDER BY e.seq LIMIT 1))) END AS arrived
