"""What the control room shows, as one frozen value made of what one look saw. Pure: no clock, no
database.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from rollout_lib.database.lease import Holder
from rollout_lib.display.words import BADGES
from rollout_lib.judgement.figures import table_rows
from rollout_lib.judgement.gates import next_percentage, paused, step_back_target
from rollout_lib.judgement.state import held_until, phase_index
from rollout_lib.judgement.timeline import slot_of, slots_of
from rollout_lib.model import (
    Archived,
    Body,
    Checkpoint,
    Entry,
    EntryKind,
    Held,
    LedgerEntry,
    Missed,
    PhaseRun,
    Place,
    RoutingConfig,
    Standing,
    State,
    Statement,
    Unreadable,
    Verdict,
    runs,
)
from rollout_lib.operations import Round
from rollout_lib.plan import Plan
from rollout_lib.redaction import redact

SHOWN = 12  # rows of the timeline; the archive's index has the rest


@dataclass(frozen=True, kw_only=True)
class Step:
    """One row of the timeline: what was run or stated, and the archived files that show it (below
    outputs/).
    """

    run_id: str
    seq: int
    at: datetime | None  # None where an entry's instant cannot be read
    what: str
    state: State | None
    sentence: str
    by: str
    files: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class View:
    """Everything on the screen, as of one instant.

    at is the run's now (a rehearsed day's own clock where `simulated`), read_at this machine's
    clock at that moment. hold is (until, share served); late says that a check is overdue. up and
    down are the percentages of the next and the previous phase (down 0: off); owed is what a named
    person would acknowledge now."""

    place: Place
    at: datetime
    read_at: datetime
    simulated: bool
    config: RoutingConfig | None
    phase: PhaseRun | None
    phase_words: str
    hold: tuple[datetime, float] | None
    next_check: datetime
    late: timedelta | None
    last: Checkpoint | None
    verdict: Verdict
    window: tuple[datetime, datetime]
    rows: Sequence[Mapping[str, Any]]
    errors: Sequence[Mapping[str, Any]]
    watcher: Holder | None
    up: Decimal | None
    down: Decimal | None
    owed: tuple[str, str, str] | None
    steps: tuple[Step, ...]
    history: tuple[Checkpoint, ...] = field(repr=False)
    head: tuple[int, str]


def view_of(
    plan: Plan,
    place: Place,
    seen: Round,
    watcher: Holder | None,
    *,
    read_at: datetime,
    simulated: bool,
) -> View:
    """The view of one look."""
    standing, config, now = seen.standing, seen.facts.config, seen.now
    on = config if config is not None and config.enabled and config.percentage > 0 else None
    history = tuple(run.body for run in runs(seen.facts.entries))
    checks = [run for run in history if run.operation == "monitor" and run.verdict]
    window = seen.measurement.window
    return View(
        place=place,
        at=now,
        read_at=read_at,
        simulated=simulated,
        config=config,
        phase=standing.phase,
        phase_words=_phase_words(plan, standing, config) + _paused(standing),
        hold=_hold(plan, standing, now),
        next_check=slot_of(now, plan.monitoring.interval) + plan.monitoring.interval,
        late=_late(plan, standing, now),
        last=checks[-1] if checks else None,
        verdict=seen.verdict,
        window=(window.window.start, window.window.end),
        rows=table_rows(window, plan.domains),
        errors=seen.measurement.errors,
        watcher=watcher,
        up=next_percentage(plan, on.percentage if on else Decimal(0)),
        down=(step_back_target(plan, standing, on.percentage) or Decimal(0)) if on else None,
        owed=owed(standing),
        steps=steps_of(seen.facts.entries),
        history=history,
        head=seen.facts.head,
    )


def owed(standing: Standing) -> tuple[str, str, str] | None:
    """What an acknowledgement would be of, as (subject, value, words); None where nothing waits for
    a person.
    """
    if standing.rolled_back_at is not None:
        why = (
            f"routing was rolled back at {standing.rolled_back_at:%Y-%m-%d %H:%M} UTC"
            f" ({standing.latched_reason})"
        )
        return "restart", "after rollback", f"{why}: you take responsibility for starting again"
    if standing.evaluation is not None and standing.evaluation[1] is State.INCONCLUSIVE:
        at, state = standing.evaluation
        why = f"the phase was evaluated {BADGES[state][1]} at {at:%Y-%m-%d %H:%M} UTC"
        return (
            "acknowledgement",
            "inconclusive",
            f"{why}: you take responsibility; then evaluate it again",
        )
    return None


def _phase_words(plan: Plan, standing: Standing, config: RoutingConfig | None) -> str:
    if config is None:
        return "the configuration cannot be read"
    if not config.enabled or config.percentage == 0:
        return "everything goes to legacy"
    index = phase_index(plan, config.percentage)
    if index is None:
        return "off the plan"
    anew = (
        f", begun {standing.phase.attempt} times"
        if standing.phase and standing.phase.attempt > 1
        else ""
    )
    return f"phase {index + 1} of {len(plan.phases)}{anew}"


def _paused(standing: Standing) -> str:
    """Who holds the rollout and why, beside the phase; "" where nobody does."""
    hold = paused(standing)
    return f" · held by {hold.by}: {redact(hold.reason)}" if hold else ""


def _hold(plan: Plan, standing: Standing, now: datetime) -> tuple[datetime, float] | None:
    until = held_until(plan, standing)
    if until is None or standing.phase is None:
        return None
    served = (now - standing.phase.began_at) / (until - standing.phase.began_at)
    return until, min(max(served, 0.0), 1.0)


def _late(plan: Plan, standing: Standing, now: datetime) -> timedelta | None:
    """How long the check of the open slot is overdue, None where it ran or has until the half of
    its slot.
    """
    if standing.phase is None:
        return None
    slot = slots_of(standing.phase.began_at, now, standing.slots_done, plan).open
    late = slot is not None and now - slot > plan.monitoring.interval / 2
    return now - slot if slot is not None and late else None


def steps_of(entries: Sequence[LedgerEntry]) -> tuple[Step, ...]:
    """The last rows of the timeline, newest first; a run's two entries are one row."""
    steps: dict[str, Step] = {}
    for entry in entries:
        if isinstance(entry, Unreadable):
            steps[f"#{entry.seq}"] = _unreadable(entry)
        elif isinstance(entry.body, Archived) and entry.kind is EntryKind.ARCHIVED:
            known = steps.get(entry.body.run_id)
            if known is not None:
                steps[known.run_id] = replace(known, files=tuple(entry.body.files))
        else:
            step = _step(entry)
            steps[step.run_id] = step
    return tuple(sorted(steps.values(), key=lambda step: -step.seq)[:SHOWN])


def _unreadable(entry: Unreadable) -> Step:
    return Step(
        run_id=f"#{entry.seq}",
        seq=entry.seq,
        at=entry.at,
        what="cannot be read",
        state=State.HOLD,
        sentence=f"entry #{entry.seq} ({entry.kind} {entry.operation}): {entry.why}",
        by="",
    )


def _step(entry: Entry[Body]) -> Step:
    body, kind = entry.body, entry.kind
    run_id, state, sentence, by = str(entry.seq), None, "", ""
    if isinstance(body, Checkpoint):
        run_id, state, sentence, by = body.run_id, body.state, body.sentence, body.operator
    elif isinstance(body, Statement):
        run_id, by = body.run_id or run_id, body.by
        sentence = f"{body.subject}: {body.value}" + (f" ({body.reason})" if body.reason else "")
    elif isinstance(body, Archived):
        run_id = body.run_id
    elif isinstance(body, Missed):
        sentence, by = body.reason, body.by
    elif isinstance(body, Held):
        by = body.holder
    what = {
        EntryKind.ATTEMPT: f"{entry.operation}, refused",
        EntryKind.EXTRA: f"{entry.operation}, extra",
        EntryKind.CHECKPOINT: entry.operation,
    }
    return Step(
        run_id=run_id,
        seq=entry.seq,
        at=entry.at,
        what=what.get(kind, kind.value),
        state=state,
        sentence=sentence,
        by=by,
    )
