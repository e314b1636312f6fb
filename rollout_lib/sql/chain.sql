-- The ledger's entries after those that have been copied already, each column as it was hashed.
-- Binds: copied (JSON text: first 12 signs of the first entry's hash -> number of the last entry copied).
-- Columns: chain (first 12 signs of the first entry's hash, NULL where it is gone), previous_hash, seq, hash, kind,
-- operation, rollout, at, phase_began, slot, recorded_at (UTC text, '' for none), run_id, body.
SELECT f.chain, l.previous_hash, l.seq, l.hash, l.kind, l.operation, l.rollout, l.run_id, l.body,
       to_char(l.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS at,
       coalesce(to_char(l.phase_began AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), '') AS phase_began,
       coalesce(to_char(l.slot AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), '') AS slot,
       to_char(l.recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS recorded_at
  FROM rollout.ledger l
 CROSS JOIN (SELECT (SELECT left(hash, 12) FROM rollout.ledger WHERE seq = 1) AS chain) f
 WHERE l.seq > coalesce(CAST(CAST(:copied AS json) ->> f.chain AS bigint), 0)
 ORDER BY l.seq
