"""Ribbons over time, a cell a check with sign and colour: verdicts under the percentage, protected
endpoints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import altair as alt

from rollout_lib.display import drawing, theme, words
from rollout_lib.display.history import History, clock
from rollout_lib.display.theme import Picture
from rollout_lib.judgement.uptime import over, probes, said_in
from rollout_lib.judgement.uptime import words as said
from rollout_lib.model import Outcome, State
from rollout_lib.plan import Plan

_ROW = 24  # pixels
_OUTCOMES = {
    Outcome.PASS: ("✓", "answers", words.BADGES[State.PASS][2]),
    Outcome.WARN: ("◔", "answers again", words.BADGES[State.WATCH][2]),
    Outcome.FAIL: ("✗", "down", words.BADGES[State.ROLL_BACK][2]),
    Outcome.COULD_NOT_LOOK: ("?", "could not look", words.BADGES[State.COULD_NOT_LOOK][2]),
}


def timeline(history: History, plan: Plan) -> Picture:
    """The percentage over time, and under it both columns of every check."""
    judged = [(run, run.verdict) for run in history if run.operation == "monitor" and run.verdict]
    checks = [run for run, _ in judged]
    shared = drawing.frame(history, plan, checks)
    if not shared.changes:
        return Picture("", "The percentage has not been changed yet: there is no timeline.")
    values = [change["percentage"] for change in shared.changes]
    now = f"{values[-1]:g} %" if values[-1] else "off"
    finding = (
        f"Routing went {' → '.join(change['words'] for change in shared.changes)}"
        if len(values) > 1
        else (f"Routing is at {now} since {clock(shared.changes[0]['at'], plan, history)}")
    )
    off = sum(run.phase is None for run in checks)
    finding += f"; {len(checks):,} checks" + f", {off:,} of them while off" * bool(off)
    finding += f", {len(shared.gaps)} missed." if shared.gaps else ", none missed."
    cells = [
        _cell(run.at, row, words.BADGES[state])
        for run, verdict in judged
        for row, state in (
            ("literal", verdict.literal),
            ("evidence", verdict.evidence),
            ("verdict", verdict.state),
        )
    ]
    strip = _strip(cells, ["literal", "evidence", "verdict"], shared)
    return Picture(theme.svg(alt.vconcat(_steps(shared), strip, spacing=8), margin=8), finding)


def lanes(
    history: History,
    plan: Plan,
    columns: Sequence[tuple[datetime, Mapping[str, State]]],
    finding: str,
) -> Picture:
    """One lane a verdict of the same checks, as a replay compares them: of each instant, lane ->
    state.
    """
    shared = drawing.frame(history, plan)
    cells = [
        _cell(at, lane, words.BADGES[state])
        for at, states in columns
        for lane, state in states.items()
    ]
    names = list(dict.fromkeys(lane for _, states in columns for lane in states))
    return Picture(theme.svg(_strip(cells, names, shared), margin=8) if cells else "", finding)


def uptime(history: History, plan: Plan) -> Picture:
    """Every answer of the protected endpoints; what nobody could look at is not uptime."""
    probed = [(run, tuple(probes(said_in(run)))) for run in history]
    shared = drawing.frame(history, plan, [run for run, seen in probed if seen])
    cells = [
        _cell(run.at, name, _OUTCOMES[outcome])
        for run, seen in probed
        for name, outcome in seen
        if outcome in _OUTCOMES
    ]
    if not cells:
        return Picture(
            "",
            "Protected uptime was not measured: the plan names no endpoint under probes.protected.",
        )
    finding = "; ".join(f"{name} {said(seen)}" for name, seen in over(history).items())
    rows = list(dict.fromkeys(cell["row"] for cell in cells))
    return Picture(theme.svg(_strip(cells, rows, shared), margin=8), f"Protected: {finding}.")


def _cell(at: datetime, row: str, look: tuple[str, str, str]) -> dict[str, Any]:
    return {
        "at": at,
        "row": row,
        "sign": look[0],
        "word": look[1],
        "colour": look[2],
    }


def _steps(shared: drawing.Frame) -> alt.LayerChart | alt.FacetChart:
    """The percentage as steps, each with its words."""
    rows = [
        {"x": shared.on_axis(item["at"]), "p": item["percentage"], "w": item["words"]}
        for item in shared.changes
    ]
    rows.append(rows[-1] | {"x": shared.end, "w": ""})
    top = max(row["p"] for row in rows)
    y = alt.Y(
        "p:Q",
        title="unified, %",
        axis=alt.Axis(tickCount=3),
        scale=alt.Scale(domain=[0, max(top * 1.4, 1)]),
    )
    x = shared.x(labels=False)
    drawn = alt.Chart(alt.Data(values=rows))
    area = drawn.mark_area(
        interpolate="step-after",
        color=theme.UNIFIED_COLOUR,
        opacity=0.18,
        line={"color": theme.UNIFIED_COLOUR, "strokeWidth": 2},
    ).encode(x=x, y=y)
    text = drawn.mark_text(
        align="left", baseline="bottom", dx=4, dy=-4, fontWeight=600, fontSize=12
    )
    return alt.layer(area, text.encode(x=x, y=y, text=alt.Text("w:N"))).properties(
        width=theme.WIDTH, height=90
    )


def _strip(
    cells: Sequence[dict[str, Any]], rows: list[str], shared: drawing.Frame
) -> alt.LayerChart | alt.FacetChart:
    """Runs of equal answers as coloured boxes that end at their last check, with sign and number
    inside.
    """
    step = int(shared.plan.monitoring.interval.total_seconds() * 1000)
    runs = [
        run
        for row in rows
        for run in _runs([cell for cell in cells if cell["row"] == row], shared, step)
    ]
    named = {run["word"]: run["colour"] for run in runs}
    axis = alt.Axis(domain=False, ticks=False, grid=False, labelFontSize=12)
    y = alt.Y("row:N", title=None, sort=rows, axis=axis)
    legend = alt.Legend(orient="bottom", symbolType="square", columns=4, labelLimit=300)
    scale = alt.Scale(domain=list(named), range=list(named.values()))
    colour = alt.Color("word:N", scale=scale, legend=legend)
    drawn = alt.Chart(alt.Data(values=runs))
    boxes = drawn.mark_rect(clip=True, stroke="#fff", strokeWidth=1.5, height={"band": 0.9})
    signs = drawn.mark_text(color="#fff", fontSize=11, fontWeight=600)
    layers = [
        boxes.encode(x=shared.x(), x2=alt.X2("x0"), y=y, color=colour),
        signs.encode(x=shared.x("mid"), y=y, text=alt.Text("sign:N")),
    ]
    if shared.gaps:
        crosses = [
            {"mid": shared.on_axis(gap) - step // 2, "row": row}
            for gap in shared.crosses
            for row in rows
        ]
        missed = alt.Chart(alt.Data(values=crosses)).mark_text(
            text="✕", color=theme.MISSING_COLOUR, fontSize=10
        )
        layers.append(missed.encode(x=shared.x("mid"), y=y))
    return alt.layer(*layers).properties(width=theme.WIDTH, height=_ROW * len(rows))


def _runs(
    cells: Sequence[dict[str, Any]], shared: drawing.Frame, step: int
) -> list[dict[str, Any]]:
    """Equal answers in a row without a missed check between them; a number where there is room for
    it.
    """
    runs: list[dict[str, Any]] = []
    for cell in cells:
        x = shared.on_axis(cell["at"])
        if (
            runs
            and runs[-1]["word"] == f"{cell['sign']} {cell['word']}"
            and x - runs[-1]["x"] <= 1.5 * step
        ):
            runs[-1] |= {"x": x, "n": runs[-1]["n"] + 1}
            continue
        before = runs[-1]["x"] if runs else shared.start
        runs.append(
            {
                "row": cell["row"],
                "word": f"{cell['sign']} {cell['word']}",
                "sign": cell["sign"],
                "colour": cell["colour"],
                "x": x,
                "x0": max(x - step, before),
                "n": 1,
            }
        )
    for run in runs:
        run["mid"] = (run["x"] + run["x0"]) // 2
        room = theme.WIDTH * (run["x"] - run["x0"]) / (shared.end - shared.start)
        run["sign"] = (
            f"{run['sign']} {run['n']}"
            if room > 34 and run["n"] > 1
            else run["sign"]
            if room > 9
            else ""
        )
    return runs
