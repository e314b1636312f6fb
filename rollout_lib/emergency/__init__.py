"""Switch routing off from a cold start, with psycopg alone: no plan, ledger or gate may stand in
the way.

`set_routing_enabled(false, reason)` is committed first and alone; 0 % follows in a transaction of
its own, whose failure changes nothing of the first; then the ledger. Every automatic rollback takes
this path too. It is idempotent: switching off what is off says so and is a success."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import psycopg

from rollout_lib import spool
from rollout_lib.emergency.connection import APPLICATION, cut, not_known, open_connection
from rollout_lib.emergency.statements import DEADLINE, Row, clock, disable, read, zero
from rollout_lib.errors import DatabaseUnreachable
from rollout_lib.redaction import name_of, redact

__all__ = ["APPLICATION", "DEADLINE", "SwitchedOff", "lower", "switch_off"]

RECONNECT = 15.0  # seconds in which a connection that was lost is looked for again


@dataclass(frozen=True, kw_only=True)
class SwitchedOff:
    """What was, what is, and what a person must know: `trouble` is empty when all
    went as planned.
    """

    host: str
    database: str
    before: Row | None  # None: could not be read, which stopped nothing
    after: Row
    at: datetime
    trouble: tuple[str, ...]
    recorded: str  # "#7:ab12…", or the path of the spooled entry
    already: bool


@dataclass
class _Done:
    """How far it got: kept over a connection that is lost, for what is committed stays so."""

    connection: psycopg.Connection | None = None
    where: tuple[str, str] = ("", "")
    ledger: str = ""  # whose, for an entry that must wait
    read: bool = False
    before: Row | None = None
    after: Row | None = None  # once routing is off, committed and read back
    at: datetime | None = None
    trouble: list[str] = field(default_factory=list)


def switch_off(
    address: str, *, reason: str, operator: str, rollout: str = "", at: datetime | None = None
) -> SwitchedOff:
    """Disable routing, then set 0 %, then record it.

    address: a libpq address. rollout: "" where no plan says it, then that of the ledger's newest
    entry. at: the instant to record (the database's clock when None). Raises DatabaseUnreachable
    when nothing could be done, or when whether it was done cannot be known."""
    reason, operator = redact(reason), name_of(operator)
    with _lowered(address, reason, at) as done:
        recorded = _record(done, reason, operator, rollout)
    return _said(done, recorded)


def lower(address: str, *, reason: str, at: datetime | None = None) -> SwitchedOff:
    """The same by a run that records it itself, beside what it saw."""
    with _lowered(address, redact(reason), at) as done:
        pass
    return _said(done, "by the caller")


@contextmanager
def _lowered(address: str, reason: str, at: datetime | None) -> Iterator[_Done]:
    """Routing is off, and the connection is open still, if there is one; no
    longer than DEADLINE.
    """
    done = _Done(at=at)
    watchdog = threading.Timer(DEADLINE, cut, args=(lambda: done.connection,))
    watchdog.daemon = True
    watchdog.start()
    try:
        _lower(address, reason, done, time.monotonic())
        yield done
    finally:
        watchdog.cancel()
        if done.connection is not None:
            done.connection.close()


def _said(done: _Done, recorded: str) -> SwitchedOff:
    return SwitchedOff(
        host=done.where[0],
        database=done.where[1],
        before=done.before,
        after=done.after,
        at=done.at,
        trouble=tuple(done.trouble),
        recorded=recorded,
        already=done.before is not None and not done.before[1] and done.before == done.after,
    )


def _lower(address: str, reason: str, done: _Done, began: float) -> None:
    """Off, then 0 %. A connection that breaks is opened again: what was asked may be done or not,
    and is repeated.
    """
    lost = None
    while True:
        try:
            done.connection = open_connection(address)
            info = done.connection.info
            done.where = (info.host or "local socket", info.dbname)
            done.ledger = spool.ledger_of(info.host, info.dbname, info.user)
            if not done.read:
                done.before, done.read = read(done.connection), True
            done.after = disable(done.connection, reason, done.trouble)
            done.at = done.at or clock(done.connection)
            done.after = zero(done.connection, reason, done.after, done.trouble)
            return
        except (DatabaseUnreachable, psycopg.Error) as error:
            if isinstance(error, DatabaseUnreachable) and not lost:
                raise
            words = (str(error).strip().splitlines() or [type(error).__name__])[0]
            if lost is None:
                done.trouble.append(f"the connection was lost ({redact(words)}) and opened again")
            lost = lost or time.monotonic()
            if time.monotonic() - lost < RECONNECT and time.monotonic() - began < DEADLINE:
                time.sleep(0.3)
                continue
            if done.after is None:
                raise DatabaseUnreachable(not_known(reason, words)) from None
            done.trouble[:] = [
                f"routing is off; then the connection was lost ({redact(words)}), and not found"
                " again"
            ]
            done.connection, done.at = None, done.at or datetime.now(UTC)
            return


def _record(done: _Done, reason: str, operator: str, rollout: str) -> str:
    """The ledger entry, or a spooled file that the next run appends; neither can
    undo the rollback.
    """
    run_id, before, after = uuid.uuid4().hex, done.before, done.after
    body = {
        "run_id": run_id,
        "operation": "rollback",
        "operator": operator,
        "state": "OFF",
        "sentence": f"Emergency: routing is disabled. {reason}",
        "exit_code": 0,
        "change": {
            "before": [str(before[0]), before[1]] if before else None,
            "asked": ["0.00", False],
            "after": [str(after[0]), after[1]],
            "applied": True,
            "reason": reason,
            "detail": "; ".join(done.trouble),
        },
    }
    entry = {
        "kind": "checkpoint",
        "operation": "rollback",
        "rollout": rollout,
        "at": done.at.isoformat(),
        "run_id": run_id,
        "body": json.dumps(body, ensure_ascii=False),
    }
    words = "the database is away"
    try:
        if done.connection is not None:
            return spool.append(done.connection, entry)
    except psycopg.Error as error:
        words = redact(str(error).splitlines()[0])
    try:
        path = spool.keep(entry, done.ledger)
    except OSError as error:
        done.trouble.append(
            f"not on the ledger ({words}), and not kept in a file either ({error.strerror})"
        )
        return (
            "nowhere: write down when and why; the next check finds routing off, and records that"
        )
    done.trouble.append(f"not on the ledger yet ({words}); kept in {path}")
    return str(path)
