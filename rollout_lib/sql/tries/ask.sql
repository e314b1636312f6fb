-- What the next statement tries, for this transaction only. Binds: asked (JSON as text).
SELECT set_config('rollout.asked', CAST(:asked AS text), true)
