-- The last word on each message of the last day: sending (claimed), sent, or failed.
-- Binds: rollout. Columns: operation, age_s (seconds since it was written), at, run_id (the message's own), body.
SELECT DISTINCT ON (run_id)
       operation,
       extract(epoch FROM clock_timestamp() - recorded_at) AS age_s,
       at,
       run_id,
       body
  FROM rollout.ledger
 WHERE rollout = CAST(:rollout AS text) AND kind = 'message' AND recorded_at > clock_timestamp() - interval '1 day'
 ORDER BY run_id, seq DESC
