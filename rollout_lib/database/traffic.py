"""What the traffic did: one statement, one row, exact latency histograms; values
out, no judgement.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from rollout_lib.database.connection import Asked, load_sql
from rollout_lib.model import (
    LEGACY,
    ROUTER_ERROR,
    UNIFIED,
    Cell,
    Counts,
    Health,
    Leak,
    Measurement,
    Traffic,
    Window,
)
from rollout_lib.plan import Plan
from rollout_lib.redaction import redact

_Bin = Any  # one row of the measurement: JSON, as sql/measure.sql has it

SUCCESS = "success"  # any other status, and none, is an error: unknown is never good
SETTLING = timedelta(seconds=30)  # after a change the router may still use the old percentage
_HOUR, _WINDOW, _INCREMENT, _SETTLED, _PHASE = (
    4,
    5,
    6,
    7,
    8,
)  # where a bin has its rows of that span


def measure(
    connection: Connection,
    *,
    plan: Plan,
    as_of: datetime,
    phase_began: datetime | None,
    increment_start: datetime,
    whole_phase: bool,
    live: bool,
    lag: timedelta | None = None,
) -> Measurement:
    """Everything a check sees, in one round trip.

    Spans are half-open and end at as_of minus the lag, the plan's without one (the unclipped hour,
    which is the runbook's own, the leak and the last rows: at as_of). Without a phase, phase_began
    is None and the last window stands in its place. live asks check_routing_health()."""
    until = as_of - (plan.monitoring.ingestion_lag if lag is None else lag)
    starts = _starts(as_of, until, plan.monitoring.window, phase_began, increment_start)
    row = connection.execute(
        load_sql("measure"),
        {
            **starts,
            "as_of": as_of,
            "until": until,
            "whole_phase": whole_phase,
            "live": live,
            "domains": list(plan.domains),
            "slow_ms": plan.thresholds.p95_investigate_ms,
        },
    ).one()
    bins, failing, slow_ms = (
        _named(row.histogram),
        row.failing or [],
        plan.thresholds.p95_investigate_ms,
    )
    leak = row.leak or {}

    def traffic(span: int, start: str, counted: str | None = None) -> Traffic:
        end = as_of if span == _HOUR else until
        window = Window(start=starts[start], end=max(end, starts[start]))
        kept = [[*item[:4], item[span]] for item in bins if item[span]]
        return Traffic(window=window, cells=_cells(kept, failing, counted, slow_ms))

    settled: dict[str, int] = defaultdict(int)
    for item in bins:
        if item[0] in plan.domains:
            settled[item[1]] += item[_SETTLED]
    return Measurement(
        as_of=as_of,
        hour=traffic(_HOUR, "hour_start"),
        window=traffic(_WINDOW, "window_start"),
        increment=traffic(_INCREMENT, "increment_start", "fresh"),
        phase=traffic(_PHASE, "phase_start", "phase") if whole_phase else None,
        leak=Leak(
            rows=leak.get("rows") or 0,
            domains=tuple(leak.get("domains") or ()),
            first_at=_instant(leak.get("first_at")),
            last_at=_instant(leak.get("last_at")),
        ),
        settled_unified=settled[UNIFIED],
        settled_legacy=settled[LEGACY],
        last_unified_at=row.last_unified_at,
        legacy_since_unified=row.legacy_since_unified,
        newest_row_at=row.newest_row_at,
        health=_health(row.health, live),
        errors=merged_errors(row.errors or ()),
    )


def _starts(
    as_of: datetime,
    until: datetime,
    window: timedelta,
    phase_began: datetime | None,
    increment_start: datetime,
) -> dict[str, datetime]:
    """Where each of the statement's spans begins."""
    began = phase_began or until - window
    return {
        "hour_start": as_of - window,
        "window_start": max(until - window, began),
        # Never before the phase: a check within the lag of its change has an empty increment, and
        # the next
        # look begins at the change, not at rows of the percentage before.
        "increment_start": max(increment_start, began),
        "phase_start": began,
        "settled_from": began + SETTLING,
    }


def baseline_asked(plan: Plan, as_of: datetime) -> Asked:
    """Return the question for legacy's last 24 hours, for baseline_from."""
    window, slow_ms = _day_before(plan, as_of), plan.thresholds.p95_investigate_ms
    binds = {"start": window.start, "until": window.end, "slow_ms": slow_ms}
    return load_sql("baseline"), binds


def _day_before(plan: Plan, as_of: datetime) -> Window:
    until = as_of - plan.monitoring.ingestion_lag
    return Window(start=until - timedelta(hours=24), end=until)


def baseline_from(plan: Plan, as_of: datetime, row: Any) -> tuple[Traffic, Counts]:
    """Return legacy's last 24 hours as one row of sql/baseline.sql holds them."""
    window, slow_ms = _day_before(plan, as_of), plan.thresholds.p95_investigate_ms
    bins = _named(row.histogram)
    failing = [
        {**item, "phase_errors": item["errors"], "phase_slow": item["slow"]}
        for item in row.failing or []
    ]
    rows = sum(item[-1] for item in bins)
    raw = sum(item[-1] for item in bins if item[1] == ROUTER_ERROR)
    bad = sum(item["errors"] for item in failing if item["routed_to"] == ROUTER_ERROR)
    cells = _cells(bins, failing, "phase", slow_ms)
    return Traffic(window=window, cells=cells), Counts(bad=bad, total=rows - (raw - bad))


def errors_between(
    connection: Connection, start: datetime, until: datetime
) -> tuple[dict[str, Any], ...]:
    """The runbook's error analysis of a half-open window, as merged_errors gives it."""
    rows = connection.execute(load_sql("errors"), {"start": start, "until": until})
    return merged_errors([{**row._mapping, "last_seen": row.last_seen.isoformat()} for row in rows])


def merged_errors(rows: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], ...]:
    """The ten most frequent errors: {domain, routed_to, error_message, occurrences, last_seen
    (ISO)}.

    Messages are redacted, and those that differ only in what is redacted (a phone number) are one.
    """
    merged: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        message = redact(row["error_message"] or "(no message)")
        domain, routed_to = _names(row["domain"], row["routed_to"])
        known = merged.setdefault(
            (domain, routed_to, message),
            {
                "domain": domain,
                "routed_to": routed_to,
                "error_message": message,
                "occurrences": 0,
                "last_seen": "",
            },
        )
        known["occurrences"] += row["occurrences"]
        known["last_seen"] = max(known["last_seen"], row["last_seen"])
    latest_first = sorted(merged.values(), key=lambda item: item["last_seen"], reverse=True)
    return tuple(sorted(latest_first, key=lambda item: -item["occurrences"])[:10])


def one_line_status(connection: Connection, plan: Plan, as_of: datetime) -> dict[str, Any]:
    """The runbook's one-line status: routing, status, requests_1h, error_pct."""
    span = {"start": as_of - plan.monitoring.window, "until": as_of}
    row = connection.execute(load_sql("status"), span).first()
    return dict(row._mapping) if row else {}


def _cells(
    bins: Sequence[_Bin], failing: Sequence[_Bin], counted: str | None, slow_ms: int
) -> tuple[Cell, ...]:
    """Cells of the given histogram bins; counted is "fresh", "phase" or None (distinct webhooks
    unknown).
    """
    rows: dict[tuple[str, str], list[_Bin]] = defaultdict(list)
    for item in bins:
        rows[(item[0], item[1])].append(item)
    distinct = {_names(item["domain"], item["routed_to"]): item for item in failing}
    return tuple(
        _cell(domain, routed_to, items, distinct.get((domain, routed_to)), counted, slow_ms)
        for (domain, routed_to), items in sorted(rows.items())
    )


def _names(domain: str | None, routed_to: str | None) -> tuple[str, str]:
    """A table without our constraints may hold neither; what is missing is not good, and not
    nothing.
    """
    return domain or "unknown", routed_to or ROUTER_ERROR


def _named(bins: Sequence[_Bin] | None) -> list[_Bin]:
    return [[*_names(item[0], item[1]), *item[2:]] for item in bins or []]


def _cell(
    domain: str,
    routed_to: str,
    items: Sequence[_Bin],
    distinct: Mapping[str, int] | None,
    counted: str | None,
    slow_ms: int,
) -> Cell:
    latencies: dict[int, int] = defaultdict(int)
    for item in items:
        if item[3] is not None:
            latencies[item[3]] += item[-1]
    return Cell(
        domain=domain,
        routed_to=routed_to,
        requests=sum(item[-1] for item in items),
        errors=sum(item[-1] for item in items if item[2] != SUCCESS or routed_to == ROUTER_ERROR),
        latencies=dict(latencies),
        failing=(distinct or {}).get(f"{counted}_errors", 0) if counted else None,
        slow=sum(count for ms, count in latencies.items() if ms > slow_ms),
        slow_failing=(distinct or {}).get(f"{counted}_slow", 0) if counted else None,
    )


def _instant(value: str | None) -> datetime | None:
    return datetime.fromisoformat(value) if value else None


def _health(rows: list[dict[str, Any]] | None, live: bool) -> Health:
    if not live:
        return Health(
            rows=None, reason="not applicable: it always looks at the last hour of real time"
        )
    return Health(rows=tuple(rows or ()), reason="asked in the same transaction")
