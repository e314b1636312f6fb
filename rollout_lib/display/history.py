"""What charts read from the bodies of checkpoints: rows a check, looks, changes, missed checks.
Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from rollout_lib.judgement.timeline import expected_slots
from rollout_lib.model import TOTAL, UNIFIED
from rollout_lib.plan import Plan

Body = Mapping[str, Any]
Bodies = Sequence[Body]


def instant(body: Body) -> datetime:
    """When a checkpoint looked."""
    return datetime.fromisoformat(body["at"])


def monitors(history: Bodies) -> list[Body]:
    """The checks that measured a running phase, a person's extra ones among them."""
    return [
        body
        for body in history
        if body.get("operation") == "monitor"
        and (body.get("figures") or {}).get("rows")
        and body.get("phase")
    ]


def looks(history: Bodies) -> list[Body]:
    """The scheduled checks with their increment: what the evidence is made of."""
    return [body for body in monitors(history) if is_look(body)]


def is_look(body: Body) -> bool:
    """Is a check one of the scheduled ones, whose increment the evidence keeps?"""
    return bool(body.get("look")) and body["kind"] == "checkpoint"


def after(body: Body) -> tuple[float, bool] | None:
    """What a run made of the routing (percentage, enabled), None where it changed nothing."""
    change, adopted = body.get("change"), body.get("adopted")
    if change and change["applied"]:
        return float(change["after"][0]), bool(change["after"][1])
    if adopted:
        return float(adopted["percentage"]), bool(adopted["enabled"])
    return None


def changes(history: Bodies) -> list[dict[str, Any]]:
    """Each change of percentage: at, percentage (0 while off), words for the rule."""
    found = []
    for body in history:
        now = after(body)
        if now is not None:
            value = now[0] if now[1] else 0.0
            found.append(
                {
                    "at": instant(body),
                    "percentage": value,
                    "words": f"{value:g} %" if value else "off",
                }
            )
    return found


def missing(history: Bodies, plan: Plan) -> list[datetime]:
    """Slots of the history without a completed check while routing was on; the open one is not
    missed yet.
    """
    if not history:
        return []
    done = {datetime.fromisoformat(body["slot"]) for body in monitors(history) if body.get("slot")}
    steps = changes(history)
    gaps = []
    # Before the first change there is an end and no step.
    for step, end in zip(
        steps, [*(item["at"] for item in steps[1:]), instant(history[-1])], strict=False
    ):
        if step["percentage"]:
            gaps += [slot for slot in expected_slots(step["at"], end, plan) if slot not in done]
    open_from = instant(history[-1]) - plan.monitoring.interval
    return [slot for slot in gaps if slot <= open_from]


def totals(history: Bodies, gaps: Sequence[datetime]) -> list[dict[str, Any]]:
    """Unified's total at each check; `part` changes where the line must not be joined."""
    return list(parted((_total(body) for body in monitors(history)), gaps))


def parted(rows: Iterator[dict[str, Any]], gaps: Sequence[datetime]) -> Iterator[dict[str, Any]]:
    """Number the stretches: a missed check or a new phase begins another one."""
    part, before = 0, None
    for row in rows:
        if before and (
            row["phase"] != before["phase"] or any(before["at"] < gap < row["at"] for gap in gaps)
        ):
            part += 1
        before = row
        yield row | {"part": part}


def _total(body: Body) -> dict[str, Any]:
    rows = body["figures"]["rows"]
    total = next(row for row in rows if row["domain"] == TOTAL and row["routed_to"] == UNIFIED)
    config = body.get("config") or {}
    configured = float(config["percentage"]) if config.get("enabled") else 0.0
    return {
        **total,
        "at": instant(body),
        "phase": body["phase"]["began_at"],
        "configured": configured,
    }


def clock(at: datetime, plan: Plan, history: Bodies = ()) -> str:
    """`11:30` in the rollout's zone; with the day where the history has more than one."""
    local = at.astimezone(plan.zone)
    days = {instant(body).astimezone(plan.zone).date() for body in history}
    return f"{local:%a %H:%M}" if len(days) > 1 else f"{local:%H:%M}"


def wall(at: datetime, plan: Plan) -> int:
    """The rollout's wall clock as epoch milliseconds of UTC: an axis then never follows this
    machine's zone.
    """
    offset = at.astimezone(plan.zone).utcoffset() or timedelta(0)
    return round((at + offset).timestamp() * 1000)
