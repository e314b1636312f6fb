"""The commands as processes write the metrics: a scheduled check, the watcher, and both without a
database.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from rollout_lib.schedule import Event, Stop, watch

pytestmark = pytest.mark.slow

ROLLOUT = str(Path(sys.executable).with_name("rollout"))
NAME = "rollout_rehearsal_week6-unified.prom"
AWAY = "postgresql://127.0.0.1:1/rehearsal_x"


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    path = tmp_path / "textfile"
    path.mkdir()
    monkeypatch.setenv("ROLLOUT_METRICS", str(path))
    return path


def said(folder: Path) -> dict[str, float]:
    """The series that have no label of their own, and the one state that is, as its name."""
    families = text_string_to_metric_families((folder / NAME).read_text(encoding="utf-8"))
    samples = [sample for family in families for sample in family.samples]
    found = {
        sample.name: sample.value
        for sample in samples
        if set(sample.labels) == {"rollout", "environment"}
    }
    found |= {
        sample.labels["state"]: 1
        for sample in samples
        if sample.labels.get("by") == "overall" and sample.value == 1
    }
    return found


def test_a_scheduled_check_writes_and_one_without_a_database_takes_its_figures_back(today, folder):
    """`rollout monitor --slot now` as cron starts it: figures; then exit 50, no figure, the last
    success kept.
    """
    done = subprocess.run([ROLLOUT, "monitor", "--slot", "now"], capture_output=True, text=True)
    assert done.returncode in (0, 10), done.stdout + done.stderr
    well = said(folder)
    assert well["rollout_routing_percentage"] == 10
    away = {**os.environ, "ROLLOUT_REHEARSAL_URL": AWAY}
    done = subprocess.run(
        [ROLLOUT, "monitor", "--slot", "now"], capture_output=True, text=True, env=away
    )
    assert done.returncode == 50, done.stdout + done.stderr
    blind = said(folder)
    assert blind["COULD_NOT_LOOK"] == 1
    assert "rollout_routing_percentage" not in blind
    assert (
        blind["rollout_last_success_timestamp_seconds"]
        == well["rollout_last_success_timestamp_seconds"]
    )


@pytest.mark.parametrize("how", ["broken", "gone", "a slot that is none"])
def test_a_check_that_a_wrong_plan_keeps_from_running_leaves_no_healthy_figure(
    today, folder, tmp_path, how
):
    """Exit 2 as cron gets it: the verdict is COULD_NOT_LOOK and the figures are gone; other
    rollouts' are not.
    """
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        Path("parameters/week6.rehearsal.yaml").read_text(encoding="utf-8"), encoding="utf-8"
    )
    environment = {**os.environ, "ROLLOUT_PLAN": str(plan)}

    def run(*words: str) -> int:
        return subprocess.run(
            [ROLLOUT, "monitor", *words], capture_output=True, env=environment
        ).returncode

    assert run("--slot", "now") in (0, 10, 20)
    well = said(folder)
    other = folder / "rollout_production_green.prom"
    other.write_text(
        (folder / NAME)
        .read_text()
        .replace("week6-unified", "green")
        .replace("plan.yaml", "green.yaml")
    )
    before = other.read_text()
    if how == "broken":
        plan.write_text("mode: [\n")
    elif how == "gone":
        plan.unlink()
    assert run("--slot", "09:13" if how.startswith("a slot") else "now") == 2
    blind = said(folder)
    assert blind["COULD_NOT_LOOK"] == 1
    assert "rollout_routing_percentage" in well
    assert "rollout_routing_percentage" not in blind
    for name in ("rollout_last_success_timestamp_seconds", "rollout_slot_interval_seconds"):
        assert blind[name] == well[name]
    assert other.read_text() == before


def test_the_watcher_writes_each_round_and_says_when_it_cannot_see(today, folder, monkeypatch):
    """A quiet round leaves figures; a watcher whose database is away leaves none, before it ever
    held the lease.
    """
    stop = Stop()

    def until(kind: str):
        def say(event: Event) -> None:
            if event.kind == kind:
                stop.set()

        return say

    watch(outputs=today.outputs, say=until("quiet"), stop=stop, kernel="plain")
    assert said(folder)["rollout_routing_enabled"] == 1
    monkeypatch.setenv("ROLLOUT_REHEARSAL_URL", AWAY)
    stop = Stop()
    watch(outputs=today.outputs, say=until("away"), stop=stop, kernel="plain")
    blind = said(folder)
    assert blind["COULD_NOT_LOOK"] == 1
    assert "rollout_routing_enabled" not in blind
