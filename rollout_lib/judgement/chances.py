"""How often a healthy service is acted on all the same: in one phase, in the whole rollout. Pure.

Half of it is the plan's own (simulated through the same engine, on the errors of all streams at
their checks); what only requests one by one can show is the design's, and is said to be."""

from __future__ import annotations

import math
from decimal import Decimal
from functools import cache

import numpy as np

from rollout_lib import evidence
from rollout_lib.judgement.counting import error_limit
from rollout_lib.judgement.streams import ACT_AT, AT_LEAST, HOLD_AT, error_bets
from rollout_lib.plan.schema import Phase, Plan

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
    checks = min(_checks(plan, phase), _LONGEST)
    even = [float(plan.expected_requests_per_hour.get(name, 0)) for name in plan.domains]
    expected = tuple((per_check(plan, phase.percentage, one),) * checks for one in even)
    return float(np.mean(first_act(expected, error_limit(plan), true_rate) < checks))


def per_check(plan: Plan, percentage: Decimal, per_hour: float) -> float:
    """How many requests one check expects on unified, of so many an hour."""
    hours = plan.monitoring.interval.total_seconds() / 3600
    return float(percentage) / 100 * hours * per_hour


def first_act(
    expected: tuple[tuple[float, ...], ...], limit_rate: float, true_rate: float
) -> np.ndarray:
    """The check (from 0) at which each simulated phase acts; the number of checks where it never
    does. expected: requests of each check, a row a domain.
    """
    return _firsts(expected, limit_rate, true_rate)[0]


def first_hold(
    expected: tuple[tuple[float, ...], ...], limit_rate: float, true_rate: float
) -> np.ndarray:
    """As first_act, of the first HOLD or more: somebody is asked to look."""
    return _firsts(expected, limit_rate, true_rate)[1]


@cache
def _firsts(
    expected: tuple[tuple[float, ...], ...], limit_rate: float, true_rate: float
) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(20251203)
    bets = error_bets(limit_rate)
    means = np.array(expected)[:, None, :]
    totals = draw.poisson(means, size=(len(expected), _PHASES, means.shape[-1]))
    bads = draw.binomial(totals, true_rate)
    per_domain = ACT_AT + math.log(len(expected))
    streams = [(bads.sum(axis=0), totals.sum(axis=0), ACT_AT)]
    streams += [(bad, total, per_domain) for bad, total in zip(bads, totals, strict=True)]
    acts, holds = zip(*(_reached(*stream, bets) for stream in streams), strict=True)
    return np.min(acts, axis=0), np.min([*acts, *holds], axis=0)


def _reached(
    bads: np.ndarray,
    totals: np.ndarray,
    act_at: float,
    bets: tuple[float, tuple[float, ...], tuple[float, ...]],
) -> tuple[np.ndarray, np.ndarray]:
    """Where each phase (rows of bads and totals a check) reaches its two lines with enough failing
    webhooks; the number of checks where never.
    """
    path = evidence.restart_paths(bads, totals, *bets)
    enough = np.cumsum(bads, axis=-1) >= AT_LEAST
    return _first((path >= act_at) & enough), _first((path >= HOLD_AT) & enough)


def _first(hits: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.where(hits.any(axis=-1), hits.argmax(axis=-1), hits.shape[-1])
    return found
