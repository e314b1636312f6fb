"""How a rehearsal looks in a terminal: progress while it runs, a table of phases at the end."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from rollout_lib.errors import ParameterError
from rollout_lib.look.words import BADGES, milliseconds, rate
from rollout_lib.rehearsal.conductor import Rehearsal, rehearse
from rollout_lib.rehearsal.scenarios import SCENARIOS


def show_scenarios() -> int:
    """Each world's story and the end it must come to."""
    table = Table("scenario", "story", "ends (evidence)", "ends (strict)", show_lines=False)
    for scenario in SCENARIOS.values():
        ends = [scenario.ends[mode] for mode in ("evidence", "strict")]
        table.add_row(scenario.name, scenario.story, *(f"{end.decided}, {end.percentage} %" for end in ends))
    Console().print(table)
    return 0


def rehearse_and_show(scenario: str, *, mode: str, seed: int, plan: str, outputs: Path) -> int:
    """Run a rehearsal with a progress bar; exit 0 only where it ended as expected."""
    problems = []
    if scenario not in SCENARIOS:
        problems.append(f"scenario: one of {', '.join(SCENARIOS)}, not {scenario!r}")
    if mode not in ("", "evidence", "strict"):
        problems.append(f"mode: evidence or strict, not {mode!r}")
    if problems:
        raise ParameterError(problems="\n".join(problems))
    console = Console()
    console.print(f"Day 3 in the world [b]{scenario}[/b]: {SCENARIOS[scenario].story}")
    columns = (TextColumn("{task.description:<34}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting PostgreSQL", total=None)

        def progress(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)
            if not console.is_terminal and done % 10 == 0:
                console.print(f"{done:>3}/{total}  {what}")

        result = rehearse(scenario, plan_path=plan, mode=mode or None, seed=seed, outputs=outputs, progress=progress)
    _show(console, result)
    return 0 if result.ok else 1


def _show(console: Console, result: Rehearsal) -> None:
    table = Table("phase", "began", "checks", "worst", "evaluation", "unified errors", "p95 ms", "ended by")
    for column in (2, 5, 6):
        table.columns[column].justify = "right"
    for phase in result.summary.phases:
        unified = phase.unified
        table.add_row(
            f"{phase.percentage:g} %",
            f"{phase.began_at:%H:%M} UTC",
            f"{phase.checks}/{phase.expected}",
            BADGES[phase.worst][1] if phase.worst else "–",
            BADGES[phase.evaluation][1] if phase.evaluation else "–",
            rate(unified["errors"], unified["requests"]) if unified else "–",
            milliseconds(unified.get("p95_ms")) if unified else "–",
            phase.ended_by[:70],
        )
    console.print(f"REHEARSAL · {result.place} · mode {result.mode} · {result.runs} notebooks run")
    console.print(table)
    console.print(result.summary.outcome)
    if result.ok:
        console.print(
            f"✓ It ended as this world must: {result.found.decided}, routing at {result.found.percentage} %."
        )
    for problem in result.problems:
        console.print(f"✗ {problem}")
    console.print(f"report: {result.report}", soft_wrap=True)
    console.print(f"Look around: ROLLOUT_PLAN={result.plan_path} rollout status", soft_wrap=True)
