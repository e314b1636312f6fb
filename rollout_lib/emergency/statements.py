"""What the emergency sends: off, then 0 %, each in a transaction of its own, read back before it
commits.

An error on a connection that is still open is dealt with here; one that closed it is the caller's.
"""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from decimal import Decimal

import psycopg
from psycopg import errors as pg

from rollout_lib.emergency.connection import APPLICATION
from rollout_lib.errors import NotSwitchedOff
from rollout_lib.redaction import redact

OFF = "SELECT set_routing_enabled(false, %s)"
ZERO = "SELECT update_routing_percentage(0.00, %s)"
# Where the function is missing, forbidden or broken. Every row of the newest instant: where two
# share it,
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
DEADLINE = (
    45.0  # seconds for all of it: a frozen server must not hang the one who presses the button
)

_BY_HAND = (
    "Is this the rollout's database, and may this role change it? Run it again with the owner's or"
    " operator's address, or in the database's own console: SELECT set_routing_enabled(false,"
    " 'emergency');"
)
Row = tuple[Decimal, bool]


def _limits(lock: str) -> str:
    # A database whose disk is full makes new transactions read-only by default; ours says
    # otherwise.
    return f"""SET TRANSACTION READ WRITE; SET LOCAL lock_timeout = '{lock}';
        SET LOCAL statement_timeout = '5s'; SET LOCAL idle_in_transaction_session_timeout = '5s'"""


def _write(connection: psycopg.Connection, statement: str, *values: object) -> Row | None:
    """One statement in a transaction of its own, read back before it commits."""
    with connection.transaction():
        connection.execute(_limits("1s"))
        connection.execute(statement, values or None)
        row = connection.execute(READ).fetchone()
    return (row[0], row[1]) if row else None


def disable(connection: psycopg.Connection, why: str, trouble: list[str]) -> Row:
    """Routing off by the runbook's function, else by a plain update; past a lock that somebody
    holds.
    """
    began = time.monotonic()
    plainly = False
    ended: set[int] = set()
    while True:
        try:
            row = _write(connection, OFF_PLAINLY) if plainly else _write(connection, OFF, why)
            if row is not None and not row[1]:
                return row
            if plainly:
                raise NotSwitchedOff(
                    where=connection.info.dbname, reason="it stays enabled.", then=_BY_HAND
                )
            trouble.append(
                "set_routing_enabled left it enabled: the newest row was updated plainly"
            )
            plainly = True
        except (
            pg.LockNotAvailable,
            pg.QueryCanceled,
            pg.DeadlockDetected,
            pg.SerializationFailure,
        ) as error:
            if (
                isinstance(error, pg.QueryCanceled) and not plainly
            ):  # no lock: it is the function that takes so long
                trouble.append(
                    "set_routing_enabled did not end in 5 s: the newest row was updated plainly"
                )
                plainly = True
            if time.monotonic() - began > PATIENCE:
                _clear_the_way(connection, trouble, ended)
            if time.monotonic() - began > DEADLINE - 10:
                raise NotSwitchedOff(
                    where=connection.info.dbname,
                    reason="the configuration stays locked; " + "; ".join(trouble),
                    then="End the session that holds it, then run this again.",
                ) from None
            time.sleep(0.1)
        except psycopg.Error as error:
            if connection.closed:
                raise
            words = redact(str(error).splitlines()[0])
            if plainly:
                raise NotSwitchedOff(
                    where=connection.info.dbname, reason=f"{words}.", then=_BY_HAND
                ) from None
            trouble.append(
                f"set_routing_enabled failed ({words}): the newest row was updated plainly"
            )
            plainly = True


def _clear_the_way(connection: psycopg.Connection, trouble: list[str], ended: set[int]) -> None:
    """End a blocker of ours that is idle in its transaction; name the others and
    how to end them.
    """
    try:
        blockers = connection.execute(BLOCKERS).fetchall()
    except psycopg.Error:
        if connection.closed:
            raise
        return  # not allowed to see them: the next try tells
    for pid, application, state, same_role, since in blockers:
        if pid in ended:
            continue
        ended.add(pid)
        if same_role and state == "idle in transaction" and application.startswith(APPLICATION):
            connection.execute("SELECT pg_terminate_backend(%s)", (pid,))
            trouble.append(f"ended our own session {pid}, idle in transaction for {since}")
        else:
            words = (
                f"session {pid} ({application or 'unnamed'}, {state}, {since}) holds the"
                " configuration"
            )
            trouble.append(f"{words}; to end it: SELECT pg_terminate_backend({pid});")
            print(trouble[-1], file=sys.stderr, flush=True)


def zero(connection: psycopg.Connection, reason: str, after: Row, trouble: list[str]) -> Row:
    """So that one `enabled = true` does not bring the old percentage back."""
    if after[0] == 0:
        return after
    try:
        return _write(connection, ZERO, reason) or after
    except psycopg.Error as error:
        if connection.closed:
            raise
        words = redact(str(error).splitlines()[0])
        trouble.append(f"routing is off, but the percentage stays at {after[0]} % ({words})")
        return after


def read(connection: psycopg.Connection) -> Row | None:
    """The newest row; None where it cannot be read."""
    try:
        with connection.transaction():
            connection.execute(
                _limits("1s")
            )  # somebody may hold the whole table: what was is nice to know, no more
            row = connection.execute(READ).fetchone()
    except psycopg.Error:
        if connection.closed:
            raise
        return None
    return (row[0], row[1]) if row else None


def clock(connection: psycopg.Connection) -> datetime:
    """The database's clock, ours where it does not say."""
    try:
        return connection.execute("SELECT clock_timestamp()").fetchone()[0].astimezone(UTC)
    except psycopg.Error:
        if connection.closed:
            raise
        return datetime.now(UTC)
