-- What keeps the ledger as it was written: its triggers and the functions behind them and the entries, and who else may
-- write it.
-- Columns: triggers (name, enabled, type, function, narrowed: by a condition, columns or arguments), functions (name, body,
-- definer, path), rules (names), grants ("UPDATE to anon").
SELECT (SELECT json_agg(json_build_object('name', t.tgname, 'enabled', t.tgenabled, 'type', t.tgtype,
                                          'narrowed', t.tgqual IS NOT NULL OR CAST(t.tgattr AS text) <> '' OR t.tgnargs > 0,
                                          'function', f.pronamespace::regnamespace || '.' || f.proname))
          FROM pg_trigger t JOIN pg_proc f ON f.oid = t.tgfoid
         WHERE t.tgrelid = to_regclass('rollout.ledger') AND NOT t.tgisinternal) AS triggers,
       (SELECT json_agg(json_build_object('name', p.proname, 'body', p.prosrc, 'definer', p.prosecdef,
                                          'path', coalesce('search_path=pg_catalog, pg_temp' = ANY (p.proconfig), false)))
          FROM pg_proc p WHERE p.pronamespace = to_regnamespace('rollout')) AS functions,
       (SELECT json_agg(r.rulename) FROM pg_rules r
         WHERE r.schemaname = 'rollout' AND r.tablename = 'ledger') AS rules,
       (SELECT json_agg(DISTINCT g.privilege_type || ' to ' || CASE WHEN g.grantee = 0 THEN 'PUBLIC'
                                                                    ELSE CAST(CAST(g.grantee AS regrole) AS text) END)
          FROM pg_class c
          LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attacl IS NOT NULL
         CROSS JOIN LATERAL (SELECT * FROM aclexplode(c.relacl) UNION ALL SELECT * FROM aclexplode(a.attacl)) g
         WHERE c.oid = to_regclass('rollout.ledger') AND g.grantee <> c.relowner
           AND g.privilege_type IN ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER')) AS grants
