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
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import httpx2

from rollout_lib.errors import UsageError
from rollout_lib.rehearsal.live.router import SECRET
from rollout_lib.rehearsal.live.serving import pairs, refuse_far_addresses
from rollout_lib.rehearsal.live.webhook import signature

MOST_PER_SECOND, MOST_SECONDS, MOST_REQUESTS, MOST_IN_FLIGHT = 2_000.0, 3_600.0, 500_000, 1_000
ANSWER_S = 30.0  # longer than the router's own timeouts: what it answers is what is recorded
# The runbook's requests an hour, with protected traffic and some that nothing recognises.
MIX: Mapping[str, float] = {
    "jobs": 550,
    "marketplace": 350,
    "property": 250,
    "mobility": 60,
    "profile": 60,
    "insurance": 60,
    "unknown": 4,
}
_SAYS: Mapping[str, str] = {
    "jobs": "is the job still open?",
    "marketplace": "I want to sell a bicycle",
    "property": "a house to rent, please",
    "mobility": "I need a driver",
    "profile": "change my account",
    "insurance": "about my policy",
    "unknown": "good morning",
}


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


def webhook(domain: str, number: int, draw: random.Random) -> bytes:
    """A WhatsApp-like webhook of a domain: a button, a list's choice or a text."""
    message: dict = {
        "from": f"4915{draw.randrange(10**8):08d}",
        "id": f"wamid.{draw.getrandbits(96):024x}",
    }
    kind = draw.choice(("button_reply", "list_reply", "text")) if domain != "unknown" else "text"
    if kind == "text":
        message |= {"type": "text", "text": {"body": _SAYS[domain]}}
    else:
        choice = {"id": f"{domain}_show_{number}", "title": "Show"}
        message |= {"type": "interactive", "interactive": {"type": kind, kind: choice}}
    value = {"messaging_product": "whatsapp", "messages": [message]}
    entry = {"id": "0", "changes": [{"field": "messages", "value": value}]}
    return json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()


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
) -> int:
    """Send for `seconds`, write a line for each request, wait for the last answers; how many were
    sent.
    """
    refuse_far_addresses([address])
    refuse_unbounded(rate, seconds)
    draw, run = random.Random(seed), f"{random.getrandbits(32):08x}"
    gate, tasks = asyncio.Semaphore(MOST_IN_FLIGHT), set()
    limits = httpx2.Limits(
        max_connections=MOST_IN_FLIGHT, max_keepalive_connections=200, keepalive_expiry=4.0
    )
    async with httpx2.AsyncClient(timeout=ANSWER_S, limits=limits, trust_env=False) as client:
        began = time.monotonic()
        for number, after in enumerate(schedule(rate, seconds, draw)):
            domain = draw.choices(list(mix), list(mix.values()))[0]
            body = webhook(domain, number, draw)
            if (wait := began + after - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            if stop is not None and stop.is_set():
                break
            await gate.acquire()
            task = asyncio.create_task(
                _one(client, address, f"{run}-{number:06d}", domain, body, secret, out)
            )
            tasks.add(task)
            task.add_done_callback(lambda done: (tasks.discard(done), gate.release()))
        await asyncio.gather(*tasks)
    return number + 1


async def _one(
    client, address: str, correlation_id: str, domain: str, body: bytes, secret, out: IO[str]
) -> None:
    headers = {"content-type": "application/json", "x-correlation-id": correlation_id}
    if secret is not None:
        headers["x-hub-signature-256"] = signature(secret, body)
    at, began = time.time(), time.monotonic()
    status = routed_to = problem = None
    try:
        answer = await client.post(address, content=body, headers=headers)
        status, routed_to = answer.status_code, answer.headers.get("x-routed-to")
    except httpx2.HTTPError as error:
        problem = type(error).__name__
    ms = (time.monotonic() - began) * 1000
    sent = Sent(
        at=at,
        correlation_id=correlation_id,
        domain=domain,
        status=status,
        routed_to=routed_to,
        ms=round(ms, 2),
        problem=problem,
    )
    out.write(json.dumps(asdict(sent)) + "\n")


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
