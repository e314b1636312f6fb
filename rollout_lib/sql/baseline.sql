-- How did legacy do, and how often could the router reach no destination, before anything is routed?
-- Binds: start, until (timestamptz), slow_ms (integer).
-- Columns: histogram [[domain, routed_to, status, ms or null, rows]], failing [{domain, routed_to, errors, slow}].
WITH span AS (
    SELECT domain, routed_to, status, response_time_ms, message_id
      FROM webhook_routing_logs
     WHERE created_at >= CAST(:start AS timestamptz) AND created_at < CAST(:until AS timestamptz)
), histogram AS (
    SELECT domain, routed_to, status, response_time_ms, count(*) AS n FROM span GROUP BY 1, 2, 3, 4
), failing AS (
    SELECT domain, routed_to,
           count(DISTINCT message_id) FILTER (WHERE status = 'error' OR routed_to = 'error')
               + count(*) FILTER (WHERE (status = 'error' OR routed_to = 'error') AND message_id IS NULL) AS errors,
           count(DISTINCT message_id) FILTER (WHERE response_time_ms > CAST(:slow_ms AS integer))
               + count(*) FILTER (WHERE response_time_ms > CAST(:slow_ms AS integer) AND message_id IS NULL) AS slow
      FROM span GROUP BY 1, 2
)
SELECT (SELECT json_agg(json_build_array(domain, routed_to, status, response_time_ms, n)) FROM histogram)
           AS histogram,
       (SELECT json_agg(row_to_json(failing)) FROM failing) AS failing
