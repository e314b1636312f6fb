"""What breaks between the suite and its database: a real proxy that cuts, stalls or kills at a
chosen message.

And a rollout with live rows, watched by real processes.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest
import yaml

from rollout_lib import operations as op
from rollout_lib.database.session import open_session

REFUSES_TLS = b"N"
NEGOTIATIONS = (
    80877103,
    80877104,
)  # SSLRequest, GSSENCRequest: codes in the place of a protocol version
ASKS = (
    b"Q",
    b"S",
)  # a simple query, or the Sync that ends an extended one: each is answered

ROLLOUT = str(Path(sys.executable).with_name("rollout"))
# The same command, paging after so many seconds as $BLIND_PAGES says: nobody waits here for five
# minutes.
SOONER = (
    sys.executable,
    "-c",
    (
        "import os; from datetime import timedelta; from rollout_lib.cli import main; "
        "from rollout_lib.schedule import lasting; "
        "lasting.PAGES_AFTER = timedelta(0, int(os.environ['BLIND_PAGES'])); main()"
    ),
)
PATIENCE = 300  # seconds that a loaded machine may take for what is waited for
LEGACY = """INSERT INTO webhook_routing_logs (created_at, domain, routed_to, status, response_time_ms, message_id)
    SELECT clock_timestamp() - n * interval '1 minute', (ARRAY['jobs', 'marketplace', 'property'])[1 + n % 3],
           'legacy', 'success', 700, 'wamid.' || n FROM generate_series(0, 900) n"""
ROWS = """INSERT INTO webhook_routing_logs (created_at, domain, routed_to, status, response_time_ms, message_id)
    SELECT clock_timestamp(), 'jobs', '{where}', '{status}', 700, gen_random_uuid()::text
      FROM generate_series(1, {number}) n"""


class Proxy:
    """A loopback TCP port before a server on a Unix socket; requests are counted over all
    connections.

    `at`: the request (1 is the first) at which `fault` happens. "unheard": it never reaches the
    server. "unanswered": the server carries it out, the answer is lost. "stalled": no answer ever
    comes, on any line. With `kill` set that process is killed (SIGKILL) in the same moment. `gone`:
    no new line from then on."""

    def __init__(self, server: str) -> None:
        behind = psycopg.conninfo.conninfo_to_dict(server)
        self.behind = f"{behind['host']}/.s.PGSQL.{behind['port']}"
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.requests, self.at, self.fault, self.kill, self.gone = 0, 0, "unheard", 0, False
        self.delay = 0.0
        self.happened, self._answered = threading.Event(), threading.Event()
        self._muted: socket.socket | None = None
        self._turn = threading.Lock()
        self._lines: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def arm(self, at: int, fault: str, *, gone: bool = False) -> None:
        """Count from zero; the fault happens once."""
        self.requests, self.at, self.fault, self.kill, self.gone = 0, at, fault, 0, gone
        self.happened.clear()
        self._answered.clear()

    def mend(self) -> None:
        """Nothing more happens, and new lines are taken."""
        self.arm(0, "unheard")

    def close(self) -> None:
        self.listener.close()
        for line in self._lines:
            _shut(line)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                line, _ = self.listener.accept()
                if self.gone and self.happened.is_set():
                    line.close()
                    continue
                server = socket.socket(socket.AF_UNIX)
                server.connect(self.behind)
                self._lines += [line, server]
                threading.Thread(target=self._forth, args=(line, server), daemon=True).start()
                threading.Thread(target=self._back, args=(line, server), daemon=True).start()

    def _forth(self, line: socket.socket, server: socket.socket) -> None:
        """Messages of the client: the start-up without a type, then type, length, rest."""
        with contextlib.suppress(OSError, EOFError):
            started = False
            while True:
                kind = _exactly(line, 1) if started else b""
                head = _exactly(line, 4)
                rest = _exactly(line, struct.unpack("!I", head)[0] - 4)
                if not started and struct.unpack("!I", rest[:4])[0] in NEGOTIATIONS:
                    line.sendall(REFUSES_TLS)
                    continue
                started = True
                if kind in ASKS and self._is_it():
                    self._breaks(line, server, kind + head + rest)
                    return
                server.sendall(kind + head + rest)
        _shut(line, server)

    def _is_it(self) -> bool:
        with self._turn:
            self.requests += 1
            time.sleep(self.delay)
            return self.requests == self.at

    def _breaks(self, line: socket.socket, server: socket.socket, message: bytes) -> None:
        self.happened.set()
        if self.fault == "stalled":
            self.silent = (line, server)  # kept open, and nothing read any more
            return
        if self.fault == "unanswered":
            self._muted = line
            server.sendall(message)
            self._answered.wait(5)  # the server has carried it out; its answer goes nowhere
        if self.kill:
            os.kill(self.kill, signal.SIGKILL)
        _shut(line, server)

    def _back(self, line: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                if line is self._muted:
                    self._answered.set()
                else:
                    line.sendall(data)
        _shut(line, server)


def _exactly(line: socket.socket, number: int) -> bytes:
    data = b""
    while len(data) < number:
        more = line.recv(number - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def _shut(*lines: socket.socket) -> None:
    for line in lines:
        with contextlib.suppress(OSError):
            line.shutdown(socket.SHUT_RDWR)
        line.close()


@pytest.fixture
def proxy(server) -> Iterator[Proxy]:
    """The proxy before the test's server."""
    proxy = Proxy(server)
    yield proxy
    proxy.close()


@pytest.fixture
def through(proxy) -> Callable[[str], str]:
    """From the direct address of a database to the one through the proxy."""
    return lambda address: psycopg.conninfo.make_conninfo(
        address, host="127.0.0.1", port=str(proxy.port)
    )


class Watcher:
    """The command in a process of its own; its events in the order in which it says them."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        program = SOONER if "BLIND_PAGES" in environment else (ROLLOUT,)
        command = [*program, "watch", "--json", "--verbose", "--operator", "Rita", *arguments]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **environment},
        )
        self.said: list[dict] = []
        self.lines: queue.Queue = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.put(
                json.loads(line) if line.startswith("{") else {"kind": "words", "text": line}
            )
        self.lines.put(None)

    def until(self, *kinds: str) -> dict:
        """The next event of one of these kinds."""
        ends = time.monotonic() + PATIENCE
        while time.monotonic() < ends:
            event = self.lines.get(timeout=PATIENCE)
            assert event is not None, f"it ended: {self.said[-5:]}"
            self.said.append(event)
            if event["kind"] in kinds:
                return event
        raise AssertionError(f"no {kinds} among {self.said[-20:]}")

    def rest(self) -> list[dict]:
        """Everything that it still says, to its end."""
        said = []
        while (event := self.lines.get(timeout=PATIENCE)) is not None:
            said.append(event)
        self.process.wait(timeout=PATIENCE)
        return said


class Live:
    """A rollout at 10 % that began a moment ago, its rows, and its watchers."""

    def __init__(self, direct: str, plan: Path) -> None:
        self.direct, self.plan, self.watchers = direct, plan, []

    def sql(self, statement: str) -> list[tuple]:
        with psycopg.connect(self.direct, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def session(self):
        return open_session(str(self.plan), operator="Rita")

    def watch(self, *arguments: str, **environment: str) -> Watcher:
        self.watchers.append(Watcher("--plan", str(self.plan), *arguments, **environment))
        return self.watchers[-1]

    def routing(self) -> tuple:
        return self.sql("SELECT percentage, enabled FROM webhook_routing_config")[0]

    def fails(self) -> None:
        """Six webhooks fail on unified within a second and a half, each long enough after the one before it
        to count where millions of requests an hour are expected.
        """
        self.sql(
            ROWS.format(where="unified", status="error", number=6).replace(
                "clock_timestamp()", "clock_timestamp() - n * interval '0.2 seconds'"
            )
        )


@pytest.fixture
def live(database, direct, tmp_path) -> Callable[..., Live]:
    made = []

    def live(
        interval: str = "1h", *, begun: bool = True, **monitoring: str
    ) -> Live:  # hardly ever does a slot fall into a test
        now = datetime.now(UTC)
        content = yaml.safe_load(
            Path("parameters/week6.rehearsal.yaml").read_text(encoding="utf-8")
        )
        for number, phase in enumerate(content["phases"]):
            begins = now + number * timedelta(days=2)
            phase |= {"day": begins.date(), "start": f"{begins:%H:%M}"}
        # so many that failures 0.1 seconds apart are no burst: an outage fits into a test
        content["expected_requests_per_hour"] = {"jobs": 7_200_000, "marketplace": 1, "property": 1}
        content["monitoring"] |= {"tripwire": "1s", "interval": interval} | monitoring
        plan = tmp_path / "live.yaml"
        plan.write_text(yaml.safe_dump(content | {"time_zone": "UTC"}), encoding="utf-8")
        day = Live(direct, plan)
        made.append(day)
        day.sql(LEGACY)
        if not begun:
            return day
        op.attest(day.session(), subject="complaints", value="none")
        done = op.change_percentage(day.session(), to=Decimal(10), reason="x", dry_run=False)
        assert done.checkpoint.change.applied, done.checkpoint.sentence
        day.sql(ROWS.format(where="unified", status="success", number=3))
        return day

    yield live
    for day in made:
        for watcher in day.watchers:
            watcher.process.kill()
            watcher.process.wait()
