"""The traffic of each hour of the day, as the log has it: what a plan is made with."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection

from rollout_lib.database.connection import load_sql

_SPAN = timedelta(days=7)
_DAY = timedelta(days=1)


def requests_by_hour(
    connection: Connection, time_zone: str, now: datetime
) -> dict[str, tuple[float, ...]] | None:
    """Domain -> requests of each of the 24 hours of its local day, a mean of at most seven days;
    None where the log holds less than one.
    """
    binds = {"start": now - _SPAN, "until": now, "zone": time_zone}
    rows = connection.execute(load_sql("hours"), binds).all()
    if not rows or now - rows[0].first_at < _DAY:
        return None
    days = int((now - rows[0].first_at) / _DAY)
    binds["start"] = now - days * _DAY  # whole days, so that each hour is in it as often
    rows = connection.execute(load_sql("hours"), binds).all()
    found: dict[str, list[float]] = {row.domain: [0.0] * 24 for row in rows}
    for row in rows:
        found[row.domain][row.hour] = row.requests / days
    return {name: tuple(of_hour) for name, of_hour in found.items()}
