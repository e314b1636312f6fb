"""Lowering the percentage: what a verdict may do alone, and the gradual way down. It asks no gate."""

from __future__ import annotations

from decimal import Decimal

from rollout_lib.emergency import switch_off
from rollout_lib.errors import RolloutError
from rollout_lib.gates import plan_step_back
from rollout_lib.model import Act, Change, Standing, Verdict
from rollout_lib.routing import read_config, set_enabled, set_percentage
from rollout_lib.session import Session
from rollout_lib.store import Facts, tidy

Row = tuple[Decimal, bool]


def act_on(session: Session, verdict: Verdict, facts: Facts, standing: Standing) -> Change | None:
    """Carry out what the verdict may do alone; None where it asks, or where it is done already."""
    config = facts.config
    if verdict.act is Act.NONE or not verdict.acts_alone or (config is not None and not config.enabled):
        return None
    reason = f"{verdict.state}: {verdict.sentence}"
    if verdict.act is Act.STEP_BACK and config is not None:
        target = plan_step_back(session.plan, config.percentage)
        if target is not None:
            return lower_to(session, target, reason)
    return disable(session, reason)


def disable(session: Session, reason: str) -> Change:
    """Routing off, by the emergency path: committed first, recorded by the caller afterwards."""
    off = switch_off(
        session.database.address,
        reason=reason,
        operator=session.operator,
        rollout=session.plan.rollout,
        at=session.as_of,
        entry={},
    )
    return Change(
        before=_tidy(off.before or off.after),
        asked=(Decimal(0), False),
        after=_tidy(off.after),
        applied=True,
        reason=reason,
        detail="; ".join(off.trouble) or ("it was off already" if off.already else ""),
    )


def _tidy(row: Row) -> Row:
    return tidy(row[0]), row[1]


def lower_to(session: Session, target: Decimal, reason: str) -> Change:
    """One step down in one transaction, read back before it commits; never up."""
    with session.database.transaction(readonly=False) as connection:
        before = read_config(connection, lock=True)
        if before is None:
            raise RolloutError(reason="the configuration has no row to lower")
        if target >= before.percentage:
            raise RolloutError(reason=f"{target} % is not lower than {before.percentage} %")
        if target == 0:
            set_enabled(connection, False, reason)
        set_percentage(connection, target, reason)
        after = read_config(connection)
        if after is None or after.percentage != target:
            raise RolloutError(reason=f"the percentage did not become {target} %; nothing was changed")
    return Change(
        before=(before.percentage, before.enabled),
        asked=(target, before.enabled and target > 0),
        after=(after.percentage, after.enabled),
        applied=True,
        reason=reason,
    )
