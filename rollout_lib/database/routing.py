"""The router's configuration: read it, and change it by the runbook's functions."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from sqlalchemy import Connection

from rollout_lib.database.connection import Asked, ask, load_sql
from rollout_lib.database.ledger import config_from
from rollout_lib.errors import RolloutError
from rollout_lib.model import RoutingConfig


def read_config(connection: Connection, *, lock: bool = False) -> RoutingConfig | None:
    """The newest row, None where there is none; lock holds it until the transaction ends."""
    statement, binds = config_asked(lock=lock)
    return config_of(connection.execute(statement, binds).first())


def config_asked(*, lock: bool = False) -> Asked:
    """Return the question for the newest row, for config_of; lock: held until the transaction
    ends."""
    return load_sql("configuration_locked" if lock else "configuration"), {}


def config_of(row: Any) -> RoutingConfig | None:
    """Return the configuration that the answer to config_asked holds."""
    return config_from(row.config, row.config_rows) if row else None


def lock_asked(rollout: str) -> Asked:
    """Return the question that holds a rollout's lock until the transaction ends."""
    return load_sql("rollout_lock"), {"rollout": rollout}


def hold_rollout_lock(connection: Connection, rollout: str) -> None:
    """One change at a time for a rollout, until the transaction ends."""
    statement, binds = lock_asked(rollout)
    connection.execute(statement, binds)


def _enabled(enabled: bool, reason: str) -> Asked:
    """`SELECT set_routing_enabled(...)`."""
    return load_sql("set_enabled"), {"enabled": enabled, "reason": reason}


def _percentage(percentage: Decimal, reason: str) -> Asked:
    """`SELECT update_routing_percentage(...)`."""
    return load_sql("set_percentage"), {"percentage": percentage, "reason": reason}


def apply(
    connection: Connection, locked: RoutingConfig, percentage: Decimal, enabled: bool, reason: str
) -> RoutingConfig:
    """Set the routing by the runbook's functions and return it as read back in the transaction.

    locked: the row as it was locked and judged. Off comes first and on comes last. Raises
    RolloutError where what is read back is anything else, which rolls the transaction back."""
    off = [_enabled(False, reason)] if locked.enabled and not enabled else []
    on = [_enabled(True, reason)] if enabled and not locked.enabled else []
    asked = [*off, _percentage(percentage, reason), *on, config_asked()]
    after = config_of(ask(connection, *asked)[-1])
    if after is None or (after.percentage, after.enabled) != (percentage, enabled):
        found = "no row" if after is None else f"{after.percentage} %, enabled = {after.enabled}"
        raise RolloutError(
            reason=f"after the change the configuration read {found}; it was rolled back."
        )
    if after.created_at != locked.created_at:  # no lock holds off an INSERT
        raise RolloutError(
            reason=(
                "somebody inserted a newer configuration row meanwhile, which nobody has judged: "
                "the change was rolled back. Look first: rollout status"
            )
        )
    if not set(after.domains) <= set(locked.domains):
        raise RolloutError(
            reason=(
                f"the change made the domains {', '.join(after.domains)}, which nobody asked for;"
                " it was rolled back."
            )
        )
    return after
