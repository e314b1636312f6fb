"""Judge recorded history again, slot by slot, as the plan or another would have. It reads and never
writes.

The rows of the log and the phases of the ledger are what was; the verdicts are new. What the
routing would have been after another decision is not in the log, so each phase is judged as long as
it really ran."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Connection

from rollout_lib.database.ledger import read_facts
from rollout_lib.database.session import Session
from rollout_lib.database.traffic import measure
from rollout_lib.errors import CouldNotMeasure, ParameterError, PlanError
from rollout_lib.judgement.slot import judge_slot
from rollout_lib.judgement.state import EMPTY, is_at_least, phase_index
from rollout_lib.judgement.streams import look_from
from rollout_lib.judgement.summary import PhaseSummary, summarise
from rollout_lib.judgement.timeline import expected_slots
from rollout_lib.model import (
    STATES,
    Entry,
    Look,
    PhaseRun,
    Place,
    RoutingConfig,
    Standing,
    State,
    Verdict,
)
from rollout_lib.operations.monitor import figures
from rollout_lib.plan import Plan, parse_plan, read_yaml

ACTS = (State.STEP_BACK, State.ROLL_BACK)
_JUDGING = {
    "thresholds",
    "mode",
    "monitoring",
    "acts_alone",
}  # what another plan may judge otherwise by
_BODIES = (TypeAdapter(Verdict), TypeAdapter(Look))


@dataclass(frozen=True, kw_only=True)
class ReplayedCheck:
    """One slot: what was recorded then (None: no completed check) and what the
    replayed plan says.
    """

    slot: datetime
    recorded: State | None
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class ReplayedPhase:
    """One phase as it ran, its checks judged again, and when each of the two asked for less
    traffic.
    """

    percentage: str
    began_at: datetime
    ended_at: datetime | None
    checks: tuple[ReplayedCheck, ...]
    recorded_act: tuple[datetime, State] | None
    replayed_act: tuple[datetime, State, str] | None
    outcome: str  # "as recorded", "avoided", "missed", "earlier", "later"
    finding: str


@dataclass(frozen=True, kw_only=True)
class Replay:
    """The answer: phases with their checks; bodies are what the charts draw, oldest first."""

    place: Place
    judged_by: str
    mode: str
    start: datetime
    end: datetime
    phases: tuple[ReplayedPhase, ...]
    sentence: str
    bodies: tuple[Mapping[str, Any], ...] = field(repr=False, default=())


def plan_with(plan: Plan, path: str | Path) -> Plan:
    """The plan with the judging sections of another file (thresholds, mode, monitoring, acts_alone)
    in place of its own; the file may name only some limits, or be a whole plan. Raises PlanError
    with every problem."""
    own, (text, other, problems) = read_yaml(plan.path)[1], read_yaml(path)
    if not isinstance(other, dict):
        raise PlanError(path=path, problems="It must be a mapping of keys to values.")
    if not _JUDGING & set(other):
        problems.append(f"It must hold at least one of {', '.join(sorted(_JUDGING))}.")
    problems += [f"{key}: unknown key" for key in other if key not in Plan.model_fields]
    for key in _JUDGING & set(other):
        own[key] = (
            {**own[key], **other[key]}
            if isinstance(other[key], dict) and key in own
            else other[key]
        )
    digest = hashlib.sha256((plan.digest + text).encode()).hexdigest()[:16]
    return parse_plan(own, path=str(path), digest=digest, problems=problems)


def replay(
    session: Session, *, start: datetime, end: datetime, judge_by: Plan | None = None
) -> Replay:
    """Judge what ran between two instants again, in one read-only transaction and one snapshot.

    judge_by: another plan (plan_with); None is the session's own. A check is measured at the
    instant at which it was really taken, a missed one at its slot, with every row that is in the
    log now. Raises ParameterError for a span without length, CouldNotMeasure where no phase ran in
    it."""
    if end <= start:
        raise ParameterError(
            problems=f"to: {end.isoformat()} is not after from: {start.isoformat()}"
        )
    plan = judge_by or session.plan
    phases, bodies = [], []
    with session.database.transaction(readonly=True) as connection:
        facts = read_facts(connection, session.plan)
        now = min(session.now(facts.now), end)
        for summary in summarise(facts.entries, session.plan, now).phases:
            if summary.began_at >= now or (
                summary.ended_at is not None and summary.ended_at <= start
            ):
                continue
            phase, drawn = _phase(connection, facts.entries, summary, plan, start, now)
            phases.append(phase)
            bodies += drawn
    if not phases:
        raise CouldNotMeasure(
            reason=f"no phase ran between {start.isoformat()} and {end.isoformat()}."
        )
    return Replay(
        place=session.place,
        judged_by=plan.path,
        mode=plan.mode,
        start=start,
        end=end,
        phases=tuple(phases),
        sentence=_sentence(phases),
        bodies=tuple(bodies),
    )


def _phase(
    connection: Connection,
    entries,
    summary: PhaseSummary,
    plan: Plan,
    start: datetime,
    end: datetime,
):
    """One phase from its beginning (evidence is cumulative), shown from `start` on."""
    until = min(summary.ended_at or end, end)
    taken = {
        entry.slot: entry
        for entry in entries
        if entry.kind == "checkpoint"
        and entry.operation == "monitor"
        and entry.phase_began == summary.began_at
    }
    standing, checks, bodies = _begun(summary, plan), [], [_change(summary)]
    for slot in expected_slots(summary.began_at, until, plan):
        recorded: Entry | None = taken.get(slot)
        at = recorded.at if recorded else slot
        verdict, look, shown = _check(connection, summary, standing, plan, slot, at)
        state = State(recorded.body["state"]) if recorded else None
        standing = _after(standing, verdict, look, slot)
        bodies.append(_body(summary, slot, at, verdict, look, shown, state))
        if slot >= start:
            checks.append(ReplayedCheck(slot=slot, recorded=state, verdict=verdict))
    acted = next(
        (
            (check.slot, check.verdict.state, check.verdict.sentence)
            for check in checks
            if check.verdict.state in ACTS
        ),
        None,
    )
    was = _recorded_act(entries, summary, until)
    outcome, finding = _compared(was, acted, plan)
    phase = ReplayedPhase(
        percentage=f"{summary.percentage:g}",
        began_at=summary.began_at,
        ended_at=summary.ended_at,
        checks=tuple(checks),
        recorded_act=was,
        replayed_act=acted,
        outcome=outcome,
        finding=(
            f"{summary.percentage:g} % from {summary.began_at.astimezone(plan.zone):%a %H:%M}:"
            f" {finding}"
        ),
    )
    return phase, bodies


def _begun(summary: PhaseSummary, plan: Plan) -> Standing:
    """The standing at the beginning of a phase, of which the ledger alone says that it ran."""
    index = phase_index(plan, summary.percentage)
    phase = PhaseRun(index=index, percentage=summary.percentage, began_at=summary.began_at)
    return replace(
        EMPTY,
        phase=phase,
        last_change=(summary.began_at, summary.percentage, True),
        highest_passed=summary.percentage,
        plan_digest=plan.digest,
    )


def _check(connection: Connection, summary: PhaseSummary, standing: Standing, plan: Plan, slot, at):
    measurement = measure(
        connection,
        plan=plan,
        as_of=at,
        phase_began=summary.began_at,
        increment_start=standing.looks[-1].window.end if standing.looks else summary.began_at,
        whole_phase=False,
        live=False,
    )
    config = RoutingConfig(
        percentage=summary.percentage,
        enabled=True,
        domains=plan.domains,
        created_at=summary.began_at,
        updated_at=None,
        notes=None,
        rows=1,
    )
    verdict = judge_slot(
        plan=plan, config=config, standing=standing, measurement=measurement, slot=slot, now=at
    )
    return verdict, look_from(measurement, slot, True, plan), figures(measurement, plan)


def _after(standing: Standing, verdict: Verdict, look: Look, slot: datetime) -> Standing:
    standing = replace(
        standing, looks=(*standing.looks, look), slots_done=(*standing.slots_done, slot)
    )
    if verdict.state in ACTS and (
        standing.latched is None or not is_at_least(standing.latched, verdict.state)
    ):
        standing = replace(standing, latched=verdict.state, latched_reason=verdict.sentence)
    return standing


def _recorded_act(entries, summary: PhaseSummary, until: datetime) -> tuple[datetime, State] | None:
    """The first act that a check or an evaluation of the phase asked for, or a person's rollback of
    it.
    """
    for entry in entries:
        mine = (
            entry.phase_began == summary.began_at
            and entry.at <= until
            and entry.kind in ("checkpoint", "extra")
        )
        if mine and entry.operation in ("monitor", "evaluate", "rollback"):
            state = State(entry.body["state"])
            if state in ACTS or entry.operation == "rollback":
                return entry.slot or entry.at, state if state in ACTS else State.ROLL_BACK
    return None


def _compared(was, acted, plan: Plan) -> tuple[str, str]:
    def clock(at: datetime) -> str:
        return f"{at.astimezone(plan.zone):%H:%M}"

    if was is None and acted is None:
        return (
            "as recorded",
            "nobody asked for less traffic, and the replayed plan does not either.",
        )
    if acted is None:
        return "avoided", f"the {was[1]} of {clock(was[0])} would not have happened."
    if was is None:
        return "missed", f"{acted[1]} at {clock(acted[0])}, which did not happen. {acted[2]}"
    if was[0] == acted[0]:
        return "as recorded", f"{acted[1]} at {clock(acted[0])}, as recorded. {acted[2]}"
    order = "earlier" if acted[0] < was[0] else "later"
    minutes = abs((acted[0] - was[0]).total_seconds()) / 60
    return (
        order,
        f"{acted[1]} at {clock(acted[0])}, {minutes:.0f} min {order} than recorded. {acted[2]}",
    )


def _sentence(phases: list[ReplayedPhase]) -> str:
    checks = [check for phase in phases for check in phase.checks]
    same = sum(is_same(check) for check in checks)
    counted = [
        f"{sum(phase.outcome == word for phase in phases)} {word}"
        for word in ("avoided", "missed", "earlier", "later")
        if any(phase.outcome == word for phase in phases)
    ]
    acts = (
        f"Of the acts: {', '.join(counted)}." if counted else "No act is avoided, missed or moved."
    )
    return f"{same} of {len(checks)} checks ask for the same as was recorded. {acts}"


def is_same(check: ReplayedCheck) -> bool:
    """Do record and replay ask the caller for the same? A missed check asked for nothing."""
    return check.recorded is not None and STATES[check.recorded] == STATES[check.verdict.state]


def _change(summary: PhaseSummary) -> dict[str, Any]:
    after = [str(summary.percentage), True]
    return {
        "operation": "change",
        "at": summary.began_at.isoformat(),
        "change": {"applied": True, "after": after},
    }


def _body(
    summary: PhaseSummary, slot, at, verdict, look, shown, recorded: State | None
) -> dict[str, Any]:
    """What a checkpoint of this replayed check would hold for the charts."""
    judged, looked = (
        adapter.dump_python(value, mode="json")
        for adapter, value in zip(_BODIES, (verdict, look), strict=True)
    )
    return {
        "operation": "monitor",
        "kind": "checkpoint",
        "at": at.isoformat(),
        "slot": slot.isoformat(),
        "state": verdict.state.value,
        "phase": {"began_at": summary.began_at.isoformat(), "percentage": str(summary.percentage)},
        "config": {"percentage": str(summary.percentage), "enabled": True},
        "verdict": {**judged, "recorded": (recorded or State.COULD_NOT_LOOK).value},
        "look": looked,
        "figures": shown,
    }
