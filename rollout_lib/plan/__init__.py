"""The plan: one strict YAML file per rollout and environment, validated whole at the door."""

from rollout_lib.plan.load import default_path, load_plan, parse_plan, read_yaml
from rollout_lib.plan.schema import (
    ActsAlone,
    DatabasePlan,
    Freeze,
    GatePlan,
    Monitoring,
    Phase,
    Plan,
    ProbesPlan,
    Thresholds,
)

__all__ = [
    "ActsAlone",
    "DatabasePlan",
    "Freeze",
    "GatePlan",
    "Monitoring",
    "Phase",
    "Plan",
    "ProbesPlan",
    "Thresholds",
    "default_path",
    "load_plan",
    "parse_plan",
    "read_yaml",
]
