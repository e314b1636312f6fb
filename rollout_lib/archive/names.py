"""Names of archived files: sortable, by UTC instant, rollout, phase, notebook, slot and run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

DRY_RUNS = "dry-runs"  # what changed nothing has no entry on the ledger, and is kept apart


def stem(at: datetime, rollout: str, phase: str, notebook: str, slot: str, run_id: str) -> str:
    """`20251203T091500Z_week6-unified_p10_20_monitor_s0915_1a2b3c4d`."""
    parts = [f"{at.astimezone(UTC):%Y%m%dT%H%M%SZ}", rollout, phase, notebook, slot, run_id[:8]]
    return "_".join(
        re.sub(r"[^A-Za-z0-9._-]+" if index == 3 else r"[^A-Za-z0-9.-]+", "-", part)
        for index, part in enumerate(parts)
    )


def stem_of(checkpoint: Mapping[str, Any] | None, rollout: str, notebook: str, run_id: str) -> str:
    """The stem of a run, by its checkpoint; by the clock of this machine where it
    died without one.
    """
    if checkpoint is None:
        return stem(datetime.now(UTC), rollout, "p-", notebook, "-", run_id)
    slot = checkpoint.get("slot")
    slot = f"s{datetime.fromisoformat(slot):%H%M}" if slot else "-"
    return stem(
        datetime.fromisoformat(checkpoint["at"]),
        rollout,
        _phase(checkpoint),
        notebook,
        slot,
        run_id,
    )


def _phase(checkpoint: Mapping[str, Any]) -> str:
    change, config = checkpoint.get("change"), checkpoint.get("config")
    value = (
        change["after"][0]
        if change and change["applied"]
        else (config or {}).get("percentage", "-")
    )
    return f"p{value}"


def folder(outputs: Path, rollout: str, day: datetime) -> Path:
    """outputs/<rollout>/<UTC day>/."""
    return outputs / rollout / f"{day.astimezone(UTC):%Y-%m-%d}"
