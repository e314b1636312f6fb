"""What goes on for too long: since when, by a clock that nobody sets, and whether people were told.
No database.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

PAGES_AFTER = timedelta(minutes=5)


@dataclass
class Lasting:
    """A trouble that may last: `is_due` once it has lasted, until it was told."""

    _began: float | None = None
    _told: bool = False

    @property
    def goes_on(self) -> bool:
        return self._began is not None

    @property
    def lasted(self) -> timedelta:
        return (
            timedelta(seconds=time.monotonic() - self._began)
            if self._began is not None
            else timedelta(0)
        )

    @property
    def is_due(self) -> bool:
        return self.goes_on and not self._told and self.lasted >= PAGES_AFTER

    def note(self, goes_on: bool, *, told: bool = False) -> None:
        """What was seen now; told: people know it."""
        if not goes_on:
            self._began, self._told = None, False
            return
        self._began = time.monotonic() if self._began is None else self._began
        self._told = self._told or told


@dataclass
class DatabaseClock:
    """The database's clock as it was last read, and what has passed since; this machine's own
    before that.
    """

    _read: tuple[datetime, float] | None = field(default=None)

    def read(self, now: datetime) -> None:
        self._read = now, time.monotonic()

    def __call__(self) -> datetime:
        if self._read is None:
            return datetime.now(UTC)
        at, then = self._read
        return at.astimezone(UTC) + timedelta(seconds=time.monotonic() - then)
