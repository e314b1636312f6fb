"""The values of measuring: what was configured, counted and probed. Frozen, keyword-only, no
behaviour.

Instants are aware datetimes, percentages Decimal (the column is DECIMAL(5,2)), latencies integer
milliseconds, rates two integers (bad, total) until they are shown. The values of deciding are in
model.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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

    latencies maps integer ms to rows and is exact (rows without a response time are left out),
    empty where only counts were taken (increments, buckets). failing and slow_failing count
    distinct webhooks that were not already bad earlier in the phase (a row whose id identifies
    nothing counts by itself): filled for increments and phases, None for plain windows. failed_at
    and slow_at are when each of them was bad first, None where nobody asked."""

    domain: str
    routed_to: str
    requests: int
    errors: int
    latencies: Mapping[int, int]
    failing: int | None = None
    slow: int = 0  # rows slower than the plan's p95 limit
    slow_failing: int | None = None
    timed: int | None = None  # rows with a latency of 0 ms or more; None: as latencies say
    untimed: int = 0  # of the rows that succeeded, those without one
    failed_at: tuple[datetime, ...] | None = None
    slow_at: tuple[datetime, ...] | None = None


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
class Word:
    """A word of the log that is none of ours, or one of ours spelled otherwise (meant), in the last
    hour.

    column: "domain", "routed_to", "status" or "response_time_ms" (a negative latency)."""

    column: str
    word: str  # cut and redacted: it is hostile input
    meant: str  # the known word that it counts as; "" where it is unknown
    rows: int


@dataclass(frozen=True, kw_only=True)
class Ids:
    """Whether message_id tells webhooks apart, by the newest rows of the last hour (200 a kind).

    nameless: places ("unified", "unified/jobs") where fewer than one id in ten rows is distinct;
    repeated: failing rows of the one id that has most of them on unified."""

    rows: int = 0
    named: int = 0
    nameless: tuple[str, ...] = ()
    repeated: int = 0


@dataclass(frozen=True, kw_only=True)
class Strays:
    """Rows that are not legacy's, written while a phase ran and stamped outside it; bad failed."""

    rows: int
    bad: int
    first_at: datetime | None
    last_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Health:
    """What the runbook's check_routing_health() said, or why it was not asked; failed: it was."""

    rows: tuple[Mapping[str, Any], ...] | None
    reason: str
    failed: bool = False


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Everything that one measuring statement saw, at one instant of the database.

    hour is the runbook's last hour, unclipped; window the same clipped at the phase's beginning;
    increment what came since the last look of the phase (or its beginning); buckets the increment
    and the looks of the last hour before it, read again, oldest first; before is the last look,
    which says what was counted of them; phase the whole phase (evaluation only). All end at as_of
    minus the ingestion lag. errors are the hour's up to as_of,
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
    buckets: tuple[Traffic, ...] = ()
    before: Look | None = None
    percentage: Decimal | None = None  # of the running phase: what refractory times follow from
    settled_from: datetime | None = None  # from when the split is counted, where buckets are
    words: tuple[Word, ...] = ()
    ids: Ids = Ids()
    hidden: tuple[str, ...] = ()  # tables of the log that row security may keep from our role
    contradicted: int = 0  # unified rows of the hour that say success and have an error message
    ahead_rows: int = 0  # stamped later than as_of, at most 1,000 counted
    ahead_until: datetime | None = None
    arrived_since_off: int | None = None  # unified rows inserted since routing went off, if known
    strays: Strays | None = None  # of a whole phase; None where the order of writing is not known


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
    protected counts the protected domains' own webhooks; legacy_domains legacy's rows of each of
    the plan's domains. late are requests of earlier looks that arrived since, gone those that were
    counted and are not there any more. buckets are the edges of what was read again (n + 1), and
    seen what was counted of each of the n so far, by stream; last_bad when the last failure that
    counted was, for each; carried the same before the first of them. plain is what a stream counts
    without its refractory time, where that is more: what is told to people, while errors, latency and
    router are what the evidence bets on. rows are unified's; slower the rows over the p95's line of each
    destination, among those with a latency. An older record has none of these."""

    slot: datetime | None
    window: Window
    errors: Mapping[str, Counts]
    latency: Mapping[str, Counts]
    router: Counts
    legacy: Counts
    unified_settled: int
    legacy_settled: int
    closed: bool = True
    protected: Mapping[str, Counts] = field(default_factory=dict)
    legacy_domains: Mapping[str, int] = field(default_factory=dict)
    late: int = 0
    gone: int = 0
    buckets: tuple[datetime, ...] = ()
    seen: Mapping[str, tuple[Counts, ...]] = field(default_factory=dict)
    last_bad: Mapping[str, tuple[datetime | None, ...]] = field(default_factory=dict)
    carried: Mapping[str, datetime] = field(default_factory=dict)
    plain: Mapping[str, Counts] = field(default_factory=dict)
    rows: int | None = None
    slower: Mapping[str, Counts] = field(default_factory=dict)


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
