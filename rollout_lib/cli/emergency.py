"""`rollout rollback --emergency --reason …`: the database's address is all it needs."""

from __future__ import annotations

import argparse
import getpass
import json
import os
import sys

from rollout_lib.errors import RolloutError


def emergency(arguments: list[str]) -> int:
    """Switch routing off and say what is true now. Exit 0 done, 2 wrong words, 50 could not."""
    parser = argparse.ArgumentParser(prog="rollout rollback --emergency", exit_on_error=True)
    parser.add_argument("--emergency", action="store_true", required=True, help="routing off, at once")
    parser.add_argument("--reason", required=True, help="stands in the configuration's notes and on the ledger")
    parser.add_argument("--variable", default="", help="name of the variable that holds the address")
    parser.add_argument("--operator", default="", help="who answers for it")
    parser.add_argument("--plan", default="", help="only to find the address, where no variable is set")
    parser.add_argument("--apply", action="store_true", help="not needed: --emergency always acts")
    parser.add_argument("--json", action="store_true", help="the result as JSON")
    given = parser.parse_args(arguments)
    try:
        address, rollout = _address(given.variable, given.plan)
        from rollout_lib.emergency import switch_off

        done = switch_off(
            address,
            reason=given.reason,
            operator=given.operator or os.environ.get("ROLLOUT_OPERATOR") or getpass.getuser(),
            rollout=rollout,
        )
    except RolloutError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    if given.json:
        print(json.dumps({"host": done.host, "database": done.database, "before": _row(done.before),
                          "after": _row(done.after), "at": done.at.isoformat(), "recorded": done.recorded,
                          "already": done.already, "trouble": list(done.trouble)}))  # fmt: skip
        return 0
    print(f"{done.host} · {done.database} · {done.at:%Y-%m-%d %H:%M:%S} UTC")
    was = "it was so already" if done.already else f"before: {_words(done.before)}"
    print(f"⏹ ROUTING IS OFF: {_words(done.after)} ({was}). Read back from the database.")
    for line in done.trouble:
        print(f"  note: {line}")
    print(f"recorded: {done.recorded}")
    print("Next: rollout monitor   (sees that nothing goes to unified any more)")
    return 0


def _address(variable: str, plan: str) -> tuple[str, str]:
    """The address and, where it is known, the rollout's name; no plan is needed where a variable is set."""
    for name in (variable, "" if plan else "DATABASE_URL", "" if plan else "ROLLOUT_REHEARSAL_URL"):
        if name and os.environ.get(name):
            return os.environ[name], _rollout(plan)
    from rollout_lib.database import connect
    from rollout_lib.plan import load_plan

    loaded = load_plan(plan)
    return connect(loaded).address, loaded.rollout


def _rollout(plan: str) -> str:
    """The rollout's name for the ledger: from $ROLLOUT_NAME or the plan; a broken plan stops nothing."""
    if os.environ.get("ROLLOUT_NAME"):
        return os.environ["ROLLOUT_NAME"]
    path = plan or os.environ.get("ROLLOUT_PLAN", "")
    try:
        with open(path, encoding="utf-8") as file:
            named = [line.split(":", 1)[1].split("#")[0].strip() for line in file if line.startswith("rollout:")]
        return named[0] if named else "week6-unified"
    except OSError:
        return "week6-unified"


def _row(row) -> list | None:
    return None if row is None else [str(row[0]), row[1]]


def _words(row) -> str:
    return "unknown" if row is None else f"{row[0]} %, {'enabled' if row[1] else 'disabled'}"
