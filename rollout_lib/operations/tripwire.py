"""Between two slots: the same judgement on the open slot, read to now; it acts without a notebook,
or looks only.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial

from rollout_lib.database.heads import read_head
from rollout_lib.database.ledger import Facts, read_pulse
from rollout_lib.database.session import Session
from rollout_lib.judgement.counting import look_from
from rollout_lib.judgement.protected import is_news
from rollout_lib.judgement.slot import judge_slot
from rollout_lib.judgement.state import is_at_least
from rollout_lib.model import (
    BLIND,
    Act,
    CheckKind,
    Measurement,
    Origin,
    Standing,
    State,
    Verdict,
    runs,
)
from rollout_lib.notify import metrics
from rollout_lib.operations.lowering import act_on, said
from rollout_lib.operations.monitor import adopted_by, figures, judged, measure_since, rows_first
from rollout_lib.operations.record import Recorded, record
from rollout_lib.operations.standing import stand


@dataclass(frozen=True, kw_only=True)
class Round:
    """What one round saw; recorded is None for a quiet one, which leaves nothing on the ledger.

    trouble: why the metrics could not be written, "" where they were or nobody wants them.
    failed: what the verdict does alone could not be done; the next round tries again.
    """

    now: datetime
    facts: Facts
    standing: Standing
    measurement: Measurement = field(repr=False)
    verdict: Verdict
    recorded: Recorded | None = None
    trouble: str = ""
    failed: bool = False


def glance(session: Session, known: Facts | None = None) -> Round:
    """What a round would see, with nothing done, recorded or measured for others: a person looks.

    known: the facts of the round before; the ledger is read again only where it has grown.
    """
    copied = read_head(session.database)  # before the ledger, which only grows
    with session.database.transaction(readonly=True) as connection:
        facts = read_pulse(connection, session.plan, known)
        standing = stand(session, connection, facts, copied)
        now = session.now(facts.now)
        measurement = measure_since(
            connection,
            session,
            standing,
            now,
            whole_phase=False,
            lag=timedelta(0),
            config=facts.config,
        )
    judge = partial(
        judge_slot,
        plan=session.plan,
        config=facts.config,
        standing=standing,
        measurement=measurement,
        slot=None,
        now=now,
    )
    verdict = rows_first(judge, session)
    return Round(now=now, facts=facts, standing=standing, measurement=measurement, verdict=verdict)


def trip(
    session: Session, known: Facts | None = None, *, failed: bool = False, blind: bool = False
) -> Round:
    """One round: two cheap statements and the probes; a verdict that acts alone is carried out at
    once.

    known: the facts of the round before; the ledger is read again only where it has grown. Recorded
    is what was done or (unless it `failed` in the round before too) could not be, what somebody
    lowered by hand, an act that is asked for the first time in this phase, an outage that the last
    look did not have, a protected endpoint that begins to fail or answers again (two failed probes in a row may be of a slot and a round)
    and, if `blind` asks for it, that nothing could be seen."""
    with metrics.unseen_if_it_fails(session.plan):
        return _trip(session, known, failed, blind)


def _trip(session: Session, known: Facts | None, failed: bool, blind: bool) -> Round:
    seen = glance(session, known)
    facts, standing, verdict = seen.facts, seen.standing, seen.verdict
    change = act_on(session, verdict, facts, standing)
    shown = figures(seen.measurement, session.plan)
    adopted = adopted_by(facts.config, standing, change)
    told = change is not None and (change.applied or not failed)
    unseen = blind and verdict.state in BLIND
    recorded = None
    if told or adopted or unseen or (change is None and _is_news(verdict, standing, facts)):
        checkpoint = judged(
            session,
            facts,
            standing,
            verdict,
            change,
            operation="monitor",
            kind="extra",
            origin=Origin.TRIPWIRE,
            sentence=f"Tripwire: {_drift(verdict) if adopted else said(verdict, change)}",
            look=look_from(seen.measurement, None, False, session.plan) if standing.phase else None,
            figures=shown,
        )
        recorded = record(session, facts, checkpoint)
    trouble = metrics.write(
        session.plan,
        facts=facts,
        standing=standing,
        verdict=verdict,
        rows=shown["rows"],
        at=seen.now,
        changed=change.after if change and change.applied else None,
    )
    return replace(
        seen, recorded=recorded, trouble=trouble, failed=change is not None and not change.applied
    )


def _drift(verdict: Verdict) -> str:
    return next(check.reason for check in verdict.checks if check.kind is CheckKind.DRIFT)


def _is_news(verdict: Verdict, standing: Standing, facts: Facts) -> bool:
    """An act that is asked for, and was not before in this phase; an outage that the last look did
    not have; an endpoint that fails, or answers again.
    """
    if standing.phase is not None and is_news(verdict.checks, standing.protected):
        return True
    if _outages(verdict) - _known_outages(standing, facts):
        return True
    if verdict.act is Act.NONE or verdict.state not in (State.STEP_BACK, State.ROLL_BACK):
        return False
    return standing.latched is None or not is_at_least(standing.latched, verdict.state)


def _outages(verdict: Verdict | None) -> set[str]:
    checks = verdict.checks if verdict is not None else ()
    return {check.subject for check in checks if check.kind is CheckKind.OUTAGE}


def _known_outages(standing: Standing, facts: Facts) -> set[str]:
    """Those of the newest look of the running phase."""
    began = standing.phase.began_at if standing.phase else None
    for entry in reversed(runs(facts.entries)):
        if entry.phase_began != began:
            return set()
        if entry.operation == "monitor":
            return _outages(entry.body.verdict)
    return set()
