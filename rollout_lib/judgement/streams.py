"""The evidence verdict of each stream: errors and latency in total and per
domain, and the router.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import accumulate, pairwise

from rollout_lib import evidence
from rollout_lib.judgement.counting import LATENCY_LIMIT, error_limit, told
from rollout_lib.model import (
    LEGACY,
    ROUTER,
    TOTAL,
    UNIFIED,
    Cell,
    CheckKind,
    Counts,
    Difference,
    Look,
    State,
    StreamEvidence,
)
from rollout_lib.plan.schema import Plan

HOLD_AT = math.log(5)
ACT_AT = math.log(20)
SPLIT_AT = math.log(100)
DESIGNED_LIMIT = 0.001  # the error rate that the alternatives were chosen for
_PARTS = ("bad", "total")
AT_LEAST = 2  # distinct failing webhooks: a single one is never evidence


@cache
def error_bets(limit: float) -> tuple[float, tuple[float, ...], tuple[float, ...]]:
    """(limit, alternatives, weights): the design's alternatives to 0.1 %, moved in odds to another
    limit.
    """
    if limit == DESIGNED_LIMIT:
        return limit, evidence.ERROR_ALTERNATIVES, evidence.ERROR_WEIGHTS

    def odds(p: float) -> float:
        return p / (1 - p)

    moved = [odds(q) / odds(DESIGNED_LIMIT) * odds(limit) for q in evidence.ERROR_ALTERNATIVES]
    return limit, tuple(one / (1 + one) for one in moved), evidence.ERROR_WEIGHTS


def judge_streams(
    looks: Sequence[Look], literal: Mapping[tuple[CheckKind, str], State], plan: Plan
) -> tuple[StreamEvidence, ...]:
    """Every stream's evidence over the looks of the phase (a partial one last) beside its literal
    state.
    """
    _in_order(looks)
    per_domain = ACT_AT + math.log(len(plan.domains))
    streams = []
    for label in (*plan.domains, TOTAL):
        act_at = ACT_AT if label == TOTAL else per_domain
        for measure, limit in (
            (CheckKind.ERRORS, error_limit(plan)),
            (CheckKind.LATENCY, LATENCY_LIMIT),
        ):
            streams.append(_stream(measure, label, looks, limit, act_at, literal))
    streams.append(_stream(CheckKind.ROUTER, TOTAL, looks, error_limit(plan), ACT_AT, literal))
    return tuple(streams)


def _in_order(looks: Sequence[Look]) -> None:
    """Increments follow each other and never overlap, or no evidence could be trusted."""
    for before, after in pairwise(looks):
        if after.window.start < before.window.end or not before.closed:
            raise evidence.CountError(
                reason=(
                    f"looks out of order: one ends {before.window.end}, the next begins"
                    f" {after.window.start}."
                )
            )


def _stream(
    measure: CheckKind,
    domain: str,
    looks: Sequence[Look],
    limit: float,
    act_at: float,
    literal: Mapping[tuple[CheckKind, str], State],
) -> StreamEvidence:
    bets = error_bets(limit)
    if measure is CheckKind.LATENCY:
        bets = limit, evidence.LATENCY_ALTERNATIVES, evidence.LATENCY_WEIGHTS
    stream = ROUTER if measure is CheckKind.ROUTER else f"{measure}:{domain}"
    counts = [_bet_on(look, measure, domain) for look in looks]
    bads, totals = [one.bad for one in counts], [one.total for one in counts]
    counted = Counts(bad=sum(bads), total=sum(totals))
    all_of_it = [told(look, stream) for look in looks]
    bad, total = (sum(getattr(one, part) for one in all_of_it) for part in _PARTS)
    path = evidence.log_evidence_restart(bads, totals, *bets)
    now, peak = (path[-1], max(path)) if path else (0.0, 0.0)
    acting = acting_peak(path, bads)
    certificate = evidence.log_certificate(bad, total, limit)
    said = literal[measure, domain]
    return StreamEvidence(
        stream=stream,
        measure=measure,
        domain=domain,
        bad=bad,
        total=total,
        e_now=now,
        e_peak=peak,
        hold_at=HOLD_AT,
        act_at=act_at,
        path=tuple(path),
        certificate=certificate,
        interval=evidence.rate_interval(bad, total) if total else None,
        literal=said,
        evidence=ladder_state(now, acting, act_at, counted.bad, total, certificate, said),
        counted=None if counted == Counts(bad=bad, total=total) else counted,
    )


def _bet_on(look: Look, measure: CheckKind, domain: str) -> Counts:
    if measure is CheckKind.ROUTER:
        return look.router
    return (look.errors if measure is CheckKind.ERRORS else look.latency)[domain]


def acting_peak(path: Sequence[float], bads: Sequence[int]) -> float:
    """The highest evidence among the looks by which AT_LEAST webhooks had failed; -inf for none.

    What one webhook showed once is no ground to act when another fails hours later."""
    reached = zip(path, accumulate(bads), strict=True)
    return max((value for value, bad in reached if bad >= AT_LEAST), default=-math.inf)


def ladder_state(
    now: float, peak: float, act_at: float, bad: int, total: int, certificate: float, literal: State
) -> State:
    """Worst first; a stream without a single request is QUIET, never clean."""
    enough = bad >= AT_LEAST
    if enough and peak >= act_at:
        return State.ROLL_BACK if literal is State.ROLL_BACK else State.STEP_BACK
    if enough and now >= HOLD_AT:
        return State.HOLD
    if literal in (State.STEP_BACK, State.ROLL_BACK):
        return State.WATCH
    if total == 0:
        return State.QUIET
    return State.CERTIFIED if certificate >= ACT_AT else State.CLEAN_UNPROVEN


def split_alarm(looks: Sequence[Look], share: float) -> tuple[float, ...]:
    """The path of log M of the split over the looks' settled rows."""
    unified = [look.unified_settled for look in looks]
    legacy = [look.legacy_settled for look in looks]
    return tuple(evidence.log_split_evidence_restart(unified, legacy, share))


def shared_incident(looks: Sequence[Look], legacy: Cell, plan: Plan) -> bool:
    """Is legacy over its line too, without evidence that unified is worse? Then rolling back may
    not help.
    """
    over = legacy.errors * 100 > float(plan.thresholds.error_rate_investigate_pct) * legacy.requests
    if not over or not looks:
        return False
    versus = evidence.log_evidence_versus(
        [told(look, f"errors:{TOTAL}").bad for look in looks],
        [look.legacy.bad for look in looks],
        [told(look, f"errors:{TOTAL}").total for look in looks],
        [look.legacy.total for look in looks],
    )
    return versus < HOLD_AT


def differences(looks: Sequence[Look]) -> tuple[Difference, ...]:
    """Unified less legacy over the looks of the phase, in errors and in what is slower than the p95
    may be; nothing before both came.

    It decides nothing, so counts that cannot be or a search that finds no end cost the figure and
    never the verdict."""
    mine = [told(look, f"errors:{TOTAL}") for look in looks]
    found = [_difference("errors", mine, [look.legacy for look in looks])]
    timed = [look.slower for look in looks if {UNIFIED, LEGACY} <= look.slower.keys()]
    slower = ([one[name] for one in timed] for name in (UNIFIED, LEGACY))
    found.append(_difference("latency", *slower))
    return tuple(filter(None, found))


def _difference(metric: str, mine: Sequence[Counts], theirs: Sequence[Counts]) -> Difference | None:
    (bad_u, total_u), (bad_l, total_l) = (
        (sum(one.bad for one in counts), sum(one.total for one in counts))
        for counts in (mine, theirs)
    )
    if not (total_u and total_l):
        return None
    try:
        low, high = evidence.difference_interval(bad_u, total_u, bad_l, total_l)
    except (evidence.CountError, ArithmeticError, ValueError, RuntimeError):
        return None
    if not -1 <= low <= high <= 1:
        return None
    unified, legacy = Counts(bad=bad_u, total=total_u), Counts(bad=bad_l, total=total_l)
    return Difference(metric=metric, unified=unified, legacy=legacy, low=low, high=high)
