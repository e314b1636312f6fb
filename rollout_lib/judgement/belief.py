"""What is believed of a file that waits for the ledger: a lowering, a hold, never good news. Pure.

Whoever can write below `outputs/` can put a file there. So nothing that could let the percentage
rise is taken from one: it stays where it is, is named, and has to be stated or run again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NoReturn

from rollout_lib.judgement.legal import NONE
from rollout_lib.judgement.state import is_at_least
from rollout_lib.model import Archived, Checkpoint, Entry, EntryKind, State, Unreadable
from rollout_lib.model.record import read_entry

_FIELDS = {"kind", "operation", "rollout", "at", "run_id", "body", "phase_began", "slot"}
_LOOKING = ("monitor", "evaluate", "preflight", "report")


class NotBelieved(ValueError):
    """A file's entry is not taken; the words say why, and what to do instead."""


def believe(fields: Mapping[str, Any], line: Decimal = NONE) -> dict[str, Any]:
    """Return the entry as it may be appended; raise NotBelieved for what could let traffic rise.

    fields: the columns as the file has them. line: the percentage that the ledger makes legal now;
    a lowering must end below it, or be off. A scheduled check becomes an extra one: no slot is
    accounted for by a file."""
    unknown = set(fields) - _FIELDS
    if unknown:
        raise NotBelieved(f"it has fields that nobody knows: {', '.join(sorted(unknown))}")
    entry = read_entry({"seq": 0, "hash": "", **fields})
    if isinstance(entry, Unreadable):
        raise NotBelieved(f"{entry.why.rstrip('.')}: look at it, and delete it")
    _says_one_thing(entry, str(fields["run_id"]))
    body = entry.body
    if entry.kind in (EntryKind.ATTESTATION, EntryKind.ACKNOWLEDGEMENT):
        verb = "attest" if entry.kind is EntryKind.ATTESTATION else "acknowledge"
        raise NotBelieved(
            "what persons state is never taken from a file: state it again (rollout"
            f" {verb}), then delete it"
        )
    if isinstance(body, Archived):
        return {**fields, "slot": None}
    if not isinstance(body, Checkpoint):
        raise NotBelieved(f"a run leaves no {entry.kind} here: delete it")
    if entry.kind is EntryKind.ATTEMPT:
        if _lowered(body):
            raise NotBelieved("it is an attempt that claims a change: look at it, and delete it")
    else:
        _believe_run(body, line)
    claims = entry.kind is EntryKind.CHECKPOINT and (entry.slot or body.slot)
    return {**fields, "kind": "extra" if claims else fields["kind"], "slot": None}


def _says_one_thing(entry: Entry[Any], run_id: str) -> None:
    """The text says each thing once, and of the run what the columns say."""
    try:
        said = json.loads(entry.text, object_pairs_hook=_once, parse_constant=_no_number)
    except RecursionError:
        raise NotBelieved("its body is nested too deeply") from None
    place = said.get("place") or {}
    theirs = (said.get("run_id", run_id), place.get("rollout", entry.rollout))
    if theirs != (run_id, entry.rollout):
        raise NotBelieved("its body is of another run or rollout than the entry")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise NotBelieved("its body says one thing twice")
    return found


def _no_number(sign: str) -> NoReturn:
    raise NotBelieved(f"its body has {sign} where a number must be")


def _lowered(body: Checkpoint) -> list[tuple[Decimal, bool]]:
    """Where a run says that it, or a hand, left the routing."""
    found = [(body.adopted.percentage, body.adopted.enabled)] if body.adopted else []
    return found + ([body.change.after] if body.change and body.change.applied else [])


def _believe_run(body: Checkpoint, line: Decimal) -> None:
    lowered = _lowered(body)
    higher = [after for after in lowered if not _is_below(after, line)]
    if higher:
        raise NotBelieved(
            f"it says that routing is at {higher[0][0]:g} %, which is not below the {line:g} % that"
            " are legal: no change upwards is taken from a file; do it again, then delete it"
        )
    if body.operation in ("rollback", "change"):
        if not lowered:
            raise NotBelieved("it changed nothing: delete it")
        if body.operation == "change" and any(enabled for _, enabled in lowered):
            raise NotBelieved("a change of the percentage is never taken from a file: do it again")
        return
    if body.operation not in _LOOKING:
        raise NotBelieved(f"no run of ours is called {body.operation!r}")
    if is_at_least(body.state, State.HOLD):
        return
    # A check claims no slot here, and of its probes only the failed ones count. An evaluation that
    # is inconclusive could be acknowledged, with whatever figures it names: that is no hold.
    if body.operation == "monitor" and (lowered or body.slot is not None):
        return
    raise NotBelieved(
        f"{body.state.words} is never taken from a file: run it again (rollout {body.operation}), then"
        " delete it"
    )


def _is_below(after: tuple[Decimal, bool], line: Decimal) -> bool:
    """Off, or strictly less than what is legal: to the same percentage would begin its phase anew,
    without what stands against it.
    """
    return not after[1] or after[0] < line
