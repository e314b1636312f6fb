"""From a press to an operation: the same ones that notebooks and commands call, so a click leaves
the same record.
"""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal

from rollout_lib.control_room.offers import Offer, has_moved
from rollout_lib.database.ledger import Facts, read_facts
from rollout_lib.database.session import Session
from rollout_lib.display.words import BADGES
from rollout_lib.errors import RolloutError
from rollout_lib.judgement.state import fold
from rollout_lib.model import Checkpoint, Gate, runs
from rollout_lib.operations import (
    Recorded,
    attest,
    change_percentage,
    evaluate_phase,
    monitor,
    roll_back,
)
from rollout_lib.text import both_times


@dataclass(frozen=True, kw_only=True)
class Said:
    """What became of a press: done or not, in words, and what else is worth reading; mind: done,
    and not good.
    """

    done: bool
    text: str
    more: tuple[str, ...] = ()
    mind: bool = False


def gates_for(session: Session, offer: Offer) -> tuple[tuple[Gate, ...], str]:
    """Each gate of a raise, met or not, by a dry run that leaves no record; and its sentence.

    The environment's name is typed at the confirmation, so it is given here.
    """
    run = change_percentage(
        _anew(session),
        to=_aim(offer),
        expected=offer.percentage,
        reason="",
        typed_environment=session.plan.environment,
    )
    change = run.checkpoint.change
    return (change.gates if change else ()), run.checkpoint.sentence


def _aim(offer: Offer) -> Decimal:
    """The percentage that a raise asks for; ValueError where the offer is of something else."""
    if offer.to is None:
        raise ValueError(f"an offer of the kind {offer.kind} names no percentage")
    return offer.to


def carry_out(session: Session, offer: Offer, *, reason: str, typed: str) -> Said:
    """Do what was confirmed, unless the rollout has moved since it was shown. Raises nothing of
    ours.
    """
    session = _anew(session)
    try:
        with session.database.transaction(readonly=True) as connection:
            facts = read_facts(connection, session.plan)
        phase, config = fold(facts.entries, session.plan).phase, facts.config
        if has_moved(
            offer, config.percentage if config else None, phase.began_at if phase else None
        ):
            return Said(done=False, text=_moved(facts, offer, session))
        return _done(session, offer, reason, typed)
    except RolloutError as error:
        return Said(done=False, text=str(error))


def _done(session: Session, offer: Offer, reason: str, typed: str) -> Said:
    if offer.kind == "check":
        return _told(session, monitor(session))
    if offer.kind == "evaluate":
        return _told(session, evaluate_phase(session))
    if offer.kind == "step back":
        return _told(
            session, roll_back(session, reason=reason, gradual=True, expected=offer.percentage)
        )
    if offer.kind == "raise":
        run = change_percentage(
            session,
            to=_aim(offer),
            expected=offer.percentage,
            reason=reason,
            dry_run=False,
            typed_environment=typed,
        )
        return _told(session, run, expected=offer.percentage)
    if offer.kind in ("attest", "acknowledge"):
        made = attest(session, subject=offer.subject, value=offer.value, reason=reason)
        seq, digest = made.head
        return Said(
            done=True,
            text=f"{made.by} stated {made.subject}: {made.value}.",
            more=(f"#{seq}:{digest[:16]}",),
        )
    raise ValueError(f"nobody knows what {offer.kind!r} does")


def _told(session: Session, run: Recorded, expected: Decimal | None = None) -> Said:
    """The run's own sentence; who came second with a change is told who was first.

    expected: the percentage that the person saw when they asked, None where it is no raise."""
    checkpoint, more = run.checkpoint, list(run.told)
    done = checkpoint.exit_code != 60 and (checkpoint.change is None or checkpoint.change.applied)
    asked = checkpoint.change if checkpoint.operation == "change" else None
    # Refused because the routing is elsewhere by now, or nothing to do because it is there already.
    second = (
        asked is not None
        and not done
        and (checkpoint.exit_code == 0 or (expected is not None and asked.before[0] != expected))
    )
    if second:
        more.insert(0, f"Not by you. {who_was_first(run.past, session.place.time_zone)}")
    if run.head or run.kept:
        more.append(
            f"#{run.head[0]}:{run.head[1][:16]}"
            if run.head
            else f"not on the ledger yet: kept in {run.kept}"
        )
    mind = checkpoint.exit_code != 0
    return Said(
        done=done,
        text=f"{BADGES[checkpoint.state][1]}: {checkpoint.sentence}",
        more=tuple(more),
        mind=mind,
    )


def _moved(facts: Facts, offer: Offer, session: Session) -> str:
    """What happened between the screen and the confirmation, and who did it."""
    history = [run.body for run in runs(facts.entries)]
    seen = "unreadable" if offer.percentage is None else f"{offer.percentage:g} %"
    now = "unreadable" if facts.config is None else f"{facts.config.percentage:g} %"
    return (
        f"Nothing was done: you were shown {seen}, routing is at {now} now. "
        f"{who_was_first(history, session.place.time_zone)}"
    )


def who_was_first(history: Sequence[Checkpoint], time_zone: str) -> str:
    """Who changed the routing last, and when, by the ledger."""
    changed = [run for run in history if run.change and run.change.applied]
    if not changed:
        return "No entry of the ledger says who did it: somebody changed it past the suite."
    last = changed[-1]
    return (
        f"{last.operator or 'Somebody'} was first, {both_times(last.recorded_at, time_zone)}:"
        f" {last.sentence}"
    )


def _anew(session: Session) -> Session:
    """Each press is a run of its own."""
    return replace(session, run_id=uuid.uuid4().hex)


def start_emergency(session: Session, reason: str) -> subprocess.Popen[str]:
    """`rollout rollback --emergency` as a process of its own, at once, whatever the kernel or a
    refresh is doing.

    It outlives this kernel. The address goes by the environment, so that it is this room's
    database."""
    variable = session.plan.database.variable
    command = [
        sys.executable,
        "-m",
        "rollout_lib",
        "rollback",
        "--emergency",
        f"--reason={reason}",
        f"--operator={session.operator}",
        f"--variable={variable}",
        f"--plan={session.plan.path}",
    ]
    return subprocess.Popen(
        command,
        env={
            **os.environ,
            variable: session.database.address,
            "ROLLOUT_NAME": session.plan.rollout,
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def end_of_emergency(process: subprocess.Popen[str]) -> Said:
    """Wait for its word: exit 0 is off and read back; anything else is not done, or not known."""
    words, _ = process.communicate()
    lines = [line for line in words.splitlines() if line.strip()] or ["it said nothing"]
    if process.returncode == 0:
        return Said(done=True, text="Routing is off.", more=tuple(lines))
    text = (
        f"NOT DONE as far as is known (exit {process.returncode}). It is"
        f" {datetime.now(UTC):%H:%M:%S} UTC."
    )
    return Said(done=False, text=text, more=tuple(lines))
