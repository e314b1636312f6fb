"""A checkpoint's message, {"subject", "text"}, from one Jinja template per kind; None where nobody
is told.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from rollout_lib.model import (
    TOTAL,
    UNIFIED,
    Act,
    Check,
    CheckKind,
    Checkpoint,
    Outcome,
    State,
    Verdict,
)
from rollout_lib.plan import Plan
from rollout_lib.redaction import redact

_UNMEASURED = "not measured by this run"


def render(
    checkpoint: Checkpoint, plan: Plan, *, kind: str | None = None, was: str = ""
) -> dict[str, str] | None:
    """The message of a checkpoint as subject and text; the chain's head is added when it is sent.

    kind: a template that the checkpoint alone does not know ("well_again" with what `was`, "off").
    """
    kind = kind or message_kind(checkpoint, plan)
    if kind is None:
        return None
    text = _environment().get_template(f"{kind}.j2").render(**_facts(checkpoint, plan), was=was)
    subject, _, body = text.strip().partition("\n")
    return {"kind": kind, "subject": subject.removeprefix("Subject:").strip(), "text": body.strip()}


def message_kind(checkpoint: Checkpoint, plan: Plan) -> str | None:
    """Which template a checkpoint speaks through, None for the silent ones."""
    change = checkpoint.change
    if checkpoint.kind in ("dry-run", "attempt"):
        return None
    if change is not None and change.applied:
        if not change.after[1] or change.after[0] == 0:
            return (
                "off" if checkpoint.operation == "monitor" and not change.before[1] else "roll_back"
            )
        return (
            "start"
            if change.after[0] > change.before[0] or not change.before[1]
            else "stepped_back"
        )
    if checkpoint.operation == "evaluate":
        if checkpoint.state is State.PASS:
            return "success"
        return (
            "hold"
            if checkpoint.state in (State.INCONCLUSIVE, State.HOLD)
            else _bad(checkpoint.state)
        )
    if checkpoint.operation == "report":
        return "day_complete"
    if checkpoint.operation == "monitor":
        if checkpoint.state in (State.STEP_BACK, State.ROLL_BACK) and not _is_on(checkpoint):
            return "off"  # somebody else lowered it already: there is nothing to ask for
        literal = checkpoint.verdict.literal if checkpoint.verdict else None
        if checkpoint.state is State.WATCH or literal is State.ROLL_BACK:
            return _bad(checkpoint.state) or "watch"
        return _bad(checkpoint.state)
    return None


def _is_on(checkpoint: Checkpoint) -> bool:
    config = checkpoint.config
    return config is None or (config.enabled and config.percentage > 0)


def _bad(state: State) -> str | None:
    return {
        State.HOLD: "hold",
        State.STEP_BACK: "step_back",
        State.ROLL_BACK: "roll_back",
        State.NO_DATA: "no_data",
        State.COULD_NOT_LOOK: "no_data",
    }.get(state)


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("rollout_lib.notify", "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # plain text: nothing here is HTML
    )


def _facts(checkpoint: Checkpoint, plan: Plan) -> dict[str, object]:
    figures = checkpoint.figures
    rows = figures.get("phase") or figures.get("rows") or []
    total = next(
        (row for row in rows if row["domain"] == TOTAL and row["routed_to"] == UNIFIED), None
    )
    config, change, phase = checkpoint.config, checkpoint.change, checkpoint.phase
    percentage = (
        change.after[0] if change and change.applied else (config.percentage if config else None)
    )
    index = phase.index if phase else None
    following = (
        plan.phases[index + 1] if index is not None and index + 1 < len(plan.phases) else None
    )
    target = next(
        (item for item in plan.phases if percentage is not None and item.percentage == percentage),
        None,
    )
    verdict = checkpoint.verdict
    return {
        "title": _title(plan.rollout),
        "impact": _check(verdict, CheckKind.IMPACT),
        "uptime": _check(verdict, CheckKind.PROTECTED),
        "guarded": _guarded(verdict, plan),
        "checkpoint": checkpoint,
        "plan": plan,
        "sentence": redact(checkpoint.sentence),
        "percentage": "–" if percentage is None else f"{percentage:g}",
        "before": f"{change.before[0]:g}" if change else "–",
        "hours": f"{target.hold.total_seconds() / 3600:g}" if target else "–",
        "following": f"{following.percentage:g}" if following else None,
        "domains": ", ".join(plan.domains),
        "protected": ", ".join(plan.protected_domains),
        "error_rate": _rate(total),
        "p95": _p95(total),
        "literal": verdict.literal.value if verdict else "–",
        "evidence": verdict.evidence.value if verdict else "–",
        "differ": verdict.differ if verdict else None,
        "failed": [c for c in verdict.checks if c.outcome is Outcome.FAIL] if verdict else [],
        "asks": bool(verdict and verdict.act is not Act.NONE and not verdict.acts_alone),
        "local": checkpoint.at.astimezone(plan.zone),
        "reason": redact(change.reason) if change else "",
        "notes": config.notes if config else None,
        "rollback": "rollout rollback --emergency --reason '…'",
        "again": (
            "To start again, a named person with a reason: rollout acknowledge --restart"
            " --reason '…'"
        ),
        "next_step": verdict.next_step if verdict else "",
    }


def _title(rollout: str) -> str:
    """`Week 6` for week6-unified, as the runbook's subjects have it; any other
    rollout by its name.
    """
    found = re.match(r"week(\d+)\b", rollout.split("-")[0])
    return f"Week {found[1]}" if found else rollout


def _check(verdict: Verdict | None, kind: CheckKind) -> Check | None:
    return (
        next((check for check in verdict.checks if check.kind is kind), None) if verdict else None
    )


def _guarded(verdict: Verdict | None, plan: Plan) -> str:
    """`mobility down, 2 in a row; profile answers`; a leak first; what was not looked at is not
    claimed.
    """
    leak, names = _check(verdict, CheckKind.LEAK), ", ".join(plan.protected_domains)
    said: dict[str, list[str]] = {}
    for check in verdict.checks if verdict else ():
        if check.kind is CheckKind.PROBE:
            said.setdefault(check.observed, []).append(check.subject)
    words = {"answers": "answer"}  # of all that do
    ordered = sorted(said.items(), key=lambda item: item[0] == "answers")
    lines = [f"{', '.join(sorted(names))} {words.get(what, what)}" for what, names in ordered]
    if leak is not None and leak.outcome is not Outcome.PASS:
        lines.insert(0, redact(leak.reason))
    if lines:
        return "; ".join(lines)
    return (
        f"{names}: not looked at by this run"
        if leak is None
        else f"{names} (no changes; not probed in this run)"
    )


def _rate(total: Mapping[str, Any] | None) -> str:
    if total is None:
        return _UNMEASURED
    if not total["requests"]:
        return "no request yet"
    rate = 100 * total["errors"] / total["requests"]
    return f"{rate:.2f}%, {total['errors']:,} of {total['requests']:,} requests"


def _p95(total: Mapping[str, Any] | None) -> str:
    if total is None:
        return _UNMEASURED
    return "no latency yet" if total["p95_ms"] is None else f"{total['p95_ms']:,.0f}ms"
