"""The hash chain of the ledger: the text that is hashed, and what is wrong with a row of entries.
Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

FIELDS = (
    "previous_hash",
    "seq",
    "kind",
    "operation",
    "rollout",
    "at",
    "phase_began",
    "slot",
    "recorded_at",
    "run_id",
    "body",
)
SHORT = 12  # signs of a hash in names and heads; fewer prove nothing
_NEARBY = 50  # how far from its place an entry is looked for


@dataclass(frozen=True, kw_only=True)
class Link:
    """One ledger entry as it was hashed: instants as UTC text, "" for none; hash is what is claimed
    for it.

    From a file's name the claim is the first 12 signs only.
    """

    previous_hash: str
    seq: int
    hash: str
    kind: str
    operation: str
    rollout: str
    at: str
    phase_began: str
    slot: str
    recorded_at: str
    run_id: str
    body: str


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is not as it was written.

    kind: edited, deleted, added, reordered, truncated, unsealed, uncopied, waiting,
    linked, unguarded, unsigned. where:
    "database" or "files"."""

    kind: str
    where: str
    what: str


def link(row: Any) -> Link:
    """The Link of a row of sql/chain.sql."""
    return Link(hash=row.hash, **{name: getattr(row, name) for name in FIELDS})


def text_of(entry: Link) -> str:
    """What is hashed: the columns and the stored text, joined by line feeds."""
    return "\n".join(str(getattr(entry, name)) for name in FIELDS)


def digest(entry: Link) -> str:
    """The hash that an entry's own text gives."""
    return hashlib.sha256(text_of(entry).encode()).hexdigest()


def from_text(text: str, claimed: str) -> Link:
    """The Link of a hashed text; ValueError where it is none."""
    parts = text.split("\n", len(FIELDS) - 1)
    if len(parts) != len(FIELDS) or not parts[1].isdigit():
        raise ValueError("not the text of a ledger entry")
    named: dict[str, Any] = dict(zip(FIELDS, parts, strict=True))
    return Link(hash=claimed, **{**named, "seq": int(parts[1])})


def words(entry: Link) -> str:
    """`#7 (checkpoint monitor, 2025-12-03T09:15:00Z, run 1a2b3c4d)`."""
    return (
        f"#{entry.seq} ({entry.kind} {entry.operation}, {entry.at[:19]}Z, run {entry.run_id[:8]})"
    )


def check_links(links: Sequence[Link], where: str) -> list[Finding]:
    """What is wrong with entries in order of seq, by their own texts and hashes alone."""

    def say(kind: str, what: str) -> None:
        found.append(Finding(kind=kind, where=where, what=what))

    found: list[Finding] = []
    wrong = {entry.seq for entry in links if not _is_itself(entry)}
    for entry in (entry for entry in links if entry.seq in wrong):
        home = next(
            (seq for seq in _around(entry.seq) if _is_itself(replace(entry, seq=seq))), None
        )
        if home:
            say("reordered", f"the entry at #{entry.seq} was written as #{home}")
        else:
            say("edited", f"{words(entry)}: its text does not give its hash")
    before: Link | None = None
    for entry in links:
        expected = before.seq + 1 if before else 1
        if entry.seq < expected:
            say("added", f"a second entry says that it is #{entry.seq}")
            continue
        if entry.seq > expected:
            say("deleted", _span(expected, entry.seq - 1))
        elif entry.previous_hash != (digest(before) if before else "") and not wrong & {
            expected,
            expected - 1,
        }:
            say(
                "edited",
                f"{words(before) if before else 'the beginning'} is not what #{entry.seq} was"
                " written after",
            )
        before = entry
    return found


def check_head(links: Sequence[Link], head: tuple[int, str], where: str) -> list[Finding]:
    """Is the entry that a message named still there, and is it the same? The chain alone cannot
    show its end.
    """
    number, claimed = head
    entry = next((entry for entry in links if entry.seq == number), None)
    if entry is None:
        last = links[-1].seq if links else 0
        what = f"the chain ends at #{last}; the head given is #{number}:{claimed[:SHORT]}"
        return [Finding(kind="truncated" if number > last else "deleted", where=where, what=what)]
    if not digest(entry).startswith(claimed):
        what = (
            f"{words(entry)} gives {digest(entry)[:SHORT]}; the head given is"
            f" #{number}:{claimed[:SHORT]}"
        )
        return [Finding(kind="edited", where=where, what=what)]
    return []


def compare(database: Sequence[Link], files: Sequence[Link]) -> list[Finding]:
    """Where the database and the copies of its entries tell two stories."""
    here, there = {entry.seq: entry for entry in database}, {entry.seq for entry in files}
    found = []
    for other in files:  # each of them: a number may have been copied twice
        one = here.get(other.seq)
        if one and _is_itself(one) and _is_itself(other) and digest(one) != digest(other):
            what = f"{words(other)}: database and files hold two texts, and each gives its own hash"
            found.append(Finding(kind="edited", where="database", what=what))
    last = max(here, default=0)
    beyond = sorted(number for number in there if number > last)
    if beyond:
        what = f"{_span(beyond[0], beyond[-1])}: copied to the files; the database ends at #{last}"
        found.append(Finding(kind="truncated", where="database", what=what))
    return found


def _is_itself(entry: Link) -> bool:
    one_line = not any("\n" in str(getattr(entry, name)) for name in FIELDS[:-1])
    return one_line and len(entry.hash) >= SHORT and digest(entry).startswith(entry.hash)


def _around(seq: int) -> Iterable[int]:
    return (near for near in range(max(1, seq - _NEARBY), seq + _NEARBY) if near != seq)


def _span(first: int, last: int) -> str:
    return f"#{first}" if first == last else f"#{first} to #{last}"
