"""Slots, phases and gaps: the only place that cuts them. Pure.

A slot is a whole interval since midnight UTC, whatever the rollout's zone and its clock changes. A
phase runs from the turn that began it to the next turn. A slot belongs to the phase that was
running when its time was over; one that was checked before that belongs to it, too."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from rollout_lib.judgement.legal import NONE, moves_the_line
from rollout_lib.model import Checkpoint
from rollout_lib.plan.schema import Plan

LastChange = tuple[datetime, Decimal, bool]  # (at, percentage, enabled)


@dataclass(frozen=True, kw_only=True)
class Slots:
    """The slots of one stretch of time: done and missed make expected; open is neither yet."""

    expected: tuple[datetime, ...]
    done: tuple[datetime, ...]
    missed: tuple[datetime, ...]
    open: datetime | None


@dataclass(frozen=True, kw_only=True)
class Turn:
    """The routing became something else, as the ledger has it; by_hand: a check adopted it."""

    at: datetime
    percentage: Decimal
    enabled: bool
    by_hand: bool = False

    @property
    def runs(self) -> bool:
        """Say whether anything goes to unified from here on."""
        return self.enabled and self.percentage > 0

    @property
    def last_change(self) -> LastChange:
        """Return the turn as the standing keeps it."""
        return self.at, self.percentage, self.enabled


@dataclass(frozen=True, kw_only=True)
class Span:
    """One phase as it ran; ended_at is None while it does."""

    percentage: Decimal
    began_at: datetime
    ended_at: datetime | None


def slot_of(now: datetime, interval: timedelta) -> datetime:
    """The scheduled instant that `now` is in: the last whole interval since midnight UTC."""
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + (now - midnight) // interval * interval


def expected_slots(began_at: datetime, until: datetime, plan: Plan) -> list[datetime]:
    """Every scheduled instant in (began_at, until], in UTC: each is its own slot_of."""
    interval = plan.monitoring.interval
    slot, found = _after(slot_of(began_at, interval), interval), []
    while slot <= until:
        found.append(slot)
        slot = _after(slot, interval)
    return found


def _after(slot: datetime, interval: timedelta) -> datetime:
    """The next slot; the last of a day is cut short where the interval does not divide it."""
    midnight = slot.replace(hour=0, minute=0) + timedelta(days=1)
    return min(slot + interval, midnight)


def slots_of(began_at: datetime, until: datetime, done: Collection[datetime], plan: Plan) -> Slots:
    """Cut a phase that ran from began_at until its end (or now) into slots.

    done: the slots of its completed checks; others of them are left out."""
    interval = plan.monitoring.interval
    every = expected_slots(began_at, until, plan)
    known = set(done)
    checked = tuple(slot for slot in every if slot in known)
    missed = tuple(slot for slot in every if slot not in known and _after(slot, interval) <= until)
    left = [slot for slot in every[-1:] if slot not in known and slot not in missed]
    expected = tuple(sorted((*checked, *missed)))
    return Slots(expected=expected, done=checked, missed=missed, open=left[0] if left else None)


def turns_in(run: Checkpoint, last: LastChange | None) -> Iterator[Turn]:
    """The turns that one run made, given the last one before: none where it changed nothing, made
    nothing legal, or lowered what was begun anew since.
    """
    if run.adopted and moves_the_line(
        "adopted", run.adopted.percentage, run.adopted.enabled, _line(last)
    ):
        turn = Turn(
            at=run.at,
            percentage=run.adopted.percentage,
            enabled=run.adopted.enabled,
            by_hand=True,
        )
        yield turn
        last = turn.last_change
    if run.change and run.change.applied:
        after = run.change.after
        if moves_the_line(run.operation, *after, _line(last)) and not _is_over(last, run.at, after):
            yield Turn(at=run.at, percentage=after[0], enabled=after[1])


def turns(ran: Iterable[Checkpoint]) -> Iterator[tuple[Turn, Checkpoint]]:
    """Every turn of the runs, oldest first, each with the run that made it."""
    last: LastChange | None = None
    for run in ran:
        for turn in turns_in(run, last):
            yield turn, run
            last = turn.last_change


def spans(ran: Iterable[Checkpoint]) -> list[Span]:
    """The phases of the runs, oldest first; what was off between them is none."""
    made = [turn for turn, _ in turns(ran)]
    ends = [*(turn.at for turn in made[1:]), None][: len(made)]  # none where nothing ever turned
    return [
        Span(percentage=turn.percentage, began_at=turn.at, ended_at=end)
        for turn, end in zip(made, ends, strict=True)
        if turn.runs
    ]


def _line(last: LastChange | None) -> Decimal:
    """What the last turn made legal."""
    return last[1] if last is not None and last[2] else NONE


def _is_over(last: LastChange | None, at: datetime, after: tuple[Decimal, bool]) -> bool:
    """A lowering that reached the ledger late, kept in a file meanwhile: the phase that was begun
    since goes on, and what was switched off since is off since then.
    """
    if last is None or at >= last[0]:
        return False
    if not last[2]:
        return not after[1]  # what goes up again is never kept in a file: it is of after the off
    return not after[1] or after[0] < last[1]
