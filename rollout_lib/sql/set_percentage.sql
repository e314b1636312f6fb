-- Set the percentage by the runbook's function. Binds: percentage (numeric), reason (text).
SELECT update_routing_percentage(CAST(:percentage AS numeric), CAST(:reason AS text))
