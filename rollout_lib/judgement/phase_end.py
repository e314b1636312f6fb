"""The end of a phase: the runbook's success checkpoints, each a named check, over the whole phase.
Pure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from rollout_lib import evidence
from rollout_lib.judgement.explain import next_command
from rollout_lib.judgement.literal import literal_checks
from rollout_lib.judgement.protected import uptime_checks
from rollout_lib.judgement.slot import judge_slot, split_check
from rollout_lib.judgement.state import held_until, is_at_least
from rollout_lib.judgement.streams import ACT_AT, look_from
from rollout_lib.judgement.timeline import expected_slots
from rollout_lib.model import (
    TOTAL,
    Act,
    Attestation,
    Check,
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
from rollout_lib.plan import Plan
from rollout_lib.text import e_value, limit, percent, rate


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
        state = worst([slot.state, State.HOLD])
        sentence = (
            slot.sentence
            if state is slot.state
            else f"There is no running phase to evaluate. {slot.sentence}"
        )
        return replace(slot, state=state, sentence=sentence, next_step=next_command(state, plan))
    whole = replace(measurement, window=measurement.phase, increment=measurement.phase)
    counted = look_from(whole, None, False, plan)
    literal = {check.name: check for check in literal_checks(measurement.phase, plan)}
    limits = plan.thresholds
    checks = [
        _literal(
            literal[f"errors:{TOTAL}"],
            f"error rate < {limit(limits.error_rate_investigate_pct)}",
            plan,
        ),
        _literal(literal[f"latency:{TOTAL}"], f"p95 < {limits.p95_investigate_ms:,} ms", plan),
        _split(whole, standing, config, plan),
        _impact(standing, plan),
        *uptime_checks(slot, standing, measurement, plan),
        _enough(counted.errors[TOTAL], standing, plan),
        _degradation(counted.errors[TOTAL], standing),
        _hold(standing, plan, now),
        _slots(standing, plan, now),
        _late(counted.errors[TOTAL], measurement, standing, plan),
        _standing(slot),
    ]
    states = [check.state for check in checks if check.state is not None]
    state = worst(states) if states else State.PASS
    acknowledged = (
        _acknowledgement(standing, plan, counted.errors[TOTAL])
        if state is State.INCONCLUSIVE
        else None
    )
    if acknowledged is not None:
        state = State.PASS
        checks.append(_acknowledged(acknowledged, plan))
    sentence = _sentence(state, checks, counted.errors[TOTAL])
    if acknowledged is not None:
        sentence = _two_sentences(acknowledged, checks, slot, plan)
    acts = {State.ROLL_BACK: Act.ROLL_BACK, State.STEP_BACK: Act.STEP_BACK}
    return replace(
        slot,
        state=state,
        sentence=slot.sentence if state in acts else sentence,
        act=acts.get(state, Act.NONE),
        acts_alone=slot.acts_alone and slot.act is acts.get(state, Act.NONE),
        checks=(*checks, *slot.checks),
        next_step=(
            slot.next_step
            if state is slot.state
            else next_command(state, plan, _about(state, checks))
        ),
    )


def _about(state: State, checks: Sequence[Check]) -> str:
    name = next((check.name for check in checks if check.state is state), "")
    return "split" if name.startswith("~") else "latency" if name.startswith("p95") else name


def _literal(check: Check, name: str, plan: Plan) -> Check:
    """A literal failure without evidence is inconclusive; in mode strict the
    runbook decides alone.
    """
    if check.state is State.CLEAN:
        state = None
    elif check.state is State.QUIET:
        state = State.INCONCLUSIVE
    else:
        state = State.HOLD if plan.mode == "strict" else State.INCONCLUSIVE
    return replace(check, name=name, state=state)


def _split(whole: Measurement, standing: Standing, config: RoutingConfig, plan: Plan) -> Check:
    check = split_check(whole, standing.looks, config.percentage, plan)
    name = f"~{config.percentage:g} % of traffic to unified"
    if check.outcome is Outcome.PASS:
        return replace(check, name=name, state=None)
    state = State.HOLD if check.state is State.HOLD else State.INCONCLUSIVE
    return replace(check, name=name, outcome=Outcome.FAIL, state=state)


def _impact(standing: Standing, plan: Plan) -> Check:
    stated = [
        item
        for item in standing.attestations
        if item.subject == "complaints" and _binds(item, standing)
    ]
    name, wanted = "no customer impact", "complaints attested as none"
    if not stated:
        reason = "Nobody has attested yet; raising asks for it: rollout attest --complaints none"
        return Check(
            name=name,
            outcome=Outcome.COULD_NOT_LOOK,
            observed="not attested",
            limit=wanted,
            reason=reason,
        )
    last = stated[-1]
    reason = f"{last.by} attested complaints: {last.value} at {_clock(last, plan)}. {last.reason}".strip()
    if last.value == "none" and last.plan_digest == plan.digest:
        return Check(name=name, outcome=Outcome.PASS, observed="none", limit=wanted, reason=reason)
    return Check(
        name=name,
        outcome=Outcome.FAIL,
        observed=last.value,
        limit=wanted,
        reason=reason,
        state=State.HOLD,
    )


def _enough(counts: Counts, standing: Standing, plan: Plan) -> Check:
    """At least half of the traffic that the plan expects: a phase that saw nearly nothing shows
    nothing.
    """
    hours = (
        plan.phases[standing.phase.index].hold.total_seconds() / 3600
        if standing.phase.index is not None
        else 0
    )
    expected = (
        float(standing.phase.percentage)
        / 100
        * sum(plan.expected_requests_per_hour.values())
        * hours
    )
    wanted, observed = f">= {expected / 2:,.0f} requests", f"{counts.total:,} requests"
    reason = (
        f"{observed} in the phase; the plan expects {expected:,.0f}, and half of them is the least"
    )
    if expected > 0 and counts.total >= expected / 2:
        return Check(
            name="enough traffic",
            outcome=Outcome.PASS,
            observed=observed,
            limit=wanted,
            reason=reason,
        )
    return Check(
        name="enough traffic",
        outcome=Outcome.FAIL,
        observed=observed,
        limit=wanted,
        reason=reason,
        state=State.INCONCLUSIVE,
    )


def _degradation(counts: Counts, standing: Standing) -> Check:
    """The attribution test with the previous phase in legacy's place; evidence of 20 fails."""
    before = standing.passed_traffic
    if (
        not before
        or standing.phase is None
        or float(before["percentage"]) >= float(standing.phase.percentage)
    ):
        reason = "There is no earlier passed phase to compare with."
        return Check(
            name="no degradation",
            outcome=Outcome.NOT_APPLICABLE,
            observed="first phase",
            limit="–",
            reason=reason,
        )
    versus = evidence.log_evidence_versus(
        [counts.bad], [before["bad"]], [counts.total], [before["total"]]
    )
    name = f"no degradation vs {float(before['percentage']):g} %"
    observed = f"{rate(counts.bad, counts.total)} against {rate(before['bad'], before['total'])}"
    reason = f"{observed}: {e_value(versus)} that this phase fails more often (20 fails)"
    if versus >= ACT_AT or math.isnan(versus):
        return Check(
            name=name,
            outcome=Outcome.FAIL,
            observed=observed,
            limit="e < 20",
            reason=reason,
            state=State.HOLD,
        )
    return Check(
        name=name,
        outcome=Outcome.PASS,
        observed="none seen",
        limit="e < 20",
        reason=f"No degradation seen: {reason}",
    )


def _hold(standing: Standing, plan: Plan, now: datetime) -> Check:
    until = held_until(plan, standing)
    name = "hold time served"
    if until is None:
        reason = "This percentage is off the plan: no hold of it ends."
        return Check(
            name=name,
            outcome=Outcome.FAIL,
            observed="off the plan",
            limit="a planned phase",
            reason=reason,
            state=State.HOLD,
        )
    local = until.astimezone(plan.zone)
    if now < until:
        reason = f"The hold ends at {local:%a %d %b %H:%M %Z}, in {until - now}."
        return Check(
            name=name,
            outcome=Outcome.FAIL,
            observed=f"{until - now} left",
            limit="0 left",
            reason=reason,
            state=State.HOLD,
        )
    return Check(
        name=name,
        outcome=Outcome.PASS,
        observed="served",
        limit="0 left",
        reason=f"The hold ended at {local:%a %d %b %H:%M %Z}.",
    )


def _slots(standing: Standing, plan: Plan, now: datetime) -> Check:
    expected = expected_slots(standing.phase.began_at, now, plan) if standing.phase else []
    missed = [slot for slot in expected if slot not in standing.slots_done and slot != expected[-1]]
    last_open = (
        bool(expected)
        and expected[-1] not in standing.slots_done
        and expected[-1] + _grace(plan) < now
    )
    missed += [expected[-1]] if last_open else []
    observed = f"{len(expected) - len(missed)} of {len(expected)}"
    if missed or not expected:
        when = ", ".join(f"{slot.astimezone(plan.zone):%H:%M}" for slot in missed[:8])
        reason = (
            f"{len(missed)} scheduled checks are missing ({when}); their rows joined the next look."
        )
        return Check(
            name="every slot checked",
            outcome=Outcome.FAIL,
            observed=observed,
            limit="all",
            reason=reason,
            state=State.INCONCLUSIVE,
        )
    return Check(
        name="every slot checked",
        outcome=Outcome.PASS,
        observed=observed,
        limit="all",
        reason=f"All {len(expected)} scheduled checks of the phase ran.",
    )


def _grace(plan: Plan):
    return plan.monitoring.interval


def _late(counts: Counts, measurement: Measurement, standing: Standing, plan: Plan) -> Check:
    """The phase measured as a whole, against the sum of its looks: rows that were logged late."""
    tail = look_from(measurement, None, False, plan).errors[TOTAL]
    bad = counts.bad - tail.bad - sum(look.errors[TOTAL].bad for look in standing.looks)
    total = counts.total - tail.total - sum(look.errors[TOTAL].total for look in standing.looks)
    observed = f"{total:+,} requests, {bad:+,} failing"
    reason = (
        f"The whole phase against the sum of its looks: {observed} were logged later than the lag."
    )
    outcome = Outcome.PASS if (bad, total) == (0, 0) else Outcome.WARN
    return Check(
        name="late rows",
        outcome=outcome,
        observed=observed,
        limit="+0",
        reason=reason,
        state=State.INCONCLUSIVE if bad else None,
    )


def _standing(slot: Verdict) -> Check:
    """No HOLD or act may stand, and the last look must have seen something."""
    name = "no hold or act stands"
    if is_at_least(slot.state, State.HOLD) or slot.state is State.QUIET:
        state = State.INCONCLUSIVE if slot.state is State.QUIET else slot.state
        return Check(
            name=name,
            outcome=Outcome.FAIL,
            observed=slot.state.value,
            limit="none",
            reason=slot.sentence,
            state=state,
        )
    return Check(
        name=name,
        outcome=Outcome.PASS,
        observed=slot.state.value,
        limit="none",
        reason=slot.sentence,
    )


def _binds(item: Attestation, standing: Standing) -> bool:
    return standing.phase is not None and item.phase_began == standing.phase.began_at


def _acknowledgement(standing: Standing, plan: Plan, counts: Counts) -> Attestation | None:
    """A named person's, of this phase and plan, given after the last evaluation said inconclusive.

    It is of what that evaluation had found: one more failing webhook since needs another.
    """
    if standing.evaluation is None or standing.evaluation[1] is not State.INCONCLUSIVE:
        return None
    if not standing.evaluated or counts.bad > standing.evaluated["bad"]:
        return None
    given = [
        item
        for item in standing.attestations
        if item.subject == "acknowledgement"
        and item.at >= standing.evaluation[0]
        and _binds(item, standing)
        and item.plan_digest == plan.digest
        and item.by.strip()
        and item.reason.strip()
    ]
    return given[-1] if given else None


def _clock(item: Attestation, plan: Plan) -> str:
    return f"{item.at.astimezone(plan.zone):%H:%M %Z}"


def _acknowledged(item: Attestation, plan: Plan) -> Check:
    reason = f"{item.by} acknowledged at {_clock(item, plan)}: {item.reason}"
    return Check(
        name="acknowledged",
        outcome=Outcome.WARN,
        observed=item.by,
        limit="a named person",
        reason=reason,
    )


def _two_sentences(item: Attestation, checks: list[Check], slot: Verdict, plan: Plan) -> str:
    """Why the rollout goes on all the same: what was not shown and how little speaks against it;
    who says so.
    """
    open_ones = [
        f"{check.name} ({check.reason.rstrip('.')})"
        for check in checks
        if check.state is State.INCONCLUSIVE
    ]
    total = next(stream for stream in slot.streams if stream.stream == f"errors:{TOTAL}")
    webhooks = (
        "1 distinct failing webhook"
        if total.bad == 1
        else f"{total.bad:,} distinct failing webhooks"
    )
    return (
        f"The phase passes although inconclusive on {', '.join(open_ones)}: the evidence against"
        f" the limit is {webhooks} of {total.total:,} requests, {e_value(total.e_now)}, highest"
        f" {e_value(total.e_peak)}, where 20 would act. {item.by} acknowledged it at"
        f" {_clock(item, plan)}: {item.reason.rstrip('.')}."
    )


def _sentence(state: State, checks: list[Check], counts: Counts) -> str:
    figures = f"Unified failed {rate(counts.bad, counts.total)} of the phase's requests."
    if state is State.PASS:
        high = percent(100 * evidence.rate_interval(counts.bad, counts.total)[1])
        return (
            f"The phase passes. {figures[:-1]}, compatible with any error rate up to {high} (95 %,"
            " at any look)."
        )
    why = [f"{check.name}: {check.reason}" for check in checks if check.state is state]
    return f"{figures} {why[0] if why else ''}".strip()
