"""The rules that are compared, on counts of many phases at once: arrays (phases, slots) in, first
slots out.

Evidence is `restart_paths`, `ladder_state` and the literal states of the suite itself; the other
rules use its literal states on the last hour. A first slot is the number of the slot in which a
rule acts, -1 where it never does."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np

from rollout_lib import evidence as ev
from rollout_lib.judgement.literal import error_state, latency_state
from rollout_lib.judgement.streams import (
    ACT_AT,
    AT_LEAST,
    LATENCY_LIMIT,
    SPLIT_AT,
    error_bets,
    ladder_state,
)
from rollout_lib.model import State
from rollout_lib.plan import load_plan

PLAN = load_plan("parameters/week6.rehearsal.yaml")
SLOT_MINUTES, HOUR = 15, 4  # an hour is four slots
ERRORS = error_bets(float(PLAN.thresholds.error_rate_investigate_pct) / 100)
SLOW = (LATENCY_LIMIT, ev.LATENCY_ALTERNATIVES, ev.LATENCY_WEIGHTS)
ACTS = (State.STEP_BACK, State.ROLL_BACK)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What a rule did in one cell: the share of phases it acted in, and the median minutes until
    then.
    """

    share: float
    delay: float | None

    def __str__(self) -> str:
        return f"{self.share:.3f}" if self.delay is None else f"{self.share:.3f} @ {self.delay:.0f}"


@cache
def said_of_errors(bad: int, total: int) -> State:
    """The runbook's state of an error rate."""
    return error_state(bad, total, PLAN.thresholds)


@cache
def said_of_latency(slow: int, total: int) -> State:
    """The runbook's state of a p95 where `slow` requests took 2.5 seconds and the others 0.9."""
    return latency_state(
        None if not total else 2500.0 if slow > LATENCY_LIMIT * total else 900.0, PLAN.thresholds
    )


def last_hour(counts: np.ndarray) -> np.ndarray:
    """The sum over the last four slots, fewer at the beginning: the runbook's window, clipped at
    the change.
    """
    sums = np.cumsum(counts, axis=-1)
    return sums - np.pad(sums, [(0, 0)] * (sums.ndim - 1) + [(HOUR, 0)])[..., : sums.shape[-1]]


def first(hits: np.ndarray) -> np.ndarray:
    """The first slot that hits, -1 where none does."""
    return np.where(hits.any(axis=-1), hits.argmax(axis=-1), -1)


def literal(
    bads,
    totals,
    *,
    states=(State.ROLL_BACK,),
    said=said_of_errors,
    minimum: int = 0,
    in_a_row: int = 1,
):
    """The runbook's thresholds on the last hour; with a minimum sample, or only after several
    checks in a row.
    """
    k, n = last_hour(bads), last_hour(totals)
    hits = np.array(
        [
            [said(int(b), int(t)) in states and t >= minimum for b, t in zip(*row, strict=True)]
            for row in zip(k, n, strict=True)
        ]
    )
    for _ in range(in_a_row - 1):
        hits[:, 1:] &= hits[:, :-1].copy()
        hits[:, 0] = False
    return first(hits)


def failure_limit(bads, totals, *, limit: int = 5, states=(State.ROLL_BACK,), said=said_of_errors):
    """As the Kubernetes controllers count: that many failed checks in all, each of its own
    interval.
    """
    failed = np.array(
        [
            [said(int(b), int(t)) in states for b, t in zip(*row, strict=True)]
            for row in zip(bads, totals, strict=True)
        ]
    )
    return first(np.cumsum(failed, axis=-1) >= limit)


def evidence(
    bads, totals, *, bets=ERRORS, said=said_of_errors, domains: int = 1, states=ACTS, path=None
):
    """The ladder on one stream; a stream of one of several domains acts at its
    share of the risk.
    """
    act_at = ACT_AT + math.log(domains)
    path = ev.restart_paths(bads, totals, *bets) if path is None else path
    peaks, seen = np.maximum.accumulate(path, axis=-1), np.cumsum(bads, axis=-1)
    could = first((peaks >= act_at) & (seen >= AT_LEAST))
    k, n = last_hour(bads), last_hour(totals)
    for phase in np.flatnonzero(could >= 0):
        for slot in range(could[phase], path.shape[-1]):
            state = ladder_state(
                path[phase, slot],
                peaks[phase, slot],
                act_at,
                int(seen[phase, slot]),
                1,
                0.0,
                said(int(k[phase, slot]), int(n[phase, slot])),
            )
            if state in states:
                could[phase] = slot
                break
        else:
            could[phase] = -1
    return could


def split(unified, legacy, share: float, *, by_evidence: bool, in_a_row: int = 1):
    """Over two points away in the last hour; by evidence only where log M has
    reached its line too.
    """
    u, n = last_hour(unified), last_hour(unified + legacy)
    away = np.abs(100 * u / np.maximum(n, 1) - 100 * share) > float(
        PLAN.thresholds.split_tolerance_points
    )
    if by_evidence:
        path = ev.split_paths(unified.astype(float), legacy.astype(float), share)
        away &= np.maximum.accumulate(path, axis=-1) >= SPLIT_AT
    for _ in range(in_a_row - 1):
        away[:, 1:] &= away[:, :-1].copy()
        away[:, 0] = False
    return first(away)


def summary(slots: np.ndarray, onset: int = 0) -> Cell:
    """Share of acts, and the median delay in minutes since the onset."""
    acted = slots[slots >= 0]
    delay = float(np.median((acted + 1 - onset) * SLOT_MINUTES)) if acted.size else None
    return Cell(share=acted.size / slots.size, delay=delay)
