-- How many requests, failures and slow ones had each domain and destination in each minute of a window?
-- Binds: start, until (timestamptz), domain (text, lower case; '' is all), slow_ms (integer).
-- Columns: minute, domain, routed_to, requests, errors, slow.
SELECT date_trunc('minute', l.created_at) AS minute, meant(l.domain) AS domain,
       meant(l.routed_to) AS routed_to, count(*) AS requests,
       count(*) FILTER (WHERE (meant(l.status) = 'success' AND meant(l.routed_to) IN ('unified', 'legacy')) IS NOT TRUE)
           AS errors,
       count(*) FILTER (WHERE l.response_time_ms > CAST(:slow_ms AS integer)) AS slow
  FROM webhook_routing_logs l
 WHERE l.created_at >= CAST(:start AS timestamptz) AND l.created_at < CAST(:until AS timestamptz)
   AND (CAST(:domain AS text) = '' OR meant(l.domain) = CAST(:domain AS text))
 GROUP BY 1, 2, 3
 ORDER BY 1, 2, 3
 LIMIT 100000
