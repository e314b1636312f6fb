"""Apply what is missing, in one transaction; refuse, naming each difference, on objects of another
shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rollout_lib.database.catalog import Catalog, catalog_of, shape_checks
from rollout_lib.database.connection import Database, load_sql
from rollout_lib.database.mends import FOLDER, RUNBOOK, quoted
from rollout_lib.database.routing import hold_rollout_lock
from rollout_lib.errors import ShapeRefused
from rollout_lib.model import Outcome

LEDGER = FOLDER / "20251203140700_rollout_ledger.sql"


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


def migrate(database: Database, *, apply: bool) -> Migration:
    """Apply the runbook's migration and the ledger's where they are missing.

    Raises ShapeRefused where some of the runbook's objects exist in another shape, or only some
    exist: nothing is changed then."""
    with database.transaction(readonly=not apply, statement_timeout="60s") as connection:
        if apply:
            hold_rollout_lock(
                connection, "migrate"
            )  # of two at once, the second finds nothing to do
        catalog = catalog_of(connection.execute(load_sql("inspection"), {"role": ""}).one())
        found = sorted(catalog.relations) + sorted(
            {f"{item.name}()" for item in catalog.functions if item.visible}
        )
        missing = [] if catalog.row.ledger else [LEDGER]
        if differences := _differences(catalog):
            raise ShapeRefused(differences="\n".join(differences))
        if not found:
            missing.insert(0, RUNBOOK)
        if apply:
            for path in missing:
                connection.exec_driver_sql(_statements(path))
    return Migration(
        found=tuple(found),
        missing=tuple(path.name for path in missing),
        applied=apply and bool(missing),
    )


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
            if check.observed == "missing" or (check.name == "functions" and catalog.in_use):
                mend = (
                    f"create what is missing from {RUNBOOK.name}, by hand, as {catalog.owner}: the"
                    f" rest is in use here. {mend}"
                )
            lines.append(f"{check.name}: {check.observed}. Mend: {mend}")
    return lines
