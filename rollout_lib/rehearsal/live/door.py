"""Who may connect, and for how long: incomplete headers, a bound a client, a bound for all.

uvicorn waits for headers for ever, and its own limit refuses requests of those who are connected
already. Here a newcomer is answered 503 with Retry-After, unless somebody who is connected keeps
us waiting for headers: that one goes."""

from __future__ import annotations

import asyncio
import resource
from collections import Counter
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

LINGER_S = 1.0  # for a refused newcomer to read the answer
MOST_LINGERING = 200
_WORDS = b'{"error": "too many connections; come again in a second"}'
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\n"
    b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(_WORDS), _WORDS)
)
_LATE = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Connections of all, connections of one address, seconds for headers; grace_s: nobody who
    connected that short a time ago makes place for another.
    """

    connections: int = 2_000
    per_client: int = 1_000  # a proxy in front is one client: for its own bounds see its manual
    headers_s: float = 5.0
    grace_s: float = 0.5


class Door:
    """Counts the connections of one server, and lets in."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.inside: Counter[str] = Counter()
        self.lingering = 0
        self.counts: Counter[str] = Counter()
        self._waited_for: dict[GuardedProtocol, float] = {}  # since when, the longest first

    def admit(self, client: str, now: float) -> bool:
        """Whether a newcomer may come in; makes place where somebody keeps us waiting."""
        if self.inside[client] >= self.limits.per_client and not self._make_place(now, client):
            return False
        return self.inside.total() < self.limits.connections or self._make_place(now, None)

    def enter(self, client: str) -> None:
        self.inside[client] += 1

    def leave(self, client: str) -> None:
        self.inside[client] -= 1
        if self.inside[client] <= 0:
            del self.inside[client]

    def wait_for(self, protocol: GuardedProtocol, now: float) -> None:
        self._waited_for.setdefault(protocol, now)

    def came(self, protocol: GuardedProtocol) -> None:
        self._waited_for.pop(protocol, None)

    def _make_place(self, now: float, client: str | None) -> bool:
        for protocol, since in self._waited_for.items():
            if now - since < self.limits.grace_s:
                return False
            if client is None or protocol.address == client:
                self.counts["sent away for another"] += 1
                protocol.send_away()
                return True
        return False


class GuardedProtocol(H11Protocol):
    """uvicorn's protocol behind a door. `door` is set on a class of its own for each server."""

    door: Door
    address = ""
    _inside = _refused = False
    _headers: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn hands over a stream
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if peer else ""
        if not self.door.admit(self.address, self.loop.time()):
            self._turn_away(transport)
            return
        self._inside = True
        self.door.enter(self.address)
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return  # read and forgotten, so that the answer is not lost to a reset
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_watching()
        if self._refused:
            self.door.lingering -= 1
            return
        self._left()
        super().connection_lost(exc)

    def send_away(self) -> None:
        """The headers did not come: say so, and end it."""
        self._stop_watching()
        self.door.counts["headers did not arrive"] += 1
        self._left()
        if not self.transport.is_closing():
            if self.cycle is None:
                self.transport.write(_LATE)
            self.transport.close()

    def _left(self) -> None:
        if self._inside:
            self._inside = False
            self.door.leave(self.address)

    def _watch(self) -> None:
        """A timer runs whenever no request is being answered and bytes were asked for."""
        if self.transport.is_closing() or not (self.cycle is None or self.cycle.response_complete):
            self._stop_watching()
        elif self._headers is None:
            self.door.wait_for(self, self.loop.time())
            self._headers = self.loop.call_later(self.door.limits.headers_s, self.send_away)

    def _stop_watching(self) -> None:
        self.door.came(self)
        if self._headers is not None:
            self._headers.cancel()
            self._headers = None

    def _turn_away(self, transport: asyncio.Transport) -> None:
        self._refused = True
        self.door.lingering += 1
        self.door.counts["refused 503"] += 1
        if self.door.lingering > MOST_LINGERING:
            transport.abort()
            return
        transport.write(_FULL)
        if transport.can_write_eof():
            transport.write_eof()
        self.loop.call_later(LINGER_S, transport.abort)


def protocol_behind(door: Door) -> type[GuardedProtocol]:
    """A protocol class for uvicorn's setting `http`."""
    body: dict[str, Any] = {"door": door}
    return type("GuardedHere", (GuardedProtocol,), body)


def raise_open_files() -> None:
    """As many open files as this process may have: a connection that cannot be opened is answered
    by nobody.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
