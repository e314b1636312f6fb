-- Switch routing on or off by the runbook's function. Binds: enabled (boolean), reason (text).
SELECT set_routing_enabled(CAST(:enabled AS boolean), CAST(:reason AS text))
