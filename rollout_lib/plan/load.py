"""Read a plan file: one strict YAML file per rollout and environment, validated whole.

`load_plan(path)` gives a frozen Plan or raises PlanError with every problem at once, each with its
path."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from rollout_lib.errors import PlanError, UsageError
from rollout_lib.plan.foreign import tool_of
from rollout_lib.plan.rules import contradictions, sound
from rollout_lib.plan.schema import Plan
from rollout_lib.surroundings import REHEARSAL, addresses, beside


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
