-- Is the newest configuration unambiguous, and did a row of another domain reach unified lately?
-- The log is aggregated by itself, before it meets the configuration: distributed over several machines, an aggregate
-- beside a subquery of a local table cannot be sent to them. Binds: since, until (timestamptz), domains (text[]).
-- Columns: same_instant (rows that share the newest created_at), leaked, leaked_domains, leaked_at, since.
WITH leaked AS MATERIALIZED (
    SELECT count(*) AS leaked, array_agg(DISTINCT coalesce(l.domain, 'unknown')) AS leaked_domains,
           max(l.created_at) AS leaked_at
      FROM webhook_routing_logs l
     WHERE l.routed_to = 'unified' AND coalesce(l.domain, 'unknown') <> ALL (CAST(:domains AS text[]))
       AND l.created_at >= CAST(:since AS timestamptz) AND l.created_at < CAST(:until AS timestamptz)
), newest AS MATERIALIZED (
    SELECT count(*) AS same_instant FROM webhook_routing_config
     WHERE created_at = (SELECT max(created_at) FROM webhook_routing_config)
)
SELECT newest.same_instant, leaked.leaked, leaked.leaked_domains, leaked.leaked_at, CAST(:since AS timestamptz) AS since
  FROM newest CROSS JOIN leaked
