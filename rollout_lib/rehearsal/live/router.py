"""The reference webhook-traffic-router: `python -m rollout_lib.rehearsal.live.router --port 8600
--to …`.

POST takes a webhook: signature, domain, one draw, one destination, one row. GET says version,
configuration and counts. A refused request (4xx) is no webhook: it reaches no destination and no
row, or anybody could fill the log and trip the alarms; it is counted in the health."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import re
import sys
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from psycopg_pool import AsyncConnectionPool
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rollout_lib.model import LEGACY, ROUTER_ERROR, UNIFIED
from rollout_lib.rehearsal.live.configuration import Configuration, reader
from rollout_lib.rehearsal.live.forward import CONNECT_S, Answer, Forwarder
from rollout_lib.rehearsal.live.logbook import Decision, Logbook
from rollout_lib.rehearsal.live.recognise import UNKNOWN, Recognised, recognise
from rollout_lib.rehearsal.live.serving import QuietServer, configured, listen, pairs, until_stopped
from rollout_lib.rehearsal.live.webhook import Refusal, read_body, read_payload

NAME, VERSION = "webhook-traffic-router", 1
UNIFIED_NAME = "wa-webhook-unified"
SECRET, DATABASE = "ROLLOUT_REHEARSAL_APP_SECRET", "ROLLOUT_REHEARSAL_URL"  # environment variables
MOST_CONNECTIONS = 2_000  # more are told 503 before anything ran: bodies in memory stay bounded
DRAIN_S = 10.0  # for the buffer to be written after SIGTERM
_STOPPED = Answer(status=None, problem="the router was stopped before the answer")
_CORRELATION = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is fixed for a router's life. app_secret None takes unsigned webhooks, and health says
    so.
    """

    protected: frozenset[str]
    app_secret: bytes | None


def legacy_name(domain: str) -> str:
    """The function that has served a domain until now."""
    return f"wa-webhook-{domain}"


class Router:
    """Decides and forwards. Everything it needs is handed in; only the logbook and the forwarder
    hold I/O.
    """

    def __init__(
        self,
        settings: Settings,
        configuration: Configuration,
        logbook: Logbook,
        forwarder: Forwarder,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._settings, self._configuration = settings, configuration
        self._logbook, self._forwarder, self._draw = logbook, forwarder, draw
        self._counts: Counter[str] = Counter()
        self._since = datetime.now(UTC)

    def goes_to_unified(self, domain: str) -> bool:
        """One draw for one request. Protected, unknown, not listed, switched off, unreadable:
        legacy.
        """
        config = self._configuration.current()
        if (
            config is None
            or not config.enabled
            or domain == UNKNOWN
            or domain in self._settings.protected
        ):
            return False
        return domain in config.domains and self._draw() * 100 < config.percentage

    async def take(self, request: Request) -> Response:
        """POST: one webhook."""
        began = time.monotonic()
        try:
            body = await read_body(request)
            given = request.headers.get("x-hub-signature-256", "")
            payload = read_payload(body, given, self._settings.app_secret)
        except Refusal as refusal:
            self._counts[f"refused {refusal.status}"] += 1
            return JSONResponse({"error": refusal.reason}, refusal.status)
        except ClientDisconnect:
            self._counts["client left"] += 1
            return Response(status_code=400)
        known = recognise(payload, self._settings.protected)
        return await self._route(known, body, _passed_on(request, known), began)

    async def _route(self, known: Recognised, body: bytes, headers, began: float) -> Response:
        name, routed_to = legacy_name(known.domain), LEGACY
        if self.goes_to_unified(known.domain):
            name, routed_to = UNIFIED_NAME, UNIFIED
        try:
            answer = await self._forwarder.post(name, body, headers)
        except (
            asyncio.CancelledError
        ):  # the process is ending, and may not wait: it was sent, so it is a row
            self._note(known, routed_to, name, _STOPPED, headers, began)
            raise
        if routed_to == UNIFIED and not answer.sent:
            # Nothing left for unified, so nothing ran: legacy, once. The failure is a row of its
            # own.
            self._note(known, routed_to, name, answer, headers, began)
            self._counts["fell back"] += 1
            name, routed_to = legacy_name(known.domain), LEGACY
            answer = await self._forwarder.post(name, body, headers)
        if not answer.sent:
            routed_to = ROUTER_ERROR  # it reached no destination
        self._note(known, routed_to, name, answer, headers, began)
        return _handed_back(answer, routed_to, name, headers["x-correlation-id"])

    def _note(self, known: Recognised, routed_to, name, answer: Answer, headers, began) -> None:
        status = "success" if answer.status is not None and answer.status < 400 else "error"
        self._counts[f"{routed_to} {status}"] += 1
        self._logbook.note(
            Decision(
                created_at=datetime.now(UTC),
                domain=known.domain,
                routed_to=routed_to,
                webhook_name=name,
                status=status,
                response_time_ms=round((time.monotonic() - began) * 1000),
                error_message=answer.problem,
                message_id=known.message_id,
                from_number=known.from_number,
                correlation_id=headers["x-correlation-id"],
            )
        )

    async def health(self, request: Request) -> Response:
        """GET: alive; what it decides by, and whether its log arrives."""
        config, log = self._configuration.current(), self._logbook
        well = config is not None and not (log.dropped or log.refused or log.problem)
        decides_by = config and {
            "percentage": str(config.percentage),
            "enabled": config.enabled,
            "domains": sorted(config.domains),
            "read_at": config.read_at.isoformat(),
        }
        return JSONResponse(
            {
                "function": NAME,
                "version": VERSION,
                "status": "ok" if well else "degraded",
                "since": self._since.isoformat(),
                "signed": self._settings.app_secret is not None,
                "protected": sorted(self._settings.protected),
                "configuration": decides_by,
                "configuration_problem": self._configuration.problem or None,
                "log": log.counts(),
                "requests": dict(sorted(self._counts.items())),
            }
        )

    def app(
        self, lifespan: Callable[[Any], contextlib.AbstractAsyncContextManager[None]] | None = None
    ) -> Starlette:
        """The ASGI application, on any path: a deployed function has one of its own."""
        routes = [
            Route("/{path:path}", self.take, methods=["POST"]),
            Route("/{path:path}", self.health),
        ]
        return Starlette(routes=routes, lifespan=lifespan)


def _passed_on(request: Request, known: Recognised) -> dict[str, str]:
    """The few headers that a destination needs; none that a stranger could smuggle through."""
    offered = request.headers.get("x-correlation-id", "")
    headers = {
        "content-type": "application/json",
        "x-correlation-id": offered if _CORRELATION.fullmatch(offered) else uuid.uuid4().hex,
        "x-routed-domain": known.domain,
    }
    given = request.headers.get("x-hub-signature-256", "")
    if re.fullmatch(r"sha256=[0-9a-f]{64}", given):
        headers["x-hub-signature-256"] = given
    return headers


def _handed_back(answer: Answer, routed_to: str, name: str, correlation_id: str) -> Response:
    """The destination's own answer; 502 and 504 are the router's, where there was none."""
    headers = {"x-correlation-id": correlation_id, "x-routed-to": routed_to, "x-webhook-name": name}
    if answer.status is None:
        return JSONResponse({"error": answer.problem}, 504 if answer.timed_out else 502, headers)
    return Response(answer.body, answer.status, headers, media_type=answer.content_type)


@contextlib.asynccontextmanager
async def running(
    configuration: Configuration, logbook: Logbook, drain_s: float = DRAIN_S
) -> AsyncIterator[None]:
    """The tasks beside the traffic. At the end the buffer is written out, for at most drain_s
    seconds.
    """
    await configuration.renew()
    reading, writing = asyncio.create_task(configuration.run()), asyncio.create_task(logbook.run())
    try:
        yield
    finally:
        reading.cancel()
        logbook.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(writing, drain_s)
        if logbook.buffered or logbook.dropped:
            lost = f"{logbook.buffered} rows were not written, {logbook.dropped} were dropped"
            print(
                f"{NAME}: {lost}; the database answers: {logbook.problem}",
                file=sys.stderr,
                flush=True,
            )


def pool(address: str, name: str) -> AsyncConnectionPool:
    """One connection that comes back by itself, for as long as it takes. Open it inside the event
    loop.
    """
    settings = {
        "autocommit": True,
        "prepare_threshold": None,
        "application_name": name,
        "connect_timeout": 3,
    }
    return AsyncConnectionPool(
        address,
        min_size=1,
        max_size=1,
        open=False,
        kwargs=settings,
        reconnect_timeout=float("inf"),
        num_workers=1,
    )


async def serve(arguments: argparse.Namespace, address: str, secret: bytes | None) -> None:
    """Run until SIGTERM; then no more is taken, what runs is answered, and the
    buffer is written.
    """
    bound = listen(arguments.port)
    reading, writing = pool(address, NAME), pool(address, f"{NAME} log {uuid.uuid4().hex[:8]}")
    forwarder = Forwarder(
        arguments.to, timeout_s=arguments.timeout, connect_s=arguments.connect_timeout
    )
    configuration, logbook = Configuration(reader(reading)), Logbook(writing)
    router = Router(
        Settings(protected=frozenset(arguments.protected), app_secret=secret),
        configuration,
        logbook,
        forwarder,
    )

    @contextlib.asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        await reading.open()
        await writing.open()
        async with running(configuration, logbook):
            yield
        await forwarder.close()
        await reading.close(timeout=1)
        await writing.close(timeout=1)

    server = QuietServer(
        configured(router.app(lifespan), lifespan="on", limit_concurrency=MOST_CONNECTIONS)
    )
    await until_stopped((server, bound), ready={"router": bound.getsockname()[1]})


def main() -> None:
    """The command. The database is $ROLLOUT_REHEARSAL_URL, the signature's secret
    $ROLLOUT_REHEARSAL_APP_SECRET.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, required=True, help="0 takes a free one and prints it")
    parser.add_argument(
        "--to", action="append", required=True, metavar="wa-webhook-jobs=http://127.0.0.1:8701"
    )
    parser.add_argument("--protected", action="append", required=True, metavar="mobility")
    parser.add_argument(
        "--timeout", type=float, default=10.0, help="seconds for a destination to answer"
    )
    parser.add_argument(
        "--connect-timeout", type=float, default=CONNECT_S, help="seconds for a connection to it"
    )
    parser.add_argument("--unsigned", action="store_true", help="take webhooks without a signature")
    arguments = parser.parse_args()
    arguments.to = pairs(arguments.to, parser)
    address, secret = os.environ.get(DATABASE, ""), os.environ.get(SECRET, "").encode() or None
    if not address:
        parser.error(f"${DATABASE} is not set: whose configuration?")
    if secret is None and not arguments.unsigned:
        parser.error(
            f"${SECRET} is not set: webhooks could not be proven to be Meta's (--unsigned takes"
            " them all)"
        )
    asyncio.run(serve(arguments, address, secret))


if __name__ == "__main__":
    main()
