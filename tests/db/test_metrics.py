"""The Prometheus text file, as real checks and tripwire rounds on real servers leave it."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from importlib.resources import files
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from rollout_lib import operations as op
from rollout_lib.errors import CouldNotMeasure
from rollout_lib.model import State
from rollout_lib.notify import metrics

pytestmark = pytest.mark.one_server

NAME = "rollout_rehearsal_week6-unified.prom"
FIGURES = {
    "rollout_requests",
    "rollout_errors",
    "rollout_error_ratio",
    "rollout_p95_seconds",
    "rollout_e_value",
}
KEYS = ("by", "state", "domain", "destination", "stream")


class Gauges:
    """What a file says: value(name, label, …) by the labels that tell its series apart; None where
    it is absent.
    """

    def __init__(self, path: Path) -> None:
        families = text_string_to_metric_families(path.read_text(encoding="utf-8"))
        self.samples = [sample for family in families for sample in family.samples]
        self.names = {sample.name for sample in self.samples}
        assert {(s.labels["rollout"], s.labels["environment"]) for s in self.samples} == {
            ("week6-unified", "rehearsal")
        }

    def value(self, name: str, *labels: str) -> float | None:
        found = [
            s.value
            for s in self.samples
            if s.name == name and tuple(s.labels[key] for key in KEYS if key in s.labels) == labels
        ]
        assert len(found) <= 1
        return found[0] if found else None

    @property
    def verdict(self) -> str:
        (state,) = [
            s.labels["state"]
            for s in self.samples
            if s.name == "rollout_verdict" and s.labels["by"] == "overall" and s.value == 1
        ]
        return state


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """What $ROLLOUT_METRICS names."""
    path = tmp_path / "textfile"
    path.mkdir()
    monkeypatch.setenv(metrics.VARIABLE, str(path))
    return path


def test_a_raise_is_in_the_file_before_anybody_looks(rollout, folder):
    """A check while routing was off wrote so; after the raise nothing says so, and the next check
    is due.
    """
    rollout.run(op.monitor)
    assert Gauges(folder / NAME).value("rollout_routing_enabled") == 0
    done, _ = rollout.start()
    said = Gauges(folder / NAME)
    assert (said.value("rollout_routing_enabled"), said.value("rollout_routing_percentage")) == (
        1,
        10,
    )
    assert said.value(metrics.SUCCESS) == done.checkpoint.at.timestamp()
    assert said.value("rollout_next_slot_timestamp_seconds") > done.checkpoint.at.timestamp()
    assert "rollout_verdict" not in said.names


def test_a_lowering_is_no_look(rollout, folder):
    """It asks no gate and measures nothing: the file has the new percentage, and the last success
    of before.
    """
    rollout.start()
    rollout.check()
    seen = Gauges(folder / NAME).value(metrics.SUCCESS)
    rollout.world.advance(rollout.world.now + timedelta(minutes=40))
    rollout.run(op.roll_back, reason="one phase down", gradual=True)
    said = Gauges(folder / NAME)
    assert (said.value("rollout_routing_percentage"), said.value(metrics.SUCCESS)) == (5, seen)


def test_a_slot_writes_what_it_saw(rollout, folder):
    """Percentage, switch, the verdict in three columns, figures per domain, e-values, slot and last
    success.
    """
    rollout.start()
    done, lines = rollout.check()
    checkpoint, said = done.checkpoint, Gauges(folder / NAME)
    assert lines == []
    assert [path.name for path in folder.iterdir()] == [NAME], "nothing temporary is left"
    assert (said.value("rollout_routing_percentage"), said.value("rollout_routing_enabled")) == (
        10,
        1,
    )
    assert said.verdict == checkpoint.state == State.CLEAN_UNPROVEN
    assert (
        said.value("rollout_verdict", "literal", "CLEAN")
        == said.value("rollout_verdict", "evidence", said.verdict)
        == 1
    )
    for row in checkpoint.figures["rows"]:
        where = (row["domain"], row["routed_to"])
        assert said.value("rollout_requests", *where) == row["requests"] > 0
        assert said.value("rollout_error_ratio", *where) == row["errors"] / row["requests"]
        assert said.value("rollout_p95_seconds", *where) == pytest.approx(row["p95_ms"] / 1000)
    for stream in checkpoint.verdict.streams:
        assert said.value("rollout_e_value", stream.stream) == pytest.approx(math.exp(stream.e_now))
        assert said.value("rollout_e_value_act", stream.stream) in (
            pytest.approx(20),
            pytest.approx(60),
        )
    assert said.value("rollout_slot_lateness_seconds") == 0
    assert (
        said.value("rollout_next_slot_timestamp_seconds")
        == (checkpoint.slot + timedelta(minutes=15)).timestamp()
    )
    assert said.value("rollout_last_success_timestamp_seconds") == checkpoint.at.timestamp()
    assert (
        said.value("rollout_latched", "ROLL_BACK")
        == said.value("rollout_latched", "STEP_BACK")
        == 0
    )


def test_every_series_that_an_alert_asks_for_is_written(rollout, folder):
    """No alert waits for a name that nobody writes."""
    rollout.start()
    rollout.check()
    rules = (files("rollout_lib") / "units" / "rollout-alerts.yaml").read_text(encoding="utf-8")
    asked = set(re.findall(r"\brollout_(?!lib)[a-z_]+", rules))
    assert len(asked) == 7
    assert asked <= Gauges(folder / NAME).names


def test_a_tripwire_round_that_rolls_back_says_so_at_once(rollout, folder):
    """Quiet first, with the slot's lateness from the ledger; then a leak: routing 0, ROLL_BACK,
    latched.
    """
    rollout.start()
    rollout.check()
    rollout.world.advance(rollout.world.now + timedelta(seconds=90))
    assert op.trip(rollout.session()).recorded is None
    said = Gauges(folder / NAME)
    assert said.value("rollout_slot_lateness_seconds") == 0
    assert said.value("rollout_last_run_timestamp_seconds") == rollout.world.now.timestamp()
    rollout.world.connection.execute(
        "INSERT INTO webhook_routing_logs (domain, routed_to, status, webhook_name, created_at) "
        "VALUES ('mobility', 'unified', 'success', 'wa-webhook-mobility', %s)",
        (rollout.world.now - timedelta(seconds=1),),
    )
    assert op.trip(rollout.session()).recorded.checkpoint.change.applied
    said = Gauges(folder / NAME)
    assert (said.value("rollout_routing_percentage"), said.value("rollout_routing_enabled")) == (
        0,
        0,
    )
    assert (said.verdict, said.value("rollout_latched", "ROLL_BACK")) == ("ROLL_BACK", 1)
    assert said.value("rollout_next_slot_timestamp_seconds") is None
    rollout.check()
    assert (
        Gauges(folder / NAME).verdict,
        Gauges(folder / NAME).value("rollout_latched", "ROLL_BACK"),
    ) == ("OFF", 1)


@pytest.mark.parametrize("look", [lambda session: op.monitor(session, slot="now"), op.trip])
def test_a_look_that_fails_leaves_no_healthy_figure(rollout, folder, look):
    """The log is gone: the verdict is COULD_NOT_LOOK, every figure is absent, the last success is
    the one before.
    """
    rollout.start()
    rollout.check()
    before = Gauges(folder / NAME)
    with rollout.database.transaction(readonly=False) as connection:
        connection.exec_driver_sql("ALTER TABLE webhook_routing_logs RENAME TO elsewhere")
    with pytest.raises(CouldNotMeasure):
        look(rollout.session())
    after = Gauges(folder / NAME)
    assert before.names >= FIGURES
    assert after.verdict == "COULD_NOT_LOOK"
    assert not after.names & (FIGURES | {"rollout_routing_percentage", "rollout_routing_enabled"})
    success = "rollout_last_success_timestamp_seconds"
    assert after.value(success) == before.value(success)
    assert after.value("rollout_last_run_timestamp_seconds") > before.value(
        "rollout_last_run_timestamp_seconds"
    )


@pytest.mark.parametrize("rollout", ["silent"], indirect=True)
def test_missing_data_is_no_success_either(rollout, folder):
    """Unified logs nothing from the second hour: NO_DATA, no figure, and the last success stays
    where it was.
    """
    rollout.start()
    checked = [rollout.check()[0].checkpoint for _ in range(6)]
    said = Gauges(folder / NAME)
    assert said.verdict == checked[-1].state == "NO_DATA"
    assert not said.names & FIGURES
    seen = [one.at for one in checked if one.state != "NO_DATA"]
    assert said.value("rollout_last_success_timestamp_seconds") == seen[-1].timestamp()


def test_a_folder_that_takes_no_file_is_said_and_fails_nothing(rollout, tmp_path, monkeypatch):
    """The check stands, and one line of its result says why there are no metrics; the tripwire says
    it too.
    """
    monkeypatch.setenv(metrics.VARIABLE, str(tmp_path / "nowhere"))
    rollout.start()
    done, lines = rollout.check()
    assert done.checkpoint.exit_code == 0
    assert len(lines) == 1
    assert lines[0].startswith(f"metrics were not written: {tmp_path / 'nowhere' / NAME}: ")
    assert lines[0] in done._repr_mimebundle_()["text/plain"]
    assert op.trip(rollout.session()).trouble == lines[0]


def test_a_file_that_is_none_of_ours_is_replaced(rollout, folder):
    """Half a line from elsewhere in the file's place: the next check writes it anew."""
    (folder / NAME).write_bytes(b"rollout_last_success{ \xff")
    rollout.start()
    rollout.check()
    assert Gauges(folder / NAME).verdict == "CLEAN_UNPROVEN"
    assert metrics.write_unseen(rollout.plan) == ""


def test_without_the_variable_nothing_is_written(rollout, tmp_path, monkeypatch):
    """Nobody wants metrics: no file anywhere, no line."""
    monkeypatch.delenv(metrics.VARIABLE, raising=False)
    rollout.start()
    assert rollout.check()[1] == []
    assert not list(tmp_path.rglob("*.prom"))
