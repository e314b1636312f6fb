"""A simulated world: a seed, a clock of its own, and log rows as a router would write them.

It knows nothing of the suite. At each step it reads the configuration back from the database and
draws each request's destination by it, so a rollback really stops unified's traffic."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import psycopg

from rollout_lib.plan import Plan
from rollout_lib.rehearsal.scenarios import Event, Scenario, Truth

STEP = timedelta(minutes=1)  # how often the configuration is read back
PROTECTED_PER_HOUR = 60  # each protected domain
UNKNOWN_PER_HOUR = 4
RETRIES = 40
_COLUMNS = (
    "created_at, domain, routed_to, webhook_name, status, response_time_ms, error_message,"
    " message_id, from_number, correlation_id"
)
_ERRORS = (
    "upstream timeout after 10000 ms",
    "unified answered HTTP 502",
    "invalid state for +49 151 2345 6789",
)


class World:
    """Writes rows up to a moment; holds one connection of its own and the random generator."""

    def __init__(self, address: str, plan: Plan, scenario: Scenario, *, seed: int) -> None:
        self.connection = psycopg.connect(
            address,
            autocommit=True,
            application_name="rehearsal world",
            # it may be a pooler's address
            prepare_threshold=None,
        )
        self.plan, self.scenario = plan, scenario
        self.random = np.random.default_rng(seed)
        self.truth = scenario.truth
        self.start = plan.begins(0).astimezone(UTC)
        self.now = self.start - timedelta(hours=24)
        self.waiting = sorted(scenario.events, key=lambda event: event.after)
        self.rows_written = 0

    def close(self) -> None:
        """Ends the world's connection; its rows stay."""
        self.connection.close()

    def prelude(self, until: datetime) -> None:
        """The day before: everything on legacy."""
        self.truth = self.scenario.legacy_before
        self._write(self._requests(self.now, until, 0.0, False, ()))
        self.now, self.truth = until, self.scenario.truth

    def advance(self, until: datetime) -> None:
        """Let time pass up to `until`, a step at a time, with what happens on the way."""
        rows: list[tuple[Any, ...]] = []
        while self.now < until:
            stop = min(self.now + STEP, until)
            percentage, enabled, domains = self.configuration()
            rows += self._requests(self.now, stop, float(percentage) / 100, enabled, domains)
            while self.waiting and self.start + self.waiting[0].after < stop:
                rows += self._happens(self.waiting.pop(0))
            self.now = stop
        self._write(rows)

    def configuration(self) -> tuple[Any, bool, list[str]]:
        """(percentage, enabled, domains) as the router would read them now."""
        statement = (
            "SELECT percentage, enabled, domains FROM webhook_routing_config ORDER BY created_at"
            " DESC LIMIT 1"
        )
        row = self.connection.execute(statement).fetchone()
        return row if row else (0, False, [])

    def _requests(
        self, start: datetime, stop: datetime, share: float, enabled: bool, domains: Iterable[str]
    ) -> Iterator[tuple[Any, ...]]:
        hours = (stop - start).total_seconds() / 3600
        expected = self.plan.expected_requests_per_hour
        scale = 1.0
        if self.scenario.requests_per_hour is not None:
            scale = self.scenario.requests_per_hour / sum(expected.values())
        rates = {domain: rate * scale for domain, rate in expected.items()}
        rates |= dict.fromkeys(self.plan.protected_domains, PROTECTED_PER_HOUR * scale)
        rates["unknown"] = UNKNOWN_PER_HOUR * scale
        for domain, rate in rates.items():
            number = int(self.random.poisson(rate * hours))
            if number == 0:
                continue
            moments = np.sort(self.random.uniform(0, (stop - start).total_seconds(), number))
            to_unified = self._drawn(
                domain, number, share if enabled and domain in domains else 0.0
            )
            bad = self.random.random(number)
            noise = self.random.standard_normal(number)
            for index in range(number):
                unified = bool(to_unified[index])
                if unified and not self.truth.unified_logs:
                    continue
                at = start + timedelta(seconds=float(moments[index]))
                yield self._row(at, domain, unified, float(bad[index]), float(noise[index]))

    def _drawn(self, domain: str, number: int, share: float) -> np.ndarray:
        if domain in self.plan.protected_domains:
            share = self.truth.leaks if self._unified_is_reachable() else 0.0
        return self.random.random(number) < share

    def _unified_is_reachable(self) -> bool:
        """A leaking router stops leaking when routing is switched off."""
        return bool(self.truth.leaks) and self.configuration()[1]

    def _row(
        self, at: datetime, domain: str, unified: bool, bad: float, noise: float
    ) -> tuple[Any, ...]:
        truth = self.truth
        failed = bad < (truth.unified_errors if unified else truth.legacy_errors)
        median = truth.unified_median_ms if unified else truth.legacy_median_ms
        milliseconds = int(median * np.exp(truth.sigma * noise)) + 1
        number = int(self.random.integers(10**8))
        return (
            at,
            domain,
            "unified" if unified else "legacy",
            "wa-webhook-unified" if unified else f"wa-webhook-{domain}",
            "error" if failed else "success",
            milliseconds,
            _ERRORS[number % len(_ERRORS)] if failed else None,
            f"wamid.{number:x}{self.rows_written + int(self.random.integers(2**40)):x}",
            f"+4915{number:08d}",
            f"{int(self.random.integers(2**62)):016x}",
        )

    def _happens(self, event: Event) -> list[tuple[Any, ...]]:
        at = self.start + event.after
        domain = self.plan.domains[0]
        if event.kind == "truth":
            self.truth = event.truth or Truth()
            return []
        if event.kind == "edit":
            statement = (
                "UPDATE webhook_routing_config SET percentage = %s, notes = 'psql' WHERE id ="
                " (SELECT id FROM "
            )
            statement += "webhook_routing_config ORDER BY created_at DESC LIMIT 1)"
            self.connection.execute(statement, (event.value,))
            return []
        if not self.configuration()[1]:
            return []
        first = (at, domain, "unified", "wa-webhook-unified", "error", 1873, _ERRORS[0])
        identity = ("wamid.one-bad-webhook", "+4915112345678", "c0ffee")
        if event.kind == "one-error":
            return [(*first, *identity)]
        if event.kind == "retry-storm":
            return [
                (at + timedelta(seconds=8 * number), *first[1:], *identity)
                for number in range(RETRIES)
            ]
        raise ValueError(f"nobody knows what happens in an event of kind {event.kind!r}")

    def _write(self, rows: Iterable[tuple[Any, ...]]) -> None:
        with (
            self.connection.cursor() as cursor,
            cursor.copy(f"COPY webhook_routing_logs ({_COLUMNS}) FROM STDIN") as copy,
        ):
            for row in rows:
                copy.write_row(row)
                self.rows_written += 1
