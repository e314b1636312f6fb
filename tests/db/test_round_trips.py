"""How often a check waits for the database: what 100 ms to it would cost, counted."""

from __future__ import annotations

import os
import select
import shutil
import socket
import tempfile
import threading
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import psycopg
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


def test_an_evaluation_asks_one_question_more_than_a_check(day, statements):
    """The whole phase, and in a savepoint of its own what was written in it and stamped outside."""
    world, session = day
    world.advance(world.now + timedelta(minutes=60))
    statements.clear()
    op.evaluate_phase(session())
    asked = [one for one in statements if "SAVEPOINT" not in one]
    assert (len(asked), len(statements)) == (5, 7), statements


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


class Turns:
    """A relay in front of the server that counts, for each connection, how often its client spoke
    after the server had: each is a wait for the network, whatever it carries."""

    def __init__(self, behind: str, folder: Path) -> None:
        self.behind, self.counts = behind, []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(folder / ".s.PGSQL.5432"))
        self.listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client = self.listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        place, server_spoke = len(self.counts), True
        self.counts.append(0)
        with client, socket.socket(socket.AF_UNIX) as server:
            server.connect(self.behind)
            while True:
                for ready in select.select([client, server], [], [])[0]:
                    data = ready.recv(1 << 20)
                    if not data:
                        return
                    if ready is client and server_spoke and data[:1] != b"X":
                        self.counts[place] += 1
                    # It waits where it speaks after the server was ready for the next query.
                    server_spoke = ready is server and data[-6:-1] == b"Z\0\0\0\5"
                    (server if ready is client else client).sendall(data)


@pytest.fixture
def turns(day, plan, monkeypatch):
    """The suite reaches its database through the relay."""
    address = os.environ[plan.database.variable]
    parts = psycopg.conninfo.conninfo_to_dict(address)
    folder = Path(tempfile.mkdtemp(prefix="turns"))
    turns = Turns(f"{parts['host']}/.s.PGSQL.{parts.get('port', 5432)}", folder)
    through = psycopg.conninfo.make_conninfo(address, host=str(folder), port="5432")
    monkeypatch.setenv(plan.database.variable, through)
    yield turns
    turns.listener.close()
    shutil.rmtree(folder)


def test_a_raise_waits_for_the_database_four_times_besides_login_and_commit(day, turns):
    """Its beginning with the locks, the facts and the catalog; everything that is looked at again
    and tried; the change and its read-back; the entry (and the marker, where there is one). 100 ms to the database cost half a second."""
    world, session = day
    world.advance(world.now + timedelta(minutes=15))
    op.attest(session(), subject="complaints", value="none")
    turns.counts.clear()
    done = op.change_percentage(
        session(), to=Decimal(10), reason="after a mend", again=True, dry_run=False
    ).checkpoint
    assert done.change.applied, done.sentence
    login, marker, commit = 1, 1, 1
    assert turns.counts[0] <= login + marker + 4 + commit, turns.counts
