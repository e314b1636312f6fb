"""How often a check waits for the database: what 100 ms to it would cost, counted."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy import Engine, event

from rollout_lib import operations as op
from rollout_lib.database.session import open_session
from rollout_lib.operations.tripwire import trip
from rollout_lib.rehearsal.scenarios import SCENARIOS
from rollout_lib.rehearsal.world import World

CONTROL = ("SET TRANSACTION", "BEGIN", "COMMIT")


@pytest.fixture
def statements():
    """The statements sent through SQLAlchemy, besides transaction control."""
    sent = []

    def note(connection, cursor, statement, *_):
        if not statement.startswith(CONTROL):
            sent.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    yield sent
    event.remove(Engine, "before_cursor_execute", note)


@pytest.fixture
def day(database, plan):
    """A morning at 10 % in a world with errors: the world, and who opens a session in it."""
    world = World(database.address, plan, SCENARIOS["errors"], seed=1)
    world.prelude(world.start)

    def session():
        return open_session(
            "parameters/week6.rehearsal.yaml", as_of=world.now.isoformat(), operator="Rita"
        )

    op.attest(session(), subject="complaints", value="none")
    op.change_percentage(session(), to=Decimal(10), reason="Initial 10% rollout", dry_run=False)
    yield world, session
    world.close()


def test_a_check_waits_for_three_statements(day, statements):
    """The facts, the measurement and the ledger entry: a check with errors in it asks for nothing
    more.
    """
    world, session = day
    for _ in range(3):
        world.advance(world.now + timedelta(minutes=15))
        statements.clear()
        op.monitor(session(), slot="now")
        assert len(statements) == 3, statements


def test_an_evaluation_waits_for_three_statements(day, statements):
    """The whole phase is measured by the same statement as a window."""
    world, session = day
    world.advance(world.now + timedelta(minutes=60))
    statements.clear()
    op.evaluate_phase(session())
    assert len(statements) == 3, statements


def test_a_round_of_the_tripwire_waits_for_two_statements(day, statements):
    """The pulse and the measurement: a quiet round writes nothing, and reads the ledger only where
    it has grown.
    """
    world, session = day
    world.advance(world.now + timedelta(minutes=15))
    known = trip(session()).facts
    statements.clear()
    trip(session(), known)
    assert len(statements) == 2, statements


def test_a_raise_waits_for_eight_statements_and_0_percent_for_three(day, statements):
    """Locks, facts, gates looked at again inside the transaction, the change, its read-back, the
    entry: a second at 100 ms each, for what a person does four times in a rollout. 0 % goes by the
    emergency's own connection: what was, what is known after, and the entry are all that is here."""
    _, session = day
    statements.clear()
    op.change_percentage(session(), to=Decimal(0), reason="back to legacy", dry_run=False)
    assert len(statements) == 3, statements
    op.attest(session(), subject="restart", value="after rollback", reason="mended")
    statements.clear()
    op.change_percentage(session(), to=Decimal(10), reason="Initial 10% rollout", dry_run=False)
    assert len(statements) == 8, statements
