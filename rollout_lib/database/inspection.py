"""What a pre-flight on a real database must find: the catalog and the rows read once, each finding
a named check.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from rollout_lib.database.catalog import (
    CONFIG,
    LOGS,
    Catalog,
    catalog_of,
    fails,
    is_missing,
    passes,
    shape_checks,
    unseen,
    warns,
)
from rollout_lib.database.connection import Asked, ask, load_sql
from rollout_lib.database.exposure import asked_of, exposure_checks, guarded
from rollout_lib.database.ledger import Facts
from rollout_lib.database.mends import as_role, quoted
from rollout_lib.database.writes import SOMETIMES, calls_asked, calls_check, rows_asked, rows_check
from rollout_lib.errors import ShapeRefused, TablesMissing
from rollout_lib.judgement.log import arrival_checks
from rollout_lib.judgement.protected import protected_checks
from rollout_lib.judgement.safety import drift_check
from rollout_lib.model import (
    Check,
    CheckKind,
    Outcome,
    Place,
    Probe,
    RoutingConfig,
    Standing,
    State,
)
from rollout_lib.plan import Plan
from rollout_lib.text import both_times

CLOCKS_AGREE = timedelta(seconds=5)
LEAKS_SINCE = timedelta(hours=24)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """The catalog, and between which two instants of this machine it was read."""

    catalog: Catalog
    asked: datetime
    answered: datetime
    pooled: bool


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What was tried and undone. rows, calls: the answers, None where there is none; wrote: were
    rows to be written; calls_asked: "" where no function was to be called."""

    rows: str | None
    wrote: bool
    calls_asked: str = ""
    calls: str | None = None
    why: str = ""  # there is no answer


def catalog_asked(plan: Plan) -> Asked:
    """Return the question that the catalog answers, for this plan's router."""
    return load_sql("inspection"), {"role": plan.database.router_role}


def read_catalog(connection: Connection, plan: Plan) -> Seen:
    """Read the catalog: one round trip."""
    asked = datetime.now(UTC)
    (row,) = ask(connection, catalog_asked(plan))
    return seen_of(connection, row, asked)


def seen_of(connection: Connection, row: Any, asked: datetime) -> Seen:
    """Return what one row of sql/inspection.sql, asked for at an instant, says."""
    driver = connection.connection.driver_connection
    pooled = driver is None or driver.info.backend_pid != row.backend
    return Seen(catalog=catalog_of(row), asked=asked, answered=datetime.now(UTC), pooled=pooled)


def refuse_other_shapes(catalog: Catalog, place: Place) -> None:
    """Where the tables cannot be read as the runbook's, say so before anything asks them.

    Raises TablesMissing (exit 50) where some are missing, ShapeRefused (exit 2) with every
    difference and what mends it where they are of another shape."""
    checks = [check for check in shape_checks(catalog) if check.outcome is Outcome.FAIL]
    failed = [
        check
        for check in checks
        if check.kind is CheckKind.SHAPE and check.subject in (CONFIG, LOGS)
    ]
    missing = [check.subject for check in failed if is_missing(catalog, check)]
    if len(failed) > len(missing) or (missing and catalog.in_use):
        lines = [f"{check.name}: {check.observed}. Mend: {check.mend}" for check in checks]
        raise ShapeRefused(differences="\n".join(lines))
    missing += [] if catalog.row.ledger else ["rollout.ledger"]
    if missing:
        raise TablesMissing(where=f"{place.database} on {place.host}", missing=", ".join(missing))


def try_writes(
    connection: Connection, plan: Plan, catalog: Catalog, *, write: bool, calls: bool
) -> Trial:
    """Try the router's rows, and call the functions, in this transaction; each is undone at once.

    write: False in a transaction that only reads: the rows are judged by the catalog then."""
    asked = rows_trial(plan, catalog, write=write)
    wanted = calls_asked(catalog) if calls else ""
    asked += _tried("calls", wanted) if calls else []
    answers = ask(connection, *asked)
    return Trial(
        rows=answers[2].answer,
        wrote=write,
        calls_asked=wanted,
        calls=answers[5].answer if calls else None,
    )


def rows_trial(plan: Plan, catalog: Catalog, *, write: bool) -> list[Asked]:
    """Return the questions that try the router's rows; the last of them has the answer."""
    return _tried("rows", rows_asked(plan, catalog, may_write=write))


def _tried(name: str, asked: str) -> list[Asked]:
    return [
        (load_sql("tries/ask"), {"asked": asked}),
        (load_sql(f"tries/{name}"), {}),
        (load_sql("tries/answer"), {}),
    ]


def look_asked(plan: Plan, catalog: Catalog, standing: Standing, now: datetime) -> list[Asked]:
    """Return what else is asked: rows of the configuration and the log, and what policies let
    through. For look_checks, in this order."""
    restarts = [item.at for item in standing.attestations if item.subject == "restart"]
    since = max([now - LEAKS_SINCE, *restarts])
    binds = {"since": since, "until": now, "domains": list(plan.domains)}
    citus = load_sql("inspect_distributed" if catalog.row.distributed else "tries/answer")
    asked = [(load_sql("inspect_rows"), binds), (citus, {})]
    items = guarded(catalog)
    return asked + (_tried("roles", asked_of(items)) if items else [])


def look_checks(
    plan: Plan,
    *,
    seen: Seen,
    answers: Sequence[Any],
    trial: Trial,
    facts: Facts,
    standing: Standing,
    live: bool,
    now: datetime,
    probes: Sequence[Probe],
) -> tuple[Check, ...]:
    """Every finding as PASS, WARN, FAIL or COULD NOT LOOK, with what was observed and what mends
    it.

    answers: to look_asked. now: the run's instant; live is False in a simulated world, where clocks
    and functions are not looked at."""
    catalog = seen.catalog
    row, (rows, spread, *rest) = catalog.row, answers
    hidden = {item["name"] for item in row.hidden or ()}
    checks = [
        *shape_checks(catalog),
        *exposure_checks(catalog, rest[-1].answer if rest else None),
        _row_security(catalog),
        _writable(row, facts.database),
        _index(catalog),
        _pooled(seen),
        _coordinator(catalog, spread),
        rows_check(plan, catalog, trial.rows, wrote=trial.wrote, why=trial.why),
    ]
    if row.distributed:
        checks.append(_distribution(catalog, spread))
    if trial.calls_asked:
        checks.append(calls_check(catalog, trial.calls_asked, trial.calls))
    if CONFIG not in hidden:
        checks += [
            _one_row(catalog, facts.config, rows.same_instant),
            _initial(facts.config, standing, plan),
            _domains(catalog, facts.config, plan),
        ]
    checks.append(_leaks(rows, plan))
    checks += arrival_checks(
        hour_rows=rows.hour_rows,
        newest_at=rows.newest_at,
        ahead_rows=rows.ahead_rows,
        ahead_at=rows.ahead_at,
        now=now,
        plan=plan,
    )
    if live:
        checks.append(_clocks(row.clock, seen.asked, seen.answered))
    checks.append(_function(probes, live))
    checks += protected_checks(probes, plan)
    return tuple(checks)


def _row_security(catalog: Catalog) -> Check:
    """A table under row security looks empty, not forbidden."""
    hidden, role = catalog.row.hidden or (), catalog.row.role
    if not hidden:
        return passes("rows visible to us", "all", "all rows")
    tables = ", ".join(item["name"] for item in hidden)
    reason = f"row security is active for our role on {tables}: it may look empty, not forbidden"
    restricted = [name for item in hidden for name in item["restricted"] or ()]
    if restricted:
        mend = f"by hand, as {hidden[0]['owner']}: except {role} from {', '.join(restricted)}"
        return unseen("rows visible to us", tables, "all rows", reason, mend)
    policy = quoted(f"rollout_reads_{role}"[:63])
    made = " ".join(
        f"CREATE POLICY {policy} ON {item['table']} FOR SELECT TO {quoted(role)} USING (true);"
        for item in hidden
    )
    return unseen(
        "rows visible to us", tables, "all rows", reason, as_role(made, hidden[0]["owner"])
    )


def _writable(row: Any, database: str) -> Check:
    if row.read_only:
        return fails(
            "database writable",
            "read-only",
            "writable",
            "new transactions are read-only (a full disk does that, or this is a replica)",
            f'ALTER DATABASE "{database}" SET default_transaction_read_only = off;  '
            "-- after making room",
        )
    return passes("database writable", "writable", "writable")


def _index(catalog: Catalog) -> Check:
    """Each table that holds the log's rows has one; how it is made depends on the kind of table."""
    name = "index on created_at"
    bare = [item for item in catalog.relations[LOGS].tables if not item["indexed"]]
    if not bare:
        return passes(name, "present", "present")
    item = bare[0]
    words = "every check would read the whole log"
    if item["kind"] == "f":
        reason = f"{words}, or its index is on the other server, where this cannot look"
        mend = f"by hand, on the server of {item['name']}: an index on created_at"
        return warns(name, "not seen", "present", reason, mend)
    if item["kind"] == "p":
        mend = as_role(
            f"CREATE INDEX ON {item['name']} (created_at);",
            item["owner"],
            "each partition takes no row while its index is built; one built on it before,"
            " CONCURRENTLY, is taken over",
        )
    else:
        mend = as_role(f"CREATE INDEX CONCURRENTLY ON {item['name']} (created_at);", item["owner"])
    return warns(name, "missing", "present", words, mend)


def _pooled(seen: Seen) -> Check:
    """A pooler answers with a process id of its own; the server's is another."""
    if not seen.pooled:
        return passes("connection", "direct", "direct, or a pooler")
    return warns(
        "connection",
        "through a pooler",
        "direct, or a pooler",
        "session locks, SET and prepared statements do not hold through it: this suite uses none, "
        "what else you run here must not either",
        "for a session of your own use the direct address (Supabase: port 5432, not 6543)",
    )


def _coordinator(catalog: Catalog, spread: Any) -> Check:
    if catalog.row.distributed and spread.configuration:
        config = catalog.relations[CONFIG].full_name
        return warns(
            "coordinator",
            f"{CONFIG} is a table of Citus",
            "a plain table of the coordinator",
            "with a worker down an emergency rollback fails, with one frozen it hangs",
            f"SELECT undistribute_table('{config}');",
        )
    return passes("coordinator", "plain", "a plain table of the coordinator")


def _distribution(catalog: Catalog, spread: Any) -> Check:
    """Citus refuses a row whose distribution column is NULL: what the router leaves out."""
    name, limit = "distribution of the log", "by a column that every row has"
    column = spread.log_column
    if column not in SOMETIMES:
        return passes(name, f"by {column}" if column else "not distributed", limit)
    log = catalog.relations[LOGS].full_name
    return fails(
        name,
        f"by {column}",
        limit,
        f"errors of the router have no {column}: Citus refuses these rows, and they are lost",
        f"SELECT alter_distributed_table('{log}', distribution_column := 'id');",
    )


def _one_row(catalog: Catalog, config: RoutingConfig | None, same_instant: int) -> Check:
    table = catalog.relations[CONFIG].full_name
    if config is None:
        return fails(
            "configuration row",
            "none",
            "exactly one",
            "the router has no configuration to read",
            f"INSERT INTO {table} (percentage, enabled) VALUES (0.00, false);",
        )
    if same_instant > 1:
        return fails(
            "configuration row",
            f"{same_instant} rows of one created_at",
            "exactly one",
            "which row is the newest is not defined: a change may reach one, the router read"
            " another",
            f"DELETE FROM {table} a USING {table} b "
            "WHERE a.created_at = b.created_at AND a.ctid < b.ctid;  -- after comparing them",
        )
    if config.rows > 1:
        return warns(
            "configuration row",
            f"{config.rows} rows",
            "exactly one",
            "the newest by created_at counts; somebody inserts rows instead of updating, and a row"
            " newer than the one being changed would take over",
            f"DELETE FROM {table} WHERE created_at < (SELECT max(created_at) FROM {table});",
        )
    return passes("configuration row", "1 row", "exactly one")


def _initial(config: RoutingConfig | None, standing: Standing, plan: Plan) -> Check:
    """Before the first raise 0.00 / false, as the runbook checks; afterwards what
    the ledger says.
    """
    if config is None:
        return unseen("initial configuration", "none", "0 %, disabled", "there is no row")
    if standing.last_change is not None:
        return drift_check(config, standing, plan)
    seen = f"{config.percentage:g} %, {'enabled' if config.enabled else 'disabled'}"
    if config.percentage == 0 and not config.enabled:
        return passes("initial configuration", seen, "0 %, disabled")
    return fails(
        "initial configuration",
        seen,
        "0 %, disabled",
        "routing is already enabled or not at 0, and no entry of the ledger says who did it",
        "rollout rollback --emergency --reason 'not started by the ledger'",
    )


def _domains(catalog: Catalog, config: RoutingConfig | None, plan: Plan) -> Check:
    """What the router routes is what the plan says: no protected domain, and none left out."""
    wanted = ", ".join(plan.domains)
    if config is None:
        return unseen("configured domains", "none", wanted, "there is no row")
    seen = ", ".join(config.domains) or "none"
    if set(config.domains) == set(plan.domains):
        return passes("configured domains", seen, wanted)
    listed = ", ".join(f"'{name}'" for name in plan.domains)
    table = catalog.relations[CONFIG].full_name
    return fails(
        "configured domains",
        seen,
        wanted,
        f"the router would route {seen}, the plan says {wanted}",
        f"UPDATE {table} SET domains = ARRAY[{listed}] WHERE created_at = "
        f"(SELECT max(created_at) FROM {table});",
    )


def _leaks(rows: Any, plan: Plan) -> Check:
    name, limit = "no earlier leak", f"only {', '.join(plan.domains)} reach unified"
    if rows.leaked == 0:
        return passes(name, f"0 rows since {both_times(rows.since, plan.time_zone)}", limit)
    last = both_times(rows.leaked_at, plan.time_zone)
    seen = f"{rows.leaked:,} rows of {', '.join(rows.leaked_domains)}, last {last}"
    return fails(
        name,
        seen,
        limit,
        f"{seen} reached unified: the router sends what the plan protects",
        "mend the router, then: rollout acknowledge --restart --reason '…'",
    )


def _clocks(database: datetime, asked: datetime, answered: datetime) -> Check:
    """The database answered between two instants of ours; how far is its clock outside them?"""
    away = max(asked - database, database - answered, timedelta(0))
    observed = f"{away.total_seconds():.1f} s apart"
    if away > CLOCKS_AGREE:
        return warns(
            "clocks",
            observed,
            "≤ 5 s",
            "the database's clock counts; this machine's is away from it",
            "timedatectl set-ntp true",
        )
    return passes("clocks", observed, "≤ 5 s")


def _function(probes: Sequence[Probe], live: bool) -> Check:
    name = "router function ACTIVE"
    if not live:
        return Check(
            name=name,
            outcome=Outcome.NOT_APPLICABLE,
            observed="simulated",
            limit="ACTIVE",
            reason="a simulated world has no function to look at",
        )
    probe = next((probe for probe in probes if probe.kind == "function"), None)
    if probe is None:
        raise ValueError("the function list was not asked before this transaction")
    if probe.up:
        return passes(name, probe.detail, "ACTIVE")
    if probe.up is None:
        # A way to look that failed is not a pass of the whole; where there is none, that is only
        # said.
        return Check(
            name=name,
            outcome=Outcome.COULD_NOT_LOOK,
            observed=probe.detail,
            limit="ACTIVE",
            reason=f"could not look: {probe.detail}",
            state=State.COULD_NOT_LOOK if probe.failures else None,
            mend="supabase functions list | grep webhook-traffic-router",
        )
    return fails(
        name,
        probe.detail,
        "ACTIVE",
        probe.detail,
        "supabase functions deploy webhook-traffic-router",
    )
