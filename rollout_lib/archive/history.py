"""What the index shows of each ledger entry: a few fields, read once from its copy and kept beside
the index.

The copies are written once and named by their hash, so a line that was kept is right for ever;
without the file, or with a torn line in it, the copies are read again."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

from rollout_lib.archive import copies
from rollout_lib.archive.chain import from_text
from rollout_lib.model import (
    Archived,
    Checkpoint,
    EntryKind,
    Missed,
    Statement,
    Unreadable,
)
from rollout_lib.model.record import read_entry

KEPT = ".index.jsonl"
Row = dict[str, Any]


def rows(outputs: Path) -> list[Row]:
    """One row an entry, by chain and number; new ones are read and kept."""
    known, new = _kept(outputs / KEPT), []
    found = []
    for folder in copies.chains(outputs):
        for path in sorted(folder.glob("*.txt")):
            name = f"{folder.name}/{path.name}"
            if name not in known:
                known[name] = _row(path) | {"name": name, "chain": folder.name}
                new.append(known[name])
            found.append(known[name])
    if new:
        with open(outputs / KEPT, "a", encoding="utf-8") as file:
            file.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in new))
    return found


def _kept(path: Path) -> dict[str, Row]:
    found: dict[str, Row] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            row = json.loads(line)
            found[row["name"]] = row
        except (ValueError, KeyError, TypeError):
            continue
    return found


def _row(path: Path) -> Row:
    try:
        link = from_text(path.read_bytes().decode(), "")
    except ValueError:
        return {"kind": "unreadable"}
    entry = read_entry(vars(link))
    if isinstance(entry, Unreadable):
        return {"kind": "unreadable"}
    row = {
        "seq": link.seq,
        "kind": link.kind,
        "operation": link.operation,
        "rollout": link.rollout,
        "at": link.at,
        "slot": link.slot,
        "run": link.run_id,
    }
    body = entry.body
    if isinstance(body, Archived):
        return row | {
            "kind": "files",
            "files": sorted(body.files),
            "died": body.died or body.lost,
            "decided": entry.kind is EntryKind.ARCHIVED,
        }
    if isinstance(body, Statement):
        reason = f": {body.reason}" if body.reason else ""
        return row | {"sentence": f"{body.by} stated {body.subject}: {body.value}{reason}"}
    if isinstance(body, Missed):
        return row | {"state": None, "sentence": body.reason, "after": None}
    return row | (_shown(body) if isinstance(body, Checkpoint) else {"kind": "other"})


def _shown(run: Checkpoint) -> Row:
    after = run.change.after if run.change and run.change.applied else None
    if after is None and run.adopted:
        after = run.adopted.percentage, run.adopted.enabled
    return {
        "state": run.state.value,
        "sentence": textwrap.shorten(run.sentence, 400, placeholder=" …"),
        "differ": bool(run.verdict and run.verdict.differ),
        "after": [str(after[0]), after[1]] if after else None,
        "place": {
            "environment": run.place.environment,
            "host": run.place.host,
            "database": run.place.database,
            "time_zone": run.place.time_zone if run.place.environment else None,
        },
    }
