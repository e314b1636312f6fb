-- One teller at a time in a rollout, until the end of the transaction. Binds: rollout.
SELECT pg_advisory_xact_lock(hashtext('rollout.messages'), hashtext(CAST(:rollout AS text)))
