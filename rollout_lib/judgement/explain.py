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
from rollout_lib.plan import Plan
from rollout_lib.text import e_value, hours, limit, percent, percent_up, rate

_ROUTING = (CheckKind.SPLIT, CheckKind.PHASE_SPLIT, CheckKind.DRIFT, CheckKind.PLAN)
_KINDS = {
    CheckKind.ERRORS: "failing",
    CheckKind.LATENCY: "slow",
    CheckKind.ROUTER: "unreachable",
}


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
    """The literal breach (or the act) with its arithmetic, and what the evidence makes of it."""
    mine = (stream.measure, stream.domain)
    literal = next((one for one in verdict.checks if (one.kind, one.subject) == mine), None)
    said = f"literal: {literal.reason}." if literal is not None else ""
    kind = _KINDS[stream.measure]
    count = f"{stream.bad:,} {kind} webhooks" if stream.bad != 1 else f"one {kind} webhook"
    count += f" of {stream.total:,} in the phase{_counted(stream)}"
    highest = f", highest {e_value(stream.e_peak)}" if stream.e_peak > stream.e_now else ""
    return (
        f"{stream.stream}: {said} Evidence: {count};{_chance(stream, window, plan)}"
        f" {e_value(stream.e_now)}{highest} (hold at {math.exp(stream.hold_at):.0f}, act at"
        f" {math.exp(stream.act_at):.0f}, never on a single webhook)."
    )


def _counted(stream: StreamEvidence) -> str:
    """Of how many failures the evidence is made, where a burst of them counts once."""
    return "" if stream.counted is None else f" ({stream.counted.bad:,} where a burst counts once)"


def _chance(stream: StreamEvidence, window: Traffic, plan: Plan) -> str:
    """How often a service exactly at the limit shows a failure in a window like this one: why one
    is no proof.
    """
    label = stream.domain
    if stream.measure is not CheckKind.ERRORS or stream.evidence is not State.WATCH:
        return ""
    requests = select(window, UNIFIED, list(plan.domains) if label == TOTAL else [label]).requests
    allowed = plan.thresholds.error_rate_investigate_pct
    shown = -math.expm1(requests * math.log1p(-float(allowed) / 100))
    hour = (
        "such an hour"
        if window.window.end - window.window.start == timedelta(hours=1)
        else "such a window"
    )
    return (
        f" a service exactly at {limit(allowed)} shows at least one in {hour} with probability"
        f" {100 * shown:.0f} %;"
    )


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
        over = f"{rate(top.bad, top.total)} over the phase ({e_value(top.e_peak)})"
        return f"the last window is within the thresholds, but {top.stream} has {over}"
    top = max(loud, key=lambda stream: (stream.literal is State.ROLL_BACK, stream.bad))
    if (top.counted or top).bad < 2:
        failing = f"{top.bad} distinct failing webhook in {top.total:,} requests"
        if top.bad > 1:
            failing = f"{top.bad:,} failing webhooks of {top.total:,}, all in one burst:"
        return f"{top.stream}: {failing} is no evidence against the limit ({e_value(top.e_now)})"
    gives = (
        f"{rate(top.bad, top.total)} over the phase gives {e_value(top.e_now)}, the highest"
        f" {e_value(top.e_peak)}"
    )
    return f"{top.stream}: {gives}; acting needs {math.exp(top.act_at):.0f}"


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
