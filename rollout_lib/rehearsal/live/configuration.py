"""The routing configuration as the router sees it: read beside the traffic, never older than a
second.

A request decides from memory and never waits for the database. A value counts for one second from
the moment its query *began*; after that there is none, and everything goes to legacy."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from psycopg_pool import AsyncConnectionPool

VALID_S = 1.0
EVERY_S = 0.25
QUERY = """SELECT percentage, enabled, domains FROM public.webhook_routing_config
 ORDER BY created_at DESC LIMIT 1"""


@dataclass(frozen=True, kw_only=True)
class Configured:
    """What one query read. `asked` is time.monotonic() when it began."""

    percentage: Decimal
    enabled: bool
    domains: frozenset[str]
    asked: float
    read_at: datetime


Read = Callable[[], Awaitable[tuple[Any, Any, Any] | None]]


class Configuration:
    """Keeps the newest value; `run` is the task that renews it."""

    def __init__(self, read: Read, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._read, self._clock = read, clock
        self._newest: Configured | None = None
        self.problem = "not read yet"

    def current(self) -> Configured | None:
        """The configuration to decide by, None where none was read within the last second."""
        newest = self._newest
        if newest is None or self._clock() - newest.asked > VALID_S:
            return None
        return newest

    async def renew(self) -> None:
        """One query; what is unreadable leaves the last value, which runs out by itself."""
        asked = self._clock()
        try:
            row = await self._read()
            if row is None:
                raise ValueError("the table has no row")
            self._newest = _valid(row, asked)
            self.problem = ""
        except (
            Exception
        ) as error:  # whatever it is, the answer is the same: no configuration, so legacy
            self.problem = f"{type(error).__name__} at {datetime.now(UTC):%H:%M:%S} UTC"

    async def run(self) -> None:
        """Renew for ever."""
        while True:
            began = self._clock()
            await self.renew()
            await asyncio.sleep(max(0.02, EVERY_S - (self._clock() - began)))


def _valid(row: tuple[Any, Any, Any], asked: float) -> Configured:
    percentage, enabled, domains = row
    share = Decimal(percentage)
    if not share.is_finite() or not 0 <= share <= 100:
        raise ValueError("the percentage is not a share")
    if not isinstance(enabled, bool) or not isinstance(domains, list):
        raise ValueError("the row has another shape")
    return Configured(
        percentage=share,
        enabled=enabled,
        domains=frozenset(map(str, domains)),
        asked=asked,
        read_at=datetime.now(UTC),
    )


def reader(pool: AsyncConnectionPool) -> Read:
    """Reads the newest row through the pool."""

    async def read() -> tuple[Any, Any, Any] | None:
        async with pool.connection(timeout=VALID_S) as connection:
            return await (await connection.execute(QUERY)).fetchone()

    return read
