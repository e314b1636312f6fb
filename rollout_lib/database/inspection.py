"""What a pre-flight on a real database must find: the catalog and the rows read once, each finding
a named check.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from rollout_lib.database.catalog import exposure_checks, fails, passes, shape_checks, unseen, warns
from rollout_lib.database.connection import load_sql
from rollout_lib.database.ledger import Facts
from rollout_lib.errors import ShapeRefused, TablesMissing
from rollout_lib.judgement.protected import protected_checks
from rollout_lib.judgement.safety import drift_check
from rollout_lib.model import Check, Outcome, Place, Probe, RoutingConfig, Standing, State
from rollout_lib.plan import Plan
from rollout_lib.text import both_times

CLOCKS_AGREE = timedelta(seconds=5)
LEAKS_SINCE = timedelta(hours=24)


def refuse_other_shapes(connection: Connection, place: Place) -> None:
    """Where the tables cannot be read as the runbook's, say so before anything asks them.

    Raises TablesMissing (exit 50) where some are missing, ShapeRefused (exit 2) with every
    difference and what mends it where they are of another shape."""
    row = connection.execute(load_sql("inspection")).one()
    failed = [check for check in shape_checks(row) if check.outcome is Outcome.FAIL]
    tables = {
        f"shape of {name}": name for name in ("webhook_routing_config", "webhook_routing_logs")
    }
    missing = [
        tables[check.name]
        for check in failed
        if check.name in tables and check.observed == "missing"
    ]
    missing += [] if row.ledger else ["rollout.ledger"]
    if any(check.name in tables and check.observed != "missing" for check in failed):
        lines = [f"{check.name}: {check.observed}. Mend: {check.mend}" for check in failed]
        raise ShapeRefused(differences="\n".join(lines))
    if missing:
        raise TablesMissing(where=f"{place.database} on {place.host}", missing=", ".join(missing))


def inspect_database(
    connection: Connection,
    plan: Plan,
    *,
    facts: Facts,
    standing: Standing,
    live: bool,
    now: datetime,
    probes: Sequence[Probe],
) -> tuple[Check, ...]:
    """Every finding as PASS, WARN, FAIL or COULD NOT LOOK, with what was observed and what mends
    it.

    now: the run's instant; live is False in a simulated world, where clocks and functions are not
    looked at."""
    asked = datetime.now(UTC)
    row = connection.execute(load_sql("inspection")).one()
    answered = datetime.now(UTC)
    since = max(
        [
            now - LEAKS_SINCE,
            *(item.at for item in standing.attestations if item.subject == "restart"),
        ]
    )
    rows = connection.execute(
        load_sql("inspect_rows"), {"since": since, "until": now, "domains": list(plan.domains)}
    ).one()
    hidden = row.hidden or []
    checks = [
        *shape_checks(row),
        *exposure_checks(row),
        _row_security(hidden),
        _writable(row, facts.database),
        _index(row),
        _pooled(connection, row),
        _coordinator(connection, row),
    ]
    if "webhook_routing_config" not in hidden:
        checks += [
            _one_row(facts.config, rows.same_instant),
            _initial(facts.config, standing, plan),
        ]
        checks.append(_domains(facts.config, plan))
    checks.append(_leaks(rows, plan, since))
    if live:
        checks.append(_clocks(row.clock, asked, answered))
    checks.append(_function(probes, live))
    checks += protected_checks(probes, plan)
    return tuple(checks)


def _row_security(hidden: Sequence[str]) -> Check:
    """A table under row security looks empty, not forbidden."""
    if not hidden:
        return passes("rows visible to us", "all", "all rows")
    tables = ", ".join(hidden)
    reason = f"row security is active for our role on {tables}: it may look empty, not forbidden"
    mend = " ".join(
        f"CREATE POLICY rollout_reads ON {table} FOR SELECT TO CURRENT_USER USING (true);"
        for table in hidden
    )
    return unseen("rows visible to us", tables, "all rows", reason, mend)


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


def _index(row: Any) -> Check:
    if row.indexed:
        return passes("index on created_at", "present", "present")
    return warns(
        "index on created_at",
        "missing",
        "present",
        "every check would read the whole log",
        "CREATE INDEX CONCURRENTLY ON webhook_routing_logs (created_at);",
    )


def _pooled(connection: Connection, row: Any) -> Check:
    """A pooler answers with a process id of its own; the server's is another."""
    if connection.connection.driver_connection.info.backend_pid == row.backend:
        return passes("connection", "direct", "direct, or a pooler")
    return warns(
        "connection",
        "through a pooler",
        "direct, or a pooler",
        "session locks, SET and prepared statements do not hold through it: this suite uses none, "
        "what else you run here must not either",
        "for a session of your own use the direct address (Supabase: port 5432, not 6543)",
    )


def _coordinator(connection: Connection, row: Any) -> Check:
    if row.distributed and connection.execute(load_sql("inspect_distributed")).scalar_one():
        return warns(
            "coordinator",
            "webhook_routing_config is a table of Citus",
            "a plain table of the coordinator",
            "with a worker down an emergency rollback fails, with one frozen it hangs",
            "SELECT undistribute_table('webhook_routing_config');",
        )
    return passes("coordinator", "plain", "a plain table of the coordinator")


def _one_row(config: RoutingConfig | None, same_instant: int) -> Check:
    if config is None:
        return fails(
            "configuration row",
            "none",
            "exactly one",
            "the router has no configuration to read",
            "INSERT INTO webhook_routing_config (percentage, enabled) VALUES (0.00, false);",
        )
    if same_instant > 1:
        return fails(
            "configuration row",
            f"{same_instant} rows of one created_at",
            "exactly one",
            "which row is the newest is not defined: a change may reach one, the router read"
            " another",
            "DELETE FROM webhook_routing_config a USING webhook_routing_config b "
            "WHERE a.created_at = b.created_at AND a.ctid < b.ctid;  -- after comparing them",
        )
    if config.rows > 1:
        return warns(
            "configuration row",
            f"{config.rows} rows",
            "exactly one",
            "the newest by created_at counts; somebody inserts rows instead of updating, and a row"
            " newer than the one being changed would take over",
            "DELETE FROM webhook_routing_config WHERE created_at < "
            "(SELECT max(created_at) FROM webhook_routing_config);",
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


def _domains(config: RoutingConfig | None, plan: Plan) -> Check:
    """What the router routes is what the plan says: no protected domain, and none left out."""
    wanted = ", ".join(plan.domains)
    if config is None:
        return unseen("configured domains", "none", wanted, "there is no row")
    seen = ", ".join(config.domains) or "none"
    if set(config.domains) == set(plan.domains):
        return passes("configured domains", seen, wanted)
    listed = ", ".join(f"'{name}'" for name in plan.domains)
    return fails(
        "configured domains",
        seen,
        wanted,
        f"the router would route {seen}, the plan says {wanted}",
        f"UPDATE webhook_routing_config SET domains = ARRAY[{listed}] WHERE created_at = "
        "(SELECT max(created_at) FROM webhook_routing_config);",
    )


def _leaks(rows: Any, plan: Plan, since: datetime) -> Check:
    name, limit = "no earlier leak", f"only {', '.join(plan.domains)} reach unified"
    if rows.leaked == 0:
        return passes(name, f"0 rows since {both_times(since, plan.time_zone)}", limit)
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
