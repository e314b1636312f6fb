"""Before the first raise: legacy's last 24 hours through the same engine, and what a phase can see. Pure."""

from __future__ import annotations

from functools import cache

import numpy as np

from rollout_lib import evidence
from rollout_lib.figures import percentile, select
from rollout_lib.judgement.literal import error_state, latency_state
from rollout_lib.judgement.streams import ACT_AT, AT_LEAST, error_limit
from rollout_lib.judgement.words import e_value, limit, milliseconds, rate
from rollout_lib.model import LEGACY, Check, Counts, Outcome, State, Traffic
from rollout_lib.plan import Phase, Plan

_PHASES = 400  # simulated for the power line: ± 2 points at 80 %


def judge_baseline(*, plan: Plan, legacy: Traffic, router: Counts) -> tuple[Check, ...]:
    """Can legacy itself meet the thresholds? If not, no verdict on unified would mean anything."""
    cell = select(legacy, LEGACY, list(plan.domains))
    wanted = f"< {limit(plan.thresholds.error_rate_investigate_pct)}"
    if cell.requests == 0:
        reason = "Legacy has no row in the last 24 hours: there is nothing to compare with."
        return (
            Check(name="legacy error rate", outcome=Outcome.COULD_NOT_LOOK, observed="no rows", limit=wanted,
                  reason=reason, state=State.COULD_NOT_LOOK),
        )  # fmt: skip
    return (
        _errors(cell.failing or 0, cell.requests - (cell.errors - (cell.failing or 0)), plan, wanted),
        _latency(cell.latencies, cell.slow, plan),
        _router(router, plan, wanted),
        *_silent_domains(legacy, plan),
    )


def _errors(bad: int, total: int, plan: Plan, wanted: str) -> Check:
    found = evidence.log_evidence(bad, total, error_limit(plan), evidence.ERROR_ALTERNATIVES, evidence.ERROR_WEIGHTS)
    observed = rate(bad, total)
    reason = f"{observed} in 24 h, limit {wanted}: {e_value(found)} that legacy is over it (20 fails)"
    outcome, state = Outcome.PASS, None
    if error_state(bad, total, plan.thresholds) is not State.CLEAN:
        outcome = Outcome.WARN
    if found >= ACT_AT:
        outcome, state = Outcome.FAIL, State.HOLD
    return Check(name="legacy error rate", outcome=outcome, observed=observed, limit=wanted, reason=reason,
                 state=state)  # fmt: skip


def _latency(latencies, slow: int, plan: Plan) -> Check:
    p95, limit_ms = percentile(latencies, 0.95), plan.thresholds.p95_investigate_ms
    total = sum(latencies.values())
    lowest, _ = evidence.quantile_ranks(total)
    bound = None if lowest is None else _ranked(latencies, lowest)
    observed, wanted = f"p95 {milliseconds(p95)} of {total:,}", f"< {limit_ms:,} ms"
    at_least = "no bound" if bound is None else f"at least {bound:,} ms"
    reason = f"{observed} in 24 h, limit {wanted}; at 95 %, at any look: {at_least}; {slow:,} were slower"
    outcome, state = Outcome.PASS, None
    if latency_state(p95, plan.thresholds) is not State.CLEAN:
        outcome = Outcome.WARN
    if bound is not None and bound > limit_ms:
        outcome, state = Outcome.FAIL, State.HOLD
    return Check(name="legacy p95", outcome=outcome, observed=observed, limit=wanted, reason=reason, state=state)


def _ranked(latencies, rank: int) -> int:
    seen = 0
    for value in sorted(latencies):
        seen += latencies[value]
        if seen >= rank:
            return value
    raise ValueError(f"rank {rank} of {seen} latencies")


def _router(router: Counts, plan: Plan, wanted: str) -> Check:
    observed = rate(router.bad, router.total)
    over = router.bad * 100 > float(plan.thresholds.error_rate_investigate_pct) * router.total
    reason = f"{observed} of all rows reached no destination in 24 h, at 0 %; more than {wanted[2:]} fails"
    return Check(name="router errors at 0 %", outcome=Outcome.FAIL if over else Outcome.PASS, observed=observed,
                 limit=wanted, reason=reason, state=State.HOLD if over else None)  # fmt: skip


def _silent_domains(legacy: Traffic, plan: Plan) -> tuple[Check, ...]:
    """A router that renamed a domain leaves the plan's without a row."""
    silent = [domain for domain in plan.domains if select(legacy, LEGACY, [domain]).requests == 0]
    if not silent:
        return ()
    seen = ", ".join(sorted({cell.domain for cell in legacy.cells})) or "none"
    reason = f"No row of {', '.join(silent)} in 24 h; the log has {seen}. Did the router rename a domain?"
    return (
        Check(name="every domain receives traffic", outcome=Outcome.FAIL, observed="silent", limit="rows",
              reason=reason, state=State.HOLD),
    )  # fmt: skip


def power_line(plan: Plan, phase: Phase) -> str:
    """What this phase can and cannot see, from its expected traffic, through the same engine."""
    per_hour = float(phase.percentage) / 100 * sum(plan.expected_requests_per_hour.values())
    slots = round(phase.hold / plan.monitoring.interval)
    per_slot = per_hour * plan.monitoring.interval.total_seconds() / 3600
    seen = _detectable(per_slot, min(slots, 96), error_limit(plan))
    words = f"{phase.percentage:g} % for {phase.hold.total_seconds() / 3600:g} h: about {per_hour:,.0f} requests/h. "
    if seen is None:
        return words + "It sees no error rate up to 50 % with 80 % probability."
    limit_pct = 100 * error_limit(plan)
    blind = 100 * seen / 3
    return words + (
        f"It sees error rates of {100 * seen:.2g} % and more with 80 % probability; "
        f"it cannot tell {max(blind, 2 * limit_pct):.1g} % from {limit_pct:g} %."
    )


@cache
def _detectable(per_slot: float, slots: int, limit_rate: float) -> float | None:
    """The smallest of a ladder of error rates on which 80 % of simulated phases act."""
    for percent in (0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9, 1.1, 1.4, 1.8, 2.5, 3.5, 5, 7, 10, 15, 20, 30, 50):
        if percent / 100 > limit_rate and _power(per_slot, slots, limit_rate, percent / 100) >= 0.8:
            return percent / 100
    return None


def _power(per_slot: float, slots: int, limit_rate: float, true_rate: float) -> float:
    draw = np.random.default_rng(20251203)
    totals = draw.poisson(per_slot, size=(_PHASES, slots))
    bads = draw.binomial(totals, true_rate)
    acted = 0
    for bad, total in zip(bads, totals, strict=True):
        path = evidence.log_evidence_restart(
            bad, total, limit_rate, evidence.ERROR_ALTERNATIVES, evidence.ERROR_WEIGHTS
        )
        acted += any(value >= ACT_AT and sum(bad[: index + 1]) >= AT_LEAST for index, value in enumerate(path))
    return acted / _PHASES
