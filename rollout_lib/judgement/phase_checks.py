"""The runbook's success checkpoints, each a named check over the whole phase:
what it measured. What else must be true is in phase_duties. Pure.

One that is undecided carries its finding: what an acknowledgement of it covers, and how many more
requests would settle it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from rollout_lib import evidence
from rollout_lib.judgement import findings
from rollout_lib.judgement.figures import percentile, share
from rollout_lib.judgement.slot import split_check
from rollout_lib.judgement.streams import ACT_AT
from rollout_lib.model import (
    TOTAL,
    Check,
    CheckKind,
    Counts,
    Finding,
    FindingKind,
    Measurement,
    Outcome,
    RoutingConfig,
    Standing,
    State,
    Traffic,
)
from rollout_lib.plan.schema import Plan
from rollout_lib.text import e_value, limit, rate

_OF_THE_PHASE = {
    CheckKind.ERRORS: CheckKind.PHASE_ERRORS,
    CheckKind.LATENCY: CheckKind.PHASE_LATENCY,
}


@dataclass(frozen=True, kw_only=True)
class Whole:
    """A phase at its end: what it saw, and what comes at present."""

    traffic: Traffic  # the whole phase
    present: Traffic  # the last hour of it, which says how fast more will come
    counted: Counts  # distinct failing webhooks in total, every one of them
    thinned: Counts  # the same where a burst counts once, as the evidence does
    more: Counts  # rows and failing webhooks that the whole has more than its looks counted
    plan: Plan

    def needs(
        self,
        kind: FindingKind,
        subject: str,
        figures: Mapping[str, float],
        more: int,
        *,
        both: bool = False,
    ) -> tuple[Finding, str]:
        """A finding that so many more requests settle, and the words for it; both: of either
        destination."""
        seconds, words = findings.waits(more, findings.per_hour(self.present, self.plan, both=both))
        if not more:
            return Finding(kind=kind, subject=subject, figures=figures), "no waiting settles it"
        return (
            Finding(kind=kind, subject=subject, figures=figures, requests=more, seconds=seconds),
            words,
        )


def errors_check(literal: Check, whole: Whole) -> Check:
    """The cumulative error rate; literal is the check of the thresholds on the whole phase."""
    allowed = whole.plan.thresholds.error_rate_investigate_pct
    cell = findings.whole_cell(whole.traffic, whole.plan)
    figures = {
        "failing": cell.errors,
        "webhooks": whole.counted.bad,
        "rate": cell.errors / cell.requests if cell.requests else 0.0,
    }
    more = findings.more_for_errors(cell.errors, cell.requests, allowed)
    found, words = whole.needs(FindingKind.ERROR_RATE, TOTAL, figures, more)
    return _literal(
        literal, f"error rate < {limit(allowed)}", found, f"{words} without a failure", whole.plan
    )


def latency_check(literal: Check, whole: Whole) -> Check:
    """The p95 of the whole phase."""
    most = whole.plan.thresholds.p95_investigate_ms
    latencies = findings.whole_cell(whole.traffic, whole.plan).latencies
    figures = {"p95_ms": float(round(percentile(latencies, 0.95) or 0))}
    more = findings.more_for_latency(latencies, most)
    found, words = whole.needs(FindingKind.LATENCY, TOTAL, figures, more)
    return _literal(literal, f"p95 < {most:,} ms", found, f"{words} under {most:,} ms", whole.plan)


def _literal(check: Check, name: str, found: Finding, settles: str, plan: Plan) -> Check:
    """A literal failure without evidence is inconclusive; in mode strict the
    runbook decides alone.
    """
    check = replace(check, kind=_OF_THE_PHASE[check.kind])
    if check.state is State.CLEAN:
        return replace(check, name=name, state=None)
    if plan.mode == "strict" and check.state is not State.QUIET:
        return replace(check, name=name, state=State.HOLD)
    reason = f"{check.reason}; to settle it: {settles}"
    return replace(check, name=name, reason=reason, state=State.INCONCLUSIVE, finding=found)


def share_check(
    measurement: Measurement, standing: Standing, config: RoutingConfig, whole: Whole
) -> Check:
    """The share of unified over the whole phase; the alarm on evidence holds."""
    over_all = replace(measurement, window=whole.traffic)
    check = split_check(over_all, standing.looks, config.percentage, whole.plan)
    check = replace(check, kind=CheckKind.PHASE_SPLIT)
    name = f"~{config.percentage:g} % of traffic to unified"
    if check.outcome is Outcome.PASS:
        return replace(check, name=name, state=None)
    if check.state is State.HOLD:
        return replace(check, name=name, outcome=Outcome.FAIL)
    unified, legacy = share(whole.traffic, whole.plan.domains)
    off = 100 * unified / (unified + legacy) - float(config.percentage) if unified + legacy else 0.0
    more = findings.more_for_split(
        unified, legacy, config.percentage, whole.plan.thresholds.split_tolerance_points
    )
    found, words = whole.needs(
        FindingKind.SPLIT,
        "over the set share" if off > 0 else "under the set share",
        {"points": round(abs(off), 1)},
        more,
        both=True,
    )
    return replace(
        check,
        name=name,
        outcome=Outcome.FAIL,
        reason=f"{check.reason}; to settle it: {words} at the set share",
        state=State.INCONCLUSIVE,
        finding=found,
    )


def enough_check(standing: Standing, whole: Whole) -> Check:
    """At least half of the traffic that the plan expects: a phase that saw nearly nothing shows
    nothing.
    """
    plan, phase = whole.plan, standing.phase
    index = phase.index if phase is not None else None
    hold = plan.phases[index].hold if index is not None else timedelta(0)
    part = float(phase.percentage) / 100 if phase is not None else 0.0
    expected = part * sum(plan.expected_requests_per_hour.values()) * hold.total_seconds() / 3600
    total = whole.counted.total
    observed = f"{total:,} requests"
    enough = expected > 0 and total >= expected / 2
    check = Check(
        kind=CheckKind.ENOUGH,
        name="enough traffic",
        outcome=Outcome.PASS if enough else Outcome.FAIL,
        observed=observed,
        limit=f">= {expected / 2:,.0f} requests",
        reason=(
            f"{observed} in the phase; the plan expects {expected:,.0f}, and half of them is the"
            " least"
        ),
    )
    if enough:
        return check
    missing = math.ceil(expected / 2) - total
    found, words = whole.needs(FindingKind.TRAFFIC, TOTAL, {"missing": missing}, max(missing, 0))
    return replace(
        check,
        reason=f"{check.reason}; to settle it: {words}",
        state=State.INCONCLUSIVE,
        finding=found,
    )


def degradation_check(whole: Whole, standing: Standing) -> Check:
    """The attribution test with the previous phase in legacy's place; evidence of 20 fails."""
    counts, before = whole.thinned, standing.passed_traffic
    if (
        not before
        or standing.phase is None
        or float(before["percentage"]) >= float(standing.phase.percentage)
    ):
        return Check(
            kind=CheckKind.DEGRADATION,
            name="no degradation",
            outcome=Outcome.NOT_APPLICABLE,
            observed="first phase",
            limit="–",
            reason="There is no earlier passed phase to compare with.",
        )
    versus = evidence.log_evidence_versus(
        [counts.bad], [before["bad"]], [counts.total], [before["total"]]
    )
    observed = f"{rate(counts.bad, counts.total)} against {rate(before['bad'], before['total'])}"
    observed += "" if counts == whole.counted else ", a burst counted once"
    reason = f"{observed}: {e_value(versus)} that this phase fails more often (20 fails)"
    none_seen = versus < ACT_AT
    return Check(
        kind=CheckKind.DEGRADATION,
        name=f"no degradation vs {float(before['percentage']):g} %",
        outcome=Outcome.PASS if none_seen else Outcome.FAIL,
        observed="none seen" if none_seen else observed,
        limit="e < 20",
        reason=f"No degradation seen: {reason}" if none_seen else reason,
        state=None if none_seen else State.HOLD,
    )


def late_check(more: Counts) -> Check:
    """The phase measured as a whole, against the sum of its looks: rows logged late, or deleted."""
    observed = f"{more.total:+,} rows, {more.bad:+,} failing"
    reason = f"The whole phase against the sum of its looks: {observed}. "
    if more.total < 0:
        reason += "Rows were deleted; the larger count is judged."
    elif more.bad < 0:
        reason += (
            "Fewer failing webhooks are told apart now: ids changed; the larger count is judged."
        )
    else:
        reason += "They were logged too late for any check."
    undecided = more.total < 0 or more.bad != 0
    figures = {
        name: count
        for name, count in (
            ("more failing", more.bad),
            ("fewer failing", -more.bad),
            ("rows gone", -more.total),
        )
        if count > 0
    }
    return Check(
        kind=CheckKind.LATE_ROWS,
        name="late rows",
        outcome=Outcome.PASS if (more.bad, more.total) == (0, 0) else Outcome.WARN,
        observed=observed,
        limit="+0",
        reason=reason,
        state=State.INCONCLUSIVE if undecided else None,
        finding=(
            Finding(kind=FindingKind.LATE_ROWS, subject=TOTAL, figures=figures)
            if undecided
            else None
        ),
    )
