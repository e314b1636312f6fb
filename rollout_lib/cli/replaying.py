"""The command that judges recorded history again: a table, a page with the charts, or JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rollout_lib.cli.options import FOLDER, Json, Outputs, Plan, app

if TYPE_CHECKING:
    from rollout_lib.operations.replay import Replay
    from rollout_lib.plan import Plan as Loaded


@app.command()
def replay(
    since: Annotated[
        str, typer.Option("--from", help="ISO instant with its offset: 2025-12-03T09:00:00+01:00.")
    ],
    until: Annotated[str, typer.Option("--to", help="The end of the span, as --from.")],
    plan: Plan = "",
    judged_by: Annotated[
        str,
        typer.Option("--with", help="YAML with other thresholds, mode, monitoring or acts_alone."),
    ] = "",
    outputs: Outputs = FOLDER,
    as_json: Json = False,
) -> int:
    """Judge what ran between two instants again, as the plan or another would have. Changes
    nothing.
    """
    from rollout_lib.database.session import open_session, parse_instant
    from rollout_lib.errors import ParameterError
    from rollout_lib.operations.replay import plan_with
    from rollout_lib.operations.replay import replay as judge_again

    problems: list[str] = []
    span = (parse_instant(since, "from", problems), parse_instant(until, "to", problems))
    problems += [
        f"{name}: an ISO instant is needed"
        for at, name in zip(span, ("from", "to"), strict=True)
        if at is None and not problems
    ]
    if problems or span[0] is None or span[1] is None:
        raise ParameterError(problems="\n".join(problems))
    session = open_session(plan)
    other = plan_with(session.plan, judged_by) if judged_by else None
    result = judge_again(session, start=span[0], end=span[1], judge_by=other)
    if as_json:
        from pydantic import TypeAdapter

        kind = type(result)
        print(TypeAdapter(kind).dump_json(result, exclude={"history"}).decode())
        return 0
    _print(result, other or session.plan)
    print(f"page: {_page(result, other or session.plan, outputs)}")
    return 0


def _print(result: Replay, plan: Loaded) -> None:
    """The header, one row a check, and what came of each phase."""
    from rich.console import Console
    from rich.table import Table

    from rollout_lib.display.words import BADGES
    from rollout_lib.operations.replay import is_same

    console = Console()
    place = result.place
    console.print(f"{place} · replay, nothing is changed")
    console.print(f"judged by {result.judged_by} (mode {result.mode})")
    table = Table(
        box=None, padding=(0, 1, 0, 0), pad_edge=False
    )  # 80 columns hold the longest words
    for name in ("slot", "phase", "recorded", "replayed", "literal", "evidence"):
        table.add_column(name, no_wrap=True)
    reasons: dict[str, str] = {}  # the first check of each reason to differ
    for phase in result.phases:
        for check in phase.checks:
            verdict, at = check.verdict, f"{check.slot.astimezone(plan.zone):%a %H:%M}"
            columns = (
                BADGES[state][1] for state in (verdict.state, verdict.literal, verdict.evidence)
            )
            recorded = BADGES[check.recorded][1] if check.recorded else "missed"
            table.add_row(
                at,
                f"{phase.percentage} %",
                recorded,
                *columns,
                style="" if is_same(check) else "bold",
            )
            if not is_same(check):
                reasons.setdefault(verdict.sentence, f"{at}  {BADGES[verdict.state][1]}  ")
        table.add_row()
    console.print(table)
    for sentence, at in reasons.items():
        console.print(at + sentence, markup=False)
    for phase in result.phases:
        console.print(f"{phase.outcome}: {phase.finding}", markup=False)
    console.print(result.sentence, markup=False)


def _page(result: Replay, plan: Loaded, outputs: Path) -> Path:
    """The same as a page that stands alone, written once beside the rollout's records."""
    import uuid
    from html import escape

    from markupsafe import Markup

    from rollout_lib.archive.page import page
    from rollout_lib.archive.writing import write_once
    from rollout_lib.display import charts
    from rollout_lib.display.page import badge, table
    from rollout_lib.display.ribbon import lanes
    from rollout_lib.operations.replay import lanes_of

    rows = [
        (
            Markup(
                f"<nobr>{check.slot.astimezone(plan.zone):%a %H:%M} · {phase.percentage} %</nobr>"
            ),
            Markup(badge(check.recorded)) if check.recorded else "missed",
            Markup(badge(check.verdict.state)),
            check.verdict.sentence,
        )
        for phase in result.phases
        for check in phase.checks
    ]
    place = result.place
    title = (
        f"Replay {result.start.astimezone(plan.zone):%Y-%m-%d %H:%M} to"
        f" {result.end.astimezone(plan.zone):%H:%M}"
    )
    findings = "".join(
        f"<li><b>{escape(phase.outcome)}</b>: {escape(phase.finding)}</li>"
        for phase in result.phases
    )
    pictures = [
        lanes(result.history, plan, tuple(lanes_of(result)), result.sentence),
        charts.evidence(result.history, plan),
        charts.interval(result.history, plan),
    ]
    body = (
        '<div class="ro"><div class="ro-bar'
        f' {place.environment}"><b>{place.environment.upper()}</b><span>{escape(place.host)}</span><span>{escape(place.database)}</span><span>replay</span></div><h1>{escape(title)}</h1><p>Judged'
        f" by {escape(result.judged_by)} (mode {escape(result.mode)}). Nothing was changed: the log"
        f" and the ledger were read in one snapshot.</p><ul>{findings}</ul></div>"
        + "".join(picture._repr_html_() for picture in pictures)
        + f'<div class="ro">{table(rows, ["<slot", "<recorded", "<replayed", "<because"])}</div>'
    )
    name = f"{result.start:%Y%m%dT%H%M%SZ}_replay_{uuid.uuid4().hex[:8]}.html"
    path: Path = outputs / place.rollout / "replays" / name
    write_once(path, page(title, body).encode())
    return path
