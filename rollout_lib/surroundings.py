"""What a process finds around it: the files of the project, the account it runs as, and whether the
environment names a database. It reads the environment, and nothing else."""

from __future__ import annotations

import getpass
import os
import re
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
REHEARSAL = "parameters/week6.rehearsal.yaml"
# By what libpq finds a database without an address; a user, password or sslmode alone names none.
OUTSIDE = ("PGSERVICE", "PGHOST", "PGHOSTADDR", "PGDATABASE")
_VARIABLE = re.compile(r"^\s+variable:\s*[\"']?([A-Z][A-Z0-9_]*)", re.MULTILINE)


def account() -> str:
    """Who runs this: the system's user by name, or by number where it has none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user that no passwd file knows
        return f"user {os.getuid()}"


def beside(path: str | Path) -> Path:
    """A file as it is named from the current folder, or from the project's: nbconvert runs a
    notebook in notebooks/.
    """
    named = Path(path).expanduser()
    if named.is_absolute() or named.exists():
        return named
    ours = PROJECT / named
    return ours if ours.exists() else named


def addresses() -> list[str]:
    """The environment's variables that lead to a database, those of the project's plans included; a
    rehearsal's own is none of them.
    """
    own = _variable_of(beside(REHEARSAL))
    known = {"DATABASE_URL", *_named_by_plans()} - {own}
    return [name for name in (*sorted(known), *OUTSIDE) if os.environ.get(name, "").strip()]


def _named_by_plans() -> Iterator[str]:
    folders = {PROJECT / "parameters", Path("parameters").resolve()}
    for folder in folders:
        if folder.is_dir():
            yield from filter(None, map(_variable_of, sorted(folder.glob("*.y*ml"))))


def _variable_of(file: Path) -> str:
    """What a plan names as its variable; "" where it names none or cannot be read."""
    try:
        text = file.read_text(encoding="utf-8-sig", errors="replace")
    except OSError:
        return ""
    found = _VARIABLE.search(text)
    return found[1] if found else ""
