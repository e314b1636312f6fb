-- Is the newest configuration unambiguous, did a row of another domain reach unified lately, and is the log on time?
-- The log is aggregated by itself, before it meets the configuration: distributed over several machines, an aggregate
-- beside a subquery of a local table cannot be sent to them. Binds: since, until (timestamptz), domains (text[]).
-- Columns: same_instant (rows that share the newest created_at), leaked, leaked_domains, leaked_at, since,
--   hour_rows (of the hour up to :until), newest_at (before :until), ahead_rows (at most 1,000), ahead_at (the last one
--   stamped later than :until, and than the database's clock).
WITH leaked AS MATERIALIZED (
    SELECT count(*) AS leaked, array_agg(DISTINCT coalesce(l.domain, 'unknown')) AS leaked_domains,
           max(l.created_at) AS leaked_at
      FROM webhook_routing_logs l
     WHERE l.routed_to = 'unified' AND coalesce(l.domain, 'unknown') <> ALL (CAST(:domains AS text[]))
       AND l.created_at >= CAST(:since AS timestamptz) AND l.created_at < CAST(:until AS timestamptz)
), hour AS MATERIALIZED (
    SELECT count(*) AS hour_rows FROM webhook_routing_logs l
     WHERE l.created_at >= CAST(:until AS timestamptz) - interval '1 hour' AND l.created_at < CAST(:until AS timestamptz)
), last_row AS MATERIALIZED (
    SELECT max(l.created_at) AS newest_at FROM webhook_routing_logs l WHERE l.created_at < CAST(:until AS timestamptz)
), ahead AS MATERIALIZED (
    SELECT count(*) AS ahead_rows, max(stamped.created_at) AS ahead_at
      FROM (SELECT l.created_at FROM webhook_routing_logs l
             WHERE l.created_at >= CAST(:until AS timestamptz) AND l.created_at > clock_timestamp()
             ORDER BY l.created_at DESC LIMIT 1000) stamped
), newest AS MATERIALIZED (
    SELECT count(*) AS same_instant FROM webhook_routing_config
     WHERE created_at = (SELECT max(created_at) FROM webhook_routing_config)
)
SELECT newest.same_instant, leaked.leaked, leaked.leaked_domains, leaked.leaked_at, CAST(:since AS timestamptz) AS since,
       hour.hour_rows, last_row.newest_at, ahead.ahead_rows, ahead.ahead_at
  FROM newest CROSS JOIN leaked CROSS JOIN hour CROSS JOIN last_row CROSS JOIN ahead
