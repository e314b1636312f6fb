-- The runbook's objects: webhook_routing_config, webhook_routing_logs, webhook_routing_stats,
-- set_routing_enabled, update_routing_percentage, check_routing_health, get_current_routing_config.
-- One transaction: `psql -f` applies all of it or, where something of it exists already, nothing.
-- (`rollout migrate` leaves out BEGIN and COMMIT, and applies it in one transaction with the ledger's.)
-- The functions update the newest row in place, as deployed systems do: the ledger is the history.

BEGIN;

CREATE TABLE public.webhook_routing_config (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    percentage numeric(5, 2) NOT NULL DEFAULT 0.00,
    enabled boolean NOT NULL DEFAULT false,
    domains text[] NOT NULL DEFAULT ARRAY['jobs', 'marketplace', 'property'],
    notes text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT percentage_is_a_share CHECK (percentage >= 0 AND percentage <= 100),
    CONSTRAINT domains_not_empty CHECK (cardinality(domains) > 0 AND array_position(domains, NULL) IS NULL),
    CONSTRAINT protected_domains_never_routed CHECK (NOT domains && ARRAY['mobility', 'profile', 'insurance']),
    CONSTRAINT newest_is_unambiguous UNIQUE (created_at)
);

CREATE TABLE public.webhook_routing_logs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT now(),
    domain text NOT NULL,
    routed_to text NOT NULL,
    webhook_name text,
    status text NOT NULL,
    response_time_ms integer,
    error_message text,
    message_id text,
    from_number text,
    correlation_id text,
    CONSTRAINT routed_to_is_known CHECK (routed_to IN ('unified', 'legacy', 'error')),
    CONSTRAINT status_is_known CHECK (status IN ('success', 'error')),
    CONSTRAINT response_time_not_negative CHECK (response_time_ms >= 0)
);
-- Serves every window: half-open on created_at, with the columns that the histogram groups by.
CREATE INDEX webhook_routing_logs_created_at ON public.webhook_routing_logs
    (created_at) INCLUDE (domain, routed_to, status, response_time_ms);
-- Serve the search for rows of unified (leaks, the last one), for failing webhooks and for slow ones. None holds
-- a message_id: it comes from outside and may be longer than an index entry, and the row would be lost.
CREATE INDEX webhook_routing_logs_unified ON public.webhook_routing_logs (created_at) INCLUDE (domain)
    WHERE routed_to = 'unified';
CREATE INDEX webhook_routing_logs_errors ON public.webhook_routing_logs (created_at)
    WHERE status IS DISTINCT FROM 'success' OR routed_to = 'error';
CREATE INDEX webhook_routing_logs_slow ON public.webhook_routing_logs (created_at)
    WHERE routed_to = 'unified' AND response_time_ms > 2000;

CREATE VIEW public.webhook_routing_stats WITH (security_invoker = true) AS
SELECT
    domain,
    routed_to,
    count(*) AS request_count,
    avg(response_time_ms) AS avg_response_ms,
    percentile_cont(0.50) WITHIN GROUP (ORDER BY response_time_ms) AS p50_ms,
    percentile_cont(0.95) WITHIN GROUP (ORDER BY response_time_ms) AS p95_ms,
    percentile_cont(0.99) WITHIN GROUP (ORDER BY response_time_ms) AS p99_ms,
    count(*) FILTER (WHERE status = 'error') AS error_count,
    (count(*) FILTER (WHERE status = 'error'))::double precision / count(*) * 100 AS error_rate_pct
FROM public.webhook_routing_logs
WHERE created_at > now() - interval '1 hour'
GROUP BY domain, routed_to;

CREATE FUNCTION public.set_routing_enabled(p_enabled boolean, p_notes text DEFAULT NULL)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE public.webhook_routing_config
       SET enabled = p_enabled, notes = coalesce(p_notes, notes), updated_at = clock_timestamp()
     WHERE id = (SELECT id FROM public.webhook_routing_config ORDER BY created_at DESC LIMIT 1);
    IF NOT FOUND THEN
        RAISE EXCEPTION 'webhook_routing_config has no row: nothing is routed';
    END IF;
END $$;

CREATE FUNCTION public.update_routing_percentage(p_percentage numeric, p_notes text DEFAULT NULL)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF p_percentage IS NULL OR p_percentage = 'NaN' OR p_percentage < 0 OR p_percentage > 100 THEN
        RAISE EXCEPTION 'the percentage must be between 0 and 100, not %', p_percentage;
    END IF;
    UPDATE public.webhook_routing_config
       SET percentage = p_percentage, notes = coalesce(p_notes, notes), updated_at = clock_timestamp()
     WHERE id = (SELECT id FROM public.webhook_routing_config ORDER BY created_at DESC LIMIT 1);
    IF NOT FOUND THEN
        RAISE EXCEPTION 'webhook_routing_config has no row: nothing is routed';
    END IF;
END $$;

CREATE FUNCTION public.get_current_routing_config()
RETURNS TABLE (percentage numeric, enabled boolean, domains text[])
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT c.percentage, c.enabled, c.domains
      FROM public.webhook_routing_config c ORDER BY c.created_at DESC LIMIT 1
$$;

-- One row a metric, on unified's last hour, by the runbook's thresholds: exactly 0.1 % and 2000 ms are not ok.
-- Parallel safe, or no statement that asks it could be answered by several processes.
CREATE FUNCTION public.check_routing_health()
RETURNS TABLE (metric text, value numeric, threshold numeric, status text)
LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    WITH hour AS (
        SELECT count(*) AS requests,
               count(*) FILTER (WHERE l.status = 'error') AS errors,
               percentile_cont(0.95) WITHIN GROUP (ORDER BY l.response_time_ms) AS p95
          FROM public.webhook_routing_logs l
         WHERE l.routed_to = 'unified' AND l.created_at > now() - interval '1 hour'
    )
    SELECT 'error_rate_pct', round(100.0 * errors / nullif(requests, 0), 4), 0.1,
           CASE WHEN requests = 0 THEN 'no data'
                WHEN errors * 1000 < requests THEN 'ok'
                WHEN errors * 200 <= requests THEN 'investigate' ELSE 'rollback' END
      FROM hour
    UNION ALL
    SELECT 'p95_ms', round(p95::numeric, 2), 2000,
           CASE WHEN p95 IS NULL THEN 'no data'
                WHEN p95 < 2000 THEN 'ok' WHEN p95 <= 3000 THEN 'investigate' ELSE 'rollback' END
      FROM hour
    UNION ALL
    SELECT 'requests', requests, NULL, CASE WHEN requests = 0 THEN 'no data' ELSE 'ok' END FROM hour
$$;

INSERT INTO public.webhook_routing_config (percentage, enabled, notes) VALUES (0.00, false, 'before the rollout');

-- PostgREST exposes everything in public: nobody may execute or read these but the service and its owner.
ALTER TABLE public.webhook_routing_config ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.webhook_routing_logs ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON public.webhook_routing_config, public.webhook_routing_logs, public.webhook_routing_stats FROM PUBLIC;
REVOKE ALL ON FUNCTION public.set_routing_enabled(boolean, text), public.update_routing_percentage(numeric, text),
    public.check_routing_health(), public.get_current_routing_config() FROM PUBLIC;
DO $$
DECLARE
    role_name text;
BEGIN
    FOR role_name IN SELECT rolname FROM pg_roles WHERE rolname IN ('anon', 'authenticated') LOOP
        EXECUTE format('REVOKE ALL ON public.webhook_routing_config, public.webhook_routing_logs,
            public.webhook_routing_stats FROM %I', role_name);
        EXECUTE format('REVOKE ALL ON FUNCTION public.set_routing_enabled(boolean, text),
            public.update_routing_percentage(numeric, text), public.check_routing_health(),
            public.get_current_routing_config() FROM %I', role_name);
    END LOOP;
    FOR role_name IN SELECT rolname FROM pg_roles WHERE rolname = 'service_role' LOOP
        EXECUTE format('GRANT SELECT ON public.webhook_routing_config, public.webhook_routing_stats TO %I', role_name);
        EXECUTE format('GRANT SELECT, INSERT ON public.webhook_routing_logs TO %I', role_name);
        EXECUTE format('GRANT EXECUTE ON FUNCTION public.set_routing_enabled(boolean, text),
            public.update_routing_percentage(numeric, text), public.check_routing_health(),
            public.get_current_routing_config() TO %I', role_name);
        EXECUTE format('CREATE POLICY service_reads ON public.webhook_routing_config FOR SELECT TO %I
            USING (true)', role_name);
        EXECUTE format('CREATE POLICY service_logs ON public.webhook_routing_logs FOR ALL TO %I
            USING (true) WITH CHECK (true)', role_name);
    END LOOP;
END $$;

COMMIT;
