"""`rollout rollback --emergency --reason …`: the database's address is all it needs."""

from __future__ import annotations

import argparse
import fnmatch
import getpass
import json
import os
import re
import sys
import threading
from dataclasses import dataclass

from rollout_lib.errors import RolloutError, UsageError

OUTSIDE = (
    "PGSERVICE",
    "PGHOST",
    "PGHOSTADDR",
    "PGDATABASE",
)  # what libpq finds a database by, without an address


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a plan file says, read by its lines: a plan that is broken, or gone,
    stops no emergency.
    """

    rollout: str = ""
    environment: str = ""
    variable: str = ""
    name: str = ""
    host: str = ""


def emergency(arguments: list[str]) -> int:
    """Switch routing off and say what is true now. Exit 0 done, 2 wrong words, 50 could not."""
    parser = argparse.ArgumentParser(prog="rollout rollback --emergency", allow_abbrev=False)
    parser.error = _wrong_words
    parser.add_argument(
        "--emergency", action="store_true", required=True, help="routing off, at once"
    )
    parser.add_argument(
        "--reason", required=True, help="stands in the configuration's notes and on the ledger"
    )
    parser.add_argument(
        "--variable", default="", help="name of the variable that holds the address"
    )
    parser.add_argument("--operator", default="", help="who answers for it")
    parser.add_argument(
        "--plan", default="", help="names the variable and the rollout; it may be broken"
    )
    for needless in ("--apply", "--off"):
        parser.add_argument(
            needless, action="store_true", help="not needed: --emergency always acts"
        )
    parser.add_argument("--json", action="store_true", help="the result as JSON")
    given = parser.parse_args(arguments)
    path = given.plan or os.environ.get("ROLLOUT_PLAN", "")
    plan = read_plan(path)
    try:
        address, environment, notes = find(given.variable, path, plan)
        from rollout_lib.emergency import DEADLINE, switch_off

        last = threading.Timer(DEADLINE + 10, _out_of_time, args=(given.reason,))
        last.daemon = True
        last.start()
        done = switch_off(
            address,
            reason=given.reason,
            operator=given.operator or os.environ.get("ROLLOUT_OPERATOR") or _user(),
            rollout=os.environ.get("ROLLOUT_NAME") or plan.rollout,
        )
        last.cancel()
    except RolloutError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    notes = [*done.trouble, *notes, *_elsewhere(plan, path, done.host, done.database)]
    if given.json:
        print(
            json.dumps(
                {
                    "environment": environment,
                    "host": done.host,
                    "database": done.database,
                    "before": _row(done.before),
                    "after": _row(done.after),
                    "at": done.at.isoformat(),
                    "recorded": done.recorded,
                    "already": done.already,
                    "trouble": notes,
                }
            )
        )
        return 0
    print(
        f"{environment.upper()} · {done.host} · {done.database} · {done.at:%Y-%m-%d %H:%M:%S} UTC"
    )
    was = "it was so already" if done.already else f"before: {_words(done.before)}"
    print(f"⏹ ROUTING IS OFF: {_words(done.after)} ({was}). Read back from the database.")
    for line in notes:
        print(f"  note: {line}")
    print(f"recorded: {done.recorded}")
    print(
        "Next: rollout monitor   (sees that nothing goes to unified any more, and tells people:"
        " this told nobody)"
    )
    return 0


def find(variable: str, path: str, plan: Told) -> tuple[str, str, list[str]]:
    """(address, environment, what to tell): the variable that was named, the plan's, $DATABASE_URL,
    libpq's own.

    A rehearsal's address is never taken where a plan names another: a rollback of the wrong
    database that says "done" is worse than none. Raises UsageError where there is no address at
    all."""
    named = variable or plan.variable
    tries = [named] if named else []
    if plan.environment != "rehearsal" and not variable:
        tries.append("DATABASE_URL")
    if plan.environment in ("", "rehearsal") and not variable:
        tries.append("ROLLOUT_REHEARSAL_URL")
    for name in tries:
        address = os.environ.get(name, "").strip()
        if address:
            environment = (
                "rehearsal" if name == "ROLLOUT_REHEARSAL_URL" else plan.environment or "no plan"
            )
            return (
                address,
                environment,
                [f"${named} is not set; this is ${name}"] if named not in ("", name) else [],
            )
    if (
        any(os.environ.get(name) for name in OUTSIDE)
        and plan.environment != "rehearsal"
        and not variable
    ):
        return (
            "",
            plan.environment or "no plan",
            ["no address is set: this is the one of $PGSERVICE or $PG…"],
        )
    if plan.environment == "rehearsal" and not variable:  # the embedded server of this machine
        from rollout_lib.database.connection import connect
        from rollout_lib.plan import load_plan

        return connect(load_plan(path)).address, "rehearsal", []
    unset = ", ".join(f"${name}" for name in dict.fromkeys(tries))
    raise UsageError(
        reason=(
            f"No database address ({unset}: not set). ROUTING WAS NOT SWITCHED OFF. Run this again "
            f"after: export {tries[0]}='postgresql://…'"
        )
    )


def read_plan(path: str) -> Told:
    """What the file says, line by line; nothing of it is checked."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = re.sub(r"(^|\s)#.*", "", file.read())
    except (OSError, ValueError):
        return Told()
    section = re.search(r"^database:(.*?)(?=^\S|\Z)", text, re.MULTILINE | re.DOTALL)
    found = (
        {key: _said(rf"\b{key}:", section[1]) for key in ("variable", "name", "host")}
        if section
        else {}
    )
    found |= {key: _said(rf"^{key}:", text) for key in ("rollout", "environment")}
    return Told(**{key: value for key, value in found.items() if value})


def _said(key: str, text: str) -> str:
    match = re.search(rf"{key}[ \t]*[\"']?([^\s\"',{{}}]+)", text, re.MULTILINE)
    return match[1] if match else ""


def _elsewhere(plan: Told, path: str, host: str, database: str) -> list[str]:
    """Where the database is not the one that the plan names: it was switched off all the same, and
    this is said.
    """
    wrong = [
        f"{what} is {found}, the plan says {wanted}"
        for what, found, wanted in (
            ("the database", database, plan.name),
            ("its host", host, plan.host),
        )
        if wanted and not fnmatch.fnmatchcase(found, wanted)
    ]
    return (
        [f"NOT the database of {path}: {', '.join(wrong)}. What the plan names was not touched"]
        if wrong
        else []
    )


def _wrong_words(message: str) -> None:
    print(
        f"{message}\nROUTING WAS NOT SWITCHED OFF. rollout rollback --emergency --reason '…'",
        file=sys.stderr,
    )
    sys.exit(2)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return f"user {os.getuid()}"


def _out_of_time(reason: str) -> None:
    """Nothing below came back in its own time limit: the last word, from outside."""
    from rollout_lib.emergency.connection import not_known
    from rollout_lib.redaction import redact

    print(not_known(redact(reason), "no answer"), file=sys.stderr, flush=True)
    os._exit(50)


def _row(row) -> list | None:
    return None if row is None else [str(row[0]), row[1]]


def _words(row) -> str:
    return "unknown" if row is None else f"{row[0]} %, {'enabled' if row[1] else 'disabled'}"
