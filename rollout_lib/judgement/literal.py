"""The runbook's thresholds on a window, exactly as written, in exact integers.

Below the first limit is ok; at it, and up to and including the second, investigate (the runbook's
gradual rollback); over the second, roll back. No row is no answer, never ok."""

from __future__ import annotations

from decimal import Decimal

from rollout_lib.judgement.figures import percentile, select
from rollout_lib.model import (
    ROUTER_ERROR,
    TOTAL,
    UNIFIED,
    Check,
    CheckKind,
    Counts,
    Outcome,
    State,
    Traffic,
)
from rollout_lib.plan.schema import Plan, Thresholds
from rollout_lib.text import limit, milliseconds, rate


def error_state(bad: int, total: int, thresholds: Thresholds) -> State:
    """CLEAN below 0.1 %, STEP_BACK from 0.1 % to 0.5 %, ROLL_BACK over; QUIET without a request."""
    if total <= 0:
        return State.QUIET
    per_hundred = Decimal(100 * bad)
    if per_hundred < thresholds.error_rate_investigate_pct * total:
        return State.CLEAN
    if per_hundred <= thresholds.error_rate_rollback_pct * total:
        return State.STEP_BACK
    return State.ROLL_BACK


def latency_state(p95: float | None, thresholds: Thresholds) -> State:
    """CLEAN below 2000 ms, STEP_BACK from 2000 to 3000, ROLL_BACK over; QUIET without a latency."""
    if p95 is None:
        return State.QUIET
    if p95 < thresholds.p95_investigate_ms:
        return State.CLEAN
    if p95 <= thresholds.p95_rollback_ms:
        return State.STEP_BACK
    return State.ROLL_BACK


_OUTCOME = {
    State.CLEAN: Outcome.PASS,
    State.QUIET: Outcome.COULD_NOT_LOOK,
    State.STEP_BACK: Outcome.FAIL,
    State.ROLL_BACK: Outcome.FAIL,
}
_SAYS = {
    State.CLEAN: "ok",
    State.STEP_BACK: "the runbook says investigate, roll back gradually",
    State.ROLL_BACK: "the runbook says roll back",
}


def literal_checks(traffic: Traffic, plan: Plan) -> tuple[Check, ...]:
    """Error rate and p95 of unified per domain and in total, and the router's own errors over all
    rows.
    """
    limits, checks = plan.thresholds, []
    rates = limit(limits.error_rate_investigate_pct), limit(limits.error_rate_rollback_pct)
    latencies = f"{limits.p95_investigate_ms:,} ms", f"{limits.p95_rollback_ms:,} ms"
    for label, names in [(domain, [domain]) for domain in plan.domains] + [
        (TOTAL, list(plan.domains))
    ]:
        cell = select(traffic, UNIFIED, names)
        state = error_state(cell.errors, cell.requests, limits)
        checks.append(
            _check(CheckKind.ERRORS, label, state, rate(cell.errors, cell.requests), *rates)
        )
        p95 = percentile(cell.latencies, 0.95)
        state = latency_state(p95, limits)
        observed = f"p95 {milliseconds(p95)} of {sum(cell.latencies.values()):,}"
        checks.append(_check(CheckKind.LATENCY, label, state, observed, *latencies))
    router = router_counts(traffic)
    state = error_state(router.bad, router.total, limits)
    observed = f"{rate(router.bad, router.total)} of all rows"
    checks.append(_check(CheckKind.ROUTER, TOTAL, state, observed, *rates))
    return tuple(checks)


def router_counts(traffic: Traffic) -> Counts:
    """Rows that reached no destination, over all rows."""
    bad = sum(cell.requests for cell in traffic.cells if cell.routed_to == ROUTER_ERROR)
    return Counts(bad=bad, total=sum(cell.requests for cell in traffic.cells))


def _check(
    kind: CheckKind, subject: str, state: State, observed: str, first: str, second: str
) -> Check:
    """The reason names the limit that was crossed: `1/115 = 0.87 % > 0.5 %, the runbook says roll
    back`.
    """
    crossed = {
        State.CLEAN: f" < {first}, ",
        State.STEP_BACK: f" >= {first}, ",
        State.ROLL_BACK: f" > {second}, ",
    }
    reason = (
        observed + crossed[state] + _SAYS[state]
        if state in crossed
        else f"{observed}: nothing to judge"
    )
    return Check(
        name=kind.value if kind is CheckKind.ROUTER else f"{kind}:{subject}",
        kind=kind,
        subject=subject,
        outcome=_OUTCOME[state],
        observed=observed,
        limit=f"< {first}",
        reason=reason,
        state=state,
    )
