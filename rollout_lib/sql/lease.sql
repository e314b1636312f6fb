-- Who watches? Binds: rollout (text). Columns: holder, taken_at, until, runs (is it still valid, by this clock?).
SELECT holder, taken_at, until, until >= clock_timestamp() AS runs
  FROM rollout.lease WHERE rollout = CAST(:rollout AS text)
