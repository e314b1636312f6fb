-- One change at a time for a rollout; released with the transaction. Binds: rollout (text).
SELECT pg_advisory_xact_lock(hashtext('rollout.change:' || CAST(:rollout AS text)))
