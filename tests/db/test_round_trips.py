"""How often a check waits for the database: what 100 ms to it would cost, counted."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy import Engine, event

from rollout_lib import operations as op
from rollout_lib.rehearsal.scenarios import SCENARIOS
from rollout_lib.rehearsal.world import World
from rollout_lib.session import open_session

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


def test_a_check_waits_for_three_statements(database, plan, statements):
    """The facts, the measurement and the ledger entry: a check with errors in it asks for nothing more."""
    with_errors = SCENARIOS["errors"]
    world = World(database.address, plan, with_errors, seed=1)
    world.prelude(world.start)

    def session():
        return open_session("parameters/week6.rehearsal.yaml", as_of=world.now.isoformat(), operator="Rita")

    op.attest(session(), subject="complaints", value="none")
    op.change_percentage(session(), to=Decimal(10), reason="Initial 10% rollout", dry_run=False)
    for _ in range(3):
        world.advance(world.now + timedelta(minutes=15))
        statements.clear()
        op.monitor(session(), slot="now")
        assert len(statements) == 3, statements
    world.close()
