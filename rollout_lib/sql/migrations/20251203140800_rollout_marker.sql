-- Which database this is: one row a rollout, written by `rollout migrate --apply`, compared by every session.
-- The same address can lead elsewhere tomorrow (a pooler, a tunnel, a dump restored into another project).
-- One transaction; touches nothing of the runbook's objects.

BEGIN;

CREATE TABLE rollout.marker (
    rollout text PRIMARY KEY,
    environment text NOT NULL,
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    project text NOT NULL DEFAULT '',
    marked_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
REVOKE ALL ON rollout.marker FROM PUBLIC;
DO $$
BEGIN
    IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'rollout_observer') THEN
        GRANT SELECT ON rollout.marker TO rollout_observer;
    END IF;
END $$;

COMMIT;
