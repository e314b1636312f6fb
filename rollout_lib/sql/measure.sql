-- What did each domain send where, how fast, and what failed that had not failed before?
-- One statement, one row. Half-open spans that end at :until, but for the hour: that is the last one up to :as_of
-- (the run's instant), as the runbook's own view and health function have it.
-- Binds: as_of, until, hour_start, window_start, increment_start, phase_start, settled_from (timestamptz),
--   whole_phase, live (boolean), domains (text[]), slow_ms (integer). phase_start <= increment_start.
-- Columns: histogram [[domain, routed_to, status, ms or null, rows of the hour, of the window, of the increment, of
--   what of it is settled, of the phase]], failing [{domain, routed_to, fresh_errors, fresh_slow, phase_errors, phase_slow}],
--   errors [{domain, routed_to, error_message (cut), occurrences, last_seen}] of the hour up to as_of,
--   leak {rows, domains, first_at, last_at}, last_unified_at, legacy_since_unified, newest_row_at, health.
-- Each question about the log is a CTE that is materialized, so that what touches the log can be answered
-- where the log is (on workers, too), and the rest joins only small results. Spans are counted, not grouped by: five
-- more keys, and the planner expects as many groups as rows, and aggregates in one process.
WITH histogram AS MATERIALIZED (
    SELECT l.domain, l.routed_to, l.status, l.response_time_ms,
           count(*) FILTER (WHERE l.created_at >= CAST(:hour_start AS timestamptz)) AS of_hour,
           count(*) FILTER (WHERE l.created_at >= CAST(:window_start AS timestamptz)
                            AND l.created_at < CAST(:until AS timestamptz)) AS of_window,
           count(*) FILTER (WHERE l.created_at >= CAST(:increment_start AS timestamptz)
                            AND l.created_at < CAST(:until AS timestamptz)) AS of_increment,
           count(*) FILTER (WHERE l.created_at >= greatest(CAST(:increment_start AS timestamptz),
                                                           CAST(:settled_from AS timestamptz))
                            AND l.created_at < CAST(:until AS timestamptz)) AS settled,
           count(*) FILTER (WHERE l.created_at >= CAST(:phase_start AS timestamptz)
                            AND l.created_at < CAST(:until AS timestamptz)) AS of_phase
      FROM webhook_routing_logs l
     WHERE l.created_at < CAST(:as_of AS timestamptz)
       AND l.created_at >= least(CAST(:hour_start AS timestamptz), CAST(:window_start AS timestamptz),
               CAST(:increment_start AS timestamptz),
               CASE WHEN CAST(:whole_phase AS boolean) THEN CAST(:phase_start AS timestamptz) END)
     GROUP BY 1, 2, 3, 4
), bad AS MATERIALIZED (
    -- One row a failing webhook and domain: when it was first bad in the phase, and its bad rows.
    SELECT b.domain, b.routed_to, b.message_id,
           min(b.created_at) FILTER (WHERE b.is_error) AS first_error,
           min(b.created_at) FILTER (WHERE NOT b.is_error) AS first_slow,
           count(*) FILTER (WHERE b.is_error) AS errors,
           count(*) FILTER (WHERE NOT b.is_error) AS slow,
           count(*) FILTER (WHERE b.is_error AND b.created_at >= CAST(:increment_start AS timestamptz)) AS new_errors,
           count(*) FILTER (WHERE NOT b.is_error AND b.created_at >= CAST(:increment_start AS timestamptz)) AS new_slow
      FROM (SELECT e.domain, e.routed_to, e.message_id, e.created_at, true AS is_error
              FROM webhook_routing_logs e
             WHERE e.created_at >= CAST(:phase_start AS timestamptz) AND e.created_at < CAST(:until AS timestamptz)
               AND (e.status IS DISTINCT FROM 'success' OR e.routed_to = 'error')
             UNION ALL
            SELECT s.domain, s.routed_to, s.message_id, s.created_at, false
              FROM webhook_routing_logs s
             WHERE s.created_at >= CAST(:phase_start AS timestamptz) AND s.created_at < CAST(:until AS timestamptz)
               AND s.routed_to = 'unified' AND s.response_time_ms > CAST(:slow_ms AS integer)) b
     GROUP BY 1, 2, 3
), once AS (
    -- A webhook seen under two domains fails once: where it failed first.
    SELECT bad.*,
           row_number() OVER (PARTITION BY routed_to, message_id ORDER BY first_error, domain) = 1 AS error_counts,
           row_number() OVER (PARTITION BY routed_to, message_id ORDER BY first_slow, domain) = 1 AS slow_counts
      FROM bad
), failing AS (
    -- Rows without an id count by themselves.
    SELECT domain, routed_to,
           count(*) FILTER (WHERE message_id IS NOT NULL AND error_counts
                            AND first_error >= CAST(:increment_start AS timestamptz))
               + coalesce(CAST(sum(new_errors) FILTER (WHERE message_id IS NULL) AS bigint), 0) AS fresh_errors,
           count(*) FILTER (WHERE message_id IS NOT NULL AND slow_counts
                            AND first_slow >= CAST(:increment_start AS timestamptz))
               + coalesce(CAST(sum(new_slow) FILTER (WHERE message_id IS NULL) AS bigint), 0) AS fresh_slow,
           count(*) FILTER (WHERE message_id IS NOT NULL AND error_counts AND first_error IS NOT NULL)
               + coalesce(CAST(sum(errors) FILTER (WHERE message_id IS NULL) AS bigint), 0) AS phase_errors,
           count(*) FILTER (WHERE message_id IS NOT NULL AND slow_counts AND first_slow IS NOT NULL)
               + coalesce(CAST(sum(slow) FILTER (WHERE message_id IS NULL) AS bigint), 0) AS phase_slow
      FROM once GROUP BY 1, 2
), mistakes AS MATERIALIZED (
    SELECT m.domain, m.routed_to, left(m.error_message, 500) AS error_message, count(*) AS occurrences,
           max(m.created_at) AS last_seen
      FROM webhook_routing_logs m
     WHERE (m.status IS DISTINCT FROM 'success' OR m.routed_to = 'error')
       AND m.created_at >= CAST(:hour_start AS timestamptz) AND m.created_at < CAST(:as_of AS timestamptz)
     GROUP BY 1, 2, 3
     ORDER BY occurrences DESC, last_seen DESC
     LIMIT 200
), leak AS MATERIALIZED (
    SELECT count(*) AS rows, array_agg(DISTINCT coalesce(l.domain, 'unknown')) AS domains,
           min(l.created_at) AS first_at, max(l.created_at) AS last_at
      FROM webhook_routing_logs l
     WHERE l.routed_to = 'unified' AND coalesce(l.domain, 'unknown') <> ALL (CAST(:domains AS text[]))
       AND l.created_at >= CAST(:phase_start AS timestamptz) AND l.created_at < CAST(:as_of AS timestamptz)
), last_unified AS MATERIALIZED (
    -- Of any domain: while routing is off, none may come.
    SELECT max(l.created_at) AS at
      FROM webhook_routing_logs l
     WHERE l.routed_to = 'unified'
       AND l.created_at >= CAST(:phase_start AS timestamptz) AND l.created_at < CAST(:as_of AS timestamptz)
), legacy_since AS MATERIALIZED (
    SELECT count(*) AS n
      FROM webhook_routing_logs l
     WHERE l.routed_to = 'legacy' AND l.domain = ANY (CAST(:domains AS text[]))
       AND l.created_at >= greatest(CAST(:settled_from AS timestamptz), (SELECT at FROM last_unified))
       AND l.created_at < CAST(:until AS timestamptz)
), newest AS MATERIALIZED (
    SELECT max(l.created_at) AS at FROM webhook_routing_logs l WHERE l.created_at < CAST(:as_of AS timestamptz)
)
SELECT (SELECT json_agg(json_build_array(domain, routed_to, status, response_time_ms, of_hour, of_window,
               of_increment, settled, of_phase)) FROM histogram) AS histogram,
       (SELECT json_agg(row_to_json(failing)) FROM failing) AS failing,
       (SELECT json_agg(row_to_json(mistakes)) FROM mistakes) AS errors,
       (SELECT row_to_json(leak) FROM leak) AS leak,
       (SELECT at FROM last_unified) AS last_unified_at,
       (SELECT n FROM legacy_since) AS legacy_since_unified,
       (SELECT at FROM newest) AS newest_row_at,
       CASE WHEN CAST(:live AS boolean)
            THEN (SELECT json_agg(row_to_json(h)) FROM check_routing_health() h) END AS health
