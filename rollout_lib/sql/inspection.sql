-- What does the catalog say about the objects this suite depends on, and about our own connection?
-- No binds. Columns: columns [{table_name, column_name, type}], functions [{name, arguments, definer, has_path,
-- public_may}], exposed (table privileges of anon, authenticated), indexed, forced (row security that hides
-- rows from us), read_only, distributed, version, same_instant (rows that share the newest created_at), ledger.
SELECT
    (SELECT json_agg(json_build_object('table_name', c.relname, 'column_name', a.attname,
            'type', format_type(a.atttypid, NULL)))
       FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
      WHERE c.relname IN ('webhook_routing_config', 'webhook_routing_logs', 'webhook_routing_stats')
        AND c.relnamespace = 'public'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped) AS columns,
    (SELECT json_agg(json_build_object('name', p.proname, 'arguments', pg_get_function_identity_arguments(p.oid),
            'definer', p.prosecdef,
            'has_path', coalesce(array_to_string(p.proconfig, ',') LIKE '%search_path%', false),
            'public_may', EXISTS (SELECT 1 FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) x
                WHERE x.privilege_type = 'EXECUTE'
                  AND (x.grantee = 0 OR x.grantee IN
                       (SELECT oid FROM pg_roles WHERE rolname IN ('anon', 'authenticated'))))))
       FROM pg_proc p
      WHERE p.pronamespace = 'public'::regnamespace AND p.proname IN ('set_routing_enabled',
            'update_routing_percentage', 'check_routing_health', 'get_current_routing_config')) AS functions,
    (SELECT json_agg(DISTINCT r.rolname || ' may read ' || c.relname)
       FROM pg_class c CROSS JOIN pg_roles r
      WHERE r.rolname IN ('anon', 'authenticated')
        AND c.relname IN ('webhook_routing_config', 'webhook_routing_logs', 'webhook_routing_stats')
        AND c.relnamespace = 'public'::regnamespace
        AND has_table_privilege(r.oid, c.oid, 'SELECT')) AS exposed,
    EXISTS (SELECT 1 FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
              JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
             WHERE c.relname = 'webhook_routing_logs' AND c.relnamespace = 'public'::regnamespace
               AND a.attname = 'created_at' AND i.indisvalid AND i.indpred IS NULL) AS indexed,
    (SELECT json_agg(c.relname) FROM pg_class c
      WHERE c.relname IN ('webhook_routing_config', 'webhook_routing_logs')
        AND c.relnamespace = 'public'::regnamespace AND row_security_active(c.oid)) AS forced,
    current_setting('default_transaction_read_only') = 'on' OR pg_is_in_recovery() AS read_only,
    to_regclass('pg_dist_partition') IS NOT NULL AS distributed,
    current_setting('server_version_num')::int AS version,
    to_regclass('rollout.ledger') IS NOT NULL AS ledger,
    clock_timestamp() AS clock
