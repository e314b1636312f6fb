"""What no single field of a plan can show: rising percentages, overlapping domains, holds that do
not fit.

The rules read a Plan, or what `sound` leaves of a wrong one: there a value that is missing or not
right by itself is None, and a rule is silent only about what needs that value."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin
from zoneinfo import ZoneInfo

from pydantic import BaseModel, TypeAdapter, ValidationError

if TYPE_CHECKING:
    from rollout_lib.plan import Phase, Plan

LONGEST_WAIT = timedelta(seconds=30)
LONGEST_TIMEOUT = timedelta(
    seconds=7
)  # two tries and twice a witness, each so long, and a round is over in time


def begins(phase: Phase, time_zone: str) -> datetime:
    """When a phase is planned to begin."""
    return datetime.combine(phase.day, phase.start, tzinfo=ZoneInfo(time_zone))


def ends(phase: Phase, time_zone: str) -> datetime:
    """When its hold is over if it begins as planned; hours are real ones, also over a change of
    clocks.
    """
    return (begins(phase, time_zone).astimezone(UTC) + phase.hold).astimezone(ZoneInfo(time_zone))


def sound(kind: Any, value: Any) -> Any:
    """The value as a field of this kind holds it, and None in the place of each part that is not
    right by itself.
    """
    bare = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    if isinstance(bare, type) and issubclass(bare, BaseModel):
        return _sound_model(bare, value if isinstance(value, Mapping) else {})
    if get_origin(bare) is tuple:
        items = value if isinstance(value, list | tuple) and value else (None,)
        return tuple(sound(get_args(bare)[0], item) for item in items)
    if get_origin(bare) is dict:
        pairs = value.items() if isinstance(value, Mapping) else ((None, None),)
        return {
            sound(get_args(bare)[0], key): sound(get_args(bare)[1], item) for key, item in pairs
        }
    try:
        return TypeAdapter(kind).validate_python(value, strict=True)
    except ValidationError:
        return None


def _sound_model(model: type[BaseModel], value: Mapping[str, Any]) -> SimpleNamespace:
    found = {}
    for name, field in model.model_fields.items():
        kind = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
        absent = name not in value and not field.is_required()
        found[name] = field.default if absent else sound(kind, value.get(name))
    return SimpleNamespace(**found)


def _known(*values: Any) -> bool:
    return not any(value is None for value in values)


def _domain_problems(plan: Plan) -> Iterator[str]:
    for name in ("domains", "protected_domains"):
        values = [value for value in getattr(plan, name) if value is not None]
        if len(set(values)) != len(values):
            yield f"{name}: each once, {', '.join(values)}"
    both = sorted({*plan.domains} & {*plan.protected_domains} - {None})
    if both:
        yield f"protected_domains: {', '.join(both)} may not be eligible and protected"


def _rising_problems(plan: Plan) -> Iterator[str]:
    before: Decimal | None = None
    for index, phase in enumerate(plan.phases):
        if before is not None and phase.percentage is not None and phase.percentage <= before:
            yield f"phases[{index}].percentage: must rise, {phase.percentage} after {before}"
        before = before if phase.percentage is None else phase.percentage


def _calendar_problems(plan: Plan) -> Iterator[str]:
    interval, zone = plan.monitoring.interval, plan.time_zone
    before: Phase | None = None
    for index, phase in enumerate(plan.phases):
        if (
            before
            and _known(zone, phase.day, phase.start, before.day, before.start, before.hold)
            and begins(phase, zone) < ends(before, zone)
        ):
            yield f"phases[{index}].start: the hold of phases[{index - 1}] has not ended by then"
        if _known(phase.hold, interval) and phase.hold % interval:
            yield (
                f"phases[{index}].hold: must be a whole number of monitoring.interval, {phase.hold}"
            )
        before = phase
    if _known(interval, plan.monitoring.window) and interval > plan.monitoring.window:
        yield (
            "monitoring.window: must be at least monitoring.interval, or rows would never be"
            " looked at"
        )


def _tripwire_problems(plan: Plan) -> Iterator[str]:
    """An act comes at most 40 s after its row is committed: so seldom may a round be, and so slow
    its questions.
    """
    wait, timeout = plan.monitoring.tripwire, plan.probes.timeout
    if _known(wait) and wait > LONGEST_WAIT:
        yield (
            f"monitoring.tripwire: must be at most {LONGEST_WAIT.seconds} s, {wait}: an act would"
            " come too late"
        )
    if _known(timeout) and timeout > LONGEST_TIMEOUT:
        yield (
            f"probes.timeout: must be at most {LONGEST_TIMEOUT.seconds} s, {timeout}: a dead"
            " endpoint holds up acts"
        )


def _threshold_problems(plan: Plan) -> Iterator[str]:
    for name, unit in (("error_rate", "pct"), ("p95", "ms")):
        low, high = (
            getattr(plan.thresholds, f"{name}_{act}_{unit}") for act in ("investigate", "rollback")
        )
        if _known(low, high) and low >= high:
            yield (
                f"thresholds.{name}_rollback_{unit}: must be over {name}_investigate_{unit}, {high}"
                f" after {low}"
            )


def _traffic_problems(plan: Plan) -> Iterator[str]:
    expected = plan.expected_requests_per_hour
    if _known(*plan.domains, *expected) and set(expected) != set(plan.domains):
        yield "expected_requests_per_hour: must name exactly the domains"


def _freeze_problems(plan: Plan) -> Iterator[str]:
    for index, freeze in enumerate(plan.freezes):
        if _known(freeze.start, freeze.end) and freeze.end <= freeze.start:
            yield f"freezes[{index}].end: must be after start, {freeze.end} after {freeze.start}"


def _probe_problems(plan: Plan) -> Iterator[str]:
    stray = sorted({*plan.probes.protected} - {*plan.protected_domains, None})
    if stray and _known(*plan.protected_domains):
        yield f"probes.protected: {', '.join(stray)} is not a protected domain"


_RULES: tuple[Callable[[Any], Iterator[str]], ...] = (
    _domain_problems,
    _rising_problems,
    _calendar_problems,
    _tripwire_problems,
    _threshold_problems,
    _traffic_problems,
    _freeze_problems,
    _probe_problems,
)


def contradictions(plan: Any) -> list[str]:
    """Every contradiction among the values that are right by themselves, as `path: words`."""
    return [line for rule in _RULES for line in rule(plan)]
