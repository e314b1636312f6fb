"""What was measured, decided and stated as pandas frames: typed, with the same columns always.

COLUMNS is the schema: docs/data.md says it in words. Instants are UTC, shares and percentages in
percent, latencies in ms, e-values natural logs. An empty frame has its columns too. Nothing imports
this module but what is asked for a frame: a check and the emergency load no pandas."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from rollout_lib.model import Checkpoint, LedgerEntry, Unreadable, statements

if TYPE_CHECKING:
    from rollout_lib.judgement.summary import PhaseSummary

INSTANT, TEXT, WHOLE, REAL, TRUTH = "datetime64[us, UTC]", "str", "Int64", "Float64", "boolean"
_RUN = {"at": INSTANT, "run_id": TEXT, "operation": TEXT, "slot": INSTANT}
COLUMNS: Mapping[str, Mapping[str, str]] = {
    "traffic": {
        "span": TEXT,
        "domain": TEXT,
        "routed_to": TEXT,
        "requests": WHOLE,
        "errors": WHOLE,
        "avg_ms": REAL,
        "p50_ms": REAL,
        "p95_ms": REAL,
        "p99_ms": REAL,
        "share_pct": REAL,
    },
    "errors": {
        "domain": TEXT,
        "routed_to": TEXT,
        "error_message": TEXT,
        "occurrences": WHOLE,
        "last_seen": INSTANT,
    },
    "history": {
        **_RUN,
        "kind": TEXT,
        "origin": TEXT,
        "operator": TEXT,
        "percentage": REAL,
        "phase_began": INSTANT,
        "state": TEXT,
        "literal": TEXT,
        "evidence": TEXT,
        "exit_code": WHOLE,
        "sentence": TEXT,
        "before_pct": REAL,
        "before_enabled": TRUTH,
        "after_pct": REAL,
        "after_enabled": TRUTH,
        "applied": TRUTH,
        "reason": TEXT,
    },
    "checks": {
        **_RUN,
        "name": TEXT,
        "kind": TEXT,
        "outcome": TEXT,
        "observed": TEXT,
        "limit": TEXT,
        "state": TEXT,
        "reason": TEXT,
    },
    "looks": {
        **_RUN,
        "start": INSTANT,
        "end": INSTANT,
        "stream": TEXT,
        "domain": TEXT,
        "bad": WHOLE,
        "total": WHOLE,
        "closed": TRUTH,
    },
    "evidence": {
        **_RUN,
        "stream": TEXT,
        "domain": TEXT,
        "bad": WHOLE,
        "total": WHOLE,
        "log_e_now": REAL,
        "log_e_peak": REAL,
        "hold_at": REAL,
        "act_at": REAL,
        "low_pct": REAL,
        "high_pct": REAL,
        "literal": TEXT,
        "evidence": TEXT,
    },
    "statements": {
        "seq": WHOLE,
        "at": INSTANT,
        "subject": TEXT,
        "value": TEXT,
        "by": TEXT,
        "reason": TEXT,
        "phase_began": INSTANT,
    },
    "unreadable": {"seq": WHOLE, "at": INSTANT, "kind": TEXT, "operation": TEXT, "why": TEXT},
    "phases": {
        "percentage": REAL,
        "began_at": INSTANT,
        "ended_at": INSTANT,
        "checks": WHOLE,
        "expected": WHOLE,
        "worst": TEXT,
        "evaluation": TEXT,
        "requests": WHOLE,
        "errors": WHOLE,
        "p95_ms": REAL,
        "ended_by": TEXT,
    },
    "minutes": {
        "minute": INSTANT,
        "domain": TEXT,
        "routed_to": TEXT,
        "requests": WHOLE,
        "errors": WHOLE,
        "slow": WHOLE,
    },
    "sample": {
        "created_at": INSTANT,
        "domain": TEXT,
        "routed_to": TEXT,
        "webhook_name": TEXT,
        "status": TEXT,
        "response_time_ms": WHOLE,
        "error_message": TEXT,
        "webhook": TEXT,
    },
}
_UNREAD = ("seq", "at", "kind", "operation", "why")
_SPANS = {"rows": "window", "hour": "hour", "phase": "phase"}


def frame(name: str, rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows under the columns and types of COLUMNS[name]; what a row lacks is missing."""
    columns = COLUMNS[name]
    found = pd.DataFrame([dict(row) for row in rows], columns=list(columns), dtype=object)
    for column, kind in columns.items():
        if kind == INSTANT:
            found[column] = pd.to_datetime(found[column], utc=True, format="ISO8601").astype(kind)
        elif kind in (WHOLE, REAL):
            found[column] = pd.to_numeric(found[column]).astype(kind)
        else:
            found[column] = found[column].astype(kind)
    return found


def traffic(run: Checkpoint) -> pd.DataFrame:
    """Requests, errors and latencies by span, domain and destination, as the run showed them."""
    spans = [(name, run.figures.get(key) or ()) for key, name in _SPANS.items()]
    return frame("traffic", ({"span": name, **row} for name, rows in spans for row in rows))


def errors(run: Checkpoint) -> pd.DataFrame:
    """The errors of the last hour (of a report: since it began), redacted, most frequent first."""
    return frame("errors", run.figures.get("errors") or ())


def history(runs: Sequence[Checkpoint]) -> pd.DataFrame:
    """One row a run: what it decided, and what it did to the routing."""
    return frame("history", map(_decided, runs))


def _decided(run: Checkpoint) -> dict[str, Any]:
    change, verdict, phase = run.change, run.verdict, run.phase
    before, after = (change.before, change.after) if change else ((None, None), (None, None))
    return {
        **_of(run),
        "kind": run.kind,
        "origin": run.origin.value,
        "operator": run.operator,
        "percentage": phase and float(phase.percentage),
        "phase_began": phase and phase.began_at,
        "state": run.state.value,
        "literal": verdict and verdict.literal.value,
        "evidence": verdict and verdict.evidence.value,
        "exit_code": run.exit_code,
        "sentence": run.sentence,
        "before_pct": None if before[0] is None else float(before[0]),
        "before_enabled": before[1],
        "after_pct": None if after[0] is None else float(after[0]),
        "after_enabled": after[1],
        "applied": change and change.applied,
        "reason": change and change.reason,
    }


def checks(runs: Sequence[Checkpoint]) -> pd.DataFrame:
    """One row for each named check of each run."""
    return frame(
        "checks",
        (
            {
                **_of(run),
                "name": one.name,
                "kind": one.kind.value,
                "outcome": one.outcome.value,
                "observed": one.observed,
                "limit": one.limit,
                "state": one.state and one.state.value,
                "reason": one.reason,
            }
            for run in runs
            for one in (run.verdict.checks if run.verdict else ())
        ),
    )


def looks(runs: Sequence[Checkpoint]) -> pd.DataFrame:
    """What each look counted: a row for each stream of it, failing webhooks of requests."""
    return frame("looks", (row for run in runs for row in _counted(run)))


def _counted(run: Checkpoint) -> Iterable[dict[str, Any]]:
    look = run.look
    if look is None:
        return
    streams = [("errors", name, counts) for name, counts in look.errors.items()]
    streams += [("latency", name, counts) for name, counts in look.latency.items()]
    streams += [("router", "total", look.router), ("legacy", "total", look.legacy)]
    for stream, domain, counts in streams:
        yield {
            **_of(run),
            "start": look.window.start,
            "end": look.window.end,
            "stream": stream,
            "domain": domain,
            "bad": counts.bad,
            "total": counts.total,
            "closed": look.closed,
        }


def evidence(runs: Sequence[Checkpoint]) -> pd.DataFrame:
    """Where each stream stood at each run, with its interval (95 %, at any number of looks)."""
    return frame("evidence", (row for run in runs for row in _stood(run)))


def _stood(run: Checkpoint) -> Iterable[dict[str, Any]]:
    for one in run.verdict.streams if run.verdict else ():
        low, high = one.interval or (None, None)
        yield {
            **_of(run),
            "stream": one.measure.value,
            "domain": one.domain,
            "bad": one.bad,
            "total": one.total,
            "log_e_now": one.e_now,
            "log_e_peak": one.e_peak,
            "hold_at": one.hold_at,
            "act_at": one.act_at,
            "low_pct": None if low is None else 100 * low,
            "high_pct": None if high is None else 100 * high,
            "literal": one.literal.value,
            "evidence": one.evidence.value,
        }


def stated(entries: Iterable[LedgerEntry]) -> pd.DataFrame:
    """What named persons stated, one row each."""
    return frame(
        "statements",
        (
            {
                "seq": entry.seq,
                "at": entry.at,
                "subject": entry.body.subject.value,
                "value": entry.body.value,
                "by": entry.body.by,
                "reason": entry.body.reason,
                "phase_began": entry.phase_began,
            }
            for entry in statements(entries)
        ),
    )


def unreadable(entries: Iterable[LedgerEntry]) -> pd.DataFrame:
    """The entries that no other table can hold, and why: what is left out is said."""
    rows = [entry for entry in entries if isinstance(entry, Unreadable)]
    return frame("unreadable", ({name: getattr(one, name) for name in _UNREAD} for one in rows))


def phases(found: Sequence[PhaseSummary]) -> pd.DataFrame:
    """One row a phase: when, how it was checked, unified's total at its end."""
    return frame(
        "phases",
        (
            {
                "percentage": float(one.percentage),
                "began_at": one.began_at,
                "ended_at": one.ended_at,
                "checks": one.checks,
                "expected": one.expected,
                "worst": one.worst and one.worst.value,
                "evaluation": one.evaluation and one.evaluation.value,
                "requests": one.unified.get("requests"),
                "errors": one.unified.get("errors"),
                "p95_ms": one.unified.get("p95_ms"),
                "ended_by": one.ended_by,
            }
            for one in found
        ),
    )


def _of(run: Checkpoint) -> dict[str, Any]:
    return {"at": run.at, "run_id": run.run_id, "operation": run.operation, "slot": run.slot}
