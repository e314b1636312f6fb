"""The functions behind the router, each on a port of its own, failing on command.

`python -m rollout_lib.rehearsal.live.destinations --control 8700 --serve wa-webhook-unified=8701 …`
PUT /wa-webhook-unified on the control port sets how it behaves from now on; GET / says what each
received."""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import time
from dataclasses import asdict, dataclass, fields
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rollout_lib.errors import UsageError
from rollout_lib.rehearsal.live import management
from rollout_lib.rehearsal.live.recognise import Kind, TooMany, contents
from rollout_lib.rehearsal.live.serving import QuietServer, configured, listen, pairs, until_stopped

REMEMBERED = (
    500_000  # received webhooks per destination; a longer run stops remembering, and says so
)
OUTAGES = ("none", "refuse", "hang", "reset")


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """How a destination answers: log-normal latency (median in ms, sigma of the log), share of HTTP
    500, and an outage: refuse (nobody listens), hang (taken, never answered), reset (taken, then
    broken off)."""

    median_ms: float = 700.0
    sigma: float = 0.45
    errors: float = 0.0
    outage: str = "none"

    def __post_init__(self) -> None:
        numbers = (self.median_ms, self.sigma, self.errors)
        if not all(
            isinstance(value, int | float) and math.isfinite(value) and value >= 0
            for value in numbers
        ):
            raise UsageError(reason="median_ms, sigma and errors must be numbers of at least 0.")
        if (
            self.median_ms > 60_000
            or self.sigma > 3
            or self.errors > 1
            or self.outage not in OUTAGES
        ):
            raise UsageError(
                reason=f"at most 60,000 ms, sigma 3, errors 1; outage one of {', '.join(OUTAGES)}."
            )


def behaviour_from(content: Any, now: Behaviour) -> Behaviour:
    """`now` with the given fields changed. Raises UsageError for an unknown field or value."""
    names = {field.name for field in fields(Behaviour)}
    if not isinstance(content, dict) or not set(content) <= names:
        raise UsageError(reason=f"expected an object with some of {', '.join(sorted(names))}.")
    return Behaviour(**{**asdict(now), **content})


class Destination:
    """One function: a listening socket (or none, while it refuses), and what it has received."""

    def __init__(self, name: str, port: int, behaviour: Behaviour, draw: random.Random) -> None:
        self.name, self.port, self.behaviour, self._draw = name, port, behaviour, draw
        self.received: list[tuple[float, str]] = []  # (when, correlation id)
        self.messages: list[list[Any]] = []  # [when, message id, HTTP status or None while it runs]
        self.forgotten = 0
        self._server: QuietServer | None = None
        self._task: asyncio.Task[None] | None = None
        self._released = asyncio.Event()

    async def set(self, behaviour: Behaviour) -> None:
        """Behave so from now on; an outage breaks what is open."""
        self.behaviour = behaviour
        self._released.set()
        self._released = asyncio.Event()
        if behaviour.outage == "refuse":
            await self.close()
        else:
            await self.open()

    async def open(self) -> None:
        """Listen, if it does not."""
        if self._server is not None:
            return
        app = Starlette(routes=[Route("/{path:path}", self._answer, methods=["GET", "POST"])])
        bound = listen(self.port)
        self.port = bound.getsockname()[1]
        self._server = QuietServer(configured(app, lifespan="off"))
        self._task = asyncio.create_task(self._server.serve(sockets=[bound]))
        while not self._server.started:
            await asyncio.sleep(0.005)

    async def close(self) -> None:
        """Stop listening and break every connection, as a process that died."""
        server, task = self._server, self._task
        if server is None or task is None:
            return
        self._server = self._task = None
        for listener in server.servers:
            listener.close()
        self._break(server)
        server.should_exit = server.force_exit = True
        await task

    @staticmethod
    def _break(server: QuietServer) -> None:
        for connection in list(server.server_state.connections):
            connection.transport.abort()

    async def _answer(self, request: Request) -> Response:
        if request.method == "GET":
            return JSONResponse({"function": self.name, "status": "ok"})
        noted = self._receive(await request.body(), request.headers.get("x-correlation-id", ""))
        answer = await self._behave()
        for one in noted:
            one[2] = answer.status_code
        return answer

    def _receive(self, body: bytes, correlation_id: str) -> list[list[Any]]:
        """Remember a request and its messages; what the answer is to be written into."""
        if len(self.received) >= REMEMBERED:
            self.forgotten += 1
            return []
        at = time.time()
        self.received.append((at, correlation_id))
        try:
            found = contents(json.loads(body), ())
        except (ValueError, TooMany):
            found = ()
        noted = [
            [at, item.message_id, None]
            for item in found
            if item.kind is Kind.MESSAGE and item.message_id
        ]
        self.messages.extend(noted)
        return noted

    async def _behave(self) -> Response:
        behaviour, released = self.behaviour, self._released
        if behaviour.outage == "reset" and self._server is not None:
            self._break(self._server)
            return Response(status_code=500)
        if behaviour.outage == "hang":
            await released.wait()
        wait = behaviour.median_ms / 1000 * math.exp(behaviour.sigma * self._draw.gauss(0, 1))
        await asyncio.sleep(min(wait, 60.0))
        if self._draw.random() < behaviour.errors:
            return JSONResponse({"error": "the function failed"}, 500)
        return JSONResponse({"ok": True})


def control(destinations: dict[str, Destination]) -> Starlette:
    """Set a destination's behaviour (PUT /name), and read what all have received (GET /)."""

    async def put(request: Request) -> Response:
        found = destinations.get(request.path_params["name"])
        if found is None:
            return JSONResponse({"error": f"one of {', '.join(destinations)}"}, 404)
        at = (
            time.time()
        )  # an outage begins as the listener closes; what was open takes its time to end
        try:
            await found.set(behaviour_from(json.loads(await request.body()), found.behaviour))
        except (ValueError, UsageError) as error:
            return JSONResponse({"error": str(error)}, 400)
        return JSONResponse({"name": found.name, "at": at, **asdict(found.behaviour)})

    async def get(_: Request) -> Response:
        return JSONResponse(
            {
                name: {
                    "address": f"http://127.0.0.1:{one.port}",
                    "behaviour": asdict(one.behaviour),
                    "received": one.received,
                    "messages": one.messages,
                    "forgotten": one.forgotten,
                }
                for name, one in destinations.items()
            }
        )

    return Starlette(routes=[Route("/{name}", put, methods=["PUT"]), Route("/", get)])


async def serve(
    ports: dict[str, int], control_port: int, management_port: int, behaviour: Behaviour, seed: int
) -> None:
    """Run until SIGTERM."""
    draw = random.Random(seed)
    found = {name: Destination(name, port, behaviour, draw) for name, port in ports.items()}
    for one in found.values():
        await one.open()
    apps = {
        "control": (control(found), control_port),
        "management": (management.app(), management_port),
    }
    servers = [
        (QuietServer(configured(app, lifespan="off")), listen(port)) for app, port in apps.values()
    ]
    ports = {name: bound.getsockname()[1] for name, (_, bound) in zip(apps, servers, strict=True)}
    await until_stopped(
        *servers, ready={**ports, **{name: one.port for name, one in found.items()}}
    )
    for one in found.values():
        await one.close()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--control", type=int, default=0, help="port where behaviours are set")
    parser.add_argument(
        "--management", type=int, default=0, help="port of the Management API's stand-in"
    )
    parser.add_argument("--serve", action="append", required=True, metavar="wa-webhook-jobs=8702")
    parser.add_argument("--median-ms", type=float, default=700.0)
    parser.add_argument("--sigma", type=float, default=0.45)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    ports = {name: int(port) for name, port in pairs(arguments.serve, parser).items()}
    behaviour = Behaviour(median_ms=arguments.median_ms, sigma=arguments.sigma)
    asyncio.run(serve(ports, arguments.control, arguments.management, behaviour, arguments.seed))


if __name__ == "__main__":
    main()
