"""The commands that look, migrate and rehearse: one call each, the answer, its exit code."""

from __future__ import annotations

import json
import os
from typing import Annotated

import typer

from rollout_lib.cli.options import FOLDER, Apply, AsOf, Json, Outputs, Plan, app
from rollout_lib.surroundings import REHEARSAL


@app.command()
def migrate(
    plan: Plan = "",
    apply: Apply = False,
    mark: Annotated[
        bool, typer.Option("--mark", help="Mark a copy, restored on purpose, as the plan's.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Apply what is missing of the runbook's objects and the ledger, in one transaction, and mark
    the database as the plan's.
    """
    from rollout_lib.database.connection import connect
    from rollout_lib.database.migrations import migrate as apply_missing
    from rollout_lib.plan import load_plan

    database = connect(load_plan(plan))
    done = apply_missing(database, apply=apply, mark=mark)
    if as_json:
        print(json.dumps({"found": done.found, "missing": done.missing, "applied": done.applied}))
        return 0
    print(database.place)
    print(done.sentence)
    return 0


@app.command()
def status(
    plan: Plan = "",
    as_of: AsOf = "",
    watch: Annotated[
        bool, typer.Option("--watch", help="Read it again every ten seconds, until Ctrl-C.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Where the rollout stands, in ten lines: routing, last answer, phase, watcher, next step. What
    cannot be read is named.
    """
    if watch:
        return _again_and_again(plan, as_of)
    from rollout_lib.database.session import open_session
    from rollout_lib.operations.status import look

    session = open_session(plan, as_of=as_of)
    seen = look(session)
    if as_json:
        place = session.place
        where = {key: getattr(place, key) for key in ("environment", "host", "database", "rollout")}
        print(json.dumps(where | seen.values(), ensure_ascii=False))
        return seen.exit_code
    print("\n".join(seen.lines(session)))
    return seen.exit_code


def _again_and_again(plan: str, as_of: str) -> int:
    """The same on one screen; a database that is away is said, and asked again."""
    import time

    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from rollout_lib.database.session import open_session
    from rollout_lib.errors import RolloutError
    from rollout_lib.operations.status import look

    session, code = open_session(plan, as_of=as_of), 0
    with Live(console=Console(), auto_refresh=False, screen=False) as shown:
        try:
            while True:
                try:
                    seen = look(session)
                    code, lines = seen.exit_code, seen.lines(session)
                except RolloutError as error:
                    code, lines = error.exit_code, str(error).splitlines()
                shown.update(Text("\n".join(lines)), refresh=True)
                time.sleep(10)
        except KeyboardInterrupt:
            return code


@app.command()
def errors(plan: Plan = "", as_of: AsOf = "", as_json: Json = False) -> int:
    """The runbook's error analysis of the last hour, redacted."""
    from rollout_lib.database.ledger import read_facts
    from rollout_lib.database.session import open_session
    from rollout_lib.database.traffic import errors_between
    from rollout_lib.display import header_line

    session = open_session(plan, as_of=as_of)
    with session.database.transaction(readonly=True) as connection:
        facts = read_facts(connection, session.plan)
        now = session.now(facts.now)
        rows = errors_between(connection, now - session.plan.monitoring.window, now)
    if as_json:
        print(json.dumps(rows, default=str, ensure_ascii=False))
        return 0
    print(header_line(session.place, now, "errors of the last hour"))
    for row in rows:
        print(
            f"{row['occurrences']:>6,}  {row['domain']:<12} {row['routed_to']:<8}"
            f" {row['error_message']}"
        )
    if not rows:
        print("No error in the last hour.")
    return 0


@app.command()
def rehearse(
    scenario: Annotated[
        str, typer.Option("--scenario", help="Which world; --list shows them.")
    ] = "healthy",
    mode: Annotated[
        str, typer.Option("--mode", help="evidence or strict; without it the plan's.")
    ] = "",
    seed: Annotated[int, typer.Option("--seed", help="Another seed, another day.")] = 20251203,
    plan: Plan = "",
    outputs: Outputs = FOLDER,
    week: Annotated[
        bool, typer.Option("--week", help="Days 4 and 5 too, and the nights: about 300 notebooks.")
    ] = False,
    live: Annotated[
        bool, typer.Option("--live", help="Real requests through a real router instead.")
    ] = False,
    minutes: Annotated[
        float, typer.Option("--minutes", help="How long a live rehearsal lasts.")
    ] = 5.0,
    rate: Annotated[
        float, typer.Option("--rate", help="Requests a second of a live rehearsal.")
    ] = 30.0,
    fault: Annotated[
        str, typer.Option("--fault", help="What breaks when live; --list names it.")
    ] = "errors",
    show: Annotated[
        bool, typer.Option("--list", help="List the scenarios and faults, and end.")
    ] = False,
) -> int:
    """Day 3 (or the week) on a real PostgreSQL in a simulated world, every step a notebook; or
    live, in minutes.
    """
    from rollout_lib.cli.rehearsing import rehearse_and_show, rehearse_live, show_scenarios

    if show:
        return show_scenarios()
    plan = plan or os.environ.get("ROLLOUT_PLAN", "") or REHEARSAL  # whoever asks for it gets it
    if live:
        return rehearse_live(
            plan=plan, minutes=minutes, rate=rate, fault=fault, seed=seed, outputs=outputs
        )
    return rehearse_and_show(scenario, mode=mode, seed=seed, plan=plan, outputs=outputs, week=week)
