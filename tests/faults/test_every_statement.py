"""Each operation broken off at every one of its requests to the database, then run again: the same
end.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

import pytest

from rollout_lib import emergency
from rollout_lib import operations as op
from rollout_lib.database.ledger import read_facts
from rollout_lib.emergency import line
from rollout_lib.errors import CouldNotMeasure
from rollout_lib.judgement.state import fold

pytestmark = pytest.mark.slow

REASON = "what the runbook says"
# Forty of unified's requests failed in the quarter of an hour after the evaluation, legacy goes on.
FAILING = """INSERT INTO webhook_routing_logs (created_at, domain, routed_to, status, response_time_ms, message_id)
    SELECT CAST('{at}' AS timestamptz) + n * interval '20 seconds', 'jobs', CASE WHEN n % 4 = 0 THEN 'unified' ELSE
           'legacy' END, CASE WHEN n % 4 = 0 THEN 'error' ELSE 'success' END, 700, 'wamid.' || n
      FROM generate_series(1, 44) n"""


@dataclass(frozen=True)
class Operation:
    """What is prepared and what is run; `raises` where it may raise the percentage."""

    run: Callable
    prepare: Callable = lambda day: None


def _attested(day) -> None:
    day.attest()


def _failing(day) -> None:
    day.sql(FAILING.format(at=day.now))
    day.now += timedelta(minutes=15)


def _at_25(day) -> None:
    day.attest()
    assert day.raise_to(25).change.applied


def _switch_off(day) -> None:
    emergency.switch_off(
        day.session().database.address,
        reason=REASON,
        operator="Rita",
        rollout="week6-unified",
        at=day.now,
    )


OPERATIONS = {
    "change": Operation(lambda day: day.raise_to(25), _attested),
    "monitor": Operation(lambda day: op.monitor(day.session(), slot="now"), _failing),
    "tripwire": Operation(lambda day: op.trip(day.session()), _failing),
    "emergency": Operation(_switch_off),
    "rollback": Operation(lambda day: op.roll_back(day.session(), reason=REASON)),
    "gradual": Operation(
        lambda day: op.roll_back(day.session(), reason=REASON, gradual=True), _at_25
    ),
    "attest": Operation(lambda day: day.attest("some")),
    "spike": Operation(lambda day: day.attest("spike")),
    "evaluate": Operation(lambda day: op.evaluate_phase(day.session())),
}
ENDS = {
    "change": (Decimal(25), True),
    "gradual": (Decimal(10), True),
    "attest": (Decimal(10), True),
    "evaluate": (Decimal(10), True),
}  # the others: off


def standing(day):
    with day.session().database.transaction(readonly=True) as connection:
        facts = read_facts(connection, day.session().plan)
    return facts.config, fold(facts.entries, day.session().plan)


def end(day) -> tuple:
    """What counts for the runs to come: configuration, and what the ledger makes of it."""
    config, known = standing(day)
    return (
        (config.percentage, config.enabled),
        known.last_change[1:],
        known.phase and known.phase.percentage,
        known.latched,
        known.evaluation and known.evaluation[1],
        [item.value for item in known.attestations if item.subject == "complaints"][-1],
    )


def never_worse(day, before) -> None:
    """Raised only with its entry, whatever broke; and what was switched off is off."""
    config, known = standing(day)
    if config.percentage > before.percentage or config.enabled > before.enabled:
        assert known.last_change[1:] == (config.percentage, config.enabled)


@pytest.fixture
def a_new_day(a_day, proxy, through, tmp_path, monkeypatch):
    """A copy of the evening behind the proxy, with a spool of its own."""

    def a_new_day(operation: Operation):
        proxy.mend()
        day = a_day("evening")
        monkeypatch.setenv("ROLLOUT_OUTPUTS", str(tmp_path / uuid.uuid4().hex))
        operation.prepare(day)
        monkeypatch.setenv("ROLLOUT_REHEARSAL_URL", through(day.direct))
        return day

    return a_new_day


def cases() -> list:
    """Every operation in every way; the three that act most, in the worst way, in each test run."""
    ways = [("killed", "unanswered"), ("killed", "unheard"), ("lost", "unanswered")]
    fast = [(name, *ways[0]) for name in ("change", "monitor", "rollback")]
    every = [(name, *way) for name in OPERATIONS for way in ways]
    return [pytest.param(*case, marks=() if case in fast else pytest.mark.slow) for case in every]


@pytest.mark.parametrize(("name", "way", "fault"), cases())
def test_broken_off_at_any_request_and_run_again_it_ends_the_same(
    name, way, fault, a_new_day, proxy, monkeypatch
):
    """The process killed, or its line cut: before the n-th request is heard, or before its answer
    is.
    """
    monkeypatch.setattr(line, "RECONNECT", 1.0)
    operation = OPERATIONS[name]
    day = a_new_day(operation)
    operation.run(day)
    wanted = end(day)
    assert wanted[0] == wanted[1] == ENDS.get(name, (Decimal(0), False))
    for number in range(1, 100):
        day = a_new_day(operation)
        before, _ = standing(day)
        failed = broken_off(operation, day, proxy, number, way, fault)
        happened = proxy.happened.is_set()
        proxy.mend()
        never_worse(day, before)
        if not happened:
            break
        # A gradual rollback goes down from where it is: who asks again has looked whether it was
        # done, in the ledger with what waits in a file.
        day.session().database.drain()
        if failed and (name != "gradual" or end(day) != wanted):
            operation.run(day)
        day.session().database.drain()  # what waits in a file is the next run's to append
        assert end(day) == wanted, f"request {number}"
    assert number > 3, "the proxy saw no request"


def broken_off(operation: Operation, day, proxy, number: int, way: str, fault: str) -> bool:
    """Run it with the fault at that request; did it not come to its end?"""
    proxy.arm(number, fault)
    if way == "lost":
        try:
            operation.run(day)
        except CouldNotMeasure:
            return True
        return False
    child = os.fork()
    if child == 0:
        code = 1
        try:
            operation.run(day)
            code = 0
        finally:
            os._exit(code)
    proxy.kill = child
    _, status = os.waitpid(child, 0)
    return status != 0
