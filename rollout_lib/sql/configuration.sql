-- What is the router's configuration? No binds. Columns: config (newest row by created_at, of two the one that lets more through), config_rows.
SELECT row_to_json(c) AS config, (SELECT count(*) FROM webhook_routing_config) AS config_rows
  FROM webhook_routing_config c ORDER BY c.created_at DESC, c.enabled DESC, c.percentage DESC LIMIT 1
