"""What other tools' rollout files say in a plan's words: phases, thresholds, and what has no
counterpart here. Pure; the shapes are those of the tools' own documentation.

Argo Rollouts (`strategy.canary.steps`), Flagger (`analysis`, formerly `canaryAnalysis`), AWS
CodeDeploy (`trafficRoutingConfig` or the name of a predefined configuration) and AWS AppConfig (a
deployment strategy)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import Any

from rollout_lib.errors import ParameterError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_NAMED = re.compile(
    r"CodeDeployDefault\.(?:Lambda|ECS)(Canary|Linear)(\d+)Percent(?:Every)?(\d+)Minutes?"
)
_MOST = 100


@dataclass(frozen=True, kw_only=True)
class Taken:
    """tool: whose file it is. phases: percentage and hold (None: left to be filled in). thresholds:
    by the plan's own names. left: what has no counterpart, each a sentence.
    """

    tool: str
    phases: tuple[tuple[Decimal, timedelta | None], ...]
    thresholds: Mapping[str, Decimal] = field(default_factory=dict)
    left: tuple[str, ...] = ()


def tool_of(content: Any) -> str:
    """Whose rollout file this is; "" where it is none that is known."""
    found = _reader(content)
    return found[0] if found else ""


def taken_from(content: Any) -> Taken:
    """Read a foreign file; raises ParameterError where it is none, or holds no phase."""
    found = _reader(content)
    if found is None:
        raise ParameterError(
            problems="--from: no rollout of Argo Rollouts, Flagger, CodeDeploy or AppConfig is in it"
        )
    tool, read = found
    try:
        taken = read(content)
    except (AttributeError, KeyError, TypeError, ValueError, InvalidOperation) as error:
        raise ParameterError(
            problems=f"--from: a file of {tool}, and not as it has them: {error}"
        ) from None
    rising = all(before < after for (before, _), (after, _) in pairwise(taken.phases))
    if not taken.phases or not rising or not 0 < taken.phases[0][0] <= taken.phases[-1][0] <= _MOST:
        shown = ", ".join(f"{percentage:g} %" for percentage, _ in taken.phases) or "none"
        raise ParameterError(
            problems=f"--from: its weights do not rise from over 0 to at most 100 %: {shown}"
        )
    return taken


def _reader(content: Any) -> tuple[str, Callable[[Any], Taken]] | None:
    if isinstance(content, str) and _NAMED.fullmatch(content.strip()):
        return "AWS CodeDeploy", _codedeploy_name
    if not isinstance(content, Mapping):
        return None
    api = str(content.get("apiVersion", ""))
    if api.startswith("argoproj.io/") and content.get("kind") == "Rollout":
        return "Argo Rollouts", _argo
    if api.startswith("flagger.app/"):
        return "Flagger", _flagger
    if "trafficRoutingConfig" in content:
        return "AWS CodeDeploy", _codedeploy
    if "deploymentConfigName" in content:
        return "AWS CodeDeploy", lambda given: _codedeploy_name(str(given["deploymentConfigName"]))
    if "DeploymentDurationInMinutes" in content or "GrowthFactor" in content:
        return "AWS AppConfig", _appconfig
    return None


def _argo(content: Mapping[str, Any]) -> Taken:
    canary = content["spec"]["strategy"]["canary"]
    phases: list[tuple[Decimal, timedelta | None]] = []
    left = [f"strategy.canary.{key}" for key in canary if key != "steps"]
    for number, step in enumerate(canary["steps"]):
        if "setWeight" in step:
            phases.append((Decimal(str(step["setWeight"])), None))
        elif "pause" in step and phases:
            length = (step["pause"] or {}).get("duration")
            if length is None:
                left.append(f"steps[{number}].pause without a duration: waits for a person")
                continue
            percentage, held = phases[-1]
            phases[-1] = percentage, (held or timedelta(0)) + _duration(length)
        else:
            left.append(f"steps[{number}].{next(iter(step), 'empty')}")
    if phases and phases[0][0] == 0:
        left.append("setWeight 0: nothing is routed before the first phase")
        phases = phases[1:]
    return Taken(tool="Argo Rollouts", phases=tuple(phases), left=_without(left))


def _flagger(content: Mapping[str, Any]) -> Taken:
    spec = content["spec"]
    analysis = spec.get("analysis") or spec["canaryAnalysis"]
    interval = _duration(analysis["interval"])
    if "stepWeights" in analysis:
        weights = [Decimal(str(one)) for one in analysis["stepWeights"]]
    else:
        step, most = Decimal(str(analysis["stepWeight"])), Decimal(str(analysis["maxWeight"]))
        weights = [step * n for n in range(1, int(most / step) + 1)] if step > 0 else []
    thresholds: dict[str, Decimal] = {}
    left = [
        f"analysis.{key}"
        for key in analysis
        if key not in ("interval", "stepWeights", "stepWeight", "maxWeight", "metrics")
    ]
    for metric in analysis.get("metrics") or ():
        span = metric.get("thresholdRange") or {}
        if metric.get("name") == "request-success-rate" and "min" in span:
            thresholds["error_rate_rollback_pct"] = 100 - Decimal(str(span["min"]))
        elif metric.get("name") == "request-duration" and "max" in span:
            thresholds["p95_rollback_ms"] = Decimal(str(span["max"]))
            left.append("metrics.request-duration: its percentile is the 99th, a plan's the 95th")
        else:
            left.append(f"analysis.metrics.{metric.get('name', 'without a name')}")
    return Taken(
        tool="Flagger",
        phases=tuple((one, interval) for one in weights),
        thresholds=thresholds,
        left=_without(left),
    )


def _codedeploy(content: Mapping[str, Any]) -> Taken:
    routing = content["trafficRoutingConfig"]
    left = [key for key in content if key not in ("trafficRoutingConfig", "deploymentConfigName")]
    if routing["type"] == "TimeBasedCanary":
        canary = routing["timeBasedCanary"]
        return _canary(canary["canaryPercentage"], canary["canaryInterval"], left)
    if routing["type"] == "TimeBasedLinear":
        linear = routing["timeBasedLinear"]
        return _linear(linear["linearPercentage"], linear["linearInterval"], left)
    raise ValueError(f"type {routing['type']} shifts all traffic at once")


def _codedeploy_name(name: str) -> Taken:
    match = _NAMED.fullmatch(name.strip())
    if match is None:
        raise ValueError(f"{name} is not known by its name")
    kind, percentage, minutes = match.groups()
    return (_canary if kind == "Canary" else _linear)(int(percentage), int(minutes), [])


def _canary(percentage: Any, minutes: Any, left: list[str]) -> Taken:
    """So much for so long, then everything: how long that is held, CodeDeploy does not say."""
    first = Decimal(str(percentage)), timedelta(minutes=float(minutes))
    phases = (first, (Decimal(_MOST), None))
    return Taken(tool="AWS CodeDeploy", phases=phases, left=_without(left))


def _linear(percentage: Any, minutes: Any, left: list[str]) -> Taken:
    step, hold = Decimal(str(percentage)), timedelta(minutes=float(minutes))
    weights = [step * n for n in range(1, int(_MOST / step) + 1)]
    if not weights or weights[-1] != _MOST:
        weights.append(Decimal(_MOST))
    phases = tuple((one, hold if one != _MOST else None) for one in weights)
    return Taken(tool="AWS CodeDeploy", phases=phases, left=_without(left))


def _appconfig(content: Mapping[str, Any]) -> Taken:
    minutes, factor = (
        float(content["DeploymentDurationInMinutes"]),
        Decimal(str(content["GrowthFactor"])),
    )
    bake = timedelta(minutes=float(content.get("FinalBakeTimeInMinutes") or 0))
    doubles = content.get("GrowthType", "LINEAR") == "EXPONENTIAL"
    weights: list[Decimal] = []
    while factor > 0 and (not weights or weights[-1] < _MOST):
        grown = factor * (2 ** len(weights) if doubles else len(weights) + 1)
        weights.append(min(grown, Decimal(_MOST)))
    known = ("DeploymentDurationInMinutes", "GrowthFactor", "GrowthType", "FinalBakeTimeInMinutes")
    names = ("Name", "Description", "Id", "ReplicateTo", *known)
    each = timedelta(minutes=round(minutes / max(len(weights), 1))) or None
    phases = tuple((one, each if one < _MOST else bake or None) for one in weights)
    return Taken(
        tool="AWS AppConfig", phases=phases, left=_without([k for k in content if k not in names])
    )


def _without(names: list[str]) -> tuple[str, ...]:
    return tuple(f"{name} has no counterpart" if ":" not in name else name for name in names)


def _duration(value: Any) -> timedelta:
    """`90`, `"10m"`, `"1h30m"`."""
    if isinstance(value, int) and not isinstance(value, bool):
        return timedelta(seconds=value)
    parts = re.findall(r"(\d+)(s|m|h|d)", str(value))
    if not parts or "".join(n + unit for n, unit in parts) != str(value):
        raise ValueError(f"{value!r} is no duration")
    return timedelta(seconds=sum(int(n) * _UNITS[unit] for n, unit in parts))
