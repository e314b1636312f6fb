-- How many requests of each domain came in each hour of the day, and how long has the log been kept for them?
-- One pass over at most the days that are asked for, grouped. Rows of any destination count: a share of all of them is
-- what a phase will route.
-- Binds: start, until (timestamptz), zone (text).
-- Columns: domain, hour (0 to 23, local to the zone), requests, first_at (of all that was read).
SELECT meant(l.domain) AS domain,
       CAST(extract(hour FROM l.created_at AT TIME ZONE CAST(:zone AS text)) AS integer) AS hour,
       count(*) AS requests, min(min(l.created_at)) OVER () AS first_at
  FROM webhook_routing_logs l
 WHERE l.created_at >= CAST(:start AS timestamptz) AND l.created_at < CAST(:until AS timestamptz)
 GROUP BY 1, 2
