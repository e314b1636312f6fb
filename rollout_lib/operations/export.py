"""What the ledger holds of a span, as tables for a warehouse or a post-mortem. Changes nothing."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rollout_lib.database.ledger import read_facts
from rollout_lib.database.session import Session
from rollout_lib.errors import ParameterError
from rollout_lib.model import LedgerEntry, runs

if TYPE_CHECKING:
    from pandas import DataFrame

FORMATS = ("csv", "parquet", "jsonl")


def export(
    session: Session, *, start: datetime | None, end: datetime | None, kind: str, folder: Path
) -> Mapping[str, tuple[Path, int]]:
    """Write checks, looks, decisions and statements of [start, end) into a new folder, all or none;
    None is the beginning or the end of the ledger. Entries that cannot be read are a fifth table.

    kind: csv, parquet or jsonl; the columns are those of rollout_lib.frames. Returns each table's
    file and its number of rows. Raises ParameterError for a format, a span without an entry, or a
    folder that is there."""
    problems = []
    if kind not in FORMATS:
        problems.append(f"--format: one of {', '.join(FORMATS)}, not {kind!r}")
    if start and end and end <= start:
        problems.append("--to: must be after --from")
    if folder.exists():
        problems.append(f"--out: {folder} exists, and is not written over")
    if problems:
        raise ParameterError(problems="\n".join(problems))
    with session.database.transaction(readonly=True) as connection:
        facts = read_facts(connection, session.plan)
    kept = [
        entry
        for entry in facts.entries
        if entry.at is None  # one that cannot be read, and says so in a table of its own
        or ((start is None or entry.at >= start) and (end is None or entry.at < end))
    ]
    if not kept:
        raise ParameterError(problems="--from, --to: the ledger has no entry in this span")
    return _written(_tables(kept), kind, folder)


def _tables(entries: list[LedgerEntry]) -> dict[str, DataFrame]:
    from rollout_lib import frames

    ran = [entry.body for entry in runs(entries)]
    tables = {
        "checks": frames.checks(ran),
        "looks": frames.looks(ran),
        "decisions": frames.history(ran),
        "statements": frames.stated(entries),
    }
    unread = frames.unreadable(entries)
    return tables | ({"unreadable": unread} if len(unread) else {})


def _written(
    tables: Mapping[str, DataFrame], kind: str, folder: Path
) -> dict[str, tuple[Path, int]]:
    """Under another name until all of them are there."""
    part = folder.with_name(f".part-{uuid.uuid4().hex[:8]}")
    try:
        part.mkdir(parents=True)
        for name, table in tables.items():
            file = part / f"{name}.{kind}"
            if kind == "csv":
                table.to_csv(file, index=False, date_format="%Y-%m-%dT%H:%M:%S.%f%z")
            elif kind == "jsonl":
                table.to_json(file, orient="records", lines=True, date_format="iso")
            else:
                table.to_parquet(file, index=False)
        os.rename(part, folder)
    except OSError as error:
        raise ParameterError(problems=f"--out: {folder} cannot be written: {error}") from None
    finally:
        for left in part.glob("*") if part.exists() else ():
            left.unlink()
        if part.exists():
            part.rmdir()
    return {name: (folder / f"{name}.{kind}", len(table)) for name, table in tables.items()}
