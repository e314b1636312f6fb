"""The runbook's Day 3, hour by hour: the world goes on, and every step is one of our notebooks by papermill.

The conductor plays the people: it starts, attests, acknowledges where the scenario says so, and asks for
the next phase. It never touches the routing itself; what happens to it, the suite did.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from rollout_lib.database import Database, connect
from rollout_lib.migrations import migrate
from rollout_lib.operations.attest import attest
from rollout_lib.plan import Plan, load_plan
from rollout_lib.rehearsal.scenarios import SCENARIOS, End, Scenario
from rollout_lib.rehearsal.server import create_database, embedded
from rollout_lib.rehearsal.world import World
from rollout_lib.reporting import Summary, summarise
from rollout_lib.runner import RunResult, run_notebook
from rollout_lib.runner.servers import warm_up
from rollout_lib.session import Session, open_session
from rollout_lib.store import read_facts

OPERATOR = "Rita Rehearsal"
PREFLIGHT_BEFORE = timedelta(minutes=15)
DAY_ENDS_AFTER = timedelta(hours=9)  # 18:00 for a start at 09:00
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """How a rehearsal went: what was expected, what was found, and where it all is."""

    scenario: str
    mode: str
    expected: End
    found: End
    ok: bool
    summary: Summary
    report: Path | None
    outputs: Path
    plan_path: Path
    place: str
    runs: int
    problems: tuple[str, ...] = ()


@dataclass
class _Day:
    """What the conductor holds while a rehearsal runs."""

    plan: Plan
    scenario: Scenario
    world: World
    database: Database
    outputs: Path
    kernel: str
    progress: Progress
    total: int
    runs: list[tuple[str, RunResult]] = field(default_factory=list)

    def session(self) -> Session:
        return open_session(self.plan.path, as_of=self.world.now.isoformat(), operator=OPERATOR)

    def run(self, name: str, **parameters: Any) -> RunResult:
        self.progress(f"{self.world.now.astimezone(self.plan.zone):%a %H:%M}  {name}", len(self.runs), self.total)
        given = {
            "plan": self.plan.path,
            "as_of": self.world.now.isoformat(),
            "operator": OPERATOR,
            **parameters,
        }
        result = run_notebook(name, given, outputs=self.outputs, kernel=self.kernel)
        self.runs.append((name, result))
        return result


def rehearse(
    scenario: str = "healthy",
    *,
    plan_path: str = "",
    mode: str | None = None,
    seed: int = 20251203,
    outputs: Path = Path("outputs"),
    kernel: str = "warm",
    progress: Progress = lambda what, done, total: None,
) -> Rehearsal:
    """Run Day 3 in one world; a database and an output folder of its own, so nothing collides.

    Raises KeyError for an unknown scenario. The result says whether the end is the expected one.
    """
    told = SCENARIOS[scenario]
    if kernel == "warm":
        warm_up()  # its imports go on while the server starts and the day before is written
    name = f"rehearsal_{datetime.now():%Y%m%d_%H%M%S}_{uuid.uuid4().hex[:4]}"  # noqa: DTZ005  # a local name
    folder = (outputs / name).resolve()
    plan = _plan_of_its_own(plan_path, told, mode, name, folder)
    address = os.environ.get(plan.database.variable) or embedded()
    previous = {key: os.environ.get(key) for key in (plan.database.variable, "ROLLOUT_OUTPUTS")}
    os.environ[plan.database.variable] = create_database(address, name)
    os.environ["ROLLOUT_OUTPUTS"] = str(folder)
    world = None
    try:
        database = connect(plan)
        migrate(database, apply=True)
        world = World(database.address, plan, told, seed=seed)
        day = _Day(plan=plan, scenario=told, world=world, database=database, outputs=folder, kernel=kernel,
                   progress=progress, total=_expected_runs(plan))  # fmt: skip
        return _conduct(day)
    finally:
        if world is not None:
            world.close()
        for key, value in previous.items():
            os.environ.pop(key, None) if value is None else os.environ.update({key: value})


def _plan_of_its_own(plan_path: str, scenario: Scenario, mode: str | None, name: str, folder: Path) -> Plan:
    """A copy of the plan that names this rehearsal's database, in its output folder."""
    source = load_plan(plan_path)
    content = yaml.safe_load(Path(source.path).read_text(encoding="utf-8"))
    content["environment"] = "rehearsal"
    content["database"] = {"variable": "ROLLOUT_REHEARSAL_URL", "name": name}
    content["mode"] = mode or content["mode"]
    if scenario.stale_after:
        content["monitoring"]["stale_after"] = scenario.stale_after
    folder.mkdir(parents=True)
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    path.chmod(0o444)
    return load_plan(path)


def _expected_runs(plan: Plan) -> int:
    return int(DAY_ENDS_AFTER / plan.monitoring.interval) + 6


def _conduct(day: _Day) -> Rehearsal:
    plan, world, interval = day.plan, day.world, day.plan.monitoring.interval
    today = [index for index, phase in enumerate(plan.phases) if phase.day == plan.phases[0].day]
    begin = {plan.begins(index): index for index in today}
    evaluate = {plan.ends(index) for index in today}
    end = world.start + DAY_ENDS_AFTER
    day.progress("writing the day before", 0, day.total)
    world.prelude(world.start - PREFLIGHT_BEFORE)
    day.run("00_preflight")
    world.advance(world.start)
    last: RunResult | None = None
    while True:
        now = world.now
        slot = now > world.start
        if slot:
            last = day.run("20_monitor", slot=now.isoformat())
            _obey(day, last)
        local = now.astimezone(plan.zone)
        if local in evaluate and now < end:
            _evaluate(day)
        if local in begin:
            _raise(day, begin[local])
        if now >= end:
            break
        world.advance(min(now + interval, end))
    if last is not None and last.checkpoint and last.checkpoint["config"]["enabled"]:
        _evaluate(day)
    report = day.run("40_report")
    return _compared(day, report)


def _raise(day: _Day, index: int) -> None:
    """A person asks for the next phase; the gates decide."""
    attest(day.session(), subject="complaints", value="none", reason="nothing reported by support")
    phase = day.plan.phases[index]
    before = day.plan.phases[index - 1].percentage if index else 0
    reason = "Initial 10% rollout - monitoring for 4 hours" if not index else (
        f"Scaling to {phase.percentage:g}% after successful {before:g}% test"
    )  # fmt: skip
    day.run(
        "10_change_percentage",
        to_percentage=f"{phase.percentage:g}",
        expected_percentage=f"{before:g}",
        reason=reason,
        dry_run=False,
    )


def _evaluate(day: _Day) -> None:
    result = day.run("30_evaluate_phase")
    state = result.checkpoint["state"] if result.checkpoint else ""
    if state == "INCONCLUSIVE" and day.scenario.acknowledges:
        reason = "one webhook failed; support saw it and the customer was served by the retry"
        attest(day.session(), subject="acknowledgement", value="inconclusive", reason=reason)
        day.run("30_evaluate_phase")


def _obey(day: _Day, result: RunResult) -> None:
    """STEP BACK asks a person; in a rehearsal the person does it, once, by the notebook."""
    body = result.checkpoint or {}
    verdict = body.get("verdict") or {}
    if body.get("state") != "STEP_BACK" or verdict.get("acts_alone"):
        return
    target = _known_percentage(day, body)
    if target is None:
        day.run("90_rollback", reason=f"asked: {body['sentence'][:150]}", gradual=True)
        return
    day.run("10_change_percentage", to_percentage=target, reason="back to what the ledger knows", dry_run=False)


def _known_percentage(day: _Day, body: Any) -> str | None:
    """Where somebody raised it by hand: the percentage that the ledger knows, to return to."""
    drift = [check for check in body["verdict"]["checks"] if check["name"] == "drift" and check["outcome"] == "FAIL"]
    phase = body.get("phase")
    return f"{float(phase['percentage']):g}" if drift and phase else None


def _compared(day: _Day, report: RunResult) -> Rehearsal:
    with day.database.transaction(readonly=True) as connection:
        facts = read_facts(connection, day.plan)
    summary = summarise(facts.entries, day.plan, day.world.now)
    expected = day.scenario.ends[day.plan.mode]
    config = facts.config
    states = [run.checkpoint for _, run in day.runs if run.checkpoint]
    decided = _decided(states, expected)
    found = End(
        percentage=f"{config.percentage:g}" if config else "–",
        enabled=bool(config and config.enabled),
        decided=decided["state"] if decided else "–",
        named=str(decided["sentence"])[:300] if decided else "",
    )
    problems = _problems(day, expected, found, decided)
    return Rehearsal(
        scenario=day.scenario.name,
        mode=day.plan.mode,
        expected=expected,
        found=found,
        ok=not problems,
        summary=summary,
        report=report.html,
        outputs=day.outputs,
        plan_path=Path(day.plan.path),
        place=f"{day.database.place.host} · {day.database.place.database}",
        runs=len(day.runs),
        problems=tuple(problems),
    )


def _decided(bodies: list[Any], expected: End) -> Any:
    """The checkpoint that decided the day: the first act, else the last evaluation or its absence."""
    judged = [body for body in bodies if body["operation"] in ("monitor", "evaluate")]
    acts = [body for body in judged if body["state"] in ("ROLL_BACK", "STEP_BACK")]
    if acts:
        return acts[0]
    if expected.decided == "NO_DATA":
        return next((body for body in judged if body["state"] == "NO_DATA"), judged[-1] if judged else None)
    evaluations = [body for body in judged if body["operation"] == "evaluate"]
    return (evaluations or judged or [None])[-1]


def _problems(day: _Day, expected: End, found: End, decided: Any) -> list[str]:
    problems = []
    if (found.percentage, found.enabled) != (expected.percentage, expected.enabled):
        problems.append(
            f"routing ended at {found.percentage} %, enabled {found.enabled}; "
            f"expected {expected.percentage} %, {expected.enabled}"
        )
    if found.decided != expected.decided:
        problems.append(f"decided by {found.decided}, expected {expected.decided}: {found.named}")
    if expected.named and expected.named not in found.named:
        problems.append(f"the deciding check does not name {expected.named!r}: {found.named}")
    after = _unified_after_rollback(day)
    if after:
        problems.append(f"{after} requests went to unified after routing was switched off")
    defects = [(name, run.error) for name, run in day.runs if run.exit_code == 1 or run.trouble]
    problems += [f"{name}: {error}" for name, error in defects]
    return problems


def _unified_after_rollback(day: _Day) -> int:
    """Rows of unified later than the instant that switched routing off."""
    off = [datetime.fromisoformat(run.checkpoint["at"]) for _, run in day.runs
           if run.checkpoint and run.checkpoint.get("change") and run.checkpoint["change"]["applied"]
           and not run.checkpoint["change"]["after"][1]]  # fmt: skip
    if not off:
        return 0
    statement = "SELECT count(*) FROM webhook_routing_logs WHERE routed_to = 'unified' AND created_at > %s"
    return day.world.connection.execute(statement, (off[0],)).fetchone()[0]


def forget(result: Rehearsal) -> None:
    """Remove a rehearsal's output folder (tests do; the suite itself deletes nothing)."""
    shutil.rmtree(result.outputs, ignore_errors=True)
