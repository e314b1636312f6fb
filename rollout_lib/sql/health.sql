-- What does the deployed check_routing_health() say? Whatever shape it returns; at most 50 rows. Anybody may have written it:
-- asked in a savepoint of a transaction that only reads, for seconds, and rolled back.
-- Columns: rows (JSON).
SELECT json_agg(row_to_json(h)) AS rows FROM (SELECT * FROM check_routing_health() LIMIT 50) h
