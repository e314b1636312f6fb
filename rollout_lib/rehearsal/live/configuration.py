"""The routing configuration as the router sees it: read beside the traffic, never older than a
second.

A request decides from memory and never waits for the database. A value counts for one second from
the moment its query *began*; after that there is none, and everything goes to legacy. So it does
from the moment that a row is read which is not sound: a second row, a domain that is protected."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from psycopg_pool import AsyncConnectionPool

from rollout_lib.rehearsal.live.spelling import spelled

VALID_S = 1.0
EVERY_S = 0.25
# Two rows at most: one is the configuration, a second one is nobody's.
QUERY = """SELECT percentage, enabled, domains, created_at FROM public.webhook_routing_config
 ORDER BY created_at DESC LIMIT 2"""
_POINTS = 2**64


@dataclass(frozen=True, kw_only=True)
class Configured:
    """What one query read. `asked` is time.monotonic() when it began.

    salt: of the draw; the row's created_at, which no change of the percentage touches."""

    percentage: Decimal
    enabled: bool
    domains: frozenset[str]
    salt: bytes
    asked: float
    read_at: datetime

    def draws(self, key: bytes) -> bool:
        """Say whether a sender (or message) is among the percentage that goes to unified.

        The same key and salt give the same point for ever, so a higher percentage only adds."""
        return point(self.salt, key) * 100 < self.percentage * _POINTS


def point(salt: bytes, key: bytes) -> int:
    """Return the place of a key on the line from 0 to 2**64, evenly spread."""
    return int.from_bytes(hashlib.sha256(salt + b"\0" + key).digest()[:8])


Row = tuple[Any, Any, Any, Any]  # percentage, enabled, domains, created_at
Read = Callable[[], Awaitable[Sequence[Row]]]


class NotSound(ValueError):
    """What was read is no configuration to route by; the text says why."""


class Configuration:
    """Keeps the newest value; `run` is the task that renews it."""

    def __init__(
        self,
        read: Read,
        *,
        protected: Collection[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read, self._clock = read, clock
        self._protected = frozenset(map(spelled, protected))
        self._newest: Configured | None = None
        self.problem = "not read yet"

    def current(self) -> Configured | None:
        """The configuration to decide by, None where none was read within the last second."""
        newest = self._newest
        if newest is None or self._clock() - newest.asked > VALID_S:
            return None
        return newest

    async def renew(self) -> None:
        """One query, given up after a second. What is not sound ends the last value at once; what
        cannot be read leaves it, and it runs out by itself.
        """
        asked = self._clock()
        try:
            async with asyncio.timeout(VALID_S):
                rows = await self._read()
            self._newest = _sound(rows, asked, self._protected)
            self.problem = ""
        except NotSound as error:
            self._newest = None
            self.problem = f"{error} at {datetime.now(UTC):%H:%M:%S} UTC"
        except Exception as error:  # whatever it is, nothing was read: soon there is no value
            self.problem = f"{type(error).__name__} at {datetime.now(UTC):%H:%M:%S} UTC"

    async def run(self) -> None:
        """Renew for ever."""
        while True:
            began = self._clock()
            await self.renew()
            await asyncio.sleep(max(0.02, EVERY_S - (self._clock() - began)))


def _sound(rows: Sequence[Row], asked: float, protected: frozenset[str]) -> Configured:
    """Raise NotSound for anything but one row that says a share, a switch and domains.

    A percentage that the suite never set is a share as well: the router cannot know the ledger,
    does as it is told, and leaves the alarm to the suite."""
    if len(rows) != 1:
        raise NotSound("the table has no row" if not rows else "the table has a second row")
    percentage, enabled, domains, created_at = rows[0]
    if isinstance(percentage, bool) or not isinstance(percentage, Decimal | int | float):
        raise NotSound("the percentage is not a number")
    share = Decimal(percentage)
    if not share.is_finite() or not 0 <= share <= 100:
        raise NotSound("the percentage is not a share")
    if not isinstance(enabled, bool):
        raise NotSound("enabled is not true or false")
    if not isinstance(domains, list) or not all(isinstance(name, str) for name in domains):
        raise NotSound("the domains are not a list of names")
    names = frozenset(map(spelled, domains))
    if "" in names:
        raise NotSound("a name among the domains is empty")
    if names & protected:
        raise NotSound("a protected domain is among the domains")
    if created_at is None:
        raise NotSound("the row has no created_at")
    return Configured(
        percentage=share,
        enabled=enabled,
        domains=names,
        salt=_salt(created_at),
        asked=asked,
        read_at=datetime.now(UTC),
    )


def _salt(created_at: Any) -> bytes:
    """The same bytes whatever the session's time zone is."""
    if isinstance(created_at, datetime) and created_at.tzinfo is not None:
        created_at = created_at.astimezone(UTC).isoformat()
    return str(created_at).encode("utf-8", "replace")


def reader(pool: AsyncConnectionPool) -> Read:
    """Reads the newest rows through the pool."""

    async def read() -> Sequence[Row]:
        async with pool.connection(timeout=VALID_S) as connection:
            return await (await connection.execute(QUERY)).fetchall()

    return read
