"""A machine whose clock is wrong by an hour, or is set while it watches: real processes that read
another time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rollout_lib import spool
from tests.conftest import needs
from tests.faults.conftest import ROLLOUT, ROWS

pytestmark = pytest.mark.slow

HOUR = timedelta(hours=1)
EMERGENCY = ("rollback", "--emergency", "--reason", "x", "--variable", "ROLLOUT_REHEARSAL_URL")


@pytest.fixture(scope="session")
def library(tmp_path_factory) -> Path:
    """another_clock.c, compiled."""
    made = tmp_path_factory.mktemp("clock") / "another_clock.so"
    source = Path(__file__).with_name("another_clock.c")
    subprocess.run([needs("gcc"), "-shared", "-fPIC", "-O1", "-o", made, source], check=True)
    return made


class Clock:
    """The clock of the processes that get `environment`: moved by so many seconds, or set while
    they run.
    """

    def __init__(self, file: Path, library: Path) -> None:
        self.file = file
        self.environment = {"LD_PRELOAD": str(library), "ANOTHER_CLOCK": str(file)}

    def moved(self, by: timedelta) -> Clock:
        self.file.write_text(f"{by.total_seconds():.0f}")
        return self


@pytest.fixture
def clock(library, tmp_path, monkeypatch) -> Clock:
    monkeypatch.setenv("ROLLOUT_OUTPUTS", str(tmp_path / "outputs"))
    return Clock(tmp_path / "clock", library)


@pytest.fixture(params=[HOUR, -HOUR], ids=["an hour ahead", "an hour behind"])
def wrong(request, clock) -> dict[str, str]:
    """The environment of a process whose clock is an hour away."""
    return clock.moved(request.param).environment


def rollout(day, environment: dict[str, str], *words: str) -> dict:
    """A command in a process of its own; what it says as JSON."""
    command = [ROLLOUT, *words, "--operator", "Rita"]
    command += [] if "attest" in words else ["--json"]
    command += [] if "--emergency" in words else ["--plan", str(day.plan)]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **environment}
    )
    assert done.returncode in (0, 10), done.stdout + done.stderr
    return {} if "attest" in words else json.loads(done.stdout)


def near(text: str) -> bool:
    """Is this instant of now, and not of an hour away?"""
    return abs(datetime.now(UTC) - datetime.fromisoformat(text)) < HOUR / 2


def test_the_process_under_test_has_another_clock(wrong):
    """Or else the tests below would show nothing."""
    code = "import datetime as d; print(d.datetime.now(d.UTC).isoformat())"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **wrong}
    )
    assert not near(done.stdout.strip())


def test_gates_slots_windows_and_the_ledger_go_by_the_databases_clock(live, wrong):
    """Pre-flight says how far this machine's clock is away; a raise, a check, an emergency are of
    the real time.
    """
    day = live("5s", begun=False, ingestion_lag="1s")
    before = rollout(day, wrong, "preflight")["checkpoint"]
    (clocks,) = [check for check in before["verdict"]["checks"] if check["name"] == "clocks"]
    assert clocks["outcome"] == "WARN"
    assert 3590 < float(clocks["observed"].split()[0]) < 3610
    assert clocks["mend"] == "timedatectl set-ntp true"
    assert before["state"] == "PASS"
    rollout(day, wrong, "attest", "--complaints", "none")
    change = rollout(
        day, wrong, "change", "--to", "10", "--expect", "0", "--reason", "start", "--apply"
    )
    raised = change["checkpoint"]
    assert {gate["met"] for gate in raised["change"]["gates"]} == {True}
    assert day.routing() == (10, True)
    day.sql(ROWS.format(where="unified", status="success", number=3))
    time.sleep(5)  # the slot of the raise itself belongs to nobody
    checked = rollout(day, wrong, "monitor", "--slot", "now")
    found = checked["checkpoint"]
    assert near(found["slot"])
    assert near(found["look"]["window"]["end"])
    assert near(found["figures"]["window"]["end"])
    assert (
        sum(row["requests"] for row in found["figures"]["rows"] if row["routed_to"] == "unified")
        > 0
    )
    assert Path(checked["notebook"]).name.startswith(
        datetime.fromisoformat(found["at"]).strftime("%Y%m%dT%H%M%SZ")
    )
    off = rollout(day, wrong, *EMERGENCY)
    assert near(off["at"])
    away = (
        "SELECT kind, operation FROM rollout.ledger WHERE abs(extract(epoch FROM recorded_at - {}))"
        " > 1800"
    )
    for column in ("at", "slot", "phase_began"):
        assert day.sql(away.format(column)) == []
    assert day.sql("SELECT count(DISTINCT kind) FROM rollout.ledger") > [(2,)]


def test_a_watcher_of_another_clock_misses_nothing_stops_when_it_was_told_and_acts(live, wrong):
    """Its rounds and its lines are of the database's time: no slot is missed, `--until` is not an
    hour away.
    """
    day = live()
    until = datetime.now(UTC) + timedelta(seconds=15)
    first = day.watch("--until", until.isoformat(), **wrong)
    first.until("quiet")
    said = [*first.said, *first.rest()]
    assert said[-1]["kind"] == "stop"
    assert all(near(event["at"]) for event in said if event["kind"] == "quiet")
    assert not [event for event in said if event["kind"] in ("missed", "slot", "away", "trouble")]
    second = day.watch(**wrong)
    second.until("quiet")
    day.fails()
    assert near(second.until("act")["at"])
    assert day.routing() == (0, False)
    (at,) = day.sql("SELECT at FROM rollout.ledger ORDER BY seq DESC LIMIT 1")[0]
    assert near(at.isoformat())


def test_a_clock_that_is_set_while_it_watches_wakes_nobody(
    live, hook, proxy, through, clock, monkeypatch
):
    """The database is away for a moment, and the clock jumps an hour meanwhile: that is no hour of
    blindness.
    """
    monkeypatch.setenv("ROLLOUT_REHEARSAL_URL", through(os.environ["ROLLOUT_REHEARSAL_URL"]))
    day = live()
    monkeypatch.setenv("ROLLOUT_NOTIFY", hook.address)
    watcher = day.watch(**clock.moved(timedelta(0)).environment)
    watcher.until("quiet")
    proxy.arm(1, "unheard", gone=True)
    watcher.until("away")
    clock.moved(HOUR)
    time.sleep(4)  # some rounds
    assert hook.posts == []
    proxy.mend()
    assert near(watcher.until("back")["at"])
    watcher.until("quiet")
    assert [event["kind"] for event in watcher.said if event["kind"] in ("missed", "slot")] == []
    day.fails()
    watcher.until("act")
    assert day.routing() == (0, False)


@pytest.mark.parametrize("words", [EMERGENCY, ("rollback", "--off", "--apply", "--reason", "x")])
def test_what_waits_in_a_file_is_of_the_databases_time_too(live, words, wrong):
    """Else a rollback that was kept would end what is begun after it, for an hour, or be taken for
    an old one.
    """
    day = live()
    day.sql("ALTER TABLE rollout.ledger RENAME TO gone")
    rollout(day, wrong, *words)
    assert day.routing() == (0, False)
    kept = [json.loads(path.read_text()) for path in spool.waiting()]
    assert kept
    assert all(near(entry["at"]) for entry in kept if entry["kind"] == "checkpoint")
