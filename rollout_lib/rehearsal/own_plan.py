"""A rehearsal's own copy of a plan: some sections changed, written once, read back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from rollout_lib.plan import Plan, load_plan


def sections(source: Plan) -> dict[str, Any]:
    """The sections of a plan's file, as written there."""
    read: dict[str, Any] = yaml.safe_load(Path(source.path).read_text(encoding="utf-8"))
    return read


def write_own(source: Plan, path: Path, changed: Mapping[str, Any]) -> Plan:
    """Write the source's sections with the changed ones in their place, and read the new plan.

    Raises PlanError where the result is no plan; the file is there then, to be looked at.
    """
    path.write_text(
        yaml.safe_dump({**sections(source), **changed}, sort_keys=False), encoding="utf-8"
    )
    return load_plan(path)
