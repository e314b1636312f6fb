"""What a pre-flight on a real database must find: each arranged on the server, and mended by its
statement.
"""

from __future__ import annotations

import json
import threading
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psycopg
import pytest

from rollout_lib import operations as op
from rollout_lib import probes
from rollout_lib.database.migrations import migrate
from rollout_lib.database.session import open_session
from rollout_lib.errors import CouldNotMeasure, ShapeRefused, TablesMissing
from rollout_lib.model import Outcome, State
from rollout_lib.model.record import to_json
from tests.db.conftest import Site

CONSTRAINTS = (
    "ALTER TABLE webhook_routing_config DROP CONSTRAINT newest_is_unambiguous, "
    "DROP CONSTRAINT protected_domains_never_routed, DROP CONSTRAINT domains_not_empty"
)


def test_a_database_as_it_should_be_passes(site):
    """Every check passes but the function's, which nobody can look at without an address; a pooler
    is a warning.
    """
    done = site.run()
    by_outcome = {check.name: check.outcome for check in done.verdict.checks}
    assert done.state is State.PASS
    assert done.exit_code == 0
    assert by_outcome.pop("router function ACTIVE") is Outcome.COULD_NOT_LOOK
    assert by_outcome.pop("protected") is Outcome.NOT_APPLICABLE
    assert by_outcome.pop("connection") in (Outcome.PASS, Outcome.WARN)
    assert set(by_outcome.values()) == {Outcome.PASS}


# (what is arranged, the check, its outcome, what it observed); the mending statement is run and
# looked at again.
FINDINGS = {
    "EXECUTE for everyone": (
        "GRANT EXECUTE ON FUNCTION update_routing_percentage(numeric, text) TO PUBLIC",
        "functions not public",
        Outcome.FAIL,
        "update_routing_percentage",
    ),
    "SECURITY DEFINER without a search_path": (
        "ALTER FUNCTION set_routing_enabled(boolean, text) RESET search_path",
        "search_path of functions",
        Outcome.FAIL,
        "set_routing_enabled",
    ),
    "an index missing on created_at": (
        "DROP INDEX webhook_routing_logs_created_at",
        "index on created_at",
        Outcome.WARN,
        "missing",
    ),
    "an index by hash on created_at": (
        "DROP INDEX webhook_routing_logs_created_at;"
        " CREATE INDEX ON webhook_routing_logs USING hash (created_at)",
        "index on created_at",
        Outcome.WARN,
        "missing",
    ),
    "several rows of one created_at": (
        (
            f"{CONSTRAINTS}; INSERT INTO webhook_routing_config (created_at) "
            "SELECT created_at FROM webhook_routing_config"
        ),
        "configuration row",
        Outcome.FAIL,
        "2 rows of one created_at",
    ),
    "a second, newer configuration row": (
        "INSERT INTO webhook_routing_config (percentage) VALUES (0)",
        "configuration row",
        Outcome.WARN,
        "2 rows",
    ),
    "no configuration row": (
        "DELETE FROM webhook_routing_config",
        "configuration row",
        Outcome.FAIL,
        "none",
    ),
    "a domain that the plan does not have": (
        (
            "UPDATE webhook_routing_config SET domains = ARRAY['jobs', 'marketplace', 'property',"
            " 'rides']"
        ),
        "configured domains",
        Outcome.FAIL,
        "jobs, marketplace, property, rides",
    ),
    "a protected domain in the configuration": (
        f"{CONSTRAINTS}; UPDATE webhook_routing_config SET domains = domains || ARRAY['mobility']",
        "configured domains",
        Outcome.FAIL,
        "mobility",
    ),
    "no domain in the configuration": (
        f"{CONSTRAINTS}; UPDATE webhook_routing_config SET domains = ARRAY[]::text[]",
        "configured domains",
        Outcome.FAIL,
        "none",
    ),
    "a plan's column of another type": (
        (
            "DROP VIEW webhook_routing_stats; ALTER TABLE webhook_routing_logs "
            "ALTER COLUMN webhook_name TYPE varchar(80)"
        ),
        "shape of webhook_routing_stats",
        Outcome.FAIL,
        "missing",
    ),
    "routing already enabled": (
        "SELECT set_routing_enabled(true, 'somebody')",
        "initial configuration",
        Outcome.FAIL,
        "0 %, enabled",
    ),
    "routing not at 0": (
        "SELECT update_routing_percentage(25, 'somebody')",
        "initial configuration",
        Outcome.FAIL,
        "25 %, disabled",
    ),
    "leaked rows of before": (
        (
            "INSERT INTO webhook_routing_logs (created_at, domain, routed_to, status) "
            "VALUES (now() - interval '5 hours', 'mobility', 'unified', 'success')"
        ),
        "no earlier leak",
        Outcome.FAIL,
        "1 rows of mobility",
    ),
    "router errors at 0 %": (
        (
            "INSERT INTO webhook_routing_logs (created_at, domain, routed_to, status) SELECT now()"
            " - interval '1 hour', 'unknown', 'error', 'error' FROM generate_series(1, 5)"
        ),
        "router errors at 0 %",
        Outcome.FAIL,
        "5/605",
    ),
    "legacy over its own error limit": (
        "UPDATE webhook_routing_logs SET status = 'error' WHERE id % 20 = 0",
        "legacy error rate",
        Outcome.FAIL,
        "30/600 = 5.00 %",
    ),
    "legacy over its own p95 limit": (
        "UPDATE webhook_routing_logs SET response_time_ms = 2500 WHERE id % 5 = 0",
        "legacy p95",
        Outcome.FAIL,
        "2,500 ms",
    ),
    "a domain that the router renamed": (
        "UPDATE webhook_routing_logs SET domain = 'housing' WHERE domain = 'property'",
        "every domain receives traffic",
        Outcome.FAIL,
        "silent",
    ),
    "a function of another signature": (
        (
            "DROP FUNCTION update_routing_percentage(numeric, text); CREATE FUNCTION"
            " update_routing_percentage(p integer) RETURNS void LANGUAGE sql AS 'SELECT'; REVOKE"
            " ALL ON FUNCTION update_routing_percentage(integer) FROM PUBLIC"
        ),
        "functions",
        Outcome.FAIL,
        "update_routing_percentage(numeric, text) is of another signature",
    ),
    "a configuration distributed by Citus": (
        (
            "CREATE TABLE pg_dist_partition AS SELECT 'webhook_routing_config'::regclass AS"
            " logicalrelid"
        ),
        "coordinator",
        Outcome.WARN,
        "webhook_routing_config",
    ),
}


@pytest.mark.parametrize("finding", FINDINGS)
def test_a_finding_is_a_named_check_and_its_statement_mends_it(site, finding):
    """The check says what was observed; a FAIL makes the pre-flight say no; the mending SQL makes
    it pass.
    """
    arranged, name, outcome, observed = FINDINGS[finding]
    site.arrange(arranged)
    done = site.run()
    found = {check.name: check for check in done.verdict.checks}[name]
    assert (found.outcome, observed in found.observed) == (outcome, True), found
    assert (done.state, done.exit_code) == (
        (State.HOLD, 20) if outcome is Outcome.FAIL else (State.PASS, 0)
    )
    assert name.startswith(("legacy", "router", "every domain")) or found.mend, (
        "nothing says what mends it"
    )
    if found.mend and found.mend.split()[0] in (
        "REVOKE",
        "ALTER",
        "CREATE",
        "DELETE",
        "INSERT",
        "UPDATE",
    ):
        site.arrange(found.mend)
        assert site.look()[name].outcome is Outcome.PASS


def test_with_supabase_roles_what_the_public_key_may_do_is_named(
    supabase_roles, database, direct, tmp_path
):
    """Supabase grants all on everything in public to anon: readable logs and callable functions are
    found.
    """
    site = Site(direct, tmp_path)
    assert site.look()["logs not public"].outcome is Outcome.PASS
    site.arrange(
        "GRANT ALL ON ALL TABLES IN SCHEMA public TO anon; GRANT ALL ON ALL FUNCTIONS IN SCHEMA"
        " public TO anon"
    )
    guarded = site.look()
    assert guarded["logs not public"].outcome is Outcome.PASS, "row security lets anon see no row"
    assert guarded["functions not public"].outcome is Outcome.FAIL
    site.arrange(
        "ALTER TABLE webhook_routing_logs DISABLE ROW LEVEL SECURITY; "
        "ALTER VIEW webhook_routing_stats RESET (security_invoker)"
    )
    found = site.look()
    assert "anon may select webhook_routing_logs" in found["logs not public"].observed
    assert "anon may insert webhook_routing_logs" in found["logs not public"].observed
    assert "anon may select webhook_routing_stats" in found["logs not public"].observed
    site.arrange(f"{found['logs not public'].mend} {found['functions not public'].mend}")
    mended = site.look()
    assert mended["logs not public"].outcome is Outcome.PASS
    assert mended["functions not public"].outcome is Outcome.PASS
    with psycopg.connect(direct, user="service_role") as service:
        assert service.execute("SELECT enabled FROM get_current_routing_config()").fetchone() == (
            False,
        )


def test_row_security_that_hides_rows_is_could_not_look(site, server, monkeypatch, plan):
    """For a role under row security the log looks empty: COULD NOT LOOK with exit 50, never `no
    errors`.
    """
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute("CREATE ROLE stranger LOGIN")
        try:
            site.arrange(
                "GRANT SELECT ON ALL TABLES IN SCHEMA public TO stranger; GRANT USAGE ON SCHEMA"
                " rollout TO stranger; GRANT SELECT ON ALL TABLES IN SCHEMA rollout TO stranger"
            )
            address = psycopg.conninfo.conninfo_to_dict(
                open_session(str(site.plan_file)).database.address
            )
            monkeypatch.setenv(
                plan.database.variable,
                psycopg.conninfo.make_conninfo(**{**address, "user": "stranger"}),
            )
            done = site.run()
            found = {check.name: check for check in done.verdict.checks}
            assert done.exit_code == 50
            assert found["rows visible to us"].outcome is Outcome.COULD_NOT_LOOK
            assert (
                found["rows visible to us"].observed
                == "webhook_routing_config, webhook_routing_logs"
            )
            assert "CREATE POLICY" in found["rows visible to us"].mend
            for table in ("webhook_routing_logs", "webhook_routing_config"):
                site.arrange(f"CREATE POLICY reads ON {table} FOR SELECT TO stranger USING (true)")
            assert site.look()["rows visible to us"].outcome is Outcome.PASS
        finally:
            site.arrange("DROP OWNED BY stranger")
            admin.execute("DROP ROLE stranger")


def test_a_pooler_is_found_and_a_direct_connection_is_not_called_one(site, server_kind):
    """Through pgbouncer in transaction mode the connection is named as pooled;
    else it is direct.
    """
    found = site.look()["connection"]
    pooled = server_kind == "pgbouncer"
    assert found.outcome is (Outcome.WARN if pooled else Outcome.PASS)
    assert found.observed == ("through a pooler" if pooled else "direct")


def test_a_read_only_database_is_found(site, database, server):
    """A database whose transactions are read-only by default is a FAIL; the mending statement names
    it.
    """
    site.arrange(
        f'ALTER DATABASE "{database.place.database}" SET default_transaction_read_only = on'
    )
    with psycopg.connect(
        server, autocommit=True
    ) as admin:  # a pooler keeps sessions that began before the setting
        admin.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s",
            (database.place.database,),
        )
    found = site.look()["database writable"]
    assert (found.outcome, found.observed) == (Outcome.FAIL, "read-only")
    with psycopg.connect(
        site.direct, autocommit=True, options="-c default_transaction_read_only=off"
    ) as admin:
        admin.execute(found.mend)
    with psycopg.connect(site.direct) as fresh:
        assert fresh.execute("SHOW default_transaction_read_only").fetchone() == ("off",)


def test_clocks_that_are_apart_are_found(site, monkeypatch):
    """A client whose clock is ten minutes fast is told how far it is away; the database's clock
    counts.
    """
    from rollout_lib.database import inspection

    class Fast(inspection.datetime):
        @classmethod
        def now(cls, tz=None):
            return super().now(tz) + inspection.timedelta(minutes=10)

    monkeypatch.setattr(inspection, "datetime", Fast)
    found = site.look()["clocks"]
    assert found.outcome is Outcome.WARN
    assert found.observed.startswith(("599", "600"))


# --- shapes of other systems
# -----------------------------------------------------------------------------

OLDER_CONFIG = """CREATE TABLE webhook_routing_config (id serial PRIMARY KEY, domain text, target_function text,
    traffic_percentage integer)"""
BOTH_CONFIG = """CREATE TABLE webhook_routing_config (id serial PRIMARY KEY, domain text, target_function text,
    traffic_percentage integer, percentage numeric(5, 2) DEFAULT 0, enabled boolean DEFAULT false,
    domains text[] DEFAULT '{jobs}', created_at timestamptz DEFAULT now())"""
OLDER_LOGS = """CREATE TABLE webhook_routing_logs (id serial PRIMARY KEY, domain text, routed_to text,
    latency_ms integer, success boolean, routed_at timestamptz DEFAULT now())"""


@pytest.mark.parametrize(
    ("created", "said"),
    [
        (
            OLDER_CONFIG,
            [
                "columns of an older system: target_function, traffic_percentage",
                "percentage is missing",
            ],
        ),
        (
            BOTH_CONFIG,
            ["columns of an older system: target_function, traffic_percentage", "by hand, as "],
        ),
        (
            OLDER_LOGS,
            ["latency_ms, routed_at, success", "webhook_name is missing", "status is missing"],
        ),
    ],
    ids=["an older configuration", "both sets of columns", "older logs"],
)
def test_an_older_shape_is_refused_with_each_difference_and_nothing_is_written(
    empty_database, created, said
):
    """Pre-flight and migration refuse with exit 2, name the columns and the statement, and change
    nothing. Of both sets in one table none is renamed away: a router runs on one of them.
    """
    with psycopg.connect(empty_database.address, autocommit=True) as admin:
        admin.execute(created)
        before = admin.execute("SELECT count(*) FROM pg_class").fetchone()
        for refused in (
            lambda: migrate(empty_database, apply=True),
            lambda: op.preflight(open_session()),
        ):
            with pytest.raises(ShapeRefused) as caught:
                refused()
            assert caught.value.exit_code == 2
            assert all(words in str(caught.value) for words in said)
            assert ("RENAME TO" in str(caught.value)) is (created is not BOTH_CONFIG)
        assert admin.execute("SELECT count(*) FROM pg_class").fetchone() == before


def test_a_database_without_the_tables_says_which_command_makes_them(empty_database):
    """Exit 50, the tables by name, `rollout migrate --apply`."""
    with pytest.raises(TablesMissing, match="rollout migrate --apply") as caught:
        op.preflight(open_session())
    assert "webhook_routing_config, webhook_routing_logs, rollout.ledger" in str(caught.value)


# --- the function and the protected endpoints
# ------------------------------------------------------------


class StandIn:
    """Answers like the Management API and like protected endpoints; keeps (method, path,
    authorization).
    """

    def __init__(self) -> None:
        self.asked, self.functions, self.down, self.refused = [], [], set(), 0
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                stand_in.asked.append(("GET", self.path, self.headers.get("Authorization")))
                listed = self.path.endswith("/functions")
                self.send_response(stand_in.refused or (503 if self.path in stand_in.down else 200))
                self.end_headers()
                self.wfile.write(json.dumps(stand_in.functions).encode() if listed else b"ok")

            def do_POST(self) -> None:
                stand_in.asked.append(("POST", self.path, None))
                self.send_response(500)
                self.end_headers()

            do_PUT = do_PATCH = do_DELETE = do_HEAD = do_POST

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def stand_in(monkeypatch):
    monkeypatch.setattr(probes, "PAUSE_S", 0.01)
    stand_in = StandIn()
    yield stand_in
    stand_in.server.shutdown()
    stand_in.server.server_close()


@pytest.mark.parametrize(
    ("functions", "outcome", "observed"),
    [
        (
            [{"slug": "webhook-traffic-router", "status": "ACTIVE", "version": 1}],
            Outcome.PASS,
            "ACTIVE, version 1",
        ),
        (
            [{"slug": "webhook-traffic-router", "status": "REMOVED", "version": 3}],
            Outcome.FAIL,
            "REMOVED",
        ),
        (
            [{"slug": "wa-webhook-jobs", "status": "ACTIVE"}],
            Outcome.FAIL,
            "not among the deployed functions",
        ),
        ({"message": "no"}, Outcome.COULD_NOT_LOOK, "the function list has another shape"),
    ],
    ids=["active", "removed", "not deployed", "another answer"],
)
def test_the_function_list_of_the_management_api_says_whether_the_router_is_active(
    site, stand_in, monkeypatch, functions, outcome, observed
):
    """webhook-traffic-router ACTIVE is read with the environment's token; any other answer is not a
    pass.
    """
    monkeypatch.setenv(probes.TOKEN, "sbp_0123456789abcdef0123456789abcdef")
    stand_in.functions = functions
    site.configure(management_project="abcd", management_address=stand_in.address)
    found = site.look()["router function ACTIVE"]
    assert found.outcome is outcome
    assert observed in found.observed
    assert stand_in.asked == [
        ("GET", "/v1/projects/abcd/functions", "Bearer sbp_0123456789abcdef0123456789abcdef")
    ]


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_that_expired_is_could_not_look_and_no_pass(site, stand_in, monkeypatch, status):
    """The Management API refuses it: named by its variable, never shown; exit 50, also if the
    answer lists it.
    """
    token = "sbp_0123456789abcdef0123456789abcdef"
    monkeypatch.setenv(probes.TOKEN, token)
    stand_in.refused = status
    stand_in.functions = [{"slug": "webhook-traffic-router", "status": "ACTIVE", "version": 1}]
    site.configure(management_project="abcd", management_address=stand_in.address)
    done = site.run()
    found = {check.name: check for check in done.verdict.checks}["router function ACTIVE"]
    assert (done.state, done.exit_code, found.outcome) == (
        State.COULD_NOT_LOOK,
        50,
        Outcome.COULD_NOT_LOOK,
    )
    assert f"HTTP {status} (has $SUPABASE_ACCESS_TOKEN expired?)" in found.reason
    assert token not in to_json(done)


def test_without_a_token_the_routers_own_health_address_is_asked(site, stand_in, monkeypatch):
    """One address of the router answers for the function; when it is down that is a FAIL."""
    monkeypatch.delenv(probes.TOKEN, raising=False)
    site.configure(router_health=f"{stand_in.address}/health")
    assert site.look()["router function ACTIVE"].outcome is Outcome.PASS
    stand_in.down = {"/health"}
    assert site.look()["router function ACTIVE"].outcome is Outcome.FAIL


def test_protected_endpoints_are_asked_with_get_only_and_a_dead_one_says_no(site, stand_in):
    """Nothing but GET reaches a protected endpoint; down with our network proven, the pre-flight is
    a HOLD.
    """
    protected = {
        name: f"{stand_in.address}/{name}" for name in ("mobility", "profile", "insurance")
    }
    site.configure(protected=protected, witness=f"{stand_in.address}/witness")
    found = site.look()
    assert [found[f"protected:{name}"].outcome for name in protected] == [Outcome.PASS] * 3
    stand_in.down = {"/profile"}
    done = site.run()
    found = {check.name: check for check in done.verdict.checks}
    assert found["protected:profile"].outcome is Outcome.FAIL
    assert done.exit_code == 20
    assert {method for method, _, _ in stand_in.asked} == {"GET"}


def test_a_preflight_changes_nothing_but_its_own_record(site):
    """After one, every table but the ledger is as it was."""
    with psycopg.connect(site.direct, autocommit=True) as admin:
        tables = (
            "webhook_routing_config",
            "webhook_routing_logs",
            "rollout.lease",
            "rollout.onset",
        )

        def content():
            return [
                admin.execute(f"SELECT md5(string_agg(t::text, '|')) FROM {table} t").fetchone()
                for table in tables
            ]

        before = content()
        site.run()
        assert content() == before


def test_a_database_that_is_gone_is_could_not_measure(site, monkeypatch, plan):
    """An unreachable server is exit 50 with what is true of the routing, and no address in the
    words.
    """
    monkeypatch.setenv(plan.database.variable, "postgresql://rita:hunter2@127.0.0.1:1/rehearsal_x")
    with pytest.raises(CouldNotMeasure) as caught:
        op.preflight(open_session())
    assert "hunter2" not in str(caught.value)
    assert "Routing goes on as last configured" in str(caught.value)


def test_the_preflight_is_a_gate_of_the_first_raise(site):
    """With a failing check the raise to 10 % is refused, exit 60, and the configuration stays."""
    site.arrange("GRANT EXECUTE ON FUNCTION set_routing_enabled(boolean, text) TO PUBLIC")
    session = open_session(str(site.plan_file), operator="Rita")
    op.attest(session, subject="complaints", value="none")
    refused = op.change_percentage(
        session, to=Decimal(10), reason="start", dry_run=False
    ).checkpoint
    assert refused.exit_code == 60
    assert [gate.name for gate in refused.change.gates if not gate.met] == ["pre-flight"]
    assert refused.change.after == (Decimal(0), False)


ROWS = """INSERT INTO webhook_routing_logs (created_at, domain, routed_to, status, response_time_ms)
    SELECT clock_timestamp() + ({at}) * interval '1 second', 'jobs', 'legacy', 'success', 700
      FROM generate_series(1, {number}) n"""


@pytest.mark.one_server
@pytest.mark.parametrize(
    ("arranged", "name", "outcome", "observed", "state"),
    [
        (
            "DELETE FROM webhook_routing_logs WHERE created_at > now() - interval '40 minutes'; "
            + ROWS.format(at="-2400 - n", number=600),
            "log arrives in time",
            Outcome.COULD_NOT_LOOK,
            "newest row 40 min old",
            State.COULD_NOT_LOOK,
        ),
        (
            "DELETE FROM webhook_routing_logs WHERE created_at > now() - interval '2 hours'",
            "log arrives in time",
            Outcome.WARN,
            "",
            State.PASS,
        ),
        (ROWS.format(at=600, number=3), "router's clock", Outcome.FAIL, "s ahead", State.HOLD),
        (ROWS.format(at=60, number=3), "router's clock", Outcome.PASS, "agrees", State.PASS),
    ],
    ids=["late", "quiet", "ahead", "within the lag"],
)
def test_the_log_is_on_time_and_its_clock_is_the_databases(
    site, arranged, name, outcome, observed, state
):
    """Late while dozens are due: could not look. Rows of the future by more than the lag: hold."""
    site.arrange(arranged)
    done = site.run()
    found = next(check for check in done.verdict.checks if check.name == name)
    assert (found.outcome, done.state) == (outcome, state)
    assert observed in found.observed
