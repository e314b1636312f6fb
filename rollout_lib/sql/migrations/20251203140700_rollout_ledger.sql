-- The suite's own schema: the ledger (append-only, hash-chained), the watcher's lease, the onsets of messages.
-- Not in public, so PostgREST does not expose it. Touches nothing of the runbook's objects.
-- One transaction, as the runbook's migration is.

BEGIN;

CREATE SCHEMA rollout;
REVOKE ALL ON SCHEMA rollout FROM PUBLIC;

CREATE TABLE rollout.ledger (
    seq bigint PRIMARY KEY,
    previous_hash text NOT NULL UNIQUE,
    hash text NOT NULL UNIQUE,
    kind text NOT NULL,
    operation text NOT NULL,
    rollout text NOT NULL,
    at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    phase_began timestamptz,
    slot timestamptz,
    run_id text NOT NULL,
    body text NOT NULL,
    CONSTRAINT seq_is_positive CHECK (seq > 0),
    CONSTRAINT kind_is_known CHECK (kind IN
        ('checkpoint', 'attempt', 'extra', 'archived', 'attestation', 'acknowledgement', 'missed', 'message', 'lease')),
    -- The standing is a fold over every entry: one that cannot be read would stop all runs to come.
    CONSTRAINT body_is_an_object CHECK (json_typeof(CAST(body AS json)) = 'object')
);
CREATE INDEX ledger_rollout ON rollout.ledger (rollout, seq);
-- One completed, scheduled check a slot, also while no phase runs; attempts and extra checks claim none.
CREATE UNIQUE INDEX one_check_a_slot ON rollout.ledger (rollout, phase_began, slot) NULLS NOT DISTINCT
    WHERE kind = 'checkpoint' AND operation = 'monitor' AND slot IS NOT NULL;

CREATE FUNCTION rollout.refuse_rewriting() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'rollout.ledger is append-only: % refused', TG_OP USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER ledger_is_append_only BEFORE UPDATE OR DELETE ON rollout.ledger
    FOR EACH ROW EXECUTE FUNCTION rollout.refuse_rewriting();
CREATE TRIGGER ledger_is_never_truncated BEFORE TRUNCATE ON rollout.ledger
    FOR EACH STATEMENT EXECUTE FUNCTION rollout.refuse_rewriting();

-- What is hashed: every column and the stored text, joined by line feeds, the hash before it first; an absent
-- instant is an empty line. The archive keeps the same text as a file of its own, so that sha256sum proves it.
CREATE FUNCTION rollout.entry_hash(
    previous_hash text, seq bigint, kind text, operation text, rollout text, at timestamptz,
    phase_began timestamptz, slot timestamptz, recorded_at timestamptz, run_id text, body text
) RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT encode(sha256(convert_to(array_to_string(ARRAY[previous_hash, seq::text, kind, operation, rollout]
        || ARRAY(SELECT to_char(i.instant AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
                   FROM unnest(ARRAY[at, phase_began, slot, recorded_at]) WITH ORDINALITY i (instant, place)
                  ORDER BY i.place)
        || ARRAY[run_id, body], chr(10), ''), 'UTF8')), 'hex')
$$;

-- The only way in. Its lock comes last in a transaction, so that it is held for one insert.
CREATE FUNCTION rollout.append_entry(
    p_kind text, p_operation text, p_rollout text, p_at timestamptz, p_phase_began timestamptz,
    p_slot timestamptz, p_run_id text, p_body text
) RETURNS TABLE (seq bigint, hash text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    last_seq bigint := 0;
    last_hash text := '';
    new_hash text;
    written_at timestamptz;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('rollout.ledger'));
    SELECT l.seq, l.hash INTO last_seq, last_hash FROM rollout.ledger l ORDER BY l.seq DESC LIMIT 1;
    last_seq := coalesce(last_seq, 0) + 1;
    last_hash := coalesce(last_hash, '');
    written_at := clock_timestamp();
    new_hash := rollout.entry_hash(last_hash, last_seq, p_kind, p_operation, p_rollout, p_at, p_phase_began, p_slot,
        written_at, p_run_id, p_body);
    INSERT INTO rollout.ledger
        (seq, previous_hash, hash, kind, operation, rollout, at, recorded_at, phase_began, slot, run_id, body)
    VALUES (last_seq, last_hash, new_hash, p_kind, p_operation, p_rollout, p_at, written_at, p_phase_began, p_slot,
        p_run_id, p_body);
    RETURN QUERY SELECT last_seq, new_hash;
END $$;
REVOKE ALL ON FUNCTION rollout.append_entry(text, text, text, timestamptz, timestamptz, timestamptz, text, text)
    FROM PUBLIC;
REVOKE ALL ON FUNCTION rollout.entry_hash(text, bigint, text, text, text, timestamptz, timestamptz, timestamptz,
    timestamptz, text, text) FROM PUBLIC;

-- One watcher a rollout. A row, not a session lock: it must hold through a transaction pooler.
CREATE TABLE rollout.lease (
    rollout text PRIMARY KEY,
    holder text NOT NULL,
    taken_at timestamptz NOT NULL,
    until timestamptz NOT NULL
);

-- What is going on now, so that a message goes out when something begins and ends, and none in between.
CREATE TABLE rollout.onset (
    rollout text NOT NULL,
    subject text NOT NULL,
    state text NOT NULL,
    since timestamptz NOT NULL,
    told_at timestamptz,
    escalated_at timestamptz,
    ended_at timestamptz,
    PRIMARY KEY (rollout, subject)
);

COMMIT;
