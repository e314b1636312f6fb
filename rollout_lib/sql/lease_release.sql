-- Give the lease back, if it is still mine. Binds: rollout, holder (text). Columns: none.
UPDATE rollout.lease SET until = clock_timestamp()
 WHERE rollout = CAST(:rollout AS text) AND holder = CAST(:holder AS text) AND until > clock_timestamp()
