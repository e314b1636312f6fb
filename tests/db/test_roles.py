"""The suite as its least-privilege roles: what they do, and what each cannot do."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from importlib.resources import files

import psycopg
import pytest
from psycopg import errors as pg

from rollout_lib import operations as op
from rollout_lib import spool
from rollout_lib.database.session import open_session
from rollout_lib.emergency import switch_off
from rollout_lib.errors import CouldNotMeasure, DatabaseUnreachable
from rollout_lib.model import Outcome, State
from rollout_lib.rehearsal import server as embedded_server
from rollout_lib.rehearsal.scenarios import SCENARIOS
from rollout_lib.rehearsal.world import World

ROLES = files("rollout_lib") / "sql" / "roles.sql"
OBSERVER, OPERATOR = "rollout_observer", "rollout_operator"


@pytest.fixture
def login(database, direct, server, monkeypatch, plan) -> Callable[[str], str]:
    """roles.sql applied as psql applies it, twice; then sessions of the suite log in as the role
    that is named.
    """
    program = embedded_server._binaries(None) / "psql"
    for _ in range(2):
        command = [program, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", direct, "-f", str(ROLES)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        notices = [line for line in done.stderr.splitlines() if "NOTICE" not in line]
        assert (done.returncode, notices) == (0, [])

    def as_role(role: str) -> str:
        address = psycopg.conninfo.make_conninfo(database.address, user=role)
        monkeypatch.setenv(plan.database.variable, address)
        return address

    yield as_role
    with psycopg.connect(direct, autocommit=True) as admin:
        with (
            admin.transaction()
        ):  # the tables first, or it may deadlock with an autovacuum, as roles.sql might
            admin.execute(
                "LOCK TABLE webhook_routing_config, webhook_routing_logs IN ACCESS EXCLUSIVE MODE"
            )
            admin.execute(f"DROP OWNED BY {OBSERVER}, {OPERATOR}")
        admin.execute(f"DROP ROLE {OBSERVER}, {OPERATOR}")


@pytest.fixture
def world(direct, plan):
    """Day 3's traffic, written by the router's own role."""
    world = World(direct, plan, SCENARIOS["errors"], seed=1)
    world.prelude(world.start)
    yield world
    world.close()


def session(world):
    return open_session(as_of=world.now.isoformat(), operator="Rita")


def test_it_can_be_applied_while_an_autovacuum_works_on_a_table(login, direct):
    """One that holds the table and then wants its row of the catalogue, as VACUUM and ANALYZE do:
    no deadlock.
    """
    waits = (
        "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'webhook_routing_config'::regclass"
    )
    with psycopg.connect(direct, autocommit=True) as watcher, psycopg.connect(direct) as vacuum:
        vacuum.execute("LOCK TABLE webhook_routing_config IN SHARE UPDATE EXCLUSIVE MODE")
        program = [embedded_server._binaries(None) / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1"]
        applies = subprocess.Popen(
            [*program, "-d", direct, "-f", str(ROLES)], stderr=subprocess.PIPE, text=True
        )
        while applies.poll() is None and not watcher.execute(waits).fetchone():
            time.sleep(0.01)
        vacuum.execute("ANALYZE webhook_routing_config")
        vacuum.commit()
        said = applies.communicate(timeout=60)[1]
    assert (applies.returncode, "ERROR" in said) == (0, False), said


def test_the_operator_runs_the_whole_day(login, world):
    """Attest, raise, check, act alone on errors, report: nothing of it needs more than the
    operator's role.
    """
    login(OPERATOR)
    op.attest(session(world), subject="complaints", value="none")
    assert op.preflight(session(world)).checkpoint.state is State.PASS
    change = op.change_percentage(session(world), to=Decimal(10), reason="start", dry_run=False)
    assert change.checkpoint.change.applied
    for _ in range(12):
        world.advance(world.now + timedelta(minutes=15))
        done = op.monitor(session(world), slot="now")
        assert done.head is not None
        if done.checkpoint.change:
            break
    assert done.checkpoint.exit_code == 40
    assert done.checkpoint.change.after == (Decimal(0), False)
    assert not done.checkpoint.change.detail, "switched off by the function, not by a way around it"
    assert op.report(session(world)).run.head is not None


def test_the_emergency_runs_as_the_operator_and_is_recorded(login, direct):
    """One function call, one entry of the ledger."""
    with psycopg.connect(direct, autocommit=True) as admin:
        admin.execute("SELECT set_routing_enabled(true, 'x'), update_routing_percentage(25, 'x')")
    done = switch_off(login(OPERATOR), reason="test", operator="Rita", rollout="week6-unified")
    assert (done.after, done.trouble, done.recorded[0]) == ((Decimal("0.00"), False), (), "#")


def test_the_observer_looks_and_its_records_wait_in_files(login, world):
    """Pre-flight and monitor judge by all they see; the ledger is not theirs, so the record is kept
    beside it.
    """
    login(OBSERVER)
    before = op.preflight(session(world))
    assert before.checkpoint.state is State.PASS
    assert {check.name: check.outcome for check in before.checkpoint.verdict.checks}[
        "rows visible to us"
    ] is Outcome.PASS
    looked = op.monitor(session(world))
    assert looked.checkpoint.state is State.OFF
    assert (before.head, looked.head) == (None, None)
    assert len(spool.waiting()) == 2


def test_the_observer_can_neither_raise_nor_switch_off(login, direct, world):
    """A change, a dry run aside, an attestation, a rollback: each fails, and the row stays as it
    is.
    """
    read = "SELECT c::text FROM webhook_routing_config c"
    login(OPERATOR)
    op.attest(session(world), subject="complaints", value="none")
    address = login(OBSERVER)
    with psycopg.connect(direct, autocommit=True) as admin:
        before = admin.execute(read).fetchall()
        assert (
            op.change_percentage(session(world), to=Decimal(10), reason="x").checkpoint.exit_code
            == 0
        )
        with pytest.raises(CouldNotMeasure, match="permission denied"):
            op.change_percentage(session(world), to=Decimal(10), reason="x", dry_run=False)
        with pytest.raises(CouldNotMeasure, match="permission denied"):
            op.attest(session(world), subject="complaints", value="none")
        assert admin.execute(read).fetchall() == before
        admin.execute("UPDATE webhook_routing_config SET enabled = true, percentage = 10")
        before = admin.execute(read).fetchall()
        with pytest.raises(DatabaseUnreachable, match="permission denied"):
            switch_off(address, reason="x", operator="x")
        assert admin.execute(read).fetchall() == before


BOTH_CANNOT = {
    "see who wrote": "SELECT from_number FROM webhook_routing_logs",
    "see whole rows of the log": "SELECT * FROM webhook_routing_logs",
    "write a row of the log": (
        "INSERT INTO webhook_routing_logs (domain, routed_to, status) "
        "VALUES ('jobs', 'unified', 'success')"
    ),
    "delete from the log": "DELETE FROM webhook_routing_logs",
    "set the percentage past the function": "UPDATE webhook_routing_config SET percentage = 100",
    "enable past the function": "UPDATE webhook_routing_config SET enabled = true",
    "route another domain": "UPDATE webhook_routing_config SET domains = ARRAY['jobs', 'rides']",
    "change even the notes": "UPDATE webhook_routing_config SET notes = 'nothing happened'",
    "add a configuration": "INSERT INTO webhook_routing_config (percentage) VALUES (50)",
    "delete the configuration": "DELETE FROM webhook_routing_config",
    "replace a function": (
        "CREATE OR REPLACE FUNCTION check_routing_health() RETURNS void LANGUAGE sql AS 'SELECT'"
    ),
    "make a table": "CREATE TABLE public.mine (x integer)",
    "write into the ledger past its function": (
        "INSERT INTO rollout.ledger SELECT * FROM rollout.ledger"
    ),
    "rewrite the ledger": "UPDATE rollout.ledger SET body = '{}'",
    "shorten the ledger": "DELETE FROM rollout.ledger",
    "empty the ledger": "TRUNCATE rollout.ledger",
    "take the ledger's guard away": "ALTER TABLE rollout.ledger DISABLE TRIGGER ALL",
    "switch row security off": "ALTER TABLE webhook_routing_config DISABLE ROW LEVEL SECURITY",
}
OBSERVER_CANNOT = {
    "switch routing on": "SELECT set_routing_enabled(true, 'mine')",
    "switch routing off": "SELECT set_routing_enabled(false, 'mine')",
    "set the percentage": "SELECT update_routing_percentage(100, 'mine')",
    "append to the ledger": (
        "SELECT rollout.append_entry('checkpoint', 'x', 'x', now(), NULL, NULL, 'x', '{}')"
    ),
    "lock the configuration": "SELECT 1 FROM webhook_routing_config FOR UPDATE",
    "take the watcher's lease": "INSERT INTO rollout.lease VALUES ('x', 'me', now(), now())",
    "say what was told": "INSERT INTO rollout.onset VALUES ('x', 'x', 'x', now())",
}


def test_neither_role_can_do_what_is_not_its_own(login):
    """Each statement is refused for the operator and the observer, and those of the operator for
    the observer.
    """
    for role, statements in (
        (OPERATOR, BOTH_CANNOT),
        (OBSERVER, {**BOTH_CANNOT, **OBSERVER_CANNOT}),
    ):
        possible = []
        with psycopg.connect(login(role), autocommit=True, prepare_threshold=None) as connection:
            for what, statement in statements.items():
                try:
                    connection.execute(statement)
                except pg.InsufficientPrivilege:
                    continue
                possible.append(what)
        assert possible == []


def test_the_operator_changes_through_the_functions_alone(login):
    """The functions work, their limits hold, and the row can be locked for a compare-and-set."""
    with psycopg.connect(login(OPERATOR), autocommit=True, prepare_threshold=None) as connection:
        connection.execute(
            "SELECT update_routing_percentage(10, 'mine'), set_routing_enabled(true, 'mine')"
        )
        with connection.transaction():
            row = connection.execute(
                "SELECT percentage, enabled FROM webhook_routing_config FOR UPDATE"
            ).fetchone()
        assert row == (Decimal("10.00"), True)
        with pytest.raises(pg.RaiseException):
            connection.execute("SELECT update_routing_percentage(101, 'mine')")


def apply_as(address: str) -> str:
    """What psql says of roles.sql, applied by the role of an address; "" where it is applied."""
    program = embedded_server._binaries(None) / "psql"
    command = [program, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", address, "-f", str(ROLES)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stderr if done.returncode else ""


def test_roles_sql_says_what_it_needs(database, direct):
    """An owner without CREATEROLE reads the statements that another runs first, and after them it
    is applied; a view, and somebody else's tables, are named."""
    with psycopg.connect(direct, autocommit=True) as admin:
        admin.execute("CREATE ROLE owner_of_it LOGIN")
        try:
            address = psycopg.conninfo.make_conninfo(direct, user="owner_of_it")
            admin.execute("GRANT USAGE ON SCHEMA rollout TO owner_of_it")
            assert "this must run as postgres" in apply_as(address)
            for name in ("TABLE webhook_routing_config", "TABLE webhook_routing_logs"):
                admin.execute(f"ALTER {name} OWNER TO owner_of_it")
            said = apply_as(address)
            assert "CREATEROLE" in said
            admin.execute(said.split("runs this first: ")[1].split(";\n")[0].splitlines()[0])
            assert "CREATEROLE" not in apply_as(address)
            admin.execute(
                "DROP VIEW webhook_routing_stats; ALTER TABLE webhook_routing_logs RENAME TO rows;"
                " CREATE VIEW webhook_routing_logs AS SELECT * FROM rows"
            )
            assert "webhook_routing_logs is a view" in apply_as(direct)
        finally:
            admin.execute(
                f"DROP OWNED BY owner_of_it CASCADE; DROP ROLE owner_of_it;"
                f" DROP ROLE IF EXISTS {OPERATOR}; DROP ROLE IF EXISTS {OBSERVER}"
            )
