"""A bounded client: `python -m rollout_lib.rehearsal.live.load --to http://127.0.0.1:8600 --rate 50
--seconds 60`.

Open loop: requests leave on their schedule whether or not earlier ones were answered, as customers
do. Each leaves one JSON line: when it was sent, what came back, from where, and after how long."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import IO

import httpx2

from rollout_lib.errors import UsageError
from rollout_lib.rehearsal.live.platform import (
    MIX,
    PLAIN,
    PLATFORM,
    Habits,
    Message,
    message,
    post,
    status,
)
from rollout_lib.rehearsal.live.router import SECRET, VERIFY
from rollout_lib.rehearsal.live.serving import pairs, refuse_far_addresses
from rollout_lib.rehearsal.live.webhook import signature

MOST_PER_SECOND, MOST_SECONDS, MOST_REQUESTS, MOST_IN_FLIGHT = 2_000.0, 3_600.0, 500_000, 1_000
AGAIN_S = (0.2, 4.0)  # after which the platform sends again: while it runs, and later
ANSWER_S = 30.0  # longer than the router's own timeouts: what it answers is what is recorded


class Kind(StrEnum):
    """What a request of the client is."""

    MESSAGES = "messages"
    STATUS = "status"
    REDELIVERY = "redelivery"
    HANDSHAKE = "handshake"
    WRONG_HANDSHAKE = "wrong handshake"
    FORGED = "forged"


HANDSHAKES = (Kind.HANDSHAKE, Kind.WRONG_HANDSHAKE)
# What the router must answer to a request that never reaches a function.
EXPECTED = {Kind.HANDSHAKE: 200, Kind.WRONG_HANDSHAKE: 403, Kind.FORGED: 401}


@dataclass(frozen=True, kw_only=True)
class Sent:
    """One request as its sender saw it. Times are Unix seconds; status None where
    no answer came.
    """

    at: float
    correlation_id: str
    domain: str
    status: int | None
    routed_to: str | None
    ms: float
    problem: str | None = None
    kind: Kind = Kind.MESSAGES
    messages: tuple[tuple[str, str], ...] = ()  # (message id, domain)
    again: str | None = None  # what the router says: it was answered before, to this request


def schedule(rate: float, seconds: float, draw: random.Random) -> Iterator[float]:
    """Poisson arrivals as seconds from the start, at most MOST_REQUESTS."""
    at = 0.0
    for _ in range(MOST_REQUESTS):
        at += draw.expovariate(rate)
        if at >= seconds:
            return
        yield at


def refuse_unbounded(rate: float, seconds: float) -> None:
    """Raises UsageError: a generator that nothing bounds is a weapon."""
    if (
        not 0 < rate <= MOST_PER_SECOND
        or not 0 < seconds <= MOST_SECONDS
        or rate * seconds > MOST_REQUESTS
    ):
        limits = (
            f"at most {MOST_PER_SECOND:g} a second, {MOST_SECONDS:g} s and {MOST_REQUESTS:,}"
            " requests in all"
        )
        raise UsageError(reason=f"{rate:g} a second for {seconds:g} s is out of bounds: {limits}.")


async def send(
    address: str,
    *,
    rate: float,
    seconds: float,
    mix: Mapping[str, float],
    secret: bytes | None,
    seed: int,
    out: IO[str],
    stop: asyncio.Event | None = None,
    habits: Habits = PLAIN,
    verify_token: str = "",
) -> int:
    """Send for `seconds`, write a line for each request, wait for the last answers; how many were
    sent by the schedule (redeliveries come on top).
    """
    refuse_far_addresses([address])
    refuse_unbounded(rate, seconds)
    draw = random.Random(seed)
    limits = httpx2.Limits(
        max_connections=MOST_IN_FLIGHT, max_keepalive_connections=200, keepalive_expiry=4.0
    )
    number = -1
    async with httpx2.AsyncClient(timeout=ANSWER_S, limits=limits, trust_env=False) as client:
        sender = _Sender(client, address, secret, out, verify_token)
        requests = Requests(mix, draw, habits)
        began = time.monotonic()
        for number, after in enumerate(schedule(rate, seconds, draw)):
            request = requests.next(number)
            if (wait := began + after - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            if stop is not None and stop.is_set():
                break
            await sender.start(request)
            if request.kind is Kind.MESSAGES and draw.random() < habits.redelivered:
                again = replace(request, kind=Kind.REDELIVERY)
                await sender.start(again, later_s=draw.choice(AGAIN_S))
        await sender.finish()
    return number + 1


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be sent."""

    kind: Kind
    domain: str
    body: bytes = b""
    messages: tuple[tuple[str, str], ...] = ()


class Requests:
    """Makes one request after the other, as the platform's habits say; remembers a few messages."""

    def __init__(self, mix: Mapping[str, float], draw: random.Random, habits: Habits) -> None:
        self._names, self._weights = list(mix), list(mix.values())
        self._draw, self._habits = draw, habits
        self._before: deque[Message] = deque(maxlen=500)

    def next(self, number: int) -> Request:
        habits, chance = self._habits, self._draw.random()
        for share, make in (
            (habits.handshake, self._handshake),
            (habits.rotated, self._forged),
            (habits.status if self._before else 0.0, self._status),
            (habits.batch, self._batch),
        ):
            if chance < share:
                return make(number)
            chance -= share
        return self._messages(number, 1)

    def _handshake(self, number: int) -> Request:
        kind = self._draw.choice((Kind.HANDSHAKE, Kind.WRONG_HANDSHAKE))
        return Request(kind=kind, domain="unknown")

    def _forged(self, number: int) -> Request:
        return replace(self._messages(number, 1), kind=Kind.FORGED)

    def _status(self, number: int) -> Request:
        of = self._draw.choice(self._before)
        said = status(of, self._draw.choice(("sent", "delivered", "read")))
        return Request(kind=Kind.STATUS, domain=of.domain, body=post("statuses", said))

    def _batch(self, number: int) -> Request:
        return self._messages(number, self._draw.randint(2, 4))

    def _messages(self, number: int, count: int) -> Request:
        found = [self._message(number) for _ in range(count)]
        self._before.extend(found)
        return Request(
            kind=Kind.MESSAGES,
            domain=found[0].domain,
            body=post("messages", *(one.content for one in found)),
            messages=tuple((one.identity, one.domain) for one in found),
        )

    def _message(self, number: int) -> Message:
        domain = self._draw.choices(self._names, self._weights)[0]
        sender = ""
        if self._before and self._draw.random() < self._habits.known_sender:
            sender = self._draw.choice(self._before).content["from"]
        return message(domain, number, self._draw, sender)


class _Sender:
    """Sends requests beside each other, at most MOST_IN_FLIGHT, and writes what came back."""

    def __init__(
        self,
        client: httpx2.AsyncClient,
        address: str,
        secret: bytes | None,
        out: IO[str],
        verify_token: str,
    ) -> None:
        self._client, self._address, self._secret = client, address, secret
        self._out, self._verify_token = out, verify_token
        self._run, self._number = f"{random.getrandbits(32):08x}", 0
        self._gate = asyncio.Semaphore(MOST_IN_FLIGHT)
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, request: Request, later_s: float = 0.0) -> None:
        await self._gate.acquire()
        self._number += 1
        identity = f"{self._run}-{self._number:06d}"
        task = asyncio.create_task(self._one(request, identity, later_s))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: self._gate.release())

    async def finish(self) -> None:
        await asyncio.gather(*self._tasks)

    async def _one(self, request: Request, correlation_id: str, later_s: float) -> None:
        if later_s:
            await asyncio.sleep(later_s)
        at, began = time.time(), time.monotonic()
        status = routed_to = problem = again = None
        try:
            answer = await self._asked(request, correlation_id)
            status, routed_to = answer.status_code, answer.headers.get("x-routed-to")
            again = answer.headers.get("x-answered-again")
        except httpx2.HTTPError as error:
            problem = type(error).__name__
        sent = Sent(
            at=at,
            correlation_id=correlation_id,
            domain=request.domain,
            status=status,
            routed_to=routed_to,
            ms=round((time.monotonic() - began) * 1000, 2),
            problem=problem,
            kind=request.kind,
            messages=request.messages,
            again=again,
        )
        self._out.write(json.dumps(asdict(sent)) + "\n")

    async def _asked(self, request: Request, correlation_id: str) -> httpx2.Response:
        if request.kind in HANDSHAKES:
            right = request.kind is Kind.HANDSHAKE
            asked = {
                "hub.mode": "subscribe",
                "hub.challenge": correlation_id,
                "hub.verify_token": self._verify_token if right else "a guess",
            }
            return await self._client.get(self._address, params=asked)
        headers = {"content-type": "application/json", "x-correlation-id": correlation_id}
        secret = b"of before" if request.kind is Kind.FORGED else self._secret
        if secret is not None:
            headers["x-hub-signature-256"] = signature(secret, request.body)
        return await self._client.post(self._address, content=request.body, headers=headers)


def read_sent(lines: Iterable[str]) -> list[Sent]:
    """The lines that `send` wrote, parsed once."""
    found = []
    for line in lines:
        value = json.loads(line)
        messages = tuple((identity, domain) for identity, domain in value.pop("messages"))
        found.append(Sent(**{**value, "kind": Kind(value["kind"]), "messages": messages}))
    return found


async def _run(arguments: argparse.Namespace, secret: bytes | None) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    # Line by line, so that the conductor can follow.
    with (
        open(arguments.out, "w", encoding="utf-8", buffering=1) if arguments.out else sys.stdout
    ) as out:
        await send(
            arguments.to,
            rate=arguments.rate,
            seconds=arguments.seconds,
            mix=arguments.mix,
            secret=secret,
            seed=arguments.seed,
            out=out,
            stop=stop,
            habits=PLATFORM if arguments.platform else PLAIN,
            verify_token=os.environ.get(VERIFY, ""),
        )


def main() -> None:
    """The command; the signature's secret is $ROLLOUT_REHEARSAL_APP_SECRET."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--to", required=True, help="the router's address on loopback")
    parser.add_argument("--rate", type=float, default=20.0, help="requests a second")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument(
        "--mix", action="append", default=[], metavar="jobs=550", help="the runbook's without it"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--platform",
        action="store_true",
        help="batches, statuses, redeliveries, handshakes and wrong signatures, too",
    )
    parser.add_argument("--out", type=Path, help="file of JSON lines; standard output without it")
    arguments = parser.parse_args()
    arguments.mix = {
        name: float(value) for name, value in pairs(arguments.mix, parser).items()
    } or dict(MIX)
    if stray := sorted(set(arguments.mix) - set(MIX)):
        parser.error(f"--mix knows {', '.join(MIX)}, not {', '.join(stray)}")
    asyncio.run(_run(arguments, os.environ.get(SECRET, "").encode() or None))


if __name__ == "__main__":
    main()
