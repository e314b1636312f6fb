"""What keeps the ledger as it was written, against what the migrations made."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from sqlalchemy import Connection

from rollout_lib.database.connection import load_sql

# As pg_get_triggerdef has them: with a condition or only some columns they would read otherwise.
_TRIGGERS = {
    "ledger_is_append_only": "BEFORE DELETE OR UPDATE ON rollout.ledger FOR EACH ROW",
    "ledger_is_never_truncated": "BEFORE TRUNCATE ON rollout.ledger FOR EACH STATEMENT",
}
_REFUSES = "EXECUTE FUNCTION rollout.refuse_rewriting()"
_FUNCTION = re.compile(
    r"CREATE (?:OR REPLACE )?FUNCTION rollout\.(\w+)\((?:[^$]*?)\bLANGUAGE (\w+)([^$]*?)AS \$\$(.*?)\$\$",
    re.DOTALL,
)
_PATH = re.compile(r"SET search_path = ([\w, ]+?)\s*$")
Made = tuple[str, str, bool, tuple[str, ...]]
_ALWAYS = ("O", "A")  # enabled for a usual session


def read_guards(connection: Connection) -> list[str]:
    """What is not as it must be of the ledger's triggers and functions, a sentence each; [] where
    all of it is.
    """
    row = connection.execute(load_sql("guards")).one()
    found = [*_of_triggers(row.triggers or []), *_of_functions(row.functions or [])]
    found += [f"the rule {name} on rollout.ledger is none of ours" for name in row.rules or []]
    found += [
        f"{grant} on rollout.ledger: only its owner may write it" for grant in row.grants or []
    ]
    found += [f"sessions of {who} fire no trigger of the ledger" for who in row.replicas or []]
    found += [
        f"rows of {name} are read as the ledger's, without its guard" for name in row.heirs or []
    ]
    if row.hidden:
        found.append("row security of rollout.ledger can hide entries")
    return found


def _of_triggers(triggers: list[Mapping[str, Any]]) -> list[str]:
    there = {trigger["name"]: trigger for trigger in triggers}
    found = []
    for name, kind in _TRIGGERS.items():
        trigger = there.pop(name, None)
        if trigger is None:
            found.append(f"the trigger {name} is gone: the ledger can be rewritten")
        elif trigger["enabled"] not in _ALWAYS:
            found.append(f"the trigger {name} is switched off: the ledger can be rewritten")
        elif trigger["definition"] != f"CREATE TRIGGER {name} {kind} {_REFUSES}":
            found.append(
                f"the trigger {name} is another than the migration made, and does not hold for every"
                f" rewriting: {trigger['definition']}"
            )
    found += [f"the trigger {name} on rollout.ledger is none of ours" for name in there]
    return found


def _of_functions(functions: list[Mapping[str, Any]]) -> list[str]:
    there: dict[str, list[Mapping[str, Any]]] = {}
    for function in functions:
        there.setdefault(function["name"], []).append(function)
    found = []
    for name, made in expected_functions().items():
        if name not in there:
            found.append(f"the function rollout.{name} is gone")
        elif any(
            function["body"].strip() not in {text for text, *_ in made} for function in there[name]
        ):
            found.append(f"the function rollout.{name} has another text than the migration's")
        elif any(_as_made(function) not in made for function in there[name]):
            found.append(
                f"the function rollout.{name} runs with other rights, settings or language"
            )
        elif any(function["open"] for function in there[name] if function["definer"]):
            found.append(f"everybody may execute rollout.{name}: the ledger can be written")
    return found


def _as_made(function: Mapping[str, Any]) -> Made:
    return (
        function["body"].strip(),
        function["language"],
        function["definer"],
        tuple(function["settings"]),
    )


@cache
def expected_functions() -> dict[str, set[Made]]:
    """name -> how the migrations make a function of schema rollout: text, language, whether it has
    its owner's rights, settings; a database may stand between two of them.
    """
    made: dict[str, set[Made]] = {}
    folder = files("rollout_lib") / "sql" / "migrations"
    for path in sorted(folder.iterdir(), key=lambda item: item.name):
        for name, language, rest, body in _FUNCTION.findall(path.read_text(encoding="utf-8")):
            search = _PATH.search(rest)
            settings = (f"search_path={search[1]}",) if search else ()
            owners = "SECURITY DEFINER" in rest
            made.setdefault(name, set()).add((body.strip(), language, owners, settings))
    return made
