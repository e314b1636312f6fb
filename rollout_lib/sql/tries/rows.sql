-- Would the rows that the router writes be taken? Each is written in a subtransaction that is undone: nothing stays
-- but numbers of a sequence. Where they are not to be written, their types and the table's CHECKs are asked instead.
-- Asked and answered through two settings of this transaction: rollout.asked {table, relation, role, write, rows
-- [{what, row}]} and rollout.tried {checked, tried: [{what, code, message, column, constraint, table}], stopped}.
DO $$
DECLARE
    asked json := CAST(current_setting('rollout.asked') AS json);
    entry json;
    item record;
    columns text;
    taken bigint;
    is_true boolean;
    said_column text;
    said_constraint text;
    said_table text;
    checked jsonb := '[]';
    tried jsonb := '[]';
    stopped text;
BEGIN
    BEGIN
        FOR entry IN SELECT value FROM json_array_elements(asked -> 'rows') LOOP
            BEGIN
                FOR item IN SELECT c.conname, pg_get_expr(c.conbin, c.conrelid) AS expression FROM pg_constraint c
                             WHERE c.conrelid = CAST(asked ->> 'table' AS regclass) AND c.contype = 'c'
                             UNION ALL SELECT '', 'true' LOOP
                    EXECUTE format('SELECT %s FROM (SELECT (json_populate_record(CAST(NULL AS %s), $1)).*) %I',
                                   item.expression, asked ->> 'table', asked ->> 'relation')
                       INTO is_true USING entry -> 'row';
                    IF NOT is_true THEN
                        checked := checked || jsonb_build_object('what', entry ->> 'what', 'code', '23514',
                            'message', format('violates check constraint "%s"', item.conname),
                            'constraint', item.conname);
                    END IF;
                END LOOP;
            EXCEPTION WHEN OTHERS THEN
                checked := checked || jsonb_build_object('what', entry ->> 'what', 'code', SQLSTATE, 'message', SQLERRM);
            END;
        END LOOP;
    EXCEPTION WHEN OTHERS THEN
        checked := checked || jsonb_build_object('what', 'every kind', 'code', SQLSTATE, 'message', SQLERRM);
    END;
    IF CAST(asked ->> 'write' AS boolean) THEN
        BEGIN
            PERFORM set_config('lock_timeout', '1s', true);
            IF asked ->> 'role' IS NOT NULL THEN
                EXECUTE format('SET LOCAL ROLE %I', asked ->> 'role');
            END IF;
            FOR entry IN SELECT value FROM json_array_elements(asked -> 'rows') LOOP
                BEGIN
                    SELECT string_agg(quote_ident(k), ', ') INTO columns FROM json_object_keys(entry -> 'row') k;
                    EXECUTE format('INSERT INTO %s (%s) SELECT %s FROM json_populate_record(CAST(NULL AS %s), $1)',
                                   asked ->> 'table', columns, columns, asked ->> 'table') USING entry -> 'row';
                    GET DIAGNOSTICS taken = ROW_COUNT;
                    EXECUTE 'SET CONSTRAINTS ALL IMMEDIATE';
                    IF taken <> 1 THEN
                        tried := tried || jsonb_build_object('what', entry ->> 'what', 'code', 'lost',
                            'message', format('%s rows were stored, not 1', taken));
                    END IF;
                EXCEPTION
                    WHEN lock_not_available OR read_only_sql_transaction THEN
                        RAISE;
                    WHEN OTHERS THEN
                        GET STACKED DIAGNOSTICS said_column = COLUMN_NAME, said_constraint = CONSTRAINT_NAME,
                            said_table = TABLE_NAME;
                        tried := tried || jsonb_build_object('what', entry ->> 'what', 'code', SQLSTATE,
                            'message', SQLERRM, 'column', said_column, 'constraint', said_constraint,
                            'table', said_table);
                END;
            END LOOP;
            RAISE EXCEPTION 'undone' USING ERRCODE = 'RLLBK';
        EXCEPTION
            WHEN SQLSTATE 'RLLBK' THEN
                NULL;
            WHEN OTHERS THEN
                stopped := SQLSTATE || ' ' || SQLERRM;
        END;
    END IF;
    PERFORM set_config('rollout.tried',
        CAST(jsonb_build_object('checked', checked, 'tried', tried, 'stopped', stopped) AS text), true);
END $$
