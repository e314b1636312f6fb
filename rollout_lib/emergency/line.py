"""The emergency's connection: opened anew for every read-back, and again where it was lost.

Nothing that a connection said counts beyond it: what is told is what the next one reads."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psycopg

from rollout_lib import spool
from rollout_lib.emergency.connection import APPLICATION, cut, not_known, open_connection
from rollout_lib.emergency.statements import (
    BLOCKERS,
    Failure,
    Row,
    Seen,
    Way,
    ask,
    look,
    said,
    send,
)
from rollout_lib.errors import DatabaseUnreachable
from rollout_lib.redaction import redact

RECONNECT = 15.0  # seconds in which a connection that was lost is looked for again
LIMIT = 5.0  # seconds for one statement, by the server's clock
SLACK = 3.0  # seconds more, after which the line is cut: a function may swallow the server's limit
PATIENCE = 10.0  # seconds before a blocker of ours that is idle in transaction is ended
# seconds for all of it: a frozen server must not hang the one who presses the button
DEADLINE = 45.0


@dataclass
class Line:
    """An address, its present connection, and what was learned on the way."""

    address: str
    reason: str
    trouble: list[str] = field(default_factory=list)
    connection: psycopg.Connection[Any] | None = None
    where: tuple[str, str] = ("", "")
    user: str = ""
    ledger: str = ""  # whose, for an entry that must wait
    asked: bool = False  # something was sent that may have been carried out
    written: set[str] = field(default_factory=set)  # servers that something was sent to
    verified: set[str] = field(default_factory=set)  # those of them that read back as asked
    began: float = field(default_factory=time.monotonic)
    unread: str = ""  # why the last look saw nothing
    server: str = ""  # of the present connection, as far as it was asked
    _pids: set[int] = field(default_factory=set)
    _ended: set[int] = field(default_factory=set)
    _lost: float | None = None

    def seconds(self) -> float:
        """How long it has taken so far."""
        return time.monotonic() - self.began

    def open(self) -> psycopg.Connection[Any]:
        """The present connection, or the first one; the first is not waited for."""
        if self.connection is not None and not self.connection.closed:
            return self.connection
        if self.connection is None:
            return self._take(open_connection(self.address))
        return self.afresh()

    def afresh(self) -> psycopg.Connection[Any]:
        """A new connection in the place of the present one.

        Raises DatabaseUnreachable where none is found within RECONNECT seconds: what was asked is
        then not verified."""
        self.close()
        began = time.monotonic()
        while True:
            try:
                return self._take(open_connection(self.address))
            except DatabaseUnreachable as error:
                words = redact(str(error.facts.get("reason", "no answer")))
                if time.monotonic() - began > RECONNECT or self.seconds() > DEADLINE:
                    raise DatabaseUnreachable(self.not_known(words)) from None
                time.sleep(0.3)

    def look(self, *, afresh: bool) -> Seen | None:
        """What a connection reads now, None where it may not or must wait; one that is lost
        meanwhile is opened again.
        """
        while True:
            connection = self.afresh() if afresh else self.open()
            try:
                seen = look(connection)
                self.server = seen.server
                return seen
            except (psycopg.Error, UnicodeError) as error:
                self.unread = said(error)
                if not connection.closed:
                    return None
                if self._out_of_time(error):
                    raise DatabaseUnreachable(self.not_known(self.unread)) from None

    def must_look(self) -> Seen:
        """What a new connection reads; raises DatabaseUnreachable where it reads nothing in time."""
        while True:
            seen = self.look(afresh=True)
            if seen is not None:
                return seen
            if self.seconds() > DEADLINE - 10:
                raise DatabaseUnreachable(self.not_known(f"it cannot be read back ({self.unread})"))
            self.clear_the_way()
            time.sleep(0.1)

    def send(
        self, way: Way, values: dict[str, str], reached: Callable[[Row], bool]
    ) -> Failure | None:
        """One way, committed; where the line was lost on it nobody knows, and a look must tell."""
        connection = self.open()
        timer = threading.Timer(LIMIT + SLACK, cut, args=(lambda: connection,))
        timer.daemon = True
        timer.start()
        self.asked = True
        try:
            failure = send(connection, way, values, LIMIT, reached)
            if failure is None and self.server:
                self.written.add(self.server)
            return failure
        except (psycopg.Error, UnicodeError) as error:
            if self._out_of_time(error):
                raise DatabaseUnreachable(self.not_known(said(error))) from None
            return Failure(words="the connection was lost", busy=True, lost=True)
        finally:
            timer.cancel()

    def clear_the_way(self) -> None:
        """End a blocker of ours that is idle in its transaction, or that we were cut off from; name
        the others and how to end them.
        """
        for pid, application, state, same_role, since in ask(self.open(), BLOCKERS):
            if pid in self._ended:
                continue
            ours = same_role and str(application).startswith(APPLICATION)
            late = self.seconds() > PATIENCE
            if ours and (pid in self._pids or (late and state == "idle in transaction")):
                self._ended.add(pid)
                ask(self.open(), f"SELECT pg_terminate_backend({int(pid)})")
                self.trouble.append(f"ended our own session {pid}, {state} for {since}")
            elif late:
                self._ended.add(pid)
                words = (
                    f"session {pid} ({application or 'unnamed'}, {state}, {since}) holds the"
                    f" configuration; to end it: SELECT pg_terminate_backend({pid});"
                )
                self.trouble.append(redact(words))
                if sys.stderr is not None:
                    print(self.trouble[-1], file=sys.stderr, flush=True)

    def close(self) -> None:
        """Hang up."""
        if self.connection is not None:
            self.connection.close()

    def not_known(self, words: str) -> str:
        """What is true where nothing could be verified: asked and not known, or not asked at all."""
        if self.asked:
            return not_known(self.reason, words)
        return (
            f"The database was lost before routing was switched off ({words}).\n"
            "Routing goes on as last configured: ROUTING WAS NOT SWITCHED OFF. Run this again."
        )

    def _take(self, connection: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
        info = connection.info
        self.connection, self.server = connection, ""
        # As it was asked for: a name beside a hostaddr is not the server that answers.
        asked = {item.keyword: item.val for item in connection.pgconn.info}
        host = (asked.get(b"hostaddr") or b"").decode() or info.host or "local socket"
        self.where, self.user = (host, info.dbname), info.user
        self.ledger = spool.ledger_of(info.host, info.dbname, info.user)
        self._pids.add(info.backend_pid)
        return connection

    def _out_of_time(self, error: BaseException) -> bool:
        """Note that the line was lost; is there no time left to look for it again?"""
        words = f"the connection was lost ({said(error)}) and opened again"
        if words not in self.trouble:
            self.trouble.append(words)
        self._lost = self._lost or time.monotonic()
        return time.monotonic() - self._lost > RECONNECT or self.seconds() > DEADLINE
