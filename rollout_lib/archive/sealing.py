"""Sealing: a run's files are vouched for on the ledger, and the ledger is copied to the files."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import nbformat

from rollout_lib import spool
from rollout_lib.archive import copies, index, names
from rollout_lib.archive.chain import Link, link
from rollout_lib.archive.runs import Runs, is_by_hand, may_still_run, runs_of
from rollout_lib.archive.signing import sign_last
from rollout_lib.archive.twin import twin
from rollout_lib.archive.writing import write_once
from rollout_lib.database import ledger as store
from rollout_lib.database.connection import connect
from rollout_lib.errors import ArchiveFailed, NameTaken, RolloutError
from rollout_lib.model import Place
from rollout_lib.model.record import MIMETYPE
from rollout_lib.plan import Plan
from rollout_lib.redaction import hidden, hide, hide_first

WORKING = "working"
_LONGEST, _LONGEST_HTML = 20_000, 400_000  # characters of one text, or HTML, of a cell's output
_DRAWN = ("<style", "<svg")  # numbers that are no data
_MARKUP = re.compile(r"(<style.*?</style>|<svg.*?</svg>|<[^>]*>)", re.DOTALL)
_UNREADABLE = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    nbformat.ValidationError,
)
Files = dict[str, str]  # path below the output folder -> sha256


@dataclass(frozen=True, kw_only=True)
class Sealed:
    """One run that was sealed now, and its entry's number; or (seq None) what was found and why it
    was not.

    run_id is "" for a working copy that cannot be read.
    """

    run_id: str
    what: str
    seq: int | None

    def __str__(self) -> str:
        whose = f"run {self.run_id[:8]}  " if self.run_id else ""
        return f"{f'✓ #{self.seq}' if self.seq else '✗'}  {whose}{self.what}"


def archive(
    executed: Any, stem: str, base: Path, outputs: Path, record: str
) -> tuple[Files, ArchiveFailed | None]:
    """Write notebook, record (the stored text as it is, "" for none) and twin, each once.

    Returns what was written and, where the disk or the folder did not take the rest, why.
    """
    files: Files = {}
    _tidy(executed)
    contents = {
        ".ipynb": nbformat.writes(executed),
        ".json": record,
        ".html": twin(executed, stem, record),
    }
    try:
        for ending, content in contents.items():
            if content:
                path = base / f"{stem}{ending}"
                files[path.relative_to(outputs).as_posix()] = write_once(path, content.encode())
    except ArchiveFailed as failure:
        return files, failure
    return files, None


def _tidy(executed: Any) -> None:
    """What cells say and showed, and what was injected, without secrets and personal data;
    megabytes of it are cut, and say so.
    """
    for cell in executed.cells:  # the injected parameters hold the reason as it was typed
        cell.source = hide("".join(cell.source))
    told = executed.metadata.get("papermill", {})
    if "parameters" in told:
        told["parameters"] = hidden(told["parameters"])
    for output in (output for cell in executed.cells for output in cell.get("outputs", [])):
        for field in ("text", "evalue"):
            if field in output:
                output[field] = _cut(output[field])
        if "traceback" in output:
            output["traceback"] = [_cut(line) for line in output["traceback"][-20:]]
        data = output.get("data", {})
        for kind in data:
            if kind == "text/html":
                data[kind] = _html("".join(data[kind]))
            elif kind != MIMETYPE and not kind.startswith(
                "image/"
            ):  # the record is redacted already, and is hashed
                data[kind] = _data(data[kind])


def _html(html: str) -> str:
    if len(html) > _LONGEST_HTML:
        return f"<p>{len(html):,} characters of HTML left out</p>"
    return "".join(part if part.startswith(_DRAWN) else hide(part) for part in _MARKUP.split(html))


def _data(value: Any) -> Any:
    """What a cell showed as text or as data (JSON), each text of it without secrets."""
    lines = isinstance(value, list) and all(isinstance(line, str) for line in value)
    return _cut(value) if isinstance(value, str) or lines else hidden(value)


def _cut(text: str | list[str]) -> str:
    return hide_first("".join(text), _LONGEST)


def seal_run(
    plan: Plan, outputs: Path, entry: Mapping[str, Any]
) -> tuple[tuple[int, str] | None, str]:
    """Append a run's second entry, copy what is new on the ledger, rebuild the index.

    Returns the entry's (seq, hash), and what went wrong ("" for nothing); an entry that the
    database does not take is kept in the spool, and the next run appends it."""
    try:
        database = connect(plan)
    except RolloutError as failure:
        return None, f"archived, but not sealed on a ledger: {type(failure).__name__}"
    try:
        with database.transaction(readonly=False) as connection:
            if entry["kind"] == "attempt":  # it had no checkpoint, whose instant is the database's
                entry = {**entry, "at": store.read_clock(connection).isoformat()}
            head = store.append(connection, **entry)
            rows = store.chain(connection, copies.copied(outputs))
    except RolloutError as failure:
        try:
            kept = spool.keep(dict(entry), database.ledger)
            return None, f"archived, but not sealed on the ledger yet ({failure}); kept in {kept}"
        except OSError as full:
            return None, f"archived, but not sealed on the ledger ({failure}), nor kept ({full})"
    try:
        copies.copy(outputs, rows)
        index.rebuild(outputs, plan)
    except (ArchiveFailed, OSError) as failure:
        return head, f"sealed, but its ledger entry is not in the files yet: {failure}"
    return head, sign_last(outputs)


def entry_for(
    name: str, plan: Plan, run_id: str, at: str, files: Files, *, kind: str, **more: str
) -> dict[str, Any]:
    """The ledger entry that vouches for a run's files."""
    body = {"run_id": run_id, "notebook": name, **more, "files": files}
    return {
        "kind": kind,
        "operation": name,
        "rollout": plan.rollout,
        "at": at,
        "phase_began": None,
        "slot": None,
        "run_id": run_id,
        "body": json.dumps(body, ensure_ascii=False),
    }


def seal(plan: Plan, outputs: Path, now: datetime | None = None) -> list[Sealed]:
    """Seal what is not: notebooks saved by hand below outputs/working/, and runs that ended before
    they could.

    A run whose notebook will never come is closed with its record, written from the ledger.
    Idempotent. Raises CouldNotMeasure where the database cannot be reached, ArchiveFailed where the
    disk does not take it."""
    outputs, database = outputs.resolve(), connect(plan)
    database.drain()
    with database.transaction(readonly=True) as connection:
        now = now or store.read_clock(
            connection
        )  # what may still run is judged by the clock that recorded it
        links = [link(row) for row in store.chain(connection) if row.rollout == plan.rollout]
    runs, done = runs_of(links), []
    known = {entry.hash: entry for entry in links}
    for path in _copies(outputs):
        try:
            notebook = nbformat.read(path, as_version=4)
            shown = shown_checkpoint(notebook)
            if shown is None or not _is_of(json.loads(shown["text"]), database.place):
                continue
        except _UNREADABLE as error:
            done.append(_not_read(outputs, path, error))
            continue
        sealed = _seal_saved(plan, outputs, path, notebook, shown, known, runs)
        done += [sealed] if sealed else []
    for run_id, entry in runs.waiting.items():
        if not may_still_run(entry, now) and run_id not in {item.run_id for item in done}:
            done.append(_close(plan, outputs, entry))
    with database.transaction(readonly=True) as connection:
        rows = store.chain(connection, copies.copied(outputs))
    copies.copy(outputs, rows)
    index.rebuild(outputs, plan)
    sign_last(outputs)
    return done


def _copies(outputs: Path) -> list[Path]:
    found = sorted((outputs / WORKING).rglob("*.ipynb"))
    return [path for path in found if ".ipynb_checkpoints" not in path.parts]


def _not_read(outputs: Path, path: Path, error: Exception) -> Sealed:
    """A working copy that is no notebook, or shows no checkpoint that can be read: said, and left
    as it is.
    """
    why = " ".join(str(error).split())[:120]
    what = (
        f"{path.relative_to(outputs).as_posix()} cannot be read ({type(error).__name__}: {why}):"
        " not sealed"
    )
    return Sealed(run_id="", what=f"{what}. Mend or remove it, then: rollout seal", seq=None)


def _is_of(checkpoint: Mapping[str, Any], place: Place) -> bool:
    """Another database has a ledger of its own: by that one's plan it is sealed, or reported."""
    mine = {"environment": place.environment, "database": place.database, "rollout": place.rollout}
    return {name: checkpoint["place"][name] for name in mine} == mine


def shown_checkpoint(executed: Any) -> dict[str, Any] | None:
    """The checkpoint that a notebook shows ({"text", "seq", "hash"}), the last one where it shows
    several.
    """
    for cell in reversed(executed.cells):
        for output in reversed(cell.get("outputs", []) if cell.cell_type == "code" else []):
            if MIMETYPE in output.get("data", {}):
                shown: dict[str, Any] = output["data"][MIMETYPE]
                return shown
    return None


def _seal_saved(
    plan: Plan,
    outputs: Path,
    path: Path,
    notebook: nbformat.NotebookNode,
    shown: Mapping[str, Any],
    known: Mapping[str, Link],
    runs: Runs,
) -> Sealed | None:
    """A notebook saved by hand, copied into the archive and vouched for; None where that was done
    before.
    """
    checkpoint = json.loads(shown["text"])
    run_id, where = checkpoint["run_id"], path.relative_to(outputs).as_posix()
    if checkpoint.get("kind") == "dry-run":
        return None  # it changed nothing, and has no entry
    if any(run_id[:8] in name and name.endswith(".ipynb") for name in runs.archived):
        return None
    entry = known.get(shown.get("hash") or "")
    if entry is None or entry.body != shown["text"]:
        return Sealed(
            run_id=run_id,
            what=f"{where} shows a checkpoint that the ledger does not hold",
            seq=None,
        )
    stem = names.stem_of(checkpoint, plan.rollout, path.stem, run_id)
    base = names.folder(outputs, plan.rollout, datetime.fromisoformat(checkpoint["at"]))
    files, failure = archive(
        notebook, stem, base, outputs, _unless_there(base, stem, shown["text"])
    )
    if failure:
        raise failure
    source = f"{where}:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    made = entry_for(
        path.stem, plan, run_id, checkpoint["at"], files, kind="archived", source=source
    )
    return _sealed(plan, made, f"{where}, saved by hand")


def _unless_there(base: Path, stem: str, text: str) -> str:
    return "" if (base / f"{stem}.json").exists() else text


def _close(plan: Plan, outputs: Path, entry: Link) -> Sealed:
    """A run that ended before its second entry: what is there of its files, and its record from the
    ledger.
    """
    checkpoint = json.loads(entry.body)
    notebook = checkpoint["provenance"]["notebook"].rsplit(":", 1)[0]
    name = Path(notebook.rsplit(":", 1)[-1]).stem
    base = names.folder(outputs, plan.rollout, datetime.fromisoformat(checkpoint["at"]))
    stem = names.stem_of(checkpoint, plan.rollout, name, entry.run_id)
    try:
        write_once(base / f"{stem}.json", entry.body.encode())
    except NameTaken:
        if (base / f"{stem}.json").read_bytes() != entry.body.encode():
            raise
    there = sorted(base.glob(f"*_{entry.run_id[:8]}.*"))
    files = {
        path.relative_to(outputs).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in there
    }
    why = "the run ended before its notebook was archived"
    if any(path.suffix == ".ipynb" for path in there):
        why = ""
    elif is_by_hand(entry):
        why = "the notebook that a person had open was never saved"
    more = {"source": checkpoint["provenance"]["notebook"], "late": "yes", "lost": why}
    made = entry_for(name, plan, entry.run_id, checkpoint["at"], files, kind="archived", **more)
    return _sealed(plan, made, why or "sealed late")


def _sealed(plan: Plan, entry: dict[str, Any], what: str) -> Sealed:
    with connect(plan).transaction(readonly=False) as connection:
        seq, _ = store.append(connection, **entry)
    return Sealed(run_id=entry["run_id"], what=what, seq=seq)
