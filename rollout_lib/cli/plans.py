"""The verbs of `rollout plan`: a plan checked, explained and made before its day. No routing is
read or changed.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rollout_lib.cli.options import Json, app
from rollout_lib.text import span as spelled

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from rollout_lib.judgement.outlook import Outlook

plans = typer.Typer(name="plan", no_args_is_help=True, help="Check and make plans before the day.")
app.add_typer(plans)
File = Annotated[
    str, typer.Argument(help="The plan; without it $ROLLOUT_PLAN, else the rehearsal's.")
]


@plans.command()
def check(file: File = "", as_json: Json = False) -> int:
    """Name all problems of a plan, and what is legal in it and unwise.

    Exit 0: it can be used, warnings or not; 2: it cannot."""
    from rollout_lib.operations.foresight import foresee
    from rollout_lib.plan import load_plan

    plan = load_plan(file)
    seen = foresee(plan)
    if as_json:
        shown = {"plan": plan.path, "traffic": seen.source, "warnings": seen.warnings}
        print(json.dumps(shown, ensure_ascii=False))
        return 0
    print(f"{plan.path}: {plan.rollout}, {plan.environment}. It is a plan that can be used.")
    print(f"Traffic: {seen.source}.")
    for warning in seen.warnings:
        print(f"unwise  {warning}")
    if not seen.warnings:
        print("Nothing in it is unwise.")
    return 0


@plans.command()
def explain(file: File = "", as_json: Json = False) -> int:
    """Say what each phase can see and prove, how often it acts on a healthy service, and how fast
    it finds one that fails.
    """
    from rollout_lib.operations.foresight import foresee
    from rollout_lib.plan import load_plan

    plan = load_plan(file)
    seen = foresee(plan)
    if as_json:
        phases = [_values(one) for one in seen.outlooks]
        shown = {"plan": plan.path, "traffic": seen.source, "phases": phases}
        print(json.dumps(shown, ensure_ascii=False))
        return 0
    print(f"{plan.path}: {plan.rollout}. Traffic: {seen.source}.")
    _table(seen.outlooks)
    print(
        "found after: by then half of all phases with that error rate have acted or asked to step"
        " back; in brackets how many do so at all."
    )
    print(
        "excludes: what a phase without one failure says of the error rate, 95 % sure. acts, wakes:"
        " on a healthy service, at half of the plan's limit."
    )
    print(
        "Simulated: errors at the checks, one independent of the other. Tripwire, latency and router"
        " see more."
    )
    for warning in seen.warnings:
        print(f"unwise  {warning}")
    return 0


@plans.command()
def new(
    out: Annotated[str, typer.Option("--out", help="The file to write; never over another.")],
    source: Annotated[
        str,
        typer.Option("--from", help="A file of Argo Rollouts, Flagger, CodeDeploy or AppConfig."),
    ] = "",
    rollout: Annotated[str, typer.Option("--rollout", help="Its name.")] = "",
    environment: Annotated[
        str, typer.Option("--environment", help="rehearsal, staging or production.")
    ] = "staging",
    domains: Annotated[
        str, typer.Option("--domains", help="With commas; without it those of the log.")
    ] = "",
    protected: Annotated[str, typer.Option("--protected", help="Never routed; with commas.")] = "",
    phases: Annotated[str, typer.Option("--phases", help="10:4h,25:4h,50:24h.")] = "",
    day: Annotated[str, typer.Option("--day", help="Of the first phase: 2026-01-07.")] = "",
    start: Annotated[str, typer.Option("--start", help="Its local time.")] = "09:00",
    time_zone: Annotated[str, typer.Option("--time-zone", help="Of all times.")] = "Europe/Berlin",
    variable: Annotated[
        str, typer.Option("--variable", help="The environment variable of the address.")
    ] = "DATABASE_URL",
    database: Annotated[
        str, typer.Option("--database", help="What the database must be called.")
    ] = "postgres",
) -> int:
    """Write a new plan with comments: from options, from another tool's file, from the log where the
    variable leads to one. What is missing is asked for at a terminal.
    """
    from rollout_lib.cli.planning import Given, write_new

    given = Given(
        out=out,
        source=source,
        rollout=rollout,
        environment=environment,
        domains=domains,
        protected=protected,
        phases=phases,
        day=day,
        start=start,
        time_zone=time_zone,
        variable=variable,
        database=database,
    )
    for line in write_new(given):
        print(line)
    return 0


@plans.command()
def suggest(
    detect: Annotated[str, typer.Option("--detect", help="The error rate to find, such as 1%.")],
    within: Annotated[str, typer.Option("--within", help="How fast, such as 4h.")],
    file: File = "",
    as_json: Json = False,
) -> int:
    """Percentages and the shortest holds that find an error rate in nine of ten phases, the fewest
    hours first.
    """
    from rollout_lib.judgement.counting import error_limit
    from rollout_lib.judgement.outlook import suggestions
    from rollout_lib.operations.foresight import foresee
    from rollout_lib.plan import load_plan
    from rollout_lib.plan.values import duration_of, rate_of

    rate, span = rate_of(detect, "--detect"), duration_of(within, "--within")
    plan = load_plan(file)
    limit = error_limit(plan)
    if rate <= limit:
        _refuse(
            f"--detect: {100 * rate:g} % is not over the plan's limit of {100 * limit:g} %, so no"
            " phase would act on it."
        )
    seen = foresee(plan)
    found = suggestions(plan, seen.hours, rate, span)
    if not found:
        _refuse(
            f"No percentage up to 100 % finds {100 * rate:g} % within {spelled(span)} in nine of ten"
            f" phases. Traffic: {seen.source}. Allow more time, or look for a higher rate."
        )
    if as_json:
        rows = [
            {
                "percentage": str(one.percentage),
                "hold_s": one.hold.total_seconds(),
                "requests": round(one.requests),
                "found": one.acts,
                "planned_hold_s": one.planned and one.planned.total_seconds(),
            }
            for one in found
        ]
        print(json.dumps({"traffic": seen.source, "suggestions": rows}, ensure_ascii=False))
        return 0
    print(f"{plan.path}: to find {100 * rate:g} % within {spelled(span)}. Traffic: {seen.source}.")
    _print(
        ["percentage", "hold", "requests", "found in", "the plan holds"],
        [
            (
                f"{one.percentage:g} %",
                spelled(one.hold),
                f"{one.requests:,.0f}",
                f"{100 * one.acts:.0f} %",
                spelled(one.planned) if one.planned else "not planned",
            )
            for one in found
        ],
    )
    late = [
        one.percentage for one in plan.phases if one.percentage not in [x.percentage for x in found]
    ]
    if late:
        named = ", ".join(f"{percentage:g} %" for percentage in late)
        print(f"Of the plan's own phases, {named} does not find it within {spelled(span)}.")
    return 0


def _refuse(words: str) -> None:
    from rollout_lib.errors import ParameterError

    raise ParameterError(problems=words)


def _table(outlooks: Sequence[Outlook]) -> None:
    rates = [one.rate for one in outlooks[0].sights]
    rows = [
        (
            f"{one.percentage:g} %",
            spelled(one.hold),
            f"{one.requests:,.0f}",
            "nothing" if one.shows is None else f"{100 * one.shows:.2g} %",
            f"{100 * one.false_act:.1f} %",
            f"{100 * one.wakes:.0f} %",
            *(_found(sight.half_by, sight.acts) for sight in one.sights),
        )
        for one in outlooks
    ]
    found = [f"{100 * rate:g} % found after" for rate in rates]
    _print(["phase", "hold", "requests", "excludes", "acts", "wakes", *found], rows)


def _found(half_by: timedelta | None, acts: float) -> str:
    return f"{spelled(half_by) if half_by else 'seldom'} ({100 * acts:.0f} %)"


def _print(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for index, name in enumerate(columns):
        table.add_column(name, justify="left" if not index else "right")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def _values(one: Outlook) -> dict[str, Any]:
    return {
        "percentage": str(one.percentage),
        "hold_s": one.hold.total_seconds(),
        "begins": one.begins.isoformat(),
        "requests": round(one.requests, 1),
        "excludes": one.shows,
        "certifies": one.certifies,
        "acts_on_healthy": one.false_act,
        "wakes_on_healthy": one.wakes,
        "found": [
            {
                "rate": sight.rate,
                "acts": sight.acts,
                "half_by_s": sight.half_by and sight.half_by.total_seconds(),
            }
            for sight in one.sights
        ],
    }
