"""How a series over time is drawn: line, band, limits with their words, changes, gaps. Values in,
SVG out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import altair as alt

from rollout_lib.display import history as past
from rollout_lib.display import theme
from rollout_lib.plan import Plan

MANY = 60  # checks; beyond them a point each would only be ink
_UNIT = 3_600_000
YAxis = Callable[[str], alt.Y]
Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Frame:
    """What every chart of one history shares: the span of time, the changes, and
    the missed checks.
    """

    plan: Plan
    start: int
    end: int
    changes: tuple[Mapping[str, Any], ...]
    gaps: tuple[datetime, ...]

    def x(self, field: str = "x", ticks: int = 9, labels: bool = True) -> alt.X:
        """The rollout's own wall clock, whatever the zone of this machine."""
        long = self.end - self.start > 26 * _UNIT
        axis = alt.Axis(
            format="%a %H:%M" if long else "%H:%M",
            tickCount=min(ticks, 7) if long else ticks,
            grid=False,
            labelOverlap=True,
            labels=labels,
            ticks=labels,
            domain=labels,
        )
        return alt.X(
            f"{field}:T",
            title=None,
            axis=axis,
            scale=alt.Scale(type="utc", domain=[self.start, self.end]),
        )

    @property
    def crosses(self) -> tuple[datetime, ...]:
        """The missed checks that have a mark: of very many every n-th, beside words that say how
        many there are.
        """
        return self.gaps[:: max(1, -(-len(self.gaps) // MANY))]

    def on_axis(self, at: datetime) -> int:
        return past.wall(at, self.plan)


def frame(history: past.History, plan: Plan, shown: past.History = ()) -> Frame:
    """The shared frame: from the first change (else the first check) to the last one, missed checks
    included.

    shown: what a chart draws besides the checks of a phase, such as those while routing is off.
    """
    seen, gaps = past.changes(history), past.missing(history, plan)
    checks = [run.at for run in (*(run for run, _ in past.monitors(history)), *shown)]
    instants = [item["at"] for item in seen] + checks + gaps
    start, end = (min(instants), max(instants)) if instants else (plan.begins(0), plan.ends(0))
    x0, x1 = past.wall(start, plan), past.wall(end, plan)
    return Frame(
        plan=plan, start=x0, end=max(x1, x0 + _UNIT // 4), changes=tuple(seen), gaps=tuple(gaps)
    )


def values(rows: Sequence[Mapping[str, Any]], frame: Frame) -> alt.Data:
    """Rows as inline data: instants become the axis's milliseconds, everything else stays.

    As one JSON text, which Altair copies once for each layer in no time; a list it copies value by
    value."""

    def plain(row: Mapping[str, Any]) -> dict[str, Any]:
        kept = {key: item for key, item in row.items() if not isinstance(item, datetime)}
        return kept | ({"x": frame.on_axis(row["at"])} if "at" in row else {})

    return alt.InlineData(
        values=json.dumps([plain(row) for row in rows]), format=alt.JsonDataFormat(type="json")
    )


def y_axis(
    title: str,
    top: float,
    kind: Literal["linear", "log", "sqrt"] = "linear",
    ticks: Sequence[float] | None = None,
) -> YAxis:
    """An axis from zero (or from 0.01 for a logarithm), clipped at `top`: give it a field, it gives
    the channel.
    """
    low = 0.01 if kind == "log" else 0
    axis = alt.Axis(tickCount=5, values=ticks, format="~g") if ticks else alt.Axis(tickCount=5)
    scale = alt.Scale(type=kind, domain=[low, top], clamp=True)
    return lambda field: alt.Y(f"{field}:Q", title=title, axis=axis, scale=scale)


def line(rows: Rows, field: str, y: YAxis, frame: Frame) -> list[alt.Chart]:
    """The line of unified, in stretches that are never joined over a gap, a point a check."""
    drawn = alt.Chart(values([row for row in rows if row[field] is not None], frame))
    drawn = drawn.mark_line(color=theme.UNIFIED_COLOUR, strokeWidth=2)
    layers = [drawn.encode(x=frame.x(), y=y(field), detail=alt.Detail("part:N"))]
    alone = [row for row in rows if sum(other["part"] == row["part"] for other in rows) == 1]
    dots = rows if len(rows) <= MANY else alone
    dots = [row for row in dots if row[field] is not None]
    if dots:
        point = alt.Chart(values(dots, frame)).mark_circle(
            color=theme.UNIFIED_COLOUR, size=26, opacity=1
        )
        layers.append(point.encode(x=frame.x(), y=y(field)))
    return layers


def apart(rows: Rows, field: str, y: YAxis, frame: Frame, words: str) -> list[alt.Chart]:
    """Points beside the line, hollow and never joined to it, the last one with what they are."""
    if not rows:
        return []
    points = alt.Chart(values(rows, frame)).mark_point(
        color=theme.UNIFIED_COLOUR, size=34, filled=False
    )
    label = alt.Chart(values([{**rows[-1], "w": words}], frame)).mark_text(
        align="left", dx=7, dy=-7, opacity=0.8
    )
    return [
        points.encode(x=frame.x(), y=y(field)),
        label.encode(x=frame.x(), y=y(field), text=alt.Text("w:N")),
    ]


def band(rows: Rows, low: str, high: str, y: YAxis, frame: Frame) -> alt.Chart:
    """Uncertainty as a band between two fields; `y` is the axis that it shares."""
    drawn = alt.Chart(values([row for row in rows if row[high] is not None], frame))
    area: alt.Chart = drawn.mark_area(color=theme.UNIFIED_COLOUR, opacity=0.16, clip=True).encode(
        x=frame.x(), y=y(low), y2=alt.Y2(f"{high}:Q"), detail=alt.Detail("part:N")
    )
    return area


def limits(lines: Sequence[tuple[float, str]], frame: Frame, y: YAxis) -> list[alt.Chart]:
    """Dashed thresholds with their words at the right end."""
    layers = []
    for value, words in lines:
        data = alt.Chart(alt.Data(values=[{"v": value, "x": frame.end, "w": words}]))
        at = y("v")
        layers.append(data.mark_rule(color=theme.LIMIT_COLOUR, strokeDash=[5, 4]).encode(y=at))
        text = data.mark_text(align="left", dx=6, color=theme.LIMIT_COLOUR, clip=False)
        layers.append(text.encode(x=frame.x(), y=at, text=alt.Text("w:N")))
    return layers


def marks(frame: Frame, height: int = theme.HEIGHT) -> list[alt.Chart]:
    """Changes of percentage as labelled rules; missed checks as crosses with their number."""
    layers = []
    if frame.changes:
        rules = alt.Chart(values(frame.changes, frame))
        layers.append(rules.mark_rule(color=theme.INK, opacity=0.5).encode(x=frame.x()))
        label = rules.mark_text(align="left", baseline="top", dx=4, opacity=0.8, fontWeight=600)
        layers.append(label.encode(x=frame.x(), y=alt.YValue(0), text=alt.Text("words:N")))
    if frame.gaps:
        cross = alt.Chart(values([{"at": gap} for gap in frame.crosses], frame))
        layers.append(
            cross.mark_text(text="✕", color=theme.MISSING_COLOUR, fontSize=10).encode(
                x=frame.x(), y=alt.YValue(height - 7)
            )
        )
        words = alt.Chart(values(_runs(frame), frame)).mark_text(color=theme.MISSING_COLOUR)
        layers.append(
            words.encode(x=frame.x(), y=alt.YValue(height - 20), text=alt.Text("words:N"))
        )
    return layers


def _runs(frame: Frame) -> list[dict[str, Any]]:
    """Missed checks that follow each other, as one label in their middle."""
    runs: list[list[datetime]] = []
    for gap in frame.gaps:
        if runs and gap - runs[-1][-1] <= frame.plan.monitoring.interval:
            runs[-1].append(gap)
        else:
            runs.append([gap])
    return [{"at": run[0] + (run[-1] - run[0]) / 2, "words": f"{len(run)} missed"} for run in runs]


def finished(
    layers: Sequence[alt.Chart], finding: str, height: int = theme.HEIGHT
) -> theme.Picture:
    """The layers as one picture with its finding."""
    return theme.Picture(theme.layered_svg(layers, height), finding)
