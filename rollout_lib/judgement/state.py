"""Where the rollout stands, by its ledger alone: a pure fold over the entries, oldest first.

Nothing here reads a clock or a table. What a run adds to the standing is what its entry's body
says: `change` (a phase begins, or routing is lowered), `adopted` (lowered by hand, accepted),
`look` (one increment of evidence), `state` (latches and revocations). An entry that cannot be read
is never skipped in silence: it stands until a named person sets it aside, and nothing is raised
meanwhile, since a standing with a hole could let a change pass."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal

from rollout_lib.judgement.legal import LOWEST_STEP as LOWEST_STEP
from rollout_lib.judgement.legal import adopts as adopts
from rollout_lib.judgement.timeline import Turn, turns_in
from rollout_lib.judgement.uptime import COUNTED, with_run
from rollout_lib.model import (
    RUNS,
    STATES,
    TOTAL,
    Archived,
    Attestation,
    Body,
    Checkpoint,
    Counts,
    Entry,
    EntryKind,
    LedgerEntry,
    Look,
    PhaseRun,
    Standing,
    State,
    Statement,
    Subject,
    Unreadable,
)
from rollout_lib.plan.schema import Plan
from rollout_lib.text import both_times

EMPTY = Standing(
    head=(0, ""),
    phase=None,
    last_change=None,
    highest_passed=None,
    looks=(),
    slots_done=(),
    slots_missed=(),
    latched=None,
    latched_reason="",
    rolled_back_at=None,
    preflight=None,
    evaluation=None,
    revoked=None,
    passed_traffic=None,
    attestations=(),
    extension_s=0,
    plan_digest=None,
    unsealed=(),
)
_ORDER = list(STATES)


@dataclass
class _Fold:
    standing: Standing = EMPTY
    unsealed: dict[str, None] = field(default_factory=dict)
    # Of the running phase; lists, since a tuple would be copied whole with each check.
    looks: list[Look] = field(default_factory=list)
    slots_done: list[datetime] = field(default_factory=list)


def fold(entries: Iterable[LedgerEntry], plan: Plan) -> Standing:
    """The standing after the given entries of one rollout (in order of seq)."""
    now = _Fold()
    for entry in sorted(entries, key=lambda item: item.seq):
        now.standing = _after(now, entry, plan)
    return replace(
        now.standing,
        unsealed=tuple(now.unsealed),
        looks=tuple(now.looks),
        slots_done=tuple(now.slots_done),
    )


def is_at_least(state: State, limit: State) -> bool:
    """Is a state as bad as the limit, in the order of STATES?"""
    return _ORDER.index(state) >= _ORDER.index(limit)


def phase_index(plan: Plan, percentage: Decimal) -> int | None:
    """The place of a percentage in the plan, None where it is off the plan (0, 5 % or by hand)."""
    for index, phase in enumerate(plan.phases):
        if phase.percentage == percentage:
            return index
    return None


def held_until(plan: Plan, standing: Standing) -> datetime | None:
    """When the running phase has been held for its time, extensions included; None off the plan."""
    if standing.phase is None or standing.phase.index is None:
        return None
    hold = plan.phases[standing.phase.index].hold + timedelta(seconds=standing.extension_s)
    return standing.phase.began_at + hold


def _after(now: _Fold, entry: LedgerEntry, plan: Plan) -> Standing:
    standing = replace(now.standing, head=(entry.seq, entry.hash))
    if isinstance(entry, Unreadable):
        return replace(standing, unreadable=(*standing.unreadable, entry))
    body = entry.body
    if isinstance(body, Archived):
        if entry.kind is EntryKind.ARCHIVED:
            now.unsealed.pop(body.run_id, None)
        return standing
    if isinstance(body, Statement):
        return _attested(standing, entry, body)
    if entry.kind is EntryKind.MISSED:
        return replace(standing, slots_missed=(*standing.slots_missed, entry.slot or entry.at))
    if not isinstance(body, Checkpoint):
        return standing
    # An emergency or a click is no notebook: there is nothing to archive, and nothing to wait for.
    if body.provenance.get("notebook", "none") != "none":
        now.unsealed[body.run_id] = None
    return _ran(now, standing, entry, body, plan) if entry.kind in RUNS else standing


def _ran(
    now: _Fold, standing: Standing, entry: Entry[Body], body: Checkpoint, plan: Plan
) -> Standing:
    """What a completed run found, and what was made of the routing."""
    standing = _judged(now, standing, entry, body, plan)
    for turn in turns_in(body, standing.last_change):
        now.looks, now.slots_done = [], []
        standing = _turned(standing, body, plan, turn)
    return standing


def _attested(standing: Standing, entry: Entry[Body], said: Statement) -> Standing:
    """What a person stated; one that sets an unreadable entry aside is of that entry alone."""
    attestation = Attestation(
        subject=said.subject,
        value=said.value,
        by=said.by,
        reason=said.reason,
        at=entry.at,
        plan_digest=said.plan_digest,
        phase_began=entry.phase_began,
        seq=entry.seq,
        findings=said.findings,
    )
    extra = int(said.value) if said.subject is Subject.EXTENSION else 0
    left = standing.unreadable
    if said.subject is Subject.UNREADABLE:
        left = tuple(one for one in left if one.key not in said.value.split())
    return replace(
        standing,
        # Who starts again begins from nothing: what passed before the mend is no place to go back to.
        highest_passed=None if said.subject is Subject.RESTART else standing.highest_passed,
        attestations=(*standing.attestations, attestation),
        extension_s=standing.extension_s + extra,
        unreadable=left,
    )


def _judged(
    now: _Fold, standing: Standing, entry: Entry[Body], body: Checkpoint, plan: Plan
) -> Standing:
    """What the verdict of a run does to the phase it belongs to."""
    state = body.state
    if entry.operation == "preflight":
        return replace(standing, preflight=(entry.at, state))
    phase = standing.phase
    if phase is None or entry.phase_began != phase.began_at:
        return standing
    if entry.operation in COUNTED:
        # Of a slot that it did not get: too slow, or kept in a file, which is no good news.
        late = entry.kind is EntryKind.EXTRA and body.slot is not None
        tally = with_run(standing.protected, body, failed_only=late)
        standing = replace(standing, protected=tally)
    if entry.operation == "monitor":
        standing = _looked(now, standing, entry, body, plan)
        if standing.evaluation and is_at_least(state, State.HOLD):
            standing = replace(
                standing, revoked=f"{state.words} at {both_times(entry.at, plan.time_zone)}"
            )
    if entry.operation == "evaluate":
        phase_figures = body.evidence.get("phase")
        standing = replace(
            standing,
            evaluation=(entry.at, state),
            evaluation_seq=entry.seq,
            revoked=None,
            evaluated=phase_figures,
            findings=body.findings,
        )
        if state is State.PASS:
            reached = max(standing.highest_passed or Decimal(0), phase.percentage)
            standing = replace(standing, highest_passed=reached, passed_traffic=phase_figures)
    acts = state in (State.STEP_BACK, State.ROLL_BACK) and entry.operation in (
        "monitor",
        "evaluate",
    )
    if acts and (standing.latched is None or not is_at_least(standing.latched, state)):
        standing = replace(standing, latched=state, latched_reason=body.sentence)
    return standing


def _looked(
    now: _Fold, standing: Standing, entry: Entry[Body], body: Checkpoint, plan: Plan
) -> Standing:
    """One more look, in the order of slots: a repeated slot, or one that comes late, changes
    nothing.

    A check that did not know an earlier one, which waited in a file, has measured its rows too: it
    takes its place."""
    look, slot = body.look, entry.slot
    if entry.kind is not EntryKind.CHECKPOINT or slot is None or look is None or not look.closed:
        return standing
    if now.slots_done and slot <= now.slots_done[-1]:
        return standing
    # They end in order, so that those which it takes the place of are the last ones.
    while now.looks and now.looks[-1].window.end > look.window.start:
        now.looks.pop()
    now.looks.append(_with_streams(look, plan))
    now.slots_done.append(slot)
    return replace(standing, last_slot=(slot, body.state, body.sentence))


def _with_streams(look: Look, plan: Plan) -> Look:
    """The increment with the plan's domains in it: of one that it does not name, nothing was seen."""
    names = (*plan.domains, TOTAL)
    if all(name in look.errors and name in look.latency for name in names):
        return look
    nothing = dict.fromkeys(names, Counts(bad=0, total=0))
    return replace(look, errors={**nothing, **look.errors}, latency={**nothing, **look.latency})


def _turned(standing: Standing, body: Checkpoint, plan: Plan, turn: Turn) -> Standing:
    """A phase begins at the turn's instant, or routing is off."""
    again = standing.phase is not None and standing.phase.percentage == turn.percentage
    phase = PhaseRun(
        index=phase_index(plan, turn.percentage),
        percentage=turn.percentage,
        began_at=turn.at,
        attempt=standing.phase.attempt + 1 if again and standing.phase else 1,
    )
    return replace(
        standing,
        phase=phase if turn.runs else None,
        last_change=turn.last_change,
        slots_missed=(),
        latched=None if turn.runs else State.ROLL_BACK,
        latched_reason="" if turn.runs else _why_off(body, turn),
        rolled_back_at=None if turn.runs else turn.at,
        off_at=None if turn.runs else _off_at(standing, body, turn),
        highest_passed=standing.highest_passed if turn.runs else None,
        evaluation=None,
        evaluation_seq=0,
        evaluated=None,
        findings=(),
        last_slot=None,
        revoked=None,
        extension_s=0,
        plan_digest=body.plan_digest,
        protected={},
    )


def _off_at(standing: Standing, body: Checkpoint, turn: Turn) -> datetime:
    """An off that is said again is off since the first; one of what somebody had raised meanwhile is
    not.
    """
    was_on = bool(body.change and body.change.before[1] and body.change.before[0])
    first = None if was_on else standing.off_at
    return turn.at if first is None else min(first, turn.at)


def _why_off(body: Checkpoint, turn: Turn) -> str:
    if turn.by_hand and body.adopted:
        notes = body.adopted.notes or "none"
        return (
            f"routing was found off: by hand, or by a run that could not record it (notes: {notes})"
        )
    # What a check did itself has its state in front, for the notes in the configuration.
    reason = body.change.reason.removeprefix(f"{State.ROLL_BACK.words}: ") if body.change else ""
    return reason or body.sentence or "routing was switched off"
