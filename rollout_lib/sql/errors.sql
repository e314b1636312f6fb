-- Which errors happened in a window, how often, and when last? (the runbook's error analysis)
-- Messages are cut, for a column may hold a megabyte; equal ones are merged again once they are redacted.
-- Binds: start, until (timestamptz). Columns: domain, routed_to, error_message, occurrences, last_seen.
SELECT domain, routed_to, left(error_message, 500) AS error_message, count(*) AS occurrences,
       max(created_at) AS last_seen
  FROM webhook_routing_logs
 WHERE (meant(status) = 'success' AND meant(routed_to) IN ('unified', 'legacy')) IS NOT TRUE
   AND created_at >= CAST(:start AS timestamptz) AND created_at < CAST(:until AS timestamptz)
 GROUP BY 1, 2, 3
 ORDER BY occurrences DESC, last_seen DESC
 LIMIT 200
