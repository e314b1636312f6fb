"""What keeps the ledger as it was written, against what the migrations made."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from sqlalchemy import Connection

from rollout_lib.database.connection import load_sql

# As pg_trigger.tgtype has it: before (2), for each row (1); delete 8, update 16, truncate 32.
_TRIGGERS = {"ledger_is_append_only": 1 | 2 | 8 | 16, "ledger_is_never_truncated": 2 | 32}
_REFUSES = "rollout.refuse_rewriting"
_FUNCTION = re.compile(
    r"CREATE (?:OR REPLACE )?FUNCTION rollout\.(\w+)\((.*?)AS \$\$(.*?)\$\$", re.DOTALL
)
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
        elif (trigger["type"], trigger["function"]) != (kind, _REFUSES):
            found.append(f"the trigger {name} is another than the migration made")
        elif trigger["narrowed"]:
            found.append(f"the trigger {name} does not hold for every rewriting any more")
    found += [f"the trigger {name} on rollout.ledger is none of ours" for name in there]
    return found


def _of_functions(functions: list[Mapping[str, Any]]) -> list[str]:
    there: dict[str, list[Mapping[str, Any]]] = {}
    for function in functions:
        there.setdefault(function["name"], []).append(function)
    found = []
    for name, made in expected_functions().items():
        texts = {text for text, *_ in made}
        if name not in there:
            found.append(f"the function rollout.{name} is gone")
        elif any(one["body"].strip() not in texts for one in there[name]):
            found.append(f"the function rollout.{name} has another text than the migration's")
        elif any(
            (one["body"].strip(), one["definer"], one["path"]) not in made for one in there[name]
        ):
            found.append(
                f"the function rollout.{name} runs with other rights or another search path"
            )
    return found


@cache
def expected_functions() -> dict[str, set[tuple[str, bool, bool]]]:
    """name -> what the migrations give a function of schema rollout (text, SECURITY DEFINER, a search
    path of its own): a database may stand between two of them.
    """
    made: dict[str, set[tuple[str, bool, bool]]] = {}
    folder = files("rollout_lib") / "sql" / "migrations"
    for path in sorted(folder.iterdir(), key=lambda item: item.name):
        for name, header, body in _FUNCTION.findall(path.read_text(encoding="utf-8")):
            rights = "SECURITY DEFINER" in header, "SET search_path = pg_catalog, pg_temp" in header
            made.setdefault(name, set()).add((body.strip(), *rights))
    return made
