"""An instant as people read it: the rollout's own zone first, UTC beside it. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo


def both_times(at: datetime, time_zone: str) -> str:
    """`Wed 3 Dec 10:15 CET (09:15 UTC)`; said once where the zone is UTC."""
    local = at.astimezone(ZoneInfo(time_zone))
    return f"{local:%a} {local.day} {local:%b} {_beside(local, '%H:%M')}"


def both_clocks(at: datetime, time_zone: str, seconds: bool = True) -> str:
    """`10:15:30 CET (09:15:30 UTC)`; said once where the zone is UTC."""
    return _beside(at.astimezone(ZoneInfo(time_zone)), "%H:%M:%S" if seconds else "%H:%M")


def _beside(local: datetime, form: str) -> str:
    here = f"{local:{form} %Z}"
    return here if here.endswith(" UTC") else f"{here} ({local.astimezone(UTC):{form}} UTC)"
