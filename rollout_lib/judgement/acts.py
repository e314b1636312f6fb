"""Who lowered a phase, when, and whether a replay finds the same. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from rollout_lib.judgement.timeline import turns_in
from rollout_lib.model import (
    CheckKind,
    Checkpoint,
    Entry,
    EntryKind,
    LedgerEntry,
    Origin,
    State,
    runs,
)
from rollout_lib.plan.schema import Plan

ACTS = (State.STEP_BACK, State.ROLL_BACK)
# What a verdict rests on that the rows of the log show again.
_IN_THE_LOG = (
    CheckKind.ERRORS,
    CheckKind.LATENCY,
    CheckKind.ROUTER,
    CheckKind.SPLIT,
    CheckKind.LEAK,
    CheckKind.DATA,
    CheckKind.STANDS,
)


class ActedBy(StrEnum):
    """Who asked for less traffic, or took it."""

    CHECK = "check"
    EVALUATION = "evaluation"
    TRIPWIRE = "tripwire"
    PERSON = "person"
    HAND = "by hand"  # past the suite; a check found it


@dataclass(frozen=True, kw_only=True)
class RecordedAct:
    """The first act of a phase on the ledger; outside names what it rested on that no log holds."""

    at: datetime
    state: State
    by: ActedBy
    who: str
    reason: str
    outside: tuple[str, ...] = ()


def recorded_act(
    entries: Iterable[LedgerEntry], began_at: datetime, until: datetime
) -> RecordedAct | None:
    """The first act that was asked for or done in the phase that began then; None where none was."""
    for run in runs(entries):
        # An emergency does not know of which phase it is.
        if run.phase_began in (began_at, None) and began_at < run.at <= until:
            found = _act_of(run)
            if found is not None:
                return found
    return None


def _act_of(run: Entry[Checkpoint]) -> RecordedAct | None:
    body, change = run.body, run.body.change
    judged = run.operation in ("monitor", "evaluate")
    if judged and body.state in ACTS:
        by = ActedBy.PERSON
        if run.operation == "evaluate":
            by = ActedBy.EVALUATION
        elif run.kind is EntryKind.CHECKPOINT:
            by = ActedBy.CHECK
        elif body.origin is Origin.TRIPWIRE:
            by = ActedBy.TRIPWIRE
        return RecordedAct(
            at=run.slot or run.at,
            state=body.state,
            by=by,
            who=body.operator,
            reason=body.sentence,
            outside=_outside(body),
        )
    lowered = [turn for turn in turns_in(body, None) if turn.by_hand]
    if lowered:
        state = State.STEP_BACK if lowered[0].runs else State.ROLL_BACK
        reason = body.adopted.notes if body.adopted else ""
        return RecordedAct(at=run.at, state=state, by=ActedBy.HAND, who="", reason=reason)
    if change is None or not change.applied or not change.after < change.before:
        return None
    off = not change.after[1] or change.after[0] == 0
    state = State.ROLL_BACK if off else State.STEP_BACK
    return RecordedAct(
        at=run.at, state=state, by=ActedBy.PERSON, who=body.operator, reason=change.reason
    )


def _outside(body: Checkpoint) -> tuple[str, ...]:
    """The checks that alone gave a verdict its state, where no row of the log shows them again."""
    verdict = body.verdict
    if verdict is None or any(stream.evidence is body.state for stream in verdict.streams):
        return ()
    gave = [check for check in verdict.checks if check.state is body.state]
    if any(check.kind in _IN_THE_LOG for check in gave):
        return ()
    return tuple(check.name for check in gave)


def compared(
    was: RecordedAct | None,
    acted: tuple[datetime, State, str] | None,
    plan: Plan,
    *,
    same_plan: bool,
) -> tuple[str, str]:
    """(outcome, sentence) of a recorded act beside the replayed one."""

    def clock(at: datetime) -> str:
        return f"{at.astimezone(plan.zone):%H:%M}"

    if was is None:
        if acted is None:
            return (
                "as recorded",
                "nobody asked for less traffic, and the replayed plan does not either.",
            )
        return "missed", f"{acted[1]} at {clock(acted[0])}, which did not happen. {acted[2]}"
    if acted is None:
        return _not_again(was, clock(was.at), same_plan)
    if was.at == acted[0]:
        return "as recorded", f"{acted[1]} at {clock(acted[0])}, as recorded. {acted[2]}"
    order = "earlier" if acted[0] < was.at else "later"
    minutes = abs((acted[0] - was.at).total_seconds()) / 60
    return (
        order,
        f"{acted[1]} at {clock(acted[0])}, {minutes:.0f} min {order} than the {was.by.value}"
        f" of the record. {acted[2]}",
    )


def _not_again(was: RecordedAct, at: str, same_plan: bool) -> tuple[str, str]:
    """What is said of an act that the replay does not find."""
    if was.by is ActedBy.HAND:
        return "by hand", f"lowered by hand at {at} (notes: {was.reason or 'none'}); no plan asked."
    if was.by is ActedBy.PERSON:
        return "by a person", f"{was.who} lowered it at {at}: {was.reason}. No check asked for it."
    named = f"the {was.state.words} of the {was.by.value} at {at}"
    if was.outside:
        rested = ", ".join(was.outside)
        return "not shown", f"{named} rested on {rested}, which no log holds: not replayed."
    if same_plan:
        return "not shown", f"{named} is not in the log of now: rows came late, or are gone."
    return "avoided", f"{named} would not have happened."
