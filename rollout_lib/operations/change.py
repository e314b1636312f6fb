"""Change the percentage along the plan: one transaction, compare-and-set, gates inside it, read
back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from rollout_lib.database.ledger import Facts, append, read_facts
from rollout_lib.database.routing import (
    hold_rollout_lock,
    read_config,
    refuse_newer,
    set_enabled,
    set_percentage,
)
from rollout_lib.database.session import Session
from rollout_lib.errors import CouldNotMeasure, ParameterError, RolloutError
from rollout_lib.judgement.gates import lowers, may_raise, off_the_plan
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
from rollout_lib.model.record import to_json
from rollout_lib.notify import metrics
from rollout_lib.notify.send import tell
from rollout_lib.operations.preflight import look_before
from rollout_lib.operations.record import Recorded, checkpoint_of, entry_of, record, recorded
from rollout_lib.probes import take_probes
from rollout_lib.redaction import redact

PROBES_VALID = timedelta(seconds=60)


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
    checkpoint with exit code 60 that names every unmet gate; nothing was changed. Lowering asks no
    gate."""
    _known_percentage(session, to, reason, dry_run)
    reason = redact(reason)
    probes = take_probes(session.plan, function=session.as_of is None)
    with session.database.transaction(readonly=dry_run) as connection:
        if not dry_run:
            hold_rollout_lock(connection, session.plan.rollout)
        config = read_config(connection, lock=not dry_run)
        facts = read_facts(connection, session.plan)
        standing = fold(facts.entries, session.plan)
        if config is None:
            raise CouldNotMeasure(reason="the configuration table has no row.")
        now = session.now(facts.now)
        gates = _gates(
            session,
            connection,
            config,
            facts,
            standing,
            to,
            expected,
            again,
            typed_environment,
            probes,
        )
        refused = [gate for gate in gates if not gate.met]
        # Done already only where the ledger says so too: what somebody did by hand is drift.
        known = standing.last_change[1:] if standing.last_change else (Decimal(0), False)
        done = not again and (config.percentage, config.enabled) == (to, to > 0) == known
        if refused and not done:
            checkpoint = _refused(session, facts, standing, config, to, gates, dry_run)
        else:
            change = Change(
                before=(config.percentage, config.enabled),
                asked=(to, to > 0),
                after=(config.percentage, config.enabled) if dry_run or done else (to, to > 0),
                applied=not dry_run and not done,
                reason=reason,
                gates=() if done else gates,
                detail="there is nothing to do: it is so already" if done else "",
            )
            after = _apply(connection, config, to, reason) if change.applied else config
            checkpoint = checkpoint_of(
                session,
                replace(facts, config=after),
                standing,
                operation="change",
                kind="dry-run" if dry_run else ("extra" if done else "checkpoint"),
                state=State.PASS,
                sentence=_sentence(change, dry_run),
                change=change,
                evidence={"at": now.isoformat(), "plan_digest": session.plan.digest},
            )
        text = to_json(checkpoint)
        entered = checkpoint.kind in ("checkpoint", "extra")
        head = append(connection, **entry_of(checkpoint, text)) if entered else None
    if (
        checkpoint.kind == "attempt"
    ):  # not before the row is free again: an emergency must not wait for a record
        return record(session, facts, checkpoint)
    told = tell(session, checkpoint, head) if head else ()
    made = checkpoint.change
    if made and made.applied:
        trouble = metrics.write_change(
            session.plan, at=now, after=made.after, looked=not lowers(config, to)
        )
        told = (*told, trouble) if trouble else told
    return recorded(checkpoint, facts, head, text, told)


def _known_percentage(session: Session, to: Decimal, reason: str, dry_run: bool) -> None:
    problems = [off_the_plan(session.plan, to)] if off_the_plan(session.plan, to) else []
    if not isinstance(dry_run, bool):  # 0 is no answer to "only look?"
        problems.append(f"dry_run: must be True or False, not {dry_run!r}")
    if not dry_run and not reason.strip():
        problems.append("reason: a change needs one; it stands on the ledger")
    if problems:
        raise ParameterError(problems="\n".join(problems))


def _gates(
    session,
    connection,
    config: RoutingConfig,
    facts: Facts,
    standing: Standing,
    to,
    expected,
    again,
    typed_environment,
    probes,
) -> tuple[Gate, ...]:
    """Every gate with its reason; lowering has none but the expectation."""
    stale = Gate(
        name="expectation",
        met=expected is None or expected == config.percentage,
        reason=(
            f"the caller expected {expected} %, the configuration says {config.percentage} %"
            if expected is not None
            else "no expectation given: the row was locked and read in this transaction"
        ),
    )
    if lowers(config, to):
        return (stale,)
    checks = look_before(session, connection, facts, standing, probes)
    gates = may_raise(
        plan=session.plan,
        config=config,
        standing=standing,
        target=to,
        now=session.now(facts.now),
        operator=session.person,
        typed_environment=typed_environment,
        again=again,
        expected=expected,
        preflight=checks.state,
        preflight_found="; ".join(
            f"{check.name}: {check.observed}"
            for check in checks.checks
            if check.outcome in (Outcome.FAIL, Outcome.COULD_NOT_LOOK)
        ),
    )
    gates = (*gates, _fresh(probes))
    return gates if any(gate.name == stale.name for gate in gates) else (stale, *gates)


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


def _apply(connection, config: RoutingConfig, to: Decimal, reason: str) -> RoutingConfig:
    """The runbook's functions, and the configuration read back; a difference rolls the transaction
    back.
    """
    if to == 0:
        set_enabled(connection, False, reason)
        set_percentage(connection, to, reason)
    else:
        set_percentage(connection, to, reason)
        if not config.enabled:
            set_enabled(connection, True, reason)
    after = read_config(connection)
    if after is None or after.percentage != to or after.enabled != (to > 0):
        found = "no row" if after is None else f"{after.percentage} %, enabled = {after.enabled}"
        raise RolloutError(
            reason=f"after the change the configuration read {found}; it was rolled back."
        )
    refuse_newer(config, after)
    return after


def _refused(session, facts, standing, config, to, gates, dry_run: bool) -> Checkpoint:
    unmet = [f"{gate.name}: {gate.reason}" for gate in gates if not gate.met]
    return checkpoint_of(
        session,
        facts,
        standing,
        operation="change",
        kind="dry-run" if dry_run else "attempt",
        state=State.HOLD,
        exit_code=60,
        sentence=(
            f"Refused: {len(unmet)} of {len(gates)} gates are not met. Nothing was changed; "
            f"routing stays at {config.percentage} %. "
        )
        + " · ".join(unmet),
        change=Change(
            before=(config.percentage, config.enabled),
            asked=(to, to > 0),
            after=(config.percentage, config.enabled),
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
