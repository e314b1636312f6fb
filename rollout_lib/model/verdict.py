"""The values that flow through the suite: frozen, keyword-only, no behaviour, no I/O, no clock.

parameters -> session -> facts (RoutingConfig, Standing, Measurement) -> Verdict -> Change ->
Checkpoint. What was measured is in measured.py and imported here, so that there is one place to
import values from; what was decided, done and recorded follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from rollout_lib.model.measurement import (
    TOTAL,
    Counts,
    Look,
    RoutingConfig,
)


class State(StrEnum):
    """A verdict. Order and exit codes are in STATES, worst last."""

    CERTIFIED = "CERTIFIED"
    CLEAN = (  # literal only: no threshold crossed (the literal column has no notion of proof)
        "CLEAN"
    )
    CLEAN_UNPROVEN = "CLEAN_UNPROVEN"
    QUIET = "QUIET"
    OFF = "OFF"
    PASS = "PASS"  # end of a phase
    WATCH = "WATCH"
    INCONCLUSIVE = "INCONCLUSIVE"  # end of a phase
    HOLD = "HOLD"
    COULD_NOT_LOOK = "COULD_NOT_LOOK"
    NO_DATA = "NO_DATA"
    STEP_BACK = "STEP_BACK"
    ROLL_BACK = "ROLL_BACK"

    @property
    def words(self) -> str:
        """As people read it; the record keeps the value."""
        return _WORDS.get(self, self.value.replace("_", " "))


_WORDS = {
    State.CERTIFIED: "OK, PROVEN",
    State.CLEAN: "OK SO FAR",
    State.CLEAN_UNPROVEN: "OK SO FAR",
    State.PASS: "PASSED",
    State.WATCH: "LOOK",
    State.INCONCLUSIVE: "UNDECIDED",
}


# Best first. COULD_NOT_LOOK never outranks an act; an unknown state is a KeyError, never a pass.
STATES: dict[State, int] = {
    State.CERTIFIED: 0,
    State.CLEAN: 0,
    State.PASS: 0,
    State.CLEAN_UNPROVEN: 0,
    State.OFF: 0,
    State.QUIET: 0,
    State.WATCH: 10,
    State.INCONCLUSIVE: 20,
    State.HOLD: 20,
    State.COULD_NOT_LOOK: 50,
    State.NO_DATA: 50,
    State.STEP_BACK: 30,
    State.ROLL_BACK: 40,
}
BLIND = (State.COULD_NOT_LOOK, State.NO_DATA)  # nothing was seen, which is neither good nor bad


def worst(states: Sequence[State]) -> State:
    """The worst of at least one state, in the order of STATES; an empty list is an error, never a
    pass.
    """
    if not states:
        raise ValueError("no state to take the worst of")
    order = list(STATES)
    return max(states, key=order.index)


class Outcome(StrEnum):
    """The outcome of one named check."""

    PASS = "PASS"
    WARN = "WARN"
    FAIL = "FAIL"
    COULD_NOT_LOOK = "COULD NOT LOOK"
    NOT_APPLICABLE = "NOT APPLICABLE"


class FindingKind(StrEnum):
    """What the end of a phase can be undecided about."""

    ERROR_RATE = "error rate"
    LATENCY = "latency"
    SPLIT = "split"
    TRAFFIC = "traffic"
    SLOTS = "slots"
    LATE_ROWS = "late rows"
    UPTIME = "uptime"
    QUIET = "quiet"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What an inconclusive evaluation names, and what an acknowledgement of it covers.

    figures are what was observed, each written so that more is worse; members name what was found
    one by one (missed slots as ISO instants). requests more, or seconds at the present traffic,
    would settle it: None where no waiting does.
    """

    kind: FindingKind
    subject: str
    figures: Mapping[str, float] = field(default_factory=dict)
    members: tuple[str, ...] = ()
    requests: int | None = None
    seconds: float | None = None


class CheckKind(StrEnum):
    """What a check asks. Decisions branch on it; its name is a label for people."""

    CONFIGURATION = "configuration"  # is there a readable row?
    LEAK = "leak"
    DRIFT = "drift"
    LEDGER = "ledger"
    HEAD = "head"  # is it the ledger that was last seen here?
    PLAN = "plan"
    DATA = "data"
    OFF = "off"
    LOG = "log"  # nothing is wrong with the log itself
    OUTAGE = "outage"  # half of the rows failed
    LATENCIES = "latencies"  # enough rows have one
    IDS = "ids"  # they tell webhooks apart
    WORDS = "words"  # every one is known
    ARRIVED_LATE = "arrived late"
    ROWS_GONE = "rows gone"
    CLOCK = "clock"  # rows of the future
    SPLIT = "split"
    ERRORS = "errors"  # of a domain or in total; a stream as well
    LATENCY = "latency"  # of a domain or in total; a stream as well
    ROUTER = "router"  # a stream as well
    HEALTH = "health"  # the runbook's own function agrees
    PROBE = "probe"  # a protected endpoint answers
    NOT_PROBED = "not probed"  # no protected endpoint was asked
    ROWS = "rows"  # a protected webhook's own rows
    UPTIME = "uptime"  # of a protected webhook over the phase
    PROTECTED = "protected"  # the runbook's: the worst of them, and no leak
    PHASE_ERRORS = "phase errors"
    PHASE_LATENCY = "phase latency"
    PHASE_SPLIT = "phase split"
    IMPACT = "impact"
    ENOUGH = "enough"
    DEGRADATION = "degradation"
    HOLD_TIME = "hold time"
    SLOTS = "slots"
    LATE_ROWS = "late rows"
    STANDS = "stands"
    ACKNOWLEDGED = "acknowledged"
    LEGACY_ERRORS = "legacy errors"  # before the start; a person may override it
    LEGACY_LATENCY = "legacy latency"  # likewise
    ROUTER_BEFORE = "router before"
    DOMAINS = "domains"
    SHAPE = "shape"  # of one of the runbook's tables, its subject
    FUNCTIONS = "functions"  # the runbook's, all of them
    OTHER = "other"  # nothing branches on it


@dataclass(frozen=True, kw_only=True)
class Check:
    """One named question and its answer, with its arithmetic in `reason`.

    subject: the domain or webhook that it concerns, "total" for all of the plan's, "" for none."""

    name: str
    outcome: Outcome
    observed: str
    limit: str
    reason: str
    mend: str | None = None  # the statement or command that mends it
    state: State | None = None  # what it contributes to the verdict, where it does
    finding: Finding | None = None  # at the end of a phase: what it leaves undecided
    kind: CheckKind = CheckKind.OTHER
    subject: str = ""

    @property
    def label(self) -> str:
        """What people read: `errors of jobs`; the name, where it is words already."""
        return _of_domain(self.kind, self.subject) or self.name


@dataclass(frozen=True, kw_only=True)
class StreamEvidence:
    """Where one stream stands: E-values per look, interval, and both verdicts.

    stream is its label: "errors:total", "latency:jobs", "router"; measure (errors, latency or
    router) and domain say the same. bad and total are every failing webhook of the phase, as it is
    told, certified and bounded; counted, where it is less, is what the evidence bets on: a burst
    counts once. e_now, e_peak (the phase's highest) and certificate are natural logs; path has one
    log e-value per look of the phase."""

    stream: str
    bad: int
    total: int
    e_now: float
    e_peak: float
    hold_at: float
    act_at: float
    path: tuple[float, ...]
    certificate: float | None
    interval: tuple[float, float] | None
    literal: State
    evidence: State
    measure: CheckKind = CheckKind.OTHER
    domain: str = ""
    counted: Counts | None = None

    @property
    def label(self) -> str:
        """What people read: `latency of all domains`, `router`."""
        return _of_domain(self.measure, self.domain) or self.stream


def _of_domain(kind: CheckKind, domain: str) -> str:
    """`errors of jobs`, for what is measured of each domain and of all; "" for everything else."""
    if kind not in (CheckKind.ERRORS, CheckKind.LATENCY) or not domain:
        return ""
    return f"{kind} of {'all domains' if domain == TOTAL else domain}"


class Act(StrEnum):
    """What the verdict asks for; whether it is done without asking is in the plan."""

    NONE = "none"
    STEP_BACK = "step back"
    ROLL_BACK = "roll back"


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Unified minus legacy over the phase, as a share, with its always-valid interval; decides
    nothing.
    """

    metric: str  # "errors" (webhooks) or "latency" (rows over the line of the p95)
    unified: Counts
    legacy: Counts
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The answer of one check: both columns, the overall state, the arithmetic and what to do.

    state is what counts (literal's in mode strict, evidence's in mode evidence, worse of both with
    leaks, drift and data checks); latched is the highest act reached earlier in the phase.
    """

    state: State
    literal: State
    evidence: State
    mode: str
    sentence: str  # one sentence with its arithmetic, for the badge
    differ: str | None  # why the columns differ, None where they agree
    act: Act
    acts_alone: bool
    latched: State | None
    checks: tuple[Check, ...]
    streams: tuple[StreamEvidence, ...] = ()
    next_step: str = ""  # a command that can be pasted
    differences: tuple[Difference, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PhaseRun:
    """A phase that has begun: its place in the plan and the ledger's instant when it did."""

    index: int | None  # index in plan.phases; None at 5 % or off the plan
    percentage: Decimal
    began_at: datetime
    attempt: int = 1


@dataclass(frozen=True, kw_only=True)
class Gate:
    """One named condition for raising the percentage."""

    name: str
    met: bool
    reason: str


@dataclass(frozen=True, kw_only=True)
class Change:
    """A change of routing: what was, what was asked, what is, and whether it was done or only
    shown.
    """

    before: tuple[Decimal, bool]
    asked: tuple[Decimal, bool]
    after: tuple[Decimal, bool]
    applied: bool
    reason: str
    gates: tuple[Gate, ...] = ()
    detail: str = ""

    @property
    def lowers(self) -> bool:
        """Does less go to unified after it than before?"""
        share, enabled = self.before
        return self.after[0] < share or (enabled and not self.after[1])


@dataclass(frozen=True, kw_only=True)
class Place:
    """What every result begins with: which database answered. project and marker are the first
    eight signs of what the address and the database say, "" where they do not."""

    environment: str
    host: str
    database: str
    rollout: str
    time_zone: str
    project: str = ""
    marker: str = ""

    def __str__(self) -> str:
        parts = [
            self.environment.upper(),
            self.host,
            f"project {self.project}" if self.project else "",
            self.database,
            f"marker {self.marker}" if self.marker else "",
        ]
        return " · ".join(filter(None, parts))


class Origin(StrEnum):
    """What made a run."""

    RUN = "run"  # a notebook, a command or a click
    TRIPWIRE = "tripwire"  # the watcher, between two slots


@dataclass(frozen=True, kw_only=True)
class Adopted:
    """What somebody lowered by hand since the last change, accepted; notes are the configuration's."""

    percentage: Decimal
    enabled: bool
    notes: str = ""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Everything that one run of one notebook saw, decided and did. Stored as
    JSON on the ledger.
    """

    schema_version: int = 1
    origin: Origin = Origin.RUN
    rules: int = 1  # judgement.RULES when it was judged; absent in records of the first rules
    run_id: str
    operation: str  # preflight change monitor evaluate report rollback
    kind: str = "checkpoint"  # or "attempt", "extra", "dry-run"
    place: Place
    plan_digest: str
    plan_path: str
    operator: str
    at: datetime  # the database's clock, or as_of in rehearsal and replay
    recorded_at: datetime  # the database's clock
    phase: PhaseRun | None
    slot: datetime | None
    config: RoutingConfig | None
    verdict: Verdict | None
    look: Look | None = None
    change: Change | None = None
    figures: Mapping[str, Any] = field(
        default_factory=dict
    )  # table rows shown, per domain and total
    adopted: Adopted | None = None
    evidence: Mapping[str, Any] = field(
        default_factory=dict
    )  # "phase": {"bad", "total", "percentage"}
    findings: tuple[Finding, ...] = ()  # what an evaluation leaves undecided, by name
    exit_code: int
    state: State
    sentence: str
    message: Mapping[str, str] | None = None  # {"subject": …, "text": …}
    provenance: Mapping[str, str] = field(
        default_factory=dict
    )  # library, git commit, notebook hash
    head_before: tuple[int, str] = (0, "")
