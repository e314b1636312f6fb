-- What do policies that are no plain yes or no let the public keys do? Each is asked as that role, with the claims
-- that its key carries, in a subtransaction that is undone; nothing is written.
-- Asked and answered through two settings of this transaction: rollout.asked [{role, may, relation, guard}] and
-- rollout.tried [{role, may, relation, answer: open, closed or unknown}].
DO $$
DECLARE
    entry json;
    answer text;
    is_true boolean;
    has_rows boolean;
    tried jsonb := '[]';
BEGIN
    FOR entry IN SELECT value FROM json_array_elements(CAST(current_setting('rollout.asked') AS json)) LOOP
        answer := 'unknown';
        BEGIN
            has_rows := false;
            IF entry ->> 'may' = 'select' THEN
                EXECUTE format('SELECT EXISTS (SELECT 1 FROM %s)', entry ->> 'relation') INTO has_rows;
            END IF;
            PERFORM set_config('request.jwt.claims', CAST(json_build_object('role', entry ->> 'role', 'sub',
                        '00000000-0000-4000-8000-000000000000') AS text), true),
                    set_config('request.jwt.claim.role', entry ->> 'role', true);
            EXECUTE format('SET LOCAL ROLE %I', entry ->> 'role');
            BEGIN
                EXECUTE format('SELECT (%s)', entry ->> 'guard') INTO is_true;
                answer := CASE WHEN is_true THEN 'open' ELSE 'closed' END;
            EXCEPTION
                WHEN insufficient_privilege THEN
                    answer := 'closed';
                WHEN undefined_column OR undefined_table THEN
                    IF entry ->> 'may' = 'select' THEN
                        EXECUTE format('SELECT EXISTS (SELECT 1 FROM %s)', entry ->> 'relation') INTO is_true;
                        answer := CASE WHEN is_true THEN 'open' WHEN has_rows THEN 'closed' ELSE 'unknown' END;
                    END IF;
            END;
            RAISE EXCEPTION 'undone' USING ERRCODE = 'RLLBK';
        EXCEPTION
            WHEN SQLSTATE 'RLLBK' THEN
                NULL;
            WHEN OTHERS THEN
                answer := 'unknown';
        END;
        tried := tried || jsonb_build_object('role', entry ->> 'role', 'may', entry ->> 'may',
            'relation', entry ->> 'relation', 'answer', answer);
    END LOOP;
    PERFORM set_config('rollout.tried', CAST(tried AS text), true);
END $$
