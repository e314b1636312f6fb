"""Would the router's rows be taken, and do the runbook's functions answer? Tried, and undone.

A log that refuses rows looks quiet: so each kind of row that the router writes is tried, as the
router's role where ours may become it; else columns, constraints, rights and policies are read."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from rollout_lib.database.catalog import CONFIG, LOGS, Catalog, fails, passes, unseen, warns
from rollout_lib.database.mends import as_role, make_function, quoted, retype
from rollout_lib.model import Check
from rollout_lib.plan import Plan
from rollout_lib.redaction import redact

# What the deployed router's insert names, with the types that a column of it gets where it is gone.
WRITTEN = {
    "webhook_name": "text",
    "domain": "text",
    "routed_to": "text",
    "from_number": "text",
    "message_id": "text",
    "response_time_ms": "integer",
    "status": "text",
    "error_message": "text",
}
# It knows none of these of a request that it could not read, or that went well.
SOMETIMES = {"from_number", "message_id", "error_message", "response_time_ms"}
AHEAD = "a row of tomorrow"
_LONGEST_ERROR = "".join(hashlib.sha256(b"%d" % n).hexdigest() for n in range(64))  # 4,096 signs
_FAILED = {"status": "error", "error_message": _LONGEST_ERROR}
_READ_BACK = ("created_at", "domain", "routed_to", "status", "response_time_ms", "message_id")


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """Why a kind of row is refused. code: SQLSTATE, or a word of ours."""

    what: str
    code: str
    message: str
    column: str = ""
    constraint: str = ""
    table: str = ""
    context: str = ""


def router_rows(plan: Plan) -> dict[str, dict[str, Any]]:
    """Return every kind of row that the router writes: {what it is: {column: value}}.

    Each has a duration of its own, so that it is told apart where it is read back. Columns that the
    router leaves out are left out; created_at is the database's."""
    rows: dict[str, dict[str, Any]] = {}
    places = [(domain, routed) for domain in plan.domains for routed in ("unified", "legacy")]
    places += [(domain, "legacy") for domain in (*plan.protected_domains, "unknown")]
    for domain, routed_to in places:
        name = "unified" if routed_to == "unified" else domain
        row = _row(f"wa-webhook-{name}", domain, routed_to, len(rows))
        rows[f"{domain} on {routed_to}"] = row
        failed = _row(row["webhook_name"], domain, routed_to, len(rows)) | _FAILED
        rows[f"an error of {domain} on {routed_to}"] = failed
    for domain in plan.domains:
        row = _row("router-error", domain, "error", len(rows)) | _FAILED
        rows[f"an error of the router for {domain}"] = row
    ok = rows["unknown on legacy"]
    rows["a slow answer"] = ok | _named(90) | {"response_time_ms": 150_000}
    rows["an answer within a millisecond"] = ok | _named(91) | {"response_time_ms": 0}
    rows["a long id"] = ok | _named(92, 90) | {"response_time_ms": 792}
    rows["an error without words"] = ok | _named(93) | {"response_time_ms": 793, "status": "error"}
    # What it could not read has neither sender nor id; one that was cut off has no duration.
    bare = _row("router-error", "unknown", "error", 94) | _FAILED
    rows["an error of the router"] = {
        key: value for key, value in bare.items() if key not in ("from_number", "message_id")
    }
    rows["an error without a duration"] = rows["an error of the router"] | {
        "response_time_ms": None
    }
    return rows


def _row(webhook: str, domain: str, routed_to: str, number: int) -> dict[str, Any]:
    return {
        "webhook_name": webhook,
        "domain": domain,
        "routed_to": routed_to,
        "from_number": "155501000001234",
        "response_time_ms": 700 + number,
        "status": "success",
    } | _named(number)


def _named(number: int, length: int = 39) -> dict[str, str]:
    """An id as WhatsApp gives them: its sign, and base64 of so many bytes."""
    words = f"pre-flight {number:02} ".encode().ljust(length, b"x")
    return {"message_id": f"wamid.{base64.b64encode(words).decode()}"}


def rows_asked(plan: Plan, catalog: Catalog, *, may_write: bool) -> str:
    """Return what sql/tries/rows.sql is asked, as JSON.

    may_write: False in a transaction that only reads. A trigger or a rule is set off where all that
    it does is undone with the transaction; another server never is."""
    log, relation = catalog.row.log, catalog.relations[LOGS]
    known = set(log["columns"])
    rows: list[dict[str, Any]] = [
        {"what": what, "row": {key: value for key, value in row.items() if key in known}}
        for what, row in router_rows(plan).items()
    ]
    if "created_at" in relation.keys:
        ahead = (catalog.row.clock + timedelta(days=1)).isoformat()
        named = {key: value for key, value in _named(95).items() if key in known}
        row = rows[0]["row"] | named | {"created_at": ahead}
        rows.append({"what": AHEAD, "row": row, "once": True})
    hidden = {item["name"] for item in catalog.row.hidden or ()}
    write = may_write and not _why_not(catalog)
    return json.dumps(
        {
            "table": relation.full_name,
            "relation": LOGS,
            "role": log["role"] if log["ours"] else None,
            "settings": log["settings"] or [],
            "write": write,
            "read": LOGS not in hidden and known.issuperset(_READ_BACK),
            "rows": rows,
        }
    )


def _set_off(catalog: Catalog) -> list[Mapping[str, Any]]:
    """The triggers and rules that an insert sets off."""
    return [*(catalog.row.log["triggers"] or ()), *(catalog.row.log["rules"] or ())]


def _why_not(catalog: Catalog) -> str:
    """Why no row is written, even to be undone; "" where it may be."""
    log, relation = catalog.row.log, catalog.relations[LOGS]
    if names := ", ".join(item["name"] for item in _set_off(catalog) if not item["undone"]):
        return f"{names} would run, and what it does may not be undone"
    if relation.kind == "f" or any(table["kind"] == "f" for table in relation.tables):
        return "its rows are on another server"
    if catalog.row.distributed:
        return "its rows may be on other servers"
    if log["role"] and not log["ours"]:
        return f"{catalog.row.role} may not become {log['role']}"
    if catalog.row.read_only:
        return "the database is read-only"
    return ""


def rows_check(plan: Plan, catalog: Catalog, answer: str | None, *, wrote: bool, why: str) -> Check:
    """Return whether every kind of row that the router writes would be taken.

    answer: of sql/tries/rows.sql, None where it could not be asked, for the reason why. wrote:
    rows_asked's may_write."""
    name, limit = "the router's rows", "every kind is taken"
    if answer is None:
        return unseen(name, "not tried", limit, why, "rollout preflight")
    said = json.loads(answer)
    stopped = said["stopped"] or ""
    if not catalog.row.log["role"] and any(item["code"] == "42501" for item in said["tried"]):
        stopped = f"42501 {catalog.row.role} may not insert, and the router's role is not known"
    tried = wrote and not _why_not(catalog) and not stopped
    if stopped.startswith("55P03"):
        reason = "somebody holds the log: no row could be tried within a second"
        return unseen(name, "locked", limit, reason, "rollout preflight")
    role = catalog.row.log["role"] if catalog.row.log["ours"] else None
    troubles = _by_columns(catalog, tried)
    found = [*said["settings"], *said["tried" if tried else "checked"]]
    troubles += [Trouble(**_plain(item)) for item in found]
    if not tried:
        troubles += _by_rights(catalog) + _by_partition(catalog)
    kinds = len(router_rows(plan))
    ahead = [item for item in troubles if item.what == AHEAD]
    troubles = [item for item in troubles if item.what != AHEAD]
    who = role or (f"{catalog.row.role}, for the router's role is not known")
    if troubles:
        return _refused(catalog, troubles, name, limit)
    if ahead:
        mend = _mend(catalog, ahead)
        return warns(name, "none for tomorrow", limit, f"tomorrow: {ahead[0].message}", mend)
    if tried:
        reason = (
            f"{kinds} kinds written as {who}, each twice, and read back; undone: only numbers of a"
            " sequence are used"
        )
        return passes(name, f"{kinds} kinds taken", limit, reason)
    why = _why_not(catalog) or (f"{stopped[6:]}" if stopped else "this transaction only reads")
    reason = f"{kinds} kinds by the catalog, none written: {why}"
    drops = [item["name"] for item in _set_off(catalog) if item["drops"]]
    if drops:
        words = f"{reason}. By its text {', '.join(drops)} may keep rows away"
        mend = (
            f"by hand, as {catalog.relations[LOGS].owner}: read {', '.join(drops)}; where it keeps no"
            " row of the router away, let what it does elsewhere be done by something else than a"
            " trigger or a rule of the log"
        )
        return unseen(name, f"{', '.join(drops)} not tried", limit, words, mend)
    make = warns if _set_off(catalog) else passes
    return make(name, f"{kinds} kinds by the catalog", limit, reason)


def _plain(item: Mapping[str, Any]) -> dict[str, str]:
    """One answer; a message may quote a value of the log's, so it is redacted."""
    shown = {key: str(value or "") for key, value in item.items()}
    return shown | {"message": redact(shown["message"])}


def _refused(catalog: Catalog, troubles: Sequence[Trouble], name: str, limit: str) -> Check:
    messages = list(dict.fromkeys(item.message for item in troubles))
    kinds = list(dict.fromkeys(item.what for item in troubles))
    shown = "; ".join(messages[:3]) + (f"; and {len(messages) - 3} more" if messages[3:] else "")
    of = ", ".join(kinds[:3]) + (f" and {len(kinds) - 3} more" if kinds[3:] else "")
    reason = f"the router's rows are lost ({of}): {shown}"
    return fails(name, shown, limit, reason, _mend(catalog, troubles))


def _by_columns(catalog: Catalog, tried: bool) -> list[Trouble]:
    """What no insert shows (a column that is gone), and, where none was tried, what it would."""
    columns = catalog.row.log["columns"]
    every = "every kind"
    found = [
        Trouble(what=every, code="42703", message=f"{name} is missing", column=name)
        for name in WRITTEN
        if name not in columns
    ]
    if "created_at" in columns and not columns["created_at"]["given"]:
        words = "created_at has no default: rows get no time"
        found.append(Trouble(what=every, code="23502", message=words, column="created_at"))
    found += [
        Trouble(what=every, code="428C9", message=f"{name} is generated", column=name)
        for name in WRITTEN
        if columns.get(name, {}).get("refused")
    ]
    if tried:
        return found
    for name, column in columns.items():
        left_out = name not in WRITTEN or name in SOMETIMES
        if column["required"] and left_out and name != "created_at":
            words = f"{name} must be given, and the router does not always"
            found.append(Trouble(what=every, code="23502", message=words, column=name))
    return found


def _by_rights(catalog: Catalog) -> list[Trouble]:
    log = catalog.row.log
    role, columns = log["role"], log["columns"]
    what = f"every kind, as {role}"
    barred = [name for name in WRITTEN if name in columns and not columns[name]["insertable"]]
    found = []
    if barred or not log["schema_usage"] or log["sequences"]:
        words = f"{role} may not insert into the log"
        found.append(Trouble(what=what, code="42501", message=words))
    if log["row_security"]:
        policies = log["policies"] or []
        plain = any(p["permissive"] and p["expression"] == "true" for p in policies)
        if not plain or any(not p["permissive"] for p in policies):
            words = f"row security lets {role} insert by no plain policy"
            found.append(Trouble(what=what, code="42501", message=words))
    return found


def _by_partition(catalog: Catalog) -> list[Trouble]:
    """A partitioned log without any partition takes nothing; the rest is seen by trying."""
    relation = catalog.relations[LOGS]
    if relation.kind == "p" and not catalog.row.log["partitions"]:
        words = "no partition of relation found for row"
        return [Trouble(what="every kind", code="23514", message=words)]
    return []


def _mend(catalog: Catalog, troubles: Iterable[Trouble]) -> str | None:
    """One statement for each distinct trouble, as the log's owner; None where none is known."""
    statements = [_statement(catalog, item) for item in troubles]
    known = list(dict.fromkeys(filter(None, statements)))
    if not known:
        return None
    note = "after asking why it is so"
    return as_role(" ".join(known), catalog.relations[LOGS].owner, note)


def _statement(catalog: Catalog, trouble: Trouble) -> str | None:
    log, relation = catalog.row.log, catalog.relations[LOGS]
    table, column = relation.full_name, quoted(trouble.column) if trouble.column else ""
    if trouble.code == "42501":
        return _rights(catalog, trouble)
    if trouble.code == "setting":
        of = next(item["of"] for item in log["settings"] if item["name"] == trouble.column)
        return f"ALTER {of} RESET {trouble.column};"
    if culprit := _culprit(catalog, trouble):
        return culprit
    if trouble.code in ("22001", "22003", "22P02"):
        narrow = {
            name: kind
            for name, kind in WRITTEN.items()
            if name in log["columns"] and _is_narrow(log["columns"][name]["type"], kind)
        }
        return retype(relation, narrow, service=catalog.row.service) if narrow else None
    if trouble.code == "42703" and relation.kind in ("r", "p"):
        return f"ALTER TABLE {table} ADD COLUMN {column} {WRITTEN[trouble.column]};"
    if trouble.code == "428C9":
        kind = log["columns"][trouble.column]["refused"]
        return f"ALTER TABLE {table} ALTER COLUMN {column} DROP {kind};"
    if trouble.code == "23502" and column:
        return _optional(table, trouble.column, log["columns"][trouble.column]["type"])
    if trouble.code in ("23514", "23503") and trouble.constraint:
        return f"ALTER TABLE {table} DROP CONSTRAINT {quoted(trouble.constraint)};"
    if trouble.code == "23514":
        return f"CREATE TABLE {table}_default PARTITION OF {table} DEFAULT;"
    if trouble.code == "23505" and trouble.constraint:
        bare = quoted(trouble.constraint.rpartition(".")[2].strip('"'))
        return (
            f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {bare};"
            f" DROP INDEX IF EXISTS {quoted(relation.schema)}.{bare};"
        )
    if trouble.code == "54000" and (index := re.search(r'for index "([^"]+)"', trouble.message)):
        return f"DROP INDEX {quoted(relation.schema)}.{quoted(index.group(1))};"
    return None


def _culprit(catalog: Catalog, trouble: Trouble) -> str | None:
    """The rule or trigger that keeps a row away, taken out of the way; None where it is neither.

    A view's trigger is the view's only way to take a row, and stays."""
    if catalog.relations[LOGS].kind not in ("r", "p"):
        return None
    rules, triggers = catalog.row.log["rules"] or (), catalog.row.log["triggers"] or ()
    if trouble.code == "lost" and rules:
        return " ".join(f"DROP RULE {quoted(item['name'])} ON {item['on']};" for item in rules)
    blamed = [
        item
        for item in triggers
        if (trouble.code == "lost" and item["undone"])
        or re.search(rf"\b{re.escape(item['function'] or '?')}\(", trouble.context)
    ]
    if not blamed:
        return None
    return " ".join(
        f"ALTER TABLE {item['on']} DISABLE TRIGGER {quoted(item['name'])};" for item in blamed
    )


def _is_narrow(now: str, wanted: str) -> bool:
    """Is a column of type `now` too small for what the router puts into one of type `wanted`?"""
    return now == "smallint" if wanted == "integer" else now not in ("text", "character varying")


def _optional(table: str, column: str, kind: str) -> str:
    """The column may be left out: by a default where nothing else makes sense, else by NULL."""
    name = quoted(column)
    if column == "created_at":
        return f"ALTER TABLE {table} ALTER COLUMN created_at SET DEFAULT now();"
    if kind == "uuid":
        return f"ALTER TABLE {table} ALTER COLUMN {name} SET DEFAULT gen_random_uuid();"
    if column == "id" and kind in ("bigint", "integer"):
        return (
            f"ALTER TABLE {table} ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY; SELECT"
            f" setval(pg_get_serial_sequence('{table}', 'id'), (SELECT coalesce(max(id), 0) + 1"
            f" FROM {table}));"
        )
    return f"ALTER TABLE {table} ALTER COLUMN {name} DROP NOT NULL;"


def _rights(catalog: Catalog, trouble: Trouble) -> str | None:
    """Grants for the router's role, or a policy where row security is what refuses."""
    log, relation = catalog.row.log, catalog.relations[LOGS]
    if not log["role"]:
        return None
    role = quoted(log["role"])
    if "row-level security" in trouble.message or "row security" in trouble.message:
        if any(not policy["permissive"] for policy in log["policies"] or ()):
            return None
        return (
            f"CREATE POLICY rollout_router_writes ON {relation.full_name} FOR INSERT TO {role}"
            " WITH CHECK (true);"
        )
    grants = [
        f"GRANT USAGE ON SCHEMA {quoted(relation.schema)} TO {role};",
        f"GRANT INSERT ON {relation.full_name} TO {role};",
    ]
    grants += [f"GRANT USAGE ON SEQUENCE {name} TO {role};" for name in log["sequences"] or ()]
    return " ".join(grants)


def calls_asked(catalog: Catalog) -> str:
    """Return what sql/tries/calls.sql is asked, as JSON: each function with what is configured now.

    Those that write are left out where ours may not call them, or a trigger would run."""
    config = catalog.relations[CONFIG].full_name
    newest = f"(SELECT * FROM {config} ORDER BY created_at DESC LIMIT 1) c"
    values = {"set_routing_enabled": "c.enabled", "update_routing_percentage": "c.percentage"}
    calls = []
    for name in ("get_current_routing_config", "check_routing_health", *values):
        function, writes = catalog.called(name), name in values
        if function is None or not function.callable:
            continue
        if writes and (catalog.row.log["config_triggers"] or catalog.relations[CONFIG].kind != "r"):
            continue
        call = f"SELECT {function.full_name}({values.get(name, '')}, 'pre-flight') FROM {newest}"
        read = f"SELECT count(*) FROM (SELECT * FROM {function.full_name}()) x"
        calls.append({"name": name, "call": call if writes else read, "writes": writes})
    return json.dumps({"configuration": config, "calls": calls})


def calls_check(catalog: Catalog, asked: str, answer: str | None) -> Check:
    """Return whether the functions answer, and those that write reach the newest row.

    asked, answer: of sql/tries/calls.sql; answer is None where it was not asked."""
    name, limit = "functions answer", "each one"
    called = [item["name"] for item in json.loads(asked)["calls"]]
    if answer is None:
        return warns(name, "not called", limit, "the database is read-only, or did not answer")
    troubles = [Trouble(**{"what": item["name"], **_said(item)}) for item in json.loads(answer)]
    locked = [item for item in troubles if item.code == "55P03"]
    if locked:
        reason = "somebody holds the configuration: it could not be called within a second"
        return unseen(name, "locked", limit, reason, "rollout preflight")
    if not troubles:
        reason = f"called and undone: {', '.join(called)}"
        return passes(name, f"{len(called)} called", limit, reason)
    seen = "; ".join(f"{item.what}(): {item.message}" for item in troubles)
    if all(item.code == "idle" for item in troubles):
        return warns(name, seen, limit, f"{seen}: does it write another table?")
    return fails(name, seen, limit, seen, _called_mend(catalog, troubles))


def _said(item: Mapping[str, Any]) -> dict[str, str]:
    return {"code": item["code"], "message": redact(item["message"])}


def _called_mend(catalog: Catalog, troubles: Sequence[Trouble]) -> str:
    broken = [catalog.called(item.what) for item in troubles if item.code != "idle"]
    made = [
        make_function(f.name, f.types, f.schema, service=catalog.row.service, instead=True)
        for f in broken
        if f is not None
    ]
    return as_role("\n".join(made), catalog.owner, "after asking why it differs")
