"""One check: facts in, verdict out, what acts by itself done at once, all of it recorded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection

from rollout_lib.database.heads import read_head
from rollout_lib.database.ledger import Facts, is_watched, read_facts
from rollout_lib.database.session import Session, parse_instant
from rollout_lib.database.traffic import SETTLING, arrived_since_off, measure, strays
from rollout_lib.errors import ParameterError
from rollout_lib.judgement.counting import look_from
from rollout_lib.judgement.figures import table_rows
from rollout_lib.judgement.protected import failed_once
from rollout_lib.judgement.slot import judge_slot, off_since
from rollout_lib.judgement.state import adopts
from rollout_lib.judgement.timeline import slot_of
from rollout_lib.model import (
    Act,
    Adopted,
    Change,
    CheckKind,
    Checkpoint,
    Measurement,
    RoutingConfig,
    Standing,
    Verdict,
)
from rollout_lib.notify import metrics
from rollout_lib.operations.lowering import act_on, said
from rollout_lib.operations.record import Recorded, checkpoint_of, record
from rollout_lib.operations.standing import stand
from rollout_lib.plan import Plan
from rollout_lib.probes import take_again, take_probes


def monitor(session: Session, *, slot: str = "") -> Recorded:
    """Measure, judge, act where the plan lets it act alone, record.

    slot: the scheduled instant this run belongs to, "now" for the one that the clock is in, "" for
    a person's extra check, which claims no slot and spends no evidence. A slot that was judged
    before becomes an extra check. Never raises for a bad verdict: the checkpoint carries it."""
    with metrics.unseen_if_it_fails(session.plan):
        return _monitor(session, slot)


def _monitor(session: Session, slot: str) -> Recorded:
    copied = read_head(session.database)  # before the ledger, which only grows
    with session.database.transaction(readonly=True) as connection:
        facts = read_facts(connection, session.plan)
        standing = stand(session, connection, facts, copied)
        now = session.now(facts.now)
        belongs = _slot(slot, now, session.plan, standing)
        measurement = measure_since(
            connection, session, standing, now, whole_phase=False, config=facts.config
        )
    judge = partial(
        judge_slot,
        plan=session.plan,
        config=facts.config,
        standing=standing,
        measurement=measurement,
        slot=belongs,
        now=now,
    )
    verdict = rows_first(judge, session, twice=True)
    change = act_on(session, verdict, facts, standing)
    checkpoint = judged(
        session,
        facts,
        standing,
        verdict,
        change,
        operation="monitor",
        kind="checkpoint" if belongs else "extra",
        slot=belongs,
        look=(
            look_from(measurement, belongs, belongs is not None, session.plan)
            if standing.phase
            else None
        ),
        figures=figures(measurement, session.plan),
    )
    run = record(session, facts, checkpoint)
    trouble = metrics.write(
        session.plan,
        facts=facts,
        standing=standing,
        verdict=verdict,
        rows=checkpoint.figures["rows"],
        at=now,
        slot=belongs,
        changed=change.after if change and change.applied else None,
    )
    return replace(run, told=(*run.told, trouble)) if trouble else run


def rows_first(judge: Callable[..., Verdict], session: Session, *, twice: bool = False) -> Verdict:
    """The verdict of rows and probes. Where the rows suffice to act, no endpoint that is dead or
    slow is waited for.

    twice: where nobody watches, a protected endpoint that failed gets its second probe here; a
    watcher's next round is sooner there. Not where the rows ask a person for an act: who is told
    late is told too late."""
    verdict = judge()
    if verdict.acts_alone:
        return verdict
    probes = take_probes(session.plan)
    failed = failed_once(probes)
    if twice and failed and verdict.act is Act.NONE and not _is_watched(session):
        probes = take_again(session.plan, failed)
    return judge(probes=probes)


def _is_watched(session: Session) -> bool:
    with session.database.transaction(readonly=True) as connection:
        return is_watched(connection, session.plan.rollout)


def measure_since(
    connection: Connection,
    session: Session,
    standing: Standing,
    now: datetime,
    *,
    whole_phase: bool,
    lag: timedelta | None = None,
    config: RoutingConfig | None = None,
) -> Measurement:
    """The measurement of the running phase: its increment begins where the last look ended.

    lag: how long rows may take to be logged, the plan's without it; a partial look reads to now.
    config: where it is off, and rows of unified are stamped later, those that came since are told
    from those that were there."""
    began = standing.phase.began_at if standing.phase else standing.off_at
    since = standing.looks[-1].window.end if standing.looks else began
    live = session.as_of is None and lag is None  # the runbook's own function is for the slots
    found = measure(
        connection,
        plan=session.plan,
        as_of=now,
        phase_began=began,
        increment_start=since or now - session.plan.monitoring.window,
        whole_phase=whole_phase,
        live=live,
        lag=lag,
        before=standing.looks[-1] if standing.looks else None,
        percentage=standing.phase.percentage if standing.phase else None,
    )
    if whole_phase and began is not None:
        found = replace(found, strays=strays(connection, session.plan, began, now, live=live))
    if config is None or (config.enabled and config.percentage > 0):
        return found
    off = off_since(config, standing, found)
    if found.last_unified_at is None or found.last_unified_at <= off + SETTLING:
        return found
    arrived = arrived_since_off(connection, session.plan, off, now)
    return replace(found, arrived_since_off=arrived)


def judged(
    session: Session,
    facts: Facts,
    standing: Standing,
    verdict: Verdict,
    change: Change | None,
    **more: Any,
) -> Checkpoint:
    """The checkpoint of a verdict and of what was done about it; more goes to checkpoint_of."""
    adopted = adopted_by(facts.config, standing, change)
    return checkpoint_of(
        session,
        facts,
        standing,
        verdict=verdict,
        state=verdict.state,
        change=change,
        adopted=adopted,
        **{"sentence": _with_hand(verdict, said(verdict, change), adopted), **more},
    )


def _with_hand(verdict: Verdict, words: str, adopted: Adopted | None) -> str:
    """The sentence, and before it what a hand lowered where this check accepts that."""
    drift = [check.reason for check in verdict.checks if check.kind is CheckKind.DRIFT]
    if adopted is None or not drift or drift[0] in words:
        return words
    return f"{drift[0]} {words}"


def adopted_by(
    config: RoutingConfig | None, standing: Standing, change: Change | None
) -> Adopted | None:
    """What somebody lowered by hand since the last change; None where this run
    lowered it itself.
    """
    if config is None or (change is not None and change.applied and change.before[1]):
        return None
    adopted = adopts(config.percentage, config.enabled, standing.last_change)
    return adopted and replace(adopted, notes=config.notes or "")


def figures(measurement: Measurement, plan: Plan) -> dict[str, Any]:
    """The rows that the notebook and its charts show: the literal window, the unclipped hour, the
    phase, errors.
    """
    shown = {
        "window": {
            "start": measurement.window.window.start.isoformat(),
            "end": measurement.window.window.end.isoformat(),
        },
        "rows": table_rows(measurement.window, plan.domains),
        "hour": table_rows(measurement.hour, plan.domains),
        "errors": measurement.errors,
    }
    if measurement.phase is not None:
        shown["phase"] = table_rows(measurement.phase, plan.domains)
    return shown


def _slot(text: str, now: datetime, plan: Plan, standing: Standing) -> datetime | None:
    """The slot that this run may claim, None for an extra check."""
    if text == "":
        return None
    problems: list[str] = []
    slot = (
        slot_of(now, plan.monitoring.interval)
        if text == "now"
        else parse_instant(text, "slot", problems)
    )
    if slot is not None and slot != slot_of(slot, plan.monitoring.interval):
        problems.append(f"slot: {text} is not a whole multiple of {plan.monitoring.interval}")
    if slot is not None and slot > now:
        problems.append(f"slot: {text} has not come yet, it is {now.isoformat()}")
    if problems:
        raise ParameterError(problems="\n".join(problems))
    if (
        slot is None or slot + plan.monitoring.interval <= now
    ):  # missed: it is never judged on the rows of a later one
        return None
    began = standing.phase.began_at if standing.phase is not None else None
    if began is not None and (slot <= began or slot in standing.slots_done):
        return None
    return slot
