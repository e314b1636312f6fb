"""Change the percentage along the plan: one transaction, compare-and-set, gates inside it, read
back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from sqlalchemy import Connection

from rollout_lib.asking import ask_gates
from rollout_lib.database.heads import read_head, write_head
from rollout_lib.database.inspection import (
    Seen,
    catalog_asked,
    refuse_other_shapes,
    seen_of,
)
from rollout_lib.database.ledger import Facts, append, facts_asked, facts_from, read_facts
from rollout_lib.database.routing import (
    apply,
    config_asked,
    config_of,
    lock_asked,
    read_config,
)
from rollout_lib.database.session import Session
from rollout_lib.errors import CouldNotMeasure, ParameterError
from rollout_lib.judgement.gates import expectation, lowers, may_raise, off_the_plan
from rollout_lib.judgement.persons import is_reason
from rollout_lib.judgement.state import fold
from rollout_lib.model import (
    Change,
    Checkpoint,
    Gate,
    Outcome,
    Probe,
    RoutingConfig,
    Standing,
    State,
)
from rollout_lib.model.record import prepare
from rollout_lib.notify import metrics
from rollout_lib.notify.send import tell
from rollout_lib.operations.lowering import UNREADABLE, disable, known_now
from rollout_lib.operations.preflight import look_before
from rollout_lib.operations.record import (
    Recorded,
    checkpoint_of,
    entry_of,
    record,
    recorded,
    text_of,
)
from rollout_lib.operations.standing import stand
from rollout_lib.probes import take_probes
from rollout_lib.redaction import redact

PROBES_VALID = timedelta(seconds=60)
NOTHING_TO_DO = "there is nothing to do: it is so already"


def change_percentage(
    session: Session,
    *,
    to: Decimal,
    expected: Decimal | None = None,
    reason: str,
    dry_run: bool = True,
    again: bool = False,
    typed_environment: str = "",
) -> Recorded:
    """Move to another percentage of the plan, or show what would be done.

    to: percentage of the plan (or 5 or 0, downwards). expected: what the caller saw; refused when
    it is not so any more. again: begin the running phase anew after a mend. A refusal is a
    checkpoint with exit code 60 that names every unmet gate; nothing was changed. Lowering to at
    most what the ledger made legal asks no gate, and 0 % needs no ledger."""
    _known_percentage(session, to, reason, dry_run)
    reason = redact(reason)
    if to == 0 and not dry_run:
        return _switch_off(session, expected, reason)
    asked = _Asked(
        to=to,
        expected=expected,
        reason=reason,
        dry_run=dry_run,
        again=again,
        typed_environment=typed_environment,
    )
    return _along_the_plan(session, asked)


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """What the caller wants, as change_percentage takes it."""

    to: Decimal
    expected: Decimal | None
    reason: str
    dry_run: bool
    again: bool
    typed_environment: str


def _along_the_plan(session: Session, asked: _Asked) -> Recorded:
    probes = take_probes(session.plan, function=session.as_of is None)
    said = _asked_elsewhere(session, asked)
    copied = read_head(session.database)  # before the ledger, which only grows
    prepare()  # what can be made before is made before: the row is held from here on
    plan, asked_at = session.plan, datetime.now(UTC)
    first = [] if asked.dry_run else [lock_asked(plan.rollout)]
    first += [config_asked(lock=not asked.dry_run), facts_asked(plan), catalog_asked(plan)]
    with session.database.asking(*first, readonly=asked.dry_run) as (connection, answers):
        config, facts = config_of(answers[-3]), facts_from(answers[-2])
        seen = seen_of(connection, answers[-1], asked_at)
        standing = stand(session, connection, facts, copied)
        if config is None:
            raise CouldNotMeasure(reason="the configuration has no row that can be read.")
        facts = replace(facts, config=config)
        gates = _gates(session, connection, facts, standing, asked, probes, seen)
        gates += () if lowers(config, standing, asked.to) else said
        done = not asked.again and _is_done(config, standing, asked.to)
        if not done and not all(gate.met for gate in gates):
            checkpoint = _refused(session, facts, standing, asked, gates)
        else:
            checkpoint = _changed(session, connection, facts, standing, asked, gates, done)
        text = text_of(checkpoint)
        entered = checkpoint.kind in ("checkpoint", "extra")
        head = append(connection, **entry_of(checkpoint, text)) if entered else None
    if checkpoint.kind == "attempt":
        # Not before the row is free again: an emergency must not wait for a record.
        return record(session, facts, checkpoint)
    if head and not standing.restored:
        write_head(session.database, head)
    told = tell(session, checkpoint, head) if head else ()
    made = checkpoint.change
    if made and made.applied:
        looked = not lowers(config, standing, asked.to)
        trouble = metrics.write_change(
            session.plan, at=session.now(facts.now), after=made.after, looked=looked
        )
        told = (*told, trouble) if trouble else told
    return recorded(checkpoint, facts, head, text, told)


def _is_done(config: RoutingConfig, standing: Standing, to: Decimal) -> bool:
    """Only where the ledger says so too: what somebody did by hand is drift."""
    known = standing.last_change[1:] if standing.last_change else (Decimal(0), False)
    return (config.percentage, config.enabled) == (to, to > 0) == known


def _changed(
    session: Session,
    connection: Connection,
    facts: Facts,
    standing: Standing,
    asked: _Asked,
    gates: tuple[Gate, ...],
    done: bool,
) -> Checkpoint:
    """Carry it out where it is not a dry run and not done already; the checkpoint says which."""
    config, to = facts.config, asked.to
    assert config is not None
    applied = not asked.dry_run and not done
    before = (config.percentage, config.enabled)
    change = Change(
        before=before,
        asked=(to, to > 0),
        after=(to, to > 0) if applied else before,
        applied=applied,
        reason=asked.reason,
        gates=() if done else gates,
        detail=NOTHING_TO_DO if done else "",
    )
    after = apply(connection, config, to, to > 0, asked.reason) if applied else config
    now = session.now(facts.now)
    return checkpoint_of(
        session,
        replace(facts, config=after),
        standing,
        operation="change",
        kind="dry-run" if asked.dry_run else ("extra" if done else "checkpoint"),
        state=State.PASS,
        sentence=_sentence(change, asked.dry_run),
        change=change,
        evidence={"at": now.isoformat(), "plan_digest": session.plan.digest},
    )


def _switch_off(session: Session, expected: Decimal | None, reason: str) -> Recorded:
    """0 % by the emergency's way, committed before anything else is read, then recorded.

    Neither a ledger nor a configuration that cannot be read stops it; only a caller who saw
    another percentage is refused."""
    seen = _seen(session)
    if expected is not None and seen is not None and seen.percentage != expected:
        facts, standing = known_now(session)
        asked = _Asked(
            to=Decimal(0),
            expected=expected,
            reason=reason,
            dry_run=False,
            again=False,
            typed_environment="",
        )
        facts = replace(facts, config=seen)
        gates = (expectation(seen, expected),)
        return record(session, facts, _refused(session, facts, standing, asked, gates))
    change = disable(session, reason, seen)
    facts, standing = known_now(session)
    known = standing.last_change[1:] if standing.last_change else (Decimal(0), False)
    if change.before == change.after == known:
        change = replace(change, applied=False, detail=NOTHING_TO_DO)
    checkpoint = checkpoint_of(
        session,
        facts,
        standing,
        operation="change",
        kind="checkpoint" if change.applied else "extra",
        state=State.PASS,
        sentence=_sentence(change, False),
        change=change,
        evidence={"at": session.now(facts.now).isoformat(), "plan_digest": session.plan.digest},
    )
    run = record(session, facts, checkpoint)
    if not change.applied:
        return run
    trouble = metrics.write_change(session.plan, at=checkpoint.at, after=change.after, looked=False)
    return replace(run, told=(*run.told, trouble)) if trouble else run


def _seen(session: Session) -> RoutingConfig | None:
    try:
        with session.database.transaction(readonly=True) as connection:
            return read_config(connection)
    except UNREADABLE:
        return None


def _known_percentage(session: Session, to: Decimal, reason: str, dry_run: bool) -> None:
    problems = [off_the_plan(session.plan, to)] if off_the_plan(session.plan, to) else []
    if not isinstance(dry_run, bool):  # 0 is no answer to "only look?"
        problems.append(f"dry_run: must be True or False, not {dry_run!r}")
    if not dry_run and not is_reason(reason):
        problems.append("reason: a change needs one; it stands on the ledger")
    if problems:
        raise ParameterError(problems="\n".join(problems))


def _gates(
    session: Session,
    connection: Connection,
    facts: Facts,
    standing: Standing,
    asked: _Asked,
    probes: Sequence[Probe],
    seen: Seen,
) -> tuple[Gate, ...]:
    """Every gate with its reason; lowering has none but the expectation."""
    config = facts.config
    assert config is not None
    if lowers(config, standing, asked.to):
        return (expectation(config, asked.expected),)
    refuse_other_shapes(seen.catalog, session.place)
    checks = look_before(
        session, connection, facts, standing, probes, seen, write=not asked.dry_run
    )
    gates = may_raise(
        plan=session.plan,
        config=config,
        standing=standing,
        target=asked.to,
        now=session.now(facts.now),
        operator=session.person,
        typed_environment=asked.typed_environment,
        again=asked.again,
        expected=asked.expected,
        preflight=checks.state,
        preflight_found="; ".join(
            f"{check.name}: {check.observed}"
            for check in checks.checks
            if check.outcome in (Outcome.FAIL, Outcome.COULD_NOT_LOOK)
        ),
    )
    return (*gates, _fresh(probes))


def _asked_elsewhere(session: Session, asked: _Asked) -> tuple[Gate, ...]:
    """What the plan's own gates say, before anything is locked; a lowering asks none of them."""
    plan = session.plan
    if not plan.gates:
        return ()
    with session.database.transaction(readonly=True) as connection:
        facts = read_facts(connection, plan)
    standing = fold(facts.entries, plan)
    if facts.config is not None and lowers(facts.config, standing, asked.to):
        return ()
    return ask_gates(
        plan,
        {
            "rollout": plan.rollout,
            "environment": plan.environment,
            "plan": plan.digest,
            "from": str(facts.config.percentage if facts.config else ""),
            "to": str(asked.to),
            "dry_run": asked.dry_run,
            "operator": session.operator,
            "reason": asked.reason,
            "phase_began": standing.phase and standing.phase.began_at.isoformat(),
            "evaluation": standing.evaluation and standing.evaluation[1].value,
            "ledger": list(facts.head),
        },
    )


def _fresh(probes: Sequence[Probe]) -> Gate:
    """What was asked by HTTP before this transaction must still be of now: a lock may have been
    waited for.
    """
    ages = [
        datetime.now(UTC) - probe.at for probe in probes
    ]  # both by this machine's clock, which may be set
    if not ages:
        return Gate(
            name="probes of now",
            met=True,
            reason="the plan names no endpoint to ask, so none was asked too early",
        )
    reason = f"the oldest of {len(probes)} probes is {max(ages).total_seconds():.0f} s old"
    met = all(timedelta(0) <= age <= PROBES_VALID for age in ages)
    return Gate(name="probes of now", met=met, reason=f"{reason}, limit {PROBES_VALID}")


def _refused(
    session: Session, facts: Facts, standing: Standing, asked: _Asked, gates: tuple[Gate, ...]
) -> Checkpoint:
    config = facts.config
    assert config is not None
    unmet = [f"{gate.name}: {gate.reason}" for gate in gates if not gate.met]
    now = (config.percentage, config.enabled)
    return checkpoint_of(
        session,
        facts,
        standing,
        operation="change",
        kind="dry-run" if asked.dry_run else "attempt",
        state=State.HOLD,
        exit_code=60,
        sentence=(
            f"Refused: {len(unmet)} of {len(gates)} gates are not met. Nothing was changed; "
            f"routing stays at {config.percentage} %. "
        )
        + " · ".join(unmet),
        change=Change(
            before=now,
            asked=(asked.to, asked.to > 0),
            after=now,
            applied=False,
            reason="refused",
            gates=gates,
        ),
    )


def _sentence(change: Change, dry_run: bool) -> str:
    before, asked = change.before[0], change.asked[0]
    if change.detail:
        return (
            f"Routing is {f'at {before} % and enabled' if before else 'off, at 0 %'}: there is"
            " nothing to do."
        )
    if dry_run:
        return (
            f"Dry run: every gate is met; {before} % would become {asked} %. Nothing was changed."
        )
    return f"Routing is at {change.after[0]} % (was {before} %)."
