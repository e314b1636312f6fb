"""The values of measuring: what was configured, counted and probed. Frozen, keyword-only, no
behaviour.

Instants are aware datetimes, percentages Decimal (the column is DECIMAL(5,2)), latencies integer
milliseconds, rates two integers (bad, total) until they are shown. The values of deciding are in
model.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

UNIFIED, LEGACY, ROUTER_ERROR = "unified", "legacy", "error"  # routed_to in webhook_routing_logs
TOTAL, ROUTER = "total", "router"  # names of streams beside the plan's domains


@dataclass(frozen=True, kw_only=True)
class RoutingConfig:
    """The newest row of webhook_routing_config (latest by created_at), as read at one instant."""

    percentage: Decimal
    enabled: bool
    domains: tuple[str, ...]
    created_at: datetime
    updated_at: datetime | None
    notes: str | None
    rows: int  # rows in the table: more than one is drift to look at


@dataclass(frozen=True, kw_only=True)
class Window:
    """A half-open span of event time, [start, end), both aware."""

    start: datetime
    end: datetime


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What one domain sent to one destination in a window.

    latencies maps integer ms to rows and is exact (rows without a response time are left out);
    failing and slow_failing count distinct message_ids that were not already bad earlier in the
    phase (a row without an id counts by itself): filled for increments and phases, None for plain
    windows."""

    domain: str
    routed_to: str
    requests: int
    errors: int
    latencies: Mapping[int, int]
    failing: int | None = None
    slow: int = 0  # rows slower than the plan's p95 limit
    slow_failing: int | None = None


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """All cells of one window; a domain and destination without rows has no cell."""

    window: Window
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class Leak:
    """Rows routed to unified whose domain is not among the plan's, since the phase began."""

    rows: int
    domains: tuple[str, ...]
    first_at: datetime | None
    last_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Health:
    """What the runbook's check_routing_health() said, or why it was not asked."""

    rows: tuple[Mapping[str, Any], ...] | None
    reason: str


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Everything that one measuring statement saw, at one instant of the database.

    hour is the runbook's last hour, unclipped; window the same clipped at the phase's beginning;
    increment what came since the last look of the phase (or its beginning); phase the whole phase
    (evaluation only). All end at as_of minus the ingestion lag. errors are the hour's up to as_of,
    redacted, as traffic.merged_errors gives them. settled_* count rows of the plan's domains that a
    new percentage may be judged by (later than the change + 30 s), in the increment."""

    as_of: datetime
    hour: Traffic
    window: Traffic
    increment: Traffic
    phase: Traffic | None
    leak: Leak
    settled_unified: int
    settled_legacy: int
    last_unified_at: datetime | None
    legacy_since_unified: int  # the plan's domains, since last_unified_at (or the phase's start)
    newest_row_at: datetime | None
    health: Health
    errors: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Bad among total: distinct failing webhooks, and requests with retries taken out."""

    bad: int
    total: int


@dataclass(frozen=True, kw_only=True)
class Look:
    """One increment as the evidence engine sees it; recorded in each scheduled checkpoint.

    errors and latency have a Counts for "total" and each of the plan's domains (unified only);
    legacy is legacy's errors in total, for attribution. closed is False for a partial look.
    """

    slot: datetime | None
    window: Window
    errors: Mapping[str, Counts]
    latency: Mapping[str, Counts]
    router: Counts
    legacy: Counts
    unified_settled: int
    legacy_settled: int
    closed: bool = True


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One endpoint asked with GET (twice where the first try failed); up is None where nobody could
    look.

    kind: "protected", "router", "function", "witness" (an address that proves our own network).
    """

    kind: str
    name: str
    up: bool | None
    failures: int  # failed probes of it in this run, this one included
    at: datetime
    detail: str


@dataclass(frozen=True, kw_only=True)
class Uptime:
    """One protected webhook over a phase, by the ledger's checks. in_a_row: failed probes since the
    last answer.

    A failed probe counts only where our own network was proven; what nobody could look at is
    unseen. failing_at: the checks (ISO instants) that found it down by its own rows."""

    answered: int = 0
    failed: int = 0
    unseen: int = 0
    in_a_row: int = 0
    failing_at: tuple[str, ...] = ()
