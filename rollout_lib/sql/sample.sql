-- Which rows of the log are in a window, newest or slowest first? Bounded; never a body, a sender or an id as it stands.
-- Messages are cut, for a column may hold a megabyte. Everything else is a filter that '' leaves open.
-- Binds: start, until (timestamptz), domain, routed_to (text, lower case), failed (text: 'yes', 'no' or ''), slowest
-- (boolean), most (integer).
-- Columns: created_at, domain, routed_to, webhook_name, status, response_time_ms, error_message, message_id.
SELECT l.created_at, meant(l.domain) AS domain, meant(l.routed_to) AS routed_to, l.webhook_name, l.status, l.response_time_ms,
       left(l.error_message, 500) AS error_message, CAST(l.message_id AS text) AS message_id
  FROM webhook_routing_logs l
 WHERE l.created_at >= CAST(:start AS timestamptz) AND l.created_at < CAST(:until AS timestamptz)
   AND (CAST(:domain AS text) = '' OR meant(l.domain) = CAST(:domain AS text))
   AND (CAST(:routed_to AS text) = '' OR meant(l.routed_to) = CAST(:routed_to AS text))
   AND (CAST(:failed AS text) = ''
        OR ((meant(l.status) = 'success' AND meant(l.routed_to) IN ('unified', 'legacy')) IS NOT TRUE)
            = (CAST(:failed AS text) = 'yes'))
 ORDER BY CASE WHEN CAST(:slowest AS boolean) THEN l.response_time_ms END DESC NULLS LAST, l.created_at DESC
 LIMIT CAST(:most AS integer)
