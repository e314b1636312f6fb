"""What somebody did to the routing by hand, as the runs on the ledger saw it. Pure.

A run records the configuration that it found. Where that is not what the turn before made, no
operation of the suite wrote it: an edit of its own, from when the row was written until it was seen
gone, even where nobody had to act on it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from rollout_lib.judgement.timeline import LastChange, turns_in
from rollout_lib.model import Checkpoint

NOTHING = Decimal(0)


@dataclass(frozen=True, kw_only=True)
class HandEdit:
    """One share that no operation wrote: `after` % instead of `before` %, in [since, until); 0 is off.

    since is when the row was written by its own updated_at, or the run that saw it first; until the
    run that ended or no longer saw it, None where it was there at the last look."""

    since: datetime
    until: datetime | None
    before: Decimal
    after: Decimal
    notes: str

    @property
    def words(self) -> str:
        """`60 % for 48 s, by hand (10 % by the ledger)`."""
        lasted = "still so" if self.until is None else f"for {_span(self.until - self.since)}"
        return f"{_words(self.after)} {lasted}, by hand ({_words(self.before)} by the ledger)"


def hand_edits(ran: Iterable[Checkpoint]) -> tuple[HandEdit, ...]:
    """Every edit by hand that the runs saw, oldest first.

    An edit between two runs that was taken back before the second leaves no trace, and is none."""
    made: list[HandEdit] = []
    last: LastChange | None = None
    for run in ran:
        found = _found(run)
        known = _share(last[1], last[2]) if last else NOTHING
        standing = made[-1] if made and made[-1].until is None else None
        if standing is not None and found is not None and found != standing.after:
            made[-1], standing = replace(standing, until=_written(run, last) or run.at), None
        if found is not None and found != known and standing is None:
            since = _written(run, last) or run.at
            notes = (run.config.notes if run.config else None) or ""
            made.append(HandEdit(since=since, until=None, before=known, after=found, notes=notes))
        for turn in turns_in(run, last):
            last = turn.last_change
        ended = run.adopted is not None or (run.change is not None and run.change.applied)
        if ended and made and made[-1].until is None:
            made[-1] = replace(made[-1], until=run.at)
    return tuple(made)


def _share(percentage: Decimal, enabled: bool) -> Decimal:
    return percentage if enabled else NOTHING


def _found(run: Checkpoint) -> Decimal | None:
    """The share that the run found; None where it did not look."""
    if run.change is not None and run.change.applied:
        return _share(*run.change.before)
    return _share(run.config.percentage, run.config.enabled) if run.config else None


def _written(run: Checkpoint, last: LastChange | None) -> datetime | None:
    """When the row that the run found was written, where the row says so and it can be."""
    config = run.config
    if config is None or _found(run) != _share(config.percentage, config.enabled):
        return None  # what a change left, not what it found
    at = config.updated_at
    return None if at is None or at > run.at or (last is not None and at < last[0]) else at


def _words(share: Decimal) -> str:
    return f"{share:g} %" if share else "off"


def _span(span: timedelta) -> str:
    """`48 s`, `12 min`, `2 h 05 min`."""
    seconds = round(span.total_seconds())
    if seconds < 120:
        return f"{seconds} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
