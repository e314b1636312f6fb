"""Two checkpoints side by side, metric by metric."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import nbformat

from rollout_lib.archive import copies
from rollout_lib.archive.chain import Link
from rollout_lib.archive.sealing import shown_checkpoint
from rollout_lib.display.words import EMPTY
from rollout_lib.errors import ParameterError

Body = Mapping[str, Any]
_FIGURES = (
    ("requests", "{:,.0f}"),
    ("errors", "{:,.0f}"),
    ("error_pct", "{:.3f} %"),
    ("share_pct", "{:.2f} %"),
    ("avg_ms", "{:,.0f} ms"),
    ("p50_ms", "{:,.0f} ms"),
    ("p95_ms", "{:,.0f} ms"),
    ("p99_ms", "{:,.0f} ms"),
)
_RUNS = ("checkpoint", "extra", "attempt")


class Difference(NamedTuple):
    """One metric in both checkpoints; "–" where one has no such value."""

    metric: str
    one: str
    other: str
    difference: str


def find(name: str, outputs: Path, database: Sequence[Link] | None) -> Body:
    """The checkpoint of a record's or notebook's file, a ledger number or a run id (its beginning
    is enough).

    database: the ledger's entries; None looks in the copies. Raises ParameterError.
    """
    path = Path(name)
    if path.is_file():
        return _from_file(path)
    links = (
        database
        if database is not None
        else [entry for folder in copies.chains(outputs) for entry in copies.read(folder)[0]]
    )
    number = name.removeprefix("#")
    named = {entry.run_id for entry in links if number.isdigit() and entry.seq == int(number)}
    runs = [
        entry for entry in links if entry.kind in _RUNS and "files" not in json.loads(entry.body)
    ]
    found = [entry for entry in runs if entry.run_id in named]
    found = found or [entry for entry in runs if len(name) >= 6 and entry.run_id.startswith(name)]
    if len({entry.run_id for entry in found}) != 1:
        why = (
            "several checkpoints answer to it"
            if found
            else "no file, ledger number or run of a checkpoint"
        )
        raise ParameterError(problems=f"{name!r}: {why}")
    body: Body = json.loads(found[0].body)
    return body


def _from_file(path: Path) -> Body:
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".ipynb":
            shown = shown_checkpoint(nbformat.reads(text, as_version=4))
            text = shown["text"] if shown else "null"
        body = json.loads(text)
    except (ValueError, KeyError):
        body = None
    if not isinstance(body, dict) or "operation" not in body:
        raise ParameterError(problems=f"{path}: holds no checkpoint (give its .json or .ipynb)")
    return body


def compared(one: Body, other: Body) -> list[Difference]:
    """Every metric that one of the two has, what they are first, then per domain
    and destination.
    """
    rows = [
        _words(name, _plain(one, name), _plain(other, name))
        for name in ("operation", "at", "percentage", "state", "literal", "evidence", "exit_code")
    ]
    left, right = _figures(one), _figures(other)
    for key in dict.fromkeys((*left, *right)):
        for name, spelling in _FIGURES:
            pair = (left.get(key, {}).get(name), right.get(key, {}).get(name))
            rows.append(_numbers(f"{key} {name}", *pair, spelling))
    streams = [
        {item["stream"]: item["e_now"] for item in (body.get("verdict") or {}).get("streams") or ()}
        for body in (one, other)
    ]
    for key in dict.fromkeys((*streams[0], *streams[1])):
        rows.append(_numbers(f"{key} ln e", streams[0].get(key), streams[1].get(key), "{:+.2f}"))
    return rows


def _plain(body: Body, name: str) -> str:
    if name == "percentage":
        config = body.get("config")
        return (
            EMPTY
            if not config
            else f"{float(config['percentage']):g} %"
            if config["enabled"]
            else "routing off"
        )
    if name in ("literal", "evidence"):
        return str((body.get("verdict") or {}).get(name) or EMPTY)
    return str(body.get(name, EMPTY))


def _figures(body: Body) -> dict[str, dict[str, Any]]:
    figures = body.get("figures") or {}
    rows: Iterable[dict[str, Any]] = figures.get("phase") or figures.get("rows") or ()
    return {
        f"{row['domain']} {row['routed_to']}": {**row, "error_pct": _percent(row)} for row in rows
    }


def _percent(row: Body) -> float | None:
    return 100 * row["errors"] / row["requests"] if row["requests"] else None


def _words(metric: str, one: str, other: str) -> Difference:
    return Difference(metric, one, other, "" if one == other else "differs")


def _numbers(metric: str, one: float | None, other: float | None, spelling: str) -> Difference:
    first, second = (EMPTY if value is None else spelling.format(value) for value in (one, other))
    if one is None or other is None:
        return Difference(metric, first, second, "" if one == other else "only in one")
    gap = other - one
    spelled = spelling.replace(":", ":+").replace("++", "+").replace(" %", " points").format(gap)
    return Difference(metric, first, second, spelled if first != second else "")
