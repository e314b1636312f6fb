"""What the ledger made legal: the line that every rise is measured against. Pure.

Anybody with psql can write into the configuration. What stands there was allowed only where the
ledger's last applied change, or what was lowered since, says so."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from rollout_lib.model import Adopted, RoutingConfig, Standing

LOWEST_STEP = Decimal(5)  # the runbook's gradual rollback: 25 -> 10 -> 5 -> disabled
NONE = Decimal(0)


def legal_line(standing: Standing) -> Decimal:
    """Return the percentage that the ledger last made legal; 0 before the first change and while
    off.
    """
    if standing.last_change is None:
        return NONE
    _, percentage, enabled = standing.last_change
    return percentage if enabled else NONE


def share_of(config: RoutingConfig) -> Decimal:
    """Return the percentage that the configuration lets through: 0 while it is disabled."""
    return config.percentage if config.enabled else NONE


def is_above_line(config: RoutingConfig, standing: Standing) -> bool:
    """Say whether more goes to unified than the ledger made legal, whoever did it."""
    return not share_of(config) <= legal_line(standing)


def adopts(
    percentage: Decimal, enabled: bool, last_change: tuple[datetime, Decimal, bool] | None
) -> Adopted | None:
    """Return what a person lowered by hand since the last change, to be accepted and recorded.

    None where nothing was lowered: a raise is never accepted."""
    if last_change is None:
        return None
    _, known, was_enabled = last_change
    lowered = (was_enabled and not enabled) or (enabled == was_enabled and percentage < known)
    return Adopted(percentage=percentage, enabled=enabled) if lowered else None


def moves_the_line(operation: str, percentage: Decimal, enabled: bool, line: Decimal) -> bool:
    """Say whether an entry that left routing so may move the line: upwards only a change may,
    which asked every gate; a rollback or a check that ends above it has made nothing legal.
    """
    return operation == "change" or not enabled or percentage <= line
