"""What else must be true at the end of a phase, whatever the rates: nobody complained, the hold is
over, every check was made, nothing stands. Pure.

A missing check carries its finding, which no waiting settles."""

from __future__ import annotations

from datetime import datetime

from rollout_lib.judgement.state import held_until, is_at_least
from rollout_lib.judgement.streams import judge_streams
from rollout_lib.judgement.timeline import slots_of
from rollout_lib.model import (
    TOTAL,
    Attestation,
    Check,
    CheckKind,
    Finding,
    FindingKind,
    Outcome,
    Standing,
    State,
    Verdict,
)
from rollout_lib.plan.schema import Plan
from rollout_lib.text import e_value


def impact_check(standing: Standing, plan: Plan) -> Check:
    """What named persons attested of complaints in this phase; some is a hold."""
    stated = [
        item
        for item in standing.attestations
        if item.subject == "complaints" and binds(item, standing)
    ]
    name, wanted = "no customer impact", "complaints attested as none"
    if not stated:
        return Check(
            kind=CheckKind.IMPACT,
            name=name,
            outcome=Outcome.COULD_NOT_LOOK,
            observed="not attested",
            limit=wanted,
            reason="Nobody has attested yet; raising asks for it: rollout attest --complaints none",
        )
    last = stated[-1]
    said = f"{last.by} attested complaints: {last.value} at {clock(last, plan)}. {last.reason}"
    none = last.value == "none" and last.plan_digest == plan.digest
    return Check(
        kind=CheckKind.IMPACT,
        name=name,
        outcome=Outcome.PASS if none else Outcome.FAIL,
        observed=last.value,
        limit=wanted,
        reason=said.strip(),
        state=None if none else State.HOLD,
    )


def hold_check(standing: Standing, plan: Plan, now: datetime) -> Check:
    """The hold of the phase, extensions included, is over."""
    until = held_until(plan, standing)
    if until is None:
        return Check(
            kind=CheckKind.HOLD_TIME,
            name="hold time served",
            outcome=Outcome.FAIL,
            observed="off the plan",
            limit="a planned phase",
            reason="This percentage is off the plan: no hold of it ends.",
            state=State.HOLD,
        )
    local = until.astimezone(plan.zone)
    served = now >= until
    left = until - now
    return Check(
        kind=CheckKind.HOLD_TIME,
        name="hold time served",
        outcome=Outcome.PASS if served else Outcome.FAIL,
        observed="served" if served else f"{left} left",
        limit="0 left",
        reason=(
            f"The hold ended at {local:%a %d %b %H:%M %Z}."
            if served
            else f"The hold ends at {local:%a %d %b %H:%M %Z}, in {left}."
        ),
        state=None if served else State.HOLD,
    )


def slots_check(standing: Standing, plan: Plan, now: datetime) -> Check:
    """Every scheduled check ran; the open slot has until its end."""
    began = standing.phase.began_at if standing.phase else now
    slots = slots_of(began, now, standing.slots_done, plan)
    expected, missed = slots.expected, slots.missed
    observed = f"{len(slots.done)} of {len(expected)}"
    if expected and not missed:
        return Check(
            kind=CheckKind.SLOTS,
            name="every slot checked",
            outcome=Outcome.PASS,
            observed=observed,
            limit="all",
            reason=f"All {len(expected)} scheduled checks of the phase ran.",
        )
    when = ", ".join(f"{slot.astimezone(plan.zone):%H:%M}" for slot in missed[:8])
    when += f" and {len(missed) - 8} more" if len(missed) > 8 else ""
    missing = f"{len(missed)} scheduled checks are missing ({when})" if missed else "None was due"
    return Check(
        kind=CheckKind.SLOTS,
        name="every slot checked",
        outcome=Outcome.FAIL,
        observed=observed,
        limit="all",
        reason=(
            f"{missing}; what came meanwhile joined the next look, and no waiting brings a check"
            " back"
        ),
        state=State.INCONCLUSIVE,
        finding=Finding(
            kind=FindingKind.SLOTS,
            subject="scheduled checks",
            members=tuple(slot.isoformat() for slot in missed),
        ),
    )


def standing_check(slot: Verdict, standing: Standing, plan: Plan) -> Check:
    """No HOLD or act may stand, now or at the last scheduled check, and the last look must have
    seen something.
    """
    name = "no hold or act stands"
    state, reason = _stands(slot, standing, plan)
    if state is State.QUIET:
        return Check(
            kind=CheckKind.STANDS,
            name=name,
            outcome=Outcome.FAIL,
            observed=state.words,
            limit="none",
            reason=reason,
            state=State.INCONCLUSIVE,
            finding=Finding(kind=FindingKind.QUIET, subject=TOTAL),
        )
    held = is_at_least(state, State.HOLD)
    return Check(
        kind=CheckKind.STANDS,
        name=name,
        outcome=Outcome.FAIL if held else Outcome.PASS,
        observed=state.words,
        limit="none",
        reason=reason,
        state=state if held else None,
    )


def _stands(slot: Verdict, standing: Standing, plan: Plan) -> tuple[State, str]:
    """The state of now; a HOLD of the last scheduled check stands until the next one has cleared
    it, whatever the few rows since then say.
    """
    if is_at_least(slot.state, State.HOLD):
        return slot.state, slot.sentence
    last = standing.last_slot
    if last is not None and last[1] is State.HOLD:
        at = f"{last[0].astimezone(plan.zone):%H:%M %Z}"
        return State.HOLD, f"The check of {at} said HOLD; the next one can clear it. {last[2]}"
    if plan.mode != "strict" and standing.looks:
        literal = {(one.measure, one.domain): one.literal for one in slot.streams}
        for stream in judge_streams(standing.looks, literal, plan):
            if is_at_least(stream.evidence, State.HOLD):
                words = f"{stream.label} stood at {e_value(stream.e_now)} at the last check"
                return State.HOLD, f"{words} (hold at 5); the next one can clear it."
    return slot.state, slot.sentence


def binds(item: Attestation, standing: Standing) -> bool:
    """Was it stated of the running phase?"""
    return standing.phase is not None and item.phase_began == standing.phase.began_at


def clock(item: Attestation, plan: Plan) -> str:
    """When it was stated, in the rollout's zone."""
    return f"{item.at.astimezone(plan.zone):%H:%M %Z}"
