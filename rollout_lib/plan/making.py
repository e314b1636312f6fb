"""A new plan as a commented file: phases laid out over days, what is not known marked to be filled
in. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from rollout_lib.plan.foreign import Taken

_TEMPLATE = Path(__file__).with_name("plan.yaml.j2")
_HOLD = timedelta(hours=4)  # where nobody says how long
_LATEST = time(17, 0)  # a phase that would begin later begins the next morning
_PAUSE = timedelta(minutes=30)
_THRESHOLDS = {
    "error_rate_investigate_pct": Decimal("0.1"),
    "error_rate_rollback_pct": Decimal("0.5"),
    "p95_investigate_ms": Decimal(2000),
    "p95_rollback_ms": Decimal(3000),
    "split_tolerance_points": Decimal(2),
}
_UNKNOWN = 100  # requests an hour of a domain, where nobody says


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a new plan is to hold. expected: requests an hour by domain, {} where nobody knows."""

    rollout: str
    environment: str
    time_zone: str
    variable: str
    database: str
    domains: tuple[str, ...]
    protected: tuple[str, ...]
    day: date
    start: time
    taken: Taken
    expected: Mapping[str, int]
    foreign: bool


def plan_text(wanted: Wanted) -> str:
    """The file's text; load_plan has the last word on it."""
    holds = [hold or _HOLD for _, hold in wanted.taken.phases]
    thresholds = _thresholds(wanted.taken.thresholds)
    begins = _days(holds, wanted.day, wanted.start)
    phases = [
        {
            "percentage": f"{percentage:f}",
            "hold": _spelled(hold or _HOLD),
            "open": hold is None,
            "day": begin.date().isoformat(),
            "start": f"{begin:%H:%M}",
        }
        for (percentage, hold), begin in zip(wanted.taken.phases, begins, strict=True)
    ]
    template = Environment(undefined=StrictUndefined, keep_trailing_newline=True).from_string(
        _TEMPLATE.read_text(encoding="utf-8")
    )
    return template.render(
        rollout=wanted.rollout,
        environment=wanted.environment,
        time_zone=wanted.time_zone,
        variable=wanted.variable,
        database=wanted.database,
        domains=wanted.domains,
        protected=wanted.protected,
        phases=phases,
        interval=_spelled(_interval(holds)),
        thresholds=[(name, f"{value.normalize():f}") for name, value in thresholds.items()],
        taken=wanted.taken.thresholds,
        tool=wanted.taken.tool if wanted.foreign else "",
        expected={name: wanted.expected.get(name, _UNKNOWN) for name in wanted.domains},
        from_log=bool(wanted.expected),
    )


def _thresholds(taken: Mapping[str, Decimal]) -> dict[str, Decimal]:
    """The runbook's, with what was taken over; where only the upper line was, the lower stays under
    it.
    """
    found = _THRESHOLDS | dict(taken)
    for low, high in (
        ("error_rate_investigate_pct", "error_rate_rollback_pct"),
        ("p95_investigate_ms", "p95_rollback_ms"),
    ):
        if found[low] >= found[high]:
            found[low] = found[high] / 2
    found["p95_investigate_ms"] = Decimal(math.ceil(found["p95_investigate_ms"]))
    return found


def _days(holds: Sequence[timedelta], day: date, start: time) -> list[datetime]:
    """When each phase begins: half an hour after the one before, or the next morning."""
    begins = [datetime.combine(day, start)]
    for hold in holds[:-1]:
        ready = begins[-1] + hold + _PAUSE
        after = ready + (datetime.combine(ready.date(), time.min) - ready) % _PAUSE
        morning = datetime.combine(after.date(), start)
        if after.time() > _LATEST:
            morning += timedelta(days=1)
        begins.append(after if start <= after.time() <= _LATEST else morning)
    return begins


def _interval(holds: Sequence[timedelta]) -> timedelta:
    """A quarter of an hour, or what every hold is a whole number of."""
    common = math.gcd(*(int(hold.total_seconds()) for hold in (*holds, timedelta(minutes=15))))
    return timedelta(seconds=common)


def _spelled(span: timedelta) -> str:
    seconds = int(span.total_seconds())
    for unit, size in (("h", 3600), ("m", 60)):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
