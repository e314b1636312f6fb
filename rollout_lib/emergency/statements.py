"""What the emergency sends, and how the answer is read: each statement in a transaction of its own,
committed; nothing that a function or trigger says of itself is taken for done."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, LiteralString, NamedTuple

import psycopg
from psycopg import errors as pg

from rollout_lib.redaction import redact

# The router may read any of them: where two share the newest instant nobody knows which, and one
# without an instant comes first in `ORDER BY created_at DESC`.
NEWEST: LiteralString = """ WHERE created_at IS NULL
    OR created_at = (SELECT max(created_at) FROM webhook_routing_config)"""
# A role may carry any setting; these are ours. A database whose disk is full makes transactions
# read-only; another schema's table of the same name, first in the path, is not the one.
_OURS: LiteralString = """SET LOCAL lock_timeout = '1s';
    SET LOCAL idle_in_transaction_session_timeout = '5s';
    SET LOCAL datestyle = 'ISO';
    SELECT set_config(name, '9s', true) FROM pg_catalog.pg_settings
     WHERE name = 'transaction_timeout';
    SELECT set_config('search_path', 'public, pg_temp', true)
     WHERE EXISTS (SELECT 1 FROM pg_catalog.pg_class c
                     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                    WHERE n.nspname = 'public' AND c.relname = 'webhook_routing_config');"""
_WRITES: LiteralString = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE;"
_READS: LiteralString = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED;"
# One row: the newest configuration rows as JSON, and of whom this is the answer. Row security that
# is active for us without a policy that shows every row may hide the newest one.
LOOK: LiteralString = f"""
SELECT (SELECT json_agg(row_to_json(c))::text FROM webhook_routing_config c {NEWEST}) AS newest,
       pg_is_in_recovery() AS standby,
       concat_ws('/', d.oid, extract(epoch FROM pg_postmaster_start_time())) AS server,
       EXISTS (SELECT 1 FROM pg_class t
                WHERE t.oid = to_regclass('webhook_routing_config') AND row_security_active(t.oid)
                  AND (NOT EXISTS (SELECT 1 FROM pg_policy p, unnest(p.polroles) m (role)
                            WHERE p.polrelid = t.oid AND p.polpermissive AND p.polcmd IN ('r', '*')
                              AND pg_get_expr(p.polqual, p.polrelid) = 'true'
                              AND CASE WHEN m.role = 0 THEN true
                                       ELSE pg_has_role(m.role, 'USAGE') END)
                       OR EXISTS (SELECT 1 FROM pg_policy p
                            WHERE p.polrelid = t.oid AND NOT p.polpermissive
                              AND p.polcmd IN ('r', '*')))) AS hidden,
       clock_timestamp() AS at
  FROM pg_database d WHERE d.datname = current_database()"""
BLOCKERS: LiteralString = """
SELECT a.pid, a.application_name, a.state, a.usename = current_user AS same_role,
       age(clock_timestamp(), a.state_change)::text AS since
  FROM pg_locks l JOIN pg_stat_activity a USING (pid)
 WHERE l.relation = to_regclass('webhook_routing_config') AND a.pid <> pg_backend_pid()
   AND l.mode IN ('RowShareLock', 'RowExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock',
                  'ExclusiveLock', 'AccessExclusiveLock')"""
# Who could have enabled it again: for the person who has to take it from here.
SWITCHES: LiteralString = """
SELECT 'trigger ' || t.tgname FROM pg_trigger t
 WHERE t.tgrelid = to_regclass('webhook_routing_config') AND NOT t.tgisinternal
   AND t.tgenabled <> 'D'
UNION ALL
SELECT 'rule ' || r.rulename FROM pg_rewrite r
 WHERE r.ev_class = to_regclass('webhook_routing_config') AND r.rulename <> '_RETURN'"""
_BUSY = (pg.LockNotAvailable, pg.QueryCanceled, pg.DeadlockDetected, pg.SerializationFailure)


class Row(NamedTuple):
    """The newest configuration as read; None for what is NULL, missing or no number."""

    percentage: Decimal | None
    enabled: bool | None


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One answer of a connection: the newest row (None: it sees none), and whose answer it is."""

    row: Row | None
    standby: bool
    server: str
    hidden: bool  # row security may keep the newest row from us
    at: datetime


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to bring something about; `says` tells that it was taken after another failed."""

    name: str
    says: str
    statement: LiteralString
    is_function: bool = False
    passes_triggers: bool = False


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a way was rolled back; busy: a lock or a time limit, so that it may do later.

    lost: the line broke, and whether it was carried out is not known."""

    words: str
    busy: bool
    lost: bool = False


_PLAINLY: LiteralString = "UPDATE webhook_routing_config SET "
_PAST_TRIGGERS: LiteralString = "SET LOCAL session_replication_role = replica; "
_ALL: LiteralString = "enabled = false, percentage = 0"
OFF = (
    Way(
        name="set_routing_enabled",
        says="set_routing_enabled was called",
        statement="SELECT set_routing_enabled(false, %(reason)s)",
        is_function=True,
    ),
    Way(
        name="a plain UPDATE",
        says="the newest row was updated plainly",
        statement=f"{_PLAINLY} enabled = false {NEWEST}",
    ),
    Way(
        name="a plain UPDATE with 0 %",
        says="the newest row was updated plainly, with 0 %",
        statement=f"{_PLAINLY} {_ALL} {NEWEST}",
    ),
    Way(
        name="an UPDATE past triggers and rules",
        says="the newest row was updated past triggers and rules",
        statement=f"{_PLAINLY} {_ALL} {NEWEST}",
        passes_triggers=True,
    ),
)
DOWN = (
    Way(
        name="update_routing_percentage",
        says="update_routing_percentage was called",
        statement="SELECT update_routing_percentage(CAST(%(to)s AS numeric), %(reason)s)",
        is_function=True,
    ),
    Way(
        name="a plain UPDATE",
        says="the newest row was updated plainly",
        statement=f"{_PLAINLY} percentage = CAST(%(to)s AS numeric) {NEWEST}",
    ),
    Way(
        name="an UPDATE past triggers and rules",
        says="the newest row was updated past triggers and rules",
        statement=f"{_PLAINLY} percentage = CAST(%(to)s AS numeric) {NEWEST}",
        passes_triggers=True,
    ),
)


def send(
    connection: psycopg.Connection[Any], way: Way, values: dict[str, str], limit: float
) -> Failure | None:
    """One way in a transaction of its own, committed: None, or why it was rolled back.

    limit: seconds for the statement. Raises psycopg.Error only where the connection was lost."""
    # Only what the statement names: another encoding of the database may refuse the reason.
    bound = {name: value for name, value in values.items() if f"%({name})s" in way.statement}
    try:
        with _transaction(connection, _WRITES, limit):
            if way.passes_triggers:
                connection.execute(_PAST_TRIGGERS)
            connection.execute(way.statement, bound or None)
    except (psycopg.Error, UnicodeError) as error:
        if connection.closed:
            raise
        return Failure(words=said(error), busy=isinstance(error, _BUSY))
    return None


def look(connection: psycopg.Connection[Any]) -> Seen:
    """What this connection reads now. Raises psycopg.Error where it cannot."""
    with _transaction(connection, _READS, 5):
        found = connection.execute(LOOK).fetchone()
    if found is None:
        raise psycopg.DataError("the catalog does not hold this database")
    newest, standby, server, hidden, at = found
    return Seen(
        row=_newest(newest),
        standby=standby,
        server=server,
        hidden=hidden,
        at=at.astimezone(UTC),
    )


def ask(connection: psycopg.Connection[Any], statement: LiteralString) -> list[tuple[Any, ...]]:
    """A question beside the matter: no rows where it is not answered."""
    try:
        with _transaction(connection, _READS, 2):
            return connection.execute(statement).fetchall()
    except (psycopg.Error, UnicodeError):
        if connection.closed:
            raise
        return []


def said(error: BaseException) -> str:
    """The first line of an error, without what must not be shown."""
    return redact((str(error).strip().splitlines() or [type(error).__name__])[0])


@contextmanager
def _transaction(
    connection: psycopg.Connection[Any], mode: LiteralString, limit: float
) -> Iterator[None]:
    """A transaction with our settings, which come in one message with its begin: a limit that the
    role carries has no time to end it before.
    """
    settings = f"SET LOCAL statement_timeout = '{round(limit * 1000)}ms'; {_OURS}"
    try:
        connection.execute(f"BEGIN; {mode} {settings}".encode())
        yield
        connection.execute("COMMIT")
    except BaseException:
        if not connection.closed:
            connection.execute("ROLLBACK")
        raise


def _newest(rows: str | None) -> Row | None:
    """The newest row; where several share its instant, the worst of each column."""
    items = json.loads(rows, parse_float=Decimal) if rows else []
    if not items:
        return None
    enabled = [item.get("enabled") for item in items]
    shares = [_number(item.get("percentage")) for item in items]
    known = [share for share in shares if share is not None]
    return Row(
        percentage=max(known) if len(known) == len(shares) else None,
        enabled=(
            False
            if all(value is False for value in enabled)
            else True
            if any(value is True for value in enabled)
            else None
        ),
    )


def _number(value: object) -> Decimal | None:
    """A finite number; NaN, infinity and what is none at all are not known."""
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None
