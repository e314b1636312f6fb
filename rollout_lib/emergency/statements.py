"""What the emergency sends, and how the answer is read: each statement in a transaction of its own,
committed; nothing that a function or trigger says of itself is taken for done."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
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
# Two schemas may hold one, and nobody here knows which of them the router reads: those on the path
# and the one in public are each looked at and switched off.
PLACES: LiteralString = """
SELECT n.nspname::text
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relname = 'webhook_routing_config' AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
   AND (n.nspname = ANY (pg_catalog.current_schemas(false)) OR n.nspname = 'public')
   AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
   AND (SELECT pg_catalog.count(*) FROM pg_catalog.pg_attribute a
         WHERE a.attrelid = c.oid AND a.attname IN ('enabled', 'created_at')
           AND NOT a.attisdropped) = 2
 ORDER BY pg_catalog.array_position(pg_catalog.current_schemas(false), n.nspname) NULLS LAST"""
# Those that no path of ours leads to: they are named, and not touched.
ELSEWHERE: LiteralString = f"""
SELECT pg_catalog.format('%I.webhook_routing_config', n.nspname)
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relname = 'webhook_routing_config' AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
   AND n.nspname NOT IN (SELECT nspname FROM ({PLACES}) places (nspname))"""
# A role may carry any setting; these are ours. A database whose disk is full makes transactions
# read-only.
_OURS: LiteralString = """SET LOCAL lock_timeout = '1s';
    SET LOCAL idle_in_transaction_session_timeout = '5s';
    SET LOCAL datestyle = 'ISO';
    SELECT set_config(name, '9s', true) FROM pg_catalog.pg_settings
     WHERE name = 'transaction_timeout';"""
# That schema's first, then what the path had.
_THERE: LiteralString = """SELECT pg_catalog.set_config('search_path', pg_catalog.concat_ws(', ',
    pg_catalog.quote_ident(%(place)s), NULLIF(pg_catalog.current_setting('search_path'), ''),
    'pg_temp'), true)"""
_WRITES: LiteralString = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE;"
# Read only: what a view or a function does while it is looked at is undone, or refused.
_READS: LiteralString = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ ONLY;"
# One row: the newest configuration rows as JSON, and of whom this is the answer. Row security that
# is active for us without a policy that shows every row may hide the newest one; so it may of what
# a view reads. pg_catalog is named, since a function of the table's own type would come before.
LOOK: LiteralString = f"""
WITH RECURSIVE reads (relation, role) AS (
    SELECT pg_catalog.to_regclass('webhook_routing_config')::oid, u.oid
      FROM pg_catalog.pg_roles u WHERE u.rolname = current_user
    UNION
    SELECT d.refobjid,
           CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_options_to_table(v.reloptions) o
                    WHERE o.option_name = 'security_invoker' AND o.option_value::pg_catalog.bool)
                THEN r.role ELSE v.relowner END
      FROM reads r
      JOIN pg_catalog.pg_class v ON v.oid = r.relation AND v.relkind = 'v'
      JOIN pg_catalog.pg_rewrite w ON w.ev_class = v.oid
      JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::regclass
       AND d.objid = w.oid AND d.refclassid = 'pg_catalog.pg_class'::regclass
)
SELECT (SELECT pg_catalog.json_agg(pg_catalog.row_to_json(c))::text
          FROM webhook_routing_config c {NEWEST}) AS newest,
       pg_catalog.pg_is_in_recovery() AS standby,
       pg_catalog.concat_ws('/', d.oid,
           extract(epoch FROM pg_catalog.pg_postmaster_start_time())) AS server,
       EXISTS (SELECT 1 FROM reads r
                 JOIN pg_catalog.pg_class t ON t.oid = r.relation AND t.relrowsecurity
                 JOIN pg_catalog.pg_roles u ON u.oid = r.role
                  AND NOT u.rolsuper AND NOT u.rolbypassrls
                WHERE (t.relforcerowsecurity
                       OR NOT pg_catalog.pg_has_role(u.oid, t.relowner, 'USAGE'))
                  AND (NOT EXISTS (SELECT 1
                             FROM pg_catalog.pg_policy p, pg_catalog.unnest(p.polroles) m (role)
                            WHERE p.polrelid = t.oid AND p.polpermissive AND p.polcmd IN ('r', '*')
                              AND pg_catalog.pg_get_expr(p.polqual, p.polrelid) = 'true'
                              AND CASE WHEN m.role = 0 THEN true
                                       ELSE pg_catalog.pg_has_role(u.oid, m.role, 'USAGE') END)
                       OR EXISTS (SELECT 1 FROM pg_catalog.pg_policy p
                            WHERE p.polrelid = t.oid AND NOT p.polpermissive
                              AND p.polcmd IN ('r', '*')))) AS hidden,
       (SELECT t.relkind IN ('r', 'p') FROM pg_catalog.pg_class t
         WHERE t.oid = pg_catalog.to_regclass('webhook_routing_config')) AS plain,
       pg_catalog.clock_timestamp() AS at
  FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()"""
_OF_THAT_NAME: LiteralString = (
    "(SELECT oid FROM pg_catalog.pg_class WHERE relname = 'webhook_routing_config')"
)
BLOCKERS: LiteralString = f"""
SELECT a.pid, a.application_name, a.state, a.usename = current_user AS same_role,
       age(clock_timestamp(), a.state_change)::text AS since
  FROM pg_locks l JOIN pg_stat_activity a USING (pid)
 WHERE l.relation IN {_OF_THAT_NAME} AND a.pid <> pg_backend_pid()
   AND l.mode IN ('RowShareLock', 'RowExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock',
                  'ExclusiveLock', 'AccessExclusiveLock')"""
# Who could have enabled it again: for the person who has to take it from here.
SWITCHES: LiteralString = f"""
SELECT 'trigger ' || t.tgname FROM pg_trigger t
 WHERE t.tgrelid IN {_OF_THAT_NAME} AND NOT t.tgisinternal
   AND t.tgenabled <> 'D'
UNION ALL
SELECT 'rule ' || r.rulename FROM pg_rewrite r
 WHERE r.ev_class IN {_OF_THAT_NAME} AND r.rulename <> '_RETURN'"""
_BUSY = (pg.LockNotAvailable, pg.QueryCanceled, pg.DeadlockDetected, pg.SerializationFailure)


class Row(NamedTuple):
    """The newest configuration as read; None for what is NULL, missing or no number."""

    percentage: Decimal | None
    enabled: bool | None


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One answer of a connection: the newest row (None: it sees none), and whose answer it is.

    Of two tables, the worse."""

    row: Row | None
    standby: bool
    server: str
    hidden: str  # what may keep the newest row from us; "" where nothing does
    plain: bool  # a table, and no view that may show something else
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
    connection: psycopg.Connection[Any],
    way: Way,
    values: dict[str, str],
    limit: float,
    reached: Callable[[Row], bool],
) -> Failure | None:
    """One way, committed: None, or why it was rolled back.

    Of two tables each has its own transaction, and one that is as asked stays as it is: what
    lowers the one might raise the other. limit: seconds for a statement. Raises psycopg.Error
    only where the connection was lost."""
    # Only what the statement names: another encoding of the database may refuse the reason.
    bound = {name: value for name, value in values.items() if f"%({name})s" in way.statement}
    failures = []
    places = _places(connection)
    for place in places:
        try:
            if len(places) > 1 and _is_as_asked(connection, place, reached):
                continue
            with _transaction(connection, _WRITES, limit, place):
                if way.passes_triggers:
                    connection.execute(_PAST_TRIGGERS)
                connection.execute(way.statement, bound or None)
        except (psycopg.Error, UnicodeError) as error:
            if connection.closed:
                raise
            failures.append(Failure(words=said(error), busy=isinstance(error, _BUSY)))
    return min(failures, key=lambda failure: not failure.busy, default=None)


def look(connection: psycopg.Connection[Any]) -> Seen:
    """What this connection reads now. Raises psycopg.Error where it cannot."""
    seen, closed = [], []
    for place in _places(connection):
        try:
            seen.append(_look(connection, place))
        except pg.InsufficientPrivilege as error:
            closed.append(error)
    if not seen:
        raise closed[0]
    rows = [each.row for each in seen if each.row is not None]
    hidden = [each.hidden for each in seen if each.hidden] + [said(error) for error in closed]
    return replace(
        seen[0],
        row=_worst(rows),
        hidden=hidden[0] if hidden else "",
        plain=all(each.plain for each in seen),
    )


def _look(connection: psycopg.Connection[Any], place: str) -> Seen:
    with _transaction(connection, _READS, 5, place):
        found = connection.execute(LOOK).fetchone()
    if found is None:
        raise psycopg.DataError("the catalog does not hold this database")
    newest, standby, server, hidden, plain, at = found
    return Seen(
        row=_newest(newest),
        standby=standby,
        server=server,
        hidden="row security may hide the newest row from this role" if hidden else "",
        plain=plain is True,
        at=at.astimezone(UTC),
    )


def _is_as_asked(
    connection: psycopg.Connection[Any], place: str, reached: Callable[[Row], bool]
) -> bool:
    try:
        seen = _look(connection, place)
    except (psycopg.Error, UnicodeError):
        if connection.closed:
            raise
        return False
    return seen.plain and not seen.hidden and seen.row is not None and reached(seen.row)


def _places(connection: psycopg.Connection[Any]) -> list[str]:
    """The schemas that hold a configuration; "" where none is seen: then as the path has it."""
    try:
        answers = connection.execute(f"BEGIN; {_READS} {_limits(5)} {PLACES}; COMMIT".encode())
    except BaseException:
        if not connection.closed:
            connection.execute("ROLLBACK")
        raise
    names: list[str] = []
    while answers.nextset():  # the settings answer, too
        if answers.description and answers.description[0].name == "nspname":
            names = [name for (name,) in answers]
    return names or [""]


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
    connection: psycopg.Connection[Any], mode: LiteralString, limit: float, place: str = ""
) -> Iterator[None]:
    """A transaction with our settings, which come in one message with its begin: a limit that the
    role carries has no time to end it before. place: a schema that comes first in its path.
    """
    try:
        connection.execute(f"BEGIN; {mode} {_limits(limit)}".encode())
        if place:
            connection.execute(_THERE, {"place": place})
        yield
        connection.execute("COMMIT")
    except BaseException:
        if not connection.closed:
            connection.execute("ROLLBACK")
        raise


def _limits(seconds: float) -> str:
    return f"SET LOCAL statement_timeout = '{round(seconds * 1000)}ms'; {_OURS}"


def _newest(rows: str | None) -> Row | None:
    """The newest row; where several share its instant, the worst."""
    items = json.loads(rows, parse_float=Decimal) if rows else []
    return _worst(
        [
            Row(
                percentage=_number(item.get("percentage")),
                enabled=item["enabled"] if isinstance(item.get("enabled"), bool) else None,
            )
            for item in items
        ]
    )


def _worst(rows: list[Row]) -> Row | None:
    """The highest percentage of those that are not off, not known where one is not; disabled only
    where all are."""
    if not rows:
        return None
    live = [row for row in rows if row.enabled is not False] or rows
    known = [row.percentage for row in live if row.percentage is not None]
    enabled = {row.enabled for row in live}
    return Row(
        percentage=max(known) if len(known) == len(live) else None,
        enabled=False if enabled == {False} else True if True in enabled else None,
    )


def _number(value: object) -> Decimal | None:
    """A finite number; NaN, infinity and what is none at all are not known."""
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None
