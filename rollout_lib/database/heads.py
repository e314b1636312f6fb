"""The head of the ledger as this machine saw it last: a small file for each ledger and rollout.

A database that was restored from a dump has forgotten what came after it, a rollback among it. So
each run compares the ledger with this file before it judges, and writes it when it has recorded."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import uuid
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from rollout_lib import spool
from rollout_lib.database.connection import Database, load_sql
from rollout_lib.database.ledger import Facts

_LARGEST = 4096  # bytes; the file has about two hundred


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
    name = hashlib.sha256(f"{database.ledger}\n{database.place.rollout}".encode()).hexdigest()[:16]
    return spool.folder().parent / "heads" / f"{name}.json"


def read_head(database: Database) -> CopiedHead | None:
    """Return the head last seen here, None where none was; read it before the ledger, which only
    grows. Never raises: what cannot be read is a value too.
    """
    try:
        handle = os.open(path_of(database), os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                return CopiedHead(trouble="it is no file")
            found = json.loads(file.read(_LARGEST))
        seq, digest = found["seq"], found["hash"]
        if type(seq) is not int or seq < 1 or not isinstance(digest, str) or len(digest) != 64:
            return CopiedHead(trouble="it names no entry")
        return CopiedHead(seq=seq, hash=digest)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        return CopiedHead(trouble=type(error).__name__)


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
    path = path_of(database)
    part = path.with_name(f".part-{uuid.uuid4().hex}")
    found = {"seq": head[0], "hash": head[1]}
    words = {"ledger": database.ledger, "rollout": database.place.rollout}
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        part.write_text(json.dumps(found | words), encoding="utf-8")
        os.replace(part, path)
