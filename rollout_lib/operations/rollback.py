"""Roll back on purpose: off at once, or one phase down. It refuses nothing that lowers traffic."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from rollout_lib.database.ledger import read_facts
from rollout_lib.database.routing import read_config
from rollout_lib.database.session import Session
from rollout_lib.errors import ChangeRefused, ParameterError
from rollout_lib.judgement.gates import plan_step_back
from rollout_lib.judgement.state import fold
from rollout_lib.model import Change, RoutingConfig, State
from rollout_lib.notify import metrics
from rollout_lib.operations.lowering import UNREADABLE, disable, known_after, lower_to
from rollout_lib.operations.record import Recorded, checkpoint_of, record
from rollout_lib.redaction import redact


def roll_back(
    session: Session,
    *,
    reason: str,
    gradual: bool = False,
    expected: Decimal | None = None,
    dry_run: bool = False,
) -> Recorded:
    """Disable routing (gradual: one phase down the plan, 5 % below the first, then off); exit 0
    when done.

    expected: what a person saw who asks for one phase down; where somebody was quicker, it is not
    gone down twice (ChangeRefused). Without it, and for off, nothing is refused. dry_run: who asks
    for one is refused (ParameterError), and told what only looks.

    The change is committed before anything else is read, so that nothing else can stop it: neither
    a ledger that is missing, nor one entry of it that cannot be read."""
    if dry_run is not False:
        raise ParameterError(
            problems="dry_run: there is none here; `rollout rollback` without --apply only looks"
        )
    reason = redact(reason)
    change = _one_down(session, reason, expected) if gradual else disable(session, reason)
    facts, standing = known_after(session, change)
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
    run = record(session, facts, checkpoint)
    trouble = metrics.write_change(session.plan, at=checkpoint.at, after=change.after, looked=False)
    return replace(run, told=(*run.told, trouble)) if trouble else run


def _one_down(session: Session, reason: str, expected: Decimal | None) -> Change:
    with session.database.transaction(readonly=True) as connection:
        config = read_config(connection)
    done = _done_before(session, config, reason)
    if done is not None:
        return done
    if expected is not None and config is not None and config.percentage != expected:
        raise ChangeRefused(current=f"at {config.percentage:g} %", gates=f"You saw {expected:g} %.")
    target = plan_step_back(session.plan, config.percentage) if config and config.enabled else None
    if target is None or target <= Decimal(0):
        return disable(session, reason)
    return lower_to(session, target, reason)


def _done_before(session: Session, config: RoutingConfig | None, reason: str) -> Change | None:
    """The same request, made before by a run that died before it could record it: not a step
    further down.
    """
    try:
        with session.database.transaction(readonly=True) as connection:
            known = fold(read_facts(connection, session.plan).entries, session.plan).last_change
    except UNREADABLE:
        return None
    if (
        config is None
        or known is None
        or not (config.enabled and known[2])
        or config.notes != reason
    ):
        return None
    if config.percentage != plan_step_back(session.plan, known[1]):
        return None
    now = (config.percentage, config.enabled)
    return Change(
        before=known[1:],
        asked=now,
        after=now,
        applied=True,
        reason=reason,
        detail="an earlier try did it and could not record it",
    )
