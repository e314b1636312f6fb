"""What the traffic did: one statement, one row, exact latency histograms; values out, no judgement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

from sqlalchemy import Connection, Row
from sqlalchemy.exc import DBAPIError

from rollout_lib.database import cells
from rollout_lib.database.connection import Asked, load_sql
from rollout_lib.model import (
    LEGACY,
    ROUTER_ERROR,
    UNIFIED,
    Counts,
    Health,
    Leak,
    Look,
    Measurement,
    Strays,
    Traffic,
    Window,
)
from rollout_lib.plan import Plan
from rollout_lib.redaction import redact

SETTLING = timedelta(seconds=30)  # after a change the router may still use the old percentage
READ_AGAIN = 3  # so many looks of the last hour are told apart, where more are, neighbours join
EDGES = 8  # the statement counts from so many
HEALTH_SECONDS = 5  # for the runbook's own function, which somebody else may have written
_NOT_ASKED = Health(
    rows=None, reason="not applicable: it always looks at the last hour of real time"
)
SLOW_MEMORY = timedelta(
    hours=3
)  # a webhook that was slow is known so long before what is read again


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
    before: Look | None = None,
    percentage: Decimal | None = None,
) -> Measurement:
    """Everything a check sees, in one round trip (two with the whole phase, and live the runbook's
    own function in a savepoint).

    Spans are half-open and end at as_of minus the lag, the plan's without one (the unclipped hour,
    which is the runbook's own, the leak and the last rows: at as_of). Without a phase, phase_began
    is None and the last window stands in its place. live asks check_routing_health(). before is the
    last look: what it counted of the last hour is read again."""
    spans = _spans(plan, as_of, phase_began, increment_start, lag, before)
    row = connection.execute(load_sql("measure"), spans.binds(plan, live)).one()
    phase = None
    if whole_phase:
        whole = Window(start=spans.began, end=max(spans.began, spans.until))
        phase = whole_span(connection, plan, whole, (UNIFIED,))
    return _measurement(
        row,
        spans,
        plan,
        health=_health(connection) if live else _NOT_ASKED,
        increment=max(increment_start, spans.began),
        settled_from=spans.began + SETTLING,
        phase=phase,
        before=before,
        percentage=percentage,
    )


def measure_binds(
    *,
    plan: Plan,
    as_of: datetime,
    phase_began: datetime | None,
    increment_start: datetime,
    live: bool,
    before: Look | None = None,
) -> dict[str, Any]:
    """What `measure` asks sql/measure.sql with, by its binds' names."""
    return _spans(plan, as_of, phase_began, increment_start, None, before).binds(plan, live)


def _spans(
    plan: Plan,
    as_of: datetime,
    phase_began: datetime | None,
    increment_start: datetime,
    lag: timedelta | None,
    before: Look | None,
) -> _Spans:
    until = as_of - (plan.monitoring.ingestion_lag if lag is None else lag)
    window = plan.monitoring.window
    began = phase_began or until - window
    # Never before the phase: a check within the lag of its change has an empty increment, and the
    # next look begins at the change, not at rows of the percentage before.
    increment = max(increment_start, began)
    oldest = max(began, until - window - plan.monitoring.ingestion_lag)
    return _Spans(
        as_of=as_of,
        until=until,
        hour=as_of - window,
        window=max(until - window, began),
        began=began,
        buckets=_buckets(before, oldest, increment, until, began + SETTLING),
    )


@dataclass(frozen=True, kw_only=True)
class _Spans:
    """The statement's edges: buckets are those of the looks that are read again, until the last."""

    as_of: datetime
    until: datetime
    hour: datetime
    window: datetime
    began: datetime
    buckets: tuple[datetime, ...]

    @property
    def edges(self) -> list[datetime]:
        return sorted({self.hour, min(self.window, self.until), *self.buckets, self.until})

    def place(self, instant: datetime) -> int:
        """Where an edge's count stands in a group."""
        return self.edges.index(instant)

    def binds(self, plan: Plan, live: bool) -> dict[str, Any]:
        """What sql/measure.sql is asked with."""
        edges = self.edges
        return {
            "phase_start": self.began,
            "settled_from": self.began + SETTLING,
            "slow_since": max(self.began, edges[0] - SLOW_MEMORY),
            "live": live,
            "domains": [domain.lower() for domain in plan.domains],
            "slow_ms": plan.thresholds.p95_investigate_ms,
            "as_of": self.as_of,
            "until": self.until,
            "scan_from": edges[0],
            "edges": [*edges, *[self.as_of] * (EDGES - len(edges))],
            "hour_at": self.place(self.hour) + 1,
            "window_at": self.place(min(self.window, self.until)) + 1,
            "until_at": self.place(self.until) + 1,
        }


def _buckets(
    before: Look | None, oldest: datetime, increment: datetime, until: datetime, settled: datetime
) -> tuple[datetime, ...]:
    """The edges of what is counted: the looks of the last hour that the last one knows, the increment.

    Where they are more than READ_AGAIN, neighbours become one; never over the instant from which a
    new percentage may be judged (settled)."""
    if increment >= until:
        return ()
    known = before.buckets if before is not None else ()
    starts = [edge for edge in known[:-1] if oldest <= edge < increment]
    if not starts or known[-1] != increment:
        starts = []
    edges = [*starts, increment]
    while len(edges) - 1 > READ_AGAIN:
        inner = [place for place in range(1, len(edges) - 1) if edges[place] != settled]
        edges.pop(min(inner, key=lambda place: edges[place + 1] - edges[place - 1]))
    if increment < settled < until:
        edges.append(settled)
    return (*edges, until)


def _measurement(
    row: Row[Any],
    spans: _Spans,
    plan: Plan,
    *,
    increment: datetime,
    settled_from: datetime,
    **more: Any,
) -> Measurement:
    """The statement's one row as values; more goes to the Measurement as it is."""
    groups, latencies = row.groups or [], row.latencies or []
    failures = cells.failures_of(row.failures, spans.edges[0])
    leak, ahead = row.leak or {}, row.ahead or {}
    of_window = [(one[0], one[1], *map(cells.numbers, one[3:5])) for one in latencies]
    of_hour = of_window + [(one[0], one[1], *map(cells.numbers, one[5:7])) for one in latencies]

    def between(start: datetime, end: datetime, spread: Sequence[Any] = ()) -> Traffic:
        """The traffic of a window: with the histogram that is given, else with its failures."""
        window = Window(start=start, end=max(start, end))
        if end <= start:
            return Traffic(window=window, cells=())
        places = spans.place(start), 0 if end == spans.as_of else spans.place(end)
        if not spread:
            return cells.counted(groups, places, window, failures=failures)
        return cells.counted(groups, places, window, latencies=spread)

    buckets = tuple(between(start, end) for start, end in pairwise(spans.buckets))
    settled = [
        cell
        for bucket in buckets
        for cell in bucket.cells
        if bucket.window.start >= max(increment, settled_from) and cell.domain in plan.domains
    ]
    return Measurement(
        as_of=spans.as_of,
        hour=between(spans.hour, spans.as_of, of_hour),
        window=between(spans.window, spans.until, of_window),
        increment=between(increment, spans.until),
        leak=Leak(
            rows=leak.get("rows") or 0,
            domains=tuple(sorted({cells.shown(name) for name in leak.get("domains") or ()})),
            first_at=_instant(leak.get("first_at")),
            last_at=_instant(leak.get("last_at")),
        ),
        settled_unified=sum(cell.requests for cell in settled if cell.routed_to == UNIFIED),
        settled_legacy=sum(cell.requests for cell in settled if cell.routed_to == LEGACY),
        last_unified_at=row.last_unified_at,
        legacy_since_unified=row.legacy_since_unified,
        newest_row_at=row.newest_row_at,
        errors=merged_errors(row.errors or ()),
        buckets=buckets,
        settled_from=settled_from,
        words=cells.strange_words(
            groups, spans.place(spans.hour), (*plan.domains, *plan.protected_domains)
        ),
        ids=cells.ids_of(row.ids, row.repeated),
        hidden=tuple(row.hidden or ()),
        contradicted=row.contradicted,
        ahead_rows=ahead.get("rows") or 0,
        ahead_until=_instant(ahead.get("last_at")),
        **more,
    )


def whole_span(
    connection: Connection, plan: Plan, window: Window, routed: tuple[str, ...]
) -> Traffic:
    """A long span read once: its exact histogram, and when each of its webhooks was bad first.

    routed: the destinations whose slow webhooks are counted."""
    return _spanned(plan, window, connection.execute(*_span_asked(plan, window, routed)).one())


def _span_asked(plan: Plan, window: Window, routed: tuple[str, ...]) -> Asked:
    return load_sql("phase"), phase_binds(plan, window, routed)


def phase_binds(plan: Plan, window: Window, routed: tuple[str, ...] = (UNIFIED,)) -> dict[str, Any]:
    """What sql/phase.sql is asked with, by its binds' names."""
    slow_ms = plan.thresholds.p95_investigate_ms
    return {"start": window.start, "until": window.end, "slow_ms": slow_ms, "routed": list(routed)}


def _spanned(plan: Plan, window: Window, row: Any) -> Traffic:
    failures = cells.failures_of(row.failures, window.start)
    slow_ms = plan.thresholds.p95_investigate_ms
    return cells.spread(row.histogram or (), window, failures, slow_ms)


def arrived_since_off(
    connection: Connection, plan: Plan, off: datetime, as_of: datetime
) -> int | None:
    """Rows of unified that were written after routing went off, and stamped after it had settled;
    None where the order of writing cannot be told (a view, a foreign or a distributed table).
    """
    binds = {"rollout": plan.rollout, "off": off, "settled": off + SETTLING, "as_of": as_of}
    row = _if_it_can("arrived", binds, connection)
    return None if row is None else row.arrived


def strays(
    connection: Connection, plan: Plan, began: datetime, as_of: datetime, *, live: bool
) -> Strays | None:
    """What was written in the phase and is stamped before it or, where it is live, after now; None
    where the order of writing cannot be told.
    """
    lag = plan.monitoring.ingestion_lag
    ahead = as_of + lag if live else datetime.max.replace(tzinfo=UTC)
    binds = {"rollout": plan.rollout, "began": began, "lag": lag, "ahead": ahead}
    row = _if_it_can("strays", binds, connection)
    if row is None:
        return None
    return Strays(rows=row.rows, bad=row.bad, first_at=row.first_at, last_at=row.last_at)


def _if_it_can(name: str, binds: dict[str, Any], connection: Connection) -> Any:
    """The first row of a statement that not every relation can answer, None where it cannot."""
    try:
        with connection.begin_nested():
            return connection.execute(load_sql(name), binds).first()
    except DBAPIError:
        return None


def baseline_asked(plan: Plan, as_of: datetime) -> Asked:
    """Return the question for legacy's last 24 hours, for baseline_from."""
    return _span_asked(plan, _day_before(plan, as_of), (UNIFIED, LEGACY))


def _day_before(plan: Plan, as_of: datetime) -> Window:
    until = as_of - plan.monitoring.ingestion_lag
    return Window(start=until - timedelta(hours=24), end=until)


def baseline_from(plan: Plan, as_of: datetime, row: Any) -> tuple[Traffic, Counts]:
    """Return legacy's last 24 hours as one row of sql/phase.sql holds them, and the router's own
    failures in them.
    """
    traffic = _spanned(plan, _day_before(plan, as_of), row)
    rows = sum(cell.requests for cell in traffic.cells)
    unreached = [cell for cell in traffic.cells if cell.routed_to == ROUTER_ERROR]
    bad = sum(cell.failing or 0 for cell in unreached)
    return traffic, Counts(bad=bad, total=rows - (sum(cell.requests for cell in unreached) - bad))


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
    merged: dict[tuple[str, str, str], dict[str, Any]] = {}
    for row in rows:
        message = redact(row["error_message"] or "(no message)")
        domain, routed_to = cells.place_of(row["domain"], row["routed_to"])
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


def _instant(value: str | None) -> datetime | None:
    return datetime.fromisoformat(value) if value else None


def _health(connection: Connection) -> Health:
    """What the runbook's function answers; one that fails, writes or does not end costs its own
    check and no other.
    """
    attempt = connection.begin_nested()
    try:
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = '{HEALTH_SECONDS}s'")
        rows = connection.execute(load_sql("health")).scalar_one()
    except DBAPIError as error:
        said = redact(" ".join(str(error.orig).splitlines()[:1]))[:200]
        return Health(rows=None, reason=f"check_routing_health() failed: {said}", failed=True)
    finally:
        attempt.rollback()
    return Health(rows=tuple(rows or ()), reason="asked in the same transaction")
