"""Statements that mend what pre-flight finds: each runs as it is printed, as the role it names.
Pure, but for the runbook's migration, which is read from its file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "sql" / "migrations"
RUNBOOK = FOLDER / "20251203140600_webhook_traffic_routing.sql"
_KEYS = ("anon", "authenticated")


def quoted(name: str) -> str:
    """Return a name as SQL wants it: quoted where it has to be."""
    if re.fullmatch(r"[a-z_][a-z0-9_]*", name):
        return name
    return '"' + name.replace('"', '""') + '"'


def as_role(statement: str, role: str | None, note: str = "") -> str:
    """Return the statement with who runs it, and what to ask first, in a comment at its end."""
    words = "; ".join(filter(None, [f"as {role}" if role else "", note]))
    return f"{statement} /* {words} */" if words else statement


def retype(relation: Any, columns: Mapping[str, str], *, service: bool) -> str | None:
    """Return statements that give columns other types, or None where that must be done by hand.

    relation: a Relation. columns: {name: type}. Views that read the table are in the way, so they
    are taken away and put back as they were, rights included. A time without a zone is read as
    UTC, whatever zone the session has, and its default becomes now(), as in the runbook. A partition key and a materialized view are by hand."""
    views = sorted(relation.views, key=lambda view: -view["depth"])
    if set(columns) & set(relation.keys) or any(view["kind"] == "m" for view in views):
        return None
    parts = []
    for name, kind in columns.items():
        column, naive = f"ALTER COLUMN {quoted(name)}", _naive(relation, name, kind)
        if not naive:
            parts.append(f"{column} TYPE {kind}")
            continue
        # A default that made a time without a zone would be read in the zone of each session.
        using = f"{quoted(name)} AT TIME ZONE 'UTC'"
        parts += [f"{column} DROP DEFAULT", f"{column} TYPE {kind} USING {using}"]
        parts.append(f"{column} SET DEFAULT now()")
    change = f"ALTER TABLE {relation.full_name} {', '.join(parts)};"
    if not views:
        return change
    away = [f"DROP VIEW {view['name']};" for view in views]
    back = [part for view in reversed(views) for part in _put_back(view, service=service)]
    return " ".join(["BEGIN;", *away, change, *back, "COMMIT;"])


def _naive(relation: Any, name: str, kind: str) -> bool:
    now = relation.columns.get(name, "")
    return kind == "timestamp with time zone" and now == "timestamp without time zone"


def _put_back(view: Mapping[str, Any], *, service: bool) -> list[str]:
    """The view again. New objects in public are granted to the public keys on Supabase: not this
    one, beyond what it had."""
    options = f" WITH ({', '.join(view['options'])})" if view["options"] else ""
    made = [f"CREATE VIEW {view['name']}{options} AS {' '.join(view['definition'].split())}"]
    keys = f", {', '.join(_KEYS)}, service_role" if service else ""
    made.append(f"REVOKE ALL ON {view['name']} FROM PUBLIC{keys};")
    return made + [f"{grant};" for grant in view["grants"] or ()]


@cache
def _pieces() -> dict[str, str]:
    """Each CREATE VIEW and CREATE FUNCTION of the runbook's migration, by the object's name."""
    text = RUNBOOK.read_text(encoding="utf-8")
    views = re.findall(r"^(CREATE VIEW public\.(\w+) .*?;)$", text, re.M | re.S)
    functions = re.findall(r"^(CREATE FUNCTION public\.(\w+)\(.*?\$\$;)$", text, re.M | re.S)
    return {name: statement.rstrip(";") + ";" for statement, name in [*views, *functions]}


def make_view(name: str, schema: str, *, service: bool) -> str:
    """Return the runbook's view, made in a schema, readable by the service alone."""
    full = f"{quoted(schema)}.{name}"
    return " ".join([_in(_pieces()[name], schema), *_rights(full, "SELECT", service=service)])


def make_function(
    name: str, types: Sequence[str], schema: str, *, service: bool, instead: bool
) -> str:
    """Return the runbook's function, made in a schema; instead: in the place of one that returns
    something else."""
    full = f"{quoted(schema)}.{name}({', '.join(types)})"
    drop = [f"DROP FUNCTION {full};"] if instead else []
    rights = _rights(f"FUNCTION {full}", "EXECUTE", service=service)
    return "\n".join([*drop, _in(_pieces()[name], schema), *rights])


def _in(statement: str, schema: str) -> str:
    if schema == "public":
        return statement
    there = statement.replace("public.", f"{quoted(schema)}.")
    return there.replace("search_path = public,", f"search_path = {quoted(schema)},")


def _rights(target: str, right: str, *, service: bool) -> list[str]:
    keys = f", {', '.join(_KEYS)}" if service else ""
    granted = [f"GRANT {right} ON {target} TO service_role;"] if service else []
    return [f"REVOKE ALL ON {target} FROM PUBLIC{keys};", *granted]


def set_aside(relations: Iterable[Any], functions: Iterable[Any], ending: str) -> str:
    """Return statements that rename objects, so that nothing finds them by the runbook's names."""
    kinds = {"v": "VIEW", "m": "MATERIALIZED VIEW", "f": "FOREIGN TABLE"}
    renames = [
        f"ALTER {kinds.get(item.kind, 'TABLE')} {item.full_name} RENAME TO {item.name}{ending};"
        for item in relations
    ]
    renames += [
        f"ALTER FUNCTION {item.signature} RENAME TO {item.name}{ending};" for item in functions
    ]
    return " ".join(renames)
