-- What does the catalog say about the objects this suite depends on, and about our own connection?
-- It touches none of the tables, so that it answers on a database of any shape. Each name is resolved as a query
-- of this connection would resolve it: by the search path. Binds: role (text, whose rows the router writes; '' is
-- service_role, where it exists).
-- Columns: relations [{name, schema, kind, owner, columns, …}], elsewhere [{name, schema, kind, on_path}] (the same
-- names in another schema, views of ours left out), functions [{name, schema, arguments, …}], exposed [{role, may,
-- relation, kind, guard, everyone}] (what anon and authenticated are granted; guard is the policy it hangs on), reached
-- [signature] (functions of others that the public key may call and that act on the log or configuration as their
-- owner), service (service_role exists), log (what a row of the router meets), hidden (tables whose row security may
-- keep rows from us), role, database, path, read_only, distributed, ledger, clock, backend (the server process's
-- id, not the pooler's).
WITH RECURSIVE wanted (name) AS (
    VALUES ('webhook_routing_config'), ('webhook_routing_logs'), ('webhook_routing_stats')
), calls (name) AS (
    VALUES ('set_routing_enabled'), ('update_routing_percentage'), ('check_routing_health'),
           ('get_current_routing_config')
), router AS (
    SELECT oid, rolname, rolsuper, rolbypassrls FROM pg_roles
     WHERE rolname = coalesce(nullif(CAST(:role AS text), ''), 'service_role')
), public_keys AS (
    SELECT oid, rolname FROM pg_roles WHERE rolname IN ('anon', 'authenticated')
), ours AS (
    SELECT c.*, n.nspname, format('%I.%I', n.nspname, c.relname) AS full_name
      FROM wanted w JOIN pg_class c ON c.oid = to_regclass(w.name) JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
), below (root, oid, depth) AS (
    -- What a view of ours reads, and the partitions of a table.
    SELECT o.relname, o.oid, 0 FROM ours o
    UNION
    SELECT b.root, x.oid, b.depth + 1
      FROM below b JOIN LATERAL (
            SELECT i.inhrelid AS oid FROM pg_inherits i WHERE i.inhparent = b.oid
            UNION ALL
            SELECT d.refobjid FROM pg_rewrite r JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass
               AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> r.ev_class
             WHERE r.ev_class = b.oid AND b.root <> 'webhook_routing_stats') x ON b.depth < 8
), tables AS (
    SELECT b.root, c.oid, c.relname, c.relkind, c.relrowsecurity, c.relispartition, c.relowner, n.nspname,
           format('%I.%I', n.nspname, c.relname) AS full_name, min(b.depth) AS depth
      FROM below b JOIN pg_class c ON c.oid = b.oid JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p', 'f') GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9
), above (root, oid, depth) AS (
    -- The views that read what is ours, through each other too.
    SELECT t.root, t.oid, 0 FROM tables t
    UNION
    SELECT a.root, r.ev_class, a.depth + 1
      FROM above a JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = a.oid
       AND d.classid = 'pg_rewrite'::regclass AND a.depth < 8
      JOIN pg_rewrite r ON r.oid = d.objid AND r.ev_class <> a.oid
), views AS (
    SELECT c.*, n.nspname, format('%I.%I', n.nspname, c.relname) AS full_name,
           (SELECT max(a.depth) FROM above a WHERE a.oid = c.oid) AS depth
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('v', 'm') AND c.oid IN (SELECT oid FROM above)
), readable AS (
    SELECT t.oid, t.relname, t.relkind, t.full_name, t.relrowsecurity, t.nspname, false AS invoker FROM tables t
    UNION ALL
    SELECT v.oid, v.relname, v.relkind, v.full_name, false, v.nspname,
           v.relkind = 'v' AND EXISTS (SELECT 1 FROM pg_options_to_table(v.reloptions) o
                    WHERE o.option_name = 'security_invoker' AND CAST(o.option_value AS boolean))
      FROM views v
), granted AS (
    -- A right on one column is a right; a view that asks as its reader shows what the reader may see anyway.
    SELECT r.rolname, r.oid AS role, lower(w.what) AS may, w.command, t.oid, t.relname, t.full_name, t.relkind,
           t.relrowsecurity
      FROM readable t CROSS JOIN public_keys r
     CROSS JOIN (VALUES ('SELECT', 'r'), ('INSERT', 'a'), ('UPDATE', 'w'), ('DELETE', 'd')) w (what, command)
     WHERE NOT t.invoker AND (t.relkind <> 'm' OR w.what = 'SELECT') AND has_schema_privilege(r.oid, t.nspname, 'USAGE')
       AND (t.relkind <> 'v' OR w.what = 'SELECT'
            OR pg_relation_is_updatable(t.oid, true) & CASE w.what WHEN 'INSERT' THEN 8 WHEN 'UPDATE' THEN 4
               ELSE 16 END <> 0)
       AND CASE WHEN w.what = 'DELETE' THEN has_table_privilege(r.oid, t.oid, 'DELETE')
                ELSE has_any_column_privilege(r.oid, t.oid, w.what) END
), policies AS (
    SELECT g.rolname, g.may, g.oid, p.polpermissive,
           coalesce(CASE WHEN g.may = 'insert' THEN pg_get_expr(p.polwithcheck, p.polrelid) END,
                    pg_get_expr(p.polqual, p.polrelid), 'true') AS expression
      FROM granted g JOIN pg_policy p ON p.polrelid = g.oid AND p.polcmd IN (g.command, '*')
     WHERE g.relrowsecurity AND EXISTS (SELECT 1 FROM unnest(p.polroles) m (role)
             WHERE CASE WHEN m.role = 0 THEN true ELSE pg_has_role(g.role, m.role, 'USAGE') END)
), guarded AS (
    SELECT g.*,
           CASE WHEN NOT g.relrowsecurity THEN ''
                ELSE (SELECT CASE WHEN bool_or(p.polpermissive AND p.expression = 'true')
                                       AND NOT bool_or(NOT p.polpermissive) THEN ''
                                  ELSE '(' || string_agg(p.expression, ' OR ' ORDER BY p.expression)
                                                  FILTER (WHERE p.polpermissive) || ')'
                                       || coalesce(' AND (' || string_agg(p.expression, ') AND (')
                                                   FILTER (WHERE NOT p.polpermissive) || ')', '') END
                        FROM policies p WHERE p.rolname = g.rolname AND p.may = g.may AND p.oid = g.oid) END AS guard
      FROM granted g
), functions AS (
    SELECT p.*, n.nspname, format('%I.%I', n.nspname, p.proname) AS full_name,
           pg_function_is_visible(p.oid) AS visible
      FROM calls w JOIN pg_proc p ON p.proname = w.name JOIN pg_namespace n ON n.oid = p.pronamespace
), log AS (
    SELECT * FROM ours WHERE relname = 'webhook_routing_logs'
), bodies AS (
    -- Functions that are nobody's but this database's, with their text.
    SELECT p.oid, p.proname, p.pronamespace, p.prosecdef, p.prokind, p.prorettype, p.proargnames, p.proowner, l.lanname, p.provolatile,
           coalesce(pg_get_function_sqlbody(p.oid), p.prosrc) AS body
      FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang JOIN pg_namespace n ON n.oid = p.pronamespace
     WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'net') AND n.nspname !~ '^pg_'
), touching (oid, proname) AS (
    -- Functions whose text names what is ours, or the ledger, or a function that does.
    SELECT b.oid, b.proname FROM bodies b
     WHERE b.body ~* 'webhook_routing_(config|logs|stats)|\mrollout"?\."?(ledger|lease|onset|marker|append_entry)'
        OR EXISTS (SELECT 1 FROM views v WHERE b.body ~* ('\m' || v.relname || '\M') AND v.relname ~ '^\w+$')
        OR EXISTS (SELECT 1 FROM calls c WHERE b.body ~* ('\m' || c.name || '\M'))
    UNION
    SELECT b.oid, b.proname FROM touching t JOIN bodies b ON position(lower(t.proname) IN lower(b.body)) > 0
       AND t.proname ~ '^\w+$' AND b.body ~* ('\m' || t.proname || '"?\s*\(')
), starts AS (
    -- What an insert into the log sets off by itself.
    SELECT g.tgname AS name, false AS is_rule, t.full_name AS on_table, g.tgfoid AS function, g.tgtype & 66 <> 0 AS is_before,
           '' AS body
      FROM pg_trigger g JOIN (SELECT c.oid, format('%I.%I', n.nspname, c.relname) AS full_name FROM pg_class c
                                JOIN pg_namespace n ON n.oid = c.relnamespace) t ON t.oid = g.tgrelid
     WHERE g.tgrelid IN (SELECT oid FROM below WHERE root = 'webhook_routing_logs')
       AND NOT g.tgisinternal AND g.tgenabled IN ('O', 'A') AND g.tgtype & 4 <> 0
     UNION ALL
    SELECT w.rulename, true, l.full_name, 0, w.is_instead, pg_get_ruledef(w.oid)
      FROM pg_rewrite w JOIN log l ON l.oid = w.ev_class WHERE w.ev_type = '3' AND w.ev_enabled IN ('O', 'A')
), running (name, is_rule, on_table, function, body, depth) AS (
    -- And what that calls or sets off in its turn, by the names in its text.
    SELECT s.name, s.is_rule, s.on_table, s.function, coalesce(b.body, s.body), 0
      FROM starts s LEFT JOIN bodies b ON b.oid = s.function
    UNION
    SELECT r.name, r.is_rule, r.on_table, x.oid, x.body, r.depth + 1
      FROM running r JOIN LATERAL (
            SELECT b.oid, b.body FROM bodies b
             WHERE position(lower(b.proname) IN lower(r.body)) > 0 AND b.proname ~ '^\w+$'
               AND r.body ~* ('\m' || b.proname || '"?\s*\(') AND b.proname !~ '^(gen_random|uuid_)'
            UNION ALL
            SELECT b.oid, b.body FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid JOIN bodies b ON b.oid = g.tgfoid
             WHERE NOT g.tgisinternal AND g.tgenabled IN ('O', 'A') AND c.oid NOT IN (SELECT l.oid FROM log l)
               AND position(lower(c.relname) IN lower(r.body)) > 0) x ON x.oid <> r.function AND r.depth < 6
), runs AS (
    -- undone: all of it is of this transaction. drops: by its text it may keep a row away.
    SELECT s.name, s.is_rule, s.on_table, max(own.proname) AS function,
           bool_and((s.is_rule AND r.depth = 0 OR b.lanname IN ('sql', 'plpgsql') OR b.provolatile <> 'v')
               AND coalesce(r.body, '') !~* '\m(copy|dblink\w*|nextval|setval|pg_sleep\w*|lo_\w+|http\w*|pg_read\w*|pg_terminate\w*|pg_cancel\w*|pg_(try_)?advisory\w*|pg_logical\w*|pg_switch\w*)"?\s*(\(|from|to)')
               AS undone,
           bool_or(s.is_rule AND (s.is_before OR s.body ~* '\m(delete|update)\M') OR NOT s.is_rule AND (coalesce(own.lanname, '') NOT IN ('sql', 'plpgsql')
               OR s.is_before AND own.body ~* '\mreturn\s+null\M'
               OR coalesce(r.body, '') ~* '\mdelete\s+from\M|\mnew\.(domain|routed_to|status|response_time_ms|message_id|created_at)\s*:?=[^=]'
               OR coalesce(r.body, '') ~* '\mraise\s+(?!notice|log|info|debug|warning)|\massert\M')) AS drops
      FROM starts s JOIN running r ON r.name = s.name AND r.is_rule = s.is_rule AND r.on_table = s.on_table
      LEFT JOIN bodies own ON own.oid = s.function
      LEFT JOIN bodies b ON b.oid = r.function
     GROUP BY 1, 2, 3
), settings AS (
    -- What the router's role finds set when it connects: of itself here, of itself, of the database.
    SELECT DISTINCT ON (split_part(c.line, '=', 1)) split_part(c.line, '=', 1) AS name,
           substr(c.line, position('=' IN c.line) + 1) AS value,
           CASE WHEN d.setrole = 0 THEN format('DATABASE %I', current_database())
                ELSE format('ROLE %I', r.rolname) || CASE WHEN d.setdatabase = 0 THEN ''
                     ELSE format(' IN DATABASE %I', current_database()) END END AS of
      FROM router r JOIN pg_db_role_setting d ON d.setrole IN (0, r.oid)
       AND d.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
     CROSS JOIN unnest(d.setconfig) c (line)
     WHERE split_part(c.line, '=', 1) IN ('default_transaction_read_only', 'statement_timeout', 'search_path', 'row_security')
     ORDER BY 1, d.setrole = 0, d.setdatabase = 0
)
SELECT
    (SELECT json_agg(json_build_object('name', o.relname, 'schema', o.nspname, 'kind', o.relkind,
            'owner', pg_get_userbyid(o.relowner),
            'columns', (SELECT json_object_agg(a.attname, format_type(a.atttypid, NULL) ORDER BY a.attnum)
                          FROM pg_attribute a WHERE a.attrelid = o.oid AND a.attnum > 0 AND NOT a.attisdropped),
            'keys', (SELECT json_agg(a.attname) FROM pg_partitioned_table pt CROSS JOIN unnest(pt.partattrs) k (attnum)
                       JOIN pg_attribute a ON a.attrelid = o.oid AND a.attnum = k.attnum WHERE pt.partrelid = o.oid),
            'tables', (SELECT json_agg(json_build_object('name', t.full_name, 'kind', t.relkind,
                              'owner', pg_get_userbyid(t.relowner),
                              'indexed', EXISTS (SELECT 1 FROM pg_index i JOIN pg_attribute a
                                    ON a.attrelid = t.oid AND a.attnum = i.indkey[0]
                                  JOIN pg_class ic ON ic.oid = i.indexrelid
                                  JOIN pg_am am ON am.oid = ic.relam AND am.amname = 'btree'
                                 WHERE i.indrelid = t.oid AND a.attname = 'created_at' AND i.indisvalid
                                   AND i.indpred IS NULL)) ORDER BY t.depth)
                         FROM tables t WHERE t.root = o.relname AND NOT t.relispartition),
            'views', (SELECT json_agg(json_build_object('name', v.full_name, 'kind', v.relkind,
                             'definition', pg_get_viewdef(v.oid), 'options', v.reloptions,
                             'owner', pg_get_userbyid(v.relowner), 'depth', v.depth,
                             'grants', (SELECT json_agg(format('GRANT %s ON %s TO %s', x.privilege_type, v.full_name,
                                               CASE WHEN x.grantee = 0 THEN 'PUBLIC'
                                                    ELSE quote_ident(pg_get_userbyid(x.grantee)) END))
                                          FROM aclexplode(v.relacl) x WHERE x.grantee <> v.relowner)) ORDER BY v.depth)
                        FROM views v WHERE v.oid <> o.oid AND o.relname <> 'webhook_routing_stats'
                          AND v.oid IN (SELECT a.oid FROM above a WHERE a.root = o.relname)))) FROM ours o) AS relations,
    (SELECT json_agg(json_build_object('name', c.relname, 'schema', n.nspname, 'kind', c.relkind)
            ORDER BY c.relname, n.nspname)
       FROM wanted w JOIN pg_class c ON c.relname = w.name AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
       JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE c.oid IS DISTINCT FROM to_regclass(w.name) AND NOT c.relispartition AND n.nspname !~ '^pg_'
        AND c.oid NOT IN (SELECT oid FROM below) AND c.oid NOT IN (SELECT oid FROM above)) AS elsewhere,
    (SELECT json_agg(json_build_object('name', f.proname, 'schema', f.nspname, 'full_name', f.full_name,
            'arguments', pg_get_function_identity_arguments(f.oid),
            'types', (SELECT json_agg(format_type(t.type, NULL) ORDER BY t.place)
                        FROM unnest(f.proargtypes) WITH ORDINALITY t (type, place)),
            'returns', pg_get_function_result(f.oid), 'kind', f.prokind,
            'fields', CASE WHEN y.typtype = 'c' THEN (SELECT json_agg(a.attname) FROM pg_attribute a
                                WHERE a.attrelid = y.typrelid AND a.attnum > 0 AND NOT a.attisdropped)
                           WHEN f.proargmodes IS NOT NULL THEN (SELECT json_agg(f.proargnames[i])
                                FROM generate_subscripts(f.proargmodes, 1) i WHERE f.proargmodes[i] IN ('t', 'o', 'b'))
                           END,
            'record_of', (SELECT format('%I.%I', yn.nspname, yc.relname) FROM pg_class yc
                            JOIN pg_namespace yn ON yn.oid = yc.relnamespace
                           WHERE y.typtype = 'c' AND yc.oid = y.typrelid),
            'visible', f.visible, 'definer', f.prosecdef, 'owner', pg_get_userbyid(f.proowner),
            'has_path', coalesce(array_to_string(f.proconfig, ',') LIKE '%search_path%', false),
            'callable', has_function_privilege(f.oid, 'EXECUTE'),
            'public_may', EXISTS (SELECT 1 FROM aclexplode(coalesce(f.proacl, acldefault('f', f.proowner))) x
                WHERE x.privilege_type = 'EXECUTE'
                  AND (x.grantee = 0 OR EXISTS (SELECT 1 FROM public_keys k
                                          WHERE pg_has_role(k.oid, x.grantee, 'MEMBER'))))) ORDER BY f.proname, f.nspname)
       FROM functions f JOIN pg_type y ON y.oid = f.prorettype) AS functions,
    (SELECT json_agg(json_build_object('role', g.rolname, 'may', g.may, 'relation', g.full_name, 'kind', g.relkind,
            'guard', g.guard, 'everyone', EXISTS (SELECT 1 FROM pg_class c CROSS JOIN aclexplode(c.relacl) x
                                       WHERE c.oid = g.oid AND x.grantee = 0)) ORDER BY g.full_name, g.rolname, g.may)
       FROM guarded g WHERE g.guard IS NOT NULL) AS exposed,
    (SELECT json_agg(format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)) ORDER BY 1)
       FROM bodies p JOIN pg_namespace n ON n.oid = p.pronamespace
      WHERE p.prosecdef AND p.oid IN (SELECT t.oid FROM touching t)
        AND p.prorettype <> ALL (ARRAY['trigger'::regtype, 'event_trigger'::regtype])
        AND p.oid NOT IN (SELECT oid FROM functions)
        AND EXISTS (SELECT 1 FROM public_keys r WHERE has_schema_privilege(r.oid, n.oid, 'USAGE')
                       AND EXISTS (SELECT 1 FROM pg_roles g WHERE pg_has_role(r.oid, g.oid, 'MEMBER')
                                      AND has_function_privilege(g.oid, p.oid, 'EXECUTE')))) AS reached,
    EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'service_role') AS service,
    (SELECT json_agg(format('REVOKE %I FROM %I;', pg_get_userbyid(m.roleid), k.rolname) ORDER BY 1)
       FROM pg_auth_members m JOIN public_keys k ON k.oid = m.member) AS memberships,
    -- What an insert by the router meets: for the ways to look that must not insert.
    (SELECT json_build_object(
            'role', (SELECT rolname FROM router),
            'ours', coalesce((SELECT pg_has_role(r.oid, 'MEMBER') FROM router r), false),
            'schema_usage', coalesce((SELECT has_schema_privilege(r.oid, l.relnamespace, 'USAGE') FROM router r), true),
            'row_security', l.relrowsecurity AND coalesce((SELECT NOT r.rolsuper AND NOT r.rolbypassrls
                                 AND NOT pg_has_role(r.oid, l.relowner, 'USAGE') FROM router r), false),
            'policies', (SELECT json_agg(json_build_object('name', p.polname, 'permissive', p.polpermissive,
                                'expression', coalesce(pg_get_expr(p.polwithcheck, p.polrelid),
                                                       pg_get_expr(p.polqual, p.polrelid))))
                           FROM pg_policy p CROSS JOIN router r
                          WHERE p.polrelid = l.oid AND p.polcmd IN ('a', '*') AND EXISTS (
                                SELECT 1 FROM unnest(p.polroles) m (role) WHERE CASE WHEN m.role = 0 THEN true
                                       ELSE pg_has_role(r.oid, m.role, 'USAGE') END)),
            'columns', (SELECT json_object_agg(a.attname, json_build_object('type', format_type(a.atttypid, a.atttypmod),
                               'required', a.attnotnull AND NOT a.atthasdef AND a.attidentity = '',
                               'given', a.atthasdef OR a.attidentity <> '',
                               'refused', CASE WHEN a.attgenerated <> '' THEN 'EXPRESSION' WHEN a.attidentity = 'a' THEN 'IDENTITY' END,
                               'insertable', coalesce((SELECT has_column_privilege(r.oid, l.oid, a.attnum, 'INSERT')
                                                         FROM router r), true)))
                          FROM pg_attribute a WHERE a.attrelid = l.oid AND a.attnum > 0 AND NOT a.attisdropped),
            'sequences', (SELECT json_agg(d.refobjid::regclass::text) FROM pg_attrdef f CROSS JOIN router r
                            JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid
                            JOIN pg_class s ON s.oid = d.refobjid AND s.relkind = 'S'
                           WHERE f.adrelid = l.oid AND d.refclassid = 'pg_class'::regclass
                             AND NOT has_sequence_privilege(r.oid, s.oid, 'USAGE')
                             AND NOT has_sequence_privilege(r.oid, s.oid, 'UPDATE')),
            'triggers', (SELECT json_agg(json_build_object('name', r.name, 'on', r.on_table, 'function', r.function,
                                'undone', r.undone, 'drops', r.drops) ORDER BY r.name) FROM runs r WHERE NOT r.is_rule),
            'rules', (SELECT json_agg(json_build_object('name', r.name, 'on', r.on_table, 'undone', r.undone,
                                'drops', r.drops) ORDER BY r.name) FROM runs r WHERE r.is_rule),
            'settings', (SELECT json_agg(json_build_object('name', x.name, 'value', x.value, 'of', x.of)) FROM settings x),
            'partitions', (SELECT count(*) FROM below b WHERE b.root = 'webhook_routing_logs' AND b.depth > 0),
            'config_triggers', (SELECT json_agg(DISTINCT CAST(g.tgname AS text)) FROM pg_trigger g
                          WHERE g.tgrelid IN (SELECT oid FROM below WHERE root = 'webhook_routing_config')
                            AND NOT g.tgisinternal AND g.tgenabled <> 'D' AND g.tgtype & 16 <> 0))
       FROM log l) AS log,
    -- Row security is active for us, and no policy says that we see every row.
    (SELECT json_agg(json_build_object('name', t.root, 'table', t.full_name, 'owner', pg_get_userbyid(t.relowner),
            'restricted', (SELECT json_agg(p.polname) FROM pg_policy p WHERE p.polrelid = t.oid
                              AND NOT p.polpermissive AND p.polcmd IN ('r', '*'))) ORDER BY t.root, t.full_name)
       FROM tables t
      WHERE t.relkind IN ('r', 'p') AND NOT t.relispartition AND row_security_active(t.oid)
        AND (NOT EXISTS (SELECT 1 FROM pg_policy p, unnest(p.polroles) m (role)
                          WHERE p.polrelid = t.oid AND p.polpermissive AND p.polcmd IN ('r', '*')
                            AND pg_get_expr(p.polqual, p.polrelid) = 'true'
                            AND CASE WHEN m.role = 0 THEN true ELSE pg_has_role(m.role, 'USAGE') END)
             OR EXISTS (SELECT 1 FROM pg_policy p
                         WHERE p.polrelid = t.oid AND NOT p.polpermissive AND p.polcmd IN ('r', '*')))) AS hidden,
    current_user AS role,
    current_database() AS database,
    (SELECT array_agg(s) FROM unnest(current_schemas(false)) s) AS path,
    current_setting('default_transaction_read_only') = 'on' OR pg_is_in_recovery() AS read_only,
    to_regclass('pg_dist_partition') IS NOT NULL AS distributed,
    EXISTS (SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE n.nspname = 'rollout' AND c.relname = 'ledger') AS ledger,
    clock_timestamp() AS clock,
    pg_backend_pid() AS backend
