"""A practice day that is today: 10 % since its hold was served, every slot checked, and traffic
that goes on.

`prepare` makes it (a plan file and a database of its own); `python -m
rollout_lib.rehearsal.practice PLAN` is the world that goes on: rows in real time by the
configuration that it reads back, and the endpoints that are asked."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg

from rollout_lib import operations as op
from rollout_lib.database.connection import Database, connect
from rollout_lib.database.migrations import migrate
from rollout_lib.database.session import Session
from rollout_lib.errors import CouldNotMeasure, RolloutError
from rollout_lib.judgement.timeline import expected_slots
from rollout_lib.plan import Plan, load_plan
from rollout_lib.rehearsal.own_plan import sections, write_own
from rollout_lib.rehearsal.scenarios import SCENARIOS, Truth
from rollout_lib.rehearsal.server import create_database, embedded
from rollout_lib.rehearsal.world import World
from rollout_lib.schedule.stop import Stop

FAULT = (  # a file of this name beside the plan: from then on half of unified's requests fail
    "unified-fails"
)
FAILING = Truth(unified_errors=0.5)
_SERVED = timedelta(minutes=1)  # since the end of the first hold
_STEP_S = 5.0
_SEED = 20251203
Say = Callable[[str], None]


def prepare(source: Plan, folder: Path, operator: str, say: Say) -> Plan:
    """The practice plan of a folder: the newest one whose database is there still, else that of a
    new day.
    """
    server = embedded()
    with psycopg.connect(server, autocommit=True) as connection:
        there = {name for (name,) in connection.execute("SELECT datname FROM pg_database")}
    for path in sorted(folder.glob("rehearsal_*.yaml"), reverse=True):
        if path.stem in there:
            return load_plan(path)
    say(
        "A practice day is made: 24 hours of legacy, then 10 % with a check each quarter of an"
        " hour …"
    )
    name = f"rehearsal_{datetime.now(UTC):%Y%m%d_%H%M%S}_{uuid.uuid4().hex[:4]}"
    create_database(server, name)
    part = folder / f".{name}.part"
    path = part.with_name(f"{name}.yaml")
    plan = write_own(source, part, _changed(source, name)).model_copy(update={"path": str(path)})
    database = connect(plan)
    migrate(database, apply=True)
    with _endpoints(plan):
        live_through(database, plan, operator)
    part.chmod(0o600)
    part.rename(path)  # only now: a day that was half made is not found again
    return plan


def _changed(source: Plan, name: str) -> dict[str, Any]:
    """The source's phases moved so that its first hold was served a moment ago, and endpoints of
    its own.
    """
    phases = sections(source)["phases"]
    ended = datetime.now(UTC).replace(second=0, microsecond=0) - _SERVED
    shift = ended - source.ends(0)
    for index, phase in enumerate(phases):
        begins = (source.begins(index).astimezone(UTC) + shift).astimezone(source.zone)
        phase |= {"day": begins.date(), "start": f"{begins:%H:%M}"}
    with socket.create_server(("127.0.0.1", 0)) as free:
        here = f"http://127.0.0.1:{free.getsockname()[1]}"
    return {
        "phases": phases,
        "database": {"variable": source.database.variable, "name": name},
        "probes": {
            "protected": {domain: f"{here}/{domain}" for domain in source.protected_domains},
            "router_health": f"{here}/router",
            "witness": f"{here}/witness",
        },
    }


def live_through(database: Database, plan: Plan, operator: str) -> None:
    """The day so far, as people would have lived it: legacy, an attestation, 10 %, every slot
    checked.
    """
    world = World(database.address, plan, SCENARIOS["healthy"], seed=_SEED)

    def session() -> Session:
        return Session(
            plan=plan,
            database=database,
            operator=operator,
            as_of=world.now,
            run_id=uuid.uuid4().hex,
        )

    with contextlib.closing(world):
        world.prelude(world.start)
        op.attest(
            session(), subject="complaints", value="none", reason="nothing reported by support"
        )
        first = plan.phases[0].percentage
        raised = op.change_percentage(
            session(), to=first, reason=f"Initial {first:g}% rollout", dry_run=False
        )
        if raised.checkpoint.change is None or not raised.checkpoint.change.applied:
            raise CouldNotMeasure(
                reason=f"the practice day could not begin: {raised.checkpoint.sentence}"
            )
        now = datetime.now(UTC)
        for slot in expected_slots(world.start, now, plan):
            world.advance(slot)
            op.monitor(session(), slot="now")
        world.advance(now)


def go_on(plan: Plan, stop: Stop) -> None:
    """Write what happens from the newest row to now, again and again, until `stop`; a database away
    is waited for.
    """
    while not stop.is_set():
        try:
            world = World(connect(plan).address, plan, SCENARIOS["healthy"], seed=time.time_ns())
            with contextlib.closing(world):
                newest = world.connection.execute(
                    "SELECT max(created_at) FROM webhook_routing_logs"
                ).fetchone()
                filled = newest is not None and newest[0] is not None
                world.now = newest[0].astimezone(UTC) if newest and filled else world.start
                while not stop.wait(_STEP_S):
                    world.truth = FAILING if (Path(plan.path).parent / FAULT).exists() else Truth()
                    world.advance(datetime.now(UTC))
        except (psycopg.Error, RolloutError) as error:
            sys.stderr.write(f"{datetime.now(UTC):%H:%M:%S} the database is away: {error}\n")
            stop.wait(_STEP_S)


class _Well(BaseHTTPRequestHandler):
    """The router and the protected endpoints, which are well."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Nothing to tell."""


@contextlib.contextmanager
def _endpoints(plan: Plan) -> Iterator[None]:
    port = urlsplit(plan.probes.router_health or "").port or 0
    with ThreadingHTTPServer(("127.0.0.1", port), _Well) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield
        server.shutdown()


def _stop_at_the_end(stop: Stop) -> None:
    """Set the event once our standard input ends."""
    os.read(0, 1)
    stop.set()


def main(path: str) -> None:
    """The world of a practice plan, until standard input closes or a signal ends it."""
    plan, stop = load_plan(path), Stop()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    # Not sys.stdin: a thread that still waits in it at the end would end this process as a crash.
    threading.Thread(target=_stop_at_the_end, args=(stop,), daemon=True).start()
    with _endpoints(plan):
        go_on(plan, stop)


if __name__ == "__main__":
    main(sys.argv[1])
