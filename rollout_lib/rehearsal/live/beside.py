"""What runs beside the router's traffic: the task that reads the configuration, the one that writes
the log, and their connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator

from psycopg_pool import AsyncConnectionPool

from rollout_lib.rehearsal.live.configuration import Configuration
from rollout_lib.rehearsal.live.logbook import Logbook

DRAIN_S = 10.0  # for the buffer to be written after SIGTERM


@contextlib.asynccontextmanager
async def running(
    configuration: Configuration, logbook: Logbook, drain_s: float = DRAIN_S
) -> AsyncIterator[None]:
    """The tasks beside the traffic. At the end the buffer is written out, for at most drain_s
    seconds.
    """
    await configuration.renew()
    reading, writing = asyncio.create_task(configuration.run()), asyncio.create_task(logbook.run())
    try:
        yield
    finally:
        reading.cancel()
        logbook.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(writing, drain_s)
        if logbook.buffered or logbook.dropped:
            lost = f"{logbook.buffered} rows were not written, {logbook.dropped} were dropped"
            print(
                f"webhook-traffic-router: {lost}; the database answers: {logbook.problem}",
                file=sys.stderr,
                flush=True,
            )


def pool(address: str, name: str) -> AsyncConnectionPool:
    """One connection that comes back by itself, for as long as it takes. Open it inside the event
    loop.
    """
    settings = {
        "autocommit": True,
        "prepare_threshold": None,
        "application_name": name,
        "connect_timeout": 3,
        # A peer that is gone without a word is noticed in seconds.
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 10_000,
    }
    return AsyncConnectionPool(
        address,
        min_size=1,
        max_size=1,
        open=False,
        kwargs=settings,
        reconnect_timeout=float("inf"),
        num_workers=1,
    )
