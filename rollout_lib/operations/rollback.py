"""Roll back on purpose: off at once, or one phase down. It refuses nothing that lowers traffic."""

from __future__ import annotations

from decimal import Decimal

from rollout_lib.gates import plan_step_back
from rollout_lib.model import State
from rollout_lib.operations.lowering import disable, lower_to
from rollout_lib.operations.record import Recorded, checkpoint_of, record
from rollout_lib.redaction import redact
from rollout_lib.routing import read_config
from rollout_lib.session import Session
from rollout_lib.standing import fold
from rollout_lib.store import read_facts


def roll_back(session: Session, *, reason: str, gradual: bool = False) -> Recorded:
    """Disable routing (gradual: one phase down the plan, 5 % below the first, then off); exit 0 when done.

    The change is committed before anything else is read, so that nothing else can stop it.
    """
    reason = redact(reason)
    change = _one_down(session, reason) if gradual else disable(session, reason)
    with session.database.transaction(readonly=True) as connection:
        facts = read_facts(connection, session.plan)
    standing = fold(facts.entries, session.plan)
    off = not change.after[1]
    done = "Routing is disabled" if off else f"Routing is at {change.after[0]} %"
    was = f"(was {change.before[0]} %)" if change.before != change.after else "(it was so already)"
    checkpoint = checkpoint_of(
        session,
        facts,
        standing,
        operation="rollback",
        state=State.ROLL_BACK if off else State.STEP_BACK,
        exit_code=0,
        sentence=f"{done} {was}. {reason}",
        change=change,
    )
    return record(session, facts, checkpoint)


def _one_down(session: Session, reason: str):
    with session.database.transaction(readonly=True) as connection:
        config = read_config(connection)
    target = plan_step_back(session.plan, config.percentage) if config and config.enabled else None
    if target is None or target <= Decimal(0):
        return disable(session, reason)
    return lower_to(session, target, reason)
