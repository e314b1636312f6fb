"""Bring something about, by one way after the other, until a new connection reads it after the
commit. What a function did is never believed, only what is read."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from rollout_lib.emergency import line as limits
from rollout_lib.emergency.line import Line
from rollout_lib.emergency.statements import DOWN, OFF, SWITCHES, Failure, Row, Seen, Way, ask
from rollout_lib.errors import NotSwitchedOff

TURNS = 2  # a newer row may be inserted, or somebody may enable it, just as it was switched off
_CONSOLE = "SELECT set_routing_enabled(false, 'emergency');"
_BY_HAND = (
    "Is this the rollout's database, and may this role change it? Run it again with the owner's or"
    f" operator's address, or in the database's own console: {_CONSOLE}"
)


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What is to be read back, and the ways to it."""

    reached: Callable[[Row], bool]
    ways: tuple[Way, ...]
    values: dict[str, str]


def off(reason: str) -> Goal:
    """Routing disabled."""
    return Goal(reached=is_off, ways=OFF, values={"reason": reason})


def down_to(target: Decimal, reason: str) -> Goal:
    """A percentage of at most the target, or routing disabled."""
    return Goal(
        reached=lambda row: (
            is_off(row) or (row.percentage is not None and row.percentage <= target)
        ),
        ways=DOWN,
        values={"reason": reason, "to": str(target)},
    )


def is_off(row: Row) -> bool:
    """Disabled for certain: NULL is not."""
    return row.enabled is False


def words(row: Row | None) -> str:
    """The routing in words: `25.00 %, enabled`."""
    if row is None:
        return "no row of the configuration"
    share = "a percentage that is no number" if row.percentage is None else f"{row.percentage} %"
    switch = {True: "enabled", False: "disabled", None: "enabled is NULL"}[row.enabled]
    return f"{share}, {switch}"


def bring_about(line: Line, goal: Goal) -> Seen:
    """Try the ways in turn until a new connection reads the goal; returns what it read.

    Raises NotSwitchedOff where none of them did, with what a person must do; DatabaseUnreachable
    where it cannot be known."""
    dead: set[str] = set()  # failed for good
    slow: set[str] = set()  # waited for something: left out where another way is open
    turns = 0
    while True:
        plain = [way for way in goal.ways if not way.is_function and way.name not in dead]
        busy = ""
        for way, after in zip(goal.ways, (*goal.ways[1:], None), strict=True):
            if way.name in dead or (way.name in slow and plain):
                continue
            failure = line.send(way, goal.values, goal.reached)
            seen = line.look(afresh=True) if failure is None or failure.lost else None
            if seen is not None and is_verified(line, goal, seen):
                return seen
            _note(line, goal, way, after, failure, seen)
            if failure is not None and not failure.busy:
                dead.add(way.name)
            elif failure is not None:
                slow.add(way.name)
                busy = failure.words
                if not way.is_function:
                    break  # a lock may be in the way of all of them
            elif not way.is_function:
                busy = ""
        # Somebody else may have done it; while a lock is in the way there may be nothing to see.
        seen = line.look(afresh=True) if busy else line.must_look()
        if seen is not None and is_verified(line, goal, seen):
            return seen
        turns += not busy
        if turns >= TURNS or line.seconds() > limits.DEADLINE - 10:
            raise _not_done(line, goal, seen, busy)
        if busy:
            names = {way.name for way in plain} - dead
            if names <= slow:  # each had its turn: once more
                slow -= names
            line.clear_the_way()
            time.sleep(0.1)


def is_verified(line: Line, goal: Goal, seen: Seen) -> bool:
    """Is it read as asked, of a server that writes, by a role that sees every row, wherever we
    asked it?
    """
    reached = seen.row is not None and goal.reached(seen.row)
    if not reached or seen.standby or seen.hidden:
        return False
    line.verified.add(seen.server)
    return line.written <= line.verified


def _note(
    line: Line, goal: Goal, way: Way, after: Way | None, failure: Failure | None, seen: Seen | None
) -> None:
    """Say once what did not do it, and what was done instead."""
    if failure is not None and failure.busy and not way.is_function:
        return  # it is tried again
    if failure is None and seen is not None and seen.row is not None and goal.reached(seen.row):
        return  # done, and not verified: that is said at the end
    instead = f": {after.says}" if after is not None else ""
    if failure is None:
        said = f"{way.name} left it at {words(seen.row if seen else None)}{instead}"
    elif failure.busy:
        said = f"{way.name} waited too long ({failure.words}){instead}"
    else:
        said = f"{way.name} failed ({failure.words}){instead}"
    if said not in line.trouble:
        line.trouble.append(said)


def _not_done(line: Line, goal: Goal, seen: Seen | None, busy: str) -> NotSwitchedOff:
    """Why it is not off, as far as it can be known, and what a person does now."""
    there = line.where[1]
    tried = "; ".join(line.trouble)
    if seen is None:
        reason = f"the configuration stays locked, and cannot be read ({line.unread}); {tried}."
        then = "End the session that holds it, then run this again."
        return NotSwitchedOff(where=there, reason=reason, then=then)
    reached = seen.row is not None and goal.reached(seen.row)
    if seen.standby:
        reason = f"it is a standby, which takes no change; it shows {words(seen.row)}."
        then = "Run it again with the address of the server that writes."
    elif seen.hidden:
        reason = f"this was asked and is NOT verified: {seen.hidden}; it sees {words(seen.row)}."
        then = _BY_HAND
    elif seen.row is None:
        reason = "the configuration has no row, so that there was none to switch off."
        then = (
            "What the router does without one is not known. In the database's own console: INSERT"
            " INTO webhook_routing_config (percentage, enabled) VALUES (0, false);"
        )
    elif reached:
        reason = f"more than one server answers at this address; the last reads {words(seen.row)}."
        then = "Run it again with the address of each of them."
    elif busy:
        reason = f"the configuration stays locked, at {words(seen.row)}; {tried}."
        then = "End the session that holds it, then run this again."
    else:
        reason = f"it reads {words(seen.row)} after the commit. {tried}."
        then = _what_enables_it(line) or _BY_HAND
    return NotSwitchedOff(where=there, reason=reason, then=then)


def _what_enables_it(line: Line) -> str:
    """The triggers and rules on the configuration, and the statement that goes past them."""
    names = ", ".join(str(row[0]) for row in ask(line.open(), SWITCHES))
    if not names:
        return ""
    return (
        f"On the configuration stand: {names}. As its owner, in the database's own console: ALTER"
        " TABLE webhook_routing_config DISABLE TRIGGER USER; then UPDATE webhook_routing_config SET"
        " enabled = false, percentage = 0;"
    )
