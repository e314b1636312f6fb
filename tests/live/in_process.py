"""The router's own application without sockets: requests in, and what every destination was
handed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from psycopg_pool import AsyncConnectionPool

from rollout_lib.rehearsal.live.configuration import Configuration
from rollout_lib.rehearsal.live.dispatch import Settings
from rollout_lib.rehearsal.live.forward import Answer
from rollout_lib.rehearsal.live.logbook import Decision, Logbook
from rollout_lib.rehearsal.live.router import Router
from rollout_lib.rehearsal.live.webhook import signature

SECRET = b"fuzz"
PROTECTED = frozenset({"mobility", "profile", "insurance"})
ROUTED = ("jobs", "marketplace", "property")


def post(*values: Mapping[str, Any]) -> dict[str, Any]:
    """A POST of one entry with these values, a change each."""
    changes = [{"field": "messages", "value": dict(value)} for value in values]
    return {"object": "whatsapp_business_account", "entry": [{"id": "0", "changes": changes}]}


def message(identity: str, words: str, sender: str = "250780000001") -> dict[str, Any]:
    return {"id": identity, "from": sender, "type": "text", "text": {"body": words}}


def status(identity: str, said: str = "delivered", sender: str | None = None) -> dict[str, Any]:
    found = {"id": identity, "status": said, "timestamp": "1"}
    return {**found, "recipient_id": sender} if sender else found


def ids(body: bytes) -> list[str]:
    """The message ids in a body, in order; of a status with its word."""
    return [
        item["id"] if part == "messages" else f"{item['id']}#{item['status']}"
        for entry in json.loads(body)["entry"]
        for change in entry["changes"]
        for part in ("messages", "statuses")
        for item in change["value"].get(part, ())
    ]


class Destinations:
    """In a forwarder's place: answers from a script (200 without one), keeps what it is handed."""

    def __init__(self) -> None:
        self.handed: list[tuple[str, bytes, dict[str, str]]] = []
        self.script: dict[str, list[Answer]] = {}
        self.held: asyncio.Event | None = None  # answers wait for it
        self.reached = asyncio.Event()

    async def post(self, name: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        waiting = self.script.get(name)
        answer = waiting.pop(0) if waiting else Answer(status=200, body=b'{"ok": true}')
        if answer.sent:
            self.handed.append((name, body, dict(headers)))
        self.reached.set()
        if self.held is not None:
            await self.held.wait()
        return answer

    def at(self, name: str) -> list[str]:
        """The ids that a function was handed, in order."""
        return [found for at, body, _ in self.handed if at == name for found in ids(body)]


class Gathering(Logbook):
    """A logbook that nobody writes out: rows only gather."""

    def __init__(self) -> None:
        super().__init__(AsyncConnectionPool("", open=False))

    @property
    def rows(self) -> list[Decision]:
        return list(self._waiting)


class Bench:
    """A router, its destinations and its rows; `percentage`, `enabled` and `domains` may change."""

    def __init__(self, *, secret: bytes | None = SECRET) -> None:
        self.percentage, self.enabled, self.domains = 100.0, True, list(ROUTED)
        self.destinations, self.logbook, self.secret = Destinations(), Gathering(), secret
        self._configuration = Configuration(self._read, protected=PROTECTED)
        self.router = Router(
            Settings(protected=PROTECTED, app_secret=secret),
            self._configuration,
            self.logbook,
            self.destinations,
            verify_token="right",
            operator_token="operator",
        )
        self._app = self.router.app()

    async def _read(self) -> list[tuple[Any, Any, Any, Any]]:
        return [(Decimal(str(self.percentage)), self.enabled, self.domains, "a salt")]

    async def ask(
        self,
        body: bytes = b"",
        headers: Mapping[str, str] | list[tuple[bytes, bytes]] = (),
        *,
        method: str = "POST",
        path: str = "/",
        query: str = "",
    ) -> tuple[int, dict[str, str], bytes]:
        """One request straight into the application: status, headers, body."""
        await self._configuration.renew()
        parts, said = [body[: len(body) // 2], body[len(body) // 2 :]], []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

        async def send(event: dict[str, Any]) -> None:
            said.append(event)

        given = (
            headers
            if isinstance(headers, list)
            else [(name.encode(), value.encode()) for name, value in dict(headers).items()]
        )
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "headers": given,
        }
        await self._app(scope, receive, send)
        start = next(event for event in said if event["type"] == "http.response.start")
        found = {name.decode(): value.decode() for name, value in start["headers"]}
        return start["status"], found, b"".join(event.get("body", b"") for event in said)

    async def send(self, payload: Any) -> tuple[int, dict[str, str], bytes]:
        """A signed POST of this JSON."""
        body = json.dumps(payload).encode()
        signed = {"x-hub-signature-256": signature(self.secret, body)} if self.secret else {}
        return await self.ask(body, signed)
