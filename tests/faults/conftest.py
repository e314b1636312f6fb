"""What breaks between the suite and its database: a real proxy that cuts, stalls or kills at a chosen message."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

import psycopg
import pytest

REFUSES_TLS = b"N"
NEGOTIATIONS = (80877103, 80877104)  # SSLRequest, GSSENCRequest: codes in the place of a protocol version
ASKS = (
    b"Q",
    b"S",
)  # a simple query, or the Sync that ends an extended one: each is answered


class Proxy:
    """A loopback TCP port before a server on a Unix socket; requests are counted over all connections.

    `at`: the request (1 is the first) at which `fault` happens. "unheard": it never reaches the server.
    "unanswered": the server carries it out, the answer is lost. "stalled": no answer ever comes, on any line.
    With `kill` set that process is killed (SIGKILL) in the same moment. `gone`: no new line from then on.
    """

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
    return lambda address: psycopg.conninfo.make_conninfo(address, host="127.0.0.1", port=str(proxy.port))
