"""What a notebook calls, in one import: open a session, one operation, charts, conclude."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from html import escape
from pathlib import Path
from typing import Any

from rollout_lib import spool
from rollout_lib.database.samples import MOST
from rollout_lib.database.session import Session, open_session, parse_percentage
from rollout_lib.display import Html, charts, header
from rollout_lib.display.ahead import failures, outlook_chart, outlook_table, suggestion_table
from rollout_lib.display.answer import answer_of, state_badge
from rollout_lib.display.page import checks_table, table
from rollout_lib.display.templating import part
from rollout_lib.display.theme import Picture
from rollout_lib.display.versus import difference_tiles, difference_words
from rollout_lib.display.words import EMPTY, rate
from rollout_lib.display.words import milliseconds as ms
from rollout_lib.errors import ParameterError
from rollout_lib.judgement.outlook import suggestions
from rollout_lib.operations import (
    Recorded,
    change_percentage,
    evaluate_phase,
    monitor,
    preflight,
    report,
    roll_back,
)
from rollout_lib.operations.attest import attest
from rollout_lib.operations.explore import Investigation, investigate
from rollout_lib.operations.foresight import Foresight, foresee
from rollout_lib.operations.record import conclude as raise_unless_good
from rollout_lib.operations.report import Report
from rollout_lib.plan import load_plan
from rollout_lib.plan.values import duration_of, rate_of
from rollout_lib.redaction import redact
from rollout_lib.text import both_times

charts.enable()


_LITERALS = (str, int, float, bool, list, tuple, dict, type(None))  # what a parameter can be
# What a kernel keeps of its own: In, Out, what was typed and shown, and names with two underlines.
_SHELLS_OWN = re.compile(r"In|Out|_{1,3}|_i{1,3}|_i?[0-9]+|_[ido]h|_exit_code|__\w+")


def only(given: Mapping[str, object], *known: str) -> None:
    """Refuse what was injected below the parameters cell under a name that the notebook lacks.

    given: the notebook's globals(). Only literals count, so that the cells may be run again in a
    kernel that has them all behind it. Raises ParameterError naming each of them."""
    unknown = sorted(
        name
        for name, value in given.items()
        if name not in known and not _SHELLS_OWN.fullmatch(name) and isinstance(value, _LITERALS)
    )
    if unknown:
        raise ParameterError(
            problems="\n".join(
                f"{name}: unknown; this notebook has {', '.join(known)}" for name in unknown
            )
        )


def where(session: Session) -> Html:
    """The first line of everything, before anything is asked: environment, host, database, rollout,
    both times.
    """
    return Html(
        header(session.place, session.now(datetime.now(UTC)), f"plan {session.plan.digest[:8]}")
    )


def percentage(text: str, name: str = "to_percentage") -> Decimal | None:
    """A percentage from a notebook's text parameter; None for ""."""
    problems: list[str] = []
    value = parse_percentage(text, name, problems)
    if problems:
        raise ParameterError(problems="\n".join(problems))
    return value


def errors_table(run: Recorded) -> Html:
    """The runbook's error analysis as the run recorded it, redacted."""
    errors = run.checkpoint.figures.get("errors")
    if errors is None:
        return Html(
            '<div class="ro-soft">Errors were not looked at.</div>', "Errors were not looked at."
        )
    if not errors:
        return Html('<div class="ro-soft">No request failed.</div>', "No request failed.")
    return Html(error_rows(errors, run.checkpoint.place.time_zone))


def error_rows(errors: Sequence[Mapping[str, Any]], zone: str) -> str:
    """The most frequent errors (traffic.merged_errors), redacted, each with its count and when it
    was last seen.
    """
    shown = [
        (
            row["domain"],
            row["routed_to"],
            row["error_message"],
            f"{row['occurrences']:,}",
            _at(row["last_seen"], zone),
        )
        for row in errors
    ]
    return table(shown, ["<domain", "<to", "<error message", "occurrences", "<last seen"])


def watch_for(session: Session) -> Html:
    """What the start script showed after a change: what to watch, and the one-line rollback."""
    limits = session.plan.thresholds
    rows = [
        (f"Error rate > {limits.error_rate_investigate_pct:g} %", "investigate immediately"),
        (f"P95 latency > {limits.p95_investigate_ms:,} ms", "investigate immediately"),
        (f"Error rate > {limits.error_rate_rollback_pct:g} %", "roll back to 0 %"),
        (f"P95 latency > {limits.p95_rollback_ms:,} ms", "roll back to 0 %"),
    ]
    commands = (
        f"rollout monitor --plan {session.plan.path}\nrollout rollback --emergency --reason '…'"
    )
    return Html(
        table(rows, ["<when", "<then"]) + f'<div class="ro-next"><code>{commands}</code></div>'
    )


def phases_table(result: Report) -> Html:
    """One row a phase: when, checks, the worst of them, its evaluation and figures."""
    zone = result.run.checkpoint.place.time_zone
    rows = []
    for phase in result.summary.phases:
        unified = phase.unified
        rows.append(
            (
                f"{phase.percentage:g} %",
                both_times(phase.began_at, zone),
                f"{phase.checks} of {phase.expected}",
                state_badge(phase.worst).word if phase.worst else EMPTY,
                state_badge(phase.evaluation).word if phase.evaluation else "not evaluated",
                rate(unified["errors"], unified["requests"]) if unified else EMPTY,
                ms(unified.get("p95_ms")) if unified else EMPTY,
                phase.ended_by,
            )
        )
    columns = [
        "phase",
        "<began",
        "checks",
        "<worst",
        "<evaluation",
        "unified errors",
        "p95 ms",
        "<ended by",
    ]
    return Html(table(rows, columns))


def against_legacy(result: Report) -> Html:
    """Unified minus legacy at the end of each phase, with its interval; it decides nothing."""
    shown = [
        (f"{phase.percentage:g} %", phase.differences)
        for phase in result.summary.phases
        if phase.differences
    ]
    if not shown:
        words = "Unified and legacy were not compared: no phase has requests of both."
        return Html(f'<div class="ro-soft">{words}</div>', words)
    html = "".join(
        f'<div class="ro-soft">At {escape(name)}</div>{difference_tiles(found)}'
        for name, found in shown
    )
    said = [f"{name}: {difference_words(one)}" for name, found in shown for one in found]
    return Html(html, "\n".join(said))


def days_table(result: Report) -> Html:
    """One row a local day: routing, checks, the worst of them, evaluations."""
    rows = [
        (
            f"{day.day:%a %d %b}",
            day.routing,
            f"{day.checks} of {day.expected}",
            state_badge(day.worst).word if day.worst else EMPTY,
            ", ".join(day.evaluations) or EMPTY,
        )
        for day in result.summary.days
    ]
    return Html(
        table(rows, ["<day", "<routing", "checks", "<worst", "<evaluated"])
        if rows
        else "<p>No day yet.</p>"
    )


def handover(result: Report) -> Html:
    """What the next operator must know: routing, what is latched and missing, the next step, who
    stated what.
    """
    text = "\n".join(f"{what}: {words}" for what, words in result.summary.handover)
    return Html(table(result.summary.handover, ["<", "<now"]), text)


def uptime_table(result: Report) -> Html:
    """Each protected webhook in each phase: answered, failed and unseen probes, checks that its own
    rows failed.
    """
    rows = [
        (
            f"{phase.percentage:g} %",
            name,
            f"{seen.answered:,}",
            f"{seen.failed:,}",
            f"{seen.unseen:,}",
            f"{len(seen.failing_at):,}",
        )
        for phase in result.summary.phases
        for name, seen in phase.uptime.items()
    ]
    if not rows:
        words = "No protected endpoint was probed: the plan names none under probes.protected."
        return Html(f'<div class="ro-soft">{words}</div>', words)
    return Html(
        table(
            rows, ["phase", "<webhook", "answered", "failed", "could not look", "down by its rows"]
        )
    )


def differences_table(result: Report) -> Html:
    """Where literal and evidence asked for different things, and why."""
    zone = result.run.checkpoint.place.time_zone
    rows = [
        (_at(item["at"], zone), item["literal"], item["evidence"], item["why"])
        for item in result.summary.differed
    ]
    if not rows:
        return Html(
            '<div class="ro-soft">Literal and evidence never asked for different things.</div>'
        )
    return Html(table(rows, ["<from", "<literal", "<evidence", "<because"]))


def statements_table(result: Report) -> Html:
    """Who attested, acknowledged or extended what; what was refused, done by hand, is missing."""
    zone = result.run.checkpoint.place.time_zone
    rows = [
        (_at(item["at"], zone), item["who"], item["what"], item["value"], item["reason"] or EMPTY)
        for item in result.summary.stated
    ]
    rows += [
        (_at(item["at"], zone), EMPTY, "refused change", "nothing changed", item["why"])
        for item in result.summary.refused
    ]
    rows += [
        (both_times(edit.since, zone), EMPTY, "edit by hand", edit.words, edit.notes or EMPTY)
        for edit in result.summary.by_hand
    ]
    rows += [
        (both_times(slot, zone), EMPTY, "missed check", EMPTY, "no completed check of this slot")
        for slot in result.summary.gaps
    ]
    return Html(
        table(rows, ["<at", "<who", "<what", "<value", "<reason"])
        if rows
        else "<p>Nothing was stated.</p>"
    )


def proof(result: Report) -> Html:
    """How a stranger checks this report: the chain's head and the command, which can be pasted
    anywhere.
    """
    seq, digest = result.run.head or result.summary.head
    here = (Path(result.run.checkpoint.plan_path).resolve(), spool.folder().parent.resolve())
    plan, outputs = (escape(shlex.quote(str(path))) for path in here)
    unsealed = (
        f" {len(result.summary.unsealed)} runs are unsealed." if result.summary.unsealed else ""
    )
    return Html(
        f'<div class="ro-next">Ledger head <code>#{seq}:{digest[:16]}</code>.{unsealed} To prove it:'
        f" <code>rollout verify --head {seq}:{digest[:16]} --plan {plan} --outputs"
        f" {outputs}</code></div>"
    )


def power_lines(run: Recorded) -> Html:
    """What each phase of the plan can and cannot see, and how often a healthy service is acted on or
    asks somebody.
    """
    return _listed(run.checkpoint.evidence.get("power", []))


def chances(result: Report) -> Html:
    """How often a healthy service is acted on, in one phase and in the whole rollout; of what "1 in
    20" is true.
    """
    return _listed(result.run.checkpoint.evidence.get("chances", []))


def plan_ahead(plan: str = "") -> Foresight:
    """Read a plan and look ahead; no routing is read or changed. Raises PlanError."""
    return foresee(load_plan(plan))


def outlook(ahead: Foresight) -> Html:
    """What each phase can see, prove and do for nothing, and what is unwise."""
    return outlook_table(ahead.outlooks, ahead.source, ahead.warnings)


def outlook_picture(ahead: Foresight) -> Picture:
    """How fast half of all phases find each error rate."""
    return outlook_chart(ahead.outlooks)


def suggested(ahead: Foresight, detect: str, within: str) -> Html:
    """Percentages and the shortest holds that find an error rate (`1%`) in time (`4h`)."""
    rate, longest = rate_of(detect, "detect"), duration_of(within, "within")
    found = suggestions(ahead.plan, ahead.hours, rate, longest)
    return suggestion_table(found, detect, within)


def about(found: Investigation, session: Session) -> Html:
    """Which window is investigated, why, and how much is in it."""
    zone = session.plan.zone
    start, end = found.start.astimezone(zone), found.end.astimezone(zone)
    words = (
        f"{start:%a %H:%M} to {end:%H:%M %Z}, {found.domain or 'all domains'}:"
        f" {int(found.minutes['requests'].sum()):,} requests, {int(found.minutes['errors'].sum()):,}"
        f" failed. It is {found.about.removesuffix('.')}."
    )
    if len(found.failing) >= MOST:
        words += f" Only the newest {MOST:,} failing rows are looked at: choose a shorter window."
    return Html(f"<p>{escape(redact(words))}</p>", words)


def failures_picture(found: Investigation, session: Session) -> Picture:
    """Failing requests of each minute by destination."""
    rows = found.minutes.to_dict("records")
    return failures(rows, found.changed_at, session.plan.time_zone)


def attach(session: Session, finding: str) -> Html:
    """Write a finding on the ledger, where the report shows it; "" writes nothing."""
    if not finding.strip():
        words = (
            "Nothing is attached: write what you found into `finding` above, and run this again."
        )
        return Html(f"<p>{escape(words)}</p>", words)
    done = attest(session, subject="note", value="", reason=finding)
    words = f"Attached by {done.by} as #{done.head[0]}: {done.reason}"
    return Html(f"<p>{escape(words)}</p>", words)


def _listed(lines: Sequence[str]) -> Html:
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return Html(f"<ul>{items}</ul>", "\n".join(lines))


def checks(run: Recorded) -> Html:
    """The named checks of a run, each with its observed value, limit and reason."""
    verdict = run.checkpoint.verdict
    return Html(checks_table(verdict.checks) if verdict else "<p>No check was made.</p>")


def conclude(run: Recorded) -> Html:
    """The end of a notebook: the answer once more where it is "go on" (0, 10), else the error that
    carries it.
    """
    raise_unless_good(run)
    found = run.checkpoint
    shown = answer_of(found)
    html = part(
        "answer", replace(shown, sentence=f"This run ends here, with exit {found.exit_code}.")
    )
    return Html(html, f"{shown.badge.word}: {found.sentence}")


def _at(text: str, zone: str) -> str:
    return both_times(datetime.fromisoformat(text), zone)


__all__ = [
    "about",
    "against_legacy",
    "attach",
    "chances",
    "change_percentage",
    "charts",
    "checks",
    "conclude",
    "days_table",
    "differences_table",
    "errors_table",
    "evaluate_phase",
    "failures_picture",
    "handover",
    "investigate",
    "monitor",
    "only",
    "open_session",
    "outlook",
    "outlook_picture",
    "percentage",
    "phases_table",
    "plan_ahead",
    "power_lines",
    "preflight",
    "proof",
    "report",
    "roll_back",
    "statements_table",
    "suggested",
    "uptime_table",
    "watch_for",
    "where",
]
