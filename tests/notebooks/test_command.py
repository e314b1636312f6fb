"""The command `rollout`, as a process: help, exit codes, one clear message for what is wrong,
nothing written.
"""

from __future__ import annotations

import html
import json
import os
import re
import subprocess
import sys
import uuid
from pathlib import Path

import psycopg
import pytest
import yaml

from rollout_lib.rehearsal.server import create_database

ROLLOUT = str(Path(sys.executable).with_name("rollout"))
VERBS = (
    "rehearse migrate preflight change monitor evaluate acknowledge attest rollback watch",
    "status errors replay report diff verify seal lab",
)
PLAN = "parameters/week6.rehearsal.yaml"


def rollout(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, as a shell would call it."""
    return subprocess.run(
        [ROLLOUT, *arguments], capture_output=True, text=True, env={**os.environ, **environment}
    )


def ledger(today) -> int:
    return today.sql("SELECT count(*) FROM rollout.ledger")[0][0]


def refused(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """One message of ours on stderr, the exit code, and no traceback."""
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert all(word in done.stderr for word in words), done.stderr


@pytest.mark.parametrize("verb", " ".join(VERBS).split())
def test_each_verb_has_help_that_a_stranger_can_act_on(verb):
    """`--help` exits 0 and says what the verb does and what its options are."""
    done = rollout(verb, "--help", COLUMNS="100")
    assert done.returncode == 0
    assert "Usage" in done.stdout
    assert "--help" in done.stdout


def test_status_monitor_and_report_of_a_good_day(today):
    """Exit 0; each begins with environment, host and database; --json is one object."""
    outputs = ("--outputs", str(today.outputs))
    for verb in (
        ("status",),
        ("errors",),
        ("monitor", *outputs),
        ("evaluate", *outputs),
        ("report", *outputs),
    ):
        done = rollout(*verb)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.startswith("REHEARSAL · "), done.stdout
        assert today.address.split("dbname=")[1].split()[0] in done.stdout.splitlines()[0]
    shown = json.loads(rollout("status", "--json").stdout)
    assert shown["latched"] is None
    assert (
        json.loads(rollout("monitor", "--json", *outputs).stdout)["checkpoint"]["state"]
        != "ROLL_BACK"
    )


def test_the_reports_own_proof_can_be_pasted_anywhere(today, tmp_path):
    """In another folder, with the address and nothing else: it finds the plan, the folder and the
    head.
    """
    done = rollout("report", "--outputs", str(today.outputs))
    page = Path(done.stdout.split("record: ")[1].strip()).read_text(encoding="utf-8")
    (command,) = re.findall(r"<code>(rollout verify --head [^<]+)</code>", page)
    elsewhere = {
        "PATH": f"{Path(ROLLOUT).parent}:{os.environ['PATH']}",
        "ROLLOUT_REHEARSAL_URL": today.address,
    }
    proof = subprocess.run(
        f"{html.unescape(command)} --json",
        shell=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=elsewhere,
    )
    shown = json.loads(proof.stdout)
    kinds = {finding["kind"] for finding in shown["findings"]}
    assert kinds <= {"unsealed"}, proof.stdout  # the morning had no runner
    assert shown["files"] == 3
    assert str(today.outputs.resolve()) in shown["place"]


def test_statements_are_json_too(today):
    """`attest` and `acknowledge` with --json: one object with who, what and the head; `status` has
    types.
    """
    shown = json.loads(
        rollout("attest", "--complaints", "none", "--operator", "Rita", "--json").stdout
    )
    said = [shown[name] for name in ("by", "subject", "value", "rolled_back")]
    assert said == ["Rita", "complaints", "none", None]
    given = ("--extend-hours", "1", "--reason", "one more", "--operator", "Rita", "--json")
    assert json.loads(rollout("acknowledge", *given).stdout)["head"][0] == shown["head"][0] + 1
    status = json.loads(rollout("status", "--json").stdout)
    assert (status["status"], status["percentage"], type(status["error_pct"])) == (
        True,
        10.0,
        float,
    )
    spike = json.loads(
        rollout("attest", "--complaints", "spike", "--reason", "calls", "--json").stdout
    )
    assert "disabled" in spike["rolled_back"]
    assert json.loads(rollout("status", "--json").stdout)["status"] is False


def test_a_change_that_is_done_already_says_so_and_exits_0(today):
    """`--to 10 --apply` at 10 %: there is nothing to do, and nothing was done."""
    before = today.routing()
    done = rollout(
        "change", "--to", "10", "--reason", "again", "--apply", "--outputs", str(today.outputs)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing to do" in done.stdout
    assert "✗" not in done.stdout
    assert today.routing() == before
    run = today.sql("SELECT run_id FROM rollout.ledger ORDER BY seq DESC LIMIT 1")[0]
    kinds = today.sql(f"SELECT kind FROM rollout.ledger WHERE run_id = '{run[0]}' ORDER BY seq")
    assert kinds == [("extra",), ("archived",)]  # vouched for as every run is


def test_a_raise_without_a_passed_phase_is_refused_with_every_unmet_gate(today):
    """`--to 25`, stale and not evaluated: exit 60, each unmet gate by name, the percentage
    untouched.
    """
    before = today.routing()
    given = (
        "--to",
        "25",
        "--expect",
        "0",
        "--reason",
        "too early",
        "--apply",
        "--outputs",
        str(today.outputs),
    )
    done = rollout("change", *given)
    assert done.returncode == 60, done.stdout + done.stderr
    assert "evaluated" in done.stdout
    assert "0 %" in done.stdout
    assert today.routing() == before


def test_a_rollback_without_apply_changes_nothing_and_without_a_reason_is_wrong(today):
    """A dry run says so and exits 0; a missing reason exits 2."""
    before = today.routing()
    done = rollout("rollback", "--reason", "just looking")
    assert (done.returncode, today.routing()) == (0, before)
    assert done.stdout.startswith("REHEARSAL · ")
    assert (
        "nothing was changed. Routing is at 10 %, enabled; --apply would go down to 5 %"
        in done.stdout
    )
    assert (
        json.loads(rollout("rollback", "--off", "--reason", "x", "--json").stdout)["would"]
        == "switch routing off"
    )
    refused(rollout("rollback", "--reason", "x", "--plan", "nowhere.yaml"), 2, "nowhere.yaml")
    refused(rollout("rollback", "--apply"), 2, "reason")


def test_an_emergency_needs_only_the_address(today, tmp_path):
    """No plan, another folder: routing is off, 0 %, and the ledger has it."""
    done = subprocess.run(
        [ROLLOUT, "rollback", "--emergency", "--reason", "a test"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"DATABASE_URL": today.address, "PATH": os.environ["PATH"]},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (float(today.routing()[0]), today.routing()[1]) == (0.0, False)
    kinds = today.sql("SELECT operation FROM rollout.ledger ORDER BY seq DESC LIMIT 1")
    assert kinds == [("rollback",)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("monitor", "--slot", "nan"), ("slot",)),
        (("monitor", "--as-of", "yesterday"), ("as_of",)),
        (("monitor", "--as-of", "2025-12-03T09:00:00"), ("offset",)),
        (("change", "--to", "nan"), ("percentage",)),
        (("change", "--to", "ten"), ("percentage",)),
        (("change", "--to", "12"), ("12",)),
        (("attest", "--complaints", "few"), ("complaints",)),
        (("acknowledge", "--restart", "--override"), ("one of",)),
        (("rehearse", "--scenario", "nowhere"), ("scenario",)),
        (("rehearse", "--mode", "lax"), ("mode",)),
        (("rehearse", "--plan", "nowhere.yaml"), ("nowhere.yaml",)),
        (("rehearse", "--live", "--minutes", "-1"), ("--minutes", "-1")),
        (("rehearse", "--live", "--minutes", "nan"), ("--minutes", "nan")),
        (("rehearse", "--live", "--rate", "0"), ("0 a second",)),
        (("rehearse", "--live", "--fault", "fire"), ("--fault", "fire")),
        (("monitor", "--plam", "x"), ("No such option",)),
        (("verify", "--head", "x"), ("head",)),
    ],
)
def test_a_wrong_parameter_is_one_message_and_exit_2(today, arguments, words):
    """Nothing runs and nothing is written: neither on the ledger nor in the outputs."""
    before = ledger(today)
    done = rollout(*arguments, COLUMNS="200")
    refused(done, 2, *words)
    assert (done.stdout, ledger(today), today.outputs.exists()) == ("", before, False)


def test_a_rehearsal_without_its_server_makes_no_folder(tmp_path):
    """A closed port: exit 50, one message, and neither a plan nor a folder of a
    day that never was.
    """
    for more in ((), ("--live",)):
        done = rollout(
            "rehearse",
            *more,
            "--outputs",
            str(tmp_path / "outputs"),
            ROLLOUT_REHEARSAL_URL="postgresql://rita:canary@127.0.0.1:1/x",
        )
        refused(done, 50, "does not answer", "port 1")
        assert "canary" not in done.stdout + done.stderr
        assert not (tmp_path / "outputs").exists()


def test_a_wrong_plan_names_every_problem(tmp_path):
    """Three mistakes, three lines, each with its path; exit 2."""
    content = yaml.safe_load(Path(PLAN).read_text(encoding="utf-8"))
    content["phases"][2]["percentage"] = 25
    content["thresholds"]["p95_rollback_ms"] = ".nan"
    content["surprise"] = 1
    file = tmp_path / "plan.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    refused(
        rollout("monitor", "--plan", str(file)),
        2,
        "phases[2].percentage",
        "p95_rollback_ms",
        "surprise",
    )
    refused(rollout("monitor", "--plan", str(tmp_path / "none.yaml")), 2, "none.yaml")


def test_production_without_an_address_never_falls_back(monkeypatch):
    """No $DATABASE_URL and the production plan: exit 2, and the variable is named."""
    monkeypatch.delenv("DATABASE_URL", raising=False)
    refused(
        rollout("monitor", "--plan", "parameters/week6.production.yaml"),
        2,
        "DATABASE_URL",
        "never falls back",
    )


def test_a_database_of_another_plan_is_refused():
    """An address whose database is called otherwise than the plan says: exit 2."""
    refused(
        rollout("monitor", "--plan", PLAN, ROLLOUT_REHEARSAL_URL="postgresql://127.0.0.1:1/shop"),
        2,
        "shop",
    )


def test_an_unreachable_server_is_could_not_measure(tmp_path):
    """A closed port: exit 50, where it was looked for, and how to switch routing off by other
    means.
    """
    done = rollout(
        "monitor",
        "--plan",
        PLAN,
        "--outputs",
        str(tmp_path),
        ROLLOUT_REHEARSAL_URL="postgresql://127.0.0.1:1/rehearsal_x",
    )
    refused(done, 50, "rehearsal_x on 127.0.0.1", "set_routing_enabled(false")
    assert not list(tmp_path.iterdir())


def test_a_scheduled_check_that_could_not_look_is_a_record(tmp_path):
    """The same with a slot: exit 50, the notebook of the attempt is kept, and its entry waits for
    the ledger.
    """
    done = rollout(
        "monitor",
        "--slot",
        "now",
        "--plan",
        PLAN,
        "--outputs",
        str(tmp_path),
        ROLLOUT_REHEARSAL_URL="postgresql://127.0.0.1:1/rehearsal_x",
    )
    refused(done, 50, "rehearsal_x on 127.0.0.1", "not sealed on the ledger yet")
    assert len(list(tmp_path.rglob("*_20_monitor_*.ipynb"))) == 1
    (kept,) = (tmp_path / "spool").glob("*.json")
    assert json.loads(kept.read_text(encoding="utf-8"))["kind"] == "attempt"


def test_a_rollback_is_not_held_up_by_what_every_other_command_refuses(today):
    """The ledger is gone: `monitor` stops at the door, `rollback --off` switches off and keeps its
    entry.
    """
    today.sql("DROP SCHEMA rollout CASCADE")
    refused(rollout("monitor"), 50, "rollout.ledger")
    assert not today.outputs.exists()
    done = rollout("rollback", "--off", "--reason", "errors", "--apply")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Routing is disabled" in done.stdout
    assert (float(today.routing()[0]), today.routing()[1]) == (0.0, False)
    assert list((today.outputs / "spool").glob("*.json"))


def test_a_database_without_the_tables_says_how_to_get_them(server, tmp_path):
    """Exit 50 and the command that adds them; afterwards it has still no table."""
    address = create_database(server, f"rehearsal_{uuid.uuid4().hex[:12]}")
    done = rollout(
        "monitor", "--plan", PLAN, "--outputs", str(tmp_path), ROLLOUT_REHEARSAL_URL=address
    )
    refused(done, 50, "rollout migrate --apply")
    with psycopg.connect(address) as connection:
        statement = (
            "SELECT count(*) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog',"
            " 'information_schema')"
        )
        assert connection.execute(statement).fetchone() == (0,)


def test_a_database_with_other_columns_is_refused_by_migrate(server):
    """The older configuration table: exit 2, each difference named, nothing changed."""
    address = create_database(server, f"rehearsal_{uuid.uuid4().hex[:12]}")
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE webhook_routing_config (domain text, target_function text,"
            " traffic_percentage integer)"
        )
    done = rollout("migrate", "--apply", "--plan", PLAN, ROLLOUT_REHEARSAL_URL=address)
    refused(done, 2, "webhook_routing_config", "percentage")


def test_an_address_with_a_password_is_never_printed(tmp_path):
    """Whatever goes wrong, the password of the address is in no output."""
    address = "postgresql://rita:canary-pa55@127.0.0.1:1/rehearsal_x"
    for verb in ("monitor", "status", "migrate", "preflight", "verify"):
        done = rollout(
            verb, "--plan", PLAN, ROLLOUT_REHEARSAL_URL=address, ROLLOUT_OUTPUTS=str(tmp_path)
        )
        assert done.returncode in (2, 50, 70)
        assert "canary" not in done.stdout + done.stderr
