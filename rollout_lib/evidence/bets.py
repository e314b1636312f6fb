"""Bets against a limit, a share, or another service: test supermartingales in natural logs. Pure.

One bet is a mixture over alternatives (Robbins 1970). Over the looks of a phase the stakes are
spread: half at look 1 and 1/30 at every later one, for ever, because failures may begin late (an
e-detector with a head start: Shin, Ramdas & Rinaldo 2022). What each value means, its guarantee and
the defaults: docs/judgement.md."""

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
LATER = 30  # a look after the first bets one part in so many
CERTIFYING = (0.1, 0.3, 0.6)  # of the limit
_RISKS = (2, 4, 8, 16, 32)  # how many times as often unified may fail as what it is compared with


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
    """One log M_t per look; the name stays from when bets began anew, which they never do.

    M_t = max(0, 1 - sum v_j) + sum_{j<=t} v_j E(k_j+..+k_t, n_j+..+n_t), v_1 = 1/2, every later v_j
    = 1/30. A partial look may be the last element: it is look t, seen early.
    """
    k, n = columns(bads=bads, totals=totals)
    fit(k, n, "bads", "totals")
    return [float(value) for value in restart_paths(k, n, limit, alternatives, weights)]


def restart_paths(
    bads: np.ndarray,
    totals: np.ndarray,
    limit: float,
    alternatives: Sequence[float],
    weights: Sequence[float],
) -> np.ndarray:
    """log_evidence_restart for many phases at once: arrays (…, looks) in and out, not validated.

    One cumulative sum per alternative serves every stake: betting v_j at look j is worth
    v_j exp(C_t - C_{j-1}) at look t, where C is the log likelihood ratio since the phase began.
    """
    gains, losses, logs = _bets(limit, tuple(alternatives), tuple(weights), above=True)
    steps = np.multiply.outer(bads, gains) + np.multiply.outer(totals - bads, losses)
    stakes, kept = _stakes(steps.shape[-2])
    so_far = np.cumsum(steps, axis=-2)
    worth = stakes[:, None] - (so_far - steps)
    bets = so_far + np.logaddexp.accumulate(worth, axis=-2) + logs
    path: np.ndarray = np.logaddexp(kept, np.logaddexp.reduce(bets, axis=-1))
    return path


def _stakes(looks: int) -> tuple[np.ndarray, np.ndarray]:
    """Per look the log of what is bet at it, and of what is not yet bet after it (-inf for
    nothing).
    """
    before = np.arange(looks)
    stakes = np.where(before == 0, 1 / 2, 1 / LATER)
    left = np.maximum(LATER // 2 - before, 0) / LATER
    with np.errstate(divide="ignore"):
        return np.log(stakes), np.log(left)


def log_certificate(bad: int, total: int, limit: float) -> float:
    """Evidence that the rate is below the limit: the same E with alternatives at .1, .3, .6 of the
    limit.
    """
    counts(bad, total)
    a_share(limit, "limit")
    below = tuple(limit * part for part in CERTIFYING)
    gains, losses, logs = _bets(limit, below, (1 / 3,) * 3, above=False)
    return float(np.logaddexp.reduce(logs + bad * gains + (total - bad) * losses))


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
    """log_split_evidence with the mixture of log_evidence_restart: one log M_t per look."""
    a_share(share, "share")
    a_concentration(concentration)
    u, other = columns(unifieds=unifieds, legacies=legacies)
    return [float(value) for value in split_paths(u, other, share, concentration)]


def split_paths(
    unifieds: np.ndarray, legacies: np.ndarray, share: float, concentration: float = 100
) -> np.ndarray:
    """log_split_evidence_restart for many phases at once: arrays (…, looks) in and out, not
    validated. One look after the other, so that a month of them takes no more room than a day.
    """
    path: np.ndarray = np.empty(np.shape(unifieds))
    stakes, kept = _stakes(path.shape[-1])
    for t in range(path.shape[-1]):
        unified, legacy = (_suffix_sums(counts[..., : t + 1]) for counts in (unifieds, legacies))
        bets = _split(unified, legacy, share, concentration) + stakes[: t + 1]
        path[..., t] = np.logaddexp(kept[t], np.logaddexp.reduce(bets, axis=-1))
    return path


def _suffix_sums(counts: np.ndarray) -> np.ndarray:
    """(…, looks) -> (…, looks): element j is the sum over looks j to the last."""
    return np.cumsum(counts[..., ::-1], axis=-1)[..., ::-1]


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
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
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
    mixture: np.ndarray = _betaln(a + unified, b + legacy) - _betaln(a, b)
    return mixture - unified * math.log(share) - legacy * math.log1p(-share)


def _betaln(a: np.ndarray | float, b: np.ndarray | float) -> np.ndarray:
    from scipy.special import betaln

    return np.asarray(betaln(a, b))
