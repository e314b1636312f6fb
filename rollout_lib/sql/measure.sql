-- What did each domain send where in the last hour, how fast, and what failed that had not failed before?
-- One statement, one row. The rows from :scan_from to :as_of are read once and grouped; everything else is looked up
-- by index: the last row of unified from the end, bad rows only where the groups show some, and whether a webhook
-- that fails now failed earlier in the phase. So a check costs the same at any age of the phase.
-- Binds: as_of, until, scan_from, phase_start, settled_from, slow_since (timestamptz), edges (timestamptz[], up to eight,
--   rising; the first is scan_from), hour_at, window_at, until_at (integer, their places in edges), slow_ms (integer),
--   domains (text[], lower case), live (boolean).
-- Columns: groups [[domain, routed_to, status, kind of latency, rows from each of eight edges to as_of]],
--   latencies [[domain, routed_to, status, ms, rows of the window, ms where the hour differs, rows more]] ({1,2}),
--   failures [[domain, routed_to, is_error, [microseconds after scan_from]]] (first of each webhook in the phase),
--   ids [[domain, routed_to, of all domains, rows, rows with an id, distinct ids]] (of the newest rows),
--   repeated (failing rows of the one id that has most of them on unified),
--   errors [{domain, routed_to, error_message (cut), occurrences, last_seen}] of the hour up to as_of,
--   leak {rows, domains, first_at, last_at}, last_unified_at, legacy_since_unified (at most 20,000), newest_row_at,
--   ahead {rows, last_at} (stamped later than as_of), contradicted (rows of the hour: success with an
--   error message), hidden [tables that row security may keep from us].
-- Each question about the log is a CTE that is materialized, so that what touches the log can be answered where the
-- log is (on workers, too). Edges are counted, not grouped by: a key more, and the planner expects as many groups as
-- rows, and aggregates in one process.
WITH fine AS MATERIALIZED (
    SELECT l.domain COLLATE "C" AS domain, l.routed_to COLLATE "C" AS routed_to, l.status COLLATE "C" AS status,
           l.response_time_ms AS ms, CAST(count(*) AS integer) AS c1,
           CAST(count(*) FILTER (WHERE l.created_at >= (CAST(:edges AS timestamptz[]))[2]) AS integer) AS c2,
           CAST(count(*) FILTER (WHERE l.created_at >= (CAST(:edges AS timestamptz[]))[3]) AS integer) AS c3,
           CAST(count(*) FILTER (WHERE l.created_at >= (CAST(:edges AS timestamptz[]))[4]) AS integer) AS c4,
           CAST(count(*) FILTER (WHERE l.created_at >= (CAST(:edges AS timestamptz[]))[5]) AS integer) AS c5,
           CAST(count(*) FILTER (WHERE l.created_at >= (CAST(:edges AS timestamptz[]))[6]) AS integer) AS c6,
           CAST(count(*) FILTER (WHERE l.created_at >= (CAST(:edges AS timestamptz[]))[7]) AS integer) AS c7,
           CAST(count(*) FILTER (WHERE l.created_at >= (CAST(:edges AS timestamptz[]))[8]) AS integer) AS c8
      FROM webhook_routing_logs l
     WHERE l.created_at >= CAST(:scan_from AS timestamptz) AND l.created_at < CAST(:as_of AS timestamptz)
     GROUP BY 1, 2, 3, 4
), groups AS MATERIALIZED (
    SELECT g.*, meant(g.routed_to) AS sent_to, meant(g.domain) AS name, meant(g.status) AS said
      FROM (SELECT domain, routed_to, status,
                   CASE WHEN ms IS NULL THEN 'none' WHEN ms < 0 THEN 'negative'
                        WHEN ms > CAST(:slow_ms AS integer) THEN 'slow' ELSE 'fast' END AS kind,
                   sum(c1) AS c1, sum(c2) AS c2, sum(c3) AS c3, sum(c4) AS c4, sum(c5) AS c5, sum(c6) AS c6,
                   sum(c7) AS c7, sum(c8) AS c8
              FROM fine GROUP BY 1, 2, 3, 4) g
), spans AS (
    SELECT domain, routed_to, status, ms, (ARRAY[c1, c2, c3, c4, c5, c6, c7, c8])[CAST(:hour_at AS integer)] AS of_hour,
           (ARRAY[c1, c2, c3, c4, c5, c6, c7, c8])[CAST(:window_at AS integer)]
               - (ARRAY[c1, c2, c3, c4, c5, c6, c7, c8])[CAST(:until_at AS integer)] AS of_window
      FROM fine WHERE ms IS NOT NULL
), spread AS MATERIALIZED (
    -- As text, which is cheaper to write and to read than JSON: what the window has, and where the hour differs.
    SELECT domain, routed_to, status, CAST(array_agg(ms) AS text) AS ms, CAST(array_agg(of_window) AS text) AS n,
           CAST(array_agg(ms) FILTER (WHERE of_hour <> of_window) AS text) AS other_ms,
           CAST(array_agg(of_hour - of_window) FILTER (WHERE of_hour <> of_window) AS text) AS other_n
      FROM spans GROUP BY 1, 2, 3
), found AS MATERIALIZED (
    -- What is there at all? A search that would find nothing is not made.
    SELECT coalesce(sum(c1) FILTER (WHERE said <> 'success' OR sent_to NOT IN ('unified', 'legacy')), 0) AS errors,
           coalesce(sum(c1) FILTER (WHERE sent_to NOT IN ('unified', 'legacy', 'error') AND status = 'success'), 0) AS nowhere,
           coalesce(sum(c1) FILTER (WHERE routed_to = 'unified' AND kind = 'slow'), 0) AS slow,
           coalesce(sum(c1) FILTER (WHERE sent_to = 'unified' AND routed_to <> 'unified'), 0) AS spelled,
           coalesce(sum(c1) FILTER (WHERE sent_to = 'unified' AND name <> ALL (CAST(:domains AS text[]))), 0) AS leaked
      FROM groups
), words AS MATERIALIZED (
    -- As they are written in the log: what is meant by them is asked once, and the log is searched for these.
    SELECT coalesce(array_agg(DISTINCT routed_to) FILTER (WHERE sent_to = 'unified'), '{}') AS unified,
           coalesce(array_agg(DISTINCT routed_to) FILTER (WHERE sent_to IN ('unified', 'legacy')), '{}') AS reached,
           coalesce(array_agg(DISTINCT coalesce(routed_to, '')) FILTER (WHERE sent_to NOT IN ('unified', 'legacy', 'error')),
                    '{}') AS nowhere,
           coalesce(array_agg(DISTINCT status) FILTER (WHERE said = 'success'), '{}') AS success,
           coalesce(array_agg(DISTINCT coalesce(domain, '')) FILTER (WHERE name <> ALL (CAST(:domains AS text[]))),
                    '{}') AS strange
      FROM groups
), wrong AS MATERIALIZED (
    SELECT e.domain, e.routed_to, e.status, CAST(e.message_id AS text) AS message_id, e.created_at,
           left(e.error_message, 500) AS error_message
      FROM webhook_routing_logs e
     WHERE (e.status IS DISTINCT FROM 'success' OR e.routed_to = 'error') AND (SELECT errors FROM found) > 0
       AND (e.status COLLATE "C" = ANY (CAST((SELECT success FROM words) AS text[]))
            AND e.routed_to COLLATE "C" = ANY (CAST((SELECT reached FROM words) AS text[]))) IS NOT TRUE
       AND e.created_at >= CAST(:scan_from AS timestamptz) AND e.created_at < CAST(:as_of AS timestamptz)
     UNION ALL
    SELECT n.domain, n.routed_to, n.status, CAST(n.message_id AS text), n.created_at, left(n.error_message, 500)
      FROM webhook_routing_logs n
     WHERE n.status = 'success' AND (SELECT nowhere FROM found) > 0
       AND coalesce(n.routed_to, '') COLLATE "C" = ANY (CAST((SELECT nowhere FROM words) AS text[]))
       AND n.created_at >= CAST(:scan_from AS timestamptz) AND n.created_at < CAST(:as_of AS timestamptz)
), late AS MATERIALIZED (
    SELECT s.domain, s.routed_to, CAST(s.message_id AS text) AS message_id, s.created_at
      FROM webhook_routing_logs s
     WHERE s.routed_to = 'unified' AND s.response_time_ms > CAST(:slow_ms AS integer) AND (SELECT slow FROM found) > 0
       AND s.created_at >= CAST(:scan_from AS timestamptz) AND s.created_at < CAST(:until AS timestamptz)
     UNION ALL
    SELECT o.domain, o.routed_to, CAST(o.message_id AS text), o.created_at
      FROM webhook_routing_logs o
     WHERE o.routed_to <> 'unified' AND o.routed_to COLLATE "C" = ANY (CAST((SELECT unified FROM words) AS text[]))
       AND o.response_time_ms > CAST(:slow_ms AS integer) AND (SELECT spelled FROM found) > 0
       AND o.created_at >= CAST(:scan_from AS timestamptz) AND o.created_at < CAST(:until AS timestamptz)
), bad AS MATERIALIZED (
    -- Bad rows up to :until. An id is more than space and punctuation.
    SELECT domain, meant(routed_to) AS routed_to, true AS is_error, status, created_at,
           CASE WHEN btrim(message_id, E' \t\r\n-_.?') <> '' THEN message_id END AS id
      FROM wrong
     WHERE created_at < CAST(:until AS timestamptz)
     UNION ALL
    SELECT domain, 'unified', false, NULL, created_at, CASE WHEN btrim(message_id, E' \t\r\n-_.?') <> '' THEN message_id END
      FROM late
), newest_unified AS MATERIALIZED (
    SELECT u.domain, u.routed_to, CAST(u.message_id AS text) AS message_id
      FROM webhook_routing_logs u
     WHERE u.routed_to = 'unified'
       AND u.created_at >= CAST(:scan_from AS timestamptz) AND u.created_at < CAST(:as_of AS timestamptz)
     ORDER BY u.created_at DESC LIMIT 200
), sparse AS MATERIALIZED (
    -- Domains with failures of which the newest rows hold few: their own newest ones.
    SELECT r.domain, r.routed_to, CAST(r.message_id AS text) AS message_id
      FROM webhook_routing_logs r
     WHERE r.routed_to = 'unified'
       AND r.domain = ANY (ARRAY(SELECT b.domain FROM bad b WHERE b.routed_to = 'unified'
                                 EXCEPT SELECT domain FROM newest_unified GROUP BY 1 HAVING count(*) >= 20))
       AND r.created_at >= CAST(:scan_from AS timestamptz) AND r.created_at < CAST(:as_of AS timestamptz)
     ORDER BY r.created_at DESC LIMIT 400
), newest_others AS MATERIALIZED (
    SELECT a.domain, a.routed_to, CAST(a.message_id AS text) AS message_id
      FROM webhook_routing_logs a
     WHERE a.routed_to IS DISTINCT FROM 'unified'
       AND a.created_at >= CAST(:scan_from AS timestamptz) AND a.created_at < CAST(:as_of AS timestamptz)
     ORDER BY a.created_at DESC LIMIT 200
), ids AS MATERIALIZED (
    -- A line a domain, and one of each destination as a whole (all).
    SELECT domain, meant(routed_to) AS routed_to, grouping(domain) = 1 AS is_all,
           count(*) AS n, count(*) FILTER (WHERE btrim(message_id, E' \t\r\n-_.?') <> '') AS named,
           count(DISTINCT message_id COLLATE "C") FILTER (WHERE btrim(message_id, E' \t\r\n-_.?') <> '') AS different
      FROM (SELECT * FROM newest_unified UNION ALL SELECT * FROM newest_others) rows
     GROUP BY GROUPING SETS ((1, 2), (2))
     UNION ALL
    SELECT domain, 'unified', false, count(*), count(*) FILTER (WHERE btrim(message_id, E' \t\r\n-_.?') <> ''),
           count(DISTINCT message_id COLLATE "C") FILTER (WHERE btrim(message_id, E' \t\r\n-_.?') <> '')
      FROM sparse GROUP BY domain
), told AS (
    -- Bad rows whose id identifies them; where ids identify nothing, rows count by themselves.
    SELECT b.*, b.id IS NOT NULL AND NOT EXISTS (
               SELECT 1 FROM ids i
                WHERE i.routed_to = b.routed_to AND (i.is_all OR i.domain IS NOT DISTINCT FROM b.domain)
                  AND i.named > 10 AND i.different * 10 < i.named) AS is_told
      FROM bad b
), firsts AS MATERIALIZED (
    -- A webhook seen under two domains fails once: where it failed first.
    SELECT DISTINCT ON (is_error, routed_to, id COLLATE "C") domain, routed_to, is_error, status, created_at, id
      FROM told WHERE is_told ORDER BY is_error, routed_to, id COLLATE "C", created_at, domain
), before AS MATERIALIZED (
    -- Those that failed in the phase before the rows that are read again. Three searches, each by an index of its
    -- own: errors, failures of another kind (where there are some now), and slow ones.
    SELECT true AS is_error, meant(p.routed_to) AS routed_to,
           CAST(p.message_id AS text) AS id
      FROM webhook_routing_logs p
     WHERE p.status = 'error' AND (p.status IS DISTINCT FROM 'success' OR p.routed_to = 'error')
       AND p.created_at >= CAST(:phase_start AS timestamptz) AND p.created_at < CAST(:scan_from AS timestamptz)
       AND CAST(p.message_id AS text) = ANY (ARRAY(SELECT id FROM firsts WHERE is_error))
       AND (SELECT count(*) FROM firsts WHERE is_error) > 0
     UNION ALL
    SELECT true, meant(q.routed_to), CAST(q.message_id AS text)
      FROM webhook_routing_logs q
     WHERE q.status IS DISTINCT FROM 'error'
       AND (meant(q.status) = 'success' AND meant(q.routed_to) IN ('unified', 'legacy')) IS NOT TRUE
       AND q.created_at >= CAST(:phase_start AS timestamptz) AND q.created_at < CAST(:scan_from AS timestamptz)
       AND CAST(q.message_id AS text) = ANY (ARRAY(SELECT id FROM firsts WHERE is_error))
       AND (SELECT count(*) FROM firsts WHERE is_error AND status IS DISTINCT FROM 'error') > 0
     UNION ALL
    SELECT false, 'unified', CAST(r.message_id AS text)
      FROM webhook_routing_logs r
     WHERE r.routed_to = 'unified' AND r.response_time_ms > CAST(:slow_ms AS integer)
       AND r.created_at >= CAST(:slow_since AS timestamptz) AND r.created_at < CAST(:scan_from AS timestamptz)
       AND CAST(r.message_id AS text) = ANY (ARRAY(SELECT id FROM firsts WHERE NOT is_error))
       AND (SELECT count(*) FROM firsts WHERE NOT is_error) > 0
), failures AS (
    SELECT f.domain, f.routed_to, f.is_error, f.created_at
      FROM firsts f
     WHERE NOT EXISTS (SELECT 1 FROM before b
                        WHERE b.is_error = f.is_error AND b.routed_to = f.routed_to AND b.id = f.id)
     UNION ALL
    SELECT domain, routed_to, is_error, created_at FROM told WHERE NOT is_told
), repeated AS (
    SELECT count(*) AS n FROM bad WHERE is_error AND routed_to = 'unified' AND id IS NOT NULL
     GROUP BY id ORDER BY n DESC LIMIT 1
), timed AS (
    SELECT domain, routed_to, is_error,
           array_agg(CAST(extract(epoch FROM created_at - CAST(:scan_from AS timestamptz)) * 1000000 AS bigint)) AS at
      FROM failures GROUP BY 1, 2, 3
), mistakes AS (
    SELECT domain, routed_to, error_message, count(*) AS occurrences, max(created_at) AS last_seen
      FROM wrong WHERE created_at >= (CAST(:edges AS timestamptz[]))[CAST(:hour_at AS integer)]
     GROUP BY 1, 2, 3 ORDER BY occurrences DESC, last_seen DESC LIMIT 200
), leak AS MATERIALIZED (
    SELECT count(*) AS rows, array_agg(DISTINCT coalesce(k.domain, 'unknown')) AS domains,
           min(k.created_at) AS first_at, max(k.created_at) AS last_at
      FROM webhook_routing_logs k
     WHERE k.routed_to COLLATE "C" = ANY (CAST((SELECT unified FROM words) AS text[])) AND (SELECT leaked FROM found) > 0
       AND coalesce(k.domain, '') COLLATE "C" = ANY (CAST((SELECT strange FROM words) AS text[]))
       AND k.created_at >= greatest(CAST(:scan_from AS timestamptz), CAST(:phase_start AS timestamptz))
       AND k.created_at < CAST(:as_of AS timestamptz)
), last_unified AS MATERIALIZED (
    -- Of any domain: while routing is off, none may come.
    SELECT max(l.created_at) AS at
      FROM webhook_routing_logs l
     WHERE l.routed_to = 'unified'
       AND l.created_at >= CAST(:phase_start AS timestamptz) AND l.created_at < CAST(:as_of AS timestamptz)
), last_spelled AS MATERIALIZED (
    SELECT max(l.created_at) AS at
      FROM webhook_routing_logs l
     WHERE l.routed_to COLLATE "C" = ANY (CAST((SELECT unified FROM words) AS text[])) AND (SELECT spelled FROM found) > 0
       AND l.created_at >= greatest(CAST(:scan_from AS timestamptz), CAST(:phase_start AS timestamptz))
       AND l.created_at < CAST(:as_of AS timestamptz)
), legacy_since AS MATERIALIZED (
    SELECT count(*) AS n
      FROM (SELECT 1
              FROM webhook_routing_logs l
             WHERE l.routed_to = 'legacy' AND l.domain = ANY (CAST(:domains AS text[]))
               AND l.created_at >= greatest(CAST(:settled_from AS timestamptz), (SELECT at FROM last_unified),
                                            (SELECT at FROM last_spelled))
               AND l.created_at < CAST(:until AS timestamptz)
             LIMIT 20000) enough
), newest AS MATERIALIZED (
    SELECT max(l.created_at) AS at FROM webhook_routing_logs l WHERE l.created_at < CAST(:as_of AS timestamptz)
), ahead AS MATERIALIZED (
    SELECT count(*) AS rows, max(created_at) AS last_at
      FROM (SELECT l.created_at FROM webhook_routing_logs l
             WHERE l.created_at >= CAST(:as_of AS timestamptz) AND CAST(:live AS boolean)
             ORDER BY l.created_at DESC LIMIT 1000) stamped
), contradicted AS MATERIALIZED (
    SELECT count(*) AS n
      FROM webhook_routing_logs m
     WHERE m.routed_to COLLATE "C" = ANY (CAST((SELECT unified FROM words) AS text[]))
       AND m.status COLLATE "C" = ANY (CAST((SELECT success FROM words) AS text[])) AND btrim(m.error_message) <> ''
       AND m.created_at >= (CAST(:edges AS timestamptz[]))[CAST(:hour_at AS integer)]
       AND m.created_at < CAST(:as_of AS timestamptz)
), log AS (
    -- The log, and the tables that it reads where it is a view, each with the role that row security asks about.
    SELECT CAST(to_regclass('webhook_routing_logs') AS oid) AS oid, (SELECT oid FROM pg_roles WHERE rolname = current_user)
               AS asked
     UNION
    SELECT d.refobjid,
           CASE WHEN EXISTS (SELECT 1 FROM pg_options_to_table(v.reloptions) o
                    WHERE o.option_name = 'security_invoker' AND CAST(o.option_value AS boolean))
                THEN (SELECT oid FROM pg_roles WHERE rolname = current_user) ELSE v.relowner END
      FROM pg_class v
      JOIN pg_rewrite w ON w.ev_class = v.oid
      JOIN pg_depend d ON d.classid = CAST('pg_rewrite' AS regclass) AND d.objid = w.oid
                      AND d.refclassid = CAST('pg_class' AS regclass) AND d.refobjid <> v.oid
     WHERE v.oid = to_regclass('webhook_routing_logs') AND v.relkind = 'v'
), hidden AS MATERIALIZED (
    SELECT DISTINCT c.relname
      FROM log
      JOIN pg_class c ON c.oid = log.oid
      JOIN pg_roles r ON r.oid = log.asked
     WHERE c.relkind IN ('r', 'p') AND c.relrowsecurity AND NOT (r.rolsuper OR r.rolbypassrls)
       AND (c.relforcerowsecurity OR NOT pg_has_role(r.oid, c.relowner, 'USAGE'))
       AND (NOT EXISTS (SELECT 1 FROM pg_policy p, unnest(p.polroles) m (role)
                         WHERE p.polrelid = c.oid AND p.polpermissive AND p.polcmd IN ('r', '*')
                           AND pg_get_expr(p.polqual, p.polrelid) = 'true'
                           AND CASE WHEN m.role = 0 THEN true ELSE pg_has_role(r.oid, m.role, 'USAGE') END)
            OR EXISTS (SELECT 1 FROM pg_policy p, unnest(p.polroles) m (role)
                        WHERE p.polrelid = c.oid AND NOT p.polpermissive AND p.polcmd IN ('r', '*')
                          AND CASE WHEN m.role = 0 THEN true ELSE pg_has_role(r.oid, m.role, 'USAGE') END))
)
SELECT (SELECT json_agg(json_build_array(domain, routed_to, status, kind, c1, c2, c3, c4, c5, c6, c7, c8))
          FROM groups) AS groups,
       (SELECT json_agg(json_build_array(domain, routed_to, status, ms, n, other_ms, other_n)) FROM spread) AS latencies,
       (SELECT json_agg(json_build_array(domain, routed_to, is_error, at)) FROM timed) AS failures,
       (SELECT json_agg(json_build_array(domain, routed_to, is_all, n, named, different)) FROM ids) AS ids,
       (SELECT n FROM repeated) AS repeated,
       (SELECT json_agg(row_to_json(mistakes)) FROM mistakes) AS errors,
       (SELECT row_to_json(leak) FROM leak) AS leak,
       (SELECT greatest(u.at, s.at) FROM last_unified u, last_spelled s) AS last_unified_at,
       (SELECT n FROM legacy_since) AS legacy_since_unified,
       (SELECT at FROM newest) AS newest_row_at,
       (SELECT row_to_json(ahead) FROM ahead) AS ahead,
       (SELECT n FROM contradicted) AS contradicted,
       (SELECT json_agg(relname ORDER BY relname) FROM hidden) AS hidden
