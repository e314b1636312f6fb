"""The plan: one strict YAML file per rollout and environment, validated whole at the door.

`load_plan(path)` gives a frozen Plan or raises PlanError with every problem at once, each with its
path. Nothing here is coerced: `percentage: "10"`, `hold: 240`, an unknown key, NaN and empty lists
are refused."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rollout_lib.errors import PlanError, UsageError
from rollout_lib.plan.foreign import tool_of
from rollout_lib.plan.rules import begins, contradictions, ends, sound
from rollout_lib.plan.values import Clock, Day, Duration, Instant, Name, Rate, Share, Zone
from rollout_lib.surroundings import REHEARSAL, addresses, beside


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


class _PlanLoader(yaml.SafeLoader):
    """Safe YAML that notes keys given twice (the last would win silently), and leaves a day that is
    none a text.
    """

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.problems: list[str] = []

    def mapping(self, node: yaml.MappingNode) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = sorted({str(key) for key in keys if keys.count(key) > 1})
        if twice:
            self.problems.append(
                f"line {node.start_mark.line + 1}: key given twice: {', '.join(twice)}"
            )
        return self.construct_mapping(node, deep=True)

    def instant(self, node: yaml.ScalarNode) -> Any:
        try:
            return self.construct_yaml_timestamp(node)
        except ValueError:  # such as 2025-02-30: refused by its path, as any other text
            return node.value


_PlanLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _PlanLoader.mapping)
_PlanLoader.add_constructor("tag:yaml.org,2002:timestamp", _PlanLoader.instant)


def default_path() -> Path:
    """$ROLLOUT_PLAN; else the rehearsal's plan, where nothing in the environment leads to a database.

    Raises UsageError where something does: what is asked without a plan could be answered of
    another database than the one that was meant."""
    named = os.environ.get("ROLLOUT_PLAN")
    if named:
        return beside(named)
    found = addresses()
    if found:
        names = ", ".join(f"${name}" for name in found)
        raise UsageError(
            reason=(
                f"{names} leads to a database, and no plan says which is meant. Name it: --plan"
                " parameters/….yaml or export ROLLOUT_PLAN=…; for the rehearsal: --plan"
                f" {REHEARSAL}."
            )
        )
    return beside(REHEARSAL)


def load_plan(path: str | Path = "") -> Plan:
    """Read and validate a plan file.

    Raises PlanError naming every problem with its path (`phases[2].percentage: must rise, 25 after
    25`)."""
    file = beside(path) if str(path) else default_path()
    text, content, problems = read_yaml(file)
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return parse_plan(content, path=str(file), digest=digest, problems=problems)


def read_yaml(file: str | Path) -> tuple[str, Any, list[str]]:
    """A file's text, its content, and what its content does not show any more: keys given twice."""
    try:
        # An editor's mark and its line ends are no edit: the digest is of the text without them.
        text = Path(file).read_text(encoding="utf-8-sig")
        loader = _PlanLoader(text)
        return text, loader.get_single_data(), loader.problems
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(path=file, problems=f"It cannot be read: {error}") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise PlanError(path=file, problems=f"It is not YAML: {error}") from None


def parse_plan(
    content: Any, *, path: str = "(given)", digest: str = "", problems: Sequence[str] = ()
) -> Plan:
    """A Plan from the YAML's content; raises PlanError with every problem at once, those already
    found first.
    """
    if not isinstance(content, Mapping):
        raise PlanError(
            path=path, problems="\n".join([*problems, "It must be a mapping of keys to values."])
        )
    if tool := tool_of(content):
        words = (
            f"It is a rollout of {tool}, and no plan: rollout plan new --from {path} takes it over."
        )
        raise PlanError(path=path, problems=words)
    added = {"digest": digest, "path": path}
    found = [*problems, *(f"{key}: unknown key" for key in added if key in content)]
    plan: Plan | None = None
    try:
        plan = Plan.model_validate({**content, **added})
    except ValidationError as error:
        found += _problems(error)
    found += contradictions(plan or sound(Plan, content))
    if found or plan is None:
        raise PlanError(path=path, problems="\n".join(found))
    return plan


def _problems(error: ValidationError) -> list[str]:
    """Pydantic's errors as `path: words`, in the order of the file."""
    lines: list[str] = []
    for item in error.errors(include_url=False, include_input=True):
        where = "".join(
            f"[{part}]" if isinstance(part, int) else f".{part}" for part in item["loc"]
        ).lstrip(".")
        where = where.replace(".[key]", "")
        words = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            words = "unknown key"
        elif item["type"] == "missing":
            words = "missing"
        elif item["type"] not in ("value_error",):
            words = f"{words[0].lower()}{words[1:]}, not {item['input']!r}"
        lines += [line if not where else f"{where}: {line}" for line in words.splitlines()]
    return lines
