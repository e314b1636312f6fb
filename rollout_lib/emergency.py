"""Switch routing off from a cold start, with psycopg alone: no plan, ledger or gate may stand in the way.

`set_routing_enabled(false, reason)` is committed first and alone; 0 % follows in a transaction of its own,
whose failure changes nothing of the first; then the ledger. Every automatic rollback takes this path too.
It is idempotent: switching off what is off says so and is a success.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import psycopg
from psycopg import errors as pg

from rollout_lib import spool
from rollout_lib.errors import DatabaseUnreachable
from rollout_lib.redaction import redact

OFF = "SELECT set_routing_enabled(false, %s)"
ZERO = "SELECT update_routing_percentage(0.00, %s)"
# Where the function is missing, forbidden or broken. Every row of the newest instant: where two share it,
# nobody knows which one the router reads.
OFF_PLAINLY = """UPDATE webhook_routing_config SET enabled = false
 WHERE created_at = (SELECT max(created_at) FROM webhook_routing_config)"""
READ = "SELECT percentage, enabled FROM webhook_routing_config ORDER BY created_at DESC LIMIT 1"
BLOCKERS = """SELECT a.pid, a.application_name, a.state, a.usename = current_user AS same_role,
       age(clock_timestamp(), a.state_change)::text AS since
  FROM pg_locks l JOIN pg_stat_activity a USING (pid)
 WHERE l.relation = 'webhook_routing_config'::regclass AND a.pid <> pg_backend_pid()
   AND l.mode IN ('RowShareLock', 'RowExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock',
                  'ExclusiveLock', 'AccessExclusiveLock')"""
PATIENCE = 10.0  # seconds before a blocker of ours that is idle in transaction is ended
DEADLINE = 45.0  # seconds for all of it: a frozen server must not hang the one who presses the button
APPLICATION = "rollout"  # application_name of every connection of this suite

Row = tuple[Decimal, bool]


@dataclass(frozen=True, kw_only=True)
class SwitchedOff:
    """What was, what is, and what a person must know: `trouble` is empty when all went as planned."""

    host: str
    database: str
    before: Row | None  # None: could not be read, which stopped nothing
    after: Row
    at: datetime
    trouble: tuple[str, ...]
    recorded: str  # "#7:ab12…", or the path of the spooled entry
    already: bool


def switch_off(
    address: str,
    *,
    reason: str,
    operator: str,
    rollout: str = "",
    at: datetime | None = None,
    entry: dict[str, Any] | None = None,
) -> SwitchedOff:
    """Disable routing, then set 0 %, then record it.

    address: a libpq address. at: the instant to record (the database's clock when None). entry: more of
    the ledger body (an automatic rollback passes its checkpoint). With entry given, nothing is recorded
    here: the caller appends its checkpoint. Raises DatabaseUnreachable when nothing could be done.
    """
    reason = redact(reason)
    watchdog = threading.Timer(DEADLINE, _out_of_time, args=(reason,))
    watchdog.daemon = True
    watchdog.start()
    try:
        with _connect(address) as connection:
            trouble: list[str] = []
            before = _read(connection)
            after = _disable(connection, reason, trouble)
            after = _zero(connection, reason, after, trouble)
            now = at or _clock(connection)
            recorded = "by the caller" if entry is not None else ""
            if entry is None:
                recorded = _record(connection, before, after, now, reason, operator, rollout, trouble)
            return SwitchedOff(
                host=connection.info.host or "local socket",
                database=connection.info.dbname,
                before=before,
                after=after,
                at=now,
                trouble=tuple(trouble),
                recorded=recorded,
                already=before is not None and not before[1] and before == after,
            )
    finally:
        watchdog.cancel()


def _connect(address: str) -> psycopg.Connection:
    try:
        connection = psycopg.connect(
            address,
            connect_timeout=5,
            autocommit=True,
            prepare_threshold=None,
            application_name=APPLICATION,
            keepalives_idle=3,
            tcp_user_timeout=10_000,
        )
    except psycopg.Error as error:
        where = _where(address)
        raise DatabaseUnreachable(where=where, reason=str(error).strip().splitlines()[0]) from None
    return connection


def _where(address: str) -> str:
    """Host and database of an address, never its password."""
    try:
        parts = psycopg.conninfo.conninfo_to_dict(address)
    except psycopg.Error:
        return "(an address that cannot be read)"
    return f"{parts.get('host', 'local')}/{parts.get('dbname', '?')}"


def _limits(lock: str) -> str:
    # A database whose disk is full makes new transactions read-only by default; ours says otherwise.
    return f"""SET TRANSACTION READ WRITE; SET LOCAL lock_timeout = '{lock}';
        SET LOCAL statement_timeout = '5s'; SET LOCAL idle_in_transaction_session_timeout = '5s'"""


def _write(connection: psycopg.Connection, statement: str, *values: object) -> Row | None:
    """One statement in a transaction of its own, read back before it commits."""
    with connection.transaction():
        connection.execute(_limits("1s"))
        connection.execute(statement, values or None)
        row = connection.execute(READ).fetchone()
    return (row[0], row[1]) if row else None


def _disable(connection: psycopg.Connection, why: str, trouble: list[str]) -> Row:
    began = time.monotonic()
    plainly = False
    ended: set[int] = set()
    while True:
        try:
            row = _write(connection, OFF_PLAINLY) if plainly else _write(connection, OFF, why)
            if row is not None and not row[1]:
                return row
            if plainly:
                raise DatabaseUnreachable(where=connection.info.dbname, reason="the configuration stays enabled")
            trouble.append("set_routing_enabled left it enabled: the newest row was updated plainly")
            plainly = True
        except (pg.LockNotAvailable, pg.QueryCanceled, pg.DeadlockDetected):
            if time.monotonic() - began > PATIENCE:
                _clear_the_way(connection, trouble, ended)
            if time.monotonic() - began > DEADLINE - 10:
                raise DatabaseUnreachable(
                    where=connection.info.dbname, reason="the row stays locked; " + "; ".join(trouble)
                ) from None
            time.sleep(0.1)
        except psycopg.OperationalError as error:
            raise DatabaseUnreachable(where=connection.info.dbname, reason=str(error)) from None
        except psycopg.Error as error:
            if plainly:
                raise DatabaseUnreachable(where=connection.info.dbname, reason=str(error)) from None
            words = str(error).splitlines()[0]
            trouble.append(f"set_routing_enabled failed ({words}): the newest row was updated plainly")
            plainly = True


def _clear_the_way(connection: psycopg.Connection, trouble: list[str], ended: set[int]) -> None:
    """End a blocker of ours that is idle in its transaction; name the others and how to end them."""
    for pid, application, state, same_role, since in connection.execute(BLOCKERS).fetchall():
        if pid in ended:
            continue
        ended.add(pid)
        if same_role and state == "idle in transaction" and application.startswith(APPLICATION):
            connection.execute("SELECT pg_terminate_backend(%s)", (pid,))
            trouble.append(f"ended our own session {pid}, idle in transaction for {since}")
        else:
            words = f"session {pid} ({application or 'unnamed'}, {state}, {since}) holds the row"
            trouble.append(f"{words}; to end it: SELECT pg_terminate_backend({pid});")
            print(trouble[-1], file=sys.stderr, flush=True)


def _zero(connection: psycopg.Connection, reason: str, after: Row, trouble: list[str]) -> Row:
    """So that one `enabled = true` does not bring the old percentage back."""
    if after[0] == 0:
        return after
    try:
        return _write(connection, ZERO, reason) or after
    except psycopg.Error as error:
        words = str(error).splitlines()[0]
        trouble.append(f"routing is off, but the percentage stays at {after[0]} % ({words})")
        return after


def _read(connection: psycopg.Connection) -> Row | None:
    try:
        row = connection.execute(READ).fetchone()
    except psycopg.Error:
        return None
    return (row[0], row[1]) if row else None


def _clock(connection: psycopg.Connection) -> datetime:
    try:
        return connection.execute("SELECT clock_timestamp()").fetchone()[0].astimezone(UTC)
    except psycopg.Error:
        return datetime.now(UTC)


def _record(connection, before, after, at, reason, operator, rollout, trouble) -> str:
    """The ledger entry, or a spooled file that the next run appends; neither can undo the rollback."""
    run_id = uuid.uuid4().hex
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
            "detail": "; ".join(trouble),
        },
    }
    entry = {
        "kind": "checkpoint",
        "operation": "rollback",
        "rollout": rollout,
        "at": at.isoformat(),
        "run_id": run_id,
        "body": json.dumps(body, ensure_ascii=False),
    }
    try:
        return spool.append(connection, entry)
    except psycopg.Error as error:
        path = spool.keep(entry)
        trouble.append(f"not on the ledger yet ({str(error).splitlines()[0]}); kept in {path}")
        return str(path)


def _out_of_time(reason: str) -> None:
    print(
        f"No answer for {DEADLINE:.0f} s. Whether routing is off is not known. In the database's console:\n"
        f"SELECT set_routing_enabled(false, '{reason.replace(chr(39), chr(39) * 2)}');",
        file=sys.stderr,
        flush=True,
    )
    os._exit(50)
