"""Switch routing off from a cold start, with psycopg alone: no plan, ledger or gate may stand in
the way.

`set_routing_enabled(false, reason)` is committed first and alone; 0 % follows in a transaction of
its own, whose failure changes nothing of the first; then the ledger. Every automatic rollback takes
this path too. It is idempotent: switching off what is off says so and is a success."""

from __future__ import annotations

import contextlib
import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

import psycopg

from rollout_lib import spool
from rollout_lib.emergency import line as limits
from rollout_lib.emergency.address import project_of
from rollout_lib.emergency.connection import APPLICATION, cut, read
from rollout_lib.emergency.identity import MARKS, Found, Mark
from rollout_lib.emergency.line import DEADLINE, Line
from rollout_lib.emergency.statements import DOWN, ELSEWHERE, OFF, Row, Seen, ask, said
from rollout_lib.emergency.ways import Goal, bring_about, down_to, is_off, is_verified, off
from rollout_lib.emergency.ways import words as row_words
from rollout_lib.errors import DatabaseUnreachable
from rollout_lib.redaction import name_of, redact

__all__ = ["APPLICATION", "DEADLINE", "Row", "SwitchedOff", "lower", "row_words", "switch_off"]


_HEAD = "SELECT seq, hash, rollout FROM rollout.ledger ORDER BY seq DESC LIMIT 1"


@dataclass(frozen=True, kw_only=True)
class SwitchedOff:
    """What was, what a new connection read after the commit, and what a person must know: `trouble`
    is empty when all went as planned.
    """

    host: str
    database: str
    before: Row | None  # None: could not be read, which stopped nothing
    after: Row
    at: datetime
    trouble: tuple[str, ...]
    recorded: str  # "#7:ab12…", or the path of the spooled entry
    already: bool
    found: Found  # which database it was
    note: str = ""  # what of the address was not used


def switch_off(
    address: str, *, reason: str, operator: str, rollout: str = "", at: datetime | None = None
) -> SwitchedOff:
    """Disable routing, then set 0 %, then record it.

    address: a libpq address. rollout: "" where no plan says it, then that of the ledger's newest
    entry. at: the instant to record (the database's clock when None). Raises DatabaseUnreachable
    when nothing could be done, or when whether it was done cannot be known."""
    reason, operator = redact(reason), name_of(operator)
    with _open(address, reason) as line:
        done = _off(line, reason, at)
        done = _recorded(line, done, reason, operator, redact(rollout))
        return _still(line, done, off(reason), reason)


def lower(
    address: str, *, reason: str, to: Decimal | None = None, at: datetime | None = None
) -> SwitchedOff:
    """The same by a run that records it itself, beside what it saw.

    to: one step down instead of off; never up. Raises as switch_off does."""
    reason = redact(reason)
    with _open(address, reason) as line:
        if to is None:
            return _still(line, _off(line, reason, at), off(reason), reason)
        return _still(line, _down(line, to, reason, at), down_to(to, reason), reason)


@contextmanager
def _open(address: str, reason: str) -> Iterator[Line]:
    """A line that is cut when the time is up."""
    line = Line(address=address, reason=reason)
    watchdog = threading.Timer(limits.DEADLINE, cut, args=(lambda: line.connection,))
    watchdog.daemon = True
    watchdog.start()
    try:
        yield line
    finally:
        watchdog.cancel()
        line.close()


def _off(line: Line, reason: str, at: datetime | None) -> SwitchedOff:
    """Off, committed first and alone and read back; then 0 %, and read back again.

    What two connections read as off at 0 % is not written again: an UPDATE that changes nothing
    may wake a trigger that enables."""
    goal = off(reason)
    first = _first(line)
    before = first.row if first else None
    if first is not None and _is_off_at_zero(line, goal, first):
        second = line.must_look()
        if _is_off_at_zero(line, goal, second):
            return _said(line, before, second, at)
    return _said(line, before, _to_zero(line, reason), at)


def _to_zero(line: Line, reason: str) -> Seen:
    goal = off(reason)
    seen = bring_about(line, goal)
    if seen.row is not None and seen.row.percentage != 0:
        seen = _zero(line, reason, seen)
        if not is_verified(line, goal, seen):  # what sets 0 % may enable, too
            line.trouble.append(f"setting 0 % left it at {row_words(seen.row)}: switched off again")
            seen = bring_about(line, goal)
    return seen


def _zero(line: Line, reason: str, seen: Seen) -> Seen:
    """So that one `enabled = true` does not bring the old percentage back; a failure is told."""
    failed = ""
    for way in (DOWN[0], OFF[2]):  # the runbook's function, then an UPDATE that keeps it off
        failure = line.send(way, {"reason": reason, "to": "0.00"}, _is_zero)
        seen = line.must_look()
        if seen.row is None or _is_zero(seen.row):
            return seen
        failed = failed or (
            failure.words if failure else f"{way.name} left it at {row_words(seen.row)}"
        )
    if seen.row is not None and is_off(seen.row):
        line.trouble.append(
            f"routing is off, but the percentage stays at {row_words(seen.row)} ({failed})"
        )
    return seen


def _down(line: Line, target: Decimal, reason: str, at: datetime | None) -> SwitchedOff:
    """One step down, read back; nothing is sent where it is as low already."""
    first = _first(line)
    before = first.row if first else None
    goal = down_to(target, reason)
    if before is not None and goal.reached(before):
        return _said(line, before, line.must_look(), at)
    return _said(line, before, bring_about(line, goal), at)


def _first(line: Line) -> Seen | None:
    """What was: nice to know. Somebody may hold the whole table, which stops nothing."""
    line.open()
    return line.look(afresh=False)


def _is_off_at_zero(line: Line, goal: Goal, seen: Seen) -> bool:
    """Off for certain, with nothing left to bring back. What a view shows is not believed before
    something was written through it."""
    at_zero = seen.row is not None and _is_zero(seen.row)
    return seen.plain and at_zero and is_verified(line, goal, seen)


def _is_zero(row: Row) -> bool:
    """Off, with nothing left that `enabled` alone would bring back."""
    return is_off(row) and row.percentage == 0


def _said(line: Line, before: Row | None, seen: Seen, at: datetime | None) -> SwitchedOff:
    assert seen.row is not None  # what was verified was read
    found = _found(line)
    return SwitchedOff(
        host=line.where[0],
        database=line.where[1],
        before=before,
        after=seen.row,
        at=at or seen.at,
        trouble=tuple(line.trouble),
        recorded="by the caller",
        already=before is not None and before == seen.row,
        found=found,
        note=_note(line),
    )


def _note(line: Line) -> str:
    """What of the address was not used, and what was not in it."""
    given = read(line.address)
    unnamed = bool(given.parts) and not {"dbname", "service"} & set(given.parts)
    default = f"the address names no database: this is the default, {line.where[1]}"
    return "; ".join(filter(None, (given.note, default if unnamed else "")))


def _still(line: Line, done: SwitchedOff, goal: Goal, reason: str) -> SwitchedOff:
    """The last word: what a new connection reads after everything that was sent, the entry on the
    ledger and the question for the marker included; what woke something is not asked again.

    Raises NotSwitchedOff where it cannot be kept off."""
    told = len(line.trouble)
    try:
        seen = line.must_look()
    except DatabaseUnreachable as error:
        words = f"it was read back, and could not be once more at the end ({said(error)})"
        return replace(done, trouble=(*done.trouble, words))
    if not is_verified(line, goal, seen):
        words = f"writing the ledger or reading the marker left it at {row_words(seen.row)}"
        line.trouble.append(
            f"{words}: switched again; look what stands on tables of schema rollout"
        )
        seen = _to_zero(line, reason) if goal.ways is OFF else bring_about(line, goal)
    assert seen.row is not None  # what was verified was read
    return replace(done, after=seen.row, trouble=(*done.trouble, *line.trouble[told:]))


def _found(line: Line) -> Found:
    """Which database it was, by its address and marker; nothing of it can undo what was done."""
    host, database = line.where
    marks: tuple[Mark, ...] = ()
    try:
        rows = ask(line.open(), MARKS)
        others = [str(row[0]) for row in ask(line.open(), ELSEWHERE)]
        if others:
            line.trouble.append(
                f"not touched, since no path leads there: {', '.join(others)}; does the router read it?"
            )
        marks = tuple(
            Mark(rollout=row[0], environment=row[1], id=row[2], project=row[3] or "")
            for row in rows
        )
    except (psycopg.Error, DatabaseUnreachable) as error:
        line.trouble.append(f"its marker was not read: the connection was lost ({said(error)})")
    project = project_of(host, line.user)
    return Found(host=host, database=database, project=project, marks=marks)


def _recorded(
    line: Line, done: SwitchedOff, reason: str, operator: str, rollout: str
) -> SwitchedOff:
    recorded, trouble = _record(line, done, reason, operator, rollout)
    return replace(done, recorded=recorded, trouble=(*done.trouble, *trouble))


def _record(
    line: Line, done: SwitchedOff, reason: str, operator: str, rollout: str
) -> tuple[str, list[str]]:
    """The ledger entry, or a spooled file that the next run appends; neither can
    undo the rollback. Returns where it is, and what went wrong.
    """
    run_id, before, after = uuid.uuid4().hex, done.before, done.after
    body = {
        "run_id": run_id,
        "operation": "rollback",
        "operator": operator,
        "state": "OFF",
        "sentence": f"Emergency: routing is disabled. {reason}",
        "exit_code": 0,
        "change": {
            "before": _pair(before) if before else None,
            "asked": ["0.00", False],
            "after": _pair(after),
            "applied": True,
            "reason": reason,
            "detail": "; ".join(done.trouble),
        },
    }
    entry = {
        "kind": "checkpoint",
        "operation": "rollback",
        "rollout": rollout,
        "at": done.at.isoformat(),
        "run_id": run_id,
        "body": json.dumps(body, ensure_ascii=False),
    }
    try:
        head = spool.append(line.open(), entry)
        _keep_head(line, rollout)
        return head, []
    except (psycopg.Error, DatabaseUnreachable, UnicodeError) as error:
        words = said(error)
    try:
        path = spool.keep(entry, line.ledger)
    except (OSError, UnicodeError) as error:
        lost = (
            "nowhere: write down when and why; the next check finds routing off, and records that"
        )
        return lost, [f"not on the ledger ({words}), and not kept in a file either ({said(error)})"]
    return str(path), [f"not on the ledger yet ({words}); kept in {path}"]


def _keep_head(line: Line, rollout: str) -> None:
    """This machine has seen the ledger with the rollback on it, as far as the ledger is the one
    that was seen here before; nothing of it can undo what was done.
    """
    with contextlib.suppress(Exception):
        ((seq, digest, named),) = ask(line.open(), _HEAD)
        before = spool.read_head(line.ledger, rollout or named)
        if before:
            known = f"SELECT hash FROM rollout.ledger WHERE seq = {before[0]:d}"
            if before[0] > seq or ask(line.open(), known) != [(before[1],)]:
                return
        spool.write_head(line.ledger, rollout or named, (seq, digest))


def _pair(row: Row) -> list[str | bool | None]:
    return [None if row.percentage is None else str(row.percentage), row.enabled]
