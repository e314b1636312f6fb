"""The head of the ledger as this machine saw it last: a small file for each ledger and rollout.

A database that was restored from a dump has forgotten what came after it, a rollback among it. So
each run compares the ledger with this file before it judges, and writes it when it has recorded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from rollout_lib import spool
from rollout_lib.database.connection import Database, load_sql
from rollout_lib.database.ledger import Facts


@dataclass(frozen=True, kw_only=True)
class CopiedHead:
    """The last entry that was seen here; trouble: why the file cannot be read, "" where it can."""

    seq: int = 0
    hash: str = ""
    trouble: str = ""

    @property
    def key(self) -> str:
        """What a person accepts: the number, bound to its hash."""
        return f"{self.seq}:{self.hash[:16]}"


def path_of(database: Database) -> Path:
    """Return where the head of this ledger and rollout is kept, below the outputs."""
    return spool.head_of(database.ledger, database.place.rollout)


def read_head(database: Database) -> CopiedHead | None:
    """Return the head last seen here, None where none was; read it before the ledger, which only
    grows. Never raises: what cannot be read is a value too.
    """
    try:
        found = spool.read_head(database.ledger, database.place.rollout)
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        why = str(error) if type(error) is ValueError else type(error).__name__
        return CopiedHead(trouble=why)
    return CopiedHead(seq=found[0], hash=found[1]) if found else None


def is_kept(connection: Connection, copied: CopiedHead | None, facts: Facts) -> bool:
    """Say whether the ledger still has the entry that was its head when it was last seen here."""
    if copied is None:
        return True
    if copied.trouble:
        return False
    if facts.head == (copied.seq, copied.hash):
        return True
    for entry in reversed(facts.entries):
        if entry.seq == copied.seq:
            return entry.hash == copied.hash
    found = connection.execute(load_sql("hash_at"), {"seq": copied.seq}).scalar()
    return found == copied.hash


def write_head(database: Database, head: tuple[int, str]) -> None:
    """Keep the ledger's head, complete or not at all; a disk that does not take it stops nothing."""
    spool.write_head(database.ledger, database.place.rollout, head)
