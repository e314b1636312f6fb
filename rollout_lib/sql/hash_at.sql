-- What is the hash of one ledger entry? Asked where the head last copied here is not among the rollout's own entries.
-- Binds: seq (bigint). Columns: hash.
SELECT hash FROM rollout.ledger WHERE seq = CAST(:seq AS bigint)
