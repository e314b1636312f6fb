-- What keeps the ledger as it was written: its triggers as they would be made again, the functions behind them and
-- the entries, who else may write it, and what lets its rows, or a session, go past them.
-- Columns: triggers (name, enabled, definition), functions (name, body, language, definer, settings, open), rules,
-- grants ("UPDATE to anon"), replicas (sessions that fire no trigger), heirs
-- (tables whose rows are the ledger's, too), hidden (rows are hidden by policies).
WITH ledger AS (
    SELECT c.* FROM pg_class c WHERE c.oid = to_regclass('rollout.ledger')
), granted AS (
    SELECT x.* FROM ledger c, aclexplode(c.relacl) x
    UNION ALL
    SELECT x.* FROM ledger c JOIN pg_attribute a ON a.attrelid = c.oid, aclexplode(a.attacl) x
)
SELECT (SELECT json_agg(json_build_object('name', t.tgname, 'enabled', t.tgenabled,
                                          'definition', pg_get_triggerdef(t.oid)))
          FROM pg_trigger t JOIN ledger c ON c.oid = t.tgrelid WHERE NOT t.tgisinternal) AS triggers,
       (SELECT json_agg(json_build_object('name', p.proname, 'body', p.prosrc, 'definer', p.prosecdef,
                                          'language', l.lanname, 'settings', coalesce(p.proconfig, '{}'),
                                          'open', EXISTS (
                   SELECT 1 FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) x
                    WHERE x.grantee = 0 AND x.privilege_type = 'EXECUTE')))
          FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
         WHERE p.pronamespace = to_regnamespace('rollout')) AS functions,
       (SELECT json_agg(r.rulename) FROM pg_rules r
         WHERE r.schemaname = 'rollout' AND r.tablename = 'ledger') AS rules,
       (SELECT json_agg(DISTINCT g.privilege_type || ' to ' || CASE WHEN g.grantee = 0 THEN 'PUBLIC'
                                                                    ELSE CAST(CAST(g.grantee AS regrole) AS text) END)
          FROM granted g CROSS JOIN ledger c
         WHERE g.grantee <> c.relowner
           AND g.privilege_type IN ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER')) AS grants,
       (SELECT json_agg(concat_ws(' in ', coalesce('the role ' || r.rolname, 'every role'), d.datname))
          FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole
          LEFT JOIN pg_database d ON d.oid = s.setdatabase, unnest(s.setconfig) setting
         WHERE s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
           AND setting ILIKE 'session_replication_role=replica') AS replicas,
       (SELECT json_agg(CAST(CAST(i.inhrelid AS regclass) AS text))
          FROM pg_inherits i JOIN ledger c ON c.oid = i.inhparent) AS heirs,
       (SELECT c.relrowsecurity FROM ledger c) AS hidden
