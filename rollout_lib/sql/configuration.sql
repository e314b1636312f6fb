-- What is the router's configuration? No binds. Columns: config (newest row by created_at), config_rows.
SELECT row_to_json(c) AS config, (SELECT count(*) FROM webhook_routing_config) AS config_rows
  FROM webhook_routing_config c ORDER BY c.created_at DESC LIMIT 1
