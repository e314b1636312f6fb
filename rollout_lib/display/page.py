"""A checkpoint as people read it: the bar, the answer first, then figures and checks. Escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from math import exp
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from markupsafe import Markup

from rollout_lib.display import words
from rollout_lib.display.answer import answer_of, badge_of, state_badge
from rollout_lib.display.templating import part, rendered
from rollout_lib.display.versus import difference_tiles
from rollout_lib.model import (
    TOTAL,
    Change,
    Check,
    CheckKind,
    Checkpoint,
    Outcome,
    Place,
    State,
    Verdict,
)
from rollout_lib.redaction import redact
from rollout_lib.text import both_times, evidence_value

# Worst first: what is wrong is read before what is well.
_OUTCOMES = {
    Outcome.FAIL: ("✗", "bad"),
    Outcome.COULD_NOT_LOOK: ("?", "soft"),
    Outcome.WARN: ("◔", "warn"),
    Outcome.PASS: ("✓", "good"),
    Outcome.NOT_APPLICABLE: ("–", "soft"),
}
_FOLDED = (Outcome.PASS, Outcome.NOT_APPLICABLE)
Row = tuple[Any, bool]  # a percentage and whether routing is enabled
Head = tuple[int, str]


class Html:
    """A piece of a page that a notebook shows; `text` is what a terminal would say."""

    def __init__(self, html: str, text: str = "") -> None:
        self.html, self.text = html, text

    def _repr_html_(self) -> str:
        return framed(self.html)

    def __repr__(self) -> str:
        return self.text or "(shown as HTML)"


@cache
def stylesheet() -> str:
    """The one stylesheet, as text."""
    return (Path(__file__).parent / "style.css").read_text(encoding="utf-8")


def framed(html: str) -> str:
    """A self-contained piece: the stylesheet and the content."""
    return f'<style>{stylesheet()}</style><div class="ro">{html}</div>'


def badge(state: State) -> str:
    """Sign, word and colour of a state."""
    return str(part("badge", state_badge(state)))


def header_line(place: Place, at: datetime, phase: str) -> str:
    """The first line of everything, as plain text."""
    when = both_times(at, place.time_zone)
    return f"{place} · {place.rollout} · {phase} · {when}"


def header(place: Place, at: datetime, phase: str) -> str:
    """The first line of everything, as HTML; production's bar is unmistakable."""
    first, *rest = header_line(place, at, phase).split(" · ")
    return str(part("bar", place.environment, first, rest))


def phase_words(checkpoint: Checkpoint) -> str:
    """`10 %`, from what is configured after the run."""
    change, config = checkpoint.change, checkpoint.config
    if change is not None and change.applied:
        return f"{change.after[0]:g} %" if change.after[1] else "routing off"
    if config is None:
        return "configuration unreadable"
    return f"{config.percentage:g} %" if config.enabled else "routing off"


def table(
    rows: Iterable[Sequence[Any]], columns: Sequence[str], marks: Mapping[int, str] | None = None
) -> str:
    """A table; a column whose name begins with `<` is left-aligned. marks: row number -> class."""
    heads = [{"name": name.removeprefix("<"), "left": name.startswith("<")} for name in columns]
    lines = [
        {"cells": list(row), "mark": (marks or {}).get(number, "")}
        for number, row in enumerate(rows)
    ]
    return str(part("table", heads, lines))


def checks_table(checks: Sequence[Check], said: str = "") -> str:
    """Named checks, the worst first: outcome, observed, limit, and the reason with its figures.

    said: the sentence above the table; a reason that stands in it is not said again.
    """
    rows = []
    for check in sorted(checks, key=lambda check: list(_OUTCOMES).index(check.outcome)):
        sign, look = _OUTCOMES[check.outcome]
        mark = Markup('<span class="ro-{} ro-mark">{} {}</span>').format(
            look, sign, check.outcome.value
        )
        mend = f" Mend: {check.mend}" if check.mend and check.outcome is not Outcome.PASS else ""
        again = check.reason == check.observed or _is_said(check.reason, said)
        reason = "" if again else redact(check.reason)
        rows.append((mark, check.label, redact(check.observed), check.limit, reason + mend))
    return table(rows, ["<outcome", "<check", "<observed", "<limit", "<reason"])


def _is_said(reason: str, sentence: str) -> bool:
    return bool(reason) and reason.rstrip(".") in sentence


def _differ(verdict: Verdict, sentence: str) -> str:
    """Why the columns differ, without the arithmetic that the sentence above has already."""
    why, colon, arithmetic = (verdict.differ or "").partition(": ")
    said = why if colon and _is_said(arithmetic, sentence) else verdict.differ
    return redact(said) if said else ""


def checks_summary(checks: Sequence[Check]) -> str:
    """`19 pass, none fails, 2 not asked: rows of taxi, drift.`"""
    named = {
        outcome: [check.label for check in checks if check.outcome is outcome]
        for outcome in Outcome
    }
    failing = len(named[Outcome.FAIL])
    said = [f"{len(named[Outcome.PASS])} pass"]
    said.append(f"{failing} {'fails' if failing == 1 else 'fail'}" if failing else "none fails")
    for outcome, word in ((Outcome.WARN, "to look at"), (Outcome.COULD_NOT_LOOK, "not seen")):
        if named[outcome]:
            said.append(f"{len(named[outcome])} {word}")
    unasked = named[Outcome.NOT_APPLICABLE]
    if unasked:
        said.append(f"{len(unasked)} not asked: {', '.join(unasked)}")
    return f"{', '.join(said)}."


def checks_part(checks: Sequence[Check], said: str = "") -> str:
    """What is wrong as a table, in front of it one line for all, the passes folded."""
    wrong = [check for check in checks if check.outcome not in _FOLDED]
    rest = [check for check in checks if check.outcome in _FOLDED]
    html = rendered(
        "checks",
        summary=checks_summary(checks),
        wrong=Markup(checks_table(wrong, said)) if wrong else "",
        rest=Markup(checks_table(rest, said)) if rest else "",
    )
    return str(html)


def traffic_table(rows: Sequence[Mapping[str, Any]], p95_limit: float | None = None) -> str:
    """Domain rows, the total last and heavier; the worst unified row marked."""
    shown, marks, worst = [], {}, (0.0, -1)
    for number, row in enumerate(rows):
        total = row["domain"] == TOTAL
        if total:
            marks[number] = "total"
        bad = row["errors"] / row["requests"] if row["requests"] else 0.0
        slow = (row["p95_ms"] or 0) / p95_limit if p95_limit else 0.0
        if row["routed_to"] == "unified" and not total and (bad > worst[0] or slow >= 1):
            worst = (bad, number)
        times = (row[name] for name in ("avg_ms", "p50_ms", "p95_ms", "p99_ms"))
        counts = (
            words.count(row["requests"]),
            words.share(row["share_pct"]),
            words.rate(row["errors"], row["requests"]),
        )
        shown.append((row["domain"], row["routed_to"], *counts, *map(words.milliseconds, times)))
    if worst[1] >= 0:
        marks[worst[1]] = "worst"
    columns = ["<domain", "<to", "requests", "share", "errors"]
    return table(shown, [*columns, "avg ms", "p50 ms", "p95 ms", "p99 ms"], marks)


def answer(state: State, sentence: str, verdict: Verdict | None = None) -> str:
    """The badge of a state and one sentence; with a verdict both columns, and why they differ."""
    value = {
        "badge": state_badge(state),
        "sentence": redact(sentence),
        "routing": "",
        "step": "",
        "command": "",
    }
    html = part("answer", value)
    if verdict is None or not verdict.streams:
        return str(html)
    two = part("columns", _columns(verdict, sentence), _differ(verdict, sentence))
    return str(html + two + difference_tiles(verdict.differences))


def checkpoint_card(checkpoint: Checkpoint, head: Head | None, *, bar: bool = True) -> str:
    """A whole checkpoint: the bar, the answer and what to do next, then change, figures, checks."""
    verdict, change = checkpoint.verdict, checkpoint.change
    top = header(checkpoint.place, checkpoint.at, phase_words(checkpoint)) if bar else ""
    rows = checkpoint.figures.get("phase") or checkpoint.figures.get("rows")
    html = rendered(
        "card",
        bar=Markup(top),
        answer=answer_of(checkpoint),
        two=_columns(verdict, checkpoint.sentence)
        if verdict is not None and verdict.streams
        else (),
        differ=_differ(verdict, checkpoint.sentence) if verdict is not None else "",
        versus=difference_tiles(verdict.differences) if verdict is not None else "",
        change=_change(change) if change is not None else "",
        figures=Markup(traffic_table(rows)) if rows else "",
        span=_span(checkpoint),
        checks=Markup(checks_part(verdict.checks, checkpoint.sentence))
        if verdict is not None and verdict.checks
        else "",
        note=f"{checkpoint.operation} · {_where(head)} · by {redact(checkpoint.operator)} · exit"
        f" {checkpoint.exit_code}",
    )
    return framed(html)


def _where(head: Head | None) -> str:
    return f"ledger #{head[0]}:{head[1][:16]}" if head else "not on the ledger"


def _columns(verdict: Verdict, sentence: str) -> list[dict[str, Any]]:
    """Literal and evidence side by side, each with what it may do."""
    found = []
    for name, state, why in (
        ("literal", verdict.literal, _literal_words(verdict, sentence)),
        ("evidence", verdict.evidence, _evidence_words(verdict)),
    ):
        decides = (verdict.mode == "strict") == (name == "literal")
        note = "alone can act" if decides else "can ask to look"
        found.append({"name": name, "note": note, "badge": state_badge(state), "why": redact(why)})
    return found


_THRESHOLDS = (CheckKind.SPLIT, CheckKind.ERRORS, CheckKind.LATENCY, CheckKind.ROUTER)


def _literal_words(verdict: Verdict, sentence: str) -> str:
    """The threshold that decided the literal column, or that all of them are kept."""
    judged = [check for check in verdict.checks if check.kind in _THRESHOLDS]
    crossed = [check for check in judged if check.outcome in (Outcome.FAIL, Outcome.WARN)]
    known = (Outcome.PASS, Outcome.FAIL, Outcome.WARN)
    unknown = [check for check in judged if check.outcome not in known]
    if not judged:
        return "No threshold was judged."
    if not crossed and not unknown:
        return f"All {len(judged)} thresholds are kept in the last window."
    worst = min(crossed or unknown, key=lambda check: list(_OUTCOMES).index(check.outcome))
    counts = [f"{len(crossed)} crossed"] if crossed else []
    counts += [f"{len(unknown)} could not be judged"] if unknown else []
    several = len(crossed) + len(unknown) > 1
    more = f" (of {len(judged)} thresholds {', '.join(counts)})" if several else ""
    said = _is_said(worst.reason, sentence) and worst.observed and worst.limit
    why = f"{worst.observed}, limit {worst.limit}" if said else worst.reason
    return f"{worst.label}: {why}{more}"


def _evidence_words(verdict: Verdict) -> str:
    """The stream that is nearest to its act line, its evidence beside the lines it is held to."""
    top = max(verdict.streams, key=lambda item: (item.e_peak - item.act_at, item.total))
    lines = f"holds at {exp(top.hold_at):.0f}, acts at {exp(top.act_at):.0f}"
    return (
        f"{top.label}: {top.bad:,} of {top.total:,} in the phase, evidence {evidence_value(top.e_now)},"
        f" at most {evidence_value(top.e_peak)} ({lines})"
    )


def _span(checkpoint: Checkpoint) -> str:
    """Of which time the figures are: a window ends at the lag, begins at the last change or later."""
    window = checkpoint.figures.get("window")
    if checkpoint.figures.get("phase"):
        return "Figures of the whole phase"
    if not window:
        return ""
    zone = ZoneInfo(checkpoint.place.time_zone)
    start, end = (datetime.fromisoformat(window[key]).astimezone(zone) for key in ("start", "end"))
    return f"Figures from {start:%H:%M:%S} to {end:%H:%M:%S %Z}"


def _change(change: Change) -> Markup:
    rows = [("before", *_row(change.before)), ("asked", *_row(change.asked))]
    rows.append(("now", *_row(change.after)))
    return rendered(
        "change",
        rows=Markup(table(rows, ["<", "percentage", "<routing"])),
        unmet=[gate for gate in change.gates if not gate.met],
        met=[gate for gate in change.gates if gate.met],
        detail=redact(change.detail) if change.detail else "",
    )


def _row(row: Row) -> tuple[str, str]:
    return f"{row[0]:g} %", "on" if row[1] else "off"


def _findings(checks: Sequence[Check]) -> list[str]:
    """Each check that is not well, the worst first, with its mend on a line of its own."""
    lines = []
    for check in sorted(checks, key=lambda check: list(_OUTCOMES).index(check.outcome)):
        if check.outcome in _FOLDED:
            continue
        lines.append(f"  {_OUTCOMES[check.outcome][0]} {check.label}: {redact(check.reason)}")
        if check.mend:
            lines.append(f"    mend: {check.mend}")
    return lines


def checkpoint_text(checkpoint: Checkpoint, head: Head | None) -> str:
    """The same answer for a terminal or a log, in the same order as a page."""
    found, shown = answer_of(checkpoint), badge_of(checkpoint)
    lines = [
        header_line(checkpoint.place, checkpoint.at, phase_words(checkpoint)),
        f"{shown.sign} {shown.word}  {found.sentence}",
        f"{found.routing}.",
    ]
    change = checkpoint.change
    if change is not None:
        lines += [f"  ✗ {gate.name}: {gate.reason}" for gate in change.gates if not gate.met]
    verdict = checkpoint.verdict
    if verdict is not None and verdict.streams:
        literal, evidence = (state_badge(item).word for item in (verdict.literal, verdict.evidence))
        lines.append(f"literal {literal} · evidence {evidence} · mode {verdict.mode}")
        if verdict.differ:
            lines.append(f"They differ because {_differ(verdict, checkpoint.sentence)}.")
    if verdict is not None and checkpoint.operation in ("preflight", "evaluate"):
        lines += _findings(verdict.checks)
    lines.append(_where(head))
    if found.step:
        lines += [f"Next: {found.step}", *([found.command] if found.command else [])]
    return "\n".join(lines)
