"""How a rehearsal looks in a terminal: progress while it runs, a table of phases at the end."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from rollout_lib.display.words import BADGES, milliseconds, rate
from rollout_lib.errors import ParameterError
from rollout_lib.model import State
from rollout_lib.plan import load_plan
from rollout_lib.rehearsal.conductor import Rehearsal, rehearse
from rollout_lib.rehearsal.live.conductor import FAULTS, LiveRun, refuse_wrong, run_live
from rollout_lib.rehearsal.live.load import HANDSHAKES, Kind
from rollout_lib.rehearsal.scenarios import SCENARIOS


def show_scenarios() -> int:
    """Each world's story and the end it must come to."""
    table = Table("scenario", "story", "ends (evidence)", "ends (strict)", show_lines=False)
    for scenario in SCENARIOS.values():
        ends = [scenario.ends[mode] for mode in ("evidence", "strict")]
        table.add_row(
            scenario.name,
            scenario.story,
            *(f"{State(end.decided).words}, {end.percentage} %" for end in ends),
        )
    Console().print(table)
    faults = Table("--live --fault", "story", "routing ends")
    for name, fault in FAULTS.items():
        faults.add_row(name, fault.story, "off" if fault.ends_off else "on")
    Console().print(faults)
    return 0


def rehearse_live(
    *, plan: str, minutes: float, rate: float, fault: str, seed: int, outputs: Path
) -> int:
    """Real requests on loopback with a fault on cue; exit 0 only where the suite did what the fault
    demands.
    """
    console = Console()
    refuse_wrong(minutes, rate, fault)
    load_plan(plan)
    console.print(f"Live for {minutes:g} min at {rate:g} requests/s: {FAULTS[fault].story}")
    columns = (TextColumn("{task.description:<60}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting PostgreSQL, router and destinations", total=None)

        def progress(what: str, done: float, total: float) -> None:
            bar.update(task, description=what, completed=done, total=total)

        result = run_live(
            plan,
            minutes=minutes,
            rate=rate,
            fault=fault,
            outputs=outputs,
            seed=seed,
            progress=progress,
        )
    _show_live(console, result)
    return 0 if result.ok else 1


def _show_live(console: Console, result: LiveRun) -> None:
    counted = result.tally
    console.print(result.place, soft_wrap=True)
    requests = Table("", "requests", "messages", title="What became of them", title_justify="left")
    for column in requests.columns[1:]:
        column.justify = "right"
    said = counted.messages
    for name, number, messages in (
        ("sent", counted.sent, said.sent),
        ("answered", counted.answered, said.answered),
        ("logged", counted.logged, said.logged),
        ("lost", len(counted.lost), len(said.lost)),
        ("run twice", None, len(said.twice)),
        ("delivered again", counted.kinds.get(Kind.REDELIVERY, 0), said.redelivered),
        ("statuses", counted.kinds.get(Kind.STATUS, 0), None),
        ("handshakes", sum(counted.kinds.get(kind, 0) for kind in HANDSHAKES), None),
        ("signed with an old secret", counted.kinds.get(Kind.FORGED, 0), None),
        ("wrongly let in or refused", len(counted.wrong), None),
        ("answered with an error", counted.failed, None),
        ("served by legacy: no unified", None, counted.fell_back),
        ("to unified > 1 s after the rollback", counted.late, None),
    ):
        shown = ("–" if value is None else f"{value:,}" for value in (number, messages))
        requests.add_row(name, *shown)
    console.print(requests)
    shares = Table(
        "domain",
        "messages",
        "unified",
        "share %",
        "configured %",
        title="While routing was on",
        title_justify="left",
    )
    for column in shares.columns[1:]:
        column.justify = "right"
    for share in counted.shares:
        measured = f"{100 * share.unified / share.requests:.1f}" if share.requests else "–"
        shares.add_row(
            share.domain,
            f"{share.requests:,}",
            f"{share.unified:,}",
            measured,
            f"{share.configured_pct:.1f}",
        )
    console.print(shares)
    if counted.fault_to_off_s is not None:
        console.print(
            "From the fault to the last request to unified, as the client saw it:"
            f" {counted.fault_to_off_s:.1f} s"
        )
    console.print(result.decided or "Nothing switched routing off.")
    for problem in result.problems:
        console.print(f"✗ {problem}")
    if result.ok:
        console.print(
            "✓ It ended as it must: routing"
            f" {'off' if result.ended_off else f'at {result.percentage:g} %'}."
        )
    console.print(f"records: {result.outputs}", soft_wrap=True)


def rehearse_and_show(
    scenario: str, *, mode: str, seed: int, plan: str, outputs: Path, week: bool = False
) -> int:
    """Run a rehearsal with a progress bar; exit 0 only where it ended as expected."""
    problems = []
    if scenario not in SCENARIOS:
        problems.append(f"scenario: one of {', '.join(SCENARIOS)}, not {scenario!r}")
    if mode not in ("", "evidence", "strict"):
        problems.append(f"mode: evidence or strict, not {mode!r}")
    if problems:
        raise ParameterError(problems="\n".join(problems))
    load_plan(plan)
    console = Console()
    console.print(
        f"{'Days 3 to 5' if week else 'Day 3'} in the world [b]{scenario}[/b]:"
        f" {SCENARIOS[scenario].story}"
    )
    columns = (
        TextColumn("{task.description:<34}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting PostgreSQL", total=None)

        def progress(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)
            if not console.is_terminal and done % 10 == 0:
                console.print(f"{done:>3}/{total}  {what}")

        result = rehearse(
            scenario,
            plan_path=plan,
            mode=mode or None,
            seed=seed,
            outputs=outputs,
            week=week,
            progress=progress,
        )
    _show(console, result)
    return 0 if result.ok else 1


def _show(console: Console, result: Rehearsal) -> None:
    began = [phase.began_at.astimezone(result.zone) for phase in result.summary.phases]
    zones = "/".join(dict.fromkeys(f"{at:%Z}" for at in began))
    table = Table(
        box=None, padding=(0, 1, 0, 0), pad_edge=False
    )  # 80 columns hold the longest words of a day
    for name in ("phase", f"began {zones}", "checks", "worst", "evaluation", "errors", "p95 ms"):
        right = name in ("phase", "checks", "errors", "p95 ms")
        table.add_column(name, no_wrap=True, justify="right" if right else "left")
    for phase, at in zip(result.summary.phases, began, strict=True):
        unified = phase.unified
        table.add_row(
            f"{phase.percentage:g} %",
            f"{at:%a %H:%M}",
            f"{phase.checks}/{phase.expected}",
            BADGES[phase.worst][1] if phase.worst else "–",
            BADGES[phase.evaluation][1] if phase.evaluation else "–",
            rate(unified["errors"], unified["requests"]) if unified else "–",
            milliseconds(unified.get("p95_ms")) if unified else "–",
        )
    console.print(f"{result.place} · mode {result.mode} · {result.runs} notebooks run")
    console.print(table)
    for phase in result.summary.phases:
        console.print(f"{phase.percentage:g} % · {phase.ended_by}")
    console.print(result.summary.outcome)
    if result.ok:
        console.print(
            f"✓ It ended as this world must: {State(result.found.decided).words}, routing at"
            f" {result.found.percentage} %."
        )
    for problem in result.problems:
        console.print(f"✗ {problem}")
    console.print(f"report: {result.report}", soft_wrap=True)
    around = f"ROLLOUT_PLAN={result.plan_path} ROLLOUT_OUTPUTS={result.outputs} {sys.argv[0]}"
    console.print(
        f"Look around: {around} status --as-of {result.ended_at.isoformat()}", soft_wrap=True
    )
    console.print(f"Prove it:    {around} verify", soft_wrap=True)
