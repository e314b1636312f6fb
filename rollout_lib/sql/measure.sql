-- What did each domain send where, how fast, and what failed that had not failed before?
-- One statement, one row. Half-open spans that all end at :until; :as_of is the run's instant.
-- Binds: as_of, until, hour_start, window_start, increment_start, phase_start, settled_from (timestamptz),
--   whole_phase, live (boolean), domains (text[]), slow_ms (integer).
-- Columns: histogram [[domain, routed_to, status, ms or null, in_hour, in_window, in_increment, in_settled,
--   in_phase, rows]], failing [{domain, routed_to, fresh_errors, fresh_slow, phase_errors, phase_slow}],
--   leak {rows, domains, first_at, last_at}, last_unified_at, legacy_since_unified, newest_row_at, health.
WITH histogram AS (
    SELECT l.domain, l.routed_to, l.status, l.response_time_ms,
           l.created_at >= CAST(:hour_start AS timestamptz) AS in_hour,
           l.created_at >= CAST(:window_start AS timestamptz) AS in_window,
           l.created_at >= CAST(:increment_start AS timestamptz) AS in_increment,
           l.created_at >= greatest(CAST(:increment_start AS timestamptz), CAST(:settled_from AS timestamptz))
               AS in_settled,
           l.created_at >= CAST(:phase_start AS timestamptz) AS in_phase,
           count(*) AS n
      FROM webhook_routing_logs l
     WHERE l.created_at < CAST(:until AS timestamptz)
       AND l.created_at >= least(CAST(:hour_start AS timestamptz), CAST(:increment_start AS timestamptz),
               CASE WHEN CAST(:whole_phase AS boolean) THEN CAST(:phase_start AS timestamptz) END)
     GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9
), bad AS (
    SELECT l.domain, l.routed_to, l.message_id,
           l.created_at >= CAST(:increment_start AS timestamptz) AS in_increment,
           l.status = 'error' OR l.routed_to = 'error' AS is_error,
           coalesce(l.response_time_ms > CAST(:slow_ms AS integer), false) AS is_slow,
           EXISTS (SELECT 1 FROM webhook_routing_logs e
                    WHERE e.message_id = l.message_id AND e.routed_to = l.routed_to
                      AND (e.status = 'error' OR e.routed_to = 'error')
                      AND e.created_at >= CAST(:phase_start AS timestamptz)
                      AND e.created_at < CAST(:increment_start AS timestamptz)) AS failed_before,
           EXISTS (SELECT 1 FROM webhook_routing_logs e
                    WHERE e.message_id = l.message_id AND e.routed_to = l.routed_to
                      AND e.response_time_ms > CAST(:slow_ms AS integer)
                      AND e.created_at >= CAST(:phase_start AS timestamptz)
                      AND e.created_at < CAST(:increment_start AS timestamptz)) AS slow_before
      FROM webhook_routing_logs l
     WHERE l.created_at < CAST(:until AS timestamptz)
       AND l.created_at >= least(CAST(:increment_start AS timestamptz),
               CASE WHEN CAST(:whole_phase AS boolean) THEN CAST(:phase_start AS timestamptz) END)
       AND (l.status = 'error' OR l.routed_to = 'error'
            OR (l.routed_to = 'unified' AND l.response_time_ms > CAST(:slow_ms AS integer)))
), failing AS (
    SELECT domain, routed_to,
           count(DISTINCT message_id) FILTER (WHERE is_error AND in_increment AND NOT failed_before)
               + count(*) FILTER (WHERE is_error AND in_increment AND message_id IS NULL) AS fresh_errors,
           count(DISTINCT message_id) FILTER (WHERE is_slow AND in_increment AND NOT slow_before)
               + count(*) FILTER (WHERE is_slow AND in_increment AND message_id IS NULL) AS fresh_slow,
           count(DISTINCT message_id) FILTER (WHERE is_error)
               + count(*) FILTER (WHERE is_error AND message_id IS NULL) AS phase_errors,
           count(DISTINCT message_id) FILTER (WHERE is_slow)
               + count(*) FILTER (WHERE is_slow AND message_id IS NULL) AS phase_slow
      FROM bad GROUP BY 1, 2
), leak AS (
    SELECT count(*) AS rows, array_agg(DISTINCT l.domain) AS domains,
           min(l.created_at) AS first_at, max(l.created_at) AS last_at
      FROM webhook_routing_logs l
     WHERE l.routed_to = 'unified' AND l.domain <> ALL (CAST(:domains AS text[]))
       AND l.created_at >= CAST(:phase_start AS timestamptz) AND l.created_at < CAST(:as_of AS timestamptz)
), last_unified AS (
    SELECT max(l.created_at) AS at
      FROM webhook_routing_logs l
     WHERE l.routed_to = 'unified' AND l.domain = ANY (CAST(:domains AS text[]))
       AND l.created_at >= CAST(:phase_start AS timestamptz) AND l.created_at < CAST(:as_of AS timestamptz)
)
SELECT (SELECT json_agg(json_build_array(domain, routed_to, status, response_time_ms, in_hour, in_window,
               in_increment, in_settled, in_phase, n)) FROM histogram) AS histogram,
       (SELECT json_agg(row_to_json(failing)) FROM failing) AS failing,
       (SELECT row_to_json(leak) FROM leak) AS leak,
       (SELECT at FROM last_unified) AS last_unified_at,
       (SELECT count(*) FROM webhook_routing_logs l
         WHERE l.routed_to = 'legacy' AND l.domain = ANY (CAST(:domains AS text[]))
           AND l.created_at >= greatest(CAST(:settled_from AS timestamptz), (SELECT at FROM last_unified))
           AND l.created_at < CAST(:until AS timestamptz)) AS legacy_since_unified,
       (SELECT max(l.created_at) FROM webhook_routing_logs l WHERE l.created_at < CAST(:as_of AS timestamptz))
           AS newest_row_at,
       CASE WHEN CAST(:live AS boolean)
            THEN (SELECT json_agg(row_to_json(h)) FROM check_routing_health() h) END AS health
