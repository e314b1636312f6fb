-- Append one entry to the ledger; the database computes the chain.
-- Binds: kind, operation, rollout, at, phase_began, slot, run_id, body. Columns: seq, hash.
SELECT seq, hash
  FROM rollout.append_entry(CAST(:kind AS text), CAST(:operation AS text), CAST(:rollout AS text),
           CAST(:at AS timestamptz), CAST(:phase_began AS timestamptz), CAST(:slot AS timestamptz),
           CAST(:run_id AS text), CAST(:body AS text))
