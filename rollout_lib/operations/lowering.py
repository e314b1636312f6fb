"""Lowering the percentage: what a verdict may do alone, and the gradual way down.
It asks no gate.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal

from rollout_lib import emergency
from rollout_lib.database.ledger import Facts, read_clock, read_facts, tidy
from rollout_lib.database.session import Session
from rollout_lib.emergency import SwitchedOff, lower, row_words
from rollout_lib.errors import CouldNotMeasure, RolloutError
from rollout_lib.judgement.gates import step_back_target
from rollout_lib.judgement.state import EMPTY, fold
from rollout_lib.model import Act, Change, RoutingConfig, Standing, Verdict

Row = tuple[Decimal, bool]
# A ledger that is away or missing, or holds an entry that cannot be understood: it stops no
# lowering.
UNREADABLE = (CouldNotMeasure, LookupError, TypeError, ValueError, ArithmeticError)


def act_on(session: Session, verdict: Verdict, facts: Facts, standing: Standing) -> Change | None:
    """Carry out what the verdict may do alone; None where it asks, or where it is done already.

    What could not be done is a Change that was not applied, with the reason: the run still records
    its verdict."""
    config = facts.config
    if config is not None and _is_half_off(config, standing) and session.plan.acts_alone.roll_back:
        why = (
            f"found disabled at {config.percentage:g} %: set to 0 %, so that `enabled` alone brings"
            " nothing back"
        )
        return _tried(config, (Decimal(0), False), why, lambda: disable(session, why))
    if (
        verdict.act is Act.NONE
        or not verdict.acts_alone
        or (config is not None and not config.enabled)
    ):
        return None
    reason = f"{verdict.state.words}: {verdict.sentence}"
    if verdict.act is Act.STEP_BACK and config is not None:
        target = step_back_target(session.plan, standing, config.percentage)
        if target is not None:
            return _tried(config, (target, True), reason, lambda: lower_to(session, target, reason))
    return _tried(config, (Decimal(0), False), reason, lambda: disable(session, reason, config))


def said(verdict: Verdict, change: Change | None) -> str:
    """The verdict's sentence, and that it could not be carried out where that is so."""
    if change is None or change.applied:
        return verdict.sentence
    return (
        f"{verdict.sentence} NOT DONE as far as is known ({change.asked[0]:g} %): {change.detail}"
    )


def known_now(session: Session) -> tuple[Facts, Standing]:
    """What is known after a lowering, to record it; nothing where the ledger cannot be read, which
    stops nothing.

    Its instant is the database's all the same, this machine's only where that cannot be asked
    either."""
    try:
        with session.database.transaction(readonly=True) as connection:
            facts = read_facts(connection, session.plan)
        return facts, fold(facts.entries, session.plan)
    except UNREADABLE:
        now = _clock(session)
        return (
            Facts(now=now, database=session.place.database, config=None, entries=(), head=(0, "")),
            EMPTY,
        )


def _clock(session: Session) -> datetime:
    try:
        with session.database.transaction(readonly=True) as connection:
            return read_clock(connection)
    except CouldNotMeasure:
        return datetime.now(UTC)


def _is_half_off(config: RoutingConfig, standing: Standing) -> bool:
    """Disabled since the ledger's last change, and not at 0 %: by hand, or by a run that died
    between the two.
    """
    known = standing.last_change
    return not config.enabled and config.percentage > 0 and known is not None and known[2]


def _tried(
    config: RoutingConfig | None, asked: Row, reason: str, act: Callable[[], Change]
) -> Change:
    try:
        return act()
    except RolloutError as error:
        before = (config.percentage, config.enabled) if config is not None else asked
        words = " ".join(str(error).split())
        return Change(
            before=before, asked=asked, after=before, applied=False, reason=reason, detail=words
        )


def disable(session: Session, reason: str, seen: RoutingConfig | None = None) -> Change:
    """Routing off, by the emergency path: committed first, recorded by the caller afterwards.

    seen: the configuration as this run read it, for where it cannot be read again (a locked table).
    """
    off = lower(session.database.address, reason=reason, at=session.as_of)
    return _done(off, (Decimal(0), False), reason, seen)


def lower_to(session: Session, target: Decimal, reason: str) -> Change:
    """One step down by the same path, read back after its commit; never up. 0 is off."""
    if target <= 0:
        return disable(session, reason)
    done = lower(session.database.address, reason=reason, to=target, at=session.as_of)
    if done.already or (done.before is not None and not done.before.enabled):
        now = _tidy(done.after)
        return Change(
            before=now,
            asked=(target, now[1]),
            after=now,
            applied=False,
            reason=reason,
            detail="it is as low already",  # somebody else was faster
        )
    return _done(done, (target, done.after.enabled is True), reason, None)


def _done(done: SwitchedOff, asked: Row, reason: str, seen: RoutingConfig | None) -> Change:
    # What was before and could not be read is not called off already: somebody would be told so.
    before = (seen.percentage, seen.enabled) if seen else (_tidy(done.after)[0], True)
    unread = ["what was before could not be read"]
    if done.before is not None and None not in done.before:
        before, unread = _tidy(done.before), []
    elif done.before is not None:
        unread = [f"what was before is {row_words(done.before)}"]
    already = "it was off already" if done.already else ""
    return Change(
        before=before,
        asked=asked,
        after=_tidy(done.after),
        applied=True,
        reason=reason,
        detail="; ".join((*unread, *done.trouble)) or already,
    )


def _tidy(row: emergency.Row) -> Row:
    """As a change says it; a percentage that is none, beside routing that is off, is written as 0."""
    enabled = row.enabled is not False
    unknown = Decimal(100 if enabled else 0)
    return unknown if row.percentage is None else tidy(row.percentage), enabled
