-- Say of which rollout, environment and project this database is; one that says so already keeps its id.
-- Binds: rollout, environment, project (text).
INSERT INTO rollout.marker (rollout, environment, project)
VALUES (CAST(:rollout AS text), CAST(:environment AS text), CAST(:project AS text))
ON CONFLICT (rollout) DO UPDATE
   SET environment = excluded.environment, project = excluded.project, marked_at = clock_timestamp(),
       -- an address that says its project at last is of the same database
       id = CASE WHEN marker.environment = excluded.environment AND marker.project = ''
                 THEN marker.id ELSE gen_random_uuid() END
 WHERE marker.environment <> excluded.environment
    OR (excluded.project <> '' AND marker.project <> excluded.project)
