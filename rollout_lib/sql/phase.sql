-- What did each domain send where over a whole span (a phase, or legacy's last 24 hours), how fast, and what failed?
-- The rows are read once and grouped; bad ones are searched by index. One row a webhook: its first failure.
-- Binds: start, until (timestamptz), slow_ms (integer), routed (text[]: destinations whose slow webhooks count).
-- Columns: histogram [[domain, routed_to, status, {ms or NULL}, {rows}]] (as text),
-- failures [[domain, routed_to, is_error, [microseconds after start]]].
WITH fine AS MATERIALIZED (
    SELECT l.domain COLLATE "C" AS domain, l.routed_to COLLATE "C" AS routed_to, l.status COLLATE "C" AS status,
           l.response_time_ms AS ms, count(*) AS n
      FROM webhook_routing_logs l
     WHERE l.created_at >= CAST(:start AS timestamptz) AND l.created_at < CAST(:until AS timestamptz)
     GROUP BY 1, 2, 3, 4
), groups AS MATERIALIZED (
    SELECT g.*, meant(g.routed_to) AS sent_to, meant(g.status) AS said
      FROM (SELECT domain, routed_to, status, sum(n) AS n,
                   coalesce(sum(n) FILTER (WHERE ms > CAST(:slow_ms AS integer)), 0) AS late
              FROM fine GROUP BY 1, 2, 3) g
), found AS MATERIALIZED (
    SELECT coalesce(sum(n) FILTER (WHERE said <> 'success' OR sent_to NOT IN ('unified', 'legacy')), 0) AS errors,
           coalesce(sum(n) FILTER (WHERE sent_to NOT IN ('unified', 'legacy', 'error') AND status = 'success'), 0) AS nowhere,
           coalesce(sum(late) FILTER (WHERE sent_to = ANY (CAST(:routed AS text[]))), 0) AS slow
      FROM groups
), words AS MATERIALIZED (
    -- As they are written in the log: what is meant by them is asked once, and the log is searched for these.
    SELECT coalesce(array_agg(DISTINCT routed_to) FILTER (WHERE sent_to IN ('unified', 'legacy')), '{}') AS reached,
           coalesce(array_agg(DISTINCT routed_to) FILTER (WHERE sent_to = ANY (CAST(:routed AS text[]))), '{}') AS routed,
           coalesce(array_agg(DISTINCT coalesce(routed_to, '')) FILTER (WHERE sent_to NOT IN ('unified', 'legacy', 'error')),
                    '{}') AS nowhere,
           coalesce(array_agg(DISTINCT status) FILTER (WHERE said = 'success'), '{}') AS success
      FROM groups
), bad AS MATERIALIZED (
    SELECT e.domain, meant(e.routed_to) AS routed_to, true AS is_error, e.created_at,
           CASE WHEN btrim(CAST(e.message_id AS text), E' \t\r\n-_.?') <> '' THEN CAST(e.message_id AS text) END AS id
      FROM webhook_routing_logs e
     WHERE (e.status IS DISTINCT FROM 'success' OR e.routed_to = 'error') AND (SELECT errors FROM found) > 0
       AND (e.status COLLATE "C" = ANY (CAST((SELECT success FROM words) AS text[]))
            AND e.routed_to COLLATE "C" = ANY (CAST((SELECT reached FROM words) AS text[]))) IS NOT TRUE
       AND e.created_at >= CAST(:start AS timestamptz) AND e.created_at < CAST(:until AS timestamptz)
     UNION ALL
    SELECT n.domain, meant(n.routed_to), true, n.created_at,
           CASE WHEN btrim(CAST(n.message_id AS text), E' \t\r\n-_.?') <> '' THEN CAST(n.message_id AS text) END
      FROM webhook_routing_logs n
     WHERE n.status = 'success' AND (SELECT nowhere FROM found) > 0
       AND coalesce(n.routed_to, '') COLLATE "C" = ANY (CAST((SELECT nowhere FROM words) AS text[]))
       AND n.created_at >= CAST(:start AS timestamptz) AND n.created_at < CAST(:until AS timestamptz)
     UNION ALL
    SELECT s.domain, meant(s.routed_to), false, s.created_at,
           CASE WHEN btrim(CAST(s.message_id AS text), E' \t\r\n-_.?') <> '' THEN CAST(s.message_id AS text) END
      FROM webhook_routing_logs s
     WHERE s.response_time_ms > CAST(:slow_ms AS integer) AND (SELECT slow FROM found) > 0
       AND s.routed_to COLLATE "C" = ANY (CAST((SELECT routed FROM words) AS text[]))
       AND s.created_at >= CAST(:start AS timestamptz) AND s.created_at < CAST(:until AS timestamptz)
), newest_unified AS MATERIALIZED (
    SELECT u.domain, u.routed_to, CAST(u.message_id AS text) AS message_id
      FROM webhook_routing_logs u
     WHERE u.routed_to = 'unified'
       AND u.created_at >= CAST(:start AS timestamptz) AND u.created_at < CAST(:until AS timestamptz)
     ORDER BY u.created_at DESC LIMIT 200
), sparse AS MATERIALIZED (
    -- Domains with failures of which the newest rows hold few: their own newest ones.
    SELECT r.domain, r.routed_to, CAST(r.message_id AS text) AS message_id
      FROM webhook_routing_logs r
     WHERE r.routed_to = 'unified'
       AND r.domain = ANY (ARRAY(SELECT b.domain FROM bad b WHERE b.routed_to = 'unified'
                                 EXCEPT SELECT domain FROM newest_unified GROUP BY 1 HAVING count(*) >= 20))
       AND r.created_at >= CAST(:start AS timestamptz) AND r.created_at < CAST(:until AS timestamptz)
     ORDER BY r.created_at DESC LIMIT 400
), newest_others AS MATERIALIZED (
    SELECT a.domain, a.routed_to, CAST(a.message_id AS text) AS message_id
      FROM webhook_routing_logs a
     WHERE a.routed_to IS DISTINCT FROM 'unified'
       AND a.created_at >= CAST(:start AS timestamptz) AND a.created_at < CAST(:until AS timestamptz)
     ORDER BY a.created_at DESC LIMIT 200
), ids AS MATERIALIZED (
    SELECT domain, meant(routed_to) AS routed_to, grouping(domain) = 1 AS is_all,
           count(*) FILTER (WHERE btrim(message_id, E' \t\r\n-_.?') <> '') AS named,
           count(DISTINCT message_id COLLATE "C") FILTER (WHERE btrim(message_id, E' \t\r\n-_.?') <> '') AS different
      FROM (SELECT * FROM newest_unified UNION ALL SELECT * FROM newest_others) rows
     GROUP BY GROUPING SETS ((1, 2), (2))
     UNION ALL
    SELECT domain, 'unified', false, count(*) FILTER (WHERE btrim(message_id, E' \t\r\n-_.?') <> ''),
           count(DISTINCT message_id COLLATE "C") FILTER (WHERE btrim(message_id, E' \t\r\n-_.?') <> '')
      FROM sparse GROUP BY domain
), told AS (
    -- Bad rows whose id identifies them; where ids identify nothing, rows count by themselves.
    SELECT b.*, b.id IS NOT NULL AND NOT EXISTS (
               SELECT 1 FROM ids i
                WHERE i.routed_to = b.routed_to AND (i.is_all OR i.domain IS NOT DISTINCT FROM b.domain)
                  AND i.named > 10 AND i.different * 10 < i.named) AS is_told
      FROM bad b
), failures AS (
    SELECT * FROM (SELECT DISTINCT ON (is_error, routed_to, id) domain, routed_to, is_error, created_at
                     FROM told WHERE is_told ORDER BY is_error, routed_to, id, created_at, domain) firsts
     UNION ALL
    SELECT domain, routed_to, is_error, created_at FROM told WHERE NOT is_told
), timed AS (
    SELECT domain, routed_to, is_error,
           array_agg(CAST(extract(epoch FROM created_at - CAST(:start AS timestamptz)) * 1000000 AS bigint)) AS at
      FROM failures GROUP BY 1, 2, 3
), spread AS (
    SELECT domain, routed_to, status, CAST(array_agg(ms) AS text) AS ms, CAST(array_agg(n) AS text) AS n FROM fine GROUP BY 1, 2, 3
)
SELECT (SELECT json_agg(json_build_array(domain, routed_to, status, ms, n)) FROM spread) AS histogram,
       (SELECT json_agg(json_build_array(domain, routed_to, is_error, at)) FROM timed) AS failures
