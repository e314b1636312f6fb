"""The ledger in files: one file an entry, holding exactly the text that was hashed.

`sha256sum` of a file gives the entry's hash, which its successor's first line repeats. Folders are
named by the first entry's hash, so that several databases can share one output folder."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rollout_lib.archive.chain import SHORT, Finding, Link, from_text, link, text_of
from rollout_lib.archive.writing import write_once
from rollout_lib.errors import ArchiveFailed, NameTaken

FOLDER = "ledger"
_NAME = re.compile(rf"(\d{{7}})_([0-9a-f]{{{SHORT}}})\.txt")


def copied(outputs: Path) -> dict[str, int]:
    """chain -> number of the last entry that is copied; entries are copied in order, so none before
    it is missing.
    """
    return {folder.name: max(numbers(folder), default=0) for folder in chains(outputs)}


def chains(outputs: Path) -> list[Path]:
    """The folders of chains."""
    return sorted(folder for folder in (outputs / FOLDER).glob("*") if folder.is_dir())


def numbers(folder: Path) -> Iterable[int]:
    """The numbers of the entries that a chain's folder holds."""
    return (int(match[1]) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name)))


def texts(folder: Path) -> Iterable[Path]:
    """The files of a chain's entries."""
    return (path for path in folder.iterdir() if _NAME.fullmatch(path.name))


def signature_of(path: Path) -> Path:
    """Where the signature of an entry's copy lies."""
    return path.with_name(f"{path.name}.sig")


def copy(outputs: Path, rows: Iterable[Any]) -> None:
    """Write rows of sql/chain.sql, in order; the first that the disk does not take ends it
    (ArchiveFailed).
    """
    for row in rows:
        if not row.chain:
            raise ArchiveFailed(reason="the ledger's first entry is gone. See: rollout verify")
        entry = link(row)
        path = outputs / FOLDER / row.chain / f"{entry.seq:07d}_{entry.hash[:SHORT]}.txt"
        content = text_of(entry).encode()
        try:
            write_once(path, content)
        except NameTaken:
            if path.read_bytes() != content:
                raise


def read(folder: Path) -> tuple[list[Link], list[Finding]]:
    """The entries of a chain's folder in order, and what in it is not an entry."""
    links, found = [], []
    for path in sorted(folder.iterdir()):
        match = _NAME.fullmatch(path.name)
        where = f"{FOLDER}/{folder.name}/{path.name}"
        if path.name.startswith(".part-") or (
            _NAME.fullmatch(path.name.removesuffix(".sig")) and (path.suffix == ".sig")
        ):
            continue
        if not match:
            found.append(
                Finding(kind="added", where="files", what=f"{where}: no entry has this name")
            )
            continue
        try:
            if path.is_symlink():
                found.append(Finding(kind="linked", where="files", what=f"{where}: it is a link"))
            entry = from_text(path.read_bytes().decode(), match[2])
        except (OSError, ValueError):
            found.append(
                Finding(kind="edited", where="files", what=f"{where} is not the text of an entry")
            )
            continue
        if entry.seq != int(match[1]):
            found.append(
                Finding(kind="reordered", where="files", what=f"{where} holds entry #{entry.seq}")
            )
            continue
        links.append(entry)
    return sorted(links, key=lambda entry: entry.seq), found
