-- Two roles with no more than they need; run once by the owner of the tables: psql -f roles.sql. It can be run again.
--   rollout_observer  reads the configuration, the log (never from_number) and the ledger; changes nothing
--   rollout_operator  what the observer may, and: the runbook's functions, and new entries of the ledger
-- No password is in this file: set one in psql, \password rollout_operator. docs/roles.md says who runs as which.
-- The runbook's functions must be SECURITY DEFINER, as ours are: the operator has no right on the tables.

BEGIN;

-- What this file needs, said before anything is done.
DO $$
DECLARE
    name text;
    found pg_class;
BEGIN
    FOREACH name IN ARRAY ARRAY['webhook_routing_config', 'webhook_routing_logs'] LOOP
        SELECT c.* INTO found FROM pg_class c WHERE c.oid = to_regclass('public.' || name);
        IF found.oid IS NULL THEN
            RAISE EXCEPTION 'public.% does not exist: rollout migrate --apply makes it; where the tables are in another '
                'schema, replace public. by its name in a copy of this file', name;
        ELSIF found.relkind NOT IN ('r', 'p') THEN
            RAISE EXCEPTION 'public.% is a view, or a table of another server: it can have no policy. Run a copy of '
                'this file with the name of the table that it reads, and GRANT SELECT on the view besides', name;
        ELSIF NOT pg_has_role(found.relowner, 'USAGE') THEN
            RAISE EXCEPTION 'this must run as %, who owns public.%, not as %', pg_get_userbyid(found.relowner), name,
                current_user;
        END IF;
    END LOOP;
    IF to_regclass('rollout.ledger') IS NULL THEN
        RAISE EXCEPTION 'rollout.ledger does not exist: rollout migrate --apply makes it';
    END IF;
    IF (SELECT count(*) FROM pg_roles WHERE rolname IN ('rollout_observer', 'rollout_operator')) < 2
       AND NOT (SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user) THEN
        RAISE EXCEPTION '% may not create roles (CREATEROLE). Somebody who may runs this first: CREATE ROLE '
            'rollout_observer LOGIN; CREATE ROLE rollout_operator LOGIN; GRANT rollout_observer TO rollout_operator;',
            current_user;
    END IF;
END $$;

-- First what the policies below need, and not after the grants: these hold the tables' rows of the catalogue, which an
-- autovacuum that holds the table waits for. Whoever holds a table for longer is not waited for: run it again then.
SET LOCAL lock_timeout = '5s';
LOCK TABLE public.webhook_routing_config, public.webhook_routing_logs IN ACCESS EXCLUSIVE MODE;

DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['rollout_observer', 'rollout_operator'] LOOP
        IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = role_name) THEN
            EXECUTE format('CREATE ROLE %I LOGIN', role_name);
        END IF;
    END LOOP;
    IF NOT pg_has_role('rollout_operator', 'rollout_observer', 'MEMBER') THEN
        GRANT rollout_observer TO rollout_operator;
    END IF;
END $$;

GRANT USAGE ON SCHEMA public, rollout TO rollout_observer;
GRANT SELECT ON public.webhook_routing_config, public.webhook_routing_stats TO rollout_observer;
GRANT SELECT (created_at, domain, routed_to, status, webhook_name, response_time_ms, error_message, message_id)
    ON public.webhook_routing_logs TO rollout_observer;
GRANT SELECT ON rollout.ledger, rollout.lease, rollout.onset TO rollout_observer;
DO $$
BEGIN  -- not there on a database of an older version
    IF EXISTS (SELECT 1 FROM pg_tables WHERE schemaname = 'rollout' AND tablename = 'marker') THEN
        GRANT SELECT ON rollout.marker TO rollout_observer;
    END IF;
END $$;
GRANT EXECUTE ON FUNCTION public.check_routing_health(), public.get_current_routing_config() TO rollout_observer;

GRANT EXECUTE ON FUNCTION public.set_routing_enabled(boolean, text),
    public.update_routing_percentage(numeric, text) TO rollout_operator;
GRANT EXECUTE ON FUNCTION
    rollout.append_entry(text, text, text, timestamptz, timestamptz, timestamptz, text, text) TO rollout_operator;
GRANT INSERT, UPDATE, DELETE ON rollout.lease, rollout.onset TO rollout_operator;
-- A right to change some column is what SELECT … FOR UPDATE asks for: the one that routes nothing. Where row
-- security is on, as our migration has it, the last policy lets the row be locked and no update of it pass. It is
-- not switched on here: a router that reads the table by another role would see no row from then on.
GRANT UPDATE (notes) ON public.webhook_routing_config TO rollout_operator;

DROP POLICY IF EXISTS rollout_reads ON public.webhook_routing_config;
DROP POLICY IF EXISTS rollout_reads ON public.webhook_routing_logs;
DROP POLICY IF EXISTS rollout_locks ON public.webhook_routing_config;
CREATE POLICY rollout_reads ON public.webhook_routing_config FOR SELECT TO rollout_observer USING (true);
CREATE POLICY rollout_reads ON public.webhook_routing_logs FOR SELECT TO rollout_observer USING (true);
CREATE POLICY rollout_locks ON public.webhook_routing_config FOR UPDATE TO rollout_operator
    USING (true) WITH CHECK (false);

COMMIT;
