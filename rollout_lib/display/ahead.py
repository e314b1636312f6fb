"""What somebody looks at outside the checks: a plan's outlook, and the failures of a window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Any
from zoneinfo import ZoneInfo

import altair as alt

from rollout_lib.display import theme
from rollout_lib.display.page import Html, table
from rollout_lib.display.theme import Picture
from rollout_lib.judgement.outlook import Outlook, Suggestion
from rollout_lib.text import span

_WIDTH, _HEIGHT = 620, 190


def outlook_table(outlooks: Sequence[Outlook], source: str, warnings: Sequence[str]) -> Html:
    """Each phase with what it can see; below it what is unwise."""
    rates = [f"{100 * sight.rate:g} % found after" for sight in outlooks[0].sights]
    rows = [
        (
            f"{one.percentage:g} %",
            span(one.hold),
            f"{one.requests:,.0f}",
            "nothing" if one.shows is None else f"{100 * one.shows:.2g} %",
            f"{100 * one.false_act:.1f} %",
            f"{100 * one.wakes:.0f} %",
            *(
                f"{span(sight.half_by) if sight.half_by else 'seldom'} ({100 * sight.acts:.0f} %)"
                for sight in one.sights
            ),
        )
        for one in outlooks
    ]
    columns = ["<phase", "hold", "requests", "excludes", "acts", "wakes", *rates]
    said = "".join(f"<li>{escape(line)}</li>" for line in warnings)
    note = f"Traffic: {source}."
    html = f'<div class="ro-soft">{escape(note)}</div>' + table(rows, columns)
    html += (
        f"<p>Legal, and unwise:</p><ul>{said}</ul>" if said else "<p>Nothing in it is unwise.</p>"
    )
    return Html(html, "\n".join([note, *warnings]))


def outlook_chart(outlooks: Sequence[Outlook]) -> Picture:
    """How fast half of all phases find each error rate."""
    rows = [
        {
            "phase": f"{one.percentage:g} %",
            "rate": f"{100 * sight.rate:g} %",
            "hours": sight.half_by.total_seconds() / 3600,
        }
        for one in outlooks
        for sight in one.sights
        if sight.half_by
    ]
    seldom = [
        f"{100 * sight.rate:g} % at {one.percentage:g} %"
        for one in outlooks
        for sight in one.sights
        if not sight.half_by
    ]
    if not outlooks[0].sights:
        return Picture("", "The plan's own limit is over each of these error rates.")
    finding = "Half of all phases find each of these error rates before their hold is over."
    if seldom:
        finding = f"Fewer than half of all phases ever find {', '.join(seldom)}."
    if not rows:
        return Picture("", finding)
    rates = [f"{100 * sight.rate:g} %" for sight in outlooks[0].sights]
    order = [f"{one.percentage:g} %" for one in outlooks]
    chart = (
        alt.Chart(alt.Data(values=rows))
        .mark_bar()
        .encode(
            x=alt.X("hours:Q", title="hours until half of the phases have acted"),
            y=alt.Y("rate:N", title=None, sort=rates),
            row=alt.Row("phase:N", title="phase", sort=order),
            color=alt.value(theme.UNIFIED_COLOUR),
        )
        .properties(width=_WIDTH, height=60)
    )
    return Picture(theme.svg(chart), finding)


def suggestion_table(found: Sequence[Suggestion], rate: str, within: str) -> Html:
    """Percentages and the shortest holds that find a rate; a sentence where none does."""
    if not found:
        words = f"No percentage up to 100 % finds {rate} within {within} in nine of ten phases."
        return Html(f"<p>{escape(words)}</p>", words)
    rows = [
        (
            f"{one.percentage:g} %",
            span(one.hold),
            f"{one.requests:,.0f}",
            f"{100 * one.acts:.0f} %",
            span(one.planned) if one.planned else "not planned",
        )
        for one in found
    ]
    columns = ["<percentage", "hold", "requests", "found in", "the plan holds"]
    first = found[0]
    words = f"{first.percentage:g} % for {span(first.hold)} finds {rate} soonest."
    return Html(f"<p>{escape(words)}</p>" + table(rows, columns), words)


def failures(
    minutes: Sequence[Mapping[str, Any]], changed_at: datetime | None, time_zone: str
) -> Picture:
    """Failing requests of each minute, unified beside the others; a line where routing changed."""
    zone = ZoneInfo(time_zone)
    rows = [
        {
            "at": one["minute"].astimezone(zone).strftime("%Y-%m-%dT%H:%M:%S"),
            "to": one["routed_to"],
            "errors": int(one["errors"]),
            "domain": one["domain"],
        }
        for one in minutes
        if one["errors"]
    ]
    if not rows:
        return Picture("", "No request failed in this window.")
    total = sum(row["errors"] for row in rows)
    finding = f"{total:,} requests failed, in {len({row['at'] for row in rows})} different minutes."
    bars = (
        alt.Chart(alt.Data(values=rows))
        .mark_bar(size=3)
        .encode(
            x=alt.X("at:T", title=time_zone),
            y=alt.Y("sum(errors):Q", title="failing requests a minute"),
            color=alt.Color("to:N", title="destination"),
            tooltip=["at:T", "domain:N", "to:N", "errors:Q"],
        )
        .properties(width=_WIDTH, height=_HEIGHT)
    )
    layers: list[alt.Chart] = [bars]
    if changed_at is not None:
        at = [{"at": changed_at.astimezone(zone).strftime("%Y-%m-%dT%H:%M:%S")}]
        layers.append(
            alt.Chart(alt.Data(values=at))
            .mark_rule(color=theme.LIMIT_COLOUR, strokeDash=[4, 3])
            .encode(x="at:T")
        )
        finding += " The dashed line is the last change of the routing."
    return Picture(theme.svg(alt.layer(*layers)), finding)
