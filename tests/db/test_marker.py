"""The marker: every session compares what the database says of itself with the plan, before
anything is asked."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from rollout_lib import operations as op
from rollout_lib.database.connection import connect
from rollout_lib.database.migrations import migrate
from rollout_lib.database.session import open_session
from rollout_lib.emergency import switch_off
from rollout_lib.errors import WrongDatabase
from rollout_lib.model import Place
from rollout_lib.plan import load_plan
from rollout_lib.redaction import redact

PLAN = Path("parameters/week6.rehearsal.yaml")


def sql(address: str, statement: str) -> list[tuple]:
    with psycopg.connect(address, autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def changed(tmp_path: Path, old: str, new: str) -> str:
    file = tmp_path / "plan.yaml"
    file.write_text(PLAN.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    return str(file)


def test_migrate_marks_the_database_once(database, direct):
    """Environment, rollout and a random id, which stays; the emergency reads it, too."""
    said = "SELECT rollout, environment, id::text FROM rollout.marker"
    before = sql(direct, said)
    assert [row[:2] for row in before] == [("week6-unified", "rehearsal")]
    migrate(connect(load_plan(PLAN)), apply=True)
    assert sql(direct, said) == before
    off = switch_off(direct, reason="x", operator="Rita")
    assert [mark.id for mark in off.found.marks] == [before[0][2]]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("environment: rehearsal", "environment: staging", "its marker says rehearsal"),
        ("rollout: week6-unified", "rollout: other", "its marker is of week6-unified"),
        ('name: "rehearsal_*"', 'name: "rehearsal_*"\n  marker: "00000000"', "its marker is"),
    ],
)
def test_a_plan_of_another_database_does_nothing_there(database, direct, tmp_path, old, new, words):
    """The same host, port and name lead to it, as through a tunnel: exit 2, and nothing is read or
    written."""
    session = open_session(changed(tmp_path, old, new), operator="Rita")
    ledger = sql(direct, "SELECT count(*) FROM rollout.ledger")
    for act in (
        lambda: op.preflight(session),
        lambda: op.monitor(session, slot="now"),
        lambda: op.attest(session, subject="complaints", value="none"),
    ):
        with pytest.raises(WrongDatabase, match=words):
            act()
    assert sql(direct, "SELECT count(*) FROM rollout.ledger") == ledger


def test_the_first_line_says_which_database_answered(database, direct):
    """Host, database and marker once it was read; a project where the address names one."""
    session = open_session(str(PLAN), operator="Rita")
    assert session.place.marker == ""
    place = op.preflight(session).checkpoint.place
    ((mark,),) = sql(direct, "SELECT id::text FROM rollout.marker")
    assert place.marker == mark[:8]
    assert str(place).endswith(f" · {place.database} · marker {mark[:8]}")


def test_a_project_stands_beside_the_host_that_many_share():
    """The pooler's host is the same for all projects."""
    place = Place(
        environment="production",
        host="aws-0-eu-central-1.pooler.supabase.com",
        project="abcdefgh",
        database="postgres",
        rollout="week6",
        time_zone="UTC",
    )
    assert str(place).split(" · ")[2] == "project abcdefgh"
    assert redact(str(place)) == str(place)


def test_a_database_that_is_exchanged_behind_the_address_is_noticed(database, direct):
    """The session has read its marker; the next transaction reads another one."""
    session = open_session(str(PLAN), operator="Rita")
    with session.database.transaction(readonly=True):
        pass
    sql(direct, "UPDATE rollout.marker SET environment = 'production'")
    with (
        pytest.raises(WrongDatabase, match="says production"),
        session.database.transaction(readonly=True),
    ):
        pass


def test_a_copy_is_marked_anew_only_where_it_is_said(database, direct):
    """A dump of production restored here: refused, also by migrate; --mark makes it this one."""
    sql(direct, "UPDATE rollout.marker SET environment = 'production'")
    fresh = connect(load_plan(PLAN))
    with pytest.raises(WrongDatabase, match="says production"):
        migrate(fresh, apply=True)
    migrate(fresh, apply=True, mark=True)
    assert sql(direct, "SELECT environment FROM rollout.marker") == [("rehearsal",)]
    with connect(load_plan(PLAN)).transaction(readonly=True):
        pass


def test_a_database_without_a_marker_is_worked_on_and_preflight_says_so(database, direct):
    """One of an older version: nothing is refused, and a check names the command that marks it."""
    sql(direct, "DROP TABLE rollout.marker")
    found = op.preflight(open_session(str(PLAN), operator="Rita")).checkpoint
    (check,) = [check for check in found.verdict.checks if check.name == "marker"]
    assert check.outcome.value == "WARN"
    assert "rollout migrate --apply" in check.mend
    migrate(connect(load_plan(PLAN)), apply=True)
    found = op.preflight(open_session(str(PLAN), operator="Rita")).checkpoint
    (check,) = [check for check in found.verdict.checks if check.name == "marker"]
    assert check.outcome.value == "PASS"
