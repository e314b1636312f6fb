"""A post-mortem in Markdown, filled in from the ledger: what is known stands there, the rest is
asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from rollout_lib.display.words import BADGES
from rollout_lib.judgement.summary import PhaseSummary, Summary
from rollout_lib.model import Checkpoint, Place, State
from rollout_lib.redaction import redact
from rollout_lib.text import milliseconds, rate

_CALM = (State.CLEAN_UNPROVEN, State.CERTIFIED, State.QUIET, State.PASS)
_MARKS = str.maketrans({"|": "\\|", "<": "&lt;", "\n": " ", "`": "'", "[": "\\["})


def markdown(summary: Summary, ran: Sequence[Checkpoint], place: Place, now: datetime) -> str:
    """The text. ran: the rollout's runs, oldest first; every text of theirs is redacted, and cannot
    be markup.
    """
    zone = ZoneInfo(place.time_zone)
    folder = Path(__file__).parent / "templates"
    made = Environment(  # Markdown, not HTML: _plain takes out what could be either
        loader=FileSystemLoader(folder),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
    return made.get_template("postmortem.md.j2").render(
        s=summary,
        place=place,
        read=f"{now.astimezone(zone):%Y-%m-%d %H:%M %Z}",
        events=list(_events(ran, zone)),
        phases=[_phase(one, zone) for one in summary.phases],
        stated=[
            _plain(f"{one['at'][:16]} {one['who']}: {one['what']} {one['value']}: {one['reason']}")
            for one in summary.stated
        ],
    )


def _events(ran: Sequence[Checkpoint], zone: ZoneInfo) -> Iterator[str]:
    """What changed the routing, and each check that was not what the one before was."""
    before: State | None = None
    for run in ran:
        changed = run.change is not None and run.change.applied
        turned = run.operation in ("monitor", "evaluate") and run.state != before
        if run.operation in ("monitor", "evaluate"):
            before = run.state
        if not changed and not turned:
            continue
        if not changed and run.state in _CALM and run.operation == "monitor" and before is None:
            continue
        yield _plain(
            f"{run.at.astimezone(zone):%a %Y-%m-%d %H:%M} {run.operation} by {run.operator}:"
            f" {BADGES[run.state][1]}. {run.sentence}"
        )


def _phase(one: PhaseSummary, zone: ZoneInfo) -> list[str]:
    total = one.unified
    return [
        f"{one.percentage:g} %",
        f"{one.began_at.astimezone(zone):%a %H:%M}",
        f"{one.ended_at.astimezone(zone):%a %H:%M}" if one.ended_at else "runs",
        f"{one.checks} of {one.expected}",
        BADGES[one.worst][1] if one.worst else "–",
        BADGES[one.evaluation][1] if one.evaluation else "–",
        rate(total["errors"], total["requests"]) if total.get("requests") else "–",
        milliseconds(total.get("p95_ms")),
    ]


def _plain(text: str) -> str:
    return redact(text).translate(_MARKS)
