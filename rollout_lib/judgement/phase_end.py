"""The end of a phase: what passes, what is undecided, and whether a named person covers it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from rollout_lib.judgement import phase_checks as checkpoints
from rollout_lib.judgement import phase_duties as duties
from rollout_lib.judgement.counting import against_looks, look_from, phase_counts
from rollout_lib.judgement.explain import bound, next_command
from rollout_lib.judgement.findings import uncovered
from rollout_lib.judgement.literal import literal_checks
from rollout_lib.judgement.protected import uptime_checks
from rollout_lib.judgement.slot import judge_slot
from rollout_lib.model import (
    TOTAL,
    Act,
    Attestation,
    Check,
    CheckKind,
    Counts,
    Measurement,
    Outcome,
    Probe,
    RoutingConfig,
    Standing,
    State,
    Verdict,
    worst,
)
from rollout_lib.plan.schema import Plan
from rollout_lib.text import e_value, rate

_ACTS = {State.ROLL_BACK: Act.ROLL_BACK, State.STEP_BACK: Act.STEP_BACK}


def judge_phase_end(
    *,
    plan: Plan,
    config: RoutingConfig | None,
    standing: Standing,
    measurement: Measurement,
    now: datetime,
    probes: Sequence[Probe] = (),
) -> Verdict:
    """PASS, INCONCLUSIVE, HOLD, an act, or COULD_NOT_LOOK; measurement.phase must be filled.

    With routing off, or without a phase, there is nothing to evaluate: HOLD or worse, never a pass.
    """
    if measurement.phase is None:
        raise ValueError("the end of a phase is judged on the whole phase, and it was not measured")
    slot = judge_slot(
        plan=plan,
        config=config,
        standing=standing,
        measurement=measurement,
        slot=None,
        now=now,
        probes=probes,
    )
    if config is None or standing.phase is None or not config.enabled or config.percentage == 0:
        return _nothing_to_evaluate(slot, plan)
    whole = _whole(measurement, standing, plan)
    checks = _checks(slot, whole, measurement, standing, config, now)
    states = [check.state for check in checks if check.state is not None]
    state = worst(states) if states else State.PASS
    given = _acknowledgement(standing, plan) if state is State.INCONCLUSIVE else None
    if given is not None and not uncovered(checks, given.findings):
        sentence = _two_sentences(given, checks, slot, plan)
        return _concluded(slot, State.PASS, sentence, [*checks, _acknowledged(given, plan)], plan)
    sentence = _sentence(state, checks, whole.counted, plan)
    if given is not None:
        more = ", ".join(check.name for check in uncovered(checks, given.findings))
        sentence += f" {given.by}'s acknowledgement was not of: {more}."
    return _concluded(slot, state, sentence, checks, plan)


def _nothing_to_evaluate(slot: Verdict, plan: Plan) -> Verdict:
    state, sentence = worst([slot.state, State.HOLD]), slot.sentence
    if state is not slot.state:
        sentence = f"There is no running phase to evaluate. {sentence}"
    return replace(slot, state=state, sentence=sentence, next_step=next_command(state, plan))


def _whole(measurement: Measurement, standing: Standing, plan: Plan) -> checkpoints.Whole:
    """The phase at its end, by the larger of what is there and what its looks counted."""
    if measurement.phase is None:
        raise ValueError("the traffic of the whole phase was not read")
    counted, tail = phase_counts(measurement, plan), look_from(measurement, None, False, plan)
    larger, more, failing = against_looks(counted, tail, standing.looks)
    return checkpoints.Whole(
        traffic=measurement.phase,
        present=measurement.window,
        counted=larger,
        thinned=counted.errors[TOTAL],
        more=Counts(bad=failing, total=more),
        plan=plan,
    )


def _checks(
    slot: Verdict,
    whole: checkpoints.Whole,
    measurement: Measurement,
    standing: Standing,
    config: RoutingConfig,
    now: datetime,
) -> list[Check]:
    """Every checkpoint of the runbook, in its order."""
    plan = whole.plan
    literal = {(one.kind, one.subject): one for one in literal_checks(whole.traffic, plan)}
    return [
        checkpoints.errors_check(literal[CheckKind.ERRORS, TOTAL], whole),
        checkpoints.latency_check(literal[CheckKind.LATENCY, TOTAL], whole),
        checkpoints.share_check(measurement, standing, config, whole),
        duties.impact_check(standing, plan),
        *uptime_checks(slot, standing, measurement, plan),
        checkpoints.enough_check(standing, whole),
        checkpoints.degradation_check(whole, standing),
        duties.hold_check(standing, plan, now),
        duties.slots_check(standing, plan, now),
        checkpoints.late_check(whole.more),
        duties.standing_check(slot, standing, plan),
    ]


def _concluded(
    slot: Verdict, state: State, sentence: str, checks: Sequence[Check], plan: Plan
) -> Verdict:
    """The slot's verdict with the end's state, checks and sentence; an act keeps its own
    sentence.
    """
    act = _ACTS.get(state, Act.NONE)
    return replace(
        slot,
        state=state,
        sentence=slot.sentence if state in _ACTS else sentence,
        act=act,
        acts_alone=slot.acts_alone and slot.act is act,
        checks=(*checks, *slot.checks),
        next_step=(
            slot.next_step
            if state is slot.state
            else next_command(state, plan, _about(state, checks))
        ),
    )


def _about(state: State, checks: Sequence[Check]) -> CheckKind | None:
    return next((check.kind for check in checks if check.state is state), None)


def _acknowledgement(standing: Standing, plan: Plan) -> Attestation | None:
    """The last one that a named person gave, of this phase and plan.

    What it covers are the findings that an evaluation had named; they stand on the statement, and
    nothing else is covered, at any later evaluation.
    """
    given = [
        item
        for item in standing.attestations
        if item.subject == "acknowledgement"
        and item.findings
        and duties.binds(item, standing)
        and item.plan_digest == plan.digest
        and item.by.strip()
        and item.reason.strip()
    ]
    return given[-1] if given else None


def _acknowledged(item: Attestation, plan: Plan) -> Check:
    reason = f"{item.by} acknowledged at {duties.clock(item, plan)}: {item.reason}"
    return Check(
        name="acknowledged",
        kind=CheckKind.ACKNOWLEDGED,
        outcome=Outcome.WARN,
        observed=item.by,
        limit="a named person",
        reason=reason,
    )


def _two_sentences(item: Attestation, checks: Sequence[Check], slot: Verdict, plan: Plan) -> str:
    """Why the rollout goes on all the same: what was not shown and how little speaks against it;
    who says so.
    """
    open_ones = [
        f"{check.name} ({check.observed})" for check in checks if check.state is State.INCONCLUSIVE
    ]
    errors = (CheckKind.ERRORS, TOTAL)
    total = next(one for one in slot.streams if (one.measure, one.domain) == errors)
    webhooks = (
        "1 distinct failing webhook"
        if total.bad == 1
        else f"{total.bad:,} distinct failing webhooks"
    )
    return (
        f"The phase passes although inconclusive on {', '.join(open_ones)}: the evidence against"
        f" the limit is {webhooks} of {total.total:,} requests, {e_value(total.e_now)}, highest"
        f" {e_value(total.e_peak)}, where 20 would act. {item.by} acknowledged it at"
        f" {duties.clock(item, plan)}: {item.reason.rstrip('.')}."
    )


def _sentence(state: State, checks: Sequence[Check], counts: Counts, plan: Plan) -> str:
    """The figure first; an undecided end names every point of it, with what would settle it."""
    figures = f"Unified failed {rate(counts.bad, counts.total)} of the phase's requests."
    if state is State.PASS:
        limits = plan.thresholds
        high = bound(
            counts.bad,
            counts.total,
            (limits.error_rate_rollback_pct, limits.error_rate_investigate_pct),
        )
        return (
            f"The phase passes. {figures[:-1]}; the true rate is below {high} (95 % sure, however"
            " often one looks)."
        )
    mine = [check for check in checks if check.state is state]
    if state is State.INCONCLUSIVE:
        points = "; ".join(f"{check.name}: {check.reason.rstrip('.')}" for check in mine)
        return f"{figures} Undecided on {len(mine)}: {points}."
    why = [f"{check.name}: {check.reason}" for check in mine]
    return f"{figures} {why[0] if why else ''}".strip()
