"""The reference webhook-traffic-router: `python -m rollout_lib.rehearsal.live.router --port 8600
--to …`.

POST takes a webhook: signature, items, each one's side, one row each. GET is the platform's
handshake, or health on its own path. A refused request (4xx) is no webhook: it reaches no
destination and no row, or anybody could fill the log and trip the alarms; health counts it."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from rollout_lib.rehearsal.live import wellbeing
from rollout_lib.rehearsal.live.beside import pool, running
from rollout_lib.rehearsal.live.configuration import Configuration, reader
from rollout_lib.rehearsal.live.dispatch import (
    SIGNATURE,
    UNIFIED_NAME,
    Dispatch,
    Hands,
    Post,
    Settings,
    legacy_name,
)
from rollout_lib.rehearsal.live.door import Door, Limits, protocol_behind, raise_open_files
from rollout_lib.rehearsal.live.forward import CONNECT_S, Forwarder
from rollout_lib.rehearsal.live.logbook import Logbook
from rollout_lib.rehearsal.live.memory import Outcome
from rollout_lib.rehearsal.live.recognise import TooMany, contents
from rollout_lib.rehearsal.live.serving import QuietServer, configured, listen, pairs, until_stopped
from rollout_lib.rehearsal.live.spelling import spelled
from rollout_lib.rehearsal.live.webhook import Held, Refusal, parsed, prove, read_body

__all__ = [
    "DATABASE",
    "SECRET",
    "UNIFIED_NAME",
    "Router",
    "Settings",
    "legacy_name",
    "pool",
    "running",
]

NAME, VERSION = "webhook-traffic-router", 2
# environment variables
SECRET, DATABASE = "ROLLOUT_REHEARSAL_APP_SECRET", "ROLLOUT_REHEARSAL_URL"
VERIFY, OPERATOR = "ROLLOUT_REHEARSAL_VERIFY_TOKEN", "ROLLOUT_REHEARSAL_OPERATOR_TOKEN"
HEALTH = "health"  # the last part of its path
_CORRELATION = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Router:
    """The application: what comes in over HTTP, and what goes back. Everything it needs is handed
    in.
    """

    def __init__(
        self,
        settings: Settings,
        configuration: Configuration,
        logbook: Logbook,
        forwarder: Hands,
        *,
        verify_token: str | None = None,
        operator_token: str | None = None,
        door: Door | None = None,
    ) -> None:
        self._settings, self._configuration, self._logbook = settings, configuration, logbook
        self._verify_token, self._operator_token = verify_token, operator_token
        self._counts: Counter[str] = Counter()
        self._dispatch = Dispatch(settings, configuration, logbook, forwarder, self._counts)
        self._signatures, self._held = wellbeing.Signatures(), Held()
        self._door = door or Door(Limits())
        self._since = datetime.now(UTC)

    async def take(self, request: Request) -> Response:
        """POST: read once, proven over the raw bytes, then dispatched."""
        began, body = time.monotonic(), b""
        try:
            body = await read_body(request, self._held)
            self._prove(body, request.headers.get(SIGNATURE, ""))
            payload, faithful = parsed(body)
            items = contents(payload, self._settings.protected, body)
            post = Post(
                body=body,
                payload=payload,
                faithful=faithful,
                headers=_passed_on(request),
                began=began,
            )
            outcomes, now = await self._dispatch.take(post, items)
        except TooMany:
            return self._refused(Refusal(413, "more messages than a batch may have"))
        except Refusal as refusal:
            return self._refused(refusal)
        except ClientDisconnect:
            self._counts["client left"] += 1
            return Response(status_code=400)
        finally:
            self._held.bytes -= len(body)
        return _handed_back(outcomes, post.correlation_id, again=not now)

    def _prove(self, body: bytes, given: str) -> None:
        try:
            prove(body, given, self._settings.app_secret)
        except Refusal:
            self._signatures.note(accepted=False)
            raise
        self._signatures.note(accepted=True)

    def _refused(self, refusal: Refusal) -> Response:
        self._counts[f"refused {refusal.status}"] += 1
        headers = {"retry-after": "1"} if refusal.status == 503 else {}
        return JSONResponse({"error": refusal.reason}, refusal.status, headers)

    async def ask(self, request: Request) -> Response:
        """GET: the platform's handshake, or health; nothing else is here."""
        if any(name.startswith("hub.") for name in request.query_params):
            answer = wellbeing.handshake(request.query_params, self._verify_token)
            self._counts[f"handshake {answer.status_code}"] += 1
            return answer
        if request.path_params["path"].rsplit("/", 1)[-1] == HEALTH:
            return self._health(request)
        return PlainTextResponse("not found", 404)

    def _health(self, request: Request) -> Response:
        """Alive and well, for anybody; all of it for an operator, who says so with a token."""
        said = wellbeing.public(NAME, VERSION, self._configuration, self._logbook, self._signatures)
        given = request.headers.get("authorization")
        if given is None:
            return JSONResponse(said)
        right = wellbeing.same(given, f"Bearer {self._operator_token}")
        if not (right and self._operator_token):
            return PlainTextResponse("forbidden", 403)
        shown = wellbeing.private(
            self._configuration, self._logbook, self._signatures, self._counts
        )
        return JSONResponse(
            {
                **said,
                "since": self._since.isoformat(),
                "signed": self._settings.app_secret is not None,
                "protected": sorted(self._settings.protected),
                **shown,
                "connections": {
                    "open": self._door.inside.total(),
                    **dict(sorted(self._door.counts.items())),
                },
            }
        )

    def app(
        self, lifespan: Callable[[Any], contextlib.AbstractAsyncContextManager[None]] | None = None
    ) -> Starlette:
        """The ASGI application, on any path: a deployed function has one of its own."""
        routes = [
            Route("/{path:path}", self.take, methods=["POST"]),
            Route("/{path:path}", self.ask, methods=["GET"]),
        ]
        return Starlette(routes=routes, lifespan=lifespan)


def _passed_on(request: Request) -> dict[str, str]:
    """The few headers that a destination needs; none that a stranger could smuggle through."""
    offered = request.headers.get("x-correlation-id", "")
    headers = {
        "content-type": "application/json",
        "x-correlation-id": offered if _CORRELATION.fullmatch(offered) else uuid.uuid4().hex,
    }
    given = request.headers.get(SIGNATURE, "")
    if re.fullmatch(r"sha256=[0-9a-f]{64}", given):
        headers[SIGNATURE] = given
    return headers


def _handed_back(outcomes: Sequence[Outcome], correlation_id: str, *, again: bool) -> Response:
    """The worst of the functions' own answers: a POST is done when all of it is done. 502 and 504
    are the router's, where there was none.

    again: nothing was handed on for this POST; the headers say who answered the first delivery."""
    worst = max(outcomes, key=lambda one: _badness(one.answer.status)).answer
    headers = {
        "x-correlation-id": correlation_id,
        "x-routed-to": ",".join(dict.fromkeys(one.routed_to for one in outcomes)),
        "x-webhook-name": ",".join(dict.fromkeys(one.name for one in outcomes)),
    }
    if again:
        headers["x-answered-again"] = outcomes[0].correlation_id
    if worst.status is None:
        return JSONResponse({"error": worst.problem}, 504 if worst.timed_out else 502, headers)
    return Response(worst.body, worst.status, headers, media_type=worst.content_type)


def _badness(status: int | None) -> int:
    return 1_000 if status is None else status


async def serve(arguments: argparse.Namespace, address: str, secret: bytes | None) -> None:
    """Run until SIGTERM; then no more is taken, what runs is answered, and the
    buffer is written.
    """
    bound = listen(arguments.port)
    reading, writing = pool(address, NAME), pool(address, f"{NAME} log {uuid.uuid4().hex[:8]}")
    forwarder = Forwarder(
        arguments.to, timeout_s=arguments.timeout, connect_s=arguments.connect_timeout
    )
    configuration = Configuration(reader(reading), protected=arguments.protected)
    logbook = Logbook(writing)
    door = Door(
        Limits(
            connections=arguments.connections,
            per_client=arguments.per_client,
            headers_s=arguments.header_timeout,
        )
    )
    router = Router(
        Settings(protected=frozenset(arguments.protected), app_secret=secret),
        configuration,
        logbook,
        forwarder,
        verify_token=os.environ.get(VERIFY) or None,
        operator_token=os.environ.get(OPERATOR) or None,
        door=door,
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
        configured(router.app(lifespan), lifespan="on", http=protocol_behind(door))
    )
    await until_stopped((server, bound), ready={"router": bound.getsockname()[1]})


def main() -> None:
    """The command. From the environment come the database, the signature's secret, the handshake's
    token and the operator's (for all of health): ROLLOUT_REHEARSAL_URL, …_APP_SECRET,
    …_VERIFY_TOKEN, …_OPERATOR_TOKEN.
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
    parser.add_argument(
        "--header-timeout", type=float, default=Limits.headers_s, help="seconds for all headers"
    )
    parser.add_argument("--connections", type=int, default=Limits.connections, help="at most")
    parser.add_argument(
        "--per-client", type=int, default=Limits.per_client, help="connections of one address"
    )
    parser.add_argument("--unsigned", action="store_true", help="take webhooks without a signature")
    arguments = parser.parse_args()
    arguments.to = pairs(arguments.to, parser)
    if not all(map(spelled, arguments.protected)):
        parser.error("--protected is the name of a domain, not empty")
    address, secret = os.environ.get(DATABASE, ""), os.environ.get(SECRET, "").encode() or None
    if not address:
        parser.error(f"${DATABASE} is not set: whose configuration?")
    if secret is None and not arguments.unsigned:
        parser.error(
            f"${SECRET} is not set: webhooks could not be proven to be Meta's (--unsigned takes"
            " them all)"
        )
    raise_open_files()
    asyncio.run(serve(arguments, address, secret))


if __name__ == "__main__":
    main()
