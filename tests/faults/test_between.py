"""Somebody else acts between the gates of a change and its commit: from psql, by the emergency, by
another change.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from decimal import Decimal

import psycopg
import pytest

from rollout_lib import operations as op
from rollout_lib.emergency import switch_off
from rollout_lib.errors import RolloutError

# The deployed function, and time for somebody else inside it: after the gates, before the commit.
SLOW = """CREATE OR REPLACE FUNCTION public.update_routing_percentage(p_percentage numeric, p_notes text DEFAULT NULL)
    RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(77);
    UPDATE public.webhook_routing_config SET percentage = p_percentage, notes = coalesce(p_notes, notes)
     WHERE created_at = (SELECT max(created_at) FROM public.webhook_routing_config);
END $$"""
NEWER = """INSERT INTO webhook_routing_config (percentage, enabled, domains, notes)
    SELECT 5, true, domains, 'careful' FROM webhook_routing_config"""


class Between:
    """A raise to 25 % that has passed its gates and waits inside the function, until `goes_on`."""

    def __init__(self, day) -> None:
        self.day, self.pool = day, ThreadPoolExecutor(4)
        day.sql(SLOW)
        day.attest()
        self.gate = psycopg.connect(day.direct)
        self.gate.execute("SELECT pg_advisory_xact_lock(77)")
        self.change: Future = self.pool.submit(lambda: day.raise_to(25))
        self.waits(
            "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = 77 AND NOT granted"
        )

    def waits(self, statement: str) -> None:
        while not self.day.sql(statement):
            assert not self.change.done(), self.change.result()
            time.sleep(0.02)

    def goes_on(self) -> None:
        self.gate.rollback()

    def routing(self) -> tuple:
        return self.day.sql(
            "SELECT percentage, enabled FROM webhook_routing_config ORDER BY created_at DESC"
            " LIMIT 1"
        )[0]


@pytest.fixture
def between(evening) -> Callable[[], Between]:
    made = Between(evening)
    yield made
    made.goes_on()
    made.pool.shutdown()
    made.gate.close()


BLOCKED = (
    "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND wait_event IN"
    " ('transactionid', 'tuple')"
)


def test_a_newer_row_that_somebody_inserts_is_not_raised(between):
    """Lowered to 5 % by a row of its own, as no lock can hold off: the raise is rolled back, and 5
    % stands.
    """
    between.day.sql(NEWER)
    between.goes_on()
    with pytest.raises(RolloutError, match="newer configuration row"):
        between.change.result(timeout=60)
    assert between.routing() == (5, True)
    assert between.day.sql("SELECT count(*) FROM webhook_routing_config WHERE percentage = 25") == [
        (0,)
    ]
    kinds = between.day.sql("SELECT operation FROM rollout.ledger ORDER BY seq DESC LIMIT 1")
    assert kinds != [("change",)], "nothing of it is on the ledger"


def test_routing_switched_off_from_psql_waits_for_the_row_and_stays_off(between):
    """The row is held for a moment; then it is off, whatever was raised, and the next check records
    it.
    """
    edit = between.pool.submit(between.day.sql, "SELECT set_routing_enabled(false, 'I saw errors')")
    between.waits(BLOCKED)
    between.goes_on()
    assert between.change.result(timeout=60).change.applied
    edit.result(timeout=60)
    assert between.routing() == (25, False)
    found = op.monitor(between.day.session()).checkpoint
    assert found.adopted.enabled is False
    assert between.routing() == (0, False)


def test_an_emergency_while_somebody_raises_ends_off(between):
    """Past the lock within seconds, and 0 %; the ledger has both, and starting again needs a named
    person.
    """
    how = {"reason": "x", "operator": "Ahmed", "rollout": "week6-unified", "at": between.day.now}
    off = between.pool.submit(switch_off, between.day.direct, **how)
    between.waits(BLOCKED)
    time.sleep(1.2)  # it gives up once, and tries again
    between.goes_on()
    assert between.change.result(timeout=60).change.applied
    assert off.result(timeout=60).after[1] is False
    assert between.routing() == (0, False)
    between.day.attest()
    assert "no rollback stands" in between.day.unmet(10)


def test_of_two_operators_at_once_one_raises_and_the_other_is_told_that_it_is_done(between):
    """Both saw 10 % and ask for 25 %: one entry of a raise, one of nothing done, and never a phase
    further.
    """
    second = between.pool.submit(between.day.raise_to, 25, operator="Ahmed", expected=Decimal(10))
    between.waits(
        "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid <> 77"
    )
    between.goes_on()
    assert between.change.result(timeout=60).change.applied
    other = second.result(timeout=60)
    assert (other.exit_code, other.change.applied, other.kind) == (0, False, "extra")
    assert "there is nothing to do" in other.sentence
    assert between.routing() == (25, True)
    applied = (
        "SELECT body::json->'change'->>'applied' FROM rollout.ledger WHERE operation = 'change'"
        " ORDER BY seq"
    )
    assert [row[0] for row in between.day.sql(applied)][-2:] == ["true", "false"]
