"""Does the archive prove itself? Every hash again, from the stored texts, in the database and in
the files.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rollout_lib import spool
from rollout_lib.archive import copies, files
from rollout_lib.archive.chain import (
    SHORT,
    Finding,
    Link,
    check_head,
    check_links,
    compare,
    digest,
    words,
)
from rollout_lib.archive.runs import Runs, may_still_run, places_of, runs_of
from rollout_lib.errors import ParameterError
from rollout_lib.model import Place

_COPIED_WITHIN = timedelta(minutes=15)


@dataclass(kw_only=True)
class Proof:
    """What was proved, and what was not: the archive is whole only where `findings` is empty and
    entries > 0.
    """

    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # worth knowing, and no fault of the archive
    entries: int = 0
    files: int = 0
    head: tuple[int, str] = (0, "")

    @property
    def whole(self) -> bool:
        return not self.findings and self.entries > 0


def parse_head(text: str) -> tuple[int, str] | None:
    """`87:d3190f2f6b7c4a10`, as every message and report carries it; None for ""."""
    if not text:
        return None
    number, _, claimed = text.removeprefix("#").partition(":")
    claimed = claimed.strip().lower()
    long_enough = SHORT <= len(claimed) <= 64 and not set(claimed) - set("0123456789abcdef")
    if not (number.isascii() and number.isdigit() and long_enough):
        raise ParameterError(
            problems=(
                f"head: must be NUMBER:HASH with {SHORT} to 64 signs of the hash, as "
                f"87:d3190f2f6b7c4a10, not {text!r}"
            )
        )
    return int(number), claimed


def verify(
    database: Sequence[Link] | None,
    outputs: Path,
    head: tuple[int, str] | None = None,
    now: datetime | None = None,
    *,
    place: Place | None = None,
    guards: Iterable[str] = (),
) -> Proof:
    """Prove the archive in an output folder against the database's ledger; None where the database
    is gone.

    head: a number and (the beginning of) its hash that somebody outside has kept: without one, a
    chain that was cut off at its end in every place looks whole. now: for what may still be
    running. place: the database's own, beside those that its entries name. guards: what is
    not as it must be of the ledger's triggers and functions (database.guards)."""
    proof, now = Proof(), now or datetime.now(UTC)
    proof.findings += [Finding(kind="unguarded", where="database", what=what) for what in guards]
    chains: list[Sequence[Link]] = []
    matched: Sequence[Link] = ()
    if database is not None:
        proof.findings += check_links(database, "database")
        chains.append(database)
    known = {digest(entry) for entry in database or ()} | {entry.hash for entry in database or ()}
    for folder in copies.chains(outputs):
        links, unreadable = copies.read(folder)
        proof.findings += unreadable + check_links(links, "files")
        chains.append(links)
        if database is None:
            continue
        if known & {digest(entry) for entry in links} or any(
            entry.hash[:SHORT] == folder.name for entry in database
        ):
            matched = [*matched, *links]
            proof.findings += compare(database, links)
        else:
            _say_of_another(proof, database, links, folder.name, place)
    if database is not None and not database and chains[1:]:
        what = "the ledger is empty, and the files hold one"
        proof.findings.append(Finding(kind="truncated", where="database", what=what))
    elsewhere = "" if matched else _is_elsewhere(database or (), outputs)
    if database is not None and not elsewhere:
        proof.findings += _uncopied(database, matched, now, proof)
    main = database if database is not None else max(chains, key=len, default=())
    if head:
        _check_head(proof, database, chains, head)
    if elsewhere:
        proof.findings.append(Finding(kind="elsewhere", where="files", what=elsewhere))
    else:
        _check_runs(proof, chains, outputs, now, database)
    _check_spool(proof, now)
    proof.entries, proof.head = len(main), (main[-1].seq, digest(main[-1])) if main else (0, "")
    return proof


def _say_of_another(
    proof: Proof, database: Sequence[Link], links: Sequence[Link], name: str, place: Place | None
) -> None:
    """A chain of copies with which the database has no entry in common: another database's, or this
    one's own, before it was rewritten.

    It is another's only where each chain says whose it is, and says another name."""
    own = places_of(database)  # and where it was restored under another name, that one
    own |= {(place.environment, place.database, place.rollout)} if place else set()
    theirs = places_of(links)
    if own and theirs and not own & theirs:
        proof.notes.append(
            f"files: also hold the chain {name} of another database ({len(links)} entries)"
        )
        return
    what = (
        f"the copies hold a chain of {len(links):,} entries ({name}) of this same rollout, with"
        " which the database has no entry in common: its ledger was rewritten or replaced"
    )
    proof.findings.append(Finding(kind="edited", where="database", what=what))


def _is_elsewhere(database: Sequence[Link], outputs: Path) -> str:
    """What to say where the folder has nothing at all of what the ledger archived; "" where it has
    something.
    """
    try:
        archived = runs_of(database).archived
    except ValueError:
        return ""  # found by its hash already
    if not archived or any((outputs / path).exists() for path in archived):
        return ""
    return (
        f"{outputs} holds none of the {len(archived):,} files that this ledger archived. Name the"
        " folder that does with --outputs or $ROLLOUT_OUTPUTS; if it is this one, all of it was"
        " deleted"
    )


def _check_head(
    proof: Proof,
    database: Sequence[Link] | None,
    chains: Sequence[Sequence[Link]],
    head: tuple[int, str],
) -> None:
    """The database must hold the head; without it, one of the chains in the files."""
    where = "files" if database is None else "database"
    tried = [
        check_head(links, head, where) for links in ([database] if database is not None else chains)
    ]
    if not tried:
        tried = [check_head((), head, where)]
    if all(tried):
        fewest: list[Finding] = min(tried, key=len)
        proof.findings += fewest


def _uncopied(
    database: Sequence[Link], copied: Sequence[Link], now: datetime, proof: Proof
) -> list[Finding]:
    """Entries without their copy; what nobody has run since may wait, what a run should have copied
    may not.
    """
    there = {entry.seq for entry in copied}
    missing = [entry for entry in database if entry.seq not in there]
    due = max(
        (
            entry.seq
            for entry in database
            if entry.kind in ("archived", "attempt")
            and now - datetime.fromisoformat(entry.recorded_at) > _COPIED_WITHIN
        ),
        default=0,
    )
    last = max(there, default=0)
    late = [
        entry for entry in missing if last < entry.seq <= due
    ]  # gaps before are found in the files themselves
    waiting = [entry for entry in missing if entry.seq > max(due, last)]
    if waiting:
        what = f"{len(waiting)} entries from #{waiting[0].seq} on are not copied to the files yet"
        proof.notes.append(f"database: {what} (the next run, or rollout seal, does it)")
    if not late:
        return []
    what = (
        f"{words(late[0])} and {len(late) - 1} more have no copy: never made (rollout seal makes"
        " them), or deleted"
    )
    return [Finding(kind="uncopied", where="files", what=what)]


def _check_runs(
    proof: Proof,
    chains: Sequence[Sequence[Link]],
    outputs: Path,
    now: datetime,
    database: Sequence[Link] | None,
) -> None:
    archived: dict[str, tuple[str, Link]] = {}
    rollouts: set[str] = set()
    waiting: dict[str, Link] = {}
    sealed: set[str] = set()
    for links in chains:
        try:
            runs = runs_of(links)
        except ValueError:
            continue  # found by its hash already
        archived |= runs.archived
        sealed |= runs.sealed
        waiting |= runs.waiting
        rollouts |= {entry.rollout for entry in links}
        _say_of_runs(proof, runs, "database" if links is database else "files")
    waiting = {run: entry for run, entry in waiting.items() if run not in sealed}
    for path, (claimed, entry) in sorted(archived.items()):
        proof.files += 1
        proof.findings += files.check_file(outputs / path, path, claimed, entry)
    proof.findings += files.check_records(
        outputs, archived, [entry for links in chains for entry in links]
    )
    proof.findings += files.check_folders(outputs)
    for entry in waiting.values():
        if may_still_run(entry, now):
            proof.notes.append(
                f"{words(entry)} is not sealed yet: it may still be running, or its notebook open"
            )
        else:
            what = (
                f"{words(entry)} has no second entry: its run ended before it was archived (rollout"
                " seal closes it)"
            )
            proof.findings.append(Finding(kind="unsealed", where="files", what=what))
    found, notes = files.unknown_files(
        outputs, rollouts, archived.keys(), {run[:8] for run in waiting}
    )
    proof.findings += found
    proof.notes += notes


def _say_of_runs(proof: Proof, runs: Runs, where: str) -> None:
    for entry in runs.orphans:
        what = f"{words(entry)} vouches for a run whose own entry is not there"
        if not any(what == finding.what for finding in proof.findings):
            proof.findings.append(Finding(kind="deleted", where=where, what=what))
    notes = [
        f"{words(entry)}: its notebook was never archived, and was closed as that"
        for entry in runs.lost
    ]
    notes += runs.changed
    proof.notes += [note for note in notes if note not in proof.notes]


def _check_spool(proof: Proof, now: datetime) -> None:
    for path in spool.waiting():
        age = now - datetime.fromtimestamp(path.stat().st_mtime, UTC)
        what = (
            f"{path.name} waits to be appended to the ledger (the next run, or rollout seal,"
            " does it)"
        )
        if age > _COPIED_WITHIN:
            proof.findings.append(Finding(kind="waiting", where="files", what=what))
        else:
            proof.notes.append(f"files: {what}")
