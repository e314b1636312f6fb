"""What the operator reads first: one sentence with its arithmetic, and the command to run next.
Pure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal

from rollout_lib import evidence as engine
from rollout_lib.judgement.figures import select
from rollout_lib.model import (
    TOTAL,
    UNIFIED,
    CheckKind,
    Look,
    State,
    StreamEvidence,
    Traffic,
    Verdict,
)
from rollout_lib.plan.schema import Plan
from rollout_lib.text import evidence_value, hours, limit, percent, percent_up, rate, span

_ROUTING = (CheckKind.SPLIT, CheckKind.PHASE_SPLIT, CheckKind.DRIFT, CheckKind.PLAN)
_DID = {
    CheckKind.ERRORS: "failed",
    CheckKind.LATENCY: "were slow",
    CheckKind.ROUTER: "reached no function",
}
_ACTING = (State.STEP_BACK, State.ROLL_BACK)


def clean_sentence(stream: StreamEvidence, plan: Plan, looks: Sequence[Look]) -> str:
    """What the data excludes by now, and what is still missing in requests and hours."""
    if not stream.total:
        return "No unified request yet in this phase: nothing is shown, nothing is excluded."
    failed = f"{stream.bad:,}" if stream.bad else "None"
    limits = plan.thresholds
    thresholds = (limits.error_rate_rollback_pct, limits.error_rate_investigate_pct)
    high = bound(stream.bad, stream.total, thresholds)
    per_hour = _per_hour(stream.total, looks)
    words = (
        f"{failed} of {stream.total:,} requests failed. The true rate is below {high} (95 % sure)."
    )
    return words + "".join(_missing(stream.bad, stream.total, one, per_hour) for one in thresholds)


def bound(bad: int, total: int, thresholds: Sequence[Decimal]) -> str:
    """The rate that is certified, as text: rounded up where rounding would put it at or under a
    threshold that it has not reached.
    """
    value = 100 * engine.certified_bound(bad, total)
    over = any(float(one) < value and round(value, 2) <= float(one) for one in thresholds)
    return percent_up(value) if over else percent(value)


def _missing(bad: int, total: int, threshold: Decimal, per_hour: float) -> str:
    needed = engine.required_total_anytime(bad, float(threshold) / 100) - total
    if needed <= 0:
        return f" Shown: < {limit(threshold)}."
    when = f"{hours(needed / per_hour)} more" if per_hour else "more requests"
    return f" Proving < {limit(threshold)} takes {when} without an error ({needed:,} requests)."


def _per_hour(total: int, looks: Sequence[Look]) -> float:
    seconds = (looks[-1].window.end - looks[0].window.start).total_seconds() if looks else 0
    return total * 3600 / seconds if seconds > 0 else 0.0


def watch_sentence(stream: StreamEvidence, verdict: Verdict, window: Traffic, plan: Plan) -> str:
    """Return what the last hour shows, what the phase shows, and whether chance explains it."""
    scale = f"evidence {_evidence(stream)}, acts at {math.exp(stream.act_at):.0f}"
    count = (
        f"{stream.bad:,} of {stream.total:,} webhooks {_DID[stream.measure]} in the phase"
        f"{_counted(stream)}"
    )
    counted = (stream.counted or stream).bad
    if counted < 2 and stream.evidence not in _ACTING:
        one = "One slow webhook" if stream.measure is CheckKind.LATENCY else "One failure"
        why = f"{count}. {one} proves nothing{_chance(stream, window, plan)} ({scale})."
        if not counted:
            why = f"{count}: there is no evidence yet ({scale})."
    else:
        why = f"{count}. Chance is {_explains(stream)} ({scale})."
    return f"{_by_the_runbook(stream, verdict, window, plan)} {why}".strip()


def _by_the_runbook(stream: StreamEvidence, verdict: Verdict, window: Traffic, plan: Plan) -> str:
    """The last window of the stream and the threshold that it crossed; "" where it crossed none."""
    limits = plan.thresholds
    over = {
        State.STEP_BACK: (
            "not under",
            limits.error_rate_investigate_pct,
            limits.p95_investigate_ms,
        ),
        State.ROLL_BACK: ("over", limits.error_rate_rollback_pct, limits.p95_rollback_ms),
    }.get(stream.literal)
    mine = (stream.measure, stream.domain)
    literal = next((one for one in verdict.checks if (one.kind, one.subject) == mine), None)
    if over is None or literal is None:
        return ""
    words, most, slowest = over
    whose = "" if stream.domain == TOTAL else f"{stream.domain} "
    since = _since(window)
    if stream.measure is CheckKind.LATENCY:
        return f"{literal.observed} {whose}requests {since}: {words} {slowest:,} ms."
    if stream.measure is CheckKind.ROUTER:
        return f"{literal.observed} reached no function {since}: {words} {limit(most)}."
    cell = select(window, UNIFIED, list(plan.domains) if not whose else [stream.domain])
    shown = percent(100 * cell.errors / cell.requests)
    failed = f"{cell.errors:,} of {cell.requests:,} {whose}requests failed {since}"
    return f"{failed}: {shown}, {words} {limit(most)}."


def _since(window: Traffic) -> str:
    length = window.window.end - window.window.start
    return "in the last hour" if length == timedelta(hours=1) else f"in the last {span(length)}"


def _evidence(stream: StreamEvidence) -> str:
    """What it is now, and the highest of the phase where that is more."""
    highest = f", {evidence_value(stream.e_peak)} at most" * (stream.e_peak > stream.e_now)
    return f"{evidence_value(stream.e_now)}{highest}"


def _explains(stream: StreamEvidence) -> str:
    """How well chance explains what was seen, by the lines of the stream."""
    if stream.e_peak >= stream.act_at:
        return "a very unlikely explanation"
    return "an unlikely explanation" if stream.e_now >= stream.hold_at else "enough to explain it"


def _counted(stream: StreamEvidence) -> str:
    """Of how many failures the evidence is made, where a burst of them counts once."""
    return "" if stream.counted is None else f" ({stream.counted.bad:,} where a burst counts once)"


def _chance(stream: StreamEvidence, window: Traffic, plan: Plan) -> str:
    """How often a service exactly at the limit shows a failure in a window like this one: why one
    is no proof.
    """
    if stream.measure is not CheckKind.ERRORS:
        return ""
    names = list(plan.domains) if stream.domain == TOTAL else [stream.domain]
    requests = select(window, UNIFIED, names).requests
    allowed = plan.thresholds.error_rate_investigate_pct
    shown = -math.expm1(requests * math.log1p(-float(allowed) / 100))
    length = window.window.end - window.window.start
    such = "hours" if length == timedelta(hours=1) else "windows"
    return f": a service at {limit(allowed)} shows one in {100 * shown:.0f} % of such {such}"


def differ_sentence(verdict: Verdict, plan: Plan) -> str | None:
    """Why the two columns ask for different things, None where they ask for the same."""
    calm = {State.CLEAN, State.CLEAN_UNPROVEN, State.CERTIFIED, State.QUIET}
    if verdict.literal is verdict.evidence or {verdict.literal, verdict.evidence} <= calm:
        return None
    loud = [s for s in verdict.streams if s.literal in (State.STEP_BACK, State.ROLL_BACK)]
    if verdict.literal is State.WATCH:
        split = next(check for check in verdict.checks if check.kind is CheckKind.SPLIT)
        return f"the share is not as configured: {split.reason}"
    if not loud:
        held = [
            s
            for s in verdict.streams
            if s.evidence in (State.HOLD, State.STEP_BACK, State.ROLL_BACK)
        ]
        if not held:
            return None
        top = max(held, key=lambda stream: stream.e_peak)
        over = f"{rate(top.bad, top.total)} over the phase, evidence {_evidence(top)}"
        return f"the last window is within the thresholds, and {top.label} not: {over}"
    top = max(loud, key=lambda stream: (stream.literal is State.ROLL_BACK, stream.bad))
    scale = f"evidence {_evidence(top)}, acts at {math.exp(top.act_at):.0f}"
    if (top.counted or top).bad < 2:
        failing = f"one failing webhook of {top.total:,} proves nothing"
        if top.bad > 1:
            failing = f"{top.bad:,} failing webhooks of {top.total:,} in one burst prove nothing"
        return f"{top.label}: {failing} ({scale})"
    return f"{top.label}: {rate(top.bad, top.total)} over the phase ({scale})"


def next_command(state: State, plan: Plan, about: CheckKind | None = None) -> str:
    """The last line of every result: what to do next, as a command that can be pasted.

    about: the kind of check or stream that asks for it, where there is one: not everything is shown by the
    errors."""
    where = f"--plan {plan.path}"
    look = f"{_look(about).format(where=where)} To stop: rollout rollback --emergency --reason '…'"
    return {
        State.CERTIFIED: f"rollout status {where}",
        State.CLEAN: f"rollout status {where}",
        State.CLEAN_UNPROVEN: f"rollout status {where}",
        State.QUIET: f"rollout status {where}",
        State.OFF: f"rollout report {where}",
        State.PASS: f"rollout attest --complaints none {where}",
        State.WATCH: look,
        State.INCONCLUSIVE: (
            f"rollout acknowledge --reason '…' {where}    # or hold longer: --extend auto"
        ),
        State.HOLD: look,
        State.COULD_NOT_LOOK: f"rollout preflight {where}",
        State.NO_DATA: (
            f"rollout preflight {where}    # to stop: rollout rollback --emergency --reason '…'"
        ),
        State.STEP_BACK: f"rollout rollback --apply --reason '…' {where}",
        State.ROLL_BACK: f"rollout rollback --emergency --reason '…' {where}",
    }[state]


def _look(about: CheckKind | None) -> str:
    if about in _ROUTING:
        split = about in (CheckKind.SPLIT, CheckKind.PHASE_SPLIT)
        shows = "the split chart shows since when" if split else "the notes say who"
        return (
            "rollout status {where}    # does the router route by this configuration?"
            f" {shows.capitalize()}."
        )
    if about in (CheckKind.LATENCY, CheckKind.PHASE_LATENCY):
        return (
            "rollout monitor {where}    # slow, not failing: the p95 chart of its page shows which"
            " domain."
        )
    return "rollout errors {where}    #"
