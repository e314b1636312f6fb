"""A rehearsal from its beginning to its end: a database and a folder of its own, the days, the
comparison.
"""

from __future__ import annotations

import os
import shutil
import uuid
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from rollout_lib.database.connection import connect
from rollout_lib.database.ledger import read_facts
from rollout_lib.database.migrations import migrate
from rollout_lib.judgement.summary import Summary, summarise
from rollout_lib.plan import Plan, load_plan
from rollout_lib.rehearsal.days import Day, Progress, conduct
from rollout_lib.rehearsal.own_plan import sections, write_own
from rollout_lib.rehearsal.scenarios import SCENARIOS, End, Scenario
from rollout_lib.rehearsal.server import create_database, embedded
from rollout_lib.rehearsal.world import World
from rollout_lib.runner import RunResult
from rollout_lib.runner.servers import warm_up

VARIABLE = "ROLLOUT_REHEARSAL_URL"


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
    zone: ZoneInfo
    ended_at: datetime
    problems: tuple[str, ...] = ()


def rehearse(
    scenario: str = "healthy",
    *,
    plan_path: str = "",
    mode: str | None = None,
    seed: int = 20251203,
    outputs: Path = Path("outputs"),
    kernel: str = "warm",
    week: bool = False,
    progress: Progress = lambda what, done, total: None,
) -> Rehearsal:
    """Run Day 3 in one world, or with `week` every phase of the plan and the nights between.

    It has a database and an output folder of its own, so nothing collides. Raises KeyError for an
    unknown scenario. The result says whether the end is the expected one."""
    told = SCENARIOS[scenario]
    if kernel == "warm":
        warm_up()  # its imports go on while the server starts and the day before is written
    name = f"rehearsal_{datetime.now():%Y%m%d_%H%M%S}_{uuid.uuid4().hex[:4]}"  # noqa: DTZ005  # a local name
    folder = (outputs / name).resolve()
    source = load_plan(plan_path)
    address = create_database(os.environ.get(VARIABLE) or embedded(), name)
    plan = _plan_of_its_own(source, told, mode, name, folder)
    previous = {key: os.environ.get(key) for key in (VARIABLE, "ROLLOUT_OUTPUTS")}
    os.environ[VARIABLE] = address
    os.environ["ROLLOUT_OUTPUTS"] = str(folder)
    world = None
    try:
        database = connect(plan)
        migrate(database, apply=True)
        world = World(database.address, plan, told, seed=seed)
        day = Day(
            plan=plan,
            scenario=told,
            world=world,
            database=database,
            outputs=folder,
            kernel=kernel,
            progress=progress,
            week=week,
        )
        return _compared(day, conduct(day))
    finally:
        if world is not None:
            world.close()
        for key, value in previous.items():
            os.environ.pop(key, None) if value is None else os.environ.update({key: value})


def _plan_of_its_own(
    source: Plan, scenario: Scenario, mode: str | None, name: str, folder: Path
) -> Plan:
    """A copy of the plan that names this rehearsal's database, in its output folder."""
    monitoring = sections(source)["monitoring"]
    changed = {
        "environment": "rehearsal",
        "database": {"variable": VARIABLE, "name": name},
        "mode": mode or source.mode,
        "monitoring": (
            monitoring | ({"stale_after": scenario.stale_after} if scenario.stale_after else {})
        ),
    }
    folder.mkdir(parents=True)
    plan = write_own(source, folder / "plan.yaml", changed)
    Path(plan.path).chmod(0o444)
    return plan


def _compared(day: Day, report: RunResult) -> Rehearsal:
    with day.database.transaction(readonly=True) as connection:
        facts = read_facts(connection, day.plan)
    summary = summarise(facts.entries, day.plan, day.world.now)
    expected = day.scenario.end(day.plan.mode, day.week)
    config = facts.config
    states = [run.checkpoint for _, run in day.runs if run.checkpoint]
    decided = _decided(states, expected)
    found = End(
        percentage=f"{config.percentage:g}" if config else "–",
        enabled=bool(config and config.enabled),
        decided=decided["state"] if decided else "–",
        says=str(decided["sentence"])[:300] if decided else "",
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
        place=str(day.database.place),
        runs=len(day.runs),
        zone=day.plan.zone,
        ended_at=day.world.now,
        problems=tuple(problems),
    )


def _decided(bodies: list[Any], expected: End) -> Any:
    """The checkpoint that decided the day: the first act, else the last
    evaluation or its absence.
    """
    judged = [body for body in bodies if body["operation"] in ("monitor", "evaluate")]
    acts = [body for body in judged if body["state"] in ("ROLL_BACK", "STEP_BACK")]
    if acts:
        return acts[0]
    if expected.decided == "NO_DATA":
        return next(
            (body for body in judged if body["state"] == "NO_DATA"), judged[-1] if judged else None
        )
    evaluations = [body for body in judged if body["operation"] == "evaluate"]
    return (evaluations or judged or [None])[-1]


def _deciding(body: Any) -> set[str]:
    """The kinds of the checks and streams that have the state which decided."""
    verdict, state = (body or {}).get("verdict") or {}, (body or {}).get("state")
    kinds = {one["kind"] for one in verdict.get("checks", ()) if one["state"] == state}
    streams = verdict.get("streams", ())
    return kinds | {s["measure"] for s in streams if state in (s["literal"], s["evidence"])}


def _problems(day: Day, expected: End, found: End, decided: Any) -> list[str]:
    problems = []
    if (found.percentage, found.enabled) != (expected.percentage, expected.enabled):
        problems.append(
            f"routing ended at {found.percentage} %, enabled {found.enabled}; "
            f"expected {expected.percentage} %, {expected.enabled}"
        )
    if found.decided != expected.decided:
        problems.append(f"decided by {found.decided}, expected {expected.decided}: {found.says}")
    if expected.by and expected.by not in _deciding(decided):
        problems.append(f"it was not decided by {expected.by}: {found.says}")
    if expected.says not in found.says:
        problems.append(f"the deciding sentence does not say {expected.says!r}: {found.says}")
    after = _unified_after_rollback(day)
    if after:
        problems.append(f"{after} requests went to unified after routing was switched off")
    defects = [(name, run.error) for name, run in day.runs if run.exit_code == 1 or run.trouble]
    problems += [f"{name}: {error}" for name, error in defects]
    return problems


def _unified_after_rollback(day: Day) -> int:
    """Rows of unified later than the instant that switched routing off."""
    off = [
        datetime.fromisoformat(run.checkpoint["at"])
        for _, run in day.runs
        if run.checkpoint
        and run.checkpoint.get("change")
        and run.checkpoint["change"]["applied"]
        and not run.checkpoint["change"]["after"][1]
    ]
    if not off:
        return 0
    statement = (
        "SELECT count(*) FROM webhook_routing_logs WHERE routed_to = 'unified' AND created_at > %s"
    )
    row = day.world.connection.execute(statement, (off[0],)).fetchone()
    return int(row[0]) if row else 0


def forget(result: Rehearsal) -> None:
    """Remove a rehearsal's output folder (tests do; the suite itself deletes nothing)."""
    shutil.rmtree(result.outputs, ignore_errors=True)
