"""Names of archived files: sortable, by UTC instant, rollout, phase, notebook, slot and run."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path


def stem(at: datetime, rollout: str, phase: str, notebook: str, slot: str, run_id: str) -> str:
    """`20251203T091500Z_week6-unified_p10_20_monitor_s0915_1a2b3c4d`."""
    parts = [f"{at.astimezone(UTC):%Y%m%dT%H%M%SZ}", rollout, phase, notebook, slot, run_id[:8]]
    return "_".join(re.sub(r"[^A-Za-z0-9.-]+", "-", part) if index != 3 else part for index, part in enumerate(parts))


def folder(outputs: Path, rollout: str, day: datetime) -> Path:
    """outputs/<rollout>/<UTC day>/."""
    return outputs / rollout / f"{day.astimezone(UTC):%Y-%m-%d}"
