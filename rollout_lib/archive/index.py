"""outputs/index.html: days, phases, slots, verdicts, gaps and links to the twins. A view, rebuilt
by each run.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from rollout_lib.archive.history import Row, rows
from rollout_lib.archive.page import page
from rollout_lib.display.page import badge
from rollout_lib.display.words import BADGES, HATCHED
from rollout_lib.judgement.timeline import slots_of
from rollout_lib.model import STATES, State
from rollout_lib.plan import Plan
from rollout_lib.redaction import redact
from rollout_lib.text import both_times

NAME = "index.html"
_WELL = {state for state, code in STATES.items() if code == 0}
_Files = Mapping[str, Row]  # of each run, by its id, the row that names its files
_Routing = tuple[str, bool]  # percentage and enabled, as the record has them
_ROLES = ((".html", "page"), (".ipynb", "notebook"), (".json", "record"))


@dataclass(kw_only=True)
class _Stretch:
    """What happened while the routing stood at one value."""

    words: str
    began: datetime
    runs: bool = False  # does anything go to unified?
    ended: datetime | None = None
    rows: list[Row] = field(default_factory=list)
    gaps: list[datetime] = field(default_factory=list)


def rebuild(outputs: Path, plan: Plan | None = None) -> Path:
    """Write the index from the ledger's copies, whole or not at all; of two at once the later one
    stands.

    plan: whose slots are expected, for the gaps; other rollouts show the ones that the ledger says
    were missed."""
    outputs.mkdir(parents=True, exist_ok=True)
    with open(outputs / ".index.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        html = render(rows(outputs), plan)
        handle, part = tempfile.mkstemp(dir=outputs, prefix=".part-")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(html)
        os.chmod(part, 0o644)
        os.replace(part, outputs / NAME)
    return outputs / NAME


def render(found: Sequence[Row], plan: Plan | None) -> str:
    """The page of all chains and rollouts, the newest first."""
    readable = [row for row in found if row["kind"] not in ("unreadable", "other")]
    unreadable = len([row for row in found if row["kind"] == "unreadable"])
    parts = [
        f'<p class="bad">{unreadable} ledger entries cannot be read: <code>rollout'
        " verify</code>.</p>"
    ] * bool(unreadable)
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in readable:
        groups.setdefault((row["chain"], row["rollout"]), []).append(row)
    for (_, rollout), group in sorted(
        groups.items(), key=lambda item: item[1][-1]["at"], reverse=True
    ):
        parts.append(_rollout(rollout, sorted(group, key=lambda row: row["seq"]), plan))
    if not groups:
        parts.append("<p>Nothing has been archived here yet.</p>")
    return page("Rollout records", f'<div class="ro ix">{"".join(parts)}</div>')


def _rollout(rollout: str, group: list[Row], plan: Plan | None) -> str:
    runs = [row for row in group if row.get("state")]
    files = {row["run"]: row for row in group if row["kind"] == "files"}
    place = next((row["place"] for row in reversed(runs) if row["place"]["time_zone"]), None)
    zone = ZoneInfo(place["time_zone"] if place else "UTC")
    html = _top(rollout, runs, place, zone, files)
    stretches = _stretches(group, plan if plan and plan.rollout == rollout else None)
    pieces = [
        (day, stretch, list(of_day))
        for stretch in stretches
        for day, of_day in groupby(stretch.rows, key=lambda row: _at(row).astimezone(zone).date())
    ]
    for day, of_day in groupby(
        sorted(pieces, key=lambda piece: piece[0], reverse=True), key=lambda piece: piece[0]
    ):
        html += f"<h2>{day:%A} {day.day} {day:%B %Y}</h2>"
        for _, stretch, shown in of_day:
            html += _stretch(stretch, shown, zone, files)
    return html


def _top(
    rollout: str, runs: list[Row], place: Mapping[str, Any] | None, zone: ZoneInfo, files: _Files
) -> str:
    if not runs or place is None:
        return f'<div class="ro-bar"><b>{escape(rollout)}</b></div>'
    last = runs[-1]
    words = (place["host"], place["database"], rollout, f"as of {both_times(_at(last), zone.key)}")
    html = (
        '<div class="ro-bar'
        f' {escape(place["environment"])}"><b>{escape(place["environment"].upper())}</b>'
    )
    html += "".join(f"<span>{escape(str(word))}</span>" for word in words) + "</div>"
    html += f'<div class="ro-answer">{badge(State(last["state"]))}<span class="ro-sentence">'
    html += f"{escape(redact(last['sentence']))}</span>{_links(files.get(last['run']))}</div>"
    reports = [row for row in runs if row["operation"] == "report" and row["run"] in files]
    if reports:
        html += f"<p>Last report of the day: {_links(files[reports[-1]['run']])}</p>"
    return html


def _stretches(group: Sequence[Row], plan: Plan | None) -> list[_Stretch]:
    """The rows cut where the routing changed; what ended a stretch is the last row of it."""
    stretches: list[_Stretch] = []
    for row in group:
        if row["kind"] == "files" and not row["died"]:
            continue
        if not stretches:
            stretches.append(_Stretch(words="before the first change", began=_at(row)))
        after = row.get("after")
        judges = row.get("operation") in ("monitor", "evaluate")
        if after and not judges:
            stretches.append(_begin(after, row, stretches[-1]))
        stretches[-1].rows.append(row)
        if after and judges:
            stretches.append(_begin(after, row, stretches[-1]))
    done = {
        datetime.fromisoformat(row["slot"])
        for row in group
        if row["kind"] == "checkpoint" and row["operation"] == "monitor" and row.get("slot")
    }
    for stretch in stretches:
        until = stretch.ended or (_at(stretch.rows[-1]) if stretch.rows else stretch.began)
        if plan and stretch.runs:
            stretch.gaps = list(slots_of(stretch.began, until, done, plan).missed)
        else:
            stretch.gaps = [
                datetime.fromisoformat(row["slot"] or row["at"])
                for row in stretch.rows
                if row["kind"] == "missed"
            ]
    return [stretch for stretch in stretches if stretch.rows]


def _begin(after: _Routing, row: Row, before: _Stretch) -> _Stretch:
    before.ended = _at(row)
    percentage, enabled = float(after[0]), after[1]
    return _Stretch(
        words=f"{percentage:g} %" if enabled and percentage else "routing off",
        began=_at(row),
        runs=bool(enabled and percentage),
    )


def _stretch(stretch: _Stretch, shown: list[Row], zone: ZoneInfo, files: _Files) -> str:
    days = {_at(row).astimezone(zone).date() for row in shown}
    gaps = [gap for gap in stretch.gaps if gap.astimezone(zone).date() in days]
    checks = [
        row
        for row in shown
        if row["kind"] == "checkpoint" and row["operation"] == "monitor" and row["slot"]
    ]
    until = f"{stretch.ended.astimezone(zone):%H:%M}" if stretch.ended else "now"
    note = f"{stretch.began.astimezone(zone):%H:%M} to {until}"
    if checks or gaps:
        note += f" · {len(checks)} checks, " + (
            f'<span class="ro-bad">{len(gaps)} missed</span>' if gaps else "none missed"
        )
    html = f"<h3>{escape(stretch.words)} <small>· {note}</small></h3>"
    cells = [(datetime.fromisoformat(row["slot"]), _cell(row, zone, files)) for row in checks]
    cells += [
        (gap, f'<span class="gap"><b>✕</b>{gap.astimezone(zone):%H:%M}</span>') for gap in gaps
    ]
    if cells:
        html += f'<div class="strip">{"".join(cell for _, cell in sorted(cells))}</div>'
    told = [
        row
        for row in shown
        if row not in checks or State(row["state"]) not in _WELL or row["after"]
    ]
    return html + "".join(_line(row, zone, files) for row in told if row["kind"] != "missed")


def _cell(row: Row, zone: ZoneInfo, files: _Files) -> str:
    state = State(row["state"])
    sign, word, colour = BADGES[state]
    hatch = "ro-hatch" if state in HATCHED else ""
    at = f"{datetime.fromisoformat(row['slot']).astimezone(zone):%H:%M}"
    inner = f"<b>{sign}</b>{at}"
    look = (
        f'class="{hatch}" style="background-color:{colour}"'
        f' title="{escape(f"{at} {word}", quote=True)}"'
    )
    target = _path(files.get(row["run"]), ".html")
    return f'<a {look} href="{target}">{inner}</a>' if target else f"<span {look}>{inner}</span>"


def _line(row: Row, zone: ZoneInfo, files: _Files) -> str:
    if row["kind"] == "files":
        ended = "ended after its checkpoint" if row.get("decided") else "left no checkpoint"
        state, sentence = badge(State.COULD_NOT_LOOK), f"{row['operation']} {ended}: {row['died']}"
    else:
        state = (
            badge(State(row["state"]))
            if row.get("state")
            else '<span class="ro-soft">statement</span>'
        )
        extra = "" if row["kind"] == "checkpoint" else f" ({row['kind']})"
        named = f"{row['operation']}{extra}: " if row.get("state") else ""
        sentence = named + row["sentence"]
    links = _links(files.get(row["run"]) if row["kind"] != "files" else row)
    return (
        f'<div class="row"><time>{_at(row).astimezone(zone):%H:%M}</time>{state}'
        f"<p>{escape(redact(sentence))}</p>{links}</div>"
    )


def _links(row: Row | None) -> str:
    found = [(word, _path(row, ending)) for ending, word in _ROLES]
    links = " · ".join(f'<a href="{path}">{word}</a>' for word, path in found if path)
    return f'<span class="links">{links}</span>'


def _path(row: Row | None, ending: str) -> str:
    return next(
        (
            escape(path, quote=True)
            for path in (row or {}).get("files", ())
            if path.endswith(ending)
        ),
        "",
    )


def _at(row: Row) -> datetime:
    return datetime.fromisoformat(row["at"])
