"""Evidence on counts that is valid at any number of looks. Pure; natural logs throughout.

A test supermartingale starts at 1 and cannot be expected to grow while the null holds, so by
Ville's inequality P(it ever reaches 1/alpha) <= alpha whatever the schedule of looks (Ville 1939;
Howard, Ramdas, McAuliffe, Sekhon 2021, "Time-uniform, nonparametric, nonasymptotic confidence
sequences"). Bets are mixtures over alternatives (Robbins 1970); the split test is the beta-binomial
mixture of Lindon & Malek 2022, "Anytime-valid inference for multinomial count data". Formulas and
defaults: docs/judgement.md."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np

from rollout_lib.evidence.counts import (
    CountError,
    a_concentration,
    a_count,
    a_share,
    columns,
    counts,
    fit,
)

ERROR_ALTERNATIVES = (0.002, 0.005, 0.01, 0.02, 0.05, 0.10, 0.30)
ERROR_WEIGHTS = (0.10, 0.15, 0.25, 0.20, 0.15, 0.10, 0.05)
LATENCY_ALTERNATIVES = (0.06, 0.075, 0.10, 0.15, 0.20, 0.30, 0.50)
LATENCY_WEIGHTS = (0.05, 0.20, 0.25, 0.20, 0.15, 0.10, 0.05)
BLOCK = 16  # looks after which the stakes begin anew
FIRST_STAKE = 0.5  # the rest in equal parts at looks 2 … BLOCK
_CERTIFYING = (0.1, 0.3, 0.6)  # of the limit
_RISKS = (2, 4, 8, 16, 32)  # how many times as often unified may fail as what it is compared with
_LOG_STAKES = np.log(np.array([FIRST_STAKE] + [(1 - FIRST_STAKE) / (BLOCK - 1)] * (BLOCK - 1)))
_LOG_KEPT = np.append(
    np.log1p(-np.cumsum(np.exp(_LOG_STAKES[:-1]))), -np.inf
)  # not yet bet after look t
_RATE_PRIOR = (0.5, 50.0)
_QUANTILE_PRIOR = (1.0, 19.0)
_FAR = 700.0  # log odds of a rate that is 0 or 1 to every digit


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


def log_evidence(
    bad: int, total: int, limit: float, alternatives: Sequence[float], weights: Sequence[float]
) -> float:
    """log sum_i w_i (q_i/p0)^k ((1-q_i)/(1-p0))^(n-k): evidence that the rate is
    over the limit p0.
    """
    counts(bad, total)
    gains, losses, logs = _bets(limit, tuple(alternatives), tuple(weights), above=True)
    return float(np.logaddexp.reduce(logs + bad * gains + (total - bad) * losses))


def log_evidence_restart(
    bads: Sequence[int],
    totals: Sequence[int],
    limit: float,
    alternatives: Sequence[float],
    weights: Sequence[float],
) -> list[float]:
    """One log M_t per look: failures may start late, so half the stake is bet at look 1, the rest
    later.

    M_t = (1 - sum v_j) + sum_{j<=t} v_j E(k_j+..+k_t, n_j+..+n_t), v_1 = 1/2, v_2..v_16 = 1/30, and
    it begins anew every 16 looks. A partial look may be the last element: it is look t, seen early.
    """
    k, n = columns(bads=bads, totals=totals)
    fit(k, n, "bads", "totals")
    return restart_paths(k, n, limit, alternatives, weights).tolist()


def restart_paths(
    bads: np.ndarray,
    totals: np.ndarray,
    limit: float,
    alternatives: Sequence[float],
    weights: Sequence[float],
) -> np.ndarray:
    """log_evidence_restart for many phases at once: arrays (…, looks) in and out, not validated.

    One cumulative sum per alternative serves every stake: betting v_j at look j is worth
    v_j exp(C_t - C_{j-1}) at look t, where C is the log likelihood ratio since the block began.
    """
    gains, losses, logs = _bets(limit, tuple(alternatives), tuple(weights), above=True)
    steps = np.multiply.outer(bads, gains) + np.multiply.outer(totals - bads, losses)
    path = np.empty(np.shape(bads))
    for start in range(0, path.shape[-1], BLOCK):
        block = steps[..., start : start + BLOCK, :]
        size = block.shape[-2]
        so_far = np.cumsum(block, axis=-2)
        worth = _LOG_STAKES[:size, None] - (so_far - block)
        bets = so_far + np.logaddexp.accumulate(worth, axis=-2) + logs
        path[..., start : start + size] = np.logaddexp(
            _LOG_KEPT[:size], np.logaddexp.reduce(bets, axis=-1)
        )
    return path


def log_certificate(bad: int, total: int, limit: float) -> float:
    """Evidence that the rate is below the limit: the same E with alternatives at .1, .3, .6 of the
    limit.
    """
    counts(bad, total)
    a_share(limit, "limit")
    below = tuple(limit * part for part in _CERTIFYING)
    gains, losses, logs = _bets(limit, below, (1 / 3,) * 3, above=False)
    return float(np.logaddexp.reduce(logs + bad * gains + (total - bad) * losses))


def rate_interval(bad: int, total: int, alpha: float = 0.05) -> tuple[float, float]:
    """The always-valid interval of a rate: every p that the beta(.5, 50) mixture does not reject at
    alpha.
    """
    counts(bad, total)
    a_share(alpha, "alpha")
    if total == 0:
        return 0.0, 1.0
    from scipy.optimize import brentq

    a, b = _RATE_PRIOR
    mixture = float(_betaln(a + bad, b + total - bad) - _betaln(a, b))

    def excess(logit: float) -> float:
        """Over 0 where p = 1/(1 + exp(-logit)) is rejected: on this scale 0 and 1 are far away on
        both sides.
        """
        likelihood = -bad * math.log1p(math.exp(-logit)) - (total - bad) * math.log1p(
            math.exp(logit)
        )
        return mixture - likelihood + math.log(alpha)

    peak = _FAR if bad == total else -_FAR if bad == 0 else math.log(bad / (total - bad))
    low = 0.0 if bad == 0 or excess(-_FAR) <= 0 else _expit(brentq(excess, -_FAR, peak))
    high = 1.0 if bad == total or excess(_FAR) <= 0 else _expit(brentq(excess, peak, _FAR))
    return low, high


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
    from bisect import bisect_left

    a, b = _QUANTILE_PRIOR
    p = 1 - q

    def rejected(k: int) -> bool:
        """Are k exceedances of `total` too many, or too few, for a share of p?"""
        log_e = (
            float(_betaln(a + k, b + total - k) - _betaln(a, b))
            - k * math.log(p)
            - (total - k) * math.log1p(-p)
        )
        return log_e >= -math.log(alpha)

    # The evidence falls up to about n p exceedances and rises after: each side is searched by
    # halving.
    middle = math.ceil(total * p)
    high = middle + bisect_left(range(middle, total + 1), True, key=rejected)
    low = bisect_left(range(middle), True, key=lambda k: not rejected(k)) - 1
    return (total - high + 1 if high <= total else None), (total - low if low >= 0 else None)


def log_split_evidence(
    unified: int, legacy: int, share: float, concentration: float = 100
) -> float:
    """Evidence that unified's share is not the configured one (beta-binomial against the fixed
    share).
    """
    a_count(unified, "unified")
    a_count(legacy, "legacy")
    a_share(share, "share")
    a_concentration(concentration)
    return float(_split(np.array(unified), np.array(legacy), share, concentration))


def log_split_evidence_restart(
    unifieds: Sequence[int], legacies: Sequence[int], share: float, concentration: float = 100
) -> list[float]:
    """log_split_evidence with the restart mixture of log_evidence_restart: one log M_t per look."""
    a_share(share, "share")
    a_concentration(concentration)
    u, other = columns(unifieds=unifieds, legacies=legacies)
    return split_paths(u, other, share, concentration).tolist()


def split_paths(
    unifieds: np.ndarray, legacies: np.ndarray, share: float, concentration: float = 100
) -> np.ndarray:
    """log_split_evidence_restart for many phases at once: arrays (…, looks) in and out, not
    validated.
    """
    path = np.empty(np.shape(unifieds))
    for start in range(0, path.shape[-1], BLOCK):
        u, n = (_suffix_sums(counts[..., start : start + BLOCK]) for counts in (unifieds, legacies))
        size = u.shape[-1]
        bets = np.where(
            np.tri(size, dtype=bool),
            _split(u, n, share, concentration) + _LOG_STAKES[:size],
            -np.inf,
        )
        path[..., start : start + size] = np.logaddexp(
            _LOG_KEPT[:size], np.logaddexp.reduce(bets, axis=-1)
        )
    return path


def _suffix_sums(counts: np.ndarray) -> np.ndarray:
    """(…, t) -> (…, t, j): the sum over looks j..t, 0 where j > t."""
    sums = np.cumsum(counts, axis=-1)
    return np.maximum(sums[..., :, None] - (sums - counts)[..., None, :], 0)


def log_evidence_versus(
    errors_unified: Sequence[int],
    errors_legacy: Sequence[int],
    requests_unified: Sequence[int],
    requests_legacy: Sequence[int],
) -> float:
    """Evidence that unified fails more often than legacy; a look without one side contributes
    nothing.
    """
    eu, el, nu, nl = columns(
        errors_unified=errors_unified,
        errors_legacy=errors_legacy,
        requests_unified=requests_unified,
        requests_legacy=requests_legacy,
    )
    fit(eu, nu, "errors_unified", "requests_unified")
    fit(el, nl, "errors_legacy", "requests_legacy")
    both = (nu > 0) & (nl > 0)
    eu, el, nu, nl = eu[both], el[both], nu[both], nl[both]
    rho = nu / (nu + nl) if nu.size else np.zeros(0)
    logs = []
    for risk in _RISKS:
        r = risk * rho / (risk * rho + 1 - rho)
        logs.append(float(np.sum(eu * np.log(r / rho) + el * np.log((1 - r) / (1 - rho)))))
    return float(np.logaddexp.reduce(np.array(logs) - math.log(len(_RISKS))))


@cache
def _bets(
    limit: float, alternatives: tuple[float, ...], weights: tuple[float, ...], *, above: bool
):
    """What one bad and one good request are worth in logs under each alternative, and the log
    weights.
    """
    a_share(limit, "limit")
    if not alternatives or len(alternatives) != len(weights):
        raise CountError(reason="alternatives and weights must be as many, and at least one.")
    if not math.isclose(sum(weights), 1, abs_tol=1e-9) or not all(weight > 0 for weight in weights):
        raise CountError(reason="weights must be over 0 and sum to 1.")
    for alternative in alternatives:
        a_share(alternative, "alternative")
        if (alternative > limit) is not above or alternative == limit:
            side = "over" if above else "under"
            raise CountError(
                reason=f"each alternative must be {side} the limit {limit}, not {alternative}."
            )
    q = np.array(alternatives, dtype=float)
    gains = np.log(q) - math.log(limit)
    losses = np.log1p(-q) - math.log1p(-limit)
    return gains, losses, np.log(np.array(weights, dtype=float))


def _split(
    unified: np.ndarray, legacy: np.ndarray, share: float, concentration: float
) -> np.ndarray:
    a, b = concentration * share, concentration * (1 - share)
    mixture = _betaln(a + unified, b + np.maximum(legacy, 0)) - _betaln(a, b)
    return mixture - unified * math.log(share) - legacy * math.log1p(-share)


def _betaln(a, b):
    from scipy.special import betaln

    return betaln(a, b)


def _smallest(bad: int, enough) -> int:
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


def _expit(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))
