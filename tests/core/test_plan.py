"""The plan is validated whole."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from rollout_lib.errors import PlanError
from rollout_lib.plan import load_plan, parse_plan

CONTENT = yaml.safe_load(Path("parameters/week6.rehearsal.yaml").read_text())


def test_both_shipped_plans_are_valid():
    """The plans that ship with the suite pass their own validation."""
    for name in ("rehearsal", "production"):
        assert load_plan(f"parameters/week6.{name}.yaml").environment == name


def test_every_problem_is_reported_at_once_with_its_path():
    """An unknown key, a contradiction between phases and a NaN are all named in one error."""
    content = yaml.safe_load(yaml.safe_dump(CONTENT))
    content["phases"][2]["percentage"] = 25
    content["thresholds"]["p95_rollback_ms"] = float("nan")
    content["surprise"] = 1
    with pytest.raises(PlanError) as error:
        parse_plan(content)
    words = str(error.value)
    assert "phases[2].percentage: must rise, 25 after 25" in words
    assert "thresholds.p95_rollback_ms" in words
    assert "surprise: unknown key" in words
