-- The runbook's one-line status, at an instant that is given. Binds: start, until (timestamptz).
-- Columns: routing, status, requests_1h, error_pct (of all rows in the hour).
SELECT c.percentage || '% → unified' AS routing, c.enabled::text AS status,
       count(l.created_at) AS requests_1h,
       round(100.0 * count(*) FILTER (WHERE l.status = 'error') / nullif(count(l.created_at), 0), 2) AS error_pct
  FROM (SELECT percentage, enabled FROM webhook_routing_config
         ORDER BY created_at DESC, enabled DESC, percentage DESC LIMIT 1) c
  LEFT JOIN webhook_routing_logs l
         ON l.created_at >= CAST(:start AS timestamptz) AND l.created_at < CAST(:until AS timestamptz)
 GROUP BY c.percentage, c.enabled
