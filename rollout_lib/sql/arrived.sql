-- How many rows of unified, stamped later than routing went off, were written since? By the order of writing, which
-- no clock can turn: a row is younger than the configuration row (which switching off wrote) if its transaction is.
-- Asked only while routing is off and such rows exist. Binds: settled, as_of (timestamptz).
-- Columns: arrived (null where the order cannot be told: a view, a foreign or a distributed table, routing on).
SELECT CASE WHEN (SELECT c.relkind IN ('r', 'p') FROM pg_class c WHERE c.oid = to_regclass('webhook_routing_logs'))
             AND to_regclass('pg_dist_partition') IS NULL
             AND (SELECT NOT f.enabled OR f.percentage = 0 FROM webhook_routing_config f
                   ORDER BY f.created_at DESC LIMIT 1)
            THEN (SELECT count(*)
                    FROM webhook_routing_logs l
                   WHERE meant(l.routed_to) = 'unified'
                     AND l.created_at > CAST(:settled AS timestamptz) AND l.created_at < CAST(:as_of AS timestamptz)
                     AND age(l.xmin) < (SELECT age(f.xmin) FROM webhook_routing_config f
                                         ORDER BY f.created_at DESC LIMIT 1)) END AS arrived
