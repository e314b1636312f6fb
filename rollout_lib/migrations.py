"""Apply what is missing, in one transaction; refuse, naming each difference, on objects of another shape."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rollout_lib.database import Database, load_sql
from rollout_lib.errors import ShapeRefused
from rollout_lib.inspection import shape_checks
from rollout_lib.model import Outcome

FOLDER = Path(__file__).parent / "sql" / "migrations"
RUNBOOK = FOLDER / "20251203140600_webhook_traffic_routing.sql"
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
        return f"{verb}: {', '.join(self.missing)}." + ("" if self.applied else " Nothing was changed; add --apply.")


def migrate(database: Database, *, apply: bool) -> Migration:
    """Apply the runbook's migration and the ledger's where they are missing.

    Raises ShapeRefused where some of the runbook's objects exist in another shape, or only some exist:
    nothing is changed then.
    """
    with database.transaction(readonly=not apply, statement_timeout="60s") as connection:
        row = connection.execute(load_sql("inspection")).one()
        tables = {item["table_name"] for item in row.columns or []}
        objects = sorted(tables | {f"{item['name']}()" for item in row.functions or []})
        missing = []
        if objects:
            wrong = [check for check in shape_checks(row) if check.outcome is Outcome.FAIL]
            if wrong:
                lines = [f"{check.name}: {check.observed}. Mend: {check.mend}" for check in wrong]
                raise ShapeRefused(differences="\n".join(lines))
        else:
            missing.append(RUNBOOK)
        if not row.ledger:
            missing.append(LEDGER)
        if apply:
            for path in missing:
                connection.exec_driver_sql(path.read_text(encoding="utf-8").replace("%", "%%"))
    return Migration(
        found=tuple(objects), missing=tuple(path.name for path in missing), applied=apply and bool(missing)
    )
