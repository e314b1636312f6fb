"""What no single field of a plan can show: rising percentages, overlapping domains, holds that do not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from rollout_lib.plan import Monitoring, Phase, ProbesPlan, Thresholds


def begins(phase: Phase, time_zone: str) -> datetime:
    """When a phase is planned to begin."""
    return datetime.combine(phase.day, phase.start, tzinfo=ZoneInfo(time_zone))


def ends(phase: Phase, time_zone: str) -> datetime:
    """When its hold is over if it begins as planned; hours are real ones, also over a change of clocks."""
    return (begins(phase, time_zone).astimezone(UTC) + phase.hold).astimezone(ZoneInfo(time_zone))


def _domain_problems(domains: tuple[str, ...], protected_domains: tuple[str, ...]) -> Iterator[str]:
    for name, values in (("domains", domains), ("protected_domains", protected_domains)):
        if len(set(values)) != len(values):
            yield f"{name}: each once, {', '.join(values)}"
    both = sorted(set(domains) & set(protected_domains))
    if both:
        yield f"protected_domains: {', '.join(both)} may not be eligible and protected"


def _rising_problems(phases: tuple[Phase, ...]) -> Iterator[str]:
    for index, phase in enumerate(phases):
        at = f"phases[{index}].percentage"
        if not 0 < phase.percentage <= 100 or phase.percentage != round(phase.percentage, 2):
            yield f"{at}: must be over 0 and at most 100 with two decimals, {phase.percentage}"
        if index and phase.percentage <= phases[index - 1].percentage:
            yield f"{at}: must rise, {phase.percentage} after {phases[index - 1].percentage}"


def _calendar_problems(phases: tuple[Phase, ...], monitoring: Monitoring, time_zone: str) -> Iterator[str]:
    for index, phase in enumerate(phases):
        if index and begins(phase, time_zone) < ends(phases[index - 1], time_zone):
            yield f"phases[{index}].start: the hold of phases[{index - 1}] has not ended by then"
        if phase.hold % monitoring.interval:
            yield f"phases[{index}].hold: must be a whole number of monitoring.interval, {phase.hold}"
    if monitoring.interval > monitoring.window:
        yield "monitoring.window: must be at least monitoring.interval, or rows would never be looked at"


def _threshold_problems(thresholds: Thresholds) -> Iterator[str]:
    if not 0 < thresholds.error_rate_investigate_pct < thresholds.error_rate_rollback_pct < 100:
        yield "thresholds.error_rate_rollback_pct: 0 < investigate < rollback < 100 must hold"
    if thresholds.p95_investigate_ms >= thresholds.p95_rollback_ms:
        yield "thresholds.p95_rollback_ms: must be over p95_investigate_ms"
    if not 0 < thresholds.split_tolerance_points < 100:
        yield "thresholds.split_tolerance_points: must be over 0 and under 100"


def _traffic_problems(domains: tuple[str, ...], expected_requests_per_hour: Mapping[str, int]) -> Iterator[str]:
    if set(expected_requests_per_hour) != set(domains):
        yield "expected_requests_per_hour: must name exactly the domains"


def _probe_problems(protected_domains: tuple[str, ...], probes: ProbesPlan) -> Iterator[str]:
    stray = sorted(set(probes.protected) - set(protected_domains))
    if stray:
        yield f"probes.protected: {', '.join(stray)} is not a protected domain"


# What no single field can show. Each asks for the sections it names, so that one wrong section does not
# hide what is wrong in the others.
_CONTRADICTIONS: tuple[Callable[..., Iterator[str]], ...] = (
    _domain_problems,
    _rising_problems,
    _calendar_problems,
    _threshold_problems,
    _traffic_problems,
    _probe_problems,
)


def contradictions(sections: Mapping[str, Any]) -> list[str]:
    """Every contradiction among the sections that are right by themselves, as `path: words`."""
    found: list[str] = []
    for rule in _CONTRADICTIONS:
        needs = rule.__code__.co_varnames[: rule.__code__.co_argcount]
        if all(name in sections for name in needs):
            found += rule(**{name: sections[name] for name in needs})
    return found
