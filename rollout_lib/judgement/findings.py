"""What an evaluation leaves undecided: each point by name, what would settle it, who covers it.
Pure.

A finding is worse than another of its kind and subject where any of its figures is more, or where
it names what the other does not; an acknowledgement covers what is not worse than what it was
shown. A check that is undecided and names no finding is covered by nobody."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from rollout_lib.judgement.figures import percentile, select, share
from rollout_lib.model import UNIFIED, Cell, Check, Finding, State, Traffic
from rollout_lib.plan.schema import Plan
from rollout_lib.text import hours


def findings_of(checks: Iterable[Check]) -> tuple[Finding, ...]:
    """Everything that is undecided and has a name, in the order of the checks."""
    return tuple(
        check.finding
        for check in checks
        if check.state is State.INCONCLUSIVE and check.finding is not None
    )


def uncovered(checks: Iterable[Check], shown: Sequence[Finding]) -> tuple[Check, ...]:
    """The undecided checks that the findings somebody was shown do not cover."""
    return tuple(
        check
        for check in checks
        if check.state is State.INCONCLUSIVE
        and not any(check.finding is not None and _covers(one, check.finding) for one in shown)
    )


def _covers(shown: Finding, found: Finding) -> bool:
    """Is what was found of the same kind and subject, and no worse than what was shown?"""
    return (
        (shown.kind, shown.subject) == (found.kind, found.subject)
        and set(found.members) <= set(shown.members)
        and set(found.figures) <= set(shown.figures)
        and all(value <= shown.figures[name] for name, value in found.figures.items())
    )


def words(findings: Iterable[Finding]) -> str:
    """`error rate of total (1 failing), slots (13:00)`: what a person puts a name to."""
    return "; ".join(
        f"{item.kind}, {item.subject}: "
        + (", ".join((*_figures(item), *item.members)) or "as it is")
        for item in findings
    )


def _figures(finding: Finding) -> Iterable[str]:
    return (f"{name.replace('_', ' ')} {value:.4g}" for name, value in finding.figures.items())


def written(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """As they stand in the JSON of a statement."""
    return [asdict(finding) for finding in findings]


def more_for_errors(bad: int, total: int, limit_pct: Decimal) -> int:
    """The requests without a failure after which bad is under the limit: 541 after 1 of 460; 0
    where none would do.
    """
    if limit_pct <= 0:
        return 0
    return max(math.floor(100 * bad / limit_pct) - total + 1, 0)


def more_for_latency(latencies: Mapping[int, int], limit_ms: int) -> int:
    """The requests under the limit after which the p95 is, if each is as slow as the slowest such.

    0 where no row was measured: nothing is known of it."""
    if percentile(latencies, 0.95) is None:
        return 0
    fast = max((ms for ms in latencies if ms < limit_ms), default=0)

    def under(more: int) -> bool:
        found = percentile({**latencies, fast: latencies.get(fast, 0) + more}, 0.95)
        return found is not None and found < limit_ms

    low, high = -1, 20 * sum(latencies.values())
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if under(middle) else (middle, high)
    return high


def more_for_split(unified: int, legacy: int, percentage: Decimal, points: Decimal) -> int:
    """The rows at the configured share after which the whole is within so many points of it."""
    if points <= 0:
        return 0
    total = unified + legacy
    off = abs(100 * unified - percentage * total)
    return max(math.ceil(off / points) - total, 0)


def per_hour(window: Traffic, plan: Plan, *, both: bool = False) -> float:
    """Requests an hour that unified (or both destinations together) gets at present; 0 for none."""
    span = (window.window.end - window.window.start).total_seconds()
    unified, legacy = share(window, plan.domains)
    return (unified + (legacy if both else 0)) * 3600 / span if span > 0 else 0.0


def waits(requests: int, an_hour: float) -> tuple[float | None, str]:
    """How long that many requests take, as seconds and as words; None without any traffic."""
    if an_hour <= 0:
        return None, f"{requests:,} more, and none comes at present"
    seconds = requests / an_hour * 3600
    return seconds, f"{requests:,} more, {hours(seconds / 3600)} at {an_hour:,.0f}/h"


def whole_cell(whole: Traffic, plan: Plan) -> Cell:
    """Unified over the plan's domains as the runbook counts it: rows."""
    return select(whole, UNIFIED, list(plan.domains))


def extension(
    findings: Sequence[Finding], evaluated_at: datetime, until: datetime, step: timedelta
) -> timedelta | None:
    """How much longer the hold (which ends at `until`) must be for all that waiting settles.

    In whole steps after the evaluation; None where no waiting settles any of them.
    """
    needed = [finding.seconds for finding in findings if finding.seconds is not None]
    if not needed:
        return None
    end = evaluated_at + math.ceil(max(needed) / step.total_seconds()) * step
    return max(end - until, step)
