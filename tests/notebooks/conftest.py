"""A day that is today: a rehearsal whose 10 % phase ended a moment ago, so that the notebooks'
defaults apply.
"""

from __future__ import annotations

import threading
import uuid
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psycopg
import pytest
import yaml

from rollout_lib import operations as op
from rollout_lib.database.connection import connect
from rollout_lib.database.migrations import migrate
from rollout_lib.database.session import open_session
from rollout_lib.plan import load_plan
from rollout_lib.rehearsal.scenarios import SCENARIOS
from rollout_lib.rehearsal.server import _Place, create_database, default_folder, embedded, stop
from rollout_lib.rehearsal.world import World

VARIABLE = "ROLLOUT_REHEARSAL_URL"


# Since the newest row, what came an hour before; to legacy alone while routing is off. It never
# waits for a lock, so that a test may count who does.
GOES_ON = """
    LOCK TABLE webhook_routing_logs IN ROW EXCLUSIVE MODE NOWAIT;
    INSERT INTO webhook_routing_logs (created_at, domain, routed_to, webhook_name, status,
        response_time_ms, error_message, message_id, from_number, correlation_id)
    SELECT created_at + interval '1 hour', domain,
        CASE WHEN (SELECT enabled FROM webhook_routing_config ORDER BY created_at DESC LIMIT 1)
            THEN routed_to ELSE 'legacy' END,
        webhook_name, status, response_time_ms, error_message, message_id || '-1h', from_number,
        correlation_id || '-1h'
    FROM webhook_routing_logs
    WHERE created_at > (SELECT max(created_at) FROM webhook_routing_logs) - interval '1 hour'
        AND created_at <= now() - interval '1 hour'
    ORDER BY created_at
"""


@dataclass(frozen=True, kw_only=True)
class Today:
    """Where the day is: its plan file, its database, and the environment that a command needs."""

    plan: Path
    address: str
    outputs: Path

    @property
    def environment(self) -> dict[str, str]:
        return {
            "ROLLOUT_PLAN": str(self.plan),
            VARIABLE: self.address,
            "ROLLOUT_OUTPUTS": str(self.outputs),
        }

    def sql(self, statement: str) -> list[tuple]:
        with psycopg.connect(self.address, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def routing(self) -> tuple:
        return self.sql(
            "SELECT percentage, enabled FROM webhook_routing_config ORDER BY created_at DESC"
            " LIMIT 1"
        )[0]


@pytest.fixture(scope="session")
def router_health():
    """A router that says that it is well."""

    class Well(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Well)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def morning(server, router_health, tmp_path_factory):
    """The template of the day: 24 h of legacy, 10 % since four hours and some minutes, every slot
    checked.
    """
    folder = tmp_path_factory.mktemp("today")
    content = yaml.safe_load(Path("parameters/week6.rehearsal.yaml").read_text(encoding="utf-8"))
    began = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(hours=4, minutes=1)
    for index, phase in enumerate(content["phases"]):
        begin = began + index * timedelta(days=1)
        phase |= {"day": begin.date(), "start": f"{begin:%H:%M}"}
    content |= {"time_zone": "UTC", "probes": {"router_health": router_health}}
    file = folder / "plan.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    name = f"rehearsal_{uuid.uuid4().hex[:12]}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, create_database(server, name))
        patch.setenv("ROLLOUT_OUTPUTS", str(folder))
        plan = load_plan(file)
        database = connect(plan)
        migrate(database, apply=True)
        _live_through(World(database.address, plan, SCENARIOS["healthy"], seed=1), file)
    return file, name


def _live_through(world: World, file: Path) -> None:
    def session():
        return open_session(str(file), as_of=world.now.isoformat(), operator="Rita")

    world.prelude(world.start)
    op.attest(session(), subject="complaints", value="none")
    raised = op.change_percentage(
        session(), to=Decimal(10), reason="Initial 10% rollout", dry_run=False
    )
    assert raised.checkpoint.change.applied, raised.checkpoint.sentence
    now, interval = datetime.now(UTC), timedelta(minutes=15)
    while (slot := world.now - timedelta(minutes=world.now.minute % 15) + interval) <= now:
        world.advance(slot)
        op.monitor(session(), slot="now")
    world.advance(now)
    world.close()


def go_on(address: str) -> None:
    """Requests have arrived until now; none while the database is away or its log is locked."""
    with suppress(psycopg.Error), psycopg.connect(address) as connection:
        connection.execute(GOES_ON)


@pytest.fixture
def today(morning, server, tmp_path, monkeypatch) -> Today:
    """A copy of the day for one test, and the environment set for it."""
    file, template = morning
    name = f"rehearsal_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    day = Today(
        plan=file,
        address=psycopg.conninfo.make_conninfo(server, dbname=name),
        outputs=tmp_path / "outputs",
    )
    for key, value in day.environment.items():
        monkeypatch.setenv(key, value)
    go_on(day.address)
    return day


@pytest.fixture
def own_server(monkeypatch):
    """The project's own embedded server, stopped again if it did not run before."""
    monkeypatch.delenv("ROLLOUT_REHEARSAL_URL", raising=False)
    monkeypatch.setenv("ROLLOUT_PLAN", "parameters/week6.rehearsal.yaml")
    there = _Place(default_folder(), None).answers()
    address = embedded()
    yield address
    if not there:
        stop()
