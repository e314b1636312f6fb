-- Would the rows that the router writes be taken, and are they in the log afterwards as they were written? Each is
-- written twice (a webhook that is delivered again) as the router's role with that role's settings, and read back by
-- ours, in a subtransaction that is undone: nothing stays but numbers of a sequence. Where they are not to be written,
-- their types, CHECKs, partitions, foreign keys and unique indexes are asked instead.
-- Asked and answered through two settings of this transaction: rollout.asked {table, relation, role, settings [{name,
-- value}], write, read, rows [{what, row, once}]} and rollout.tried {settings, checked, tried: [{what, code, message,
-- column, constraint, table, context}], stopped}.
DO $$
DECLARE
    asked jsonb := CAST(current_setting('rollout.asked') AS jsonb);
    log regclass := CAST(asked ->> 'table' AS regclass);
    ourselves text := current_setting('role');
    entry jsonb;
    item record;
    rounds integer;
    columns text;
    key text;
    keys constant text := 'jsonb_build_array(x.domain, x.routed_to, x.status, x.response_time_ms)';
    with_id constant text := keys || ' || jsonb_build_array(CAST(x.message_id AS text))';
    written jsonb := '{}';
    arrived jsonb;
    taken bigint;
    is_true boolean;
    first_key text;
    second_key text;
    said_column text;
    said_constraint text;
    said_table text;
    said_context text;
    said_message text;
    checked jsonb := '[]';
    settings jsonb := '[]';
    tried jsonb := '[]';
    stopped text;
BEGIN
    FOR entry IN SELECT value FROM jsonb_array_elements(asked -> 'settings') LOOP
        BEGIN
            PERFORM set_config(entry ->> 'name', entry ->> 'value', true);
            is_true := CASE entry ->> 'name'
                WHEN 'search_path' THEN to_regclass(asked ->> 'relation') IS NOT DISTINCT FROM CAST(log AS oid)
                WHEN 'default_transaction_read_only' THEN NOT CAST(entry ->> 'value' AS boolean)
                WHEN 'statement_timeout' THEN (SELECT CAST(s.setting AS bigint) = 0 OR CAST(s.setting AS bigint) >= 100
                                                 FROM pg_settings s WHERE s.name = 'statement_timeout')
                ELSE true END;
            RAISE EXCEPTION 'undone' USING ERRCODE = 'RLLBK';
        EXCEPTION
            WHEN SQLSTATE 'RLLBK' THEN
                NULL;
            WHEN OTHERS THEN
                is_true := false;
        END;
        IF is_true IS NOT TRUE THEN
            settings := settings || jsonb_build_object('what', 'every kind', 'code', 'setting', 'column', entry ->> 'name',
                'message', format('%s of the router''s role is %s', entry ->> 'name', entry ->> 'value'));
        END IF;
    END LOOP;
    FOR entry IN SELECT value FROM jsonb_array_elements(asked -> 'rows') LOOP
        FOR item IN
            SELECT '23514' AS code, c.conname, CAST(NULL AS text) AS keys, pg_get_expr(c.conbin, c.conrelid) AS expression,
                   format('violates check constraint "%s"', c.conname) AS said
              FROM pg_constraint c WHERE c.conrelid = log AND c.contype = 'c'
            UNION ALL
            SELECT '23514', '', NULL, string_agg(format('(%s)', coalesce(pg_get_partition_constraintdef(t.relid), 'true')), ' OR '),
                   'no partition of relation found for row'
              FROM pg_partition_tree(log) t WHERE t.isleaf AND t.parentrelid IS NOT NULL HAVING count(*) > 0
            UNION ALL
            SELECT '23503', c.conname, NULL,
                   format('%s OR EXISTS (SELECT 1 FROM %s AS there WHERE %s)',
                          string_agg(format('%I.%I IS NULL', asked ->> 'relation', a.attname), ' OR '), c.confrelid::regclass,
                          string_agg(format('there.%I = %I.%I', b.attname, asked ->> 'relation', a.attname), ' AND ')),
                   format('violates foreign key constraint "%s"', c.conname)
              FROM pg_constraint c CROSS JOIN unnest(c.conkey, c.confkey) k (ours, theirs)
              JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.ours
              JOIN pg_attribute b ON b.attrelid = c.confrelid AND b.attnum = k.theirs
             WHERE c.conrelid = log AND c.contype = 'f' GROUP BY c.oid, c.conname, c.confrelid
            UNION ALL
            -- The same keys a minute later, none of them NULL, and the row is among those that the index holds.
            SELECT '23505', i.indexrelid::regclass::text,
                   (SELECT string_agg(format('CAST((%s) AS text)', pg_get_indexdef(i.indexrelid, n, false)), ' || chr(1) || ')
                      FROM generate_series(1, i.indnkeyatts) n),
                   format('(%s) IS NOT TRUE', coalesce(pg_get_expr(i.indpred, i.indrelid), 'true')),
                   format('duplicate key: %s refuses a webhook that comes twice', i.indexrelid::regclass)
              FROM pg_index i WHERE i.indrelid = log AND i.indisunique AND entry ->> 'once' IS NULL
            UNION ALL SELECT '', '', NULL, 'true', ''
        LOOP
            BEGIN
                EXECUTE format('SELECT (%s) IS NOT FALSE, %s FROM jsonb_populate_record(CAST(NULL AS %s), $1) %I',
                               item.expression, coalesce(item.keys, 'NULL'), log, asked ->> 'relation')
                   INTO is_true, first_key USING jsonb_build_object('created_at', now()) || (entry -> 'row');
                IF item.keys IS NOT NULL AND NOT is_true THEN
                    EXECUTE format('SELECT %s FROM jsonb_populate_record(CAST(NULL AS %s), $1) %I', item.keys, log,
                                   asked ->> 'relation')
                       INTO second_key USING jsonb_build_object('created_at', now() + interval '61 seconds') || (entry -> 'row');
                    is_true := (first_key = second_key) IS NOT TRUE;
                END IF;
                IF NOT is_true THEN
                    checked := checked || jsonb_build_object('what', entry ->> 'what', 'code', item.code,
                        'message', item.said, 'constraint', item.conname);
                END IF;
            EXCEPTION WHEN OTHERS THEN
                checked := checked || jsonb_build_object('what', entry ->> 'what', 'code', SQLSTATE, 'message', SQLERRM);
            END;
        END LOOP;
    END LOOP;
    IF CAST(asked ->> 'write' AS boolean) THEN
        BEGIN
            PERFORM set_config('lock_timeout', '1s', true);
            IF asked ->> 'role' IS NOT NULL THEN
                EXECUTE format('SET LOCAL ROLE %I', asked ->> 'role');
            END IF;
            PERFORM set_config(s ->> 'name', s ->> 'value', true) FROM jsonb_array_elements(asked -> 'settings') s
              WHERE s ->> 'name' IN ('search_path', 'row_security');
            FOR entry, rounds IN SELECT r.value, n FROM jsonb_array_elements(asked -> 'rows') WITH ORDINALITY r (value, place)
                            CROSS JOIN generate_series(1, 2) n WHERE n = 1 OR r.value ->> 'once' IS NULL
                            ORDER BY n, r.place LOOP
                BEGIN
                    SELECT string_agg(quote_ident(k), ', ') INTO columns FROM jsonb_object_keys(entry -> 'row') k;
                    BEGIN
                        EXECUTE format('INSERT INTO %s (%s) SELECT %s FROM jsonb_populate_record(CAST(NULL AS %s), $1)',
                                       log, columns, columns, log) USING entry -> 'row';
                    EXCEPTION WHEN unique_violation THEN
                        -- In one transaction each row has one time. Would it be taken, had it come a little later?
                        GET STACKED DIAGNOSTICS said_constraint = CONSTRAINT_NAME, said_message = MESSAGE_TEXT;
                        BEGIN
                            EXECUTE format('INSERT INTO %s (created_at, %s) SELECT created_at, %s'
                                           ' FROM jsonb_populate_record(CAST(NULL AS %s), $1)', log, columns, columns, log)
                              USING jsonb_build_object('created_at', clock_timestamp()) || (entry -> 'row');
                        EXCEPTION WHEN OTHERS THEN
                            IF SQLSTATE = '23505' OR NOT EXISTS (
                                SELECT 1 FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
                                  JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
                                 WHERE c.relname = said_constraint AND a.attname = 'created_at') THEN
                                RAISE EXCEPTION USING ERRCODE = '23505', MESSAGE = said_message, CONSTRAINT = said_constraint;
                            END IF;
                            CONTINUE;
                        END;
                    END;
                    GET DIAGNOSTICS taken = ROW_COUNT;
                    EXECUTE 'SET CONSTRAINTS ALL IMMEDIATE';
                    IF CAST(asked ->> 'read' AS boolean) THEN
                        EXECUTE format('SELECT CAST(%s AS text) FROM jsonb_populate_record(CAST(NULL AS %s), $1) x',
                                       CASE WHEN entry -> 'row' ? 'message_id' THEN with_id ELSE keys END, log)
                           INTO key USING entry -> 'row';
                        written := written || jsonb_build_object(entry ->> 'what', jsonb_build_array(key, rounds));
                    ELSIF taken <> 1 THEN
                        tried := tried || jsonb_build_object('what', entry ->> 'what', 'code', 'lost',
                            'message', format('%s rows were stored, not 1', taken));
                    END IF;
                EXCEPTION
                    WHEN lock_not_available OR read_only_sql_transaction THEN
                        RAISE;
                    WHEN OTHERS THEN
                        GET STACKED DIAGNOSTICS said_column = COLUMN_NAME, said_constraint = CONSTRAINT_NAME,
                            said_table = TABLE_NAME, said_context = PG_EXCEPTION_CONTEXT;
                        tried := tried || jsonb_build_object('what', entry ->> 'what', 'code', SQLSTATE,
                            'message', SQLERRM, 'column', said_column, 'constraint', said_constraint,
                            'table', said_table, 'context', said_context);
                END;
            END LOOP;
            PERFORM set_config('role', ourselves, true);
            IF CAST(asked ->> 'read' AS boolean) THEN
                EXECUTE format('SELECT jsonb_object_agg(k, n) FROM (SELECT CAST(u.k AS text) AS k, count(*) AS n FROM %s x'
                               ' CROSS JOIN LATERAL (VALUES (%s), (%s)) u (k)'
                               ' WHERE x.created_at >= date_trunc(''second'', now()) GROUP BY 1) y', log, keys, with_id)
                   INTO arrived;
                FOR item IN SELECT w.key, CAST(w.value ->> 1 AS integer) AS n,
                                   CAST(coalesce(arrived ->> (w.value ->> 0), '0') AS integer) AS there
                              FROM jsonb_each(written) w LOOP
                    IF item.there <> item.n THEN
                        tried := tried || jsonb_build_object('what', item.key, 'code', 'lost',
                            'message', CASE WHEN item.there > item.n THEN 'a row is in the log more often than it was written'
                                ELSE 'a row is taken, and is not in the log as it was written, with the time of now' END);
                    END IF;
                END LOOP;
            END IF;
            RAISE EXCEPTION 'undone' USING ERRCODE = 'RLLBK';
        EXCEPTION
            WHEN SQLSTATE 'RLLBK' THEN
                NULL;
            WHEN OTHERS THEN
                stopped := SQLSTATE || ' ' || SQLERRM;
        END;
    END IF;
    PERFORM set_config('rollout.tried', CAST(jsonb_build_object('settings', settings, 'checked', checked,
        'tried', tried, 'stopped', stopped) AS text), true);
END $$
