"""What a run did is what the ledger holds of it, not what a cell displayed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import text

from rollout_lib import spool
from rollout_lib.database.connection import connect
from rollout_lib.errors import CouldNotMeasure, RolloutError, RunDied
from rollout_lib.plan import Plan

_ENTRY = text("SELECT body FROM rollout.ledger WHERE seq = :seq AND run_id = :run_id")
_DRY = "dry-run"


def doubt(
    displayed: Mapping[str, Any] | None, plan: Plan, run_id: str, given: Mapping[str, Any]
) -> RolloutError | None:
    """Why the displayed checkpoint is not this run's own record, None where it is.

    RunDied where it is somebody's own making; CouldNotMeasure where the ledger cannot be asked."""
    if displayed is None:
        return None
    shown = json.loads(displayed["text"])
    made_up = RunDied(
        notebook=str(shown.get("operation")),
        reason="it shows a checkpoint that the ledger does not hold.",
    )
    if not isinstance(shown, Mapping) or shown.get("run_id") != run_id:
        return made_up
    if displayed.get("seq") is None:
        is_dry = shown.get("kind") == _DRY and given.get("dry_run", True) is True
        return None if is_dry or _is_kept(displayed["text"], run_id) else made_up
    try:
        with connect(plan).transaction(readonly=True) as connection:
            bind = {"seq": displayed["seq"], "run_id": run_id}
            body = connection.execute(_ENTRY, bind).scalar_one_or_none()
    except RolloutError as error:
        words = " ".join(str(error).split())
        return CouldNotMeasure(
            f"What this run recorded could not be read again; rollout status says it. {words}"
        )
    return None if body == displayed["text"] else made_up


def _is_kept(body: str, run_id: str) -> bool:
    """Does it wait in a file for a ledger that was away?"""
    for path in spool.folder().glob(f"*_{run_id}_*.json"):
        try:
            if json.loads(path.read_text(encoding="utf-8")).get("body") == body:
                return True
        except (OSError, ValueError, AttributeError):
            continue
    return False
