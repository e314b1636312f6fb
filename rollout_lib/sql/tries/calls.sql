-- Do the runbook's functions answer, and do those that change the configuration reach its newest row? Each is called
-- with what is configured already, in a subtransaction that is undone.
-- Asked and answered through two settings of this transaction: rollout.asked {configuration, calls [{name, call,
-- writes}]} and rollout.tried [{name, code, message}].
DO $$
DECLARE
    asked json := CAST(current_setting('rollout.asked') AS json);
    entry json;
    newest text := format('SELECT CAST(c.ctid AS text) FROM %s c ORDER BY c.created_at DESC LIMIT 1',
                          asked ->> 'configuration');
    before text;
    after text;
    tried jsonb := '[]';
BEGIN
    FOR entry IN SELECT value FROM json_array_elements(asked -> 'calls') LOOP
        BEGIN
            PERFORM set_config('lock_timeout', '1s', true);
            EXECUTE newest INTO before;
            EXECUTE entry ->> 'call';
            EXECUTE newest INTO after;
            IF CAST(entry ->> 'writes' AS boolean) AND before = after THEN
                tried := tried || jsonb_build_object('name', entry ->> 'name', 'code', 'idle',
                    'message', 'it returns, and the newest row was not written');
            END IF;
            RAISE EXCEPTION 'undone' USING ERRCODE = 'RLLBK';
        EXCEPTION
            WHEN SQLSTATE 'RLLBK' THEN
                NULL;
            WHEN OTHERS THEN
                tried := tried || jsonb_build_object('name', entry ->> 'name', 'code', SQLSTATE, 'message', SQLERRM);
        END;
    END LOOP;
    PERFORM set_config('rollout.tried', CAST(tried AS text), true);
END $$
