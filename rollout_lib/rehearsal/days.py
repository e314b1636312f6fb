"""The runbook's days, quarter by quarter: the world goes on, and every step is one of our notebooks
by papermill.

The conductor plays the people: it starts, attests, acknowledges where the scenario says so, and
asks for the next phase. It never touches the routing itself; what happens to it, the suite did.
Nights are checked like days, as long as routing is on; each day ends with a report for whoever goes
on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from rollout_lib.database.connection import Database
from rollout_lib.database.session import Session, open_session
from rollout_lib.operations.attest import attest
from rollout_lib.plan import Plan
from rollout_lib.rehearsal.scenarios import Scenario
from rollout_lib.rehearsal.world import World
from rollout_lib.runner import RunResult, run_notebook

OPERATOR = "Rita Rehearsal"
_APPROVERS = ("Ada Approves", "Bo Both", "Cleo Checks", "Dina Does", "Ed Else")
PREFLIGHT_BEFORE = timedelta(minutes=15)
DAY_ENDS_AFTER = timedelta(hours=9)  # 18:00 for a start at 09:00
Progress = Callable[[str, int, int], None]


@dataclass
class Day:
    """What the conductor holds while a rehearsal runs."""

    plan: Plan
    scenario: Scenario
    world: World
    database: Database
    outputs: Path
    kernel: str
    progress: Progress
    week: bool = False
    runs: list[tuple[str, RunResult]] = field(default_factory=list)

    def session(self) -> Session:
        return open_session(self.plan.path, as_of=self.world.now.isoformat(), operator=OPERATOR)

    def run(self, name: str, **parameters: Any) -> RunResult:
        self.progress(
            f"{self.world.now.astimezone(self.plan.zone):%a %H:%M}  {name}",
            len(self.runs),
            self.total(),
        )
        given = {
            "plan": self.plan.path,
            "as_of": self.world.now.isoformat(),
            "operator": OPERATOR,
            **parameters,
        }
        result = run_notebook(name, given, outputs=self.outputs, kernel=self.kernel)
        self.runs.append((name, result))
        return result

    def end(self) -> datetime:
        """When it is over: 18:00 of Day 3, or the end of the plan's last hold."""
        return (
            self.plan.ends(len(self.plan.phases) - 1)
            if self.week
            else self.world.start + DAY_ENDS_AFTER
        )

    def total(self) -> int:
        """About how many notebooks it takes."""
        return int((self.end() - self.world.start) / self.plan.monitoring.interval) + (
            16 if self.week else 6
        )

    def state(self) -> str:
        """What the last check said."""
        checks = [
            run.checkpoint for name, run in self.runs if name == "20_monitor" and run.checkpoint
        ]
        return str(checks[-1]["state"]) if checks else ""

    def is_on(self) -> bool:
        """Is routing on, as configured now?"""
        return bool(self.world.configuration()[1])

    def is_served(self, now: datetime) -> bool:
        """Has the running phase been held for its time?"""
        phase = next(run.checkpoint["phase"] for _, run in reversed(self.runs) if run.checkpoint)
        if not phase or phase["index"] is None:
            return False
        hold: timedelta = self.plan.phases[phase["index"]].hold
        return now >= datetime.fromisoformat(phase["began_at"]) + hold


def conduct(day: Day) -> RunResult:
    """All of it; the last report."""
    plan, world, interval, end = day.plan, day.world, day.plan.monitoring.interval, day.end()
    phases = [index for index in range(len(plan.phases)) if plan.begins(index) < end]
    begin = {plan.begins(index): index for index in phases}
    evaluate = {plan.ends(index) for index in phases}
    day.progress("writing the day before", 0, day.total())
    world.prelude(world.start - PREFLIGHT_BEFORE)
    day.run("00_preflight")
    world.advance(world.start)
    while True:
        now = world.now
        # While routing is off in a week, one check has seen that nothing goes to unified; then
        # nobody looks.
        if now > world.start and not (day.week and day.state() == "OFF"):
            _obey(day, day.run("20_monitor", slot=now.isoformat()))
        evening = now >= end or (now - world.start) % timedelta(days=1) == DAY_ENDS_AFTER
        if now in evaluate and not evening and day.is_on():
            _evaluate(day)
        if now in begin:
            _raise(day, begin[now])
        if evening:
            if day.is_on() and (not day.week or day.is_served(now)):
                _evaluate(day)
            report = day.run("40_report")
        if now >= end:
            return report
        world.advance(min(now + interval, end))


def _raise(day: Day, index: int) -> None:
    """A person asks for the next phase; the gates decide. What was evaluated yesterday is evaluated
    anew.
    """
    if (
        index
        and day.is_on()
        and day.world.now - day.plan.ends(index - 1) > day.plan.monitoring.evaluation_valid
    ):
        _evaluate(day)
    attest(day.session(), subject="complaints", value="none", reason="nothing reported by support")
    phase = day.plan.phases[index]
    for name in _APPROVERS[: day.plan.approvals]:
        attest(
            replace(day.session(), operator=name), subject="approval", value=f"{phase.percentage:g}"
        )
    before = day.plan.phases[index - 1].percentage if index else 0
    reason = (
        "Initial 10% rollout - monitoring for 4 hours"
        if not index
        else (f"Scaling to {phase.percentage:g}% after successful {before:g}% test")
    )
    day.run(
        "10_change_percentage",
        to_percentage=f"{phase.percentage:g}",
        expected_percentage=f"{before:g}",
        reason=reason,
        dry_run=False,
    )


def _evaluate(day: Day) -> None:
    result = day.run("30_evaluate_phase")
    state = result.checkpoint["state"] if result.checkpoint else ""
    if state == "INCONCLUSIVE" and day.scenario.acknowledges:
        reason = "one webhook failed; support saw it and the customer was served by the retry"
        attest(day.session(), subject="acknowledgement", value="inconclusive", reason=reason)
        day.run("30_evaluate_phase")


def _obey(day: Day, result: RunResult) -> None:
    """STEP BACK asks a person; in a rehearsal the person does it, once, by the notebook."""
    body = result.checkpoint or {}
    verdict = body.get("verdict") or {}
    if body.get("state") != "STEP_BACK" or verdict.get("acts_alone"):
        return
    target = _known_percentage(day, body)
    if target is None:
        day.run("90_rollback", reason=f"asked: {body['sentence'][:150]}", gradual=True)
        return
    day.run(
        "10_change_percentage",
        to_percentage=target,
        reason="back to what the ledger knows",
        dry_run=False,
    )


def _known_percentage(day: Day, body: Any) -> str | None:
    """Where somebody raised it by hand: the percentage that the ledger knows, to return to."""
    drift = [
        check
        for check in body["verdict"]["checks"]
        if check["name"] == "drift" and check["outcome"] == "FAIL"
    ]
    phase = body.get("phase")
    return f"{float(phase['percentage']):g}" if drift and phase else None
