-- How did legacy do, and how often could the router reach no destination, before anything is routed?
-- Binds: start, until (timestamptz), slow_ms (integer).
-- Columns: histogram [[domain, routed_to, status, ms or null, rows]], failing [{domain, routed_to, errors, slow}]
-- (distinct webhooks; rows without an id count by themselves).
WITH histogram AS MATERIALIZED (
    SELECT l.domain, l.routed_to, l.status, l.response_time_ms, count(*) AS n
      FROM webhook_routing_logs l
     WHERE l.created_at >= CAST(:start AS timestamptz) AND l.created_at < CAST(:until AS timestamptz)
     GROUP BY 1, 2, 3, 4
), bad AS MATERIALIZED (
    SELECT l.domain, l.routed_to, l.message_id,
           count(*) FILTER (WHERE l.status IS DISTINCT FROM 'success' OR l.routed_to = 'error') AS errors,
           count(*) FILTER (WHERE l.response_time_ms > CAST(:slow_ms AS integer)) AS slow
      FROM webhook_routing_logs l
     WHERE l.created_at >= CAST(:start AS timestamptz) AND l.created_at < CAST(:until AS timestamptz)
       AND (l.status IS DISTINCT FROM 'success' OR l.routed_to = 'error'
            OR l.response_time_ms > CAST(:slow_ms AS integer))
     GROUP BY 1, 2, 3
), failing AS (
    SELECT domain, routed_to,
           CAST(sum(CASE WHEN message_id IS NULL THEN errors ELSE least(errors, 1) END) AS bigint) AS errors,
           CAST(sum(CASE WHEN message_id IS NULL THEN slow ELSE least(slow, 1) END) AS bigint) AS slow
      FROM bad GROUP BY 1, 2
)
SELECT (SELECT json_agg(json_build_array(domain, routed_to, status, response_time_ms, n)) FROM histogram)
           AS histogram,
       (SELECT json_agg(row_to_json(failing)) FROM failing) AS failing
