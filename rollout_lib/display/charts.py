"""Charts: one question each, and the caption is the finding.

Each takes the rollout's checkpoints (oldest first) and the plan, and returns a
Picture. Times are the rollout's own; a missed check is a mark and a gap, never a joined line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import altair as alt

from rollout_lib.display import drawing, theme, words
from rollout_lib.display import history as past
from rollout_lib.display.drawing import Frame, Rows, frame, y_axis
from rollout_lib.display.history import History, clock, is_look, looks, monitors
from rollout_lib.display.missing import still_missing
from rollout_lib.display.ribbon import timeline, uptime
from rollout_lib.display.theme import Picture, enable
from rollout_lib.evidence import rate_interval
from rollout_lib.judgement.counting import told
from rollout_lib.judgement.explain import bound
from rollout_lib.model import LEGACY, TOTAL, UNIFIED
from rollout_lib.plan import Plan
from rollout_lib.text import evidence_value

__all__ = [
    "enable",
    "error_rate",
    "evidence",
    "interval",
    "p95",
    "p95_by_domain",
    "requests",
    "split",
    "still_missing",
    "timeline",
    "uptime",
]
_NOTHING = "No check has been recorded yet."
_HIGHEST_RATE = 12.0  # %; a band above it says no more


def error_rate(history: History, plan: Plan) -> Picture:
    """Unified's error rate of each check's window, its always-valid interval, and the runbook's
    limits.
    """
    shared = frame(history, plan)
    rows = [
        _with_rate(row, row["errors"], row["requests"]) for row in past.totals(history, shared.gaps)
    ]
    if not rows:
        return Picture("", _NOTHING)
    limit = float(plan.thresholds.error_rate_rollback_pct)
    seen = [row for row in rows if row["rate"] is not None]
    highest = max(seen, key=lambda row: row["rate"], default=None)
    webhooks = sum(told(look, f"errors:{TOTAL}").bad for _, _, look in looks(history))
    if highest is None or not highest["rate"]:
        finding = f"No unified request failed in the window of any of the {len(rows)} checks."
    else:
        over = sum(row["rate"] > limit for row in seen)
        finding = (
            f"The error rate of the window was over {limit:g} % in {over} of {len(rows)} checks;"
            " highest "
        )
        finding += (
            f"{words.rate(highest['errors'], highest['requests'])} at"
            f" {clock(highest['at'], plan, history)}; "
        )
        finding += f"{_counted(webhooks, 'failing webhook')} in all."
    return _rates(rows, "unified error rate, %", shared, plan, finding)


def interval(history: History, plan: Plan) -> Picture:
    """Unified's error rate over the phase so far, with its always-valid interval closing in."""
    shared = frame(history, plan)
    rows, bad, total, began = [], 0, 0, None
    for run, phase, look in looks(history):
        if phase.began_at != began:
            bad, total, began = 0, 0, phase.began_at
        counts = told(look, f"errors:{TOTAL}")
        bad, total = bad + counts.bad, total + counts.total
        rows.append(_with_rate({"at": run.at, "phase": phase.began_at.isoformat()}, bad, total))
    if not rows:
        return Picture("", _NOTHING)
    rows = list(past.parted(iter(rows), shared.gaps))
    if not total:
        return _rates(
            rows,
            "error rate of the phase, %",
            shared,
            plan,
            "No unified request in this phase yet.",
        )
    last = rows[-1]
    limits = plan.thresholds
    reach = bound(bad, total, (limits.error_rate_rollback_pct, limits.error_rate_investigate_pct))
    finding = (
        f"{bad:,} of {total:,} requests of the phase to {clock(last['at'], plan, history)} failed: "
    )
    finding += f"the true rate is below {reach} (95 % sure)."
    return _rates(rows, "error rate of the phase, %", shared, plan, finding)


def p95(history: History, plan: Plan) -> Picture:
    """Unified's p95 of each check's window against the runbook's limits."""
    shared = frame(history, plan)
    rows = past.totals(history, shared.gaps)
    seen = [row for row in rows if row["p95_ms"] is not None]
    if not seen:
        return Picture("", "No latency of unified has been seen yet.")
    limit, limit_act = plan.thresholds.p95_investigate_ms, plan.thresholds.p95_rollback_ms
    worst = max(seen, key=lambda row: row["p95_ms"])
    over = sum(row["p95_ms"] >= limit for row in seen)
    kept = f"was {limit:,} ms or more in {over} of {len(seen)} checks"
    if not over:
        kept = f"stayed under {limit:,} ms in all {len(seen)} checks"
    finding = (
        f"p95 {kept}; highest {worst['p95_ms']:,.0f} ms at {clock(worst['at'], plan, history)}."
    )
    y = y_axis("unified p95, ms", max(worst["p95_ms"], limit_act) * 1.08)
    lines = [(limit, f"investigate {limit:,} ms"), (limit_act, f"roll back {limit_act:,} ms")]
    return drawing.finished(
        [
            *drawing.marks(shared),
            *drawing.limits(lines, shared, y),
            *drawing.line(rows, "p95_ms", y, shared),
        ],
        finding,
    )


def p95_by_domain(history: History, plan: Plan) -> Picture:
    """The p95 of unified and legacy in each domain: small multiples of one scale."""
    shared = frame(history, plan)
    records = [
        {
            "at": run.at,
            "phase": phase.began_at.isoformat(),
            "p95": row["p95_ms"],
            "to": row["routed_to"],
            "domain": row["domain"],
        }
        for run, phase in monitors(history)
        for row in run.figures["rows"]
        if row["domain"] in plan.domains and row["p95_ms"] is not None
    ]
    unified = [record for record in records if record["to"] == UNIFIED]
    if not unified:
        return Picture("", "No domain has a latency of unified yet.")
    worst = max(unified, key=lambda record: record["p95"])
    finding = (
        f"{worst['domain'].capitalize()} was slowest on unified: p95 {worst['p95']:,.0f} ms at "
    )
    finding += f"{clock(worst['at'], plan, history)}."
    limit = plan.thresholds.p95_investigate_ms
    top = max([record["p95"] for record in records] + [limit]) * 1.08
    panels = [
        _domain_panel(
            [record for record in records if record["domain"] == name],
            name,
            top,
            limit,
            shared,
            first=number % 3 == 0,
        )
        for number, name in enumerate(plan.domains)
    ]
    return Picture(theme.svg(alt.concat(*panels, columns=3, spacing=14), margin=8), finding)


def _domain_panel(
    records: Sequence[dict[str, Any]],
    name: str,
    top: float,
    limit: int,
    shared: Frame,
    *,
    first: bool,
) -> alt.LayerChart | alt.FacetChart:
    axis = alt.Axis(tickCount=4) if first else alt.Axis(tickCount=4, labels=False)
    title, scale = "p95, ms" if first else None, alt.Scale(domain=[0, top])
    colour = alt.Color(
        "to:N",
        scale=alt.Scale(
            domain=[UNIFIED, LEGACY], range=[theme.UNIFIED_COLOUR, theme.LEGACY_COLOUR]
        ),
    )
    dash = alt.StrokeDash("to:N", scale=alt.Scale(domain=[UNIFIED, LEGACY], range=[[1, 0], [4, 3]]))
    rows = [
        row
        for to in (LEGACY, UNIFIED)
        for row in past.parted(iter([item for item in records if item["to"] == to]), shared.gaps)
    ]
    drawn = alt.Chart(drawing.values(rows, shared)).mark_line(strokeWidth=1.8)
    rule = alt.Chart(alt.Data(values=[{"v": limit}])).mark_rule(
        color=theme.LIMIT_COLOUR, strokeDash=[5, 4]
    )
    return alt.layer(
        rule.encode(y=alt.Y("v:Q", title=title, axis=axis, scale=scale)),
        drawn.encode(
            x=shared.x(ticks=4),
            y=alt.Y("p95:Q", title=title, axis=axis, scale=scale),
            color=colour,
            strokeDash=dash,
            detail=alt.Detail("part:N"),
        ),
    ).properties(width=190, height=150, title=name)


def split(history: History, plan: Plan) -> Picture:
    """Unified's share of the window against the configured share, with the tolerance as a band."""
    shared, tolerance = frame(history, plan), float(plan.thresholds.split_tolerance_points)
    rows = [
        row | {"low": max(row["configured"] - tolerance, 0), "high": row["configured"] + tolerance}
        for row in past.totals(history, shared.gaps)
    ]
    judged = [row for row in rows if row["share_pct"] is not None and row["configured"]]
    if not judged:
        return Picture("", "No share can be drawn yet: no request, or nothing configured.")
    away = [row for row in judged if abs(row["share_pct"] - row["configured"]) > tolerance]
    finding = f"Unified's share was within {tolerance:g} points of the configured one in "
    finding += (
        f"{'all' if not away else len(judged) - len(away)} {'' if not away else 'of '}{len(judged)}"
        " checks"
    )
    last = judged[-1]
    finding += f"; last {last['share_pct']:.1f} % (configured {last['configured']:g} %)."
    y = y_axis(
        "share of unified, %", max(max(row["share_pct"], row["high"]) for row in judged) * 1.25
    )
    wanted = alt.Chart(drawing.values(rows, shared)).mark_line(
        color=theme.INK, opacity=0.7, strokeDash=[5, 4]
    )
    wanted = wanted.encode(x=shared.x(), y=y("configured"), detail=alt.Detail("part:N"))
    end = alt.Chart(drawing.values([last | {"w": f"configured {last['configured']:g} %"}], shared))
    end = end.mark_text(align="left", dx=6, opacity=0.8)
    end = end.encode(x=shared.x(), y=y("configured"), text=alt.Text("w:N"))
    layers = [drawing.band(rows, "low", "high", y, shared), wanted, end, *drawing.marks(shared)]
    return drawing.finished([*layers, *drawing.line(rows, "share_pct", y, shared)], finding)


def requests(history: History, plan: Plan) -> Picture:
    """How many unified requests each look brought, beside what the plan expects of it."""
    shared, per_hour = frame(history, plan), sum(plan.expected_requests_per_hour.values())
    rows: list[dict[str, Any]] = []
    for run, _, look in looks(history):
        start, end = look.window.start, look.window.end
        share = float(run.config.percentage) / 100 if run.config else 0.0
        rows.append(
            {
                "at": end,
                "x0": past.wall(start, plan),
                "zero": 0,
                "n": look.errors[TOTAL].total,
                "expected": per_hour * share * (end - start).total_seconds() / 3600,
            }
        )
    if not rows:
        return Picture("", _NOTHING)
    counts = [row["n"] for row in rows]
    finding = (
        f"{sum(counts):,} unified requests in {_counted(len(rows), 'look')}: {min(counts):,} to "
    )
    finding += (
        f"{max(counts):,} a look, {sum(row['expected'] for row in rows):,.0f} expected in all."
    )
    top = max([row["expected"] for row in rows] + counts + [1]) * 1.15
    y = y_axis("unified requests a look", top)
    data = alt.Chart(drawing.values(rows, shared))
    x = shared.x()
    bars = data.mark_rect(color=theme.UNIFIED_COLOUR, opacity=0.75, stroke="#fff", strokeWidth=0.6)
    ticks = data.mark_rule(color=theme.INK, strokeDash=[4, 3], strokeWidth=1.4)
    at = y("expected")
    end = alt.Chart(drawing.values([rows[-1] | {"w": "expected"}], shared)).mark_text(
        align="left", dx=8, opacity=0.8
    )
    return drawing.finished(
        [
            bars.encode(x=x, x2=alt.X2("x0"), y=y("n"), y2=alt.Y2("zero:Q")),
            ticks.encode(x=x, x2=alt.X2("x0"), y=at),
            end.encode(x=x, y=at, text=alt.Text("w:N")),
            *drawing.marks(shared, height=52),
        ],
        finding,
    )


def evidence(history: History, plan: Plan, stream: str = "") -> Picture:
    """The e-value of a stream over the looks with its hold and act lines, and the moment it acts.

    stream: "errors:total", "latency:jobs", "router"; "" is the one that came closest to its act
    line."""
    shared = frame(history, plan)
    found = [
        (run, phase, item)
        for run, phase in monitors(history)
        for item in (run.verdict.streams if run.verdict else ())
    ]
    if not stream and found:
        nearest = max(
            found,
            key=lambda one: (one[2].e_now - one[2].act_at, TOTAL in one[2].stream),
        )
        stream = nearest[2].stream
    mine = [one for one in found if one[2].stream == stream]
    if not mine:
        return Picture("", f"No evidence on {stream or 'any stream'} yet.")
    rows: list[dict[str, Any]] = [
        {
            "at": run.at,
            "phase": phase.began_at.isoformat(),
            "bad": (item.counted or item).bad,
            "look": is_look(run),
            "e": min(max(math.exp(min(item.e_now, 20)), 0.01), 1e6),
            "log": item.e_now,
        }
        for run, phase, item in mine
    ]
    hold, act = (math.exp(line) for line in (mine[-1][2].hold_at, mine[-1][2].act_at))
    peak = max(rows, key=lambda row: row["log"])
    acted = next(
        (row for row in rows if row["log"] >= math.log(act) - 1e-9 and row["bad"] >= 2), None
    )
    label = mine[-1][2].label
    finding = f"Highest evidence on {label}: {evidence_value(peak['log'])}, at "
    finding += f"{clock(peak['at'], plan, history)}; {act:.0f} acts."
    if acted:
        finding = f"Evidence on {label} reached {act:.0f} at {clock(acted['at'], plan, history)}: "
        finding += f"{evidence_value(acted['log'])}, of {acted['bad']} failing webhooks."
    elif peak["log"] >= math.log(act):
        finding += " A single webhook never acts."
    top = max(peak["e"] * 4, act * 4)
    ticks = [tick for tick in (0.01, 0.1, 1, 10, 100, 1000, 1e4, 1e5, 1e6) if tick <= top]
    y = y_axis(f"evidence on {label}", top, "log", ticks)
    lines = [(hold, f"hold {hold:.0f}"), (act, f"act {act:.0f}")]
    layers = [*drawing.marks(shared), *drawing.limits(lines, shared, y)]
    # An extra check sees a part of the next look: its e-value is no step of the line.
    steps = list(past.parted((row for row in rows if row["look"]), shared.gaps))
    layers += drawing.line(steps, "e", y, shared)
    layers += drawing.apart([row for row in rows if not row["look"]], "e", y, shared, "extra check")
    if acted:
        moment = alt.Chart(
            drawing.values([acted | {"w": f"acts {clock(acted['at'], plan, history)}"}], shared)
        )
        layers.append(
            moment.mark_circle(color=theme.LIMIT_COLOUR, size=90, opacity=1).encode(
                x=shared.x(), y=y("e")
            )
        )
        layers.append(
            moment.mark_text(
                align="right", dx=-9, dy=-9, fontWeight=600, color=theme.LIMIT_COLOUR
            ).encode(x=shared.x(), y=y("e"), text=alt.Text("w:N"))
        )
    return drawing.finished(layers, finding)


def _rates(rows: Rows, title: str, shared: Frame, plan: Plan, finding: str) -> Picture:
    """An error rate with its band: a square-root scale, so that 0.1 % and 0.5 % are apart beside 5
    %.
    """
    low, high = (
        float(value)
        for value in (
            plan.thresholds.error_rate_investigate_pct,
            plan.thresholds.error_rate_rollback_pct,
        )
    )
    bounds = sorted(row["high"] for row in rows if row["high"] is not None) or [0.0]
    rates = [row["rate"] for row in rows if row["rate"] is not None]
    widest = min(
        1.1 * bounds[int(0.8 * (len(bounds) - 1))], _HIGHEST_RATE
    )  # the first few looks are wider still
    top = max([1.3 * high, widest, *(1.2 * rate for rate in rates)])
    ticks = [tick for tick in (0, low, high, 1, 2, 5, 10, 20, 50, 100) if tick <= top]
    y = y_axis(f"{title} (√ scale)", top, "sqrt", ticks)
    lines = [(low, f"investigate {low:g} %"), (high, f"roll back {high:g} %")]
    return drawing.finished(
        [
            drawing.band(rows, "low", "high", y, shared),
            *drawing.marks(shared),
            *drawing.limits(lines, shared, y),
            *drawing.line(rows, "rate", y, shared),
        ],
        finding,
    )


def _with_rate(row: dict[str, Any], bad: int, total: int) -> dict[str, Any]:
    if not total:
        return row | {"rate": None, "low": None, "high": None}
    low, high = rate_interval(bad, total)
    return row | {"rate": 100 * bad / total, "low": 100 * low, "high": 100 * high}


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
