"""What the phases of a plan will be able to see, before the day. Pure; simulated by the same engine.

Only the errors of the total and of the domains at the checks are simulated, with failures that are
independent. Tripwire, latency and the router see more, so the day itself sees at least this."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np

from rollout_lib import evidence
from rollout_lib.judgement.chances import first_act, first_hold, per_check
from rollout_lib.judgement.counting import error_limit
from rollout_lib.plan.schema import Phase, Plan

RATES = (0.005, 0.01, 0.02, 0.05)  # true error rates that an outlook is made for
SURE = 0.9  # a rate is found where so many phases act
CANDIDATES = (1, 2, 5, 10, 15, 20, 25, 35, 50, 75, 100)  # percent, of a suggestion
_LONGEST = 672  # checks that are simulated: a week of quarters of an hour
Hours = Mapping[str, tuple[float, ...]]  # domain -> requests of each hour of the day, local


@dataclass(frozen=True, kw_only=True)
class Sight:
    """One true error rate in one phase: how often it acts, and after how long half of all phases
    have acted (None: fewer than half do).
    """

    rate: float
    acts: float
    half_by: timedelta | None


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """One phase. requests: expected on unified. shows: the error rate that the phase can exclude
    (95 %) without a single failure, None without requests; certifies: at any moment of it, as a
    check does. false_act and wakes: how often a healthy service (half the limit) is acted on, or
    held so that somebody looks."""

    percentage: Decimal
    hold: timedelta
    begins: datetime
    checks: int
    requests: float
    shows: float | None
    certifies: float | None
    false_act: float
    wakes: float
    sights: tuple[Sight, ...]


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """A percentage, the shortest hold that finds the rate at it, and how often it does."""

    percentage: Decimal
    hold: timedelta
    requests: float
    acts: float
    planned: timedelta | None  # the plan's own hold at this percentage


def even_hours(plan: Plan) -> Hours:
    """The plan's own traffic, the same at every hour."""
    expected = plan.expected_requests_per_hour
    return {name: (float(expected.get(name, 0)),) * 24 for name in plan.domains}


def outlooks(plan: Plan, hours: Hours) -> tuple[Outlook, ...]:
    """Every phase of the plan, at the traffic of its hours."""
    return tuple(
        _outlook(plan, phase, plan.begins(i), hours) for i, phase in enumerate(plan.phases)
    )


def _outlook(plan: Plan, phase: Phase, begins: datetime, hours: Hours) -> Outlook:
    checks = round(phase.hold / plan.monitoring.interval)
    expected = _expected(plan, phase.percentage, begins, checks, hours)
    limit, simulated = error_limit(plan), len(expected[0])
    requests = float(np.sum(expected)) / simulated * checks
    whole = round(requests)
    return Outlook(
        percentage=phase.percentage,
        hold=phase.hold,
        begins=begins,
        checks=checks,
        requests=requests,
        shows=evidence.upper_bound(0, whole) if whole else None,
        certifies=evidence.certified_bound(0, whole) if whole else None,
        false_act=float(np.mean(first_act(expected, limit, limit / 2) < simulated)),
        wakes=float(np.mean(first_hold(expected, limit, limit / 2) < simulated)),
        sights=tuple(_sights(expected, limit, plan.monitoring.interval)),
    )


def _sights(
    expected: tuple[tuple[float, ...], ...], limit: float, interval: timedelta
) -> Iterator[Sight]:
    checks = len(expected[0])
    for rate in RATES:
        if rate <= limit:
            continue
        first = first_act(expected, limit, rate)
        half = int(np.sort(first)[len(first) // 2])
        by = (half + 1) * interval if half < checks else None
        yield Sight(rate=rate, acts=float(np.mean(first < checks)), half_by=by)


def suggestions(plan: Plan, hours: Hours, rate: float, within: timedelta) -> list[Suggestion]:
    """Percentages and the shortest holds that find a true error rate with SURE probability, the
    fewest hours first; [] where none does within that time.

    They begin when the plan's first phase does. rate: a share of requests, over the plan's limit."""
    interval, begins = plan.monitoring.interval, plan.begins(0)
    checks = min(int(within / interval), _LONGEST)
    planned = {phase.percentage: phase.hold for phase in plan.phases}
    found = []
    for percentage in sorted({*planned, *map(Decimal, CANDIDATES)}):
        if checks < 1:
            break
        expected = _expected(plan, percentage, begins, checks, hours)
        first = np.sort(first_act(expected, error_limit(plan), rate))
        needed = int(first[int(np.ceil(SURE * len(first))) - 1])
        if needed >= checks:
            continue
        found.append(
            Suggestion(
                percentage=percentage,
                hold=(needed + 1) * interval,
                requests=float(np.sum([one[: needed + 1] for one in expected])),
                acts=float(np.mean(first <= needed)),
                planned=planned.get(percentage),
            )
        )
    return sorted(found, key=lambda one: (one.hold, one.percentage))


def _expected(
    plan: Plan, percentage: Decimal, begins: datetime, checks: int, hours: Hours
) -> tuple[tuple[float, ...], ...]:
    """Requests that each check expects on unified, a row a domain of the plan; of the first _LONGEST
    checks.
    """
    interval, zone = plan.monitoring.interval, plan.zone
    simulated = min(checks, _LONGEST)
    local = [
        (begins.astimezone(UTC) + n * interval).astimezone(zone).hour for n in range(simulated)
    ]
    return tuple(
        tuple(per_check(plan, percentage, hours[name][hour]) for hour in local)
        for name in plan.domains
    )
