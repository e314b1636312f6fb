"""Parameters are validated before a kernel starts: known names, the literal's own type, nothing coerced."""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
import yaml

from rollout_lib.errors import ParameterError, UsageError

Literal = str | int | float | bool


def load_notebook(path: Path) -> Any:
    """The notebook of a file; raises UsageError where there is none or it cannot be read."""
    try:
        return nbformat.read(path, as_version=4)
    except (OSError, ValueError, nbformat.ValidationError) as error:
        raise UsageError(reason=f"The notebook {path} cannot be read: {error}.") from None


def defaults(notebook: Any) -> dict[str, Literal]:
    """Names and literal values of the one `parameters` cell."""
    cells = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    if len(cells) != 1:
        raise UsageError(reason=f"A notebook needs exactly one parameters cell; this one has {len(cells)}.")
    found: dict[str, Literal] = {}
    for node in ast.parse("".join(cells[0].source)).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = ast.literal_eval(node.value)
    return found


def read_set(path: Path) -> dict[str, Any]:
    """A parameter set as `papermill -f` takes it."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ParameterError(problems=f"{path}: cannot be read: {error}") from None
    if not isinstance(content, Mapping):
        raise ParameterError(problems=f"{path}: must be a mapping of names to values")
    return dict(content)


def check(given: Mapping[str, Any], allowed: Mapping[str, Literal]) -> dict[str, Literal]:
    """The given values, all of them right; raises ParameterError naming every problem."""
    problems = []
    for name, value in given.items():
        if name not in allowed:
            problems.append(f"{name}: unknown; this notebook has {', '.join(allowed)}")
        elif type(value) is not type(allowed[name]):
            wanted = type(allowed[name]).__name__
            problems.append(f"{name}: must be {wanted} like {allowed[name]!r}, not {type(value).__name__} {value!r}")
        elif isinstance(value, float) and not math.isfinite(value):
            problems.append(f"{name}: must be a finite number, not {value}")
    if problems:
        raise ParameterError(problems="\n".join(problems))
    return dict(given)
