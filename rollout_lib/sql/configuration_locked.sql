-- The newest configuration row, locked against everybody else's change until this transaction ends.
-- No binds. Columns: config, config_rows.
SELECT row_to_json(c) AS config, (SELECT count(*) FROM webhook_routing_config) AS config_rows
  FROM webhook_routing_config c
 WHERE c.created_at = (SELECT max(created_at) FROM webhook_routing_config)
   FOR UPDATE OF c
