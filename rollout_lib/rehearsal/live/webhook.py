"""Is this request a webhook for us? Its size, its time, its signature, its JSON: each refusal is a
clear 4xx.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any

from starlette.requests import Request

LARGEST_BODY = 3_000_000  # bytes: Meta's own limit for a webhook
BODY_S = 10.0  # for all of a body to arrive
MOST_HELD = 256_000_000  # bytes of all bodies at once; more are told to come again
MOST_DIGITS = 4_000  # of an integer; Python reads no more than 4,300


class Refusal(Exception):
    """A request that is no webhook for us; `reason` may be shown to whoever sent it."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


class Held:
    """The bytes of all bodies in memory; each request takes what arrived and gives it back."""

    def __init__(self, most: int = MOST_HELD) -> None:
        self._most, self.bytes = most, 0

    def take(self, number: int) -> None:
        """Raise Refusal 503 where these bytes are too many."""
        if self.bytes + number > self._most:
            raise Refusal(503, "too many bodies at once; come again")
        self.bytes += number


def signature(secret: bytes, body: bytes) -> str:
    """Meta's X-Hub-Signature-256 for the bytes of a body."""
    return "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()


async def read_body(request: Request, held: Held, largest: int = LARGEST_BODY) -> bytes:
    """All of the body, at most `largest` bytes, within BODY_S. Raises Refusal 413, 408 or 503.

    The caller gives the body's bytes back to `held`; after an error they are given back here."""
    declared = request.headers.get("content-length", "")
    if (
        declared.isascii()
        and declared.isdigit()
        and (len(declared) > 15 or int(declared) > largest)
    ):
        raise Refusal(413, f"the body is larger than {largest} bytes")
    body, counted = bytearray(), 0
    try:
        async with asyncio.timeout(BODY_S):
            async for chunk in request.stream():
                held.take(len(chunk))
                counted += len(chunk)
                body += chunk
                if len(body) > largest:
                    raise Refusal(413, f"the body is larger than {largest} bytes")
    except TimeoutError:
        held.bytes -= counted
        raise Refusal(408, "the body did not arrive in time") from None
    except BaseException:
        held.bytes -= counted
        raise
    return bytes(body)


def prove(body: bytes, given: str, secret: bytes | None) -> None:
    """Raise Refusal 401 where the signature of the raw bytes is missing or wrong.

    given: the header X-Hub-Signature-256. secret None: unsigned webhooks are taken."""
    if secret is None:
        return
    if not given:
        raise Refusal(401, "X-Hub-Signature-256 is missing")
    if not hmac.compare_digest(given.encode("utf-8", "replace"), signature(secret, body).encode()):
        raise Refusal(401, "X-Hub-Signature-256 does not match the body")


def parsed(body: bytes) -> tuple[dict[str, Any], bool]:
    """Return the JSON object of a body, and whether it says all that the bytes say: then it can be
    written anew. Raise Refusal 400.

    It does not where two readers could read two webhooks: a key that stands twice, a number that
    no float holds, NaN, bytes that are no text. What is nested too deep to be read is empty."""
    doubts: list[str] = []
    try:
        payload = json.loads(
            body,
            object_pairs_hook=partial(_once, doubts),
            parse_float=partial(_number, doubts),
            parse_int=partial(_integer, doubts),
            parse_constant=partial(_no_number, doubts),
        )
    except RecursionError:
        if body.lstrip()[:1] != b"{":
            raise Refusal(400, "the body is not a JSON object") from None
        return {}, False
    except ValueError:
        raise Refusal(400, "the body is not JSON") from None
    if not isinstance(payload, dict):
        raise Refusal(400, "the body is not a JSON object")
    try:
        body.decode()
    except UnicodeDecodeError:
        doubts.append("bytes that are no text")
    return payload, not doubts


def _once(doubts: list[str], pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        doubts.append("a key stands twice")
    return found


def _number(doubts: list[str], text: str) -> float:
    found = float(text)
    try:
        same = Decimal(text) == Decimal(repr(found))
    except InvalidOperation:  # an exponent beyond all bounds
        same = False
    if not same:
        doubts.append("a number that no float holds")
    return found


def _integer(doubts: list[str], text: str) -> int | str:
    if len(text) <= MOST_DIGITS:
        return int(text)
    doubts.append("an integer of too many digits")
    return text


def _no_number(doubts: list[str], text: str) -> float:
    doubts.append("no number")
    return float(text)
