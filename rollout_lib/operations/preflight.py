"""Everything that must be true before the percentage may rise. What it tries is undone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import Connection

from rollout_lib.database.connection import ask
from rollout_lib.database.heads import read_head
from rollout_lib.database.inspection import (
    Seen,
    Trial,
    look_asked,
    look_checks,
    read_catalog,
    refuse_other_shapes,
    rows_trial,
    try_writes,
)
from rollout_lib.database.ledger import Facts, read_facts
from rollout_lib.database.session import Session
from rollout_lib.database.traffic import baseline_asked, baseline_from
from rollout_lib.errors import CouldNotMeasure
from rollout_lib.judgement.baseline import judge_baseline, power_line, undecided_line
from rollout_lib.judgement.chances import chance_lines
from rollout_lib.judgement.gates import next_percentage
from rollout_lib.judgement.safety import head_check
from rollout_lib.model import Act, Check, CheckKind, Outcome, Probe, Standing, State, Verdict
from rollout_lib.operations.record import Recorded, checkpoint_of, record
from rollout_lib.operations.standing import stand
from rollout_lib.plan import Plan
from rollout_lib.probes import take_probes

# An override is a named person and a reason, and opens only these: the limits of legacy itself.
_OVERRIDABLE = (CheckKind.LEGACY_ERRORS, CheckKind.LEGACY_LATENCY)


@dataclass(frozen=True, kw_only=True)
class Before:
    """The named checks of a pre-flight and what they come to: PASS, HOLD (a FAIL) or
    COULD_NOT_LOOK.
    """

    checks: tuple[Check, ...]
    state: State


def preflight(session: Session) -> Recorded:
    """Look at the database, the plan, the function, the protected endpoints and legacy's last 24
    hours.

    Exit 0 when nothing fails; 20 when a check fails; 50 when one that must be seen could not be.
    """
    probes = take_probes(session.plan, function=_is_live(session))
    with session.database.transaction(readonly=True) as connection:
        seen = read_catalog(connection, session.plan)
        refuse_other_shapes(seen.catalog, session.place)
    trial = _try(session, seen)
    copied = read_head(session.database)  # before the ledger, which only grows
    with session.database.transaction(readonly=True) as connection:
        facts = read_facts(connection, session.plan)
        standing = stand(session, connection, facts, copied)
        before = look_before(session, connection, facts, standing, probes, seen, trial)
    failed = [check for check in before.checks if check.outcome is Outcome.FAIL]
    sentence = _sentence(before, failed)
    verdict = Verdict(
        state=before.state,
        literal=before.state,
        evidence=before.state,
        mode=session.plan.mode,
        sentence=sentence,
        differ=None,
        act=Act.NONE,
        acts_alone=False,
        latched=None,
        checks=before.checks,
        next_step=_next_step(session, before, failed, standing),
    )
    checkpoint = checkpoint_of(
        session,
        facts,
        standing,
        operation="preflight",
        state=before.state,
        sentence=sentence,
        verdict=verdict,
        evidence={
            "power": [
                *(power_line(session.plan, phase) for phase in session.plan.phases),
                undecided_line(session.plan),
                *chance_lines(session.plan),
            ]
        },
    )
    return record(session, facts, checkpoint)


def _try(session: Session, seen: Seen) -> Trial:
    """What the router will do is tried in a transaction that is given up, whatever comes of it."""
    catalog = seen.catalog
    if catalog.row.read_only:
        with session.database.transaction(readonly=True) as connection:
            return try_writes(connection, session.plan, catalog, write=False, calls=False)
    try:
        with session.database.transaction(readonly=False) as connection:
            trial = try_writes(connection, session.plan, catalog, write=True, calls=True)
            connection.rollback()
            return trial
    except CouldNotMeasure as error:
        return Trial(rows=None, wrote=True, why=str(error))


def look_before(
    session: Session,
    connection: Connection,
    facts: Facts,
    standing: Standing,
    probes: Sequence[Probe],
    seen: Seen,
    trial: Trial | None = None,
    *,
    write: bool = False,
) -> Before:
    """The checks by themselves; called again inside the transaction that raises the percentage.

    trial: what was tried before. Without it the router's rows are tried here, in the one round trip
    that asks everything else; write: False where this transaction only reads."""
    plan, now = session.plan, session.now(facts.now)
    asked = look_asked(plan, seen.catalog, standing, now)
    baseline = [] if standing.phase is not None else [baseline_asked(plan, now)]
    rows = rows_trial(plan, seen.catalog, write=write) if trial is None else []
    answers = ask(connection, *asked, *baseline, *rows)
    if trial is None:
        trial = Trial(rows=answers[-1].answer, wrote=write)
    checks = list(
        look_checks(
            plan,
            seen=seen,
            answers=answers[: len(asked)],
            trial=trial,
            facts=facts,
            standing=standing,
            live=_is_live(session),
            now=now,
            probes=probes,
        )
    )
    checks.append(_marked(session))
    if baseline:
        legacy, router = baseline_from(plan, now, answers[len(asked)])
        checks += judge_baseline(plan=plan, legacy=legacy, router=router)
    if standing.restored:
        checks.append(head_check(standing))
    overridden = _overridden(plan, standing, now)
    outcomes = [
        check.outcome for check in checks if not (overridden and check.kind in _OVERRIDABLE)
    ]
    if not outcomes or Outcome.FAIL in outcomes:
        state = State.HOLD
    elif Outcome.COULD_NOT_LOOK in [check.outcome for check in checks if check.state is not None]:
        state = State.COULD_NOT_LOOK
    else:
        state = State.PASS
    return Before(checks=tuple(checks), state=state)


def _marked(session: Session) -> Check:
    """Does the database say itself that it is the plan's? Without that, only the address does."""
    marks = ", ".join(str(mark) for mark in session.database.marks)
    note = session.database.note
    if marks:
        return Check(
            name="marker",
            outcome=Outcome.WARN if note else Outcome.PASS,
            observed=note or marks,
            limit="the plan's",
            reason=note or f"the database says that it is the plan's: marker {marks}",
        )
    return Check(
        name="marker",
        outcome=Outcome.WARN,
        observed="; ".join(filter(None, ("none", note))),
        limit="the plan's",
        reason="nothing but the address says which database this is: it has no marker",
        mend=f"rollout migrate --apply --plan {session.plan.path}",
    )


def _is_live(session: Session) -> bool:
    return session.as_of is None


def _overridden(plan: Plan, standing: Standing, now: datetime) -> bool:
    """A person took it on themselves: under this plan, since the last change, and not for ever."""
    since = max([now - plan.monitoring.attestation_valid, *(standing.last_change or ())[:1]])
    return any(
        item.subject == "override" and item.plan_digest == plan.digest and item.at >= since
        for item in standing.attestations
    )


def _sentence(before: Before, failed: list[Check]) -> str:
    seen = sum(check.outcome is Outcome.PASS for check in before.checks)
    blind = sum(check.outcome is Outcome.COULD_NOT_LOOK for check in before.checks)
    words = f"{seen} of {len(before.checks)} checks pass"
    if failed:
        return f"{words}; {len(failed)} fail: " + "; ".join(
            f"{c.name} ({c.observed})" for c in failed
        )
    return f"{words}; {blind} could not be looked at." if blind else f"{words}."


def _next_step(session: Session, before: Before, failed: list[Check], standing: Standing) -> str:
    mends = [check.mend for check in failed if check.mend]
    if mends:
        return mends[0]
    up = next_percentage(session.plan, standing.phase.percentage if standing.phase else Decimal(0))
    if before.state is State.PASS and up is not None:
        return f"rollout change --to {up:g} --plan {session.plan.path}"
    return f"rollout preflight --plan {session.plan.path}"
