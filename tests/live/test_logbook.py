"""The router's rows while its database is away, frozen, full of doubt, or forbids the table."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from rollout_lib.rehearsal.live.beside import pool
from rollout_lib.rehearsal.live.logbook import Decision, Logbook
from rollout_lib.rehearsal.live.stage import Stage
from rollout_lib.rehearsal.server import create_database, embedded, stop

pytestmark = pytest.mark.slow


def decision(number: int) -> Decision:
    return Decision(
        created_at=datetime.now(UTC),
        domain="jobs",
        routed_to="legacy",
        webhook_name="wa-webhook-jobs",
        status="success",
        response_time_ms=5,
        error_message=None,
        message_id=None,
        from_number=None,
        correlation_id=f"row-{number}",
    )


def stored(address: str) -> Counter:
    with psycopg.connect(address) as connection:
        return Counter(
            row[0] for row in connection.execute("SELECT correlation_id FROM webhook_routing_logs")
        )


@pytest.fixture
def own_server(tmp_path, plan):
    """A PostgreSQL that this test alone may stop and freeze: (folder, address of a database with
    the tables).
    """
    from rollout_lib.database.migrations import RUNBOOK

    folder = tmp_path / "postgres"
    address = create_database(embedded(folder, durable=False), "rehearsal_router")
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(RUNBOOK.read_text())
        connection.execute("SELECT set_routing_enabled(true, 'test')")
        connection.execute("SELECT update_routing_percentage(100, 'test')")
    yield folder, address
    stop(folder)


def _postmaster(folder: Path) -> int:
    data = (
        Path((folder / "where").read_text().strip())
        if (folder / "where").exists()
        else folder / "data"
    )
    return int((data / "postmaster.pid").read_text().split()[0])


@pytest.fixture
def stage(own_server, plan, tmp_path):
    with Stage(
        own_server[1], plan.domains, plan.protected_domains, tmp_path, median_ms=5, timeout_s=20
    ) as stage:
        yield stage


def _all_written(stage: Stage) -> None:
    while stage.health()["log"]["buffered"]:
        time.sleep(0.05)


def _otherwise(sent: list[dict]) -> Counter:
    """What was not answered as it should be, for whoever reads the failure."""
    return Counter((one["status"], one["problem"]) for one in sent if one["status"] != 200)


@pytest.mark.parametrize("seconds", [3, pytest.param(65, marks=pytest.mark.slow)])
def test_an_outage_of_the_database_loses_no_row_and_holds_up_no_answer(
    stage, own_server, client, seconds
):
    """While the server is stopped every request is answered, from legacy; afterwards each has
    exactly one row.
    """
    folder, address = own_server
    before = client(stage, rate=10, seconds=1)
    stop(folder)
    during = client(stage, rate=10, seconds=seconds)
    assert {one["status"] for one in before + during} == {200}, _otherwise(before + during)
    log = stage.health()["log"]
    assert log["buffered"] >= len(during), log
    assert stage.health()["status"] == "degraded"
    embedded(folder, durable=False)
    _all_written(stage)
    assert "unified" in {one["routed_to"] for one in before}
    assert during[-1]["routed_to"] == "legacy"
    assert stored(address) == Counter(one["correlation_id"] for one in before + during)
    assert stage.health()["log"]["dropped"] == 0


def test_a_frozen_database_holds_up_no_answer_and_doubles_no_row(stage, own_server, client):
    """A server that is stopped in mid-air (SIGSTOP) and goes on later: answered meanwhile, one row
    each.
    """
    folder, address = own_server
    client(stage, rate=20, seconds=1)
    _all_written(stage)
    before = stored(address)
    postmaster = _postmaster(folder)
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    for pid in (postmaster, *map(int, children)):
        os.kill(pid, signal.SIGSTOP)
    try:
        during = client(stage, rate=10, seconds=12)  # longer than the statement's own limit
    finally:
        for pid in (*map(int, children), postmaster):
            os.kill(pid, signal.SIGCONT)
    _all_written(stage)
    assert {one["status"] for one in during} == {200}, _otherwise(during)
    assert stored(address) == before + Counter(one["correlation_id"] for one in during)


def test_a_full_buffer_drops_and_counts():
    """Over its capacity the logbook keeps what it has, drops the newest and says how many."""
    logbook = Logbook(pool("", "test"), capacity=10)
    for number in range(25):
        logbook.note(decision(number))
    assert logbook.counts() == {
        "buffered": 10,
        "written": 0,
        "dropped": 15,
        "refused": 0,
        "problem": None,
    }


class Proxy:
    """TCP in front of the database's Unix socket; when told, it swallows the answer to an INSERT
    and breaks off.
    """

    def __init__(self, socket: str) -> None:
        self.socket, self.armed, self.broken = socket, False, 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_unix_connection(self.socket)
        inserting = asyncio.Event()

        async def upward() -> None:
            while data := await reader.read(65_536):
                if b"INSERT INTO public.webhook_routing_logs" in data:
                    inserting.set()
                up_writer.write(data)

        async def downward() -> None:
            while data := await up_reader.read(65_536):
                if self.armed and inserting.is_set():
                    self.armed, self.broken = False, self.broken + 1
                    return
                writer.write(data)

        tasks = [asyncio.create_task(upward()), asyncio.create_task(downward())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        writer.transport.abort()
        up_writer.transport.abort()


def test_a_commit_whose_answer_was_lost_is_not_written_twice(database):
    """The rows arrived, the answer did not: the next try finds them and writes only what is
    missing.
    """
    parts = psycopg.conninfo.conninfo_to_dict(database.address)
    proxy = Proxy(f"{parts['host']}/.s.PGSQL.{parts['port']}")

    async def run() -> Logbook:
        server = await asyncio.start_server(proxy, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        through = psycopg.conninfo.make_conninfo(database.address, host="127.0.0.1", port=port)
        async with pool(through, "log of a test") as connections:
            logbook = Logbook(connections)
            writing = asyncio.create_task(logbook.run())
            for batch in range(3):
                proxy.armed = batch == 1
                for number in range(20):
                    logbook.note(decision(100 * batch + number))
                while logbook.buffered:
                    await asyncio.sleep(0.01)
            logbook.close()
            await writing
        server.close()
        return logbook

    logbook = asyncio.run(run())
    assert proxy.broken == 1
    assert stored(database.address) == Counter(
        f"row-{100 * batch + number}" for batch in range(3) for number in range(20)
    )
    assert logbook.written == 60
