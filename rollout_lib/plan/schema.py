"""The plan as a value: what a plan file may say, of which type. No file is read.

Nothing is coerced: `percentage: "10"`, `hold: 240`, an unknown key, NaN and empty lists are
refused."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field

from rollout_lib.plan.rules import begins, ends
from rollout_lib.plan.values import Clock, Day, Duration, Instant, Name, Rate, Share, Zone


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class DatabasePlan(_Strict):
    """How the database is found, and what it must identify itself as."""

    variable: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")] = "DATABASE_URL"
    name: Annotated[str, Field(min_length=1)]  # glob on current_database()
    host: Annotated[str, Field(min_length=1)] = "*"  # glob on the host of the address
    # Supabase's project: its pooler has one host for all of them
    project: Annotated[str, Field(pattern=r"^[a-z0-9]{4,40}$")] | None = None
    # the id that `rollout migrate --apply` gave this database, or its beginning
    marker: Annotated[str, Field(pattern=r"^[0-9a-f]{8}[0-9a-f-]{0,28}$")] | None = None
    require_tls: bool = True  # sslmode at least `require` for anything but loopback
    router_role: str = ""  # whose inserts pre-flight tries; "" is service_role, where it exists


class Phase(_Strict):
    """One percentage held for a time; day and start are local to the plan's time zone."""

    percentage: Share
    hold: Duration
    day: Day
    start: Clock


class Monitoring(_Strict):
    """A slot every interval; the literal window; how late a row may be logged."""

    interval: Duration
    window: Duration
    ingestion_lag: Duration
    stale_after: Duration  # newest row of any kind older than this: could not look
    evaluation_valid: Duration  # a PASS older than this no longer opens the next phase
    attestation_valid: Duration
    tripwire: Duration = timedelta(seconds=30)  # between two rounds of the watcher


class Thresholds(_Strict):
    """The runbook's limits: rates in percent, latencies in ms, split in percentage points."""

    error_rate_investigate_pct: Rate
    error_rate_rollback_pct: Rate
    p95_investigate_ms: Annotated[int, Field(gt=0)]
    p95_rollback_ms: Annotated[int, Field(gt=0)]
    split_tolerance_points: Rate


class ActsAlone(_Strict):
    """What is done without asking; everything else asks."""

    protected_leak: bool
    protected_down: bool | None = None  # as protected_leak where a plan does not say
    roll_back: bool
    step_back: bool

    @property
    def endpoint_down(self) -> bool:
        """May a protected endpoint that does not answer switch routing off without asking?"""
        return self.protected_leak if self.protected_down is None else self.protected_down


class Freeze(_Strict):
    """A span in which the percentage is never raised; lowering is always possible."""

    start: Instant
    end: Instant
    reason: Annotated[str, Field(min_length=1)]


class ProbesPlan(_Strict):
    """Addresses that are asked with GET: protected endpoints, the router, a witness of our own
    network.

    `management_project` is a Supabase project reference: the function list is then read from the
    Management API with the token in $SUPABASE_ACCESS_TOKEN, or from the `supabase` command.
    """

    protected: dict[str, Annotated[str, Field(pattern=r"^https?://")]] = {}
    router_health: Annotated[str, Field(pattern=r"^https?://")] | None = None
    witness: Annotated[str, Field(pattern=r"^https?://")] | None = None
    management_project: str | None = None
    management_address: Annotated[str, Field(pattern=r"^https?://")] = "https://api.supabase.com"
    timeout: Duration = timedelta(seconds=5)


class GatePlan(_Strict):
    """An address of ours that is asked before each raise; anything but a clear yes is no."""

    name: Name
    url: Annotated[str, Field(pattern=r"^https?://")]
    method: Literal["GET", "POST"] = "POST"
    timeout: Duration = timedelta(seconds=10)


class Plan(_Strict):
    """The validated content of one plan file; `digest` and `path` are added by load_plan."""

    rollout: Name
    environment: Literal["rehearsal", "staging", "production"]
    time_zone: Zone
    database: DatabasePlan
    domains: Annotated[tuple[Name, ...], Field(min_length=1, strict=False)]
    protected_domains: Annotated[tuple[Name, ...], Field(min_length=1, strict=False)]
    phases: Annotated[tuple[Phase, ...], Field(min_length=1, strict=False)]
    monitoring: Monitoring
    thresholds: Thresholds
    mode: Literal["evidence", "strict"]
    acts_alone: ActsAlone
    expected_requests_per_hour: dict[Name, Annotated[int, Field(gt=0)]]
    freezes: Annotated[tuple[Freeze, ...], Field(strict=False)] = ()
    approvals: Annotated[int, Field(ge=0, le=5)] = 0  # different people that a raise needs
    gates: Annotated[tuple[GatePlan, ...], Field(strict=False)] = ()  # asked before a raise
    cool_down: Duration | None = None  # after a rollback, before anything begins again
    probes: ProbesPlan = ProbesPlan()
    digest: Annotated[str, Field(exclude=True)] = ""
    path: Annotated[str, Field(exclude=True)] = ""

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)

    def begins(self, index: int) -> datetime:
        """Scheduled beginning of phases[index], aware, in the plan's zone."""
        return begins(self.phases[index], self.time_zone)

    def ends(self, index: int) -> datetime:
        """End of the hold, counted in real hours (a night with a clock change
        does not shorten it).
        """
        return ends(self.phases[index], self.time_zone)
