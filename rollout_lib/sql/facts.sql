-- What time is it, what is configured, and what does the ledger hold of this rollout?
-- Binds: rollout (text), after (bigint: the number of the last entry that is known already, 0 for none), own_clock
-- (boolean: a rehearsal has a clock of its own; else each entry was recorded after its instant).
-- Columns: known_hash (of that entry, NULL where it is gone), now, database, config (newest row as JSON; of two of one instant
-- the one that lets more through, since the router may read either), config_rows, entries (JSON, in order of seq), head_seq,
-- head_hash (of the whole ledger).
SELECT clock_timestamp() AS now,
       current_database() AS database,
       (SELECT row_to_json(c) FROM webhook_routing_config c
         ORDER BY c.created_at DESC, c.enabled DESC, c.percentage DESC LIMIT 1) AS config,
       (SELECT count(*) FROM webhook_routing_config) AS config_rows,
       (SELECT json_agg(row_to_json(e) ORDER BY e.seq)
          FROM (SELECT seq, kind, operation, rollout, at, phase_began, slot, run_id, hash, body,
                       CASE WHEN NOT CAST(:own_clock AS boolean) THEN recorded_at END AS not_after
                  FROM rollout.ledger
                 WHERE rollout = CAST(:rollout AS text) AND seq > CAST(:after AS bigint)) e) AS entries,
       (SELECT hash FROM rollout.ledger WHERE seq = CAST(:after AS bigint)) AS known_hash,
       h.seq AS head_seq,
       h.hash AS head_hash
  FROM (SELECT 1) one
  LEFT JOIN LATERAL (SELECT seq, hash FROM rollout.ledger ORDER BY seq DESC LIMIT 1) h ON true
