"""The ledger and the facts that a run begins with: rows <-> values."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, Row

from rollout_lib.database.connection import Asked, load_sql
from rollout_lib.model import LedgerEntry, RoutingConfig
from rollout_lib.model.record import read_entry
from rollout_lib.plan import Plan
from rollout_lib.redaction import redact


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What one statement read: the database's clock, the configuration, the rollout's ledger, its
    head.
    """

    now: datetime
    database: str
    config: RoutingConfig | None
    entries: tuple[LedgerEntry, ...]
    head: tuple[int, str]


def read_facts(connection: Connection, plan: Plan, known: Facts | None = None) -> Facts:
    """One round trip. config is None where the table is empty; a missing table raises
    TablesMissing.

    known: what was read before; of its ledger only what was appended since is read again, unless
    its last entry is not there any more (a restored dump), when all is."""
    statement, binds = facts_asked(plan, after=known.head[0] if known else 0)
    row = connection.execute(statement, binds).one()
    if known is not None and (row.known_hash or "") != known.head[1]:
        return read_facts(connection, plan)
    return facts_from(row, known.entries if known else ())


def facts_asked(plan: Plan, *, after: int = 0) -> Asked:
    """Return the question that a run begins with, for facts_from; after: what is known already."""
    return load_sql("facts"), {
        "rollout": plan.rollout,
        "after": after,
        "own_clock": plan.environment == "rehearsal",
    }


def facts_from(row: Any, before: tuple[LedgerEntry, ...] = ()) -> Facts:
    """Return the facts that one row of sql/facts.sql holds, after the entries known before."""
    return Facts(
        now=row.now,
        database=row.database,
        config=config_from(row.config, row.config_rows),
        entries=(*before, *(read_entry(item) for item in row.entries or ())),
        head=(row.head_seq or 0, row.head_hash or ""),
    )


def read_pulse(connection: Connection, plan: Plan, known: Facts | None) -> Facts:
    """The facts again, cheaply: where the ledger's head is as known, its entries are not read a
    second time, and where it has grown, only what is new.
    """
    if known is None:
        return read_facts(connection, plan)
    row = connection.execute(load_sql("pulse")).one()
    if (row.head_seq or 0, row.head_hash or "") != known.head:
        return read_facts(connection, plan, known)
    return replace(known, now=row.now, config=config_from(row.config, row.config_rows))


def read_clock(connection: Connection) -> datetime:
    """What time it is, by the database."""
    now: datetime = connection.exec_driver_sql("SELECT clock_timestamp()").scalar_one()
    return now


def is_watched(connection: Connection, rollout: str) -> bool:
    """Does a watcher that lives hold the rollout's lease?"""
    row = connection.execute(load_sql("lease"), {"rollout": rollout}).first()
    return row is not None and bool(row.runs)


def append(connection: Connection, **entry: Any) -> tuple[int, str]:
    """Append one entry, by the columns of sql/append_entry.sql; returns (seq, hash)."""
    row = connection.execute(load_sql("append_entry"), entry).one()
    return row.seq, row.hash


def config_from(row: dict[str, Any] | None, rows: int) -> RoutingConfig | None:
    """The newest configuration row; a NULL where a value must be, or a percentage or an instant that
    is none (NaN, below 0, infinity), is no configuration.
    """
    if row is None or not is_percentage(row.get("percentage")) or row.get("enabled") is None:
        return None
    created_at = _finite(row.get("created_at"))
    if created_at is None:
        return None
    return RoutingConfig(
        percentage=tidy(row["percentage"]),
        enabled=row["enabled"],
        domains=tuple(redact(str(name)) for name in row.get("domains") or ()),
        created_at=created_at,
        updated_at=_finite(row.get("updated_at")),
        notes=redact(row["notes"]) if row.get("notes") else None,
        rows=rows,
    )


def is_percentage(value: Any) -> bool:
    """Say whether a value of the column is a finite number that is not negative."""
    return value is not None and Decimal(str(value)).is_finite() and Decimal(str(value)) >= 0


def _finite(value: str | None) -> datetime | None:
    """An instant of a row that anybody may have written; None for none, and for one that no clock
    could say: infinity, before Christ, the year 20000.
    """
    try:
        return _instant(value)
    except ValueError:
        return None


def tidy(value: Any) -> Decimal:
    """A percentage as it is written in a plan: 10, not 10.00."""
    number = Decimal(str(value))
    return Decimal(int(number)) if number == int(number) else number.normalize()


def _instant(value: str | None) -> datetime | None:
    return datetime.fromisoformat(value) if value else None


def chain(connection: Connection, copied: Mapping[str, int] | None = None) -> Sequence[Row[Any]]:
    """The whole ledger's entries as they were hashed, or those after the ones that have been copied
    already.
    """
    return connection.execute(load_sql("chain"), {"copied": json.dumps(copied or {})}).all()
