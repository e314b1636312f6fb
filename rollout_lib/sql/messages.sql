-- The last word on each message of the last day: sending (claimed), sent, or failed.
-- Binds: rollout. Columns: those of the ledger that an entry is read from, and age_s (seconds since it was written);
-- run_id is the message's own.
SELECT DISTINCT ON (run_id)
       seq, kind, operation, rollout, CAST(at AS text) AS at, CAST(phase_began AS text) AS phase_began,
       CAST(slot AS text) AS slot, run_id, hash, body,
       extract(epoch FROM clock_timestamp() - recorded_at) AS age_s
  FROM rollout.ledger
 WHERE rollout = CAST(:rollout AS text) AND kind = 'message' AND recorded_at > clock_timestamp() - interval '1 day'
 ORDER BY run_id, seq DESC
