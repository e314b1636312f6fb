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
from rollout_lib.archive.chain import Link, from_text

KEPT = ".index.jsonl"
_SHOWN = ("checkpoint", "extra", "attempt", "attestation", "acknowledgement", "missed")
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
        entry = from_text(path.read_bytes().decode(), "")
        body = json.loads(entry.body)
    except ValueError:
        return {"kind": "unreadable"}
    row = {
        "seq": entry.seq,
        "kind": entry.kind,
        "operation": entry.operation,
        "rollout": entry.rollout,
        "at": entry.at,
        "slot": entry.slot,
        "run": entry.run_id,
    }
    if "files" in body:
        died = body.get("died") or body.get("lost")
        decided = entry.kind == "archived"
        return row | {
            "kind": "files",
            "files": sorted(body["files"]),
            "died": died,
            "decided": decided,
        }
    return row | _shown(entry, body) if entry.kind in _SHOWN else row | {"kind": "other"}


def _shown(entry: Link, body: dict[str, Any]) -> Row:
    if entry.kind in ("attestation", "acknowledgement"):
        reason = f": {body['reason']}" if body.get("reason") else ""
        return {"sentence": f"{body['by']} stated {body['subject']}: {body['value']}{reason}"}
    verdict, change, place = (body.get(name) or {} for name in ("verdict", "change", "place"))
    after = change.get("after") if change.get("applied") else None
    adopted = body.get("adopted")
    if after is None and adopted:
        after = [adopted["percentage"], adopted["enabled"]]
    return {
        "state": body.get("state"),
        "sentence": textwrap.shorten(str(body.get("sentence", "")), 400, placeholder=" …"),
        "differ": bool(verdict.get("differ")),
        "after": after,
        "place": {
            name: place.get(name) for name in ("environment", "host", "database", "time_zone")
        },
    }
