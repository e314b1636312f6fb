"""Roll back on purpose: off at once, or one phase down. It refuses nothing that lowers traffic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

from rollout_lib.database.heads import read_head
from rollout_lib.database.ledger import read_facts
from rollout_lib.database.routing import read_config
from rollout_lib.database.session import Session
from rollout_lib.errors import ChangeRefused, CouldNotMeasure, ParameterError
from rollout_lib.judgement.gates import passed_target, step_back_target
from rollout_lib.judgement.persons import is_reason
from rollout_lib.model import Change, RoutingConfig, Standing, State
from rollout_lib.notify import metrics
from rollout_lib.operations.lowering import UNREADABLE, disable, known_now, lower_to
from rollout_lib.operations.record import Recorded, checkpoint_of, record
from rollout_lib.operations.standing import stand
from rollout_lib.plan import Plan
from rollout_lib.redaction import redact

Way = Callable[[Plan, Standing, Decimal], Decimal | None]


def roll_back(
    session: Session,
    *,
    reason: str,
    gradual: bool = False,
    to_passed: bool = False,
    expected: Decimal | None = None,
    dry_run: bool = False,
) -> Recorded:
    """Disable routing (gradual: one phase down the plan, 5 % below the first, then off); exit 0
    when done.

    to_passed: down to the highest phase that passed in one step, off where none did.
    expected: what a person saw who asks for one phase down; where somebody was quicker, it is not
    gone down twice (ChangeRefused). dry_run: who asks for one is refused (ParameterError), and told
    what only looks. Outside rehearsals an empty reason is refused too: it is what running every
    notebook with its defaults would give. `rollout rollback --emergency` refuses nothing.

    The change is committed before anything else is read, so that nothing else can stop it: neither
    a ledger that is missing, nor one entry of it that cannot be read."""
    if dry_run is not False:
        raise ParameterError(
            problems="dry_run: there is none here; `rollout rollback` without --apply only looks"
        )
    if session.plan.environment != "rehearsal" and not is_reason(reason):
        raise ParameterError(
            problems="reason: a rollback needs one; it stands on the ledger. Without one, and at"
            " once: rollout rollback --emergency --reason '…'"
        )
    reason = redact(reason)
    change = (
        _one_down(session, reason, expected, passed_target if to_passed else step_back_target)
        if gradual or to_passed
        else disable(session, reason)
    )
    facts, standing = known_now(session)
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


def one_down(
    session: Session, way: Way = step_back_target
) -> tuple[RoutingConfig | None, Decimal | None, str]:
    """Look where a way down (one phase, or to what passed) leads: what is configured, the target (None: off), and why it is
    off where that is not the plan's own way.

    Without a ledger nobody knows what was made legal, and no percentage can be gone back to."""
    with session.database.transaction(readonly=True) as connection:
        config = read_config(connection)
    if config is None or not config.enabled:
        return config, None, ""
    try:
        standing = _standing(session)
    except UNREADABLE:
        return config, None, "the ledger cannot be read, so nobody knows what it made legal"
    return config, way(session.plan, standing, config.percentage), ""


def _standing(session: Session) -> Standing:
    try:
        return _read_standing(session)
    except CouldNotMeasure:  # a line that broke once is no ledger that is gone: asked once more
        return _read_standing(session)


def _read_standing(session: Session) -> Standing:
    copied = read_head(session.database)
    with session.database.transaction(readonly=True) as connection:
        return stand(session, connection, read_facts(connection, session.plan), copied)


def _one_down(session: Session, reason: str, expected: Decimal | None, way: Way) -> Change:
    config, target, why = one_down(session, way)
    done = _done_before(session, config, reason, way)
    if done is not None:
        return done
    if expected is not None and config is not None and config.percentage != expected:
        raise ChangeRefused(current=f"at {config.percentage:g} %", gates=f"You saw {expected:g} %.")
    if target is None:
        change = disable(session, reason)
        detail = "; ".join(words for words in (change.detail, why) if words)
        return replace(change, detail=detail)
    return lower_to(session, target, reason)


def _done_before(
    session: Session, config: RoutingConfig | None, reason: str, way: Way
) -> Change | None:
    """The same request, made before by a run that died before it could record it: not a step
    further down.
    """
    try:
        standing = _standing(session)
    except UNREADABLE:
        return None
    known = standing.last_change
    if (
        config is None
        or known is None
        or not (config.enabled and known[2])
        or config.notes != reason
    ):
        return None
    if config.percentage != way(session.plan, standing, known[1]):
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
