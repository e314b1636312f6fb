"""What evidence may be computed from: whole counts, shares between 0 and 1; each refusal names the
argument. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real

import numpy as np

from rollout_lib.errors import UsageError


class CountError(UsageError, ValueError):
    """Not counts that evidence can be computed from: {reason}"""


def a_count(value: int, name: str) -> None:
    """A whole number of at least 0; raises CountError, as all of these do."""
    whole = isinstance(value, Integral) or (isinstance(value, Real) and float(value).is_integer())
    if isinstance(value, bool) or not whole or value < 0:
        raise CountError(reason=f"{name} must be a count of at least 0, not {value!r}.")


def counts(bad: int, total: int) -> None:
    """Two counts, the first of them among the second."""
    a_count(bad, "bad")
    a_count(total, "total")
    if bad > total:
        raise CountError(reason=f"{bad} bad of {total} is a contradiction.")


def columns(**looks: int | Sequence[int]) -> list[np.ndarray]:
    """Each argument as an array of counts, one element a look; a number alone is one look."""
    found = {
        name: value if isinstance(value, Sequence | np.ndarray) else (value,)
        for name, value in looks.items()
    }
    if len({len(values) for values in found.values()}) != 1:
        raise CountError(reason=f"{', '.join(found)}: each must have one count a look.")
    for name, values in found.items():
        for value in values:
            a_count(value, name)
    return [np.array(values, dtype=float) for values in found.values()]


def fit(parts: np.ndarray, wholes: np.ndarray, part: str, whole: str) -> None:
    """In each look the part is among the whole."""
    if np.any(parts > wholes):
        raise CountError(
            reason=f"{part} {parts.tolist()} of {whole} {wholes.tolist()} is a contradiction."
        )


def a_share(value: float, name: str) -> None:
    """Strictly between 0 and 1."""
    if not (isinstance(value, Real) and 0 < value < 1):
        raise CountError(reason=f"{name} must be strictly between 0 and 1, not {value!r}.")


def a_concentration(value: float) -> None:
    """Over 0 and finite."""
    if not (isinstance(value, Real) and 0 < value < math.inf):
        raise CountError(reason=f"concentration must be over 0 and finite, not {value!r}.")
