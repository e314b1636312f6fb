"""What the catalog says: are the runbook's objects there in their shape, and who may use them?
Pure.

Shape means columns, types and signatures; bodies of functions may differ. Each finding is a named
check."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rollout_lib.model import Check, Outcome, State

_TEXT = ("text", "character varying")
_COUNT = ("bigint", "integer", "numeric")
_FIGURE = ("double precision", "numeric")
# Columns that the suite or the runbook's queries read, with the types that they can read, ours
# first.
COLUMNS: dict[str, dict[str, tuple[str, ...]]] = {
    "webhook_routing_config": {
        "percentage": ("numeric",),
        "enabled": ("boolean",),
        "domains": ("text[]", "character varying[]"),
        "created_at": ("timestamp with time zone",),
    },
    "webhook_routing_logs": {
        "created_at": ("timestamp with time zone",),
        "domain": _TEXT,
        "routed_to": _TEXT,
        "status": _TEXT,
        "webhook_name": _TEXT,
        "response_time_ms": ("integer", "bigint", "smallint"),
        "error_message": _TEXT,
        "message_id": _TEXT,
    },
    "webhook_routing_stats": {
        "domain": _TEXT,
        "routed_to": _TEXT,
        "request_count": _COUNT,
        "error_count": _COUNT,
        **dict.fromkeys(
            ("avg_response_ms", "p50_ms", "p95_ms", "p99_ms", "error_rate_pct"), _FIGURE
        ),
    },
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


def shape_checks(row: Any) -> Iterator[Check]:
    """Columns, types and signatures of the runbook's objects; older shapes are named as such.

    row: the answer of sql/inspection.sql.
    """
    found: dict[str, dict[str, str]] = {}
    for item in row.columns or []:
        found.setdefault(item["table_name"], {})[item["column_name"]] = item["type"]
    for table, wanted in COLUMNS.items():
        yield _table(table, wanted, found.get(table))
    signatures = {(item["name"], _types(item["arguments"])) for item in row.functions or []}
    names = {name for name, _ in signatures}
    wrong = [
        f"{name}({', '.join(types)}) is {'of another signature' if name in names else 'missing'}"
        for name, types in FUNCTIONS.items()
        if (name, types) not in signatures
    ]
    if wrong:
        observed = "; ".join(wrong) if names else "missing"
        yield fails(
            "functions", observed, "the runbook's four", "; ".join(wrong), "rollout migrate --apply"
        )
    else:
        yield passes("functions", f"{len(signatures)} found", "the runbook's four")


def _table(table: str, wanted: dict[str, tuple[str, ...]], columns: dict[str, str] | None) -> Check:
    name, limit = f"shape of {table}", "the runbook's columns"
    if columns is None:
        return fails(name, "missing", "exists", "it does not exist", "rollout migrate --apply")
    older = sorted(OLDER.get(table, set()) & set(columns))
    absent = [column for column in wanted if column not in columns]
    other = [
        column for column in wanted if column in columns and columns[column] not in wanted[column]
    ]
    wrong = [f"{column} is missing" for column in absent]
    wrong += [f"{column} is {columns[column]}, not {wanted[column][0]}" for column in other]
    if older:
        wrong.append(f"it has columns of an older system: {', '.join(older)}")
    if not wrong:
        return passes(name, f"{len(columns)} columns", limit)
    if older or table == "webhook_routing_stats":
        kind = "VIEW" if table == "webhook_routing_stats" else "TABLE"
        mend = (
            f"ALTER {kind} {table} RENAME TO {table}_old;  -- after asking whose it is; then:"
            " rollout migrate"
        )
    else:
        parts = [f"ADD COLUMN {column} {wanted[column][0]}" for column in absent]
        parts += [f"ALTER COLUMN {column} TYPE {wanted[column][0]}" for column in other]
        mend = f"ALTER TABLE {table} {', '.join(parts)};"
    return fails(name, "; ".join(wrong), limit, "; ".join(wrong), mend)


def _types(arguments: str) -> tuple[str, ...]:
    return tuple(part.strip().split(" ")[-1] for part in arguments.split(",") if part.strip())


def exposure_checks(row: Any) -> Iterator[Check]:
    """PostgREST exposes everything in public: with EXECUTE for everyone the anon key sets the
    percentage.
    """
    functions = row.functions or []
    open_to_all = [item for item in functions if item["public_may"]]
    names = ", ".join(item["name"] for item in open_to_all)
    if open_to_all:
        # The router itself may live on everyone's right: it gets its own first.
        keep = [
            f"GRANT EXECUTE ON FUNCTION {_signature(item)} TO service_role;"
            for item in open_to_all
            if row.service
        ]
        revoke = [
            f"REVOKE EXECUTE ON FUNCTION {_signature(item)} FROM PUBLIC{_api(row)};"
            for item in open_to_all
        ]
        yield fails(
            "functions not public",
            names,
            "no EXECUTE for everyone",
            f"anyone with the public key may call {names}",
            " ".join(keep + revoke),
        )
    else:
        yield passes("functions not public", "revoked", "no EXECUTE for everyone")
    pathless = [item for item in functions if item["definer"] and not item["has_path"]]
    if pathless:
        mend = [
            f"ALTER FUNCTION {_signature(item)} SET search_path = public, pg_temp;"
            for item in pathless
        ]
        yield fails(
            "search_path of functions",
            ", ".join(item["name"] for item in pathless),
            "set",
            "SECURITY DEFINER without a search_path can be made to run foreign code",
            " ".join(mend),
        )
    else:
        yield passes("search_path of functions", "set", "set")
    limit = "nothing for anon, authenticated"
    if row.exposed:
        yield fails(
            "logs not public",
            "; ".join(row.exposed),
            limit,
            "; ".join(row.exposed),
            "REVOKE ALL ON webhook_routing_logs, webhook_routing_config, webhook_routing_stats "
            "FROM anon, authenticated;",
        )
    else:
        yield passes("logs not public", "closed", limit)


def _signature(item: Any) -> str:
    return f"{item['name']}({', '.join(_types(item['arguments']))})"


def _api(row: Any) -> str:
    """Supabase's roles behind the public key; elsewhere they do not exist."""
    return ", anon, authenticated" if row.service else ""


def passes(name: str, observed: str, limit: str) -> Check:
    """A check that passes; what was observed is its reason."""
    return Check(name=name, outcome=Outcome.PASS, observed=observed, limit=limit, reason=observed)


def warns(name: str, observed: str, limit: str, reason: str, mend: str | None = None) -> Check:
    """A check that a person should read; it holds nothing up."""
    return Check(
        name=name, outcome=Outcome.WARN, observed=observed, limit=limit, reason=reason, mend=mend
    )


def fails(name: str, observed: str, limit: str, reason: str, mend: str | None = None) -> Check:
    """A check that fails: nothing is raised until it is mended."""
    return Check(
        name=name,
        outcome=Outcome.FAIL,
        observed=observed,
        limit=limit,
        reason=reason,
        mend=mend,
        state=State.HOLD,
    )


def unseen(name: str, observed: str, limit: str, reason: str, mend: str | None = None) -> Check:
    """A check that could not look where looking is needed: never a pass."""
    return Check(
        name=name,
        outcome=Outcome.COULD_NOT_LOOK,
        observed=observed,
        limit=limit,
        reason=reason,
        mend=mend,
        state=State.COULD_NOT_LOOK,
    )
