"""The live path as real processes in front of a real database."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import time
from collections.abc import Callable

import psycopg
import pytest

from rollout_lib.rehearsal.live.load import MIX, send
from rollout_lib.rehearsal.live.router import SECRET
from rollout_lib.rehearsal.live.stage import Stage


def sent(stage: Stage, *, rate: float, seconds: float, seed: int, mix=None) -> list[dict]:
    """Send through the router, of jobs alone where no mix is given, and say what the client saw of
    each. seed: one for each call, for the same messages once more would be redeliveries.
    """
    out = io.StringIO()
    asyncio.run(
        send(
            stage.address("router"),
            rate=rate,
            seconds=seconds,
            mix=mix or {"jobs": 1.0},
            secret=stage.environment[SECRET].encode(),
            seed=seed,
            out=out,
        )
    )
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    return sorted(lines, key=lambda one: one["at"])


@pytest.fixture
def client():
    """The bounded client as a function; what it sends is new at each call."""
    seeds = itertools.count(7)
    return lambda stage, **how: sent(stage, seed=next(seeds), **how)


class Live:
    """A stage and its database, with the words that the tests need."""

    def __init__(self, stage: Stage, address: str) -> None:
        self.stage = stage
        self._seeds = itertools.count(7)
        self.connection = psycopg.connect(address, autocommit=True)

    def route(self, percentage: float, enabled: bool = True) -> float:
        """Configure, and wait until the router decides by it; when it was committed."""
        self.connection.execute("SELECT set_routing_enabled(%s, 'test')", (enabled,))
        self.connection.execute(
            "SELECT update_routing_percentage(%s::numeric, 'test')", (percentage,)
        )
        at = time.time()
        self.until(lambda: self._decides_by(percentage, enabled))
        return at

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait for what must come; a minute without it is a failure, whatever the machine does."""
        end = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < end, self.stage.health()
            time.sleep(0.02)

    def _decides_by(self, percentage: float, enabled: bool) -> bool:
        config = self.stage.health()["configuration"]
        return (
            config is not None
            and float(config["percentage"]) == percentage
            and config["enabled"] == enabled
        )

    def send(self, *, rate: float, seconds: float, mix=MIX) -> list[dict]:
        """What the client saw, one value a request."""
        return sent(self.stage, rate=rate, seconds=seconds, mix=mix, seed=next(self._seeds))

    def rows(self) -> list[tuple[str, str, str, str, str]]:
        """(correlation id, domain, routed_to, webhook name, status), once the buffer is empty."""
        self.until(lambda: not self.stage.health()["log"]["buffered"])
        return self.connection.execute(
            "SELECT correlation_id, domain, routed_to, webhook_name, status FROM"
            " webhook_routing_logs ORDER BY id"
        ).fetchall()


@pytest.fixture
def live(database, plan, tmp_path):
    """Destinations of 5 ms and a router whose patience is five seconds, at 0 %, disabled."""
    with Stage(
        database.address, plan.domains, plan.protected_domains, tmp_path, median_ms=5, timeout_s=5
    ) as stage:
        live = Live(stage, database.address)
        yield live
        live.connection.close()
