"""The door: what a run asks of its database first, asked before its kernel starts.

Where a person typed the command and nothing could be asked, they get the error that the run would
have ended with, and nothing is written. What the run itself could do is never refused here. Why:
docs/decisions/nothing-is-written-at-the-door.md"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, text

from rollout_lib.database.connection import connect, load_sql
from rollout_lib.database.inspection import read_catalog, refuse_other_shapes
from rollout_lib.database.ledger import read_facts
from rollout_lib.errors import CouldNotMeasure, DatabaseUnreachable
from rollout_lib.judgement.gates import lowers
from rollout_lib.judgement.state import fold
from rollout_lib.model import RoutingConfig, Standing
from rollout_lib.plan import Plan

# What each run reads of the log. A rollback reads nothing that it could not do without, so it is
# not here.
READS = {
    "00_preflight": "inspect_rows",
    "10_change_percentage": "inspect_rows",
    "20_monitor": "measure",
    "30_evaluate_phase": "measure",
    "40_report": "errors",
}


def knock(name: str, given: Mapping[str, Any], plan: Plan) -> None:
    """Raise what a run by hand of notebook `name` would end with, if its database can be asked
    nothing.

    Raises UsageError for an address that is missing or of another database, DatabaseUnreachable,
    TablesMissing, ShapeRefused. A check that claims a slot passes: that it could not look is a
    record."""
    if given.get("slot"):
        return
    database = connect(plan)
    if name not in READS or _switches_off(given):
        return
    failure, config = None, None
    try:
        with database.transaction(readonly=True) as connection:
            facts = read_facts(connection, plan)
            config = facts.config
            if not _only_lowers(given, config, fold(facts.entries, plan)):
                _is_readable(connection, READS[name])
    except DatabaseUnreachable:
        raise
    except CouldNotMeasure as error:
        failure = error
    if failure is None and config is not None and name != "00_preflight":
        return
    with database.transaction(
        readonly=True
    ) as connection:  # says every difference at once, where that is why
        refuse_other_shapes(read_catalog(connection, plan).catalog, database.place)
    if failure is not None:
        raise failure


def _switches_off(given: Mapping[str, Any]) -> bool:
    """To 0 % reads neither the log nor the ledger: nothing of either may stop it."""
    return bool(given.get("to_percentage")) and Decimal(given["to_percentage"]) == 0


def _only_lowers(
    given: Mapping[str, Any], config: RoutingConfig | None, standing: Standing
) -> bool:
    to = given.get("to_percentage")
    if not to or config is None:
        return False
    return lowers(config, standing, Decimal(to))


def _is_readable(connection: Connection, name: str) -> None:
    """Let the server plan the statement, tables, columns and rights included, and
    run none of it.
    """
    statement = text(f"EXPLAIN {load_sql(name).text}")
    connection.execute(statement, dict.fromkeys(statement.compile().params))
