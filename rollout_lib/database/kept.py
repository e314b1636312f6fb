"""What waits in files for the ledger, appended as far as a file is believed."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any

import psycopg
from sqlalchemy.exc import SQLAlchemyError

from rollout_lib import spool
from rollout_lib.database.connection import Database, explain
from rollout_lib.database.ledger import read_facts
from rollout_lib.errors import CouldNotMeasure
from rollout_lib.judgement.belief import believe
from rollout_lib.judgement.legal import NONE, legal_line
from rollout_lib.judgement.state import fold


def append_kept(database: Database, now: datetime | None = None) -> spool.Drained:
    """Append what may be believed, oldest first; raises our errors where the ledger takes none.

    A lowering must end below what the ledger makes legal when it is appended; of another rollout's
    ledger that is not known, and only off is believed. now: a rehearsal's own clock."""
    try:
        with database.engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
            driver.autocommit = True
            return spool.drain(driver, partial(_believe, database), now)
    except (SQLAlchemyError, psycopg.Error) as error:
        raise explain(error, database.place) from None


def _believe(database: Database, entry: dict[str, Any]) -> dict[str, Any]:
    mine = entry["rollout"] == database.place.rollout
    return believe(entry, _line(database) if mine else NONE)


def _line(database: Database) -> Decimal:
    """What is legal now: each entry that was appended before this one counts."""
    try:
        with database.transaction(readonly=True) as connection:
            entries = read_facts(connection, database.plan).entries
        return legal_line(fold(entries, database.plan))
    except (CouldNotMeasure, LookupError, TypeError, ValueError, ArithmeticError):
        return NONE
