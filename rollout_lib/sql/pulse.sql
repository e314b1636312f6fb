-- What time is it, what is configured, and has the ledger grown? The cheap first question of a tripwire round.
-- Binds: none. Columns: now, config (newest row as JSON; of two of one instant the one that lets more through, since the
-- router may read either), config_rows, head_seq, head_hash.
SELECT clock_timestamp() AS now,
       (SELECT row_to_json(c) FROM webhook_routing_config c
         ORDER BY c.created_at DESC, c.enabled DESC, c.percentage DESC LIMIT 1) AS config,
       (SELECT count(*) FROM webhook_routing_config) AS config_rows,
       h.seq AS head_seq,
       h.hash AS head_hash
  FROM (SELECT 1) one
  LEFT JOIN LATERAL (SELECT seq, hash FROM rollout.ledger ORDER BY seq DESC LIMIT 1) h ON true
