"""What is wrong with a plan or its database is one message of the command, and leaves no file
anywhere.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest

from rollout_lib.cli.app import run
from rollout_lib.database.migrations import migrate
from rollout_lib.errors import ShapeRefused
from rollout_lib.plan import load_plan
from rollout_lib.rehearsal import server as server_module
from rollout_lib.runner.readiness import knock

SHIPPED = Path("parameters/week6.rehearsal.yaml")
SPAN = ("--from", "2025-12-03T09:00:00+01:00", "--to", "2025-12-03T10:00:00+01:00")
# What starts a kernel, then what does not: nobody's slot, and no rollback.
NOTEBOOKS = {
    "preflight": (),
    "change": ("--to", "10"),
    "change ": ("--to", "10", "--apply", "--reason", "start"),
    "monitor": (),
    "monitor ": ("--json",),
    "evaluate": (),
    "report": (),
}
OTHERS = {
    "status": (),
    "errors": (),
    "attest": ("--complaints", "none"),
    "acknowledge": ("--reason", "talked about it"),
    "verify": (),
    "seal": (),
    "diff": ("1", "2"),
    "replay": SPAN,
}
OLDER = """CREATE TABLE webhook_routing_config (domain text, target_function text, traffic_percentage integer);
           CREATE TABLE webhook_routing_logs (routed_at timestamptz, success boolean, latency_ms integer)"""
BOTH = """ALTER TABLE webhook_routing_config ADD COLUMN target_function text, ADD COLUMN traffic_percentage integer;
          ALTER TABLE webhook_routing_logs DROP COLUMN webhook_name"""


class Door:
    """One database that nothing can be asked of, and everything that could be written beside it."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, capsys) -> None:
        self.folder, self.patch, self.capsys = folder, patch, capsys
        self.plan_file = folder / "plan.yaml"
        self.plan_file.write_text(SHIPPED.read_text())
        for name in ("outputs/spool", "metrics"):
            (folder / name).mkdir(parents=True)
        (folder / "outputs/spool/kept.json").write_text(
            "{}"
        )  # an entry of another day stays as it is, too
        patch.setenv("ROLLOUT_OUTPUTS", str(folder / "outputs"))
        patch.setenv("ROLLOUT_METRICS", str(folder / "metrics"))

    def files(self) -> dict[str, tuple[int, int]]:
        """Everything below the folder and the project's own outputs, and when it
        was last touched.
        """
        found = [*self.folder.rglob("*"), *Path("outputs").rglob("*")]
        return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in found}

    def refuses(self, verb: str, arguments: tuple[str, ...], code: int, *words: str) -> None:
        """One message on stderr, the exit code, no traceback, on stdout nothing but what --json
        promises; every file is as it was.
        """
        before = self.files()
        found = run([verb.strip(), "--plan", str(self.plan_file), *arguments])
        shown = self.capsys.readouterr()
        assert found == code, (verb, shown)
        if "--json" in arguments:
            said = json.loads(shown.out)
            assert (said["exit_code"], bool(said["error"])) == (code, True), (verb, shown)
        else:
            assert shown.out == "", (verb, shown)
        assert all(word in shown.err for word in words), (verb, shown.err)
        assert "Traceback" not in shown.err
        assert self.files() == before, verb

    def refuses_all(self, commands: dict[str, tuple[str, ...]], code: int, *words: str) -> None:
        for verb, arguments in commands.items():
            self.refuses(verb, arguments, code, *words)


@pytest.fixture
def at_the_door(tmp_path, monkeypatch, capsys) -> Door:
    return Door(tmp_path, monkeypatch, capsys)


@pytest.fixture
def arranged(at_the_door, empty_database, server, plan, door) -> Callable[[str], Door]:
    """The door of the test's database, after a statement of its administrator."""

    def arranged(statements: str) -> Door:
        with psycopg.connect(
            server, dbname=empty_database.place.database, autocommit=True
        ) as connection:
            connection.execute(statements)
        at_the_door.patch.setenv("ROLLOUT_OUTPUTS", str(at_the_door.folder / "outputs"))
        return at_the_door

    return arranged


def test_a_wrong_plan(at_the_door):
    """Every command: exit 2, each mistake with its path; the database is not asked for."""
    at_the_door.plan_file.write_text(
        SHIPPED.read_text().replace("p95_rollback_ms: 3000", "p95_rollback_ms: .nan")
    )
    at_the_door.refuses_all(
        NOTEBOOKS | OTHERS | {"migrate": ("--apply",)}, 2, "thresholds.p95_rollback_ms"
    )
    at_the_door.plan_file = at_the_door.folder / "none.yaml"
    at_the_door.refuses_all(
        NOTEBOOKS | OTHERS | {"migrate": ("--apply",)}, 2, "none.yaml", "cannot be read"
    )


def test_a_bad_parameter(at_the_door):
    """A mistyped instant or percentage: exit 2 by its name, before anybody looks for a database."""
    at_the_door.patch.setenv("ROLLOUT_REHEARSAL_URL", "postgresql://127.0.0.1:1/rehearsal_x")
    for verb in ("preflight", "monitor", "evaluate", "report"):
        at_the_door.refuses(verb, ("--as-of", "nan"), 2, "as_of")
    at_the_door.refuses("change", ("--to", "nan"), 2, "to_percentage")
    at_the_door.refuses("change", ("--to", "10", "--apply"), 2, "reason")
    at_the_door.refuses("monitor", ("--slot", "soon"), 2, "slot")


def test_no_address_and_another_database(at_the_door):
    """Production without $DATABASE_URL, and an address that leads elsewhere: exit 2; so for a
    rollback.
    """
    at_the_door.patch.setenv("ROLLOUT_REHEARSAL_URL", "postgresql://127.0.0.1:1/shop")
    lowering = {"rollback": ("--reason", "errors", "--apply")}
    commands = NOTEBOOKS | OTHERS | lowering | {"migrate": ()}
    at_the_door.refuses_all(commands, 2, "not the database of the plan", "shop")
    at_the_door.plan_file.write_text(Path("parameters/week6.production.yaml").read_text())
    at_the_door.patch.delenv("DATABASE_URL", raising=False)
    at_the_door.refuses_all(commands, 2, "$DATABASE_URL is not set")


def test_a_look_makes_no_server(at_the_door):
    """A rehearsal's plan, no address, and nobody has rehearsed here yet: exit 2, and the look makes
    no server.
    """
    at_the_door.patch.delenv("ROLLOUT_REHEARSAL_URL", raising=False)
    at_the_door.patch.setattr(
        server_module, "default_folder", lambda: at_the_door.folder / "postgres"
    )
    at_the_door.refuses_all(NOTEBOOKS | OTHERS | {"migrate": ()}, 2, "make rehearse")


def test_an_unreachable_server(at_the_door):
    """Nothing listens: exit 50, where it was looked for, and how to switch routing off by other
    means.
    """
    at_the_door.patch.setenv("ROLLOUT_REHEARSAL_URL", "postgresql://127.0.0.1:1/rehearsal_x")
    words = ("The database rehearsal_x on 127.0.0.1 does not answer", "set_routing_enabled(false")
    at_the_door.refuses_all(NOTEBOOKS | OTHERS | {"migrate": ("--apply",)}, 50, *words)


def test_a_missing_database(at_the_door, server, door):
    """The server answers, and is not said to be away: exit 50, and what is
    missing is the database.
    """
    address = psycopg.conninfo.make_conninfo(server, dbname="rehearsal_never_made")
    words = ("The server answers, but rehearsal_never_made", "it has no such database")
    at_the_door.patch.setenv("ROLLOUT_REHEARSAL_URL", door(address))
    at_the_door.refuses("monitor", (), 50, *words)
    at_the_door.patch.setenv(
        "ROLLOUT_REHEARSAL_URL", address
    )  # a pooler lets whoever comes next wait in a queue
    at_the_door.refuses_all(NOTEBOOKS | OTHERS | {"migrate": ("--apply",)}, 50, *words)


def test_a_role_that_may_not_log_in(at_the_door, server):
    """The server answers and says no: that is not called away either."""
    address = psycopg.conninfo.make_conninfo(server, dbname="rehearsal_x", user="never_made")
    at_the_door.patch.setenv("ROLLOUT_REHEARSAL_URL", address)
    at_the_door.refuses(
        "monitor", (), 50, "The server answers, but", 'role "never_made" does not exist'
    )


def test_a_database_without_the_tables(arranged):
    """Exit 50, what is missing, and the command that adds it."""
    arranged("SELECT 1").refuses_all(
        NOTEBOOKS | OTHERS, 50, "finds no ", "In an empty database: rollout migrate --apply"
    )


def test_a_database_with_the_runbooks_tables_and_no_ledger(arranged, empty_database):
    """The runbook's own migration alone: exit 50, the ledger is what is missing; status says what
    is routed all the same.
    """
    migrate(empty_database, apply=True)
    refused = {verb: how for verb, how in (NOTEBOOKS | OTHERS).items() if verb != "status"}
    arranged("DROP SCHEMA rollout CASCADE").refuses_all(
        refused, 50, "rollout.ledger", "rollout migrate"
    )


def test_a_database_with_other_columns(arranged):
    """The older tables: exit 2, each difference and what mends it, by every notebook's command and
    by migrate.
    """
    door = arranged(OLDER)
    door.refuses_all(
        NOTEBOOKS, 2, "target_function, traffic_percentage", "percentage is missing", "latency_ms"
    )
    door.refuses("migrate", ("--apply",), 2, "traffic_percentage")


def test_a_column_that_only_the_log_lacks(arranged, empty_database):
    """The configuration is the runbook's, the log has no latency: refused by what reads it, with
    the statement.
    """
    migrate(empty_database, apply=True)
    door = arranged(
        "DROP VIEW webhook_routing_stats; ALTER TABLE webhook_routing_logs DROP COLUMN"
        " response_time_ms"
    )
    door.refuses(
        "monitor",
        (),
        2,
        "response_time_ms is missing",
        "webhook_routing_logs ADD COLUMN",
    )
    door.refuses("evaluate", (), 2, "response_time_ms is missing")


def test_the_door_refuses_nothing_that_the_run_could_do(arranged, empty_database, plan):
    """A column that only the runbook's own queries read is gone: pre-flight refuses, a check can be
    made all the same and is.
    """
    migrate(empty_database, apply=True)
    arranged(BOTH)
    with pytest.raises(ShapeRefused, match="webhook_name is missing"):
        knock("00_preflight", {}, plan)
    for name in ("20_monitor", "30_evaluate_phase", "40_report"):
        knock(name, {}, plan)


def test_a_lowering_asks_nothing_of_the_log(arranged, empty_database, plan):
    """The log is gone: off passes the door. 10 and 35 % are above what the ledger made legal,
    whatever stands in the configuration: refused.
    """
    migrate(empty_database, apply=True)
    arranged(
        "SELECT set_routing_enabled(true, 'x'), update_routing_percentage(25.00, 'x'); "
        "DROP TABLE webhook_routing_logs CASCADE"
    )
    knock("10_change_percentage", {"to_percentage": "0"}, plan)
    for above in ("10", "35"):
        with pytest.raises(ShapeRefused, match="webhook_routing_logs"):
            knock("10_change_percentage", {"to_percentage": above}, plan)


def test_a_scheduled_check_and_a_rollback_are_not_held_up(at_the_door):
    """Nothing listens: neither is refused at the door, whatever it may find behind it."""
    at_the_door.patch.setenv("ROLLOUT_REHEARSAL_URL", "postgresql://127.0.0.1:1/rehearsal_x")
    plan = load_plan(at_the_door.plan_file)
    knock("20_monitor", {"slot": "now"}, plan)
    knock("90_rollback", {"reason": "errors"}, plan)
    assert plan.phases[0].percentage == Decimal(10)
