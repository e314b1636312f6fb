"""The view as HTML, piece by piece, in the one look; every text from outside is escaped."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from html import escape
from pathlib import Path
from zoneinfo import ZoneInfo

from markupsafe import Markup

from rollout_lib.control_room.acting import Said
from rollout_lib.control_room.offers import VALID, Offer, road_of
from rollout_lib.control_room.view import Step, View
from rollout_lib.display import charts, table
from rollout_lib.display.page import answer, badge, checks_table, traffic_table
from rollout_lib.display.words import BADGES
from rollout_lib.model import Outcome, Place
from rollout_lib.notebook import error_rows
from rollout_lib.plan import Plan
from rollout_lib.redaction import redact
from rollout_lib.text import both_times

ENVIRONMENTS = {
    "production": "Live traffic. What you press here reaches customers.",
    "staging": "Not production, and real requests all the same.",
    "rehearsal": "Nothing here is live: break it as you like.",
}


def banner(place: Place) -> str:
    """Where this is, in word and colour that nobody can mistake: only what stays true whatever
    happens.
    """
    parts = (place.host, place.database, place.rollout, ENVIRONMENTS[place.environment])
    return (
        '<div class="cr-env'
        f' {escape(place.environment)}"><b>{escape(place.environment.upper())}</b>'
        f"{''.join(f'<span>{escape(part)}</span>' for part in parts)}</div>"
    )


def heartbeat(view: View | None, away: str, away_since: datetime | None, stale_after: float) -> str:
    """Is what is shown of now? Once no new beat comes, the browser itself greys everything below,
    kernel or not.
    """
    if away:
        since = f"{away_since:%H:%M:%S} UTC" if away_since else "the beginning"
        shown = (
            f"What is greyed below is of {view.read_at:%H:%M:%S} UTC."
            if view
            else "Nothing was seen yet."
        )
        return (
            f'<div class="cr-beat cr-away" role="alert"><b>? NOT CURRENT since {since}.</b> {shown}'
            f'<pre>{_lines(away)}</pre></div><div class="cr-veil cr-now"></div>'
        )
    if view is None:
        return '<div class="cr-beat">◌ Looking for the first time …</div>'
    clock = " · a rehearsed day: its clock stands still there" if view.simulated else ""
    return (
        f'<div class="cr-beat">● Live: {both_times(view.at, view.place.time_zone)}{clock} · read at'
        f" {view.read_at:%H:%M:%S} UTC · ledger #{view.head[0]}:{view.head[1][:16]}</div><div"
        f' class="cr-veil" style="animation-delay:{stale_after:.0f}s"><b>? NOT CURRENT: nothing new'
        f" since {view.read_at:%H:%M:%S} UTC. Kernel, database or connection is away, or this"
        " page's login has expired; buttons may do nothing. Open the address that the lab prints"
        " anew. The emergency, from a terminal: <code>rollout rollback --emergency --reason"
        " '…'</code></b></div>"
    )


def routing_words(view: View) -> str:
    """`10 %`, or off."""
    if view.config is None:
        return "unknown"
    return f"{view.config.percentage:g} %" if view.config.enabled else "off"


def tiles(view: View) -> str:
    """Percentage and phase, the hold, the next check, who watches."""
    zone = ZoneInfo(view.place.time_zone)
    began = f" since {_clock(view.phase.began_at, view.at, zone)}" if view.phase else ""
    cells: list[tuple[str, ...]] = [
        ("Routing to unified", routing_words(view), view.phase_words + began)
    ]
    if view.hold is None:
        cells.append(("Hold", "–", "no hold runs"))
    else:
        until, share = view.hold
        left = until - view.at
        words = f"{span(left)} left" if left > timedelta(0) else "served ✓"
        bar = f'<div class="cr-bar"><div style="width:{100 * share:.0f}%"></div></div>'
        cells.append(
            (
                "Hold",
                words,
                f"{100 * share:.0f} % served, until {_clock(until, view.at, zone)}",
                bar,
            )
        )
    cells.append(_check_tile(view, zone))
    cells.append(_watch_tile(view, zone))
    return f'<div class="cr-tiles">{"".join(_tile(*cell) for cell in cells)}</div>'


def road(view: View, plan: Plan) -> str:
    """What stays on top until it is acknowledged; the phases, where the rollout is, and the steps to
    the next one.
    """
    zone = ZoneInfo(view.place.time_zone)
    cause = ""
    if view.owed is not None:
        cause = (
            f'<div class="cr-cause"><b>To acknowledge:</b> {escape(redact(view.owed[2]))}.</div>'
        )
    if view.config is None:
        return (
            f"{cause}<p>? The configuration cannot be read: where the rollout is is not known.</p>"
        )
    on = view.config.enabled and view.config.percentage > 0
    phases = []
    for index, phase in enumerate(plan.phases):
        words = f"{phase.percentage:g} %"
        if on and phase.percentage == view.config.percentage:
            words = f'<b aria-current="step">● {words}, here</b>'
        elif phase.percentage == view.up:
            words += f", planned {plan.begins(index).astimezone(zone):%a %d %b %H:%M}"
        phases.append(f"<li>{words}</li>")
    steps, found = [], False
    for step in road_of(view, plan.monitoring.evaluation_valid):
        now = not step.done and not found
        found = found or now
        words = f"{escape(step.words)}{' ✓' if step.done else ''}"
        steps.append(
            f'<li><b aria-current="step">▶ {words}</b></li>' if now else f"<li>{words}</li>"
        )
    ahead = f'<ol class="cr-road" aria-label="steps">{"".join(steps)}</ol>' if steps else ""
    last = "" if steps else "<p>No phase of the plan is above this percentage.</p>"
    return f'{cause}<ol class="cr-road" aria-label="phases">{"".join(phases)}</ol>{ahead}{last}'


def _tile(title: str, big: str, words: str, more: str = "") -> str:
    mind = ' class="cr-mind"' if big.startswith("!") else ""
    return f"<div{mind}><small>{title}</small><b>{escape(big)}</b>{more}<span>{escape(words)}</span></div>"


def _check_tile(view: View, zone: ZoneInfo) -> tuple[str, str, str]:
    last = "no check yet"
    if view.last is not None:
        last = f"last {_clock(view.last.at, view.at, zone)}: "
        last += BADGES[view.last.state][1]
    if view.late is not None:
        return "Next check", "! overdue", f"by {span(view.late)}; {last}"
    return (
        "Next check",
        f"in {span(view.next_check - view.at)}",
        f"{view.next_check.astimezone(zone):%H:%M}; {last}",
    )


def _watch_tile(view: View, zone: ZoneInfo) -> tuple[str, str, str]:
    if view.watcher is None:
        return "Watched by", "! nobody", "no watcher ever took this rollout: rollout watch"
    until = view.watcher.until.astimezone(zone)
    name = view.watcher.name.rsplit(":", 1)[0]
    if not view.watcher.runs:
        return "Watched by", "! nobody", f"{name} until {until:%a %H:%M:%S}; start: rollout watch"
    return "Watched by", name, f"since {view.watcher.taken_at.astimezone(zone):%a %H:%M}"


def verdict(view: View) -> str:
    """The verdict of now in both columns, what is not well, and what to do; then what was last
    recorded.
    """
    found = view.verdict
    unwell = [
        check
        for check in found.checks
        if check.outcome not in (Outcome.PASS, Outcome.NOT_APPLICABLE)
    ]
    html = answer(found.state, found.sentence, found)
    said_once = [check for check in unwell if check.reason not in found.sentence]
    html += checks_table(said_once) if said_once else ""
    html += (
        f'<div class="ro-soft">{len(found.checks) - len(unwell)} of {len(found.checks)} checks'
        " pass.</div>"
    )
    if found.next_step:
        html += f'<div class="ro-next">Next: <code>{escape(found.next_step)}</code></div>'
    if view.last is not None:
        at = both_times(view.last.at, view.place.time_zone)
        html += (
            f'<div class="cr-last"><small>Last recorded check, {at}:</small>'
            f" {badge(view.last.state)} "
        )
        same = view.last.state == found.state
        html += f"<span>{'' if same else escape(redact(view.last.sentence))}</span></div>"
    return html


def figures(view: View, plan: Plan) -> str:
    """Per domain and destination, and the errors with their counts."""
    zone = ZoneInfo(view.place.time_zone)
    start, end = (instant.astimezone(zone) for instant in view.window)
    html = f'<div class="ro-caption">Figures from {start:%H:%M} to {end:%H:%M:%S %Z}</div>'
    html += traffic_table(view.rows, plan.thresholds.p95_investigate_ms)
    html += '<div class="ro-caption">Errors of the last hour, all destinations</div>'
    if not view.errors:
        return html + '<div class="ro-soft">No request failed.</div>'
    return html + error_rows(view.errors, view.place.time_zone)


def trends(view: View, plan: Plan) -> str:
    """The recorded checks as charts; drawn again only when the ledger has grown."""
    if not any(run.operation == "monitor" for run in view.history):
        return (
            '<div class="ro-soft">No check is recorded yet: charts begin with the first one.</div>'
        )
    pictures = [
        draw(view.history, plan)
        for draw in (charts.timeline, charts.error_rate, charts.p95, charts.split, charts.requests)
    ]
    return (
        '<div class="cr-charts">'
        + "".join(
            "<figure><figcaption"
            f' class="ro-caption">{escape(picture.finding)}</figcaption>{picture.svg}</figure>'
            for picture in pictures
        )
        + "</div>"
    )


def timeline(view: View, link: Callable[[Path], str], outputs: Path) -> str:
    """The last checkpoints and statements, newest first, with what was archived of each."""
    zone = ZoneInfo(view.place.time_zone)
    rows = [
        (
            f"{step.at.astimezone(zone):%a %H:%M}" if step.at else "–",
            step.what,
            Markup(badge(step.state)) if step.state else "",
            redact(step.sentence),
            step.by,
            Markup(_records(step, link, outputs)),
        )
        for step in view.steps
    ]
    html = '<div class="ro-caption">Timeline, newest first</div>'
    if not rows:
        return html + '<div class="ro-soft">The ledger holds nothing of this rollout yet.</div>'
    index = link(outputs / "index.html")
    more = f' <a href="{escape(index)}" target="_blank">All records</a>' if index else ""
    columns = [
        f"<{view.at.astimezone(zone):%Z}",
        "<what",
        "<verdict",
        "<sentence",
        "<by",
        "<record",
    ]
    return (
        html
        + f'<div class="cr-steps">{table(rows, columns)}</div>'
        + f'<div class="ro-soft">The last {len(rows)} entries.{more}</div>'
    )


def _records(step: Step, link: Callable[[Path], str], outputs: Path) -> str:
    names = {".html": "page", ".ipynb": "notebook"}
    files = [
        (names[Path(file).suffix], link(outputs / file))
        for file in sorted(step.files)
        if Path(file).suffix in names
    ]
    shown = [
        f'<a href="{escape(address)}" target="_blank">{name}</a>' if address else name
        for name, address in files
    ]
    return " · ".join(shown) if shown else "–"


def offer(asked: Offer, environment_name: str, operator: str) -> str:
    """What is about to be done, for what it counts, and until when."""
    until = f"{asked.open_until:%H:%M:%S} UTC"
    gates = ""
    if asked.gates:
        met = sum(gate.met for gate in asked.gates)
        more = (
            ""
            if asked.may_be_confirmed
            else " Not offered: meet the others first (Attest, Evaluate, Acknowledge)."
        )
        rows = [
            (
                Markup(
                    '<span class="ro-good ro-mark">✓ met</span>'
                    if gate.met
                    else '<span class="ro-bad ro-mark">✗ not met</span>'
                ),
                gate.name,
                redact(gate.reason),
            )
            for gate in sorted(asked.gates, key=lambda gate: gate.met)
        ]
        gates = (
            f"<p><b>{met} of {len(asked.gates)} gates are met.</b>{more}</p>"
            f"{table(rows, ['<gate', '<name', '<reason'])}"
        )
    return (
        f'<div class="cr-ask {escape(environment_name)}"><b>{escape(environment_name.upper())}</b>'
        f' {escape(redact(asked.words))}{gates}<div class="ro-soft">Recorded as {escape(operator)}.'
        f" This counts until {until} ({VALID.seconds} s), then it is forgotten.</div></div>"
    )


def said(what: str, result: Said | None, at: datetime) -> str:
    """What became of the last press; None while it is being done."""
    head = f"{escape(what)}, {at:%H:%M:%S} UTC"
    if result is None:
        return f'<div class="cr-said" role="status">◌ {head} …</div>'
    sign, look = (
        ("✗", "bad") if not result.done else ("!", "warn") if result.mind else ("✓", "good")
    )
    lines = "".join(f"<div>{_lines(line)}</div>" for line in result.more)
    return (
        f'<div class="cr-said" role="status"><b class="ro-{look}">{sign} {head}:</b> '
        f"{_lines(result.text)}{lines}</div>"
    )


def _lines(text: str) -> str:
    """Escaped and redacted, a line for a line."""
    return "\n".join(escape(redact(line)) for line in text.splitlines())


def span(length: timedelta) -> str:
    """`2 h 40 min`, `7 min`, `< 1 min`."""
    minutes = int(abs(length.total_seconds()) // 60)
    hours, rest = divmod(minutes, 60)
    if not minutes:
        return "< 1 min"
    return f"{hours} h {rest:02d} min" if hours else f"{rest} min"


def _clock(at: datetime, now: datetime, zone: ZoneInfo) -> str:
    """The wall clock, with the day where it is not today's."""
    local = at.astimezone(zone)
    return f"{local:%H:%M}" if local.date() == now.astimezone(zone).date() else f"{local:%a %H:%M}"
