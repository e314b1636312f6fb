"""The door to the database: address, transactions with limits, named SQL, and errors in our own
words.

Addresses come from the environment (or a pg service or passfile) and never leave this module in a
message. Built for a transaction pooler: no session state, no prepared statements, one connection a
transaction."""

from __future__ import annotations

import fnmatch
import importlib
import ipaddress
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, cast

import psycopg
from psycopg import errors as pg
from psycopg.rows import namedtuple_row
from psycopg.types.json import set_json_loads
from pydantic_core import from_json
from sqlalchemy import Connection, Engine, TextClause, create_engine, text
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from rollout_lib import spool
from rollout_lib.database.cells import INVISIBLE
from rollout_lib.emergency.address import TORN, Address, NoAddress, project_of, read_address
from rollout_lib.emergency.identity import Found, Mark, Wanted, differences
from rollout_lib.errors import (
    CouldNotMeasure,
    DatabaseMissing,
    DatabaseUnreachable,
    RolloutError,
    SlotTaken,
    TablesMissing,
    UsageError,
    WrongDatabase,
    unreachable,
)
from rollout_lib.model import Place
from rollout_lib.plan import Plan
from rollout_lib.redaction import redact

APPLICATION = "rollout"
Asked = tuple[TextClause, Mapping[str, Any]]  # a statement and its binds
_IS_MARKED = """SELECT EXISTS (SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'rollout' AND c.relname = 'marker' AND has_schema_privilege(n.oid, 'USAGE')
      AND has_table_privilege(c.oid, 'SELECT'))"""
_MARKS = """SELECT json_agg(json_build_array(rollout, environment, CAST(id AS text), project))
  FROM rollout.marker"""
_TLS = ("require", "verify-ca", "verify-full")


@dataclass(frozen=True, kw_only=True)
class Database:
    """One plan's database. `address` holds the password: never shown, never recorded."""

    place: Place
    engine: Engine = field(repr=False)
    address: str = field(repr=False)
    plan: Plan = field(repr=False)
    wanted: Wanted
    found: Found
    note: str = ""  # what of the address was not used
    marks: list[Mark] = field(default_factory=list, repr=False)  # as last read; none: not marked

    @property
    def marked(self) -> Place:
        """Return the place with the marker of its rollout, once a transaction has read it."""
        ours = [str(mark) for mark in self.marks if mark.rollout == self.place.rollout]
        return replace(self.place, marker=", ".join(ours))

    @property
    def ledger(self) -> str:
        """Which ledger this address leads to, as entries that wait for it are marked."""
        parts = psycopg.conninfo.conninfo_to_dict(self.address)
        host = str(parts.get("host") or parts.get("hostaddr") or "")
        return spool.ledger_of(host, self.place.database, str(parts.get("user") or ""))

    @contextmanager
    def transaction(
        self, *, readonly: bool, statement_timeout: str = "5s", compare: bool = True
    ) -> Iterator[Connection]:
        """A transaction with limits; readonly ones see one snapshot. Database errors come out as
        ours, and a marker of another database than the plan's is WrongDatabase before anything is
        asked (compare).
        """
        how = {"readonly": readonly, "statement_timeout": statement_timeout}
        with self.asking(**how, compare=compare) as (connection, _):  # type: ignore[arg-type]  # `how` is asking's own
            yield connection

    @contextmanager
    def asking(
        self, *asked: Asked, readonly: bool, statement_timeout: str = "5s", compare: bool = True
    ) -> Iterator[tuple[Connection, list[Any]]]:
        """The same, with its first questions and their answers, in one round trip with its
        beginning.
        """
        marker = _MARKS if self.marks else _IS_MARKED
        opening = [*_opening(readonly, statement_timeout), (text(marker), {})]
        try:
            with self.engine.connect() as connection, connection.begin():
                answers = ask(connection, *opening, *asked)
                self._compare(connection, answers[len(opening) - 1][0], compare)
                yield connection, answers[len(opening) :]
        except (SQLAlchemyError, psycopg.Error) as error:
            raise explain(error, self.place) from None

    def _compare(self, connection: Connection, answer: Any, compare: bool) -> None:
        """Keep the marker as it was read with the transaction's beginning, and compare it; the first
        time the answer is whether there is one at all.
        """
        if answer is True:
            answer = ask(connection, (text(_MARKS), {}))[0][0]
        rows = answer or ()
        self.marks[:] = [Mark(rollout=r[0], environment=r[1], id=r[2], project=r[3]) for r in rows]
        if compare:
            found = replace(self.found, marks=tuple(self.marks))
            if not self.marks:  # an older database: pre-flight says so
                return
            _same(self.wanted, found, self.plan)

    def drain(self, now: datetime | None = None) -> spool.Drained:
        """Append what an earlier run had to keep and may be believed; the database is asked only
        where something waits. now: a rehearsal's own clock.
        """
        if not spool.waiting():
            return spool.Drained()
        from rollout_lib.database.kept import append_kept  # it reads the ledger, by this module

        return append_kept(self, now)


def _opening(readonly: bool, statement_timeout: str) -> list[Asked]:
    """What every transaction begins with. Who only reads holds no row against anybody, and may
    take its time to judge between two reads."""
    mode = "ISOLATION LEVEL REPEATABLE READ, READ ONLY" if readonly else "READ WRITE"
    ours = {
        "statement_timeout": "30s" if readonly else statement_timeout,
        "lock_timeout": "5s",
        "idle_in_transaction_session_timeout": "60s" if readonly else "5s",
        "datestyle": "ISO",  # a role may ask for another, which the driver cannot read
        "jit": "off",  # each look is planned anew: to compile its statement takes longer than it runs
    }
    settings = [f"SET LOCAL {name} = '{value}'" for name, value in ours.items()]
    return [(text(words), {}) for words in (f"BEGIN {mode}", *settings)]


def ask(connection: Connection, *asked: Asked) -> list[Any]:
    """Return the first row of each statement's answer, None where it has none: all in one round
    trip.

    asked: (statement, binds), each with a snapshot of its own unless the transaction has one. The
    first that fails is the error."""
    driver = cast(psycopg.Connection, connection.connection.driver_connection)
    dialect = connection.engine.dialect
    with driver.pipeline():
        cursors = []
        for statement, binds in asked:
            cursor = driver.cursor(row_factory=namedtuple_row)
            cursors.append(cursor.execute(str(statement.compile(dialect=dialect)), binds))
    return [cursor.fetchone() if cursor.description else None for cursor in cursors]


def connect(plan: Plan) -> Database:
    """Find the plan's database; nothing is asked of it yet.

    Raises DatabaseMissing without an address (only a rehearsal falls back to the embedded server),
    WrongDatabase where the address names another host or database, UsageError for one without TLS.
    """
    address = os.environ.get(plan.database.variable, "").strip()
    embedded = not address and plan.environment == "rehearsal"
    if embedded:
        address = _embedded_address(plan)
    if not address:
        raise DatabaseMissing(variable=plan.database.variable, environment=plan.environment)
    given = _read(address, plan)
    parts: dict[str, str] = _from_outside(given.parts) | given.parts
    # libpq goes to hostaddr, whatever host says: a name beside it is no server.
    host = str(parts.get("hostaddr") or parts.get("host") or "local")
    parts = _with_tls(parts, host, plan)
    found = Found(
        host=host,
        database=str(parts.get("dbname") or ""),
        project=project_of(host, str(parts.get("user") or "")),
    )
    meant = plan.database
    wanted = Wanted(
        rollout=plan.rollout,
        environment=plan.environment,
        name=meant.name,
        host=meant.host,
        project=meant.project or "",
        marker=meant.marker or "",
    )
    # Without a connection there is no marker yet.
    _same(replace(wanted, marker=""), found, plan)
    address = psycopg.conninfo.make_conninfo(**{**parts, "application_name": APPLICATION})
    place = Place(
        environment=plan.environment,
        host="embedded" if embedded else _shown(host, plan),
        database=str(parts.get("dbname") or ""),
        rollout=plan.rollout,
        time_zone=plan.time_zone,
        project=found.project[:8],
    )
    return Database(
        place=place,
        engine=_engine(address),
        address=address,
        found=found,
        note=given.note,
        plan=plan,
        wanted=wanted,
    )


def _read(address: str, plan: Plan) -> Address:
    """The address in libpq's keywords; what it does not know is dropped, and named in the note."""
    try:
        return read_address(address)
    except NoAddress as error:
        torn = "write @ and / in its password as %40 and %2F"
        words = f"cannot be read: {torn}" if str(error) == TORN else "is not a PostgreSQL address"
        raise UsageError(reason=f"${plan.database.variable} {words}.") from None


def _shown(host: str, plan: Plan) -> str:
    """A host as results show it; a rehearsal hands the embedded server's address on to its own
    runs.
    """
    if not host.startswith("/"):
        return host
    ours = plan.environment == "rehearsal" and Path(host).parent.name.startswith("rollout-pg-")
    return "embedded" if ours else "local socket"


def _from_outside(parts: Mapping[str, Any]) -> dict[str, str]:
    """What libpq itself would add: from the pg service that the address (or $PGSERVICE) names, and
    from $PG….
    """
    before = os.environ.get("PGSERVICE")
    if "service" in parts:
        os.environ["PGSERVICE"] = str(parts["service"])
    try:
        options = psycopg.pq.Conninfo.get_defaults()
    finally:
        if before is None:
            os.environ.pop("PGSERVICE", None)
        else:
            os.environ["PGSERVICE"] = before
    return {
        item.keyword.decode(): item.val.decode()
        for item in options
        if item.val and item.val != item.compiled
    }


def _with_tls(parts: dict[str, Any], host: str, plan: Plan) -> dict[str, Any]:
    if not plan.database.require_tls or _is_loopback(host):
        return parts
    mode = str(parts.get("sslmode") or "")
    if mode and mode not in _TLS:
        raise UsageError(
            reason=(
                f"${plan.database.variable} says sslmode={mode}; a database that is not on this"
                f" machine needs at least sslmode=require (or `require_tls: false` in {plan.path})."
            )
        )
    return {**parts, "sslmode": mode or "require"}


def _is_loopback(host: str) -> bool:
    if host in ("local", "localhost") or host.startswith("/"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _same(wanted: Wanted, found: Found, plan: Plan) -> None:
    """Is this the database that the plan names? A plan of another rollout must not act here."""
    wrong = differences(wanted, found)
    if wrong:
        raise WrongDatabase(
            difference="; ".join(wrong), variable=plan.database.variable, path=plan.path
        )


def _embedded_address(plan: Plan) -> str:
    """The embedded server's database of this plan, or the newest rehearsal where the plan names a
    pattern.
    """
    # By name, so that nothing in production imports the rehearsal's rooms.
    server = importlib.import_module("rollout_lib.rehearsal.server")
    name = plan.database.name
    is_pattern = any(sign in name for sign in "*?[")
    if is_pattern and not server.is_made():
        raise UsageError(
            reason=f"No rehearsal database {name} yet, nor a server for one: make rehearse."
        )
    address = server.embedded()
    if is_pattern:
        with psycopg.connect(address) as connection:
            rows = connection.execute(
                "SELECT datname FROM pg_database ORDER BY datname DESC"
            ).fetchall()
        names = [row[0] for row in rows if fnmatch.fnmatchcase(row[0], name)]
        if not names:
            raise UsageError(
                reason=f"No rehearsal database {name} on the embedded server yet: make rehearse."
            )
        name = names[0]
    return psycopg.conninfo.make_conninfo(address, dbname=name)


class _Quiet(PGDialect_psycopg):
    """PostgreSQL without the six questions that SQLAlchemy asks of each new engine's server: ours
    sends nothing but text, and reflects nothing."""

    supports_statement_cache = True

    def initialize(self, connection: Connection) -> None:
        """Ask nothing."""


registry.register("postgresql.rollout", __name__, _Quiet.__name__)


def _engine(address: str) -> Engine:
    def dial() -> psycopg.Connection:
        connection = psycopg.connect(
            address,
            connect_timeout=5,
            prepare_threshold=None,
            autocommit=True,  # _opening begins each transaction, in one round trip with the rest
            client_encoding="utf8",
            keepalives_idle=30,
        )
        set_json_loads(from_json, connection)  # a month's ledger is 40 MB: a third of the time
        return connection

    return create_engine(
        "postgresql+rollout://",
        creator=dial,
        poolclass=NullPool,
        hide_parameters=True,
        use_native_hstore=False,  # or each first connection asks for its type
    )


# What the statements call meant(column): a word of the log as it was meant, as cells.normal has it.
# Full width is width, and what cannot be seen is not there. It stands for its text, for nothing of
# ours is installed beside the log; lower by "C", since a Turkish I has another small letter.
_MEANT = (
    "lower(btrim(regexp_replace(CASE WHEN getdatabaseencoding() = 'UTF8'"
    " THEN normalize(coalesce({column}, ''), NFKC) ELSE coalesce({column}, '') END,"
    f""" '{INVISIBLE}', '', 'g')) COLLATE "C")"""
)


@cache
def load_sql(name: str) -> TextClause:
    """The statement of rollout_lib/sql/<name>.sql with named binds; meant(column) in it is written
    out.
    """
    written = (Path(__file__).parents[1] / "sql" / f"{name}.sql").read_text(encoding="utf-8")
    return text(re.sub(r"\bmeant\(([a-z_.]+)\)", lambda found: meant(found[1]), written))


def meant(column: str) -> str:
    """Return the SQL for a word of the log as it was meant, of a column's name."""
    return _MEANT.replace("{column}", column)


def explain(error: Exception, place: Place) -> RolloutError:
    """Our error for a database error: never a statement, a value or an address, always what is true
    now.
    """
    original = error.orig if isinstance(error, DBAPIError) else error
    words = redact((str(original).strip().splitlines() or [type(original).__name__])[0])
    where = f"{place.database} on {place.host}"
    if isinstance(original, pg.UniqueViolation) and "one_check_a_slot" in str(original):
        return SlotTaken()
    if isinstance(original, pg.UndefinedTable | pg.InvalidSchemaName | pg.UndefinedFunction):
        return TablesMissing(
            where=where, missing=words.removeprefix("relation ").split(" does not")[0]
        )
    if isinstance(original, pg.UndefinedColumn):
        return CouldNotMeasure(
            reason=f"{where} has a table of another shape ({words}). See: rollout preflight."
        )
    if isinstance(original, pg.LockNotAvailable | pg.QueryCanceled | pg.DeadlockDetected):
        return CouldNotMeasure(
            reason=f"{where} did not answer in time ({words}). Nothing was left half-done."
        )
    state = getattr(original, "sqlstate", None) or ""
    if state.startswith("08") and state != "08P01":  # the server answers: it cannot reach another
        return CouldNotMeasure(
            reason=f"{where} answers, and a server behind it does not (a worker, or the host of a"
            f" foreign table): {words}."
        )
    lost = (psycopg.OperationalError, psycopg.InterfaceError)
    if isinstance(original, lost) and not isinstance(
        original, pg.InsufficientPrivilege | pg.DiskFull
    ):
        return (
            DatabaseUnreachable(where=where, reason=words)
            if original.sqlstate
            else unreachable(where, words)
        )
    return CouldNotMeasure(reason=f"{where} refused: {words}. Nothing was left half-done.")
