"""What a pre-flight on a real database must find: the catalog read once, each finding a named check."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from rollout_lib.database import load_sql
from rollout_lib.judgement.safety import drift_check, protected_checks
from rollout_lib.model import Check, Outcome, Probe, RoutingConfig, Standing, State
from rollout_lib.plan import Plan
from rollout_lib.store import Facts

CLOCKS_AGREE = timedelta(seconds=5)
# Columns that the suite reads, with the types it can read; bodies of functions may differ.
COLUMNS = {
    "webhook_routing_config": {
        "percentage": ("numeric",),
        "enabled": ("boolean",),
        "domains": ("text[]", "character varying[]"),
        "created_at": ("timestamp with time zone",),
    },
    "webhook_routing_logs": {
        "created_at": ("timestamp with time zone",),
        "domain": ("text", "character varying"),
        "routed_to": ("text", "character varying"),
        "status": ("text", "character varying"),
        "webhook_name": ("text", "character varying"),
        "response_time_ms": ("integer", "bigint", "smallint"),
        "error_message": ("text", "character varying"),
        "message_id": ("text", "character varying"),
    },
    "webhook_routing_stats": {},
}
FUNCTIONS = {
    "set_routing_enabled": ("boolean", "text"),
    "update_routing_percentage": ("numeric", "text"),
    "check_routing_health": (),
    "get_current_routing_config": (),
}
OLDER = {
    "webhook_routing_config": {"target_function", "traffic_percentage"},
    "webhook_routing_logs": {"latency_ms", "success", "routed_at"},
}


def inspect_database(
    connection: Connection,
    plan: Plan,
    *,
    facts: Facts,
    standing: Standing,
    live: bool,
    asked_at: datetime | None,
    probes: Sequence[Probe],
) -> tuple[Check, ...]:
    """Every finding as PASS, WARN, FAIL or COULD NOT LOOK, with what was observed and what mends it."""
    row = connection.execute(load_sql("inspection")).one()
    checks = [
        *shape_checks(row),
        *_exposure(row),
        _ledger(row),
        _row_security(row),
        _writable(row, plan),
        _index(row),
        _one_row(facts.config),
        _initial(facts.config, standing, plan),
    ]
    if row.distributed:
        checks.append(_warn("coordinator", "Citus is installed", "plain tables of the coordinator",
                            "as reference tables an emergency rollback fails with a worker down"))  # fmt: skip
    if live:
        checks.append(_clock(row.clock, asked_at))
    checks.append(_function(probes, live))
    checks += protected_checks(probes, plan)
    return tuple(checks)


def shape_checks(row: Any) -> Iterator[Check]:
    """Columns, types and signatures of the runbook's objects; older shapes are named as such."""
    found: dict[str, dict[str, str]] = {}
    for item in row.columns or []:
        found.setdefault(item["table_name"], {})[item["column_name"]] = item["type"]
    for table, wanted in COLUMNS.items():
        columns = found.get(table)
        if columns is None:
            yield _fail(f"shape of {table}", "missing", "exists", "it does not exist", "rollout migrate --apply")
            continue
        older = sorted(OLDER.get(table, set()) & set(columns))
        wrong = [f"{name} is missing" for name in wanted if name not in columns]
        wrong += [
            f"{name} is {columns[name]}, not {types[0]}"
            for name, types in wanted.items()
            if name in columns and columns[name] not in types
        ]
        if older:
            wrong.append(f"it has columns of an older system: {', '.join(older)}")
        if wrong:
            mend = f"ALTER TABLE {table} RENAME TO {table}_old;  -- after asking whose it is; then: rollout migrate"
            yield _fail(f"shape of {table}", "; ".join(wrong), "the runbook's columns", "; ".join(wrong), mend)
        else:
            yield _pass(f"shape of {table}", f"{len(columns)} columns", "the runbook's columns")
    signatures = {item["name"]: _types(item["arguments"]) for item in row.functions or []}
    wrong = [
        f"{name}({', '.join(types)}) is {'missing' if name not in signatures else 'of another signature'}"
        for name, types in FUNCTIONS.items()
        if signatures.get(name) != types
    ]
    if wrong:
        yield _fail("functions", "; ".join(wrong), "the runbook's four", "; ".join(wrong), "rollout migrate --apply")
    else:
        yield _pass("functions", f"{len(signatures)} found", "the runbook's four")


def _types(arguments: str) -> tuple[str, ...]:
    return tuple(part.strip().split(" ")[-1] for part in arguments.split(",") if part.strip())


def _exposure(row: Any) -> Iterator[Check]:
    """PostgREST exposes everything in public: with EXECUTE for everyone the anon key sets the percentage."""
    open_to_all = [item for item in row.functions or [] if item["public_may"]]
    pathless = [item for item in row.functions or [] if item["definer"] and not item["has_path"]]
    names = ", ".join(item["name"] for item in open_to_all)
    if open_to_all:
        mend = " ".join(
            f"REVOKE EXECUTE ON FUNCTION {item['name']}({item['arguments']}) FROM PUBLIC, anon, authenticated;"
            for item in open_to_all
        )
        yield _fail("functions not public", names, "no EXECUTE for everyone",
                    f"anyone with the public key may call {names}", mend)  # fmt: skip
    else:
        yield _pass("functions not public", "revoked", "no EXECUTE for everyone")
    if pathless:
        mend = " ".join(
            f"ALTER FUNCTION {item['name']}({item['arguments']}) SET search_path = public, pg_temp;"
            for item in pathless
        )
        yield _fail("search_path of functions", ", ".join(item["name"] for item in pathless), "set",
                    "SECURITY DEFINER without a search_path can be made to run foreign code", mend)  # fmt: skip
    else:
        yield _pass("search_path of functions", "set", "set")
    if row.exposed:
        yield _fail("logs not public", "; ".join(row.exposed), "not readable by anon, authenticated",
                    "; ".join(row.exposed), "REVOKE ALL ON webhook_routing_logs, webhook_routing_config, "
                    "webhook_routing_stats FROM anon, authenticated;")  # fmt: skip
    else:
        yield _pass("logs not public", "not readable", "not readable by anon, authenticated")


def _ledger(row: Any) -> Check:
    if row.ledger:
        return _pass("ledger", "rollout.ledger", "exists")
    return _fail("ledger", "missing", "exists", "the suite has no ledger here", "rollout migrate --apply")


def _row_security(row: Any) -> Check:
    """A table under row security looks empty, not forbidden."""
    if row.forced:
        tables = ", ".join(row.forced)
        reason = f"row security is active for our role on {tables}: it would look empty, not forbidden"
        mend = "; ".join(
            f"CREATE POLICY rollout_reads ON {t} FOR SELECT TO CURRENT_USER USING (true)" for t in row.forced
        )
        return Check(name="rows visible to us", outcome=Outcome.COULD_NOT_LOOK, observed=tables, limit="all rows",
                     reason=reason, mend=mend, state=State.COULD_NOT_LOOK)  # fmt: skip
    return _pass("rows visible to us", "all", "all rows")


def _writable(row: Any, plan: Plan) -> Check:
    if row.read_only:
        return _fail("database writable", "read-only", "writable",
                     "new transactions are read-only (a full disk does that, or this is a replica)",
                     "ALTER DATABASE … SET default_transaction_read_only = off;  -- after making room")  # fmt: skip
    return _pass("database writable", "writable", "writable")


def _index(row: Any) -> Check:
    if row.indexed:
        return _pass("index on created_at", "present", "present")
    return _warn("index on created_at", "missing", "present",
                 "every check would read the whole log",
                 "CREATE INDEX CONCURRENTLY ON webhook_routing_logs (created_at);")  # fmt: skip


def _one_row(config: RoutingConfig | None) -> Check:
    if config is None:
        return _fail("configuration row", "none", "exactly one", "the router has no configuration to read",
                     "INSERT INTO webhook_routing_config (percentage, enabled) VALUES (0.00, false);")  # fmt: skip
    if config.rows > 1:
        return _warn("configuration row", f"{config.rows} rows", "exactly one",
                     "the newest by created_at counts; somebody inserts rows instead of updating")  # fmt: skip
    return _pass("configuration row", "1 row", "exactly one")


def _initial(config: RoutingConfig | None, standing: Standing, plan: Plan) -> Check:
    """Before the first raise 0.00 / false, as the runbook checks; afterwards what the ledger says."""
    if config is None:
        return Check(name="initial configuration", outcome=Outcome.COULD_NOT_LOOK, observed="none",
                     limit="0 %, disabled", reason="there is no row", state=State.COULD_NOT_LOOK)  # fmt: skip
    if standing.last_change is None:
        seen = f"{config.percentage:g} %, {'enabled' if config.enabled else 'disabled'}"
        if config.percentage == 0 and not config.enabled:
            return _pass("initial configuration", seen, "0 %, disabled")
        return _fail("initial configuration", seen, "0 %, disabled",
                     "routing is already enabled or not at 0, and no entry of the ledger says who did it",
                     "rollout rollback --emergency --reason 'not started by the ledger'")  # fmt: skip
    return drift_check(config, standing, plan)


def _clock(database: datetime, asked_at: datetime | None) -> Check:
    away = abs(database - (datetime.now(UTC) if asked_at is None else asked_at))
    observed = f"{away.total_seconds():.1f} s apart"
    if away > CLOCKS_AGREE:
        return _warn("clocks", observed, "≤ 5 s", "the database's clock counts; this machine's is away from it",
                     "timedatectl set-ntp true")  # fmt: skip
    return _pass("clocks", observed, "≤ 5 s")


def _function(probes: Sequence[Probe], live: bool) -> Check:
    if not live:
        return Check(name="router function ACTIVE", outcome=Outcome.NOT_APPLICABLE, observed="simulated",
                     limit="ACTIVE", reason="a simulated world has no function to look at")  # fmt: skip
    probe = next((probe for probe in probes if probe.kind == "function"), None)
    if probe is None:
        raise ValueError("the function list was not asked before this transaction")
    if probe.up:
        return _pass("router function ACTIVE", probe.detail, "ACTIVE")
    if probe.up is None:
        return Check(name="router function ACTIVE", outcome=Outcome.COULD_NOT_LOOK, observed=probe.detail,
                     limit="ACTIVE", reason=f"could not look: {probe.detail}",
                     mend="supabase functions list | grep webhook-traffic-router")  # fmt: skip
    return _fail("router function ACTIVE", probe.detail, "ACTIVE", probe.detail,
                 "supabase functions deploy webhook-traffic-router")  # fmt: skip


def _pass(name: str, observed: str, limit: str) -> Check:
    return Check(name=name, outcome=Outcome.PASS, observed=observed, limit=limit, reason=observed)


def _warn(name: str, observed: str, limit: str, reason: str, mend: str | None = None) -> Check:
    return Check(name=name, outcome=Outcome.WARN, observed=observed, limit=limit, reason=reason, mend=mend)


def _fail(name: str, observed: str, limit: str, reason: str, mend: str | None = None) -> Check:
    return Check(name=name, outcome=Outcome.FAIL, observed=observed, limit=limit, reason=reason, mend=mend,
                 state=State.HOLD)  # fmt: skip
