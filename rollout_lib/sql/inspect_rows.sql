-- Is the newest configuration unambiguous, and did a row of another domain reach unified lately?
-- Binds: since, until (timestamptz), domains (text[]).
-- Columns: same_instant (rows that share the newest created_at), leaked, leaked_domains, leaked_at.
SELECT (SELECT count(*) FROM webhook_routing_config
         WHERE created_at = (SELECT max(created_at) FROM webhook_routing_config)) AS same_instant,
       count(*) AS leaked,
       array_agg(DISTINCT coalesce(l.domain, 'unknown')) AS leaked_domains,
       max(l.created_at) AS leaked_at
  FROM webhook_routing_logs l
 WHERE l.routed_to = 'unified' AND coalesce(l.domain, 'unknown') <> ALL (CAST(:domains AS text[]))
   AND l.created_at >= CAST(:since AS timestamptz) AND l.created_at < CAST(:until AS timestamptz)
