"""The platform's handshake, health, and who may connect: the application, and real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Awaitable, Callable
from urllib.parse import quote

import httpx2
import pytest

from rollout_lib.probes import _refused
from rollout_lib.rehearsal.live.door import Door, Limits, protocol_behind
from rollout_lib.rehearsal.live.serving import QuietServer, configured, listen
from rollout_lib.rehearsal.live.webhook import Held, Refusal, signature
from rollout_lib.rehearsal.live.wellbeing import Signatures
from tests.live.in_process import SECRET, Bench, message, post

RIGHT = "hub.mode=subscribe&hub.verify_token=right&hub.challenge=1158201444"


def get(bench: Bench, path: str = "/", query: str = "", **headers: str):
    return asyncio.run(bench.ask(b"", headers, method="GET", path=path, query=query))


def test_the_handshake_gives_the_challenge_back_as_plain_text():
    """On any path, as the platform asks it."""
    status, headers, body = get(Bench(), "/functions/v1/webhook-traffic-router", RIGHT)
    assert (status, body) == (200, b"1158201444")
    assert headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize(
    "query",
    [
        RIGHT.replace("right", "wrong"),
        RIGHT.replace("right", ""),
        RIGHT.replace("right", quote("ríght")),
        RIGHT.replace("subscribe", "unsubscribe"),
        RIGHT.replace("hub.mode=subscribe&", ""),
        RIGHT.replace("&hub.challenge=1158201444", ""),
        RIGHT + "&hub.verify_token=wrong",
        RIGHT + "&hub.challenge=2",
        RIGHT + "0" * 600,
        "hub.mode=subscribe",
    ],
)
def test_every_other_handshake_is_403(query):
    """A wrong, missing or repeated part; nothing of it comes back."""
    status, _, body = get(Bench(), query=query)
    assert (status, body) == (403, b"forbidden")


def test_without_a_token_of_our_own_no_handshake_is_right():
    """An empty token given is not the one that nobody set."""
    bench = Bench()
    bench.router._verify_token = None
    assert get(bench, query=RIGHT.replace("right", ""))[0] == 403


def test_health_names_neither_percentage_nor_domains_to_the_public():
    """On its own path; all of it only for the operator's token."""
    bench = Bench()
    bench.percentage = 37.0
    status, _, body = get(bench, "/any/health")
    assert status == 200
    assert set(json.loads(body)) == {"function", "version", "status", "signatures"}
    assert get(bench, "/")[0] == 404
    assert get(bench, "/health", authorization="Bearer wrong")[0] == 403
    shown = json.loads(get(bench, "/health", authorization="Bearer operator")[2])
    assert shown["configuration"]["percentage"] == "37.0"
    assert shown["configuration"]["domains"] == ["jobs", "marketplace", "property"]


def test_refused_signatures_are_asked_about_in_health():
    """Fifty of fifty: degraded, in public too; twenty good ones later it is over."""
    bench = Bench()
    body = json.dumps(post({"messages": [message("a", "a job")]})).encode()
    signed = {"x-hub-signature-256": signature(b"the secret before", body)}

    async def refused() -> None:
        for _ in range(50):
            assert (await bench.ask(body, signed))[0] == 401

    asyncio.run(refused())
    found = json.loads(get(bench, "/health")[2])
    assert found["status"] == "degraded"
    assert found["signatures"].startswith("50 of 50 refused since ")
    assert found["signatures"].endswith(" UTC: secret rotated?")
    assert bench.destinations.handed == bench.logbook.rows == []
    signed = {"x-hub-signature-256": signature(SECRET, body)}
    for _ in range(20):
        asyncio.run(bench.ask(body, signed))
    assert json.loads(get(bench, "/health")[2])["signatures"] is None


def test_what_a_stranger_sends_beside_good_ones_is_no_rotated_secret():
    """However much it is: the platform's own are accepted beside it. None for a minute: it may be one."""
    now = 0.0
    signatures = Signatures(lambda: now)
    for second in range(600):
        now = float(second)
        for _ in range(50):
            signatures.note(accepted=False)
        if second % 40 == 0:
            signatures.note(accepted=True)
        assert not signatures.suspicious
    assert signatures.sentence().endswith("others accepted: a stranger's")
    now += 61
    signatures.note(accepted=False)
    assert signatures.sentence().endswith("secret rotated?")


def test_a_few_refused_ones_are_strangers():
    """Nine of nine: counted for the operator, and health stays well."""
    bench = Bench()
    for _ in range(9):
        asyncio.run(bench.ask(b"{}"))
    assert json.loads(get(bench, "/health")[2])["status"] == "ok"
    shown = json.loads(get(bench, "/health", authorization="Bearer operator")[2])
    assert shown["signatures"]["refused"] == 9


def test_bodies_in_memory_are_bounded():
    """What is over is told to come again, and nothing of it stays counted."""
    held = Held(most=10)
    held.take(8)
    with pytest.raises(Refusal, match="come again"):
        held.take(3)
    assert held.bytes == 8


Told = Callable[[int, Door], Awaitable[None]]


def behind_a_door(limits: Limits, told: Told) -> None:
    """Run `told` against a real server with these limits: (port, door)."""

    async def run() -> None:
        door, bench = Door(limits), Bench()
        bound = listen(0)
        server = QuietServer(
            configured(bench.router.app(), lifespan="off", http=protocol_behind(door))
        )
        serving = asyncio.create_task(server.serve(sockets=[bound]))
        while not server.started:
            await asyncio.sleep(0.005)
        await asyncio.wait_for(told(bound.getsockname()[1], door), 60)
        server.should_exit = True
        await serving

    asyncio.run(run())


async def connect(port: int, first: bytes = b""):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(first)
    return reader, writer


async def healthy(port: int) -> bytes:
    reader, writer = await connect(port, b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n")
    line = await reader.readline()
    writer.close()
    return line


async def ended(reader: asyncio.StreamReader) -> None:
    """The server closed the connection, or reset it with bytes unread."""
    with contextlib.suppress(ConnectionError):
        assert await reader.read() == b""


INCOMPLETE = b"POST / HTTP/1.1\r\nhost: a\r\n"


@pytest.mark.parametrize("first", [b"", INCOMPLETE, b"P"])
def test_connections_without_headers_are_ended(first):
    """Fifty of fifty: none stays, and somebody else is served meanwhile."""

    async def told(port: int, door: Door) -> None:
        open_ones = [await connect(port, first) for _ in range(50)]
        assert b"200" in await healthy(port)
        for reader, _ in open_ones:
            assert b"408" in await reader.read()

    behind_a_door(Limits(headers_s=0.5), told)


def test_headers_that_drip_are_ended_also_on_a_connection_that_was_served():
    """A byte now and then resets no clock; neither does a first good request."""

    async def told(port: int, door: Door) -> None:
        reader, writer = await connect(port, b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n")
        await reader.readuntil(b"}")

        async def drip() -> None:
            try:
                while True:
                    writer.write(b"P")
                    await writer.drain()
                    await asyncio.sleep(0.05)
            except ConnectionError:
                pass

        dripping = asyncio.create_task(drip())
        await ended(reader)
        await dripping

    behind_a_door(Limits(headers_s=0.5), told)


def test_a_body_that_drips_after_the_answer_is_ended():
    """A GET that promises a body and sends it for ever has its answer, and goes."""

    async def told(port: int, door: Door) -> None:
        head = b"GET /health HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n"
        reader, writer = await connect(port, head)
        await reader.readuntil(b"}")
        closed = asyncio.create_task(ended(reader))
        while not closed.done():
            writer.write(b".")
            await asyncio.wait([closed], timeout=0.05)

    behind_a_door(Limits(headers_s=0.5), told)


@pytest.mark.parametrize(
    "limits",
    [
        Limits(connections=5, headers_s=30, grace_s=30),
        Limits(per_client=5, headers_s=30, grace_s=30),
    ],
)
def test_over_the_limit_a_newcomer_is_told_503_and_nobody_else_suffers(limits):
    """Retry-After in the answer; who is connected is served as before."""

    async def told(port: int, door: Door) -> None:
        served = await connect(port)
        others = [await connect(port, INCOMPLETE) for _ in range(4)]  # open while they are named
        while door.inside.total() < 5:
            await asyncio.sleep(0.005)
        for _ in range(20):
            reader, _ = await connect(port, b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n")
            answer = await reader.read()
            assert answer.startswith(b"HTTP/1.1 503")
            assert b"retry-after: 1" in answer
        served[1].write(b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n")
        assert b"200" in await served[0].readline()
        assert len(others) == 4

    behind_a_door(limits, told)


def test_who_keeps_us_waiting_makes_place_for_a_newcomer():
    """Full of connections without headers: a webhook is served, and the longest waiting goes."""

    async def told(port: int, door: Door) -> None:
        first = await connect(port, INCOMPLETE)
        others = [await connect(port, INCOMPLETE) for _ in range(4)]  # open while they are named
        while door.inside.total() < 5:
            await asyncio.sleep(0.005)
        assert b"200" in await healthy(port)
        assert b"408" in await first[0].read()
        assert len(others) == 4

    behind_a_door(Limits(per_client=5, headers_s=30, grace_s=0), told)


def test_what_left_is_no_longer_counted():
    """Two hundred connections that were reset leave no place taken."""

    async def told(port: int, door: Door) -> None:
        for _ in range(200):
            one = socket.create_connection(("127.0.0.1", port))
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            one.close()
            await asyncio.sleep(0)
        assert b"200" in await healthy(port)
        while door.inside.total() > 0:
            await asyncio.sleep(0.005)
        assert not door._waited_for

    behind_a_door(Limits(per_client=300), told)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (b'{"signatures": "50 of 50 refused since 10:02 UTC: secret rotated?"}', True),
        (b'{"signatures": "<b>50 of 50</b>"}', False),
        (b'{"signatures": null}', False),
        (b"[]", False),
        (b"ok", False),
    ],
)
def test_a_probe_of_the_routers_health_says_what_it_asks(said, shown):
    """The words of a rotated secret and no others, whatever a health address answers."""
    detail = _refused(httpx2.Response(200, content=said))
    assert detail == (", 50 of 50 refused since 10:02 UTC: secret rotated?" if shown else "")
