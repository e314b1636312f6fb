"""The commands that judge and change, each thin: options in, one notebook or operation, its exit
code.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from rollout_lib.cli.options import FOLDER, Apply, AsOf, Json, Operator, Outputs, Plan, Reason, app
from rollout_lib.errors import ParameterError, RolloutError
from rollout_lib.judgement.persons import is_reason
from rollout_lib.redaction import hide

ROOMS = (
    "exporting",
    "lab",
    "looking",
    "plans",
    "proof",
    "replaying",
    "routers",
    "stating",
    "watching",
)  # modules of rollout_lib.cli with further commands


def run(arguments: list[str]) -> int:
    """Run a command line; returns its exit code. Errors of ours are one message,
    never a traceback.
    """
    for room in ROOMS:
        importlib.import_module(f"rollout_lib.cli.{room}")
    try:
        code = app(arguments, standalone_mode=False)
    except RolloutError as error:
        return _failed(arguments, error.exit_code, hide(str(error)))
    except typer.Exit as stop:
        return stop.exit_code
    except Exception as error:
        show = getattr(error, "show", None)
        if show is None:
            if os.environ.get("ROLLOUT_DEBUG"):
                raise
            return _failed(
                arguments,
                1,
                f"A defect of ours, please report it: {type(error).__name__}: {hide(str(error))}\nIt"
                " may have come after a change: `rollout status` says what is true of the routing"
                " now. ROLLOUT_DEBUG=1 shows where.",
            )
        show()
        _as_json(arguments, 2, hide(str(getattr(error, "message", error))))
        return 2
    return int(code or 0)


def _failed(arguments: list[str], code: int, words: str) -> int:
    """Say why a command stopped, to the person and to a program that reads its output."""
    print(words, file=sys.stderr)
    _as_json(arguments, code, words)
    return code


def _as_json(arguments: list[str], code: int, words: str) -> None:
    """Who asked for JSON gets some, also where there is no result."""
    if "--json" in arguments:
        print(json.dumps({"exit_code": code, "error": words}, ensure_ascii=False))


def _notebook(name: str, parameters: dict[str, Any], outputs: Path, as_json: bool) -> int:
    """Run one of our notebooks and say how it went."""
    from rollout_lib.runner import run_notebook

    sources = dict.fromkeys(parameters, "command line")
    result = run_notebook(name, parameters, outputs=outputs, sources=sources, by_hand=True)
    if as_json:
        shown = {
            "exit_code": result.exit_code,
            "run_id": result.run_id,
            "error": result.error,
            "notebook": str(result.notebook),
            "html": str(result.html),
            "record": str(result.record),
            "sealed": result.sealed,
            "died": result.died,
            "trouble": result.trouble,
            "told": result.told,
            "checkpoint": result.checkpoint,
        }
        print(json.dumps(shown, ensure_ascii=False))
        return result.exit_code
    if result.checkpoint:
        from rollout_lib.display import checkpoint_text
        from rollout_lib.model.record import from_json

        checkpoint = from_json(json.dumps(result.checkpoint))
        print(
            "\n".join([checkpoint_text(checkpoint, result.sealed or result.recorded), *result.told])
        )
    if result.died or not result.checkpoint:
        print(hide(str(result.died or result.error)), file=sys.stderr)
    if result.trouble:
        print(result.trouble, file=sys.stderr)
    if result.html:
        print(f"record: {result.html}")
    return result.exit_code


def _common(plan: str, as_of: str, operator: str) -> dict[str, Any]:
    return {"plan": plan, "as_of": as_of, "operator": operator}


@app.command()
def preflight(
    plan: Plan = "",
    as_of: AsOf = "",
    operator: Operator = "",
    outputs: Outputs = FOLDER,
    as_json: Json = False,
) -> int:
    """Look at everything that must be true before the percentage rises. Changes nothing."""
    return _notebook("00_preflight", _common(plan, as_of, operator), outputs, as_json)


@app.command()
def change(
    to: Annotated[str, typer.Option("--to", help="A percentage of the plan.")],
    plan: Plan = "",
    expect: Annotated[
        str, typer.Option("--expect", help="What you saw; refused if it is not so any more.")
    ] = "",
    reason: Reason = "",
    apply: Apply = False,
    again: Annotated[
        bool, typer.Option("--again", help="Begin the running phase anew after a mend.")
    ] = False,
    environment: Annotated[
        str, typer.Option("--environment", help="Production asks for its name.")
    ] = "",
    as_of: AsOf = "",
    operator: Operator = "",
    outputs: Outputs = FOLDER,
    as_json: Json = False,
) -> int:
    """Move to another percentage of the plan, if every gate is met. A dry run without --apply."""
    given = _common(plan, as_of, operator) | {
        "to_percentage": to,
        "expected_percentage": expect,
        "reason": reason,
        "dry_run": not apply,
        "again": again,
        "typed_environment": environment,
    }
    return _notebook("10_change_percentage", given, outputs, as_json)


@app.command()
def monitor(
    plan: Plan = "",
    slot: Annotated[
        str, typer.Option("--slot", help='Scheduled instant, or "now"; without it an extra check.')
    ] = "",
    as_of: AsOf = "",
    operator: Operator = "",
    outputs: Outputs = FOLDER,
    as_json: Json = False,
) -> int:
    """One check: measure, judge, act where the plan lets it act alone, record."""
    return _notebook(
        "20_monitor", _common(plan, as_of, operator) | {"slot": slot}, outputs, as_json
    )


@app.command()
def evaluate(
    plan: Plan = "",
    as_of: AsOf = "",
    operator: Operator = "",
    outputs: Outputs = FOLDER,
    as_json: Json = False,
) -> int:
    """The end of a phase: the runbook's success checkpoints over the whole phase."""
    return _notebook("30_evaluate_phase", _common(plan, as_of, operator), outputs, as_json)


@app.command()
def report(
    plan: Plan = "",
    as_of: AsOf = "",
    operator: Operator = "",
    outputs: Outputs = FOLDER,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print a post-mortem to fill in; records nothing.")
    ] = False,
    as_json: Json = False,
) -> int:
    """The report of the rollout so far, one page from the ledger."""
    if markdown:
        return _postmortem(plan, as_of)
    return _notebook("40_report", _common(plan, as_of, operator), outputs, as_json)


def _postmortem(plan: str, as_of: str) -> int:
    from rollout_lib.database.ledger import read_facts
    from rollout_lib.database.session import open_session
    from rollout_lib.display.postmortem import markdown
    from rollout_lib.judgement.summary import summarise
    from rollout_lib.model import runs

    session = open_session(plan, as_of=as_of)
    with session.database.transaction(readonly=True) as connection:
        facts = read_facts(connection, session.plan)
    now = session.now(facts.now)
    summary = summarise(facts.entries, session.plan, now)
    ran = [entry.body for entry in runs(facts.entries)]
    print(markdown(summary, ran, session.place, now))
    return 0


@app.command()
def rollback(
    reason: Reason = "",
    plan: Plan = "",
    apply: Apply = False,
    emergency: Annotated[
        bool, typer.Option("--emergency", help="Routing off at once; needs only the address.")
    ] = False,
    off: Annotated[
        bool, typer.Option("--off", help="Disable routing instead of one phase down.")
    ] = False,
    to: Annotated[
        str, typer.Option("--to", help="passed: to the last phase that passed, in one step.")
    ] = "",
    as_of: AsOf = "",
    operator: Operator = "",
    outputs: Outputs = FOLDER,
    as_json: Json = False,
) -> int:
    """One phase down the plan (25 -> 10 -> 5 -> disabled). In an emergency: --emergency --reason
    '…'.
    """
    if not is_reason(reason):
        raise ParameterError(problems="reason: a rollback needs one; it stands on the ledger")
    if to not in ("", "passed") or (to and off):
        raise ParameterError(problems=f"to: only `passed`, and not with --off; not {to!r}")
    if not apply:
        return _would_roll_back(plan, off, bool(to), as_json)
    given = _common(plan, as_of, operator) | {
        "reason": reason,
        "gradual": not off,
        "to_passed": bool(to),
    }
    return _notebook("90_rollback", given, outputs, as_json)


def _would_roll_back(plan: str, off: bool, passed: bool, as_json: bool) -> int:
    """What `rollback --apply` would do now, and where."""
    from rollout_lib.database.session import open_session
    from rollout_lib.judgement.gates import passed_target, step_back_target
    from rollout_lib.operations.rollback import one_down

    session = open_session(plan)
    config, target, why = one_down(session, passed_target if passed else step_back_target)
    place, on = session.place, config is not None and config.enabled
    target = None if off else target
    now = (
        "not readable"
        if config is None
        else f"at {config.percentage:g} %, {'enabled' if on else 'disabled'}"
    )
    would = f"go down to {target:g} %" if target else "switch routing off"
    would += f" ({why})" if why and not off else ""
    if as_json:
        print(
            json.dumps(
                {
                    "environment": place.environment,
                    "host": place.host,
                    "database": place.database,
                    "routing": now,
                    "would": would,
                    "applied": False,
                }
            )
        )
        return 0
    print(place)
    print(
        f"Dry run: nothing was changed. Routing is {now}; --apply would {would}, --emergency"
        " switches it off."
    )
    return 0
