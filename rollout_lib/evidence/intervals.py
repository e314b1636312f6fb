"""Bounds and intervals that are printed beside a rate, and how many requests are missing. Pure.

All but `upper_bound` and `required_total` hold at any number of looks: each inverts a bet, so what
a bet would reject is outside (Howard, Ramdas, McAuliffe, Sekhon 2021, "Time-uniform,
nonparametric, nonasymptotic confidence sequences")."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from datetime import timedelta

from rollout_lib.evidence.bets import CERTIFYING, log_certificate
from rollout_lib.evidence.counts import CountError, a_count, a_share, counts

_RATE_PRIOR = (0.5, 50.0)
_QUANTILE_PRIOR = (1.0, 19.0)
_FAR = 700.0  # log odds of a rate that is 0 or 1 to every digit
_REFRACTORY_SHARE = 0.02  # of the time between two failures that the limit allows
_LONGEST_REFRACTORY_S = 60.0
_STEPS = 10_000  # of a search for a root: near its flat end a hundred are too few
_UNDER_ONE = math.nextafter(1.0, 0.0)  # where one request was good, not all of them are bad


def refractory(limit: float, expected_per_hour: float) -> timedelta:
    """How long after a failing webhook that counted another of its stream does not: bursts are one.

    min(60 s, 0.02 x 3600 s / (limit x expected requests an hour)), so that it takes away at most a
    fiftieth of what the limit itself allows; expected_per_hour 0 or less is refused."""
    a_share(limit, "limit")
    if not (math.isfinite(expected_per_hour) and expected_per_hour > 0):
        raise CountError(
            reason=f"expected_per_hour must be over 0 and finite, not {expected_per_hour!r}."
        )
    spared = _REFRACTORY_SHARE * 3600 / (limit * expected_per_hour)
    return timedelta(seconds=min(_LONGEST_REFRACTORY_S, spared))


def upper_bound(bad: int, total: int, confidence: float = 0.95) -> float:
    """Exact one-sided upper bound of a rate at one planned look (Clopper & Pearson 1934); 1 for
    total 0.
    """
    counts(bad, total)
    a_share(confidence, "confidence")
    if bad == total:
        return 1.0
    from scipy.special import betaincinv

    return float(betaincinv(bad + 1, total - bad, confidence))


def required_total(bad: int, limit: float, confidence: float = 0.95) -> int:
    """The smallest total with `bad` failures whose upper_bound is at most the limit, at one planned
    look.
    """
    a_share(limit, "limit")
    return _smallest(bad, lambda total: upper_bound(bad, total, confidence) <= limit)


def required_total_anytime(bad: int, limit: float, alpha: float = 0.05) -> int:
    """The smallest total with `bad` failures that certifies "below the limit" at any look."""
    a_share(alpha, "alpha")
    a_share(limit, "limit")
    return _smallest(bad, lambda total: log_certificate(bad, total, limit) >= -math.log(alpha))


def certified_bound(bad: int, total: int, alpha: float = 0.05) -> float:
    """The smallest limit that log_certificate certifies, at any look; 1 where all are bad or none
    came.

    It is at most a limit exactly where required_total_anytime of that limit is reached: a bound and
    "so many more prove it" that are printed side by side cannot contradict each other.
    """
    counts(bad, total)
    a_share(alpha, "alpha")
    if bad == total:
        return 1.0
    from scipy.optimize import brentq

    good = total - bad

    def lacking(logit: float) -> float:
        """Over 0 where the limit 1/(1 + exp(-logit)) is not certified."""
        limit, odds = _expit(logit), _softplus(logit)
        bets = [
            bad * math.log(part) + good * (math.log1p(-part * limit) + odds) for part in CERTIFYING
        ]
        top = max(bets)
        mixed = top + math.log(sum(math.exp(bet - top) for bet in bets) / len(bets))
        return -math.log(alpha) - mixed

    if lacking(_FAR) >= 0:
        return _UNDER_ONE
    return min(_expit(brentq(lacking, -_FAR, _FAR, maxiter=_STEPS)), _UNDER_ONE)


def rate_interval(bad: int, total: int, alpha: float = 0.05) -> tuple[float, float]:
    """The always-valid interval of a rate: every p that the beta(.5, 50) mixture does not reject at
    alpha.
    """
    counts(bad, total)
    a_share(alpha, "alpha")
    return _ends(bad, total, -math.log(alpha))


def difference_interval(
    bad_u: int, total_u: int, bad_l: int, total_l: int, alpha: float = 0.05
) -> tuple[float, float]:
    """The always-valid interval of unified's rate minus legacy's, each of them constant.

    The two mixtures of rate_interval multiply to one test martingale for every pair of rates, so
    the pairs with a product under 1/alpha hold the true pair at all looks with 1 - alpha; the ends
    are the least and the largest difference among them.
    """
    counts(bad_u, total_u)
    counts(bad_l, total_l)
    a_share(alpha, "alpha")
    unified, legacy = (bad_u, total_u), (bad_l, total_l)
    return -_farthest(legacy, unified, alpha), _farthest(unified, legacy, alpha)


def _farthest(one: tuple[int, int], other: tuple[int, int], alpha: float) -> float:
    """The largest rate of one less the rate of the other that both bets together do not reject.

    Each set is an interval that grows with what its bet may cost, and its ends are concave in that:
    the best way to spend the cost that both have in common is found by a search of one dimension.
    """
    from scipy.optimize import minimize_scalar

    least_one, least_other = _least(*one), _least(*other)
    budget = -math.log(alpha) - least_one - least_other

    def apart(share: float) -> float:
        high = _ends(*one, least_one + share * budget)[1]
        low = _ends(*other, least_other + (1 - share) * budget)[0]
        return low - high

    found = minimize_scalar(apart, bounds=(0, 1), method="bounded", options={"xatol": 1e-8})
    return -min(float(found.fun), apart(0.0), apart(1.0))


def _log_mixture(bad: int, total: int, prior: tuple[float, float]) -> float:
    from scipy.special import betaln

    a, b = prior
    return float(betaln(a + bad, b + total - bad) - betaln(a, b))


def _least(bad: int, total: int) -> float:
    """The log evidence of the mixture at the rate that was seen, where it is lowest (at most 0)."""
    seen = sum(part * math.log(part / total) for part in (bad, total - bad) if part)
    return _log_mixture(bad, total, _RATE_PRIOR) - seen


def _ends(bad: int, total: int, level: float) -> tuple[float, float]:
    """The least and the largest rate at which the log evidence of the mixture is at most the
    level.
    """
    if total == 0:
        return 0.0, 1.0
    from scipy.optimize import brentq

    mixture = _log_mixture(bad, total, _RATE_PRIOR)

    def excess(logit: float) -> float:
        """Over 0 where p = 1/(1 + exp(-logit)) is rejected: on this scale 0 and 1 are far away on
        both sides.
        """
        return mixture + bad * _softplus(-logit) + (total - bad) * _softplus(logit) - level

    low, high = 0.0, 1.0
    peak = _FAR if bad == total else -_FAR if bad == 0 else math.log(bad / (total - bad))
    if bad > 0:
        low = _root(brentq, excess, -_FAR, peak)
    if bad < total:
        high = min(_root(brentq, excess, _FAR, peak), _UNDER_ONE)
    return low, high


def _root(
    solve: Callable[..., float], excess: Callable[[float], float], far: float, peak: float
) -> float:
    """The rate between the far end and the peak at which the excess is 0; the end or the peak
    itself where rounding leaves none between.
    """
    if excess(far) <= 0:
        return _expit(far)
    if excess(peak) >= 0:
        return _expit(peak)
    return _expit(solve(excess, min(far, peak), max(far, peak), maxiter=_STEPS))


def quantile_ranks(
    total: int, q: float = 0.95, alpha: float = 0.05
) -> tuple[int | None, int | None]:
    """Ranks (1 is the smallest) of the sorted latencies that bound the q-quantile at any look.

    None where no rank does: with 60 latencies there is no upper bound of the p95 yet.
    """
    a_count(total, "total")
    a_share(q, "q")
    a_share(alpha, "alpha")
    if total == 0:
        return None, None
    p = 1 - q

    def rejected(k: int) -> bool:
        """Are k exceedances of `total` too many, or too few, for a share of p?"""
        seen = k * math.log(p) + (total - k) * math.log1p(-p)
        return _log_mixture(k, total, _QUANTILE_PRIOR) - seen >= -math.log(alpha)

    # The evidence falls up to about n p exceedances and rises after: each side is searched by
    # halving.
    middle = math.ceil(total * p)
    high = middle + bisect_left(range(middle, total + 1), True, key=rejected)
    low = bisect_left(range(middle), True, key=lambda k: not rejected(k)) - 1
    return (total - high + 1 if high <= total else None), (total - low if low >= 0 else None)


def _smallest(bad: int, enough: Callable[[int], bool]) -> int:
    a_count(bad, "bad")
    low, high = max(bad, 1) - 1, max(2 * bad, 1)
    while not enough(high):
        low, high = high, high * 2
        if high > 10**12:
            raise CountError(reason="no total up to 10^12 is enough.")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if middle >= bad and enough(middle) else (middle, high)
    return high


def _softplus(logit: float) -> float:
    """log(1 + exp(logit)) without overflow."""
    return max(logit, 0.0) + math.log1p(math.exp(-abs(logit)))


def _expit(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))
