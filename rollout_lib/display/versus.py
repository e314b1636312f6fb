"""Unified beside legacy: a tile a metric with both rates, their difference, its always-valid
interval and a zero line. It decides nothing, and says so."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from markupsafe import Markup

from rollout_lib.display.templating import part
from rollout_lib.display.words import rate
from rollout_lib.model import Difference

_WIDTH, _MARGIN = 240, 6  # of the picture, in its own units; zero is in the middle
_MINUS = "−"
_METRICS = {
    "errors": "errors in the phase, counted as webhooks",
    "latency": "slower in the phase than the p95 may be, counted as rows",
}

_OF = {"errors": "errors", "latency": "slow requests"}


def difference_tiles(found: Sequence[Difference]) -> Markup:
    """One tile for each metric; nothing where there is no difference to show."""
    return Markup("").join(part("versus", _tile(one)) for one in found)


def difference_words(found: Difference) -> str:
    """`Unified minus legacy in errors: +0.3 points, between −0.1 and +1.2 (95 % sure). No
    difference is shown.`

    The ends are rounded outwards, so that what is printed holds as well."""
    low, high = 100 * found.low, 100 * found.high
    digits = _digits(high - low)
    least = _signed(_outwards(low, digits, math.floor), digits)
    most = _signed(_outwards(high, digits, math.ceil), digits)
    return (
        f"Unified minus legacy in {_OF.get(found.metric, found.metric)}: {_signed(100 * _seen(found), digits)} points, between {least} and"
        f" {most} (95 % sure). {_conclusion(found)}"
    )


def _conclusion(found: Difference) -> str:
    if found.low > 0:
        return "Unified has more."
    return "Unified has fewer." if found.high < 0 else "No difference is shown."


def _seen(found: Difference) -> float:
    """The difference of the two rates as they were counted; both have requests."""
    return found.unified.bad / found.unified.total - found.legacy.bad / found.legacy.total


def _digits(width: float) -> int:
    """Decimals for an interval of so many points: one, more where it is below a point, at most
    four.
    """
    return min(max(1 - math.floor(math.log10(width)), 1), 4) if width > 0 else 4


def _outwards(value: float, digits: int, away: Callable[[float], int]) -> float:
    return float(away(round(value * 10.0**digits, 6)) / 10.0**digits)


def _signed(value: float, digits: int) -> str:
    """`+0.3`, `−0.1`, and `0.0` without a sign."""
    shown = f"{abs(value):.{digits}f}"
    if not float(shown):
        return shown
    return f"{'+' if value > 0 else _MINUS}{shown}"


def _tile(found: Difference) -> dict[str, Any]:
    """What the template draws: the words, and places in a picture whose middle is zero."""
    reach = max(abs(found.low), abs(found.high)) or 1.0

    def place(share: float) -> float:
        return round(_WIDTH / 2 * (1 + share / reach * (1 - 2 * _MARGIN / _WIDTH)), 1)

    low, high = place(found.low), place(found.high)
    return {
        "metric": _METRICS.get(found.metric, found.metric),
        "unified": rate(found.unified.bad, found.unified.total),
        "legacy": rate(found.legacy.bad, found.legacy.total),
        "words": difference_words(found),
        "width": _WIDTH,
        "zero": place(0.0),
        "low": low,
        "span": max(round(high - low, 1), 1.0),
        "seen": place(_seen(found)),
    }
