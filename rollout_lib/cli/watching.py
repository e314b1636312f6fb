"""The verb `watch`: the schedule in the foreground, one line an event."""

from __future__ import annotations

import json
import signal
from typing import Annotated

import typer

from rollout_lib.cli.options import FOLDER, Json, Operator, Outputs, Plan, app

SIGNS = {
    "start": "▶",
    "slot": "◆",
    "evaluation": "■",
    "act": "⏹",
    "missed": "✕",
    "lease": "⚿",
    "away": "?",
    "back": "✓",
    "trouble": "!",
    "stop": "■",
    "quiet": "·",
}


@app.command()
def watch(
    plan: Plan = "",
    operator: Operator = "",
    outputs: Outputs = FOLDER,
    until: Annotated[
        str, typer.Option("--until", help="Stop at this ISO instant; without it, on SIGTERM.")
    ] = "",
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Say the quiet rounds of the tripwire too.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Check each slot, trip between them, lower where the plan lets it act alone. Never raises the
    percentage.
    """
    from rollout_lib.database.session import open_session, parse_instant
    from rollout_lib.display import header_line
    from rollout_lib.errors import ParameterError
    from rollout_lib.schedule import Event, Stop
    from rollout_lib.schedule import watch as keep_watch
    from rollout_lib.text import both_clocks

    problems: list[str] = []
    end = parse_instant(until, "until", problems)
    if problems:
        raise ParameterError(problems="\n".join(problems))
    session = open_session(plan, operator=operator)

    def say(event: Event) -> None:
        if event.kind == "quiet" and not verbose:
            return
        if as_json:
            shown = {
                "at": event.at.isoformat(),
                "kind": event.kind,
                "text": event.text,
                "exit_code": event.exit_code,
            }
            print(json.dumps(shown, ensure_ascii=False), flush=True)
            return
        if event.kind == "start":
            print(header_line(session.place, event.at, f"mode {session.plan.mode}"), flush=True)
        print(
            f"{both_clocks(event.at, session.plan.time_zone)}  {SIGNS[event.kind]} {event.text}",
            flush=True,
        )

    stop = Stop()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return keep_watch(plan, outputs=outputs, say=say, operator=operator, stop=stop, until=end)
