-- What is going on now, by subject, locked for the rest of the transaction.
-- Binds: rollout. Columns: subject, state, since, told_at, escalated_at.
SELECT subject, state, since, told_at, escalated_at
  FROM rollout.onset
 WHERE rollout = CAST(:rollout AS text) AND ended_at IS NULL
   FOR UPDATE
