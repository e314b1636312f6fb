"""The plan: one strict YAML file per rollout and environment, validated whole at the door.

`load_plan(path)` gives a frozen Plan or raises PlanError with every problem at once, each with its path.
Nothing here is coerced: `percentage: "10"`, `hold: 240`, an unknown key, NaN and empty lists are refused.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from rollout_lib.errors import PlanError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _duration(value: Any) -> timedelta:
    """`90s`, `15m`, `4h`, `1d`; anything else is refused."""
    if isinstance(value, timedelta):
        return value
    match = re.fullmatch(r"([1-9]\d*)(s|m|h|d)", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"must be a duration such as 90s, 15m, 4h or 1d, not {value!r}")
    return timedelta(seconds=int(match[1]) * _UNITS[match[2]])


def _number(value: Any) -> Decimal:
    """A plain YAML number, exact; booleans, texts, NaN and infinities are refused."""
    if isinstance(value, Decimal):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"must be a number, not {value!r}")
    number = Decimal(str(value))
    if not number.is_finite():
        raise ValueError(f"must be a finite number, not {value!r}")
    return number


def _clock(value: Any) -> time:
    """`"09:00"`, quoted; YAML reads it bare as a number of minutes."""
    if isinstance(value, time):
        return value
    if not isinstance(value, str) or not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", value):
        raise ValueError(f'must be a quoted time such as "09:00", not {value!r}')
    return time.fromisoformat(value)


def _day(value: Any) -> date:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    raise ValueError(f"must be a date such as 2025-12-03, not {value!r}")


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"is not a time zone that this machine knows: {value!r}") from error
    return value


def _name(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", value):
        raise ValueError(f"must be lower-case letters, digits, - and _, not {value!r}")
    return value


Duration = Annotated[timedelta, BeforeValidator(_duration)]
Number = Annotated[Decimal, BeforeValidator(_number)]
Name = Annotated[str, Field(min_length=1, max_length=60), AfterValidator(_name)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class DatabasePlan(_Strict):
    """How the database is found, and what it must identify itself as."""

    variable: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")] = "DATABASE_URL"
    name: Annotated[str, Field(min_length=1)]  # glob on current_database()
    host: Annotated[str, Field(min_length=1)] = "*"  # glob on the host of the address
    require_tls: bool = True  # sslmode at least `require` for anything but loopback


class Phase(_Strict):
    """One percentage held for a time; day and start are local to the plan's time zone."""

    percentage: Number
    hold: Duration
    day: Annotated[date, BeforeValidator(_day)]
    start: Annotated[time, BeforeValidator(_clock)]


class Monitoring(_Strict):
    """A slot every interval; the literal window; how late a row may be logged."""

    interval: Duration
    window: Duration
    ingestion_lag: Duration
    stale_after: Duration  # newest row of any kind older than this: could not look
    evaluation_valid: Duration  # a PASS older than this no longer opens the next phase
    attestation_valid: Duration


class Thresholds(_Strict):
    """The runbook's limits: rates in percent, latencies in ms, split in percentage points."""

    error_rate_investigate_pct: Number
    error_rate_rollback_pct: Number
    p95_investigate_ms: Annotated[int, Field(gt=0)]
    p95_rollback_ms: Annotated[int, Field(gt=0)]
    split_tolerance_points: Number


class ActsAlone(_Strict):
    """What is done without asking; everything else asks."""

    protected_leak: bool
    roll_back: bool
    step_back: bool


class Freeze(_Strict):
    """A span in which the percentage is never raised; lowering is always possible."""

    start: datetime
    end: datetime
    reason: Annotated[str, Field(min_length=1)]

    @model_validator(mode="after")
    def _ordered(self) -> Freeze:
        if self.start.tzinfo is None or self.end.tzinfo is None:
            raise ValueError("start and end need an offset, as 2025-12-24T00:00:00+01:00")
        if self.end <= self.start:
            raise ValueError(f"end must be after start, {self.end} after {self.start}")
        return self


class ProbesPlan(_Strict):
    """Addresses that are asked with GET: protected endpoints, the router, a witness of our own network.

    `management_project` is a Supabase project reference: the function list is then read from the
    Management API with the token in $SUPABASE_ACCESS_TOKEN, or from the `supabase` command.
    """

    protected: dict[str, Annotated[str, Field(pattern=r"^https?://")]] = {}
    router_health: Annotated[str, Field(pattern=r"^https?://")] | None = None
    witness: Annotated[str, Field(pattern=r"^https?://")] | None = None
    management_project: str | None = None
    management_address: Annotated[str, Field(pattern=r"^https?://")] = "https://api.supabase.com"
    timeout: Duration = timedelta(seconds=5)


class Plan(_Strict):
    """The validated content of one plan file; `digest` and `path` are added by load_plan."""

    rollout: Name
    environment: Literal["rehearsal", "staging", "production"]
    time_zone: Annotated[str, AfterValidator(_zone)]
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
    probes: ProbesPlan = ProbesPlan()
    digest: Annotated[str, Field(exclude=True)] = ""
    path: Annotated[str, Field(exclude=True)] = ""

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)

    def begins(self, index: int) -> datetime:
        """Scheduled beginning of phases[index], aware, in the plan's zone."""
        phase = self.phases[index]
        return datetime.combine(phase.day, phase.start, tzinfo=self.zone)

    def ends(self, index: int) -> datetime:
        """End of the hold, counted in real hours (a night with a clock change does not shorten it)."""
        began = self.begins(index).astimezone(UTC)
        return (began + self.phases[index].hold).astimezone(self.zone)

    @model_validator(mode="after")
    def _consistent(self) -> Plan:
        problems = list(_contradictions(self))
        if problems:
            raise ValueError("\n".join(problems))
        return self


def _contradictions(plan: Plan):
    """What no single field can show; each line begins with the path of the field."""
    for name in ("domains", "protected_domains"):
        values = getattr(plan, name)
        if len(set(values)) != len(values):
            yield f"{name}: each once, {', '.join(values)}"
    both = sorted(set(plan.domains) & set(plan.protected_domains))
    if both:
        yield f"protected_domains: {', '.join(both)} may not be eligible and protected"
    for index, phase in enumerate(plan.phases):
        at = f"phases[{index}]"
        if not 0 < phase.percentage <= 100 or phase.percentage != round(phase.percentage, 2):
            yield f"{at}.percentage: must be over 0 and at most 100 with two decimals, {phase.percentage}"
        if index and phase.percentage <= plan.phases[index - 1].percentage:
            yield f"{at}.percentage: must rise, {phase.percentage} after {plan.phases[index - 1].percentage}"
        if index and plan.begins(index) < plan.ends(index - 1):
            yield f"{at}.start: begins before phases[{index - 1}] has been held for {plan.phases[index - 1].hold}"
        if phase.hold % plan.monitoring.interval:
            yield f"{at}.hold: must be a whole number of monitoring.interval, {phase.hold}"
    limits = plan.thresholds
    if not 0 < limits.error_rate_investigate_pct < limits.error_rate_rollback_pct < 100:
        yield "thresholds.error_rate_rollback_pct: 0 < investigate < rollback < 100 must hold"
    if limits.p95_investigate_ms >= limits.p95_rollback_ms:
        yield "thresholds.p95_rollback_ms: must be over p95_investigate_ms"
    if not 0 < limits.split_tolerance_points < 100:
        yield "thresholds.split_tolerance_points: must be over 0 and under 100"
    if plan.monitoring.interval > plan.monitoring.window:
        yield "monitoring.window: must be at least monitoring.interval, or rows would never be looked at"
    if set(plan.expected_requests_per_hour) != set(plan.domains):
        yield "expected_requests_per_hour: must name exactly the domains"
    stray = sorted(set(plan.probes.protected) - set(plan.protected_domains))
    if stray:
        yield f"probes.protected: {', '.join(stray)} is not a protected domain"


class _UniqueLoader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice (the last would win silently)."""


def _mapping(loader: _UniqueLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    twice = sorted({str(key) for key in keys if keys.count(key) > 1})
    if twice:
        raise yaml.MarkedYAMLError(
            problem=f"key given twice: {', '.join(twice)}", problem_mark=node.start_mark
        )
    return loader.construct_mapping(node, deep=True)


_UniqueLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def default_path() -> Path:
    """$ROLLOUT_PLAN, else the rehearsal's plan in the current folder or in the project's."""
    named = os.environ.get("ROLLOUT_PLAN")
    if named:
        return Path(named)
    here = Path("parameters/week6.rehearsal.yaml")
    return here if here.exists() else Path(__file__).parent.parent / here


def load_plan(path: str | Path = "") -> Plan:
    """Read and validate a plan file.

    Raises PlanError naming every problem with its path (`phases[2].percentage: must rise, 25 after 25`).
    """
    file = Path(path) if str(path) else default_path()
    try:
        text = file.read_text(encoding="utf-8")
        content = yaml.load(text, Loader=_UniqueLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(path=file, problems=f"It cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise PlanError(path=file, problems=f"It is not YAML: {error}") from None
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return parse_plan(content, path=str(file), digest=digest)


def parse_plan(content: Any, *, path: str = "(given)", digest: str = "") -> Plan:
    """A Plan from the YAML's content; raises PlanError with every problem at once."""
    if not isinstance(content, Mapping):
        raise PlanError(path=path, problems="It must be a mapping of keys to values.")
    for key in ("digest", "path"):
        if key in content:
            raise PlanError(path=path, problems=f"{key}: unknown key")
    try:
        return Plan.model_validate({**content, "digest": digest, "path": path})
    except ValidationError as error:
        raise PlanError(path=path, problems="\n".join(_problems(error))) from None


def _problems(error: ValidationError) -> list[str]:
    """Pydantic's errors as `path: words`, in the order of the file."""
    lines: list[str] = []
    for item in error.errors(include_url=False, include_input=True):
        where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in item["loc"]).lstrip(
            "."
        )
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
