"""`rollout rollback --emergency --reason …`: the database's address is all it needs."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn, TextIO

from rollout_lib.errors import RolloutError, UsageError
from rollout_lib.surroundings import OUTSIDE, account, beside

if TYPE_CHECKING:
    from rollout_lib.emergency import Row, SwitchedOff

ENVIRONMENTS = ("rehearsal", "staging", "production")


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
    project: str = ""
    marker: str = ""
    path: str = ""
    trouble: str = ""  # why nothing of it could be used


def emergency(arguments: list[str]) -> int:
    """Switch routing off and say what is true now. Exit 0 done, 2 wrong words, 50 could not."""
    parser = _Parser(prog="rollout rollback --emergency", allow_abbrev=False)
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
        address, environment, notes = find(given.variable, plan.path, plan)
        from rollout_lib.emergency import DEADLINE, switch_off

        last = threading.Timer(DEADLINE + 10, _out_of_time, args=(given.reason,))
        last.daemon = True
        last.start()
        done = switch_off(
            address,
            reason=given.reason,
            operator=given.operator or os.environ.get("ROLLOUT_OPERATOR") or account(),
            rollout=os.environ.get("ROLLOUT_NAME") or plan.rollout,
        )
        last.cancel()
    except RolloutError as error:
        _say(f"{error}\n{plan.trouble}".strip(), sys.stderr)
        return error.exit_code
    notes = [*done.trouble, *filter(None, (done.note, plan.trouble)), *notes]
    elsewhere = _elsewhere(plan, done)
    if given.json:
        _say(_as_json(done, environment, notes, elsewhere))
    else:
        _say("\n".join(_lines(done, environment, notes, elsewhere)))
    return 50 if elsewhere else 0


def _as_json(done: SwitchedOff, environment: str, notes: list[str], elsewhere: str) -> str:
    return json.dumps(
        {
            "environment": environment,
            "host": done.host,
            "database": done.database,
            "project": done.found.project,
            "markers": [str(mark) for mark in done.found.marks],
            "before": _row(done.before),
            "after": _row(done.after),
            "at": done.at.isoformat(),
            "recorded": done.recorded,
            "already": done.already,
            "meant": not elsewhere,
            "trouble": [*filter(None, (elsewhere,)), *notes],
        }
    )


def _lines(done: SwitchedOff, environment: str, notes: list[str], elsewhere: str) -> Iterator[str]:
    """What is told: first which database it was, and whether it was the one that was meant."""
    from rollout_lib.emergency import row_words

    place = [done.host, done.database]
    place += filter(None, (done.found.project, *(f"marker {mark}" for mark in done.found.marks)))
    when = f"{done.at:%Y-%m-%d %H:%M:%S} UTC"
    if elsewhere:
        yield f"⚠ {elsewhere} This is {' · '.join(place)} · {when}"
    else:
        yield " · ".join((environment.upper(), *place, when))
    before = "unknown" if done.before is None else row_words(done.before)
    was = "it was so already" if done.already else f"before: {before}"
    what = "Routing is off here" if elsewhere else "⏹ ROUTING IS OFF"
    yield f"{what}: {row_words(done.after)} ({was}). Read back from the database."
    yield from (f"  note: {line}" for line in notes)
    yield f"recorded: {done.recorded}"
    if elsewhere:
        yield "Next: run it again with the address of the database that was meant."
    else:
        yield (
            "Next: rollout monitor   (sees that nothing goes to unified any more, and tells people:"
            " this told nobody)"
        )


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
    """What the file says, line by line; nothing of it is checked. `trouble` says where it could not
    be read, which stops nothing.
    """
    if not path:
        return Told()
    file = beside(path)
    try:
        with open(file, encoding="utf-8-sig", errors="replace") as opened:
            text = re.sub(r"(^|\s)#.*", "", opened.read())
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it cannot be read"
        return Told(path=path, trouble=f"the plan {path} was not used: {why}")
    section = re.search(r"^database:(.*?)(?=^\S|\Z)", text, re.MULTILINE | re.DOTALL)
    keys = ("variable", "name", "host", "project", "marker")
    found = {key: _said(rf"\b{key}:", section[1]) for key in keys} if section else {}
    found |= {key: _said(rf"^{key}:", text) for key in ("rollout", "environment")}
    told = {key: value for key, value in found.items() if value}
    trouble = "" if told else f"the plan {path} was not used: nothing of a plan stands in it"
    return Told(path=str(file), trouble=trouble, **told)


def _said(key: str, text: str) -> str:
    match = re.search(rf"{key}[ \t]*[\"']?([^\s\"',{{}}]+)", text, re.MULTILINE)
    return match[1] if match else ""


def _elsewhere(plan: Told, done: SwitchedOff) -> str:
    """Where the database is not the one that the plan names: it was switched off all the same, and
    this is said first.
    """
    from rollout_lib.emergency.identity import Wanted, differences

    environment = plan.environment if plan.environment in ENVIRONMENTS else ""
    wanted = Wanted(
        rollout=plan.rollout,
        environment=environment,
        name=plan.name,
        host=plan.host,
        project=plan.project,
        marker=plan.marker,
    )
    wrong = differences(wanted, done.found)
    if not wrong:
        return ""
    return f"NOT the database of {plan.path}, which was not touched: {'; '.join(wrong)}."


class _Parser(argparse.ArgumentParser):
    """A parser that says of wrong words what was not done; exit 2."""

    def error(self, message: str) -> NoReturn:
        _say(
            f"{message}\nROUTING WAS NOT SWITCHED OFF. rollout rollback --emergency --reason '…'",
            sys.stderr,
        )
        sys.exit(2)


def _say(text: str, stream: TextIO | None = None) -> None:
    """Print, whatever becomes of it: what was done is done."""
    with contextlib.suppress(OSError, ValueError):
        print(text, file=stream, flush=True)


def _out_of_time(reason: str) -> None:
    """Nothing below came back in its own time limit: the last word, from outside."""
    from rollout_lib.emergency.connection import not_known
    from rollout_lib.redaction import redact

    _say(not_known(redact(reason), "no answer"), sys.stderr)
    os._exit(50)


def _row(row: Row | None) -> list[str | bool | None] | None:
    if row is None:
        return None
    return [None if row.percentage is None else str(row.percentage), row.enabled]
