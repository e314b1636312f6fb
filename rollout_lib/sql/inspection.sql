-- What does the catalog say about the objects this suite depends on, and about our own connection?
-- It touches none of the tables, so that it answers on a database of any shape. No binds.
-- Columns: columns [{table_name, column_name, type}], functions [{name, arguments, definer, has_path, public_may}],
-- exposed (what anon and authenticated may do, row security taken into account), service (service_role exists),
-- indexed, hidden (tables whose row security may keep rows from us), read_only, distributed, ledger, clock,
-- backend (the server process's id, not the pooler's).
WITH ours AS (
    SELECT c.* FROM pg_class c
     WHERE c.relname IN ('webhook_routing_config', 'webhook_routing_logs', 'webhook_routing_stats')
       AND c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
)
SELECT
    (SELECT json_agg(json_build_object('table_name', c.relname, 'column_name', a.attname,
            'type', format_type(a.atttypid, NULL)))
       FROM pg_attribute a JOIN ours c ON c.oid = a.attrelid
      WHERE a.attnum > 0 AND NOT a.attisdropped) AS columns,
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
    -- A table without row security, or with a policy that lets the role pass; a view that reads as its owner.
    (SELECT json_agg(DISTINCT r.rolname || ' may ' || lower(w.what) || ' ' || c.relname)
       FROM ours c
      CROSS JOIN pg_roles r
      CROSS JOIN (VALUES ('SELECT', 'r'), ('INSERT', 'a'), ('UPDATE', 'w'), ('DELETE', 'd')) w (what, command)
      WHERE r.rolname IN ('anon', 'authenticated')
        AND has_table_privilege(r.oid, c.oid, w.what)
        AND CASE WHEN c.relkind = 'v'
                 THEN w.what = 'SELECT' AND coalesce(array_to_string(c.reloptions, ',') !~
                          'security_invoker=(true|on|1)', true)
                 ELSE NOT c.relrowsecurity OR EXISTS (SELECT 1 FROM pg_policy p
                          WHERE p.polrelid = c.oid AND p.polpermissive AND p.polcmd IN (w.command, '*')
                            AND (p.polroles @> ARRAY[0::oid] OR p.polroles @> ARRAY[r.oid])) END) AS exposed,
    EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'service_role') AS service,
    EXISTS (SELECT 1 FROM pg_index i JOIN ours c ON c.oid = i.indrelid
              JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
             WHERE c.relname = 'webhook_routing_logs' AND a.attname = 'created_at'
               AND i.indisvalid AND i.indpred IS NULL) AS indexed,
    -- Row security is active for us, and no policy says that we see every row.
    (SELECT json_agg(c.relname ORDER BY c.relname) FROM ours c
      WHERE c.relkind = 'r' AND row_security_active(c.oid)
        AND (NOT EXISTS (SELECT 1 FROM pg_policy p, unnest(p.polroles) m (role)
                          WHERE p.polrelid = c.oid AND p.polpermissive AND p.polcmd IN ('r', '*')
                            AND pg_get_expr(p.polqual, p.polrelid) = 'true'
                            AND CASE WHEN m.role = 0 THEN true ELSE pg_has_role(m.role, 'USAGE') END)
             OR EXISTS (SELECT 1 FROM pg_policy p
                         WHERE p.polrelid = c.oid AND NOT p.polpermissive AND p.polcmd IN ('r', '*')))) AS hidden,
    current_setting('default_transaction_read_only') = 'on' OR pg_is_in_recovery() AS read_only,
    to_regclass('pg_dist_partition') IS NOT NULL AS distributed,
    EXISTS (SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE n.nspname = 'rollout' AND c.relname = 'ledger') AS ledger,
    clock_timestamp() AS clock,
    pg_backend_pid() AS backend
