"""The verdict of one check, in the order of docs/safety.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from rollout_lib.judgement import safety
from rollout_lib.judgement.counting import look_from
from rollout_lib.judgement.explain import (
    clean_sentence,
    differ_sentence,
    next_command,
    watch_sentence,
)
from rollout_lib.judgement.figures import select, share
from rollout_lib.judgement.literal import literal_checks
from rollout_lib.judgement.log import log_checks, off_check, off_checks
from rollout_lib.judgement.protected import protected_checks, rows_checks
from rollout_lib.judgement.streams import (
    SPLIT_AT,
    differences,
    judge_streams,
    shared_incident,
    split_alarm,
)
from rollout_lib.model import (
    LEGACY,
    TOTAL,
    Act,
    Check,
    CheckKind,
    Look,
    Measurement,
    Outcome,
    Probe,
    RoutingConfig,
    Standing,
    State,
    StreamEvidence,
    Verdict,
    worst,
)
from rollout_lib.plan.schema import Plan
from rollout_lib.text import evidence_value, percent, rate

SETTLING = timedelta(seconds=30)
# What is asked before any rate: where one of them decides, the sentence is its own.
_BEFORE_RATES = (
    CheckKind.LEAK,
    CheckKind.DRIFT,
    CheckKind.LEDGER,
    CheckKind.PLAN,
    CheckKind.SPLIT,
    CheckKind.DATA,
    CheckKind.OUTAGE,
    CheckKind.LATENCIES,
    CheckKind.IDS,
    CheckKind.WORDS,
)
_OFF_TOO = (
    CheckKind.DRIFT,
    CheckKind.LEDGER,
    CheckKind.HEAD,
    CheckKind.ROWS,
    CheckKind.WORDS,
    CheckKind.CLOCK,
)  # what is asked while routing is off, too
_ACTS = {State.ROLL_BACK: Act.ROLL_BACK, State.STEP_BACK: Act.STEP_BACK}


def judge_slot(
    *,
    plan: Plan,
    config: RoutingConfig | None,
    standing: Standing,
    measurement: Measurement,
    slot: datetime | None,
    now: datetime,
    probes: Sequence[Probe] = (),
) -> Verdict:
    """Facts and `now` in, a Verdict out. slot None is a partial look: it spends no stake and adds
    no look.
    """
    if config is None:
        check = _unreadable()
        return _verdict(
            plan, standing, [check], (), State.COULD_NOT_LOOK, State.COULD_NOT_LOOK, [check]
        )
    look = look_from(measurement, slot, slot is not None, plan)
    leak = safety.leak_check(config, measurement, plan)
    down = protected_checks(probes, plan, standing.protected)
    first = [leak, *down, *rows_checks(look.protected)]
    drift, ledger = safety.drift_check(config, standing, plan), safety.ledger_check(standing)
    head = safety.head_check(standing)
    if not config.enabled or config.percentage == 0:
        asked = [*first, drift, ledger, head, *off_checks(measurement, plan)]
        return _off(plan, config, standing, measurement, asked)
    looks = (*standing.looks, look)
    data = safety.data_check(config, measurement, standing, plan, looks)
    literal = literal_checks(measurement.window, plan)
    literal_states = {(check.kind, check.subject): _state(check) for check in literal}
    streams = judge_streams(looks, literal_states, plan)
    split = _split(measurement, looks, config, standing, plan)
    hour = literal_checks(measurement.hour, plan)
    health = safety.health_check(
        measurement.health,
        worst(
            [
                _state(c)
                for c in hour
                if c.kind in (CheckKind.ERRORS, CheckKind.LATENCY) and c.subject == TOTAL
            ]
        ),
    )
    checks = [
        *first,
        drift,
        ledger,
        head,
        safety.digest_check(standing, plan),
        data,
        *log_checks(measurement, look, plan),
        split,
        *literal,
        health,
    ]
    blind = data.state in (State.NO_DATA, State.COULD_NOT_LOOK, State.QUIET)
    # The split is literally one of the thresholds (it asks to look), and its alarm is evidence (it
    # holds).
    shares = [State.WATCH] if split.outcome in (Outcome.WARN, Outcome.FAIL) else []
    alarms = [State.HOLD] if split.state is State.HOLD else []
    literal_state = _column([*literal_states.values(), *shares], blind, data)
    evidence_state = _column([*(stream.evidence for stream in streams), *alarms], blind, data)
    others = [check for check in checks if check not in literal]
    verdict = _verdict(
        plan,
        standing,
        checks,
        streams,
        literal_state,
        evidence_state,
        others,
        leak=leak,
        down=down,
    )
    return _explained(verdict, plan, looks, measurement)


def _unreadable() -> Check:
    return Check(
        name="configuration",
        kind=CheckKind.CONFIGURATION,
        outcome=Outcome.COULD_NOT_LOOK,
        observed="no readable row",
        limit="one row with percentage and enabled",
        reason="The configuration has no readable row; the percentage is untouched.",
        state=State.COULD_NOT_LOOK,
    )


def _state(check: Check) -> State:
    if check.state is None:
        raise ValueError(f"the literal check {check.name} has no state")
    return check.state


def _column(states: Sequence[State], blind: bool, data: Check) -> State:
    """One column's state; streams without rows say nothing where others have some."""
    seen = [state for state in states if state is not State.QUIET]
    if len(seen) < len(states) and set(seen) == {State.CERTIFIED}:
        return State.CLEAN_UNPROVEN  # proven of every stream, or not proven
    acts = [state for state in seen if state in _ACTS or state is State.HOLD]
    if blind and not acts:
        return _state(data)
    return worst(seen) if seen else State.QUIET


def _off(
    plan: Plan,
    config: RoutingConfig,
    standing: Standing,
    measurement: Measurement,
    checks: Sequence[Check],
) -> Verdict:
    off = off_check(measurement, off_since(config, standing, measurement) + SETTLING, plan)
    # A leak of before the rollback has been acted on; what flows now is the question of `off`.
    checks = [off, *[check for check in checks if check.kind is not CheckKind.LEAK]]
    state = _state(off)
    found = [check for check in checks if check.kind in _OFF_TOO and check.state]
    state = worst([state, *(check.state for check in found if check.state)])
    why = next((check for check in (off, *found) if check.state is state), off)
    return Verdict(
        state=state,
        literal=state,
        evidence=state,
        mode=plan.mode,
        sentence=off.reason if why.kind is CheckKind.DRIFT else why.reason,
        differ=None,
        act=_ACTS.get(state, Act.NONE),
        acts_alone=plan.acts_alone.roll_back and state is State.ROLL_BACK,
        latched=standing.latched,
        checks=tuple(checks),
        next_step=why.mend or next_command(state, plan),
    )


def off_since(config: RoutingConfig, standing: Standing, measurement: Measurement) -> datetime:
    """When routing went off: by the ledger; else, found off just now, by the configuration or not
    before now.
    """
    if standing.off_at is not None:
        return standing.off_at
    if standing.last_change is None:
        return measurement.hour.window.start
    edited = config.updated_at
    return edited if edited is not None and edited > standing.last_change[0] else measurement.as_of


def split_check(
    measurement: Measurement, looks: Sequence[Look], percentage: Decimal, plan: Plan
) -> Check:
    """Unified's share against the configured one: literally within 2 points, and the alarm on
    evidence.
    """
    unified, legacy = share(measurement.window, plan.domains)
    wanted = f"{percentage:g} % ± {plan.thresholds.split_tolerance_points:g} points"
    if unified == 0:
        reason = "No unified request yet, so the share cannot be judged."
        return Check(
            name="split",
            kind=CheckKind.SPLIT,
            outcome=Outcome.COULD_NOT_LOOK,
            observed="0 unified",
            limit=wanted,
            reason=reason,
        )
    configured = float(percentage) / 100
    path = (
        split_alarm(looks, configured) if looks and 0 < configured < 1 else (0.0,)
    )  # no bet, no evidence
    hour_off = _off_by(unified, legacy, percentage, plan)
    phase_off = _off_by(
        sum(look.unified_settled for look in looks),
        sum(look.legacy_settled for look in looks),
        percentage,
        plan,
    )
    observed = f"{rate(unified, unified + legacy)}"
    total, allowed = unified + legacy, f"{plan.thresholds.split_tolerance_points:g} points allowed"
    got = f"Unified got {percent(100 * unified / total)} of requests ({unified:,} of {total:,});"
    got += f" {percentage:g} % is set."
    scale = f"(evidence {evidence_value(max(path))}, alarms at 100)"
    if max(path) >= SPLIT_AT and (hour_off or phase_off):
        reason = f"{got} The router does not route as configured {scale}."
        return Check(
            name="split",
            kind=CheckKind.SPLIT,
            outcome=Outcome.FAIL,
            observed=observed,
            limit=wanted,
            reason=reason,
            state=State.HOLD,
        )
    if hour_off:
        reason = f"{got} Over the {allowed}, and chance is enough to explain it {scale}."
        return Check(
            name="split",
            kind=CheckKind.SPLIT,
            outcome=Outcome.WARN,
            observed=observed,
            limit=wanted,
            reason=reason,
            state=State.WATCH,
        )
    return Check(
        name="split",
        kind=CheckKind.SPLIT,
        outcome=Outcome.PASS,
        observed=observed,
        limit=wanted,
        reason=f"{got} Within the {allowed} {scale}.",
    )


def _split(
    measurement: Measurement,
    looks: Sequence[Look],
    config: RoutingConfig,
    standing: Standing,
    plan: Plan,
) -> Check:
    """Not judged in the increment in which somebody edited the percentage: `drift` says that."""
    if standing.phase is None or standing.phase.percentage == config.percentage:
        return split_check(measurement, looks, config.percentage, plan)
    reason = (
        f"{standing.phase.percentage:g} % by the ledger, {config.percentage:g} % configured: mixed"
        " rows"
    )
    return Check(
        name="split",
        kind=CheckKind.SPLIT,
        outcome=Outcome.COULD_NOT_LOOK,
        observed="edited",
        limit="one percentage",
        reason=f"{reason} are not compared with either.",
    )


def _off_by(unified: int, legacy: int, percentage: Decimal, plan: Plan) -> bool:
    total = unified + legacy
    return (
        total > 0
        and abs(Decimal(100 * unified) / total - percentage)
        > plan.thresholds.split_tolerance_points
    )


def _verdict(
    plan: Plan,
    standing: Standing,
    checks: Sequence[Check],
    streams: tuple[StreamEvidence, ...],
    literal: State,
    by_evidence: State,
    others: Sequence[Check],
    *,
    leak: Check | None = None,
    down: Sequence[Check] = (),
) -> Verdict:
    """Overall: the mode's column, or worse where another check says so; latches
    last for the phase.
    """
    column = literal if plan.mode == "strict" else by_evidence
    contributed = [check.state for check in others if check.state is not None]
    acts = [state for state in (column, *contributed) if state in _ACTS]
    # "Could not look" and missing data are another thing again, and never outrank an act.
    state = worst(acts) if acts else worst([column, *contributed])
    latched = standing.latched if standing.latched in _ACTS else None
    if latched is not None:
        state = worst([state, latched])
    why = [check for check in others if check.state is state] or [
        check for check in checks if check.state is state
    ]
    sentence = why[0].reason if why else ""
    if latched is state and not why:
        sentence = f"Latched since an earlier check of this phase: {standing.latched_reason}"
    act = _ACTS.get(state, Act.NONE)
    alone = {
        Act.NONE: False,
        Act.STEP_BACK: plan.acts_alone.step_back,
        Act.ROLL_BACK: _off_alone(plan, column, leak, down),
    }[act]
    return Verdict(
        state=state,
        literal=literal,
        evidence=by_evidence,
        mode=plan.mode,
        sentence=sentence,
        differ=None,
        act=act,
        acts_alone=alone,
        latched=latched,
        checks=tuple(checks),
        streams=streams,
        next_step=(why and why[0].mend) or next_command(state, plan, why[0].kind if why else None),
    )


def _off_alone(plan: Plan, column: State, leak: Check | None, down: Sequence[Check]) -> bool:
    """May routing go off without asking? One cause that the plan lets act alone is enough."""
    acts = plan.acts_alone
    causes = []
    if leak is not None and leak.state is State.ROLL_BACK:
        causes.append(acts.protected_leak)
    if any(check.state is State.ROLL_BACK for check in down):
        causes.append(acts.endpoint_down)
    if column is State.ROLL_BACK or not causes:
        causes.append(acts.roll_back)
    return any(causes)


def _explained(
    verdict: Verdict, plan: Plan, looks: Sequence[Look], measurement: Measurement
) -> Verdict:
    """The one sentence with its arithmetic, and why the columns differ."""

    total = next(
        stream
        for stream in verdict.streams
        if (stream.measure, stream.domain) == (CheckKind.ERRORS, TOTAL)
    )
    sentence, next_step = verdict.sentence, verdict.next_step
    state = verdict.state
    column = [
        s for s in verdict.streams if (s.literal if plan.mode == "strict" else s.evidence) is state
    ]
    decided = column and not any(
        check.state is state and check.kind in _BEFORE_RATES for check in verdict.checks
    )
    if state in (State.CLEAN, State.CLEAN_UNPROVEN, State.CERTIFIED):
        sentence = clean_sentence(total, plan, looks)
    elif decided or (state is State.WATCH and column):
        loudest = max(column, key=lambda stream: (stream.e_peak, stream.bad))
        sentence = watch_sentence(loudest, verdict, measurement.window, plan)
        next_step = next_command(state, plan, loudest.measure)
    # Attribution never blocks an act, and says nothing of acts that no error of unified called for
    # (a leak).
    by_errors = verdict.act is not Act.NONE and any(
        stream.measure is CheckKind.ERRORS for stream in column
    )
    if by_errors and shared_incident(
        looks, select(measurement.window, LEGACY, list(plan.domains)), plan
    ):
        sentence += (
            " Shared incident: legacy is over its line too, and nothing shows that unified is worse;"
            " rolling back may not help."
        )
    return replace(
        verdict,
        sentence=sentence,
        next_step=next_step,
        differ=differ_sentence(verdict, plan),
        differences=differences(looks),
    )
