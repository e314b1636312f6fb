"""What a look says where something cannot be read: the routing first, and what is not known."""

from __future__ import annotations

import json
from datetime import timedelta

import psycopg
import pytest

from rollout_lib import operations as op
from rollout_lib.cli.app import run
from rollout_lib.database.connection import explain
from rollout_lib.errors import CouldNotMeasure, DatabaseUnreachable

pytestmark = pytest.mark.one_server

PLAN = ["--plan", "parameters/week6.rehearsal.yaml"]
AWAY = {
    "the log is gone": ("DROP VIEW webhook_routing_stats; DROP TABLE webhook_routing_logs", "log"),
    "the log has another shape": (
        "ALTER TABLE webhook_routing_logs RENAME COLUMN status TO success",
        "log",
    ),
    "the ledger is gone": ("DROP SCHEMA rollout CASCADE", "ledger"),
}


@pytest.mark.parametrize("what", AWAY)
def test_status_says_what_is_routed_whatever_else_is_away(database, direct, capsys, what):
    """Exit 50, the percentage, and the part that could not be read by name, in text and JSON."""
    arranged, part = AWAY[what]
    with psycopg.connect(direct, autocommit=True) as admin:
        admin.execute("SELECT update_routing_percentage(25, 'x'), set_routing_enabled(true, 'x')")
        admin.execute(arranged)
    assert run(["status", *PLAN]) == 50
    said = capsys.readouterr().out
    assert "25 %" in said
    assert f"the {part} could not be read" in said
    assert run(["status", *PLAN, "--json"]) == 50
    shown = json.loads(capsys.readouterr().out)
    assert (shown["percentage"], shown["status"], list(shown["unread"])) == (25.0, True, [part])


def test_a_path_that_leads_elsewhere_is_not_called_an_empty_database(database, direct, capsys):
    """The tables are there: nobody is told to create them."""
    name = psycopg.conninfo.conninfo_to_dict(direct)["dbname"]
    with psycopg.connect(direct, autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE {name} SET search_path = nowhere")
    assert run(["status", *PLAN]) == 50
    said = capsys.readouterr().err
    assert "its search path leads elsewhere" in said
    assert "rollout preflight says which" in said


@pytest.mark.parametrize("command", ["status", "errors", "migrate"])
def test_json_is_never_empty(database, monkeypatch, plan, capsys, command):
    """Without a database, and with an option that does not exist, a program reads why."""
    monkeypatch.setenv(plan.database.variable, "postgresql://127.0.0.1:1/rehearsal_x")
    assert run([command, *PLAN, "--json"]) == 50
    assert json.loads(capsys.readouterr().out)["exit_code"] == 50
    assert run([command, *PLAN, "--json", "--nothing"]) == 2
    assert json.loads(capsys.readouterr().out)["exit_code"] == 2


def test_a_server_behind_the_database_is_not_the_database(database, direct):
    """A worker or foreign host that is down: the database answers, and that is said."""
    with psycopg.connect(direct, autocommit=True) as admin:
        admin.execute(
            """CREATE FUNCTION worker() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION
               'connection to the remote node w1:5432 failed' USING ERRCODE = '08006'; END $$"""
        )
        with pytest.raises(psycopg.OperationalError) as caught:
            admin.execute("SELECT worker()")
    error = explain(caught.value, database.place)
    assert isinstance(error, CouldNotMeasure)
    assert not isinstance(error, DatabaseUnreachable)
    assert "a server behind it does not" in str(error)


def test_status_is_ten_lines_that_say_how_it_stands(evening, capsys):
    """Routing, last answer, traffic, phase, checks, watcher, next step with a command that can be
    pasted, ledger; nothing in the words of a program.
    """
    where = ["--plan", evening.session().plan.path, "--as-of", evening.now.isoformat()]
    assert run(["status", *where]) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) <= 10
    for words in (
        "· 10 % ·",
        "Traffic: ",
        "Phase: 10 % since",
        "Checks: 16 of 16",
        "Watcher: nobody",
    ):
        assert any(words in line for line in lines), (words, lines)
    command = lines[[line.startswith("Next: ") for line in lines].index(True) + 1]
    assert command.startswith("rollout evaluate --plan ")
    assert not any(word in "\n".join(lines) for word in ("True", "None", "latched", "enabled"))


def test_after_a_rollback_the_cause_stays_on_top(evening, capsys):
    """When, why, and what a named person does before anything begins again."""
    op.roll_back(evening.session(), reason="errors of jobs")
    evening.goes_on(15)
    where = ["--plan", evening.session().plan.path, "--as-of", evening.now.isoformat()]
    assert run(["status", *where]) == 0
    said = capsys.readouterr().out
    assert "routing off" in said
    assert "ROLLED BACK" in said
    assert "Rolled back at " in said
    assert "rollout acknowledge --restart --reason '…' --plan" in said


def test_what_somebody_did_by_hand_a_second_ago_is_said(evening, capsys):
    """The configuration first, and that the ledger knows another; never the last answer alone."""
    evening.sql("SELECT update_routing_percentage(60, 'by hand')")
    where = ["--plan", evening.session().plan.path, "--as-of", evening.now.isoformat()]
    assert run(["status", *where]) == 0
    said = capsys.readouterr().out
    assert "· 60 % ·" in said
    assert "By hand: the ledger made the routing 10 %" in said


def test_an_answer_of_long_ago_is_not_the_answer(evening, capsys):
    """Routing is on and nobody has checked for two hours: said, and no green word by itself."""
    evening.now += timedelta(hours=2)
    where = ["--plan", evening.session().plan.path, "--as-of", evening.now.isoformat()]
    assert run(["status", *where]) == 0
    said = capsys.readouterr().out
    assert "? NOT CURRENT  Nobody has looked for 2 h; then it was " in said
    assert "✓" not in said


@pytest.mark.parametrize(
    "row", ["percentage = NULL", "percentage = 'NaN'", "enabled = NULL", "created_at = 'infinity'"]
)
def test_a_configuration_that_cannot_be_understood_is_not_none_at_all(evening, capsys, row):
    """What is routed is not known: exit 50 and where to look, for a person and for a program."""
    evening.sql(
        "ALTER TABLE webhook_routing_config ALTER enabled DROP NOT NULL,"
        " ALTER percentage DROP NOT NULL, DROP CONSTRAINT percentage_is_a_share;"
        f" UPDATE webhook_routing_config SET {row}"
    )
    where = ["--plan", evening.session().plan.path, "--as-of", evening.now.isoformat()]
    assert run(["status", *where]) == 50
    said = capsys.readouterr().out
    assert "routing not known" in said
    assert "the configuration could not be read" in said
    assert run(["status", "--json", *where]) == 50
    assert "configuration" in json.loads(capsys.readouterr().out)["unread"]
