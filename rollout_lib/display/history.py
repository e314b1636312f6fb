"""What charts read from checkpoints: rows a check, looks, changes, missed checks.
Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from rollout_lib.judgement.timeline import slots_of, spans, turns
from rollout_lib.model import TOTAL, UNIFIED, Checkpoint, EntryKind, Look, PhaseRun
from rollout_lib.plan import Plan

History = Sequence[Checkpoint]  # oldest first


def monitors(history: History) -> list[tuple[Checkpoint, PhaseRun]]:
    """The checks that measured a running phase, with it; a person's extra ones among them."""
    return [
        (run, run.phase)
        for run in history
        if run.operation == "monitor" and run.figures.get("rows") and run.phase
    ]


def looks(history: History) -> list[tuple[Checkpoint, PhaseRun, Look]]:
    """The scheduled checks with their increment: what the evidence is made of."""
    return [(run, phase, run.look) for run, phase in monitors(history) if run.look and is_look(run)]


def is_look(run: Checkpoint) -> bool:
    """Is a check one of the scheduled ones, whose increment the evidence keeps?"""
    return run.look is not None and run.kind == EntryKind.CHECKPOINT


def changes(history: History) -> list[dict[str, Any]]:
    """Each change of percentage: at, percentage (0 while off), words for the rule."""
    found = []
    for turn, _ in turns(history):
        value = float(turn.percentage) if turn.runs else 0.0
        words = f"{value:g} %" if value else "off"
        found.append({"at": turn.at, "percentage": value, "words": words})
    return found


def missing(history: History, plan: Plan) -> list[datetime]:
    """Slots of the history without a completed check while routing was on; the open one is not
    missed yet.
    """
    if not history:
        return []
    done = {run.slot for run, _ in monitors(history) if run.slot and is_look(run)}
    return [
        slot
        for span in spans(history)
        for slot in slots_of(span.began_at, span.ended_at or history[-1].at, done, plan).missed
    ]


def totals(history: History, gaps: Sequence[datetime]) -> list[dict[str, Any]]:
    """Unified's total at each check; `part` changes where the line must not be joined."""
    return list(parted((_total(run, phase) for run, phase in monitors(history)), gaps))


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


def _total(run: Checkpoint, phase: PhaseRun) -> dict[str, Any]:
    rows = run.figures["rows"]
    total = next(row for row in rows if row["domain"] == TOTAL and row["routed_to"] == UNIFIED)
    configured = float(run.config.percentage) if run.config and run.config.enabled else 0.0
    return {
        **total,
        "at": run.at,
        "phase": phase.began_at.isoformat(),
        "configured": configured,
    }


def clock(at: datetime, plan: Plan, history: History = ()) -> str:
    """`11:30` in the rollout's zone; with the day where the history has more than one."""
    local = at.astimezone(plan.zone)
    days = {run.at.astimezone(plan.zone).date() for run in history}
    return f"{local:%a %H:%M}" if len(days) > 1 else f"{local:%H:%M}"


def wall(at: datetime, plan: Plan) -> int:
    """The rollout's wall clock as epoch milliseconds of UTC: an axis then never follows this
    machine's zone.
    """
    offset = at.astimezone(plan.zone).utcoffset() or timedelta(0)
    return round((at + offset).timestamp() * 1000)
