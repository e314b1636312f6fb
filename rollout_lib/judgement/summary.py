"""A day (or a week) of the ledger as one value: phases, verdicts, what differed, who stated what.
Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from rollout_lib.judgement.gates import paused
from rollout_lib.judgement.hands import HandEdit, hand_edits
from rollout_lib.judgement.state import LOWEST_STEP, fold, held_until, phase_index
from rollout_lib.judgement.timeline import Slots, Turn, slots_of, turns, turns_in
from rollout_lib.judgement.uptime import over, together, words
from rollout_lib.model import (
    STATES,
    TOTAL,
    UNIFIED,
    Checkpoint,
    Difference,
    Entry,
    EntryKind,
    LedgerEntry,
    Standing,
    State,
    Uptime,
    runs,
    statements,
    worst,
)
from rollout_lib.plan.schema import Plan
from rollout_lib.text import both_times

_JUDGING = ("monitor", "evaluate")
Run = Entry[Checkpoint]


@dataclass(frozen=True, kw_only=True)
class PhaseSummary:
    """One phase as it went: when, how many checks, the worst of them, its
    evaluation, its figures.
    """

    percentage: Decimal
    began_at: datetime
    ended_at: datetime | None  # None while it runs
    slots: Slots  # which should have been checked, which were, which were not
    verdicts: Mapping[str, int]
    worst: State | None
    evaluation: State | None
    evaluated: str
    unified: Mapping[str, Any]  # the total row of unified at the evaluation, else at the last check
    ended_by: str
    uptime: Mapping[str, Uptime]  # each protected endpoint that was probed
    differences: tuple[Difference, ...] = ()  # unified minus legacy, of the same run as `unified`

    @property
    def checks(self) -> int:
        """How many of the expected slots were checked."""
        return len(self.slots.done)

    @property
    def expected(self) -> int:
        """How many slots should have been checked."""
        return len(self.slots.expected)


@dataclass(frozen=True, kw_only=True)
class DaySummary:
    """One local day of the rollout: what the routing became, and how its scheduled checks went."""

    day: date
    routing: str  # `25 % → 35 %`
    checks: int
    expected: int
    worst: State | None
    evaluations: tuple[str, ...]  # `PASS 15:00`


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Everything the report says, from the ledger alone."""

    outcome: str
    state: State
    phases: tuple[PhaseSummary, ...]
    differed: tuple[Mapping[str, str], ...]  # at, literal, evidence, why
    stated: tuple[Mapping[str, str], ...]  # at, who, what, value, reason
    gaps: tuple[datetime, ...]
    unsealed: tuple[str, ...]
    refused: tuple[Mapping[str, str], ...]
    by_hand: tuple[HandEdit, ...]  # what was done to the routing past the suite
    head: tuple[int, str]
    days: tuple[DaySummary, ...]
    handover: tuple[tuple[str, str], ...]  # (what, words) for whoever goes on from here


def summarise(entries: Sequence[LedgerEntry], plan: Plan, now: datetime) -> Summary:
    """The summary of a rollout's entries up to `now`, oldest first; an empty ledger is said, not
    hidden.
    """
    standing = fold(entries, plan)
    phases = tuple(_phases(entries, plan, now))
    ran = runs(entries)
    state, outcome = _outcome(phases, standing, ran, plan)
    return Summary(
        outcome=outcome,
        state=state,
        phases=phases,
        differed=tuple(_differed(ran)),
        stated=tuple(_stated(entries)),
        gaps=tuple(gap for phase in phases for gap in phase.slots.missed),
        unsealed=standing.unsealed,
        refused=tuple(
            {"at": entry.at.isoformat(), "why": entry.body.sentence}
            for entry in runs(entries, (EntryKind.ATTEMPT,))
        ),
        by_hand=hand_edits(run.body for run in ran),
        head=standing.head,
        days=tuple(_days(ran, phases, plan, now)),
        handover=tuple(_handover(standing, phases, entries, plan, now)),
    )


def _days(
    ran: Sequence[Run], phases: Sequence[PhaseSummary], plan: Plan, now: datetime
) -> Iterable[DaySummary]:
    """From the first phase's day to today, in the plan's zone; a slot at midnight
    is the new day's.
    """
    expected = [slot for phase in phases for slot in phase.slots.expected]
    done = [slot for phase in phases for slot in phase.slots.done]
    first = (
        phases[0].began_at.astimezone(plan.zone).date()
        if phases
        else now.astimezone(plan.zone).date()
    )
    at, made = "off", list(turns(run.body for run in ran))
    for number in range((now.astimezone(plan.zone).date() - first).days + 1 if phases else 0):
        day = first + timedelta(days=number)
        mine = [run for run in ran if run.at.astimezone(plan.zone).date() == day]
        judged = [run for run in mine if run.operation in _JUDGING]
        route = [at] + [
            f"{turn.percentage:g} %" if turn.enabled else "off"
            for turn, _ in made
            if turn.at.astimezone(plan.zone).date() == day
        ]
        at = route[-1]
        yield DaySummary(
            day=day,
            routing=" → ".join(route),
            checks=sum(slot.astimezone(plan.zone).date() == day for slot in done),
            expected=sum(slot.astimezone(plan.zone).date() == day for slot in expected),
            worst=worst([run.body.state for run in judged]) if judged else None,
            evaluations=tuple(
                f"{run.body.state.words} {run.at.astimezone(plan.zone):%H:%M}"
                for run in judged
                if run.operation == "evaluate"
            ),
        )


def _handover(
    standing: Standing,
    phases: Sequence[PhaseSummary],
    entries: Sequence[LedgerEntry],
    plan: Plan,
    now: datetime,
) -> Iterable[tuple[str, str]]:
    """What the next operator must know, in the order in which it is asked."""

    def clock(at: datetime) -> str:
        return f"{at.astimezone(plan.zone):%a %d %b %H:%M %Z}"

    phase, until = standing.phase, held_until(plan, standing)
    where = (
        f"{phase.percentage:g} % since {clock(phase.began_at)}"
        if phase
        else "off: everything goes to legacy"
    )
    if until is not None:
        where += f"; its hold {'ends' if now < until else 'ended'} {clock(until)}"
    yield "routing", where
    stands = (
        f"{standing.latched.words}: {standing.latched_reason}" if standing.latched else "nothing"
    )
    yield (
        "stands",
        f"{stands}. The pass was revoked: {standing.revoked}" if standing.revoked else stands,
    )
    pause = paused(standing)
    if pause is not None:
        yield "paused", f"by {pause.by} since {clock(pause.at)}: {pause.reason}"
    gaps = [gap for one in phases for gap in one.slots.missed]
    missing = [f"{len(gaps)} checks, the last of {clock(gaps[-1])}"] if gaps else []
    missing += [f"{len(standing.unsealed)} runs are not archived"] if standing.unsealed else []
    yield "missing", "; ".join(missing) or "nothing"
    yield "next step", next_step(standing, plan, clock)
    said = [
        f"{item.by}: {item.subject} {item.value}, {clock(item.at)}"
        for item in standing.attestations
    ]
    yield "stated", "; ".join(said[-3:]) or "nobody attested anything"


def next_step(standing: Standing, plan: Plan, clock: Callable[[datetime], str]) -> str:
    """What comes next by the plan, `words: command`; the gates decide when it is tried."""
    if standing.rolled_back_at is not None:
        return "mend what ended it, then: rollout acknowledge --restart --reason '…'"
    if standing.latched is not None:
        return (
            f"{standing.latched.words} stands ({standing.latched_reason}): rollout rollback --apply"
            " --reason '…'"
        )
    if standing.revoked:
        return f"the pass was revoked by {standing.revoked}: find out why, then rollout evaluate"
    phase = standing.phase
    index = phase.index if phase else -1
    if index is None and phase is not None and phase.percentage == LOWEST_STEP:
        index = -1  # the next phase of the lowest step is the first
    if index is None:
        return "routing is off the plan: step back to a planned percentage"
    if index + 1 >= len(plan.phases):
        return "this is the last phase of the plan; go on watching while routing is on"
    following = plan.phases[index + 1]
    first = "rollout evaluate (it is valid for a few hours only), " if index >= 0 else ""
    return (
        f"{following.percentage:g} % at {clock(plan.begins(index + 1))}: {first}rollout attest"
        f" --complaints none, rollout change --to {following.percentage:g} --reason '…' --apply"
    )


def _phases(entries: Sequence[LedgerEntry], plan: Plan, now: datetime) -> Iterable[PhaseSummary]:
    ran = runs(entries)
    made: list[tuple[Turn, Run]] = []
    for run in ran:
        last = made[-1][0].last_change if made else None
        made += [(turn, run) for turn in turns_in(run.body, last)]
    for index, (turn, run) in enumerate(made):
        if not turn.runs:
            continue
        following = made[index + 1] if index + 1 < len(made) else None
        # An entry written when the phase ends belongs to it; its verdict is what ended it.
        mine = [
            one
            for one in ran
            if one.seq > run.seq and (not following or one.seq <= following[1].seq)
        ]
        yield _phase(turn, mine, plan, now, following)


def _phase(
    turn: Turn,
    ran: Sequence[Run],
    plan: Plan,
    now: datetime,
    following: tuple[Turn, Run] | None,
) -> PhaseSummary:
    checks = [run for run in ran if run.operation == "monitor" and run.kind is EntryKind.CHECKPOINT]
    done = [run.slot for run in checks if run.slot and run.phase_began == turn.at]
    states = [run.body.state for run in ran if run.operation in _JUDGING]
    evaluations = [run for run in ran if run.operation == "evaluate"]
    last = evaluations[-1] if evaluations else checks[-1] if checks else None
    until = following[0].at if following else None
    return PhaseSummary(
        percentage=turn.percentage,
        began_at=turn.at,
        ended_at=until,
        slots=slots_of(turn.at, until or now, done, plan),
        verdicts=dict(Counter(state.value for state in states)),
        worst=worst(states) if states else None,
        evaluation=evaluations[-1].body.state if evaluations else None,
        evaluated=evaluations[-1].body.sentence if evaluations else "not evaluated",
        unified=_total(last.body) if last else {},
        ended_by=_ended_by(following, plan),
        uptime=over(run.body for run in ran),
        differences=last.body.verdict.differences if last and last.body.verdict else (),
    )


def _total(run: Checkpoint) -> Mapping[str, Any]:
    """The total row of unified, of the phase where the run measured it; {} where there is none."""
    rows = run.figures.get("phase") or run.figures.get("rows") or []
    found = [row for row in rows if row["domain"] == TOTAL and row["routed_to"] == UNIFIED]
    return found[0] if found else {}


def _ended_by(following: tuple[Turn, Run] | None, plan: Plan) -> str:
    if following is None:
        return "still running"
    turn, _ = following
    if not turn.runs:
        return f"rolled back at {both_times(turn.at, plan.time_zone)}"
    known = phase_index(plan, turn.percentage) is not None
    words = f"changed to {turn.percentage:g} %" + (" by hand" if turn.by_hand else "")
    return words + ("" if known else ", which is off the plan")


def _outcome(
    phases: Sequence[PhaseSummary], standing: Standing, ran: Sequence[Run], plan: Plan
) -> tuple[State, str]:
    if not ran:
        return State.COULD_NOT_LOOK, "The ledger is empty: nothing has been run."
    if standing.rolled_back_at is not None:
        at = both_times(standing.rolled_back_at, plan.time_zone)
        return State.ROLL_BACK, f"Rolled back at {at}: routing is off. {standing.latched_reason}"
    if not phases:
        return State.HOLD, "The rollout has not begun: routing was never raised."
    last = phases[-1]
    passed = [phase for phase in phases if phase.evaluation is State.PASS]
    words = f"{len(passed)} of {len(phases)} phases passed; routing is at {last.percentage:g} %"
    state = last.evaluation or last.worst or State.COULD_NOT_LOOK
    named = {
        item.phase_began for item in standing.attestations if item.subject == "acknowledgement"
    }
    for phase in passed:
        if phase.began_at in named and phase is not last:
            words += f". At {phase.percentage:g} %: {phase.evaluated.rstrip('.')}"
    if standing.revoked:
        return State.HOLD, f"{words}. The pass of the last phase was revoked: {standing.revoked}."
    return state, f"{words}. {last.evaluated}"


def _differed(ran: Iterable[Run]) -> Iterable[dict[str, str]]:
    """Where a check's two columns asked for different things: the first of each
    run of equal pairs.
    """
    before = None
    for run in ran:
        verdict = run.body.verdict
        if run.operation not in _JUDGING or verdict is None or not verdict.differ:
            before = None
            continue
        pair = (verdict.literal, verdict.evidence)
        if pair != before:
            yield {
                "at": run.at.isoformat(),
                "literal": pair[0].words,
                "evidence": pair[1].words,
                "why": verdict.differ,
            }
        before = pair


def _stated(entries: Iterable[LedgerEntry]) -> Iterable[dict[str, str]]:
    for entry in statements(entries):
        yield {
            "at": entry.at.isoformat(),
            "who": entry.body.by,
            "what": entry.body.subject.value,
            "value": entry.body.value,
            "reason": entry.body.reason,
        }


def uptime_words(phases: Iterable[PhaseSummary]) -> str:
    """`mobility 57 of 57 probes answered; …` over all phases; "" where nothing was probed."""
    found: dict[str, Uptime] = {}
    for phase in phases:
        for name, seen in phase.uptime.items():
            found[name] = together(found.get(name, Uptime()), seen)
    return "; ".join(f"{name} {words(seen)}" for name, seen in found.items())


def exit_code(state: State) -> int:
    """A report is not a judgement: it ends well unless there was nothing to report."""
    return STATES[State.COULD_NOT_LOOK] if state is State.COULD_NOT_LOOK else 0
