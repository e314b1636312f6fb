"""What is still missing: how many requests, and at this traffic how long, until a limit can be
stated.
"""

from __future__ import annotations

from typing import Any

import altair as alt

from rollout_lib.display import theme
from rollout_lib.display.history import History, clock, looks
from rollout_lib.display.theme import Picture
from rollout_lib.evidence import required_total_anytime
from rollout_lib.judgement.counting import told
from rollout_lib.model import TOTAL
from rollout_lib.plan import Plan
from rollout_lib.text import hours, limit

_ROW = 40  # pixels


def still_missing(history: History, plan: Plan) -> Picture:
    """The phase's requests beside what `below the limit` takes at any look, with the failures seen
    so far.
    """
    seen = looks(history)
    if not seen:
        return Picture("", "No check has been recorded yet.")
    last, running, _ = seen[-1]
    mine = [look for _, phase, look in seen if phase.began_at == running.began_at]
    counts = [told(look, f"errors:{TOTAL}") for look in mine]
    bad, total = sum(one.bad for one in counts), sum(one.total for one in counts)
    if not total:
        return Picture("", "No unified request in this phase yet: everything is still missing.")
    start, end = mine[0].window.start, mine[-1].window.end
    per_hour = total / max((end - start).total_seconds() / 3600, 1e-9)
    rows: list[dict[str, Any]] = []
    for threshold in (
        plan.thresholds.error_rate_rollback_pct,
        plan.thresholds.error_rate_investigate_pct,
    ):
        needed = required_total_anytime(bad, float(threshold) / 100)
        more = max(needed - total, 0)
        words = f"{more:,} more ({hours(more / per_hour)})" if more else "can be stated"
        rows.append(
            {
                "limit": f"< {limit(threshold)}",
                "needed": needed,
                "n": min(total, needed),
                "w": words,
            }
        )
    parts = [f"{row['limit']}: {row['w']}" for row in rows]
    failing = f" after {bad:,} failing" if bad else ""
    finding = (
        f"{total:,} requests to {clock(last.at, plan, history)}{failing}, {per_hour:,.0f} an hour. "
    )
    finding += f"To state that the error rate is {'; '.join(parts)}."
    y = alt.Y(
        "limit:N",
        title=None,
        sort=[row["limit"] for row in rows],
        axis=alt.Axis(domain=False, ticks=False),
    )
    scale = alt.Scale(domain=[0, max(row["needed"] for row in rows)])
    title = "unified requests of the phase, none of them failing from here on"
    x = alt.X("needed:Q", title=title, scale=scale, axis=alt.Axis(tickCount=5, format=",d"))
    drawn = alt.Chart(alt.Data(values=rows))
    layers = [
        drawn.mark_bar(color=theme.LEGACY_COLOUR, opacity=0.3, height=18).encode(x=x, y=y),
        drawn.mark_bar(color=theme.UNIFIED_COLOUR, height=18).encode(
            x=alt.X("n:Q", scale=scale), y=y
        ),
        drawn.mark_text(align="left", dx=6).encode(x=x, y=y, text=alt.Text("w:N")),
    ]
    chart = alt.layer(*layers).properties(width=theme.WIDTH, height=_ROW * len(rows))
    return Picture(theme.svg(chart, margin=theme.MARGIN + 30), finding)
