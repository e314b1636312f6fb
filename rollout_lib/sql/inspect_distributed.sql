-- Where Citus is installed: is the configuration one of its tables, and by which column is the log distributed?
-- No binds. Columns: configuration, log_column (NULL: not distributed, or by none).
SELECT coalesce(bool_or(d.logicalrelid = to_regclass('webhook_routing_config')), false) AS configuration,
       max(a.attname) FILTER (WHERE d.logicalrelid = to_regclass('webhook_routing_logs')) AS log_column
  FROM pg_dist_partition d
  LEFT JOIN pg_attribute a
         ON a.attrelid = d.logicalrelid
        AND a.attnum = CAST(substring(to_jsonb(d) ->> 'partkey' FROM 'varattno ([0-9]+)') AS integer)
