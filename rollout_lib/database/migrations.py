"""Apply what is missing, in one transaction; refuse, naming each difference, on objects of another
shape.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy import Connection

from rollout_lib.database.catalog import Catalog, catalog_of, is_missing, shape_checks
from rollout_lib.database.connection import Database, load_sql
from rollout_lib.database.mends import FOLDER, RUNBOOK, quoted
from rollout_lib.database.routing import hold_rollout_lock
from rollout_lib.emergency.identity import differences
from rollout_lib.errors import ShapeRefused, WrongDatabase
from rollout_lib.model import CheckKind, Outcome

LEDGER = FOLDER / "20251203140700_rollout_ledger.sql"
MARKER = FOLDER / "20251203140800_rollout_marker.sql"


@dataclass(frozen=True, kw_only=True)
class Migration:
    """What was found and what was (or, without apply, would be) done."""

    found: tuple[str, ...]
    missing: tuple[str, ...]
    applied: bool

    @property
    def sentence(self) -> str:
        """What is true of the database now."""
        if not self.missing:
            return "Nothing to do: the runbook's objects and the ledger are there."
        verb = "Applied" if self.applied else "Would apply"
        return f"{verb}: {', '.join(self.missing)}." + (
            "" if self.applied else " Nothing was changed; add --apply."
        )


def migrate(database: Database, *, apply: bool, mark: bool = False) -> Migration:
    """Apply the runbook's migration, the ledger's and the marker's where they are missing, and mark
    the database as the plan's.

    mark: a marker of another environment or project is replaced (a copy that was restored on
    purpose). Raises ShapeRefused where some of the runbook's objects exist in another shape, or only
    some exist, WrongDatabase where the marker is another's: nothing is changed then."""
    with database.transaction(
        readonly=not apply, statement_timeout="60s", compare=False
    ) as connection:
        if apply:
            hold_rollout_lock(
                connection, "migrate"
            )  # of two at once, the second finds nothing to do
        catalog = catalog_of(connection.execute(load_sql("inspection"), {"role": ""}).one())
        found = sorted(catalog.relations) + sorted(
            {f"{item.name}()" for item in catalog.functions if item.visible}
        )
        missing = [] if catalog.row.ledger else [LEDGER]
        missing += [] if _has_marker(connection) else [MARKER]
        if not mark:
            _refuse_anothers(database)
        if lines := _differences(catalog):
            raise ShapeRefused(differences="\n".join(lines))
        if not found:
            missing.insert(0, RUNBOOK)
        if apply:
            for path in missing:
                connection.exec_driver_sql(_statements(path))
            connection.execute(load_sql("marker_write"), _marker_of(database))
    return Migration(
        found=tuple(found),
        missing=tuple(path.name for path in missing),
        applied=apply and bool(missing),
    )


def _has_marker(connection: Connection) -> bool:
    there = "SELECT to_regclass('rollout.marker') IS NOT NULL"
    return bool(connection.exec_driver_sql(there).scalar_one())


def _refuse_anothers(database: Database) -> None:
    """A marker of another environment or project is not written over without being told to."""
    rollout = database.wanted.rollout
    of_others = [mark for mark in database.marks if mark.rollout == rollout] or database.marks
    meant = replace(database.wanted, rollout="", marker="")
    wrong = differences(meant, replace(database.found, marks=tuple(of_others)))
    if wrong:
        raise WrongDatabase(
            difference="; ".join((*wrong, "--mark replaces it")),
            variable=database.plan.database.variable,
            path=database.plan.path,
        )


def _marker_of(database: Database) -> dict[str, str]:
    wanted, found = database.wanted, database.found
    return {
        "rollout": wanted.rollout,
        "environment": wanted.environment,
        "project": found.project,
    }


def _statements(path: Path) -> str:
    """The file without its own BEGIN and COMMIT; % is the driver's sign for a bind."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if line not in ("BEGIN;", "COMMIT;")).replace("%", "%%")


def _differences(catalog: Catalog) -> list[str]:
    """One line for each object that exists in another shape, is missing while others exist, or is
    where no query would find it. A second set is never made."""
    if not (catalog.in_use or catalog.elsewhere or catalog.functions):
        path = catalog.row.path or []
        if "public" in path:
            return []
        return [
            f"search path: {', '.join(path) or 'empty'}: no query would find what this makes in"
            f" public. Mend: ALTER ROLE {quoted(catalog.row.role)} SET search_path = public;"
        ]
    lines = []
    for check in shape_checks(catalog):
        if check.outcome is Outcome.FAIL:
            mend = check.mend
            partly = check.kind is CheckKind.FUNCTIONS and catalog.in_use
            if partly or is_missing(catalog, check):
                mend = (
                    f"create what is missing from {RUNBOOK.name}, by hand, as {catalog.owner}: the"
                    f" rest is in use here. {mend}"
                )
            lines.append(f"{check.name}: {check.observed}. Mend: {mend}")
    return lines
