"""Header, answer card and tables as HTML; every text escaped, one stylesheet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from html import escape
from math import exp
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from rollout_lib.display import words
from rollout_lib.model import TOTAL, Check, CheckKind, Checkpoint, Outcome, Place, State, Verdict
from rollout_lib.redaction import redact
from rollout_lib.text import both_times, e_value

# Worst first: what is wrong is read before what is well.
_OUTCOMES = {
    Outcome.FAIL: ("✗", "bad"),
    Outcome.COULD_NOT_LOOK: ("?", "soft"),
    Outcome.WARN: ("◔", "warn"),
    Outcome.PASS: ("✓", "good"),
    Outcome.NOT_APPLICABLE: ("–", "soft"),
}


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
    sign, word, colour = words.BADGES[state]
    hatch = " ro-hatch" if state in words.HATCHED else ""
    return f'<span class="ro-badge{hatch}" style="background-color:{colour}">{sign} {word}</span>'


def header_line(place: Place, at, phase: str) -> str:
    """The first line of everything, as plain text."""
    when = both_times(at, place.time_zone)
    return f"{place} · {place.rollout} · {phase} · {when}"


def header(place: Place, at, phase: str) -> str:
    """The first line of everything, as HTML; production's bar is unmistakable."""
    parts = header_line(place, at, phase).split(" · ")
    first, rest = parts[0], "".join(f"<span>{escape(part)}</span>" for part in parts[1:])
    return f'<div class="ro-bar {place.environment}"><b>{first}</b>{rest}</div>'


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
    """A table; a column whose name begins with `<` is left-aligned. marks: row
    number -> CSS class.
    """
    left = [name.startswith("<") for name in columns]
    head = "".join(
        f'<th class="{"l" if is_left else ""}">{escape(name.removeprefix("<"))}</th>'
        for name, is_left in zip(columns, left, strict=True)
    )
    body = ""
    for number, row in enumerate(rows):
        cells = "".join(
            f'<td class="{"l" if is_left else ""}">{value if isinstance(value, Raw) else escape(str(value))}</td>'
            for value, is_left in zip(row, left, strict=True)
        )
        body += f'<tr class="{(marks or {}).get(number, "")}">{cells}</tr>'
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


class Raw(str):
    """HTML that is ours, not to be escaped."""


def checks_table(checks: Sequence[Check]) -> str:
    """Named checks, the worst first: outcome, observed, limit, and the reason
    with its arithmetic.
    """
    rows = []
    for check in sorted(checks, key=lambda check: list(_OUTCOMES).index(check.outcome)):
        sign, look = _OUTCOMES[check.outcome]
        mark = Raw(f'<span class="ro-{look} ro-mark">{sign} {check.outcome.value}</span>')
        mend = f" Mend: {check.mend}" if check.mend and check.outcome is not Outcome.PASS else ""
        reason = "" if check.reason == check.observed else redact(check.reason)
        rows.append((mark, check.name, redact(check.observed), check.limit, reason + mend))
    return table(rows, ["<outcome", "<check", "<observed", "<limit", "<reason"])


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
        shown.append(
            (
                row["domain"],
                row["routed_to"],
                words.count(row["requests"]),
                words.share(row["share_pct"]),
                words.rate(row["errors"], row["requests"]),
                *(
                    words.milliseconds(row[name])
                    for name in ("avg_ms", "p50_ms", "p95_ms", "p99_ms")
                ),
            )
        )
    if worst[1] >= 0:
        marks[worst[1]] = "worst"
    columns = [
        "<domain",
        "<to",
        "requests",
        "share",
        "errors",
        "avg ms",
        "p50 ms",
        "p95 ms",
        "p99 ms",
    ]
    return table(shown, columns, marks)


def answer(state: State, sentence: str, verdict: Verdict | None) -> str:
    """The badge and the sentence; literal and evidence side by side, and why they differ."""
    html = (
        f'<div class="ro-answer">{badge(state)}<span'
        f' class="ro-sentence">{escape(redact(sentence))}</span></div>'
    )
    if verdict is None or not verdict.streams:
        return html
    html += '<div class="ro-two">'
    for name, column, why in (
        ("literal", verdict.literal, _literal_words(verdict)),
        ("evidence", verdict.evidence, _evidence_words(verdict)),
    ):
        enforced = (verdict.mode == "strict") == (name == "literal")
        note = f"decides (mode: {verdict.mode})" if enforced else "shown beside it"
        html += (
            f"<div><small><b>{name}</b> ·"
            f" {note}</small><br>{badge(column)}<p>{escape(redact(why))}</p></div>"
        )
    html += "</div>"
    if verdict.differ:
        html += (
            f'<div class="ro-differ">They differ because {escape(redact(verdict.differ))}.</div>'
        )
    return html


_THRESHOLDS = (CheckKind.SPLIT, CheckKind.ERRORS, CheckKind.LATENCY, CheckKind.ROUTER)


def _literal_words(verdict: Verdict) -> str:
    """The threshold that decided the literal column, or that all of them are kept."""
    judged = [check for check in verdict.checks if check.kind in _THRESHOLDS]
    crossed = [check for check in judged if check.outcome in (Outcome.FAIL, Outcome.WARN)]
    unknown = [
        check for check in judged if check.outcome not in (Outcome.PASS, Outcome.FAIL, Outcome.WARN)
    ]
    if not judged:
        return "No threshold was judged."
    if not crossed and not unknown:
        return f"All {len(judged)} thresholds are kept in the last window."
    worst = min(crossed or unknown, key=lambda check: list(_OUTCOMES).index(check.outcome))
    counts = [f"{len(crossed)} crossed"] if crossed else []
    counts += [f"{len(unknown)} could not be judged"] if unknown else []
    more = (
        f" (of {len(judged)} thresholds {', '.join(counts)})"
        if len(crossed) + len(unknown) > 1
        else ""
    )
    return f"{worst.name}: {worst.reason}{more}"


def _evidence_words(verdict: Verdict) -> str:
    """The stream that is nearest to its act line, with its e-values."""
    top = max(verdict.streams, key=lambda item: (item.e_peak - item.act_at, item.total))
    return (
        f"{top.stream}: {top.bad:,} of {top.total:,} in the phase, {e_value(top.e_now)}, highest "
        f"{e_value(top.e_peak)} (hold at {exp(top.hold_at):.0f}, act at {exp(top.act_at):.0f})"
    )


def checkpoint_card(checkpoint: Checkpoint, head: tuple[int, str] | None) -> str:
    """A whole checkpoint: header, answer, change, checks, traffic, what to do next."""
    parts = [
        header(checkpoint.place, checkpoint.at, phase_words(checkpoint)),
        answer(checkpoint.state, checkpoint.sentence, checkpoint.verdict),
    ]
    change = checkpoint.change
    if change is not None:
        parts.append(_change(change))
    if checkpoint.figures.get("rows"):
        parts.append(_span(checkpoint))
        parts.append(traffic_table(checkpoint.figures.get("phase") or checkpoint.figures["rows"]))
    if checkpoint.verdict is not None and checkpoint.verdict.checks:
        parts.append(checks_table(checkpoint.verdict.checks))
    where = f"ledger #{head[0]}:{head[1][:12]}" if head else "not on the ledger"
    parts.append(
        f'<div class="ro-soft">{escape(checkpoint.operation)} · {where} · by'
        f" {escape(checkpoint.operator)} · exit {checkpoint.exit_code}</div>"
    )
    step = checkpoint.verdict.next_step if checkpoint.verdict else ""
    if step:
        parts.append(f'<div class="ro-next">Next: <code>{escape(step)}</code></div>')
    return framed("".join(parts))


def _span(checkpoint: Checkpoint) -> str:
    """Of which time the figures are: a window ends at the lag, and begins no earlier than the last
    change.
    """
    window = checkpoint.figures.get("window")
    if checkpoint.figures.get("phase") or not window:
        return (
            '<div class="ro-soft">Figures of the whole phase</div>'
            if checkpoint.figures.get("phase")
            else ""
        )
    zone = ZoneInfo(checkpoint.place.time_zone)
    start, end = (datetime.fromisoformat(window[key]).astimezone(zone) for key in ("start", "end"))
    return f'<div class="ro-soft">Figures from {start:%H:%M:%S} to {end:%H:%M:%S %Z}</div>'


def _change(change) -> str:
    rows = [
        ("before", *_row(change.before)),
        ("asked", *_row(change.asked)),
        ("now", *_row(change.after)),
    ]
    html = table(rows, ["<", "percentage", "<enabled"])
    if change.gates:
        gates = [
            (Raw("✓ met") if gate.met else Raw("<b>✗ not met</b>"), gate.name, gate.reason)
            for gate in change.gates
        ]
        html += table(gates, ["<gate", "<name", "<reason"])
    if change.detail:
        html += f'<div class="ro-soft">{escape(redact(change.detail))}</div>'
    return html


def _row(row) -> tuple[str, str]:
    return f"{row[0]:g} %", "yes" if row[1] else "no"


def checkpoint_text(checkpoint: Checkpoint, head: tuple[int, str] | None) -> str:
    """The same answer for a terminal or a log: header, verdict, sentence, what to do next."""
    sign, word, _ = words.BADGES[checkpoint.state]
    lines = [
        header_line(checkpoint.place, checkpoint.at, phase_words(checkpoint)),
        f"{sign} {word}  {redact(checkpoint.sentence)}",
    ]
    verdict = checkpoint.verdict
    if verdict is not None and verdict.streams:
        lines.append(
            f"literal {verdict.literal.value} · evidence {verdict.evidence.value} · mode"
            f" {verdict.mode}"
        )
        if verdict.differ:
            lines.append(f"They differ because {redact(verdict.differ)}.")
    if checkpoint.change is not None:
        lines += [
            f"  ✗ {gate.name}: {gate.reason}" for gate in checkpoint.change.gates if not gate.met
        ]
    lines.append(f"ledger #{head[0]}:{head[1][:12]}" if head else "not on the ledger")
    if verdict is not None and verdict.next_step:
        lines.append(f"Next: {verdict.next_step}")
    return "\n".join(lines)
