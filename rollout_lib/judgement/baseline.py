"""Before the first raise: legacy's last 24 hours through the same engine, and what a phase can see.
Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache

import numpy as np

from rollout_lib import evidence
from rollout_lib.judgement.counting import error_limit
from rollout_lib.judgement.figures import percentile, select
from rollout_lib.judgement.literal import error_state, latency_state
from rollout_lib.judgement.streams import ACT_AT, AT_LEAST, error_bets
from rollout_lib.model import LEGACY, Check, CheckKind, Counts, Outcome, State, Traffic
from rollout_lib.plan.schema import Phase, Plan
from rollout_lib.text import e_value, limit, milliseconds, rate

_PHASES = 1000  # simulated for the power line: ± 1.3 points at 80 %
_SEEN, _BLIND = (
    0.80,
    0.15,
)  # a rate is seen where so many phases act, and not told apart where so few do


def judge_baseline(*, plan: Plan, legacy: Traffic, router: Counts) -> tuple[Check, ...]:
    """Can legacy itself meet the thresholds? If not, no verdict on unified would mean anything."""
    cell = select(legacy, LEGACY, list(plan.domains))
    wanted = f"< {limit(plan.thresholds.error_rate_investigate_pct)}"
    if cell.requests == 0:
        reason = "Legacy has no row in the last 24 hours: there is nothing to compare with."
        return (
            Check(
                name="legacy error rate",
                kind=CheckKind.LEGACY_ERRORS,
                outcome=Outcome.COULD_NOT_LOOK,
                observed="no rows",
                limit=wanted,
                reason=reason,
                state=State.COULD_NOT_LOOK,
            ),
        )
    return (
        _errors(
            cell.failing or 0, cell.requests - (cell.errors - (cell.failing or 0)), plan, wanted
        ),
        _latency(cell.latencies, cell.slow, plan),
        _router(router, plan, wanted),
        *_silent_domains(legacy, plan),
    )


def _errors(bad: int, total: int, plan: Plan, wanted: str) -> Check:
    found = evidence.log_evidence(bad, total, *error_bets(error_limit(plan)))
    observed = rate(bad, total)
    reason = (
        f"{observed} in 24 h, limit {wanted}: {e_value(found)} that legacy is over it (20 fails)"
    )
    outcome, state = Outcome.PASS, None
    if error_state(bad, total, plan.thresholds) is not State.CLEAN:
        outcome = Outcome.WARN
    if found >= ACT_AT:
        outcome, state = Outcome.FAIL, State.HOLD
    return Check(
        name="legacy error rate",
        kind=CheckKind.LEGACY_ERRORS,
        outcome=outcome,
        observed=observed,
        limit=wanted,
        reason=reason,
        state=state,
    )


def _latency(latencies: Mapping[int, int], slow: int, plan: Plan) -> Check:
    p95, limit_ms = percentile(latencies, 0.95), plan.thresholds.p95_investigate_ms
    total = sum(latencies.values())
    lowest, _ = evidence.quantile_ranks(total)
    bound = None if lowest is None else _ranked(latencies, lowest)
    observed, wanted = f"p95 {milliseconds(p95)} of {total:,}", f"< {limit_ms:,} ms"
    at_least = "no bound" if bound is None else f"at least {bound:,} ms"
    reason = (
        f"{observed} in 24 h, limit {wanted}; at 95 %, at any look: {at_least}; {slow:,} were"
        " slower"
    )
    outcome, state = Outcome.PASS, None
    if latency_state(p95, plan.thresholds) is not State.CLEAN:
        outcome = Outcome.WARN
    if bound is not None and bound > limit_ms:
        outcome, state = Outcome.FAIL, State.HOLD
    return Check(
        name="legacy p95",
        kind=CheckKind.LEGACY_LATENCY,
        outcome=outcome,
        observed=observed,
        limit=wanted,
        reason=reason,
        state=state,
    )


def _ranked(latencies: Mapping[int, int], rank: int) -> int:
    seen = 0
    for value in sorted(latencies):
        seen += latencies[value]
        if seen >= rank:
            return value
    raise ValueError(f"rank {rank} of {seen} latencies")


def _router(router: Counts, plan: Plan, wanted: str) -> Check:
    observed = rate(router.bad, router.total)
    within = (
        0 <= 100 * router.bad <= plan.thresholds.error_rate_investigate_pct * router.total
        and router.total > 0
    )
    reason = (
        f"{observed} of all rows reached no destination in 24 h, at 0 %; more than {wanted[2:]}"
        " fails"
    )
    return Check(
        name="router errors at 0 %",
        kind=CheckKind.ROUTER_BEFORE,
        outcome=Outcome.PASS if within else Outcome.FAIL,
        observed=observed,
        limit=wanted,
        reason=reason,
        state=None if within else State.HOLD,
    )


def _silent_domains(legacy: Traffic, plan: Plan) -> tuple[Check, ...]:
    """A router that renamed a domain leaves the plan's without a row."""
    silent = [domain for domain in plan.domains if select(legacy, LEGACY, [domain]).requests == 0]
    if not silent:
        return ()
    seen = ", ".join(sorted({cell.domain for cell in legacy.cells})) or "none"
    reason = (
        f"No row of {', '.join(silent)} in 24 h; the log has {seen}. Did the router rename a"
        " domain?"
    )
    return (
        Check(
            name="every domain receives traffic",
            kind=CheckKind.DOMAINS,
            outcome=Outcome.FAIL,
            observed="silent",
            limit="rows",
            reason=reason,
            state=State.HOLD,
        ),
    )


def power_line(plan: Plan, phase: Phase) -> str:
    """What this phase can and cannot see, from its expected traffic, through the same engine."""
    per_hour = float(phase.percentage) / 100 * sum(plan.expected_requests_per_hour.values())
    slots = round(phase.hold / plan.monitoring.interval)
    per_slot = per_hour * plan.monitoring.interval.total_seconds() / 3600
    powers = _powers(per_slot, min(slots, 96), error_limit(plan))
    seen = [rate for rate, power in powers.items() if power >= _SEEN]
    blind = [rate for rate, power in powers.items() if power <= _BLIND]
    sees = (
        f"sees error rates of {100 * min(seen):.2g} % and more"
        if seen
        else "sees no error rate up to 50 %"
    )
    words = (
        f"{phase.percentage:g} % for {phase.hold.total_seconds() / 3600:g} h: about {per_hour:,.0f}"
        " requests/h. "
    )
    words += f"It {sees} with {100 * _SEEN:.0f} % probability"
    if blind:
        words += f"; it cannot tell {100 * max(blind):.1g} % from {100 * error_limit(plan):g} %"
    return words + "."


def undecided_line(plan: Plan) -> str:
    """How many healthy phases (failing at half of the limit) end undecided on the error rate alone,
    and how many healthy rollouts have at least one: with the plan's own figures.
    """
    shares = [undecided(plan, phase) for phase in plan.phases]
    each = ", ".join(
        f"{100 * share:.0f} % at {phase.percentage:g} %"
        for phase, share in zip(plan.phases, shares, strict=True)
    )
    some = 1 - math.prod(1 - share for share in shares)
    half = 50 * error_limit(plan)
    return (
        f"A healthy service ({half:g} % errors) ends a phase undecided, on an error or two, in"
        f" {each}. In {100 * some:.0f} % of healthy rollouts somebody is asked at least once."
    )


def undecided(plan: Plan, phase: Phase) -> float:
    """The chance that a healthy phase has as many failures as its literal test allows none of.

    Failures are Poisson around half of the limit, requests as many as the plan expects."""
    hours = phase.hold.total_seconds() / 3600
    total = float(phase.percentage) / 100 * sum(plan.expected_requests_per_hour.values()) * hours
    allowed = error_limit(plan)
    enough = math.ceil(round(allowed * total, 9))
    mean = allowed / 2 * total
    fewer = math.fsum(
        math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(enough)
    )
    return 1 - fewer if mean > 0 else 0.0


@cache
def _powers(per_slot: float, slots: int, limit_rate: float) -> dict[float, float]:
    """The share of simulated phases that act, for rising error rates up to the
    first that is seen.
    """
    powers: dict[float, float] = {}
    for times in (1.5, 2, 3, 4, 5, 7, 9, 11, 14, 18, 25, 35, 50, 70, 100, 150, 200, 300, 500):
        rate = times * limit_rate
        if rate > 0.5 or max(powers.values(), default=0) >= _SEEN:
            break
        powers[rate] = _power(per_slot, slots, limit_rate, rate)
    return powers


def _power(per_slot: float, slots: int, limit_rate: float, true_rate: float) -> float:
    draw = np.random.default_rng(20251203)
    totals = draw.poisson(per_slot, size=(_PHASES, slots))
    bads = draw.binomial(totals, true_rate)
    path = evidence.restart_paths(bads, totals, *error_bets(limit_rate))
    return float(np.mean(((path >= ACT_AT) & (np.cumsum(bads, axis=-1) >= AT_LEAST)).any(axis=-1)))
