"""How numbers, times and states are spelled; the one place that spells them. Pure."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo


def rate(bad: int, total: int) -> str:
    """`1/115 = 0.87 %`; without a request there is no rate."""
    if total == 0:
        return "0 requests"
    return f"{bad:,}/{total:,} = {percent(100 * bad / total)}"


def percent(value: float) -> str:
    """Two decimals, more below 0.1 so that 0.05 % and 0.005 % differ; never 0 or 100 for what is
    not.
    """
    if 99.995 <= value < 100:
        return "> 99.99 %"
    if 0 < value < 0.0005:
        return "< 0.001 %"
    digits = 2 if value == 0 or value >= 0.1 else 3
    return f"{value:.{digits}f} %"


def percent_up(value: float) -> str:
    """A bound, rounded away from what it bounds to two significant digits: `0.88 %`, `1.3 %`."""
    if not 0 < value < 10:
        return percent(value)
    digits = 1 - math.floor(math.log10(value))
    up = math.ceil(round(value * 10**digits, 6)) / 10**digits
    return f"{up:.{max(digits, 0)}f} %"


def limit(value: object) -> str:
    """A plan's limit as it is written there: `0.1 %`."""
    return f"{float(str(value)):g} %"


def e_value(log_value: float) -> str:
    """`e = 13` with two significant digits; `e > 10^6` beyond."""
    if math.isnan(log_value):
        raise ValueError("an e-value is not NaN")
    if log_value > math.log(1e6):
        return "e > 10^6"
    value = math.exp(log_value)
    return f"e = {value:.0f}" if value >= 10 else f"e = {value:.2g}"


def evidence_value(log_value: float) -> str:
    """`13` with two significant digits; `> 10^6` beyond, `< 1` below; never without its scale."""
    if math.isnan(log_value):
        raise ValueError("an e-value is not NaN")
    if log_value > math.log(1e6):
        return "> 10^6"
    value = math.exp(log_value)
    return "< 1" if value < 1 else f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def milliseconds(value: float | None) -> str:
    """`1,912 ms`, or that there is no latency."""
    return "no latency" if value is None else f"{value:,.0f} ms"


def span(length: timedelta) -> str:
    """A length of time in hours and minutes: `45 min`, `2 h`, `1 h 30 min`."""
    whole = round(length.total_seconds() / 60)
    of_hours, rest = divmod(whole, 60)
    if not of_hours:
        return f"{rest} min"
    return f"{of_hours} h" if not rest else f"{of_hours} h {rest} min"


def hours(value: float) -> str:
    """`3.0 h`, `31 h`, `12 d` above four days."""
    if value > 96:
        return f"{value / 24:,.0f} d"
    return f"{value:.0f} h" if value >= 10 else f"{value:.1f} h"


def both_times(at: datetime, time_zone: str) -> str:
    """`Wed 3 Dec 10:15 CET (09:15 UTC)`; said once where the zone is UTC."""
    local = at.astimezone(ZoneInfo(time_zone))
    return f"{local:%a} {local.day} {local:%b} {_beside(local, '%H:%M')}"


def both_clocks(at: datetime, time_zone: str, seconds: bool = True) -> str:
    """`10:15:30 CET (09:15:30 UTC)`; said once where the zone is UTC."""
    return _beside(at.astimezone(ZoneInfo(time_zone)), "%H:%M:%S" if seconds else "%H:%M")


def _beside(local: datetime, form: str) -> str:
    here = f"{local:{form} %Z}"
    return here if here.endswith(" UTC") else f"{here} ({local.astimezone(UTC):{form}} UTC)"
