"""Ledger entries that could not be appended: kept as files, appended by the next run. psycopg
alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import stat
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg import errors as pg

from rollout_lib.redaction import redact

APPEND = """SELECT seq, hash FROM rollout.append_entry(
    CAST(%(kind)s AS text), CAST(%(operation)s AS text),
    -- an emergency without a plan is of the rollout that the ledger is of
    COALESCE(NULLIF(CAST(%(rollout)s AS text), ''), (SELECT rollout FROM rollout.ledger ORDER BY seq DESC LIMIT 1),
             'unnamed'),
    CAST(%(at)s AS timestamptz), CAST(%(phase_began)s AS timestamptz), CAST(%(slot)s AS timestamptz),
    CAST(%(run_id)s AS text), CAST(%(body)s AS text))"""
KNOWN = "SELECT 1 FROM rollout.ledger WHERE run_id = %(run_id)s AND operation = %(operation)s"
ITS_RUN = "SELECT 1 FROM rollout.ledger WHERE run_id = %(run_id)s LIMIT 1"
# Every instant on the ledger is of the database's clock, or of a rehearsal's own: none is ahead of it.
AHEAD = """SELECT 1 WHERE CAST(%(at)s AS timestamptz)
    > COALESCE(CAST(%(now)s AS timestamptz), clock_timestamp()) + interval '1 minute'"""
_LARGEST_HEAD = 4096  # bytes; the file has about two hundred
_LARGEST = 8 << 20  # bytes; a checkpoint of a busy day has some hundred thousand
# Not of one entry: the ledger is away, missing, locked, read-only or not ours to write.
_OF_THE_LEDGER = (
    psycopg.OperationalError,
    pg.UndefinedTable,
    pg.UndefinedFunction,
    pg.InvalidSchemaName,
    pg.InsufficientPrivilege,
    pg.ReadOnlySqlTransaction,
)
_NEEDED = {"kind", "operation", "rollout", "at", "run_id", "body"}
_OPTIONAL: dict[str, Any] = {"phase_began": None, "slot": None}


def folder() -> Path:
    """Where entries wait: spool/ below the output folder."""
    return outputs_folder() / "spool"


def outputs_folder(plan: str = "") -> Path:
    """Where records are archived: $ROLLOUT_OUTPUTS, else beside the plan that is named (by the
    caller or $ROLLOUT_PLAN), else the project's outputs/.

    Never where somebody happens to stand, but for a library without its project."""
    told = os.environ.get("ROLLOUT_OUTPUTS", "").strip()
    if told:
        return Path(told)
    named = plan.strip() or os.environ.get("ROLLOUT_PLAN", "").strip()
    for beside in Path(named).absolute().parents[:2] if named else ():
        if (beside / "ledger").is_dir():
            return beside  # an archive that holds its own plan, as a rehearsal's
        if (beside / "outputs").is_dir():
            return beside / "outputs"
    project = Path(__file__).resolve().parents[1]
    return (project if (project / "notebooks").is_dir() else Path.cwd()) / "outputs"


def ledger_of(host: str, database: str, user: str) -> str:
    """Which ledger an address leads to: the database, and the project or the host that holds it.

    A Supabase project is named by its own host or, through the pooler, by the user; this machine
    has many names."""
    own = re.match(r"db\.(\w+)\.supabase\.", host or "")
    project = own[1] if own else (user or "").partition(".")[2]
    here = not host or host.startswith(("/", "127.")) or host in ("localhost", "::1", "local")
    return f"{database} at {project or ('this machine' if here else host)}"


def append(connection: Any, entry: dict[str, Any]) -> str:
    """Append one entry in a transaction of its own; returns the chain's head as
    `#7:ab12cd34ef56`.
    """
    with connection.transaction():
        connection.execute("SET LOCAL lock_timeout = '2s'; SET LOCAL statement_timeout = '5s'")
        seq, digest = connection.execute(APPEND, {**_OPTIONAL, **entry}).fetchone()
    return f"#{seq}:{digest[:16]}"


def keep(entry: dict[str, Any], ledger: str) -> Path:
    """Write an entry to a file of its own (complete or not at all), named by its run; for that
    ledger only.
    """
    target = folder()
    target.mkdir(parents=True, exist_ok=True)
    turn = 2 if entry["kind"] == "archived" else 1  # a run's second entry after its first
    path = target / f"{entry['at'].replace(':', '')}_{entry['run_id']}_{turn}.json"
    part = path.with_suffix(".part")
    with open(part, "w", encoding="utf-8") as file:
        json.dump({**entry, "ledger": ledger}, file, ensure_ascii=False)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
    return path


def head_of(ledger: str, rollout: str) -> Path:
    """Where the head of this ledger and rollout is kept, as this machine saw it last."""
    name = hashlib.sha256(f"{ledger}\n{rollout}".encode()).hexdigest()[:16]
    return folder().parent / "heads" / f"{name}.json"


def read_head(ledger: str, rollout: str) -> tuple[int, str] | None:
    """The number and hash of the head last seen here, None where none was.

    Raises OSError, ValueError, LookupError, TypeError or RecursionError where it cannot be read."""
    try:
        handle = os.open(head_of(ledger, rollout), os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise ValueError("it is no file")
        found = json.loads(file.read(_LARGEST_HEAD))
    seq, digest = found["seq"], found["hash"]
    if type(seq) is not int or seq < 1 or not isinstance(digest, str) or len(digest) != 64:
        raise ValueError("it names no entry")
    return seq, digest


def write_head(ledger: str, rollout: str, head: tuple[int, str]) -> None:
    """Keep the ledger's head, complete or not at all; a disk that does not take it stops nothing."""
    path = head_of(ledger, rollout)
    part = path.with_name(f".part-{uuid.uuid4().hex}")
    found = {"seq": head[0], "hash": head[1], "ledger": ledger, "rollout": rollout}
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        part.write_text(json.dumps(found), encoding="utf-8")
        os.replace(part, path)


def waiting() -> list[Path]:
    """The kept entries, oldest first."""
    return sorted(folder().glob("*.json"))


@dataclass(frozen=True, kw_only=True)
class Drained:
    """What became of the kept entries: heads of those appended, a line for each that stays, and
    why.
    """

    appended: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


def drain(
    connection: Any,
    believe: Callable[[dict[str, Any]], dict[str, Any]],
    now: datetime | None = None,
) -> Drained:
    """Append what waits and is believed, oldest first; a file goes only after its entry is
    committed (psycopg connection).

    believe: from a file's entry to the one that may be appended; its ValueError says why there is
    none. now: a rehearsal's own clock. Anybody can write these files. One of another database's ledger waits for that one. One
    that cannot be read, believed, appended or removed here stays, is reported, and stops no other.
    Raises psycopg.Error where the ledger takes none of them."""
    appended, left, info = [], [], connection.info
    here = ledger_of(info.host, info.dbname, info.user)
    for path in waiting():
        try:
            entry = _read(path)
            if entry.pop("ledger", here) == here:
                appended += _append_late(connection, entry, believe, now)
                path.unlink(missing_ok=True)
        except FileNotFoundError:
            continue  # another run was faster
        except (OSError, ValueError, RecursionError) as error:
            left.append(f"{path} was kept for the ledger and stays: {redact(str(error))}")
        except psycopg.Error as error:
            if connection.closed or isinstance(error, _OF_THE_LEDGER):
                raise
            words = redact((str(error).splitlines() or [type(error).__name__])[0])
            left.append(f"{path} was kept for the ledger, which refuses it: {words}")
    return Drained(appended=tuple(appended), left=tuple(left))


def _read(path: Path) -> dict[str, Any]:
    """A kept entry; ValueError for what is none. Neither a pipe nor a link is waited for or
    followed.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    with os.fdopen(handle, "rb") as file:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or found.st_size > _LARGEST:
            raise ValueError(f"no file of an entry (at most {_LARGEST >> 20} MB)")
        entry = json.loads(file.read(_LARGEST).decode("utf-8"))
    missing = _NEEDED - entry.keys() if isinstance(entry, dict) else _NEEDED
    if missing:
        raise ValueError(f"no {', '.join(sorted(missing))} in it")
    if not all(isinstance(entry[name], str) for name in _NEEDED):
        raise ValueError("not every field of it is a text")
    return {**_OPTIONAL, **entry}


def _append_late(
    connection: Any,
    entry: dict[str, Any],
    believe: Callable[[dict[str, Any]], dict[str, Any]],
    now: datetime | None,
) -> list[str]:
    """Its head, none where it is on the ledger already; of two runs at once one appends it."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%(run_id)s, 0))", entry)
        if connection.execute(KNOWN, entry).fetchone():
            return []
        believed = believe(entry)
        if believed["kind"] == "archived" and not connection.execute(ITS_RUN, entry).fetchone():
            raise ValueError("the run that it archives is not on the ledger")
        if connection.execute(AHEAD, {**entry, "now": now}).fetchone():
            raise ValueError("it is of a time to come, by the database's clock")
        return [append(connection, believed)]
