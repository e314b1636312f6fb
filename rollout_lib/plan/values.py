"""The kinds of value a plan may hold: strict, exact, never coerced. Each refusal says what was
expected.
"""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field

from rollout_lib.errors import ParameterError

_LONGEST = timedelta(days=366)
_YEARS = range(2000, 2101)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _duration(value: Any) -> timedelta:
    """`90s`, `15m`, `4h`, `1d`; anything else is refused."""
    if isinstance(value, timedelta):
        return value
    match = re.fullmatch(r"([1-9]\d*)(s|m|h|d)", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"must be a duration such as 90s, 15m, 4h or 1d, not {value!r}")
    seconds = int(match[1]) * _UNITS[match[2]]
    if seconds > _LONGEST.total_seconds():
        raise ValueError(f"must be at most {_LONGEST.days}d, not {value!r}")
    return timedelta(seconds=seconds)


def _number(value: Any) -> Decimal:
    """A plain YAML number, exact; booleans, texts, NaN and infinities are refused."""
    if isinstance(value, Decimal):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"must be a number, not {value!r}")
    number = Decimal(str(value))
    if not number.is_finite():
        raise ValueError(f"must be a finite number, not {value!r}")
    return number


def _share(value: Decimal) -> Decimal:
    if not 0 < value <= 100 or value != round(value, 2):
        raise ValueError(f"must be over 0 and at most 100 with two decimals, not {value}")
    return value


def _rate(value: Decimal) -> Decimal:
    if not 0 < value < 100:
        raise ValueError(f"must be over 0 and under 100, not {value}")
    return value


def _instant(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError(f"needs an offset, as {value.isoformat()}+01:00")
    return value


def _clock(value: Any) -> time:
    """`"09:00"`, quoted; YAML reads it bare as a number of minutes."""
    if isinstance(value, time):
        return value
    if not isinstance(value, str) or not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", value):
        raise ValueError(f'must be a quoted time such as "09:00", not {value!r}')
    return time.fromisoformat(value)


def _day(value: Any) -> date:
    if isinstance(value, date) and not isinstance(value, datetime) and value.year in _YEARS:
        return value
    raise ValueError(f"must be a date such as 2025-12-03, not {value!r}")


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"is not a time zone that this machine knows: {value!r}") from error
    return value


def _name(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", value):
        raise ValueError(f"must be lower-case letters, digits, - and _, not {value!r}")
    return value


Duration = Annotated[timedelta, BeforeValidator(_duration)]
Number = Annotated[Decimal, BeforeValidator(_number)]
Share = Annotated[Number, AfterValidator(_share)]
Rate = Annotated[Number, AfterValidator(_rate)]
Instant = Annotated[datetime, AfterValidator(_instant)]
Name = Annotated[str, Field(min_length=1, max_length=60), AfterValidator(_name)]
Day = Annotated[date, BeforeValidator(_day)]
Clock = Annotated[time, BeforeValidator(_clock)]
Zone = Annotated[str, AfterValidator(_zone)]


def duration_of(text: str, name: str) -> timedelta:
    """A duration that a person typed; raises ParameterError by the option's name."""
    try:
        return _duration(text.strip())
    except ValueError as error:
        raise ParameterError(problems=f"{name}: {error}") from None


def rate_of(text: str, name: str) -> float:
    """A share of requests that a person typed in percent: `1%`, `0.5 %` or `0.5`; raises
    ParameterError by the option's name.
    """
    try:
        found = Decimal(text.strip().removesuffix("%").strip())
        percent = _rate(found) if found.is_finite() else None
    except (ValueError, ArithmeticError):
        percent = None
    if percent is None:
        words = f"{name}: must be a rate in percent, over 0 and under 100, not {text!r}"
        raise ParameterError(problems=words)
    return float(percent) / 100
