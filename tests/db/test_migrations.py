"""The migrations: applied once, by us or by psql, and never over somebody else's objects."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import psycopg
import pytest
from psycopg import errors as pg

from rollout_lib import operations as op
from rollout_lib.database.migrations import LEDGER, MARKER, RUNBOOK, migrate
from rollout_lib.database.session import open_session
from rollout_lib.errors import CouldNotMeasure, ShapeRefused
from rollout_lib.rehearsal import server as embedded_server
from rollout_lib.rehearsal.server import create_database, drop_database

# As a deployed system has them: other bodies, other keys, more columns, functions that update in
# place.
DEPLOYED = """
CREATE TABLE webhook_routing_config (id bigserial PRIMARY KEY, percentage decimal(5,2) NOT NULL DEFAULT 0,
    enabled boolean NOT NULL DEFAULT false, domains varchar[] NOT NULL DEFAULT '{jobs,marketplace,property}',
    created_at timestamptz DEFAULT now(), updated_at timestamptz DEFAULT now(), notes text, changed_by text);
CREATE TABLE webhook_routing_logs (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), webhook_name varchar(100),
    domain varchar(50), routed_to varchar(20), status varchar(20), response_time_ms bigint, error_message text,
    message_id text, from_number text, created_at timestamptz DEFAULT now(), retries integer);
CREATE VIEW webhook_routing_stats AS
    SELECT domain, routed_to, count(*) AS request_count, avg(response_time_ms) AS avg_response_ms,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY response_time_ms) AS p50_ms,
           percentile_cont(0.95) WITHIN GROUP (ORDER BY response_time_ms) AS p95_ms,
           percentile_cont(0.99) WITHIN GROUP (ORDER BY response_time_ms) AS p99_ms,
           count(*) FILTER (WHERE status = 'error') AS error_count,
           100.0 * count(*) FILTER (WHERE status = 'error') / count(*) AS error_rate_pct
      FROM webhook_routing_logs WHERE created_at > now() - interval '1 hour' GROUP BY 1, 2;
CREATE FUNCTION set_routing_enabled(p_enabled boolean, p_reason text DEFAULT 'none') RETURNS boolean
    LANGUAGE sql SECURITY DEFINER AS 'UPDATE webhook_routing_config SET enabled = p_enabled, notes = p_reason,
        updated_at = now() WHERE id = (SELECT max(id) FROM webhook_routing_config) RETURNING true';
CREATE FUNCTION update_routing_percentage(new_percentage decimal, p_notes text) RETURNS json
    LANGUAGE sql AS 'UPDATE webhook_routing_config SET percentage = new_percentage, notes = p_notes
        WHERE id = (SELECT max(id) FROM webhook_routing_config) RETURNING row_to_json(webhook_routing_config)';
CREATE FUNCTION check_routing_health() RETURNS TABLE (check_name text, status text)
    LANGUAGE sql AS $$ SELECT 'all', 'healthy' $$;
CREATE FUNCTION get_current_routing_config() RETURNS SETOF webhook_routing_config
    LANGUAGE sql AS 'SELECT * FROM webhook_routing_config ORDER BY created_at DESC LIMIT 1';
INSERT INTO webhook_routing_config (notes, created_at) VALUES ('in use since spring', '2025-05-01T00:00Z');
"""
# Everything that a migration makes, as text that two databases can be compared by.
CATALOG = """
SELECT 'column', a.attrelid::regclass || '.' || a.attname, format_type(a.atttypid, a.atttypmod) || ' ' || a.attnotnull
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid WHERE a.attnum > 0
   AND c.relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname IN ('public', 'rollout'))
UNION ALL SELECT 'constraint', conrelid::regclass || '.' || conname, pg_get_constraintdef(oid)
  FROM pg_constraint WHERE conrelid <> 0 AND contype <> 'n'
   AND connamespace IN (SELECT oid FROM pg_namespace WHERE nspname IN ('public', 'rollout'))
UNION ALL SELECT 'function', p.oid::regprocedure::text, pg_get_functiondef(p.oid) || coalesce(proacl::text, '')
  FROM pg_proc p WHERE p.pronamespace IN (SELECT oid FROM pg_namespace WHERE nspname IN ('public', 'rollout'))
UNION ALL SELECT 'index', schemaname || '.' || indexname, indexdef FROM pg_indexes
 WHERE schemaname IN ('public', 'rollout')
UNION ALL SELECT 'grants', c.oid::regclass::text, coalesce(c.relacl::text, '') || c.relrowsecurity
  FROM pg_class c WHERE c.relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname IN ('public', 'rollout'))
UNION ALL SELECT 'trigger', tgrelid::regclass || '.' || tgname, pg_get_triggerdef(oid) FROM pg_trigger
 WHERE NOT tgisinternal
ORDER BY 1, 2
"""


def rows(address: str, statement: str) -> list[tuple]:
    with psycopg.connect(address, autocommit=True, prepare_threshold=None) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def psql(address: str, path) -> subprocess.CompletedProcess:
    program = embedded_server._binaries(None) / "psql"
    command = [program, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", address, "-f", path]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_without_apply_it_says_what_it_would_do_and_does_nothing(empty_database):
    """Each file by name, and no table afterwards."""
    said = migrate(empty_database, apply=False)
    assert said.missing == (RUNBOOK.name, LEDGER.name, MARKER.name)
    assert "Nothing was changed; add --apply." in said.sentence
    assert rows(
        empty_database.address,
        "SELECT count(*) FROM pg_tables WHERE schemaname IN ('public', 'rollout')",
    ) == [(0,)]


def test_it_is_applied_once_and_the_second_time_there_is_nothing_to_do(empty_database):
    """The catalog after the second call is the catalog after the first."""
    assert migrate(empty_database, apply=True).applied
    before = rows(empty_database.address, CATALOG)
    again = migrate(empty_database, apply=True)
    assert (again.missing, again.applied) == ((), False)
    assert again.sentence.startswith("Nothing to do")
    assert rows(empty_database.address, CATALOG) == before


def test_psql_applies_the_same_files_to_the_same_end(database, server):
    """`psql -f` of the files gives the catalog that `rollout migrate` gives, to the letter."""
    address = create_database(server, "by_psql")
    try:
        for path in (RUNBOOK, LEDGER, MARKER):
            done = psql(address, path)
            assert (done.returncode, done.stderr) == (0, "")
        assert rows(address, CATALOG) == rows(database.address, CATALOG)
        again = psql(address, RUNBOOK)
        assert again.returncode != 0
        assert rows(address, CATALOG) == rows(database.address, CATALOG), (
            "the second time changes nothing"
        )
    finally:
        drop_database(server, "by_psql")


def test_two_at_once_apply_it_once(empty_database):
    """Of four migrations at the same moment one applies, three find nothing to do."""
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: migrate(empty_database, apply=True), range(4)))
    assert sorted(item.applied for item in done) == [False, False, False, True]


def test_a_migration_that_fails_half_way_leaves_nothing(empty_database):
    """Something of ours that exists already stops the second file, and the first is rolled back
    with it.
    """
    rows(empty_database.address, "CREATE SCHEMA rollout")
    with pytest.raises(CouldNotMeasure, match="Nothing was left half-done"):
        migrate(empty_database, apply=True)
    assert (
        rows(empty_database.address, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        == []
    )


def test_a_deployed_database_is_accepted_and_only_the_ledger_is_added(empty_database):
    """The runbook's objects with other bodies, keys and more columns stay exactly as they are."""
    rows(empty_database.address, DEPLOYED)
    theirs = rows(empty_database.address, CATALOG)
    said = migrate(empty_database, apply=True)
    assert said.missing == (LEDGER.name, MARKER.name)
    after = rows(empty_database.address, CATALOG)
    assert [item for item in after if "rollout" not in item[1]] == theirs
    assert rows(empty_database.address, "SELECT notes, percentage FROM webhook_routing_config") == [
        ("in use since spring", Decimal("0.00"))
    ]
    assert migrate(empty_database, apply=True).missing == ()


def test_a_deployed_database_is_operated_through_its_own_functions(empty_database):
    """On it a raise to 10 % and a rollback work, and its newest row is updated in place."""
    rows(empty_database.address, DEPLOYED)
    rows(
        empty_database.address,
        """REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC;
        ALTER FUNCTION set_routing_enabled(boolean, text) SET search_path = public;
        INSERT INTO webhook_routing_logs (created_at, webhook_name, domain, routed_to, status, response_time_ms)
        SELECT now() - interval '2 minutes' * n, 'wa-webhook-jobs',
               (ARRAY['jobs', 'marketplace', 'property'])[1 + n % 3], 'legacy', 'success', 700
          FROM generate_series(2, 600) n""",
    )
    migrate(empty_database, apply=True)
    session = open_session(operator="Rita")
    op.attest(session, subject="complaints", value="none")
    done = op.change_percentage(
        session, to=Decimal(10), reason="Initial 10% rollout", dry_run=False
    ).checkpoint
    assert done.change.applied, done.sentence
    read = "SELECT percentage, enabled, notes FROM webhook_routing_config"
    assert rows(empty_database.address, read) == [(Decimal("10.00"), True, "Initial 10% rollout")]
    op.roll_back(session, reason="no more")
    assert rows(empty_database.address, read)[0][:2] == (Decimal("0.00"), False)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            "ALTER TABLE webhook_routing_logs DROP COLUMN message_id",
            (
                "message_id is missing. Mend: ALTER TABLE public.webhook_routing_logs ADD COLUMN"
                " message_id text;"
            ),
        ),
        (
            "ALTER TABLE webhook_routing_logs ALTER COLUMN created_at TYPE timestamp",
            "created_at is timestamp without time zone, not timestamp with time zone",
        ),
        (
            "DROP FUNCTION check_routing_health()",
            "check_routing_health() is missing. Mend: create what is missing",
        ),
        (
            "DROP VIEW webhook_routing_stats",
            "shape of webhook_routing_stats: missing. Mend: create what is missing",
        ),
    ],
    ids=["a column", "a type", "a function", "the view"],
)
def test_a_database_that_has_only_some_of_it_is_refused_with_each_difference(
    empty_database, change, said
):
    """What is in use is never completed by guesswork: refused, exit 2, and no ledger is made."""
    view = "DROP VIEW webhook_routing_stats; " if "COLUMN" in change else ""
    rows(empty_database.address, DEPLOYED + view + change)
    with pytest.raises(ShapeRefused, match="nothing was changed") as caught:
        migrate(empty_database, apply=True)
    assert said in str(caught.value)
    assert (
        rows(empty_database.address, "SELECT 1 FROM pg_namespace WHERE nspname = 'rollout'") == []
    )


def test_the_service_writes_logs_and_reads_the_configuration_after_the_revokes(
    supabase_roles, empty_database, server, monkeypatch
):
    """On Supabase, where everything in public is granted to everyone: the service may, the public
    keys may not.
    """
    direct = psycopg.conninfo.make_conninfo(server, dbname=empty_database.place.database)
    for kind in ("TABLES", "FUNCTIONS", "SEQUENCES"):
        rows(
            direct,
            f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON {kind} TO"
            f" {', '.join(supabase_roles)}",
        )
    rows(direct, f"GRANT USAGE ON SCHEMA public TO {', '.join(supabase_roles)}")
    rows(direct, "ALTER ROLE service_role NOBYPASSRLS")  # the policies must do without it
    migrate(empty_database, apply=True)
    insert = (
        "INSERT INTO webhook_routing_logs (domain, routed_to, status) VALUES ('jobs', 'legacy',"
        " 'success')"
    )
    with psycopg.connect(direct, user="service_role", autocommit=True) as service:
        service.execute(insert)
        assert service.execute("SELECT count(*) FROM webhook_routing_logs").fetchone() == (1,)
        assert service.execute("SELECT enabled FROM webhook_routing_config").fetchall() == [
            (False,)
        ]
        assert service.execute(
            "SELECT percentage FROM get_current_routing_config()"
        ).fetchone() == (0,)
    for role in ("anon", "authenticated"):
        with psycopg.connect(direct, user=role, autocommit=True) as public:
            for statement in (
                insert,
                "SELECT * FROM webhook_routing_logs",
                "SELECT * FROM webhook_routing_config",
                "SELECT * FROM webhook_routing_stats",
                "UPDATE webhook_routing_config SET percentage = 100",
                "SELECT set_routing_enabled(true, 'mine')",
                "SELECT update_routing_percentage(100, 'mine')",
                "SELECT * FROM check_routing_health()",
                "SELECT * FROM get_current_routing_config()",
                "SELECT * FROM rollout.ledger",
                "SELECT rollout.append_entry('checkpoint', 'x', 'x', now(), NULL, NULL, 'x', '{}')",
            ):
                with pytest.raises(pg.InsufficientPrivilege):
                    public.execute(statement)


NEVER = {
    "a percentage above 100": "UPDATE webhook_routing_config SET percentage = 100.01",
    "a negative percentage": "UPDATE webhook_routing_config SET percentage = -1",
    "a percentage that is no number": "UPDATE webhook_routing_config SET percentage = 'NaN'",
    "no percentage": "UPDATE webhook_routing_config SET percentage = NULL",
    "neither enabled nor disabled": "UPDATE webhook_routing_config SET enabled = NULL",
    "a protected domain": "UPDATE webhook_routing_config SET domains = ARRAY['jobs', 'mobility']",
    "no domain at all": "UPDATE webhook_routing_config SET domains = '{}'",
    "a domain without a name": "UPDATE webhook_routing_config SET domains = ARRAY['jobs', NULL]",
    "two newest rows": (
        "INSERT INTO webhook_routing_config (created_at) "
        "SELECT created_at FROM webhook_routing_config"
    ),
    "a destination that does not exist": (
        "INSERT INTO webhook_routing_logs (domain, routed_to, status) VALUES ('jobs', 'canary',"
        " 'success')"
    ),
    "a status that nobody knows": (
        "INSERT INTO webhook_routing_logs (domain, routed_to, status) VALUES ('jobs', 'legacy',"
        " 'fine')"
    ),
    "a negative latency": (
        "INSERT INTO webhook_routing_logs (domain, routed_to, status, response_time_ms) "
        "VALUES ('jobs', 'legacy', 'success', -1)"
    ),
    "an entry of an unknown kind": (
        "SELECT rollout.append_entry('passed', 'x', 'x', now(), NULL, NULL, 'x', '{}')"
    ),
    "an entry that is no object": (
        "SELECT rollout.append_entry('extra', 'x', 'x', now(), NULL, NULL, 'x', '[]')"
    ),
}


@pytest.mark.parametrize("what", NEVER)
def test_what_must_never_be_is_refused_by_the_database_itself(database, what):
    """Whoever writes it, with whatever program."""
    with pytest.raises(pg.IntegrityError):
        rows(database.address, NEVER[what])


def test_the_ledger_can_neither_be_changed_nor_shortened(database):
    """UPDATE, DELETE and TRUNCATE are refused, for its owner too."""
    rows(
        database.address,
        "SELECT rollout.append_entry('extra', 'x', 'x', now(), NULL, NULL, 'x', '{}')",
    )
    for statement in (
        "UPDATE rollout.ledger SET body = '{}'",
        "DELETE FROM rollout.ledger",
        "TRUNCATE rollout.ledger",
    ):
        with pytest.raises(pg.IntegrityError, match="append-only"):
            rows(database.address, statement)


def test_a_raise_needs_a_configuration_row_that_the_functions_can_find(database):
    """Without a row the functions say so instead of changing nothing in silence."""
    rows(database.address, "DELETE FROM webhook_routing_config")
    for statement in (
        "SELECT set_routing_enabled(true, 'x')",
        "SELECT update_routing_percentage(10, 'x')",
    ):
        with pytest.raises(pg.RaiseException, match="has no row"):
            rows(database.address, statement)
