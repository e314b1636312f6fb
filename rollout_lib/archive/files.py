"""What lies in an output folder, against what the entries vouch for: edited, gone, linked, added."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from rollout_lib.archive import copies, history, index, names
from rollout_lib.archive.chain import Finding, Link, words

REPLAYS, EXPORTS = "replays", "exports"
# Views and waiting rooms: nothing is proved by them or of them.
_OUTSIDE = frozenset({names.DRY_RUNS, copies.FOLDER, "working", "spool", "heads", REPLAYS, EXPORTS})
_OURS = frozenset({index.NAME, history.KEPT, ".index.lock", ".gitkeep"})
_READ_BY_PEOPLE = frozenset({".html", ".htm", ".ipynb", ".json", ".svg", ".pdf", ".md", ".txt"})
_DAY = "????-??-??"


def check_file(path: Path, name: str, claimed: str, entry: Link) -> Iterator[Finding]:
    """Is a file what its entry archived, and a file of its own?"""
    try:
        linked = how_linked(path)
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        yield Finding(kind="deleted", where="files", what=f"{name}, archived by {words(entry)}")
        return
    except OSError as error:
        what = f"{name} cannot be read: {error.strerror}"
        yield Finding(kind="edited", where="files", what=what)
        return
    if linked:
        yield Finding(kind="linked", where="files", what=f"{name}: {linked}")
    if found != claimed:
        what = f"{name}: not what {words(entry)} archived"
        yield Finding(kind="edited", where="files", what=what)


def how_linked(path: Path) -> str:
    """What to say of a record that is a link, whose content somebody else can change; "" for none.

    What a killed run left beside it is its own second name, and no stranger's."""
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        return f"it is a link to {os.readlink(path)}, and no file of the archive"
    parts = [part.lstat().st_ino for part in path.parent.glob(".part-*")]
    if status.st_nlink > 1 + parts.count(status.st_ino):
        return (
            f"the same file has {status.st_nlink - 1} more names, through which it can be changed"
        )
    return ""


def check_records(
    outputs: Path, archived: Mapping[str, tuple[str, Link]], links: Iterable[Link]
) -> Iterator[Finding]:
    """Is each record the text that its run's own entry holds?"""
    bodies: dict[str, set[str]] = {}
    for entry in links:
        if entry.kind != "archived" and entry.operation != "":
            bodies.setdefault(entry.run_id, set()).add(entry.body)
    for name, (_, entry) in sorted(archived.items()):
        if not name.endswith(".json"):
            continue
        try:
            text = (outputs / name).read_text(encoding="utf-8")
        except (OSError, ValueError):
            continue  # deleted, or not what was archived: found by its hash
        if text not in bodies.get(entry.run_id, ()):
            what = f"{name}: not the text of any entry of run {entry.run_id[:8]}"
            yield Finding(kind="edited", where="files", what=what)


def check_folders(outputs: Path) -> Iterator[Finding]:
    """Is a folder of the archive, or of the copies, a link to another place?"""
    for folder in (outputs / copies.FOLDER, *outputs.glob("*"), *outputs.glob("*/*")):
        if folder.is_symlink() and folder.is_dir():
            what = f"{folder.relative_to(outputs).as_posix()}: the folder is a link to elsewhere"
            yield Finding(kind="linked", where="files", what=what)


def unknown_files(
    outputs: Path, rollouts: Collection[str], known: Collection[str], unsealed: Collection[str]
) -> tuple[list[Finding], list[str]]:
    """Files that no entry vouches for, and notes on what is outside the proof.

    unsealed: the beginnings of the ids of runs that may still write theirs."""
    found, notes = [], []
    for path in _in_the_days(outputs, rollouts):
        name = path.relative_to(outputs).as_posix()
        if name in known:
            continue
        if path.name.startswith(".part-"):
            notes.append(f"files: {name} is what a killed run left of a file; nothing reads it")
        elif ".ipynb_checkpoints" in path.parts:
            notes.append(f"files: {name} is Jupyter's own copy of what somebody opened")
        elif path.stem.rpartition("_")[2] not in unsealed:
            found.append(Finding(kind="added", where="files", what=f"{name}: no entry knows it"))
    for path in strangers(outputs, rollouts):
        name = path.relative_to(outputs).as_posix()
        found.append(Finding(kind="added", where="files", what=f"{name}: nothing of ours is there"))
    return found, notes


def _in_the_days(outputs: Path, rollouts: Collection[str]) -> list[Path]:
    folders = {path.parent for path in outputs.glob(f"*/{_DAY}")}
    folders |= {outputs / rollout for rollout in rollouts}
    inside: list[Path] = []
    for folder in folders:
        if folder.name not in _OUTSIDE:
            inside += [path for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()]
    return sorted(
        path
        for path in set(inside)
        if not {REPLAYS, EXPORTS}.intersection(path.relative_to(outputs).parts[1:2])
    )


def strangers(outputs: Path, rollouts: Collection[str]) -> Sequence[Path]:
    """What people could take for a record, beside the folders of the days; an archive of its own,
    as a rehearsal has it, is that one's.
    """
    found: list[Path] = []
    for path in sorted(outputs.glob("*")):
        if path.name in _OUTSIDE | _OURS or path.name.startswith(".") or path.name in rollouts:
            continue
        if path.is_dir() and not any(path.glob(_DAY)) and not (path / copies.FOLDER).is_dir():
            found += [item for item in sorted(path.rglob("*")) if item.suffix in _READ_BY_PEOPLE]
        elif path.is_file() and path.suffix in _READ_BY_PEOPLE:
            found.append(path)
    return found
