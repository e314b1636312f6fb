"""The watcher: the plan's slots as notebooks, a tripwire between them. It lowers by itself, and
never raises.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from rollout_lib.database.lease import Lease, who_watches
from rollout_lib.database.ledger import Facts, append, read_clock
from rollout_lib.database.session import Session, open_session
from rollout_lib.errors import PlanError, RolloutError, SlotTaken, UsageError
from rollout_lib.judgement.state import held_until
from rollout_lib.judgement.timeline import slot_of, slots_of
from rollout_lib.model import BLIND, STATES, State
from rollout_lib.notify import metrics
from rollout_lib.notify.send import shout
from rollout_lib.operations.tripwire import Round, trip
from rollout_lib.plan import load_plan
from rollout_lib.runner import run_notebook
from rollout_lib.schedule.lasting import DatabaseClock, Lasting
from rollout_lib.schedule.stop import Stop
from rollout_lib.text import both_clocks


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something the watcher says, of a kind: start quiet slot evaluation act missed lease away back
    trouble stop.
    """

    at: datetime
    kind: str
    text: str
    exit_code: int = 0


Say = Callable[[Event], None]


@dataclass
class _Watch:
    """What the watcher holds between two rounds."""

    session: Session
    outputs: Path
    kernel: str
    say: Say
    stop: Stop
    lease: Lease
    known: Facts | None = None
    last_slot: datetime | None = None
    clock: DatabaseClock = field(default_factory=DatabaseClock)
    away: Lasting = field(default_factory=Lasting)  # the database cannot be asked
    away_since: datetime | None = None
    blind: Lasting = field(default_factory=Lasting)  # it answers, and nothing can be seen in it
    unwritten: str = ""
    failed: bool = False  # the last round could not do what it does alone
    troubled: str = ""
    edited: str = ""  # how the plan's file was not what the phase began with, a round ago
    standing_by: bool = False
    exit_code: int = 0
    tried: dict[datetime, datetime] = field(
        default_factory=dict
    )  # phase -> when its end was last evaluated


def watch(
    plan: str = "",
    *,
    outputs: Path,
    say: Say,
    operator: str = "",
    stop: Stop | None = None,
    until: datetime | None = None,
    kernel: str = "warm",
) -> int:
    """Watch until `stop` is set or `until` has come; returns the exit code of the last check.

    Each aligned slot runs `20_monitor` once, by the database's clock, and only the slot that the
    clock is in: one that passed is recorded as missed. The end of a hold runs `30_evaluate_phase`.
    Raises UsageError for a plan or parameters that are wrong; a database that is away is waited
    for."""
    session = open_session(plan, operator=operator)
    every = session.plan.monitoring.tripwire
    held = _Watch(
        session=session,
        outputs=outputs,
        kernel=kernel,
        say=say,
        stop=stop or Stop(),
        lease=Lease(session.database, max(3 * every, timedelta(seconds=15))),
    )
    _say(
        held,
        "start",
        f"watching {session.plan.rollout}: a check every {session.plan.monitoring.interval}, "
        f"a tripwire every {every}; {held.lease.name}",
    )
    try:
        while not held.stop.is_set():
            began = time.monotonic()
            _one_round(held)
            if until is not None and held.clock() >= until:
                break
            held.stop.wait(max(0.0, every.total_seconds() - (time.monotonic() - began)))
    finally:
        held.lease.release()
        _say(
            held,
            "stop",
            "stopped; routing goes on as configured, and nobody watches it from here",
            held.exit_code,
        )
    return held.exit_code


def _one_round(held: _Watch) -> None:
    """Nothing that happens in a round ends the watch: it is said, and the next
    round tries again.
    """
    try:
        with metrics.unseen_if_it_fails(held.session.plan):
            mine = _is_mine(held)
        if not mine:
            return
        blind = held.blind.is_due
        seen = trip(
            replace(held.session, run_id=uuid4().hex), held.known, failed=held.failed, blind=blind
        )
        held.clock.read(seen.now)
        _back(held)
        held.failed = seen.failed
        held.blind.note(seen.verdict.state in BLIND, told=blind)
        held.known = seen.facts if seen.recorded is None else None
        if seen.recorded is not None:
            held.exit_code = seen.recorded.checkpoint.exit_code
            _say(
                held,
                "act",
                _told(
                    f"{seen.recorded.checkpoint.sentence}{_deed(json.loads(seen.recorded.text))}",
                    seen.recorded.told,
                ),
                held.exit_code,
            )
        else:
            _say(
                held,
                "quiet",
                f"{seen.verdict.state.words}: {seen.verdict.sentence}",
                STATES[seen.verdict.state],
            )
        _unwritten(held, seen.trouble)
        changed = seen.recorded is not None and (
            seen.recorded.checkpoint.change or seen.recorded.checkpoint.adopted
        )
        _follow_the_plan(held, seen)
        if (
            held.lease.held and not changed
        ):  # a long round may have lost it; after a change all is looked at anew
            _slots(held, seen)
    except UsageError as error:
        _trouble(held, error)
    except RolloutError as error:
        _away(held, error)


def _is_mine(held: _Watch) -> bool:
    """Hold the lease, or say once who does, and stand by."""
    held.lease.moves()
    if held.lease.held:
        return True
    before = held.lease.before
    if held.lease.take():
        if held.standing_by or held.lease.before != before:
            ours = (
                "this watcher has the"
                f" lease{f', after {held.lease.before}' if held.lease.before else ''}"
            )
            _say(held, "lease", ours)
            _append(held, "lease", {"holder": held.lease.name, "before": held.lease.before})
        held.standing_by = False
        return True
    if not held.standing_by:
        other = who_watches(held.session.database)
        who = (
            f"{other.name} watches until {_clock(held, other.until)}"
            if other
            else "another watches"
        )
        _say(held, "lease", f"{who}, renewed while it lives; standing by to take over")
        held.standing_by = True
    return False


def _slots(held: _Watch, seen: Round) -> None:
    """The slot that the clock is in, once; those that passed without a check, as missed; the end of
    the hold.
    """
    interval, phase = held.session.plan.monitoring.interval, seen.standing.phase
    slot = slot_of(seen.now, interval)
    accounted = {*seen.standing.slots_done, *seen.standing.slots_missed}
    if phase is not None:
        passed = slots_of(phase.began_at, seen.now, seen.standing.slots_done, held.session.plan)
        for missed in [one for one in passed.missed if one not in accounted]:
            body = {"slot": missed.isoformat(), "reason": "nobody checked it in its time"}
            _append(held, "missed", body, missed, phase.began_at)
            _say(
                held,
                "missed",
                f"the slot of {_clock(held, missed)} had no check; it is recorded as missed",
                20,
            )
    due = phase is None or slot > phase.began_at
    if due and slot != held.last_slot and slot not in accounted:
        held.last_slot = slot
        _run(held, "20_monitor", "slot", f"slot {_clock(held, slot)}", slot=slot.isoformat())
    ends = held_until(held.session.plan, seen.standing)
    if phase is None or ends is None or seen.now < ends or held.stop.is_set():
        return
    judged = (
        seen.standing.evaluation[0] if seen.standing.evaluation else held.tried.get(phase.began_at)
    )
    if judged is None or judged < ends:
        held.tried[phase.began_at] = seen.now
        _run(
            held, "30_evaluate_phase", "evaluation", f"the hold of {phase.percentage:g} % is served"
        )


def _run(held: _Watch, name: str, kind: str, what: str, **parameters: str) -> None:
    given = {"plan": held.session.plan.path, "operator": held.session.operator, **parameters}
    held.lease.moves()
    result = run_notebook(
        name,
        given,
        outputs=held.outputs,
        kernel=held.kernel,
        sources=dict.fromkeys(given, "the watcher"),
    )
    held.known, held.exit_code = None, result.exit_code
    body = result.checkpoint or {}
    said = (
        f"{State(body['state']).words}: {body['sentence']}{_deed(body)}"
        if body
        else result.error.splitlines()[0]
        if result.error
        else "–"
    )
    _say(held, kind, _told(f"{what} · {said}", result.told), result.exit_code)
    if result.trouble:
        _say(held, "trouble", result.trouble, result.exit_code)


def _deed(body: Mapping[str, Any]) -> str:
    """What was done about it, or what a person is asked to do; "" where nothing was to be done."""
    change, verdict = body.get("change"), body.get("verdict") or {}
    if change and change["applied"]:
        share, enabled = change["after"]
        return f" Done: {f'routing is at {share} %' if enabled else 'routing is off'}."
    if body["exit_code"] in (30, 40) and verdict.get("next_step"):
        return f" Asked: {verdict['next_step']}"
    return ""


def _append(
    held: _Watch,
    kind: str,
    body: dict[str, Any],
    slot: datetime | None = None,
    began: datetime | None = None,
) -> None:
    operation = "monitor" if slot else "watch"
    with held.session.database.transaction(readonly=False) as connection:
        at = read_clock(connection)
        try:
            append(
                connection,
                kind=kind,
                operation=operation,
                rollout=held.session.plan.rollout,
                at=at.isoformat(),
                phase_began=began.isoformat() if began else None,
                slot=slot.isoformat() if slot else None,
                run_id=uuid4().hex,
                body=json.dumps(body | {"by": held.lease.name}),
            )
        except SlotTaken:
            return


def _away(held: _Watch, error: RolloutError) -> None:
    """Say once that nothing can be seen, and page once when it lasts."""
    held.exit_code = error.exit_code
    if not held.away.goes_on:
        held.away_since = held.clock()
        _say(held, "away", str(error), error.exit_code)
    elif held.away.is_due:
        minutes = held.away.lasted.total_seconds() / 60
        text = (
            f"Nothing could be seen for {minutes:.0f} minutes, since"
            f" {_clock(held, held.away_since or held.clock())}.\n{error}"
        )
        told = shout(f"{held.session.plan.rollout} - nobody can look", text)
        _say(held, "away", _told(text, told), error.exit_code)
        held.away.note(True, told=True)
    held.away.note(True)


def _follow_the_plan(held: _Watch, seen: Round) -> None:
    """A plan that is broken or edited while a phase runs is told to people; it changes no limit of
    the tripwire.

    A phase begun under the edited plan is watched by that plan.
    """
    began_with, ours = seen.standing.plan_digest, held.session.plan
    if seen.standing.phase is None or not began_with:
        return
    try:
        found, trouble = load_plan(ours.path).digest, ""
    except PlanError as error:
        found, trouble = "", str(error)
    if found and found != began_with:
        trouble = (
            f"The plan {ours.path} was edited in the running phase: {began_with} when it began,"
            f" {found} now. "
        )
        trouble += (
            "Restore it, or begin the phase anew: rollout change --to <same> --again --reason …"
        )
    elif found and found != ours.digest:
        held.session = open_session(ours.path, operator=held.session.operator)
    if (
        trouble and trouble == held.edited != held.troubled
    ):  # seen twice: the first may be a file half saved
        _trouble(held, UsageError(trouble))
    elif held.edited and not trouble:
        held.troubled = ""  # mended: the next time is told again
    held.edited = trouble


def _trouble(held: _Watch, error: UsageError) -> None:
    """What is wrong with the plan, or keeps a check from running: said each time, told to people
    once.
    """
    told: tuple[str, ...] = ()
    if str(error) != held.troubled:
        held.troubled = str(error)
        text = f"{error}\nThe tripwire goes on by the plan of digest {held.session.plan.digest}."
        told = shout(f"{held.session.plan.rollout} - something is wrong with the plan", text)
    _say(held, "trouble", _told(text, told), error.exit_code)


def _back(held: _Watch) -> None:
    if held.away.goes_on:
        since = _clock(held, held.away_since or held.clock())
        held.away.note(False)
        held.known = None
        _say(held, "back", f"the database answers again; nothing was seen since {since}")


def _unwritten(held: _Watch, trouble: str) -> None:
    """Say once, not in every round, that the metrics could not be written."""
    if trouble and trouble != held.unwritten:
        _say(held, "trouble", trouble)
    held.unwritten = trouble


def _clock(held: _Watch, at: datetime) -> str:
    return both_clocks(at, held.session.plan.time_zone, seconds=at.second > 0)


def _told(text: str, lines: tuple[str, ...]) -> str:
    return "\n".join([text, *lines])


def _say(held: _Watch, kind: str, text: str, exit_code: int = 0) -> None:
    held.say(Event(at=held.clock(), kind=kind, text=text, exit_code=exit_code))
