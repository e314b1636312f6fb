"""Parameters are validated before a kernel starts: known names, the literal's own type, nothing
coerced.
"""

from __future__ import annotations

import ast
import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat

from rollout_lib.database.session import parse_instant, parse_percentage
from rollout_lib.errors import ParameterError, UsageError
from rollout_lib.judgement.gates import off_the_plan
from rollout_lib.judgement.timeline import slot_of
from rollout_lib.plan import Plan

Literal = str | int | float | bool


def load_notebook(path: Path) -> tuple[Any, str]:
    """The notebook of a file and the sha256 of what was read; UsageError where there is none that
    can be.
    """
    try:
        content = path.read_bytes()
        return nbformat.reads(content.decode(), as_version=4), hashlib.sha256(content).hexdigest()
    except (OSError, ValueError, nbformat.ValidationError) as error:
        raise UsageError(reason=f"The notebook {path} cannot be read: {error}.") from None


def defaults(notebook: Any) -> dict[str, Literal]:
    """Names and literal values of the one `parameters` cell."""
    cells = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    if len(cells) != 1:
        raise UsageError(
            reason=f"A notebook needs exactly one parameters cell; this one has {len(cells)}."
        )
    found: dict[str, Literal] = {}
    for node in ast.parse("".join(cells[0].source)).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = ast.literal_eval(node.value)
    return found


def check(given: Mapping[str, Any], allowed: Mapping[str, Literal]) -> dict[str, Literal]:
    """The given values, all of them right; raises ParameterError naming every problem."""
    problems = []
    for name, value in given.items():
        if name not in allowed:
            problems.append(f"{name}: unknown; this notebook has {', '.join(allowed)}")
        elif type(value) is not type(allowed[name]):
            wanted = type(allowed[name]).__name__
            problems.append(
                f"{name}: must be {wanted} like {allowed[name]!r}, not {type(value).__name__}"
                f" {value!r}"
            )
        elif isinstance(value, float) and not math.isfinite(value):
            problems.append(f"{name}: must be a finite number, not {value}")
    if problems:
        raise ParameterError(problems="\n".join(problems))
    return dict(given)


def check_meaning(given: Mapping[str, Literal], plan: Plan) -> None:
    """What a text among the values must mean: instants, percentages of the plan, a reason where one
    is needed.

    The operations refuse the same; here it costs no kernel and leaves no record. Raises
    ParameterError."""
    problems: list[str] = []
    for name in ("as_of", "slot"):
        text = str(given.get(name, ""))
        instant = parse_instant("" if (name, text) == ("slot", "now") else text, name, problems)
        if (
            name == "slot"
            and instant is not None
            and instant != slot_of(instant, plan.monitoring.interval)
        ):
            problems.append(f"slot: {text} is not a whole multiple of {plan.monitoring.interval}")
    if given.get("as_of") and plan.environment != "rehearsal":
        problems.append(
            f"as_of: only a rehearsal has a clock of its own; this plan is {plan.environment}"
        )
    parse_percentage(str(given.get("expected_percentage", "")), "expected_percentage", problems)
    to = parse_percentage(str(given.get("to_percentage", "")), "to_percentage", problems)
    if to is not None and off_the_plan(plan, to):
        problems.append(off_the_plan(plan, to))
    if given.get("dry_run") is False and not str(given.get("reason", "")).strip():
        problems.append("reason: a change needs one; it stands on the ledger")
    if problems:
        raise ParameterError(problems="\n".join(problems))
