-- What keeps the ledger as it was written: its triggers and the functions behind them and the entries.
-- Columns: triggers (name, enabled, function, events), functions (name, body, definer, arguments).
SELECT (SELECT json_agg(json_build_object('name', t.tgname, 'enabled', t.tgenabled, 'type', t.tgtype,
                                          'function', f.pronamespace::regnamespace || '.' || f.proname))
          FROM pg_trigger t JOIN pg_proc f ON f.oid = t.tgfoid
         WHERE t.tgrelid = to_regclass('rollout.ledger') AND NOT t.tgisinternal) AS triggers,
       (SELECT json_agg(json_build_object('name', p.proname, 'body', p.prosrc, 'definer', p.prosecdef))
          FROM pg_proc p WHERE p.pronamespace = to_regnamespace('rollout')) AS functions,
       (SELECT json_agg(r.rulename) FROM pg_rules r
         WHERE r.schemaname = 'rollout' AND r.tablename = 'ledger') AS rules
