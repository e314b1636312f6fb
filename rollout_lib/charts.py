"""Charts: one question each, the caption is the finding, thresholds drawn with their words. SVG, offline.

Each takes the bodies of the rollout's checkpoints (oldest first) and the plan, and returns a Picture.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from html import escape
from typing import Any

import altair as alt
import pandas as pd
import vl_convert

from rollout_lib.evidence import rate_interval
from rollout_lib.look.page import framed
from rollout_lib.model import TOTAL, UNIFIED
from rollout_lib.plan import Plan

UNIFIED_COLOUR, LEGACY_COLOUR, LIMIT_COLOUR = "#0072B2", "#8A8F98", "#B00020"
WIDTH, HEIGHT = 640, 220
Bodies = Sequence[Mapping[str, Any]]


class Picture:
    """A chart with its finding: SVG in a notebook and in its twin, the finding alone in a terminal."""

    def __init__(self, svg: str, finding: str) -> None:
        self.svg, self.finding = svg, finding

    def _repr_html_(self) -> str:
        caption = f'<div class="ro-caption">{escape(self.finding)}</div>'
        return framed(caption + self.svg)

    def __repr__(self) -> str:
        return self.finding


def enable() -> None:
    """Altair's own charts, where somebody makes one by hand, are SVG too: they show offline."""
    alt.renderers.enable("svg")


def error_rate(history: Bodies, plan: Plan) -> Picture:
    """Unified's error rate of each check's window with its always-valid interval and the runbook's limits."""
    rows = _rows(history, plan)
    for row in rows:
        low, high = rate_interval(row["errors"], row["requests"]) if row["requests"] else (None, None)
        row |= {"rate": _rate(row), "low": _pct(low), "high": _pct(high)}
    limits = plan.thresholds
    over = [row for row in rows if row["rate"] is not None and row["rate"] > float(limits.error_rate_rollback_pct)]
    errors = sum(look["errors"][TOTAL]["bad"] for look in _looks(history))
    finding = f"Over the roll-back line of {limits.error_rate_rollback_pct:g} % in {len(over)} of {len(rows)} checks"
    finding += f"; {errors:,} distinct failing webhooks in all." if errors else "; no unified request failed."
    top = max([row["rate"] or 0 for row in rows] + [1.2 * float(limits.error_rate_rollback_pct)])
    lines = [
        (float(limits.error_rate_investigate_pct), f"investigate {limits.error_rate_investigate_pct:g} %"),
        (float(limits.error_rate_rollback_pct), f"roll back {limits.error_rate_rollback_pct:g} %"),
    ]
    return _series(
        rows, "rate", "unified error rate, %", lines, history, plan, finding, top=top, band=("low", "high")
    )


def p95(history: Bodies, plan: Plan) -> Picture:
    """Unified's p95 of each check's window against the limits."""
    rows = _rows(history, plan)
    seen = [row for row in rows if row["p95_ms"] is not None]
    limit = plan.thresholds.p95_investigate_ms
    if not seen:
        finding = "No latency has been seen yet."
    else:
        worst = max(seen, key=lambda row: row["p95_ms"])
        over = sum(row["p95_ms"] >= limit for row in seen)
        kept = (
            f"stayed under {limit:,} ms in all {len(seen)} checks" if not over else f"was over {limit:,} ms in {over}"
        )
        finding = f"p95 {kept}; highest {worst['p95_ms']:,.0f} ms at {worst['at']:%H:%M} UTC."
    lines = [(limit, f"investigate {limit:,} ms"), (plan.thresholds.p95_rollback_ms,
                                                   f"roll back {plan.thresholds.p95_rollback_ms:,} ms")]  # fmt: skip
    top = max([row["p95_ms"] for row in seen] + [1.1 * plan.thresholds.p95_rollback_ms])
    return _series(rows, "p95_ms", "unified p95, ms", lines, history, plan, finding, top=top)


def p95_by_domain(history: Bodies, plan: Plan) -> Picture:
    """The p95 of unified and legacy per domain, as small multiples of one scale."""
    records = []
    for body in _monitors(history):
        for row in body["figures"]["rows"]:
            if row["domain"] != TOTAL and row["p95_ms"] is not None:
                records.append(
                    {"at": _at(body), "domain": row["domain"], "to": row["routed_to"], "p95": row["p95_ms"]}
                )
    unified = [record for record in records if record["to"] == UNIFIED]
    if not unified:
        return Picture("", "No domain has a latency of unified yet.")
    worst = max(unified, key=lambda record: record["p95"])
    finding = f"The slowest domain was {worst['domain']}: p95 {worst['p95']:,.0f} ms at {worst['at']:%H:%M} UTC."
    base = alt.Chart(_frame(records, plan)).encode(x=_x(plan))
    line = base.mark_line(strokeWidth=1.5, point=alt.OverlayMarkDef(size=12)).encode(
        y=alt.Y("p95:Q", title="p95, ms", scale=alt.Scale(zero=True)),
        color=alt.Color("to:N", title=None, scale=alt.Scale(domain=["unified", "legacy"],
                                                            range=[UNIFIED_COLOUR, LEGACY_COLOUR])),
        strokeDash=alt.StrokeDash("to:N", title=None),
    )  # fmt: skip
    limit = base.mark_rule(color=LIMIT_COLOUR, strokeDash=[4, 3]).encode(
        y=alt.datum(plan.thresholds.p95_investigate_ms)
    )
    chart = (line + limit).properties(width=200, height=150).facet(column=alt.Column("domain:N", title=None))
    return Picture(_svg(chart), finding)


def split(history: Bodies, plan: Plan) -> Picture:
    """Unified's share of the window against the configured share."""
    rows = _rows(history, plan)
    for row in rows:
        row["share"] = row["share_pct"]
    tolerance = float(plan.thresholds.split_tolerance_points)
    judged = [row for row in rows if row["share"] is not None and row["configured"]]
    away = [row for row in judged if abs(row["share"] - row["configured"]) > tolerance]
    finding = f"Unified's share was within {tolerance:g} points of the configured one in "
    finding += f"{len(judged) - len(away)} of {len(judged)} checks."
    configured = sorted({row["configured"] for row in judged})
    lines = [(value, f"configured {value:g} %") for value in configured]
    top = max([row["share"] or 0 for row in rows] + [2 * value for value in configured] + [5])
    return _series(rows, "share", "share of unified, %", lines, history, plan, finding, top=top)


def requests(history: Bodies, plan: Plan) -> Picture:
    """How much each check could see."""
    rows = _rows(history, plan)
    total = sum(look["errors"][TOTAL]["total"] for look in _looks(history))
    least = min((row["requests"] for row in rows), default=0)
    finding = f"{total:,} unified requests in all looks; the smallest window held {least:,}."
    top = max([row["requests"] for row in rows] + [1]) * 1.1
    return _series(rows, "requests", "unified requests in the window", [], history, plan, finding, top=top)


def evidence(history: Bodies, plan: Plan, stream: str = f"errors:{TOTAL}") -> Picture:
    """The e-value of a stream over the looks with the hold and act lines."""
    rows = []
    for body in _monitors(history):
        found = [item for item in (body.get("verdict") or {}).get("streams", []) if item["stream"] == stream]
        if found:
            rows.append({"at": _at(body), "gap": False, "e": math.exp(min(found[0]["e_now"], math.log(1e6))),
                         "act": math.exp(found[0]["act_at"])})  # fmt: skip
    if not rows:
        return Picture("", f"No evidence on {stream} yet.")
    act = rows[-1]["act"]
    crossed = [row for row in rows if row["e"] >= act]
    top = max(rows, key=lambda row: row["e"])
    finding = f"{stream}: evidence never reached {act:.0f}; highest {top['e']:.2g}."
    if crossed:
        finding = f"{stream}: evidence reached {act:.0f} at {crossed[0]['at']:%H:%M} UTC."
    lines = [(5, "hold 5"), (act, f"act {act:.0f}")]
    return _series(rows, "e", f"e-value, {stream}", lines, history, plan, finding, top=max(top["e"] * 2, 2 * act),
                   log=True)  # fmt: skip


def interval(history: Bodies, plan: Plan) -> Picture:
    """Unified's error rate over the phase so far, with its always-valid interval closing in."""
    rows, bad, total, began = [], 0, 0, None
    for body in _monitors(history):
        phase = (body.get("phase") or {}).get("began_at")
        if not body.get("look") or body["kind"] != "checkpoint":
            continue
        if phase != began:
            bad, total, began = 0, 0, phase
        counts = body["look"]["errors"][TOTAL]
        bad, total = bad + counts["bad"], total + counts["total"]
        low, high = rate_interval(bad, total) if total else (None, None)
        rows.append({"at": _at(body), "gap": False, "rate": 100 * bad / total if total else None,
                     "low": _pct(low), "high": _pct(high)})  # fmt: skip
    if not rows:
        return Picture("", "No look has been recorded yet.")
    last = rows[-1]
    finding = f"By the last look {bad:,} of {total:,} requests failed: any rate from "
    finding += f"{last['low'] or 0:.2f} % to {last['high'] or 100:.2f} % is compatible with that."
    limits = plan.thresholds
    lines = [(float(limits.error_rate_rollback_pct), f"roll back {limits.error_rate_rollback_pct:g} %")]
    return _series(rows, "rate", "error rate of the phase, %", lines, history, plan, finding, top=5,
                   band=("low", "high"))  # fmt: skip


def timeline(history: Bodies, plan: Plan) -> Picture:
    """The percentage over time, with the verdict of each check."""
    rows = []
    for body in history:
        config, change = body.get("config"), body.get("change")
        value = change["after"] if change and change["applied"] else None
        value = value or ([config["percentage"], config["enabled"]] if config else None)
        if value is not None:
            rows.append({"at": _at(body), "percentage": float(value[0]) if value[1] else 0.0, "state": body["state"]})
    if not rows:
        return Picture("", "Nothing has been recorded yet.")
    highest = max(row["percentage"] for row in rows)
    finding = f"Routing reached {highest:g} % and ended at {rows[-1]['percentage']:g} %."
    frame = _frame(rows, plan)
    y = alt.Y("percentage:Q", title="unified, %", scale=alt.Scale(domain=[0, max(highest * 1.25, 12)]))
    line = alt.Chart(frame).mark_line(interpolate="step-after", color=UNIFIED_COLOUR).encode(x=_x(plan), y=y)
    points = (
        alt.Chart(frame)
        .mark_point(filled=True, size=45, opacity=1)
        .encode(x=_x(plan), y=y, color=alt.Color("state:N", title=None), shape=alt.Shape("state:N", title=None))
    )
    return Picture(_svg((line + points).properties(width=WIDTH, height=HEIGHT)), finding)


def _series(rows, field, title, lines, history, plan, finding, *, top, band=None, log=False) -> Picture:
    """A line with a point a check, gaps left open and marked, limits dashed, changes as vertical rules."""
    if not rows:
        return Picture("", "No check has been recorded yet.")
    frame = _frame(_with_gaps(rows, field, plan), plan)
    scale = alt.Scale(type="log", domain=[0.05, top], clamp=True) if log else alt.Scale(domain=[0, top], clamp=True)
    y = alt.Y(f"{field}:Q", title=title, scale=scale, axis=alt.Axis(tickCount=5))
    layers = []
    if band:
        layers.append(alt.Chart(frame).mark_area(opacity=0.15, color=UNIFIED_COLOUR, clip=True).encode(
            x=_x(plan), y=alt.Y(f"{band[0]}:Q", title=title, scale=scale), y2=f"{band[1]}:Q"))  # fmt: skip
    layers.append(alt.Chart(frame).mark_line(color=UNIFIED_COLOUR, point=alt.OverlayMarkDef(size=22)).encode(
        x=_x(plan), y=y))  # fmt: skip
    end = max(row["at"] for row in rows)
    for value, words in lines:
        limit = pd.DataFrame([{field: value, "words": words, "at": _local(end, plan)}])
        layers.append(alt.Chart(limit).mark_rule(color=LIMIT_COLOUR, strokeDash=[5, 4]).encode(y=f"{field}:Q"))
        layers.append(alt.Chart(limit).mark_text(align="left", dx=6, dy=-6, color=LIMIT_COLOUR, fontSize=10).encode(
            x="at:T", y=f"{field}:Q", text="words:N"))  # fmt: skip
    changes = _changes(history, plan)
    if changes:
        rules = alt.Chart(pd.DataFrame(changes))
        layers.append(rules.mark_rule(color="#6B7280").encode(x="at:T"))
        layers.append(rules.mark_text(align="left", dx=3, dy=-HEIGHT / 2 + 8, fontSize=10, color="#6B7280").encode(
            x="at:T", y=alt.value(HEIGHT / 2), text="words:N"))  # fmt: skip
    missing = [row for row in _with_gaps(rows, field, plan) if row["gap"]]
    if missing:
        layers.append(alt.Chart(_frame(missing, plan)).mark_text(text="✕ missed", fontSize=10, color="#B84F00").encode(
            x=_x(plan), y=alt.value(HEIGHT - 8)))  # fmt: skip
    return Picture(_svg(alt.layer(*layers).properties(width=WIDTH, height=HEIGHT)), finding)


def _with_gaps(rows: list[dict], field: str, plan: Plan) -> list[dict]:
    """A row without a value where a slot is missing, so that the line is never joined across it."""
    step, filled = plan.monitoring.interval, []
    for row in rows:
        while filled and row["at"] - filled[-1]["at"] > 1.5 * step and len(filled) < 1000:
            filled.append({**dict.fromkeys(row), "at": filled[-1]["at"] + step, "gap": True})
        filled.append(row)
    return filled


def _rows(history: Bodies, plan: Plan) -> list[dict[str, Any]]:
    """The total of unified at each scheduled check."""
    rows = []
    for body in _monitors(history):
        config = body.get("config") or {}
        for row in body["figures"]["rows"]:
            if row["domain"] == TOTAL and row["routed_to"] == UNIFIED:
                rows.append({**row, "at": _at(body), "gap": False, "configured": float(config.get("percentage", 0))})
    return rows


def _monitors(history: Bodies) -> list[Mapping[str, Any]]:
    return [
        body
        for body in history
        if body.get("operation") == "monitor" and body.get("figures", {}).get("rows") and body.get("phase")
    ]


def _looks(history: Bodies) -> list[Mapping[str, Any]]:
    return [body["look"] for body in _monitors(history) if body.get("look") and body["kind"] == "checkpoint"]


def _changes(history: Bodies, plan: Plan) -> list[dict[str, Any]]:
    found = []
    for body in history:
        change = body.get("change")
        if change and change["applied"]:
            words = f"{float(change['after'][0]):g} %" if change["after"][1] else "off"
            found.append({"at": _local(_at(body), plan), "words": words})
    return found


def _at(body: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(body["at"])


def _local(at: datetime, plan: Plan) -> datetime:
    """The rollout's wall clock marked as UTC, so that axes do not follow this machine's time zone."""
    offset = at.astimezone(plan.zone).utcoffset() or timedelta(0)
    return pd.Timestamp(at).tz_convert("UTC") + offset


def _frame(rows: list[dict], plan: Plan) -> pd.DataFrame:
    return pd.DataFrame([{**row, "at": _local(row["at"], plan)} for row in rows])


def _x(plan: Plan) -> alt.X:
    axis = alt.Axis(format="%H:%M", tickCount=9, grid=False, labelOverlap=True)
    return alt.X("at:T", title=None, scale=alt.Scale(type="utc"), axis=axis)


def _rate(row: Mapping[str, Any]) -> float | None:
    return 100 * row["errors"] / row["requests"] if row["requests"] else None


def _pct(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _svg(chart: alt.TopLevelMixin) -> str:
    styled = chart.configure_view(stroke=None).configure_axis(
        labelFontSize=11, titleFontSize=11, titleFontWeight="normal", gridColor="#9993", domainColor="#999",
        labelColor="#777", titleColor="#777", tickColor="#999",
    ).configure(background="transparent", font="system-ui, sans-serif").configure_legend(
        labelColor="#777", orient="top")  # fmt: skip
    return vl_convert.vegalite_to_svg(styled.to_dict())
