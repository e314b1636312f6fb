"""The router's log: rows wait in a bounded buffer, a task writes them; no answer ever waits for it.

A batch is one INSERT, so it is stored whole or not at all. Where the connection breaks in between,
nobody knows which: before the batch is tried again, the rows that did arrive are taken out of it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg_pool import AsyncConnectionPool

CAPACITY = 60_000  # rows: a minute without a database at a thousand requests a second
BATCH = 500
PAUSE_S = 0.05  # between batches, so that slow traffic is written in few statements
RETRY_S = (0.1, 0.2, 0.5, 1.0, 2.0)
STATEMENT_S = 8.0
INSERT = """INSERT INTO public.webhook_routing_logs (created_at, domain, routed_to, webhook_name, status,
       response_time_ms, error_message, message_id, from_number, correlation_id)
SELECT * FROM unnest(%s::timestamptz[], %s::text[], %s::text[], %s::text[], %s::text[], %s::integer[],
       %s::text[], %s::text[], %s::text[], %s::text[])"""
# Each router has a name of its own, so these are its own connections, given up and perhaps still at
# work.
END_EARLIER = """SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity
 WHERE application_name = current_setting('application_name') AND pid <> pg_backend_pid()"""
STORED = """SELECT correlation_id, routed_to, created_at FROM public.webhook_routing_logs
 WHERE created_at BETWEEN %s AND %s AND correlation_id = ANY (%s::text[])"""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """One row of webhook_routing_logs. created_at is when its outcome was known, not when it is
    written.
    """

    created_at: datetime
    domain: str
    routed_to: str  # unified, legacy; error where no destination was reached
    webhook_name: str
    status: str  # success, error
    response_time_ms: int
    error_message: str | None
    message_id: str | None
    from_number: str | None
    correlation_id: str

    def values(self) -> tuple[Any, ...]:
        """In the order of INSERT."""
        return (
            self.created_at,
            self.domain,
            self.routed_to,
            self.webhook_name,
            self.status,
            self.response_time_ms,
            self.error_message,
            self.message_id,
            self.from_number,
            self.correlation_id,
        )


class Logbook:
    """Owns the buffer; `note` is called by requests, `run` is the one task that writes."""

    def __init__(self, pool: AsyncConnectionPool, *, capacity: int = CAPACITY) -> None:
        self._pool, self._capacity = pool, capacity
        self._waiting: deque[Decision] = deque()
        self._batch: list[Decision] = []  # taken out and not yet known to be stored
        self._unsure = False  # the batch may have been stored already
        self._awake = asyncio.Event()
        self._closing = False
        self.written = self.dropped = self.refused = 0
        self.problem = ""

    @property
    def buffered(self) -> int:
        """Rows that are not in the database yet."""
        return len(self._waiting) + len(self._batch)

    def counts(self) -> dict[str, int | str | None]:
        """What health shows."""
        return {
            "buffered": self.buffered,
            "written": self.written,
            "dropped": self.dropped,
            "refused": self.refused,
            "problem": self.problem or None,
        }

    def note(self, decision: Decision) -> None:
        """Take one row. Never waits and never fails; over capacity it is dropped, and counted."""
        if self.buffered >= self._capacity:
            self.dropped += 1
            return
        self._waiting.append(decision)
        self._awake.set()

    async def run(self) -> None:
        """Write until close() was called and nothing is left."""
        failures = 0
        while not (self._closing and not self.buffered):
            if not self.buffered:
                self._awake.clear()
                await self._awake.wait()
                continue
            try:
                await self._write()
                failures = 0
                self.problem = ""
            except (
                Exception
            ) as error:  # the database is away, or refuses us: the rows stay, and wait
                self.problem = f"{type(error).__name__} at {datetime.now(UTC):%H:%M:%S} UTC"
                await asyncio.sleep(RETRY_S[min(failures, len(RETRY_S) - 1)])
                failures += 1
            else:
                if not self._closing and len(self._waiting) < BATCH:
                    await asyncio.sleep(PAUSE_S)

    def close(self) -> None:
        """Let run() end once everything is written; who calls bounds the time."""
        self._closing = True
        self._awake.set()

    async def _write(self) -> None:
        while self._waiting and len(self._batch) < BATCH:
            self._batch.append(self._waiting.popleft())
        async with asyncio.timeout(STATEMENT_S), self._pool.connection(timeout=2.0) as connection:
            if self._unsure:
                self._batch = await self._missing(connection, self._batch)
                self._unsure = False
            if self._batch:
                self._unsure = True
                await self._insert(connection, self._batch)
        self._unsure = False
        self._batch = []

    async def _insert(self, connection: psycopg.AsyncConnection, rows: Sequence[Decision]) -> None:
        """One statement; a row that the table refuses is found by halves and counted, and stops no
        other.
        """
        try:
            columns = zip(*(row.values() for row in rows), strict=True)
            await connection.execute(INSERT, [list(column) for column in columns])
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            if len(rows) == 1:
                self.refused += 1
                self.problem = f"a row was refused: {type(error).__name__}"
                return
            middle = len(rows) // 2
            await self._insert(connection, rows[:middle])
            await self._insert(connection, rows[middle:])
        else:
            self.written += len(rows)

    async def _missing(
        self, connection: psycopg.AsyncConnection, rows: Sequence[Decision]
    ) -> list[Decision]:
        """The rows that are not stored, once no earlier session of ours can store any."""
        await connection.execute(END_EARLIER)
        moments = [row.created_at for row in rows]
        identities = [row.correlation_id for row in rows]
        cursor = await connection.execute(STORED, (min(moments), max(moments), identities))
        stored = set(await cursor.fetchall())
        missing = [
            row for row in rows if (row.correlation_id, row.routed_to, row.created_at) not in stored
        ]
        self.written += len(rows) - len(missing)
        return missing
