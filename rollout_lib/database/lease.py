"""One watcher a rollout: a row with an end, renewed from a thread, so that a long slot does not
lose it.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from rollout_lib.database.connection import Database, load_sql
from rollout_lib.errors import RolloutError

STUCK_S = 900.0  # seconds: longer than the longest run of a notebook, with its archive


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who holds the lease, since when, until when, and whether that is still to come, by the
    database's clock.
    """

    name: str
    taken_at: datetime
    until: datetime
    runs: bool


def who_watches(database: Database) -> Holder | None:
    """The last holder of the rollout's lease; None where nobody ever watched."""
    with database.transaction(readonly=True) as connection:
        row = connection.execute(load_sql("lease"), {"rollout": database.place.rollout}).first()
    return (
        None
        if row is None
        else Holder(name=row.holder, taken_at=row.taken_at, until=row.until, runs=row.runs)
    )


class Lease:
    """The lease of one watcher. `held` is what the last renewal said; unknown is not held.

    It is a row and no session lock, so it holds through a transaction pooler; the holder that dies
    loses it when `valid` is over, and one that hangs when it has not said `moves` for STUCK_S."""

    def __init__(self, database: Database, valid: timedelta) -> None:
        self.database, self.valid = database, valid
        self.name = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:6]}"
        self.held = False
        self.before: str | None = None
        self._moved = time.monotonic()
        self._ended = threading.Event()
        self._turn = threading.Lock()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)

    def take(self) -> bool:
        """Try once; raises RolloutError where the database cannot be asked (and the lease is not
        held then).
        """
        binds = {
            "rollout": self.database.place.rollout,
            "holder": self.name,
            "valid_s": self.valid.total_seconds(),
        }
        with self._turn:
            self.held = False
            with self.database.transaction(readonly=False) as connection:
                row = connection.execute(load_sql("lease_take"), binds).first()
            self.held = row is not None
            if row is not None and row.before != self.name:
                self.before = row.before
        if self.held and not self._thread.is_alive() and not self._ended.is_set():
            self._thread.start()
        return self.held

    def moves(self) -> None:
        """Say that the holder is at work: its rounds, and each run within one, go on."""
        self._moved = time.monotonic()

    def release(self) -> None:
        """Give it back and stop renewing; a database that is away lets it run out."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)
        if self.held:
            self.held = False
            try:
                with self.database.transaction(readonly=False) as connection:
                    binds = {"rollout": self.database.place.rollout, "holder": self.name}
                    connection.execute(load_sql("lease_release"), binds)
            except RolloutError:
                return

    def _renew(self) -> None:
        while not self._ended.wait(self.valid.total_seconds() / 3):
            if time.monotonic() - self._moved > STUCK_S:
                self.held = False  # whoever stands by is to take it, not to wait for a thread
                continue
            try:
                self.take()
            except RolloutError:
                continue  # held is False: nobody acts on a lease that could not be renewed
