"""Which database answers, and is it the one that was meant: by its name, host and project, and by
the marker that `rollout migrate --apply` wrote into it."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from typing import LiteralString

# No row where the database was never marked (an older one, or one without the ledger).
MARKS: LiteralString = "SELECT rollout, environment, id::text, project FROM rollout.marker"


@dataclass(frozen=True, kw_only=True)
class Mark:
    """One row of rollout.marker: of which rollout and environment the database is."""

    rollout: str
    environment: str
    id: str
    project: str

    def __str__(self) -> str:
        return self.id[:8]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a plan says of its database; "" is not said. name and host are globs."""

    rollout: str = ""
    environment: str = ""
    name: str = ""
    host: str = ""
    project: str = ""
    marker: str = ""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What an address leads to; marks is empty where none was written or none may be read."""

    host: str
    database: str
    project: str = ""
    marks: tuple[Mark, ...] = ()


def differences(wanted: Wanted, found: Found) -> list[str]:
    """Why the database is not the one that was meant, a line each; none where it is."""
    lines = [
        f"{what} {shown or '(unnamed)'}, the plan says {said}"
        for what, shown, said in (
            ("it is called", found.database, wanted.name),
            ("its host is", found.host, wanted.host),
        )
        if said and not fnmatch.fnmatchcase(shown, said)
    ]
    if wanted.project and found.project != wanted.project:
        lines.append(
            f"its project is {found.project or 'not in the address'}, the plan says"
            f" {wanted.project}"
        )
    return lines + _by_mark(wanted, found)


def _by_mark(wanted: Wanted, found: Found) -> list[str]:
    marks = found.marks
    if not marks:
        return [f"it has no marker, the plan says {wanted.marker}"] if wanted.marker else []
    lines = []
    environments = sorted({mark.environment for mark in marks if mark.rollout == wanted.rollout})
    environments = environments or sorted({mark.environment for mark in marks})
    if wanted.environment and environments != [wanted.environment]:
        lines.append(
            f"its marker says {' and '.join(environments)}, the plan says {wanted.environment}"
            " (was it restored from a copy?)"
        )
    of_ours = [mark for mark in marks if mark.rollout == wanted.rollout or not wanted.rollout]
    if not of_ours:
        names = ", ".join(sorted(mark.rollout for mark in marks))
        lines.append(
            f"its marker is of {names}, the plan is of {wanted.rollout} (rollout migrate --apply"
            " marks it for another rollout)"
        )
    moved = sorted({mark.project for mark in of_ours if mark.project})
    if moved and found.project and found.project not in moved:
        lines.append(
            f"it was marked in project {' and '.join(moved)}, and the address leads to"
            f" {found.project} (was it restored from a copy?)"
        )
    if wanted.marker and not any(mark.id.startswith(wanted.marker) for mark in of_ours or marks):
        ids = ", ".join(str(mark) for mark in of_ours or marks)
        lines.append(f"its marker is {ids}, the plan says {wanted.marker}")
    return lines
