"""Judge recorded history again, slot by slot, as the plan or another would have. It reads and never
writes.

The rows of the log and the phases of the ledger are what was; the verdicts are new. What the
routing would have been after another decision is not in the log, so each phase is judged as long as
it really ran."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from rollout_lib.database.ledger import read_facts
from rollout_lib.database.session import Session
from rollout_lib.database.traffic import measure
from rollout_lib.errors import CouldNotMeasure, ParameterError, PlanError
from rollout_lib.judgement import RULES
from rollout_lib.judgement.acts import ACTS, ActedBy, RecordedAct, compared, recorded_act
from rollout_lib.judgement.counting import look_from
from rollout_lib.judgement.slot import judge_slot
from rollout_lib.judgement.state import EMPTY, is_at_least, phase_index
from rollout_lib.judgement.summary import PhaseSummary, summarise
from rollout_lib.judgement.timeline import slots_of
from rollout_lib.model import (
    STATES,
    Change,
    Checkpoint,
    Entry,
    EntryKind,
    LedgerEntry,
    Look,
    PhaseRun,
    Place,
    RoutingConfig,
    Standing,
    State,
    Verdict,
    runs,
)
from rollout_lib.operations.monitor import figures
from rollout_lib.plan import Plan, parse_plan, read_yaml

_BETWEEN = (ActedBy.TRIPWIRE, ActedBy.PERSON, ActedBy.EVALUATION)  # not at a slot of the plan
_JUDGING = {
    "thresholds",
    "mode",
    "monitoring",
    "acts_alone",
}  # what another plan may judge otherwise by


@dataclass(frozen=True, kw_only=True)
class ReplayedCheck:
    """One slot: what was recorded then (None: no completed check) and what the
    replayed plan says.
    """

    slot: datetime
    recorded: State | None
    verdict: Verdict
    rules: int | None = None  # by which the recorded one was judged


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
    recorded_by: ActedBy | None
    replayed_act: tuple[datetime, State, str] | None
    # "as recorded", "avoided", "missed", "earlier", "later"; "by a person", "by hand" of what no
    # check asked for; "not shown" of what the log of now cannot show again
    outcome: str
    finding: str


@dataclass(frozen=True, kw_only=True)
class Replay:
    """The answer: phases with their checks; history is what the charts draw, oldest first."""

    place: Place
    judged_by: str
    mode: str
    start: datetime
    end: datetime
    phases: tuple[ReplayedPhase, ...]
    sentence: str
    history: tuple[Checkpoint, ...] = field(repr=False, default=())


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
    phases, history = [], []
    with session.database.transaction(readonly=True) as connection:
        facts = read_facts(connection, session.plan)
        now = min(session.now(facts.now), end)
        for summary in summarise(facts.entries, session.plan, now).phases:
            if summary.began_at >= now or (
                summary.ended_at is not None and summary.ended_at <= start
            ):
                continue
            phase, drawn = _phase(connection, session, facts.entries, summary, plan, start, now)
            phases.append(phase)
            history += drawn
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
        history=tuple(history),
    )


def _phase(
    connection: Connection,
    session: Session,
    entries: Sequence[LedgerEntry],
    summary: PhaseSummary,
    plan: Plan,
    start: datetime,
    end: datetime,
) -> tuple[ReplayedPhase, list[Checkpoint]]:
    """One phase from its beginning (evidence is cumulative), shown from `start` on."""
    until = min(summary.ended_at or end, end)
    taken: dict[datetime, Entry[Checkpoint]] = {
        run.slot: run
        for run in runs(entries, (EntryKind.CHECKPOINT,))
        if run.operation == "monitor"
        and run.slot is not None
        and run.phase_began == summary.began_at
    }
    was = recorded_act(entries, summary.began_at, until)
    standing, checks = _begun(summary, plan), []
    history, acted = [_change(session, summary)], []
    between = was if was is not None and was.by in _BETWEEN else None
    for slot in slots_of(summary.began_at, until, list(taken), plan).expected:
        recorded = taken.get(slot)
        at = recorded.at if recorded else slot
        if between is not None and at > between.at:
            acted += _between(connection, summary, standing, plan, between)
            between = None
        verdict, look, shown = _check(connection, summary, standing, plan, slot, at)
        standing = _after(standing, verdict, look, slot)
        history.append(_judged(session, summary, slot, at, verdict, look, shown))
        if slot >= start:
            checks.append(_checked(slot, recorded, verdict))
            acted += [(slot, verdict.state, verdict.sentence)] * (verdict.state in ACTS)
    if between is not None:
        acted += _between(connection, summary, standing, plan, between)
    first = min(acted, key=lambda act: act[0], default=None)
    same_plan = plan.digest == session.plan.digest
    outcome, finding = compared(was, first, plan, same_plan=same_plan)
    phase = ReplayedPhase(
        percentage=f"{summary.percentage:g}",
        began_at=summary.began_at,
        ended_at=summary.ended_at,
        checks=tuple(checks),
        recorded_act=(was.at, was.state) if was else None,
        recorded_by=was.by if was else None,
        replayed_act=first,
        outcome=outcome,
        finding=(
            f"{summary.percentage:g} % from {summary.began_at.astimezone(plan.zone):%a %H:%M}:"
            f" {finding}"
        ),
    )
    return phase, history


def _checked(slot: datetime, recorded: Entry[Checkpoint] | None, verdict: Verdict) -> ReplayedCheck:
    if recorded is None:
        return ReplayedCheck(slot=slot, recorded=None, verdict=verdict)
    body = recorded.body
    return ReplayedCheck(slot=slot, recorded=body.state, verdict=verdict, rules=body.rules)


def _between(
    connection: Connection,
    summary: PhaseSummary,
    standing: Standing,
    plan: Plan,
    was: RecordedAct,
) -> list[tuple[datetime, State, str]]:
    """The open slot judged again at the instant at which somebody acted between two slots."""
    verdict, _, _ = _check(connection, summary, standing, plan, None, was.at)
    return [(was.at, verdict.state, verdict.sentence)] * (verdict.state in ACTS)


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


def _check(
    connection: Connection,
    summary: PhaseSummary,
    standing: Standing,
    plan: Plan,
    slot: datetime | None,
    at: datetime,
) -> tuple[Verdict, Look, dict[str, Any]]:
    measurement = measure(
        connection,
        plan=plan,
        as_of=at,
        phase_began=summary.began_at,
        increment_start=standing.looks[-1].window.end if standing.looks else summary.began_at,
        whole_phase=False,
        live=False,
        lag=None if slot else timedelta(0),  # between two slots a round reads to now
        before=standing.looks[-1] if standing.looks else None,
        percentage=summary.percentage,
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
    return verdict, look_from(measurement, slot, slot is not None, plan), figures(measurement, plan)


def _after(standing: Standing, verdict: Verdict, look: Look, slot: datetime) -> Standing:
    standing = replace(
        standing, looks=(*standing.looks, look), slots_done=(*standing.slots_done, slot)
    )
    if verdict.state in ACTS and (
        standing.latched is None or not is_at_least(standing.latched, verdict.state)
    ):
        standing = replace(standing, latched=verdict.state, latched_reason=verdict.sentence)
    return standing


def _sentence(phases: list[ReplayedPhase]) -> str:
    checks = [check for phase in phases for check in phase.checks]
    same = sum(is_same(check) for check in checks)
    counted = [
        f"{sum(phase.outcome == word for phase in phases)} {word}"
        for word in ("avoided", "missed", "earlier", "later", "by a person", "by hand", "not shown")
        if any(phase.outcome == word for phase in phases)
    ]
    acts = (
        f"Of the acts: {', '.join(counted)}." if counted else "No act is avoided, missed or moved."
    )
    said = f"{same} of {len(checks)} checks ask for the same as was recorded. {acts}"
    old = sorted({check.rules for check in checks if check.rules not in (None, RULES)})
    if old:
        said += f" Judged by rules {RULES}; recorded by rules {', '.join(map(str, old))}."
    return said


def is_same(check: ReplayedCheck) -> bool:
    """Do record and replay ask the caller for the same? A missed check asked for nothing."""
    return check.recorded is not None and STATES[check.recorded] == STATES[check.verdict.state]


def _drawn(
    session: Session, summary: PhaseSummary, operation: str, at: datetime, **more: Any
) -> Checkpoint:
    """A checkpoint of the replay for the charts; it is never recorded."""
    enabled = RoutingConfig(
        percentage=summary.percentage,
        enabled=True,
        domains=session.plan.domains,
        created_at=summary.began_at,
        updated_at=None,
        notes=None,
        rows=1,
    )
    return Checkpoint(
        run_id=session.run_id,
        operation=operation,
        place=session.place,
        plan_digest=session.plan.digest,
        plan_path=session.plan.path,
        operator=session.operator,
        at=at,
        recorded_at=at,
        phase=PhaseRun(index=None, percentage=summary.percentage, began_at=summary.began_at),
        config=enabled,
        exit_code=0,
        **{"slot": None, "verdict": None, "state": State.OFF, "sentence": "", **more},
    )


def _change(session: Session, summary: PhaseSummary) -> Checkpoint:
    after = (summary.percentage, True)
    change = Change(before=after, asked=after, after=after, applied=True, reason="as recorded")
    return _drawn(session, summary, "change", summary.began_at, change=change)


def _judged(
    session: Session,
    summary: PhaseSummary,
    slot: datetime,
    at: datetime,
    verdict: Verdict,
    look: Look,
    shown: Mapping[str, Any],
) -> Checkpoint:
    return _drawn(
        session,
        summary,
        "monitor",
        at,
        slot=slot,
        verdict=verdict,
        state=verdict.state,
        sentence=verdict.sentence,
        look=look,
        figures=shown,
    )


def lanes_of(result: Replay) -> Iterator[tuple[datetime, dict[str, State]]]:
    """Each replayed check's instant and its states by lane: recorded, replayed, literal, evidence."""
    recorded = {check.slot: check.recorded for phase in result.phases for check in phase.checks}
    for run in result.history:
        if run.verdict is not None and run.slot in recorded:
            yield (
                run.at,
                {
                    "recorded": recorded[run.slot] or State.COULD_NOT_LOOK,
                    "replayed": run.verdict.state,
                    "literal": run.verdict.literal,
                    "evidence": run.verdict.evidence,
                },
            )
