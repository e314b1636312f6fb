"""The scheduled instants that checks belong to: aligned to the interval, never caught up. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from rollout_lib.model import Checkpoint
from rollout_lib.plan import Plan


def slot_of(now: datetime, interval: timedelta) -> datetime:
    """The scheduled instant that `now` is in: the last whole interval since midnight UTC."""
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + (now - midnight) // interval * interval


def expected_slots(began_at: datetime, until: datetime, plan: Plan) -> list[datetime]:
    """The aligned instants in (began_at, until], one every monitoring interval."""
    interval = plan.monitoring.interval
    midnight = began_at.replace(hour=0, minute=0, second=0, microsecond=0)
    slot = midnight + ((began_at - midnight) // interval + 1) * interval
    slots = []
    while slot <= until:
        slots.append(slot)
        slot += interval
    return slots


def became(run: Checkpoint) -> tuple[Decimal, bool] | None:
    """What a run made of the routing, (percentage, enabled); None where it changed nothing."""
    if run.change and run.change.applied:
        return run.change.after
    if run.adopted:
        return run.adopted.percentage, run.adopted.enabled
    return None
