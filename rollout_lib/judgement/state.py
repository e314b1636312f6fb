"""Where the rollout stands, by its ledger alone: a pure fold over the entries, oldest first.

Nothing here reads a clock or a table. What a run adds to the standing is what its entry's body
says: `change` (a phase begins, or routing is lowered), `adopted` (lowered by hand, accepted),
`look` (one increment of evidence), `state` (latches and revocations). An entry that cannot be read
is an error, never skipped: a standing with a hole could let a change pass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from rollout_lib.judgement.legal import LOWEST_STEP as LOWEST_STEP
from rollout_lib.judgement.legal import adopts as adopts
from rollout_lib.judgement.legal import moves_the_line, was_adopted
from rollout_lib.judgement.uptime import COUNTED, counted, said_in
from rollout_lib.model import (
    STATES,
    Attestation,
    Counts,
    Entry,
    Look,
    PhaseRun,
    Standing,
    State,
    Window,
)
from rollout_lib.plan import Plan
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


def fold(entries: Iterable[Entry], plan: Plan) -> Standing:
    """The standing after the given entries of one rollout (in order of seq)."""
    now = _Fold()
    for entry in sorted(entries, key=lambda item: item.seq):
        now.standing = _after(now, entry, plan)
    return replace(now.standing, unsealed=tuple(now.unsealed))


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


def _after(now: _Fold, entry: Entry, plan: Plan) -> Standing:
    standing = replace(now.standing, head=(entry.seq, entry.hash))
    body = entry.body
    if entry.kind == "archived":
        now.unsealed.pop(str(body.get("run_id", "")), None)
        return standing
    if entry.kind in ("attestation", "acknowledgement"):
        return _attested(standing, entry)
    if entry.kind == "missed":
        return replace(standing, slots_missed=(*standing.slots_missed, entry.slot or entry.at))
    if entry.kind not in ("checkpoint", "extra", "attempt"):
        return standing
    # An emergency or a click is no notebook: there is nothing to archive, and nothing to wait for.
    if (body.get("provenance") or {}).get("notebook", "none") != "none":
        now.unsealed[str(body["run_id"])] = None
    if entry.kind == "attempt":
        return standing
    standing = _judged(standing, entry, plan)
    adopted = was_adopted(body)
    if adopted and moves_the_line("adopted", *adopted, standing):
        standing = _changed(standing, entry, plan, *adopted, by_hand=True)
    change = body.get("change")
    if change and change["applied"]:
        after = Decimal(str(change["after"][0])), bool(change["after"][1])
        legal = moves_the_line(entry.operation, *after, standing)
        if legal and not _is_over(standing, entry, *after):
            standing = _changed(standing, entry, plan, *after)
    return standing


def _is_over(standing: Standing, entry: Entry, percentage: Decimal, enabled: bool) -> bool:
    """A lowering that reached the ledger late, kept in a file meanwhile: the phase that was begun
    since goes on.
    """
    if standing.last_change is None or not standing.last_change[2]:
        return False
    at, known, _ = standing.last_change
    return entry.at < at and (not enabled or percentage < known)


def _attested(standing: Standing, entry: Entry) -> Standing:
    body = entry.body
    attestation = Attestation(
        subject=body["subject"],
        value=body["value"],
        by=body["by"],
        reason=body["reason"],
        at=entry.at,
        plan_digest=body["plan_digest"],
        phase_began=entry.phase_began,
        seq=entry.seq,
    )
    extra = max(int(body["value"]), 0) if body["subject"] == "extension" else 0
    return replace(
        standing,
        # Who starts again begins from nothing: what passed before the mend is no place to go back to.
        highest_passed=None if body["subject"] == "restart" else standing.highest_passed,
        attestations=(*standing.attestations, attestation),
        extension_s=standing.extension_s + extra,
    )


def _judged(standing: Standing, entry: Entry, plan: Plan) -> Standing:
    """What the verdict of a run does to the phase it belongs to."""
    state = State(entry.body["state"])
    if entry.operation == "preflight":
        return replace(standing, preflight=(entry.at, state))
    if standing.phase is None or entry.phase_began != standing.phase.began_at:
        return standing
    if entry.operation in COUNTED:
        at = entry.body.get("slot") or entry.body.get("at") or ""
        standing = replace(standing, protected=counted(standing.protected, said_in(entry.body), at))
    if entry.operation == "monitor":
        standing = _looked(standing, entry)
        if standing.evaluation and is_at_least(state, State.HOLD):
            standing = replace(
                standing, revoked=f"{state} at {both_times(entry.at, plan.time_zone)}"
            )
    if entry.operation == "evaluate":
        phase_figures = (entry.body.get("evidence") or {}).get("phase")
        standing = replace(
            standing, evaluation=(entry.at, state), revoked=None, evaluated=phase_figures
        )
        if state is State.PASS:
            reached = max(standing.highest_passed or Decimal(0), standing.phase.percentage)
            standing = replace(standing, highest_passed=reached, passed_traffic=phase_figures)
    acts = state in (State.STEP_BACK, State.ROLL_BACK) and entry.operation in (
        "monitor",
        "evaluate",
    )
    if acts and (standing.latched is None or not is_at_least(standing.latched, state)):
        standing = replace(standing, latched=state, latched_reason=entry.body.get("sentence", ""))
    return standing


def _looked(standing: Standing, entry: Entry) -> Standing:
    """One more look, in the order of slots: a repeated slot, or one that comes late, changes
    nothing.

    A check that did not know an earlier one, which waited in a file, has measured its rows too: it
    takes its place."""
    late = (
        bool(standing.slots_done)
        and entry.slot is not None
        and entry.slot <= standing.slots_done[-1]
    )
    if entry.kind != "checkpoint" or entry.slot is None or late or not entry.body.get("look"):
        return standing
    look = read_look(entry.body["look"])
    before = tuple(known for known in standing.looks if known.window.end <= look.window.start)
    return replace(standing, looks=(*before, look), slots_done=(*standing.slots_done, entry.slot))


def _changed(
    standing: Standing,
    entry: Entry,
    plan: Plan,
    percentage: Decimal,
    enabled: bool,
    *,
    by_hand: bool = False,
) -> Standing:
    """A phase begins at the entry's instant, or routing is off."""
    running = enabled and percentage > 0
    again = standing.phase is not None and standing.phase.percentage == percentage
    phase = PhaseRun(
        index=phase_index(plan, percentage),
        percentage=percentage,
        began_at=entry.at,
        attempt=standing.phase.attempt + 1 if again and standing.phase else 1,
    )
    return replace(
        standing,
        phase=phase if running else None,
        last_change=(entry.at, percentage, enabled),
        looks=(),
        slots_done=(),
        slots_missed=(),
        latched=None if running else State.ROLL_BACK,
        latched_reason="" if running else _why_off(entry, by_hand),
        rolled_back_at=None if running else entry.at,
        highest_passed=standing.highest_passed if running else None,
        evaluation=None,
        evaluated=None,
        revoked=None,
        extension_s=0,
        plan_digest=entry.body.get("plan_digest"),
        protected={},
    )


def _why_off(entry: Entry, by_hand: bool) -> str:
    if by_hand:
        notes = entry.body["adopted"].get("notes") or "none"
        return (
            f"routing was found off: by hand, or by a run that could not record it (notes: {notes})"
        )
    change = entry.body.get("change") or {}
    return str(change.get("reason") or entry.body.get("sentence") or "routing was switched off")


def read_look(body: Mapping[str, Any]) -> Look:
    """A Look from a checkpoint's JSON; instants come back aware."""

    def counts(item: Mapping[str, int]) -> Counts:
        return Counts(bad=item["bad"], total=item["total"])

    window = body["window"]
    return Look(
        slot=datetime.fromisoformat(body["slot"]) if body["slot"] else None,
        window=Window(
            start=datetime.fromisoformat(window["start"]), end=datetime.fromisoformat(window["end"])
        ),
        errors={name: counts(item) for name, item in body["errors"].items()},
        latency={name: counts(item) for name, item in body["latency"].items()},
        router=counts(body["router"]),
        legacy=counts(body["legacy"]),
        unified_settled=body["unified_settled"],
        legacy_settled=body["legacy_settled"],
        closed=body["closed"],
    )
