"""How often a healthy service is acted on all the same: in one phase, in the whole rollout. Pure.

Half of it is the plan's own (simulated through the same engine, on the errors of all streams at
their checks); what only requests one by one can show is the design's, and is said to be."""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from rollout_lib import evidence
from rollout_lib.judgement.counting import error_limit
from rollout_lib.judgement.streams import ACT_AT, AT_LEAST, error_bets
from rollout_lib.plan import Phase, Plan

_PHASES = 1000  # simulated for each figure: ± 0.3 points at 1 %
_LONGEST = 96  # checks that are simulated
_SURE = 16  # checks over which one bet stakes at most its whole stake
# The runbook's traffic; benchmarks/as_shipped.py simulates the same and agrees within its few runs
DESIGN = (
    "As shipped, with tripwire, latency and router, the design's simulation acts in at most 2.4 % of"
    " healthy rollouts (0.05 %), in about 16 % at exactly 0.1 %. Source: docs/judgement.md, with the"
    " runbook's traffic."
)


def chance_lines(plan: Plan) -> tuple[str, ...]:
    """The sentences that pre-flight and report print: the plan's figures, the design's, the bound."""
    return (_own_line(plan), DESIGN, _bound_line(plan))


def _own_line(plan: Plan) -> str:
    rate = error_limit(plan) / 2
    shares = [acted_on(plan, phase, rate) for phase in plan.phases]
    each = ", ".join(
        f"{100 * share:.1f} % at {phase.percentage:g} %"
        for phase, share in zip(plan.phases, shares, strict=True)
    )
    some = 1 - math.prod(1 - share for share in shares)
    return (
        f"A healthy service ({100 * rate:g} % errors) is acted on in {each}; in {100 * some:.1f} %"
        " of whole rollouts. Simulated with this plan: errors, at the checks alone."
    )


def _bound_line(plan: Plan) -> str:
    """Of what "1 in 20" is true, and what the bound is in the longest phase."""
    phase = max(plan.phases, key=lambda one: one.hold)
    checks = _checks(plan, phase)
    return (
        f"1 in 20 is the bound of one bet over its first {_SURE} checks; over the {checks} checks of"
        f" {phase.percentage:g} % it is {100 * bound(checks):.0f} %."
    )


def bound(checks: int) -> float:
    """At most how probable it is that one bet acts falsely by this check (Ville's inequality)."""
    return min((1 / 2 + (max(checks, _SURE) - 1) / 30) * math.exp(-ACT_AT), 1.0)


def _checks(plan: Plan, phase: Phase) -> int:
    return round(phase.hold / plan.monitoring.interval)


def acted_on(plan: Plan, phase: Phase, true_rate: float) -> float:
    """The share of simulated phases in which the errors of the total or of a domain act."""
    hours = plan.monitoring.interval.total_seconds() / 3600
    share = float(phase.percentage) / 100 * hours
    expected = tuple(share * plan.expected_requests_per_hour.get(name, 0) for name in plan.domains)
    return _acted_on(expected, min(_checks(plan, phase), _LONGEST), error_limit(plan), true_rate)


@cache
def _acted_on(
    per_check: tuple[float, ...], checks: int, limit_rate: float, true_rate: float
) -> float:
    draw = np.random.default_rng(20251203)
    bets = error_bets(limit_rate)
    means = np.array(per_check)[:, None, None]
    totals = draw.poisson(means, size=(len(per_check), _PHASES, checks))
    bads = draw.binomial(totals, true_rate)
    per_domain = ACT_AT + math.log(len(per_check))
    acted = _acts(bads.sum(axis=0), totals.sum(axis=0), bets, ACT_AT)
    for bad, total in zip(bads, totals, strict=True):
        acted |= _acts(bad, total, bets, per_domain)
    return float(np.mean(acted))


def _acts(
    bads: np.ndarray,
    totals: np.ndarray,
    bets: tuple[float, tuple[float, ...], tuple[float, ...]],
    act_at: float,
) -> np.ndarray:
    """Which phases (rows of bads and totals a check) reach the line with enough failing webhooks."""
    path = np.maximum.accumulate(evidence.restart_paths(bads, totals, *bets), axis=-1)
    enough = np.cumsum(bads, axis=-1) >= AT_LEAST
    return np.asarray(((path >= act_at) & enough).any(axis=-1))
