"""Is this request a webhook for us? Its size, its time, its signature, its JSON: each refusal is a
clear 4xx.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from typing import Any

from starlette.requests import Request

LARGEST_BODY = 3_000_000  # bytes: Meta's own limit for a webhook
BODY_S = 10.0  # for all of a body to arrive
MOST_HELD = 256_000_000  # bytes of all bodies at once; more are told to come again


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


def parsed(body: bytes) -> dict[str, Any]:
    """The JSON object of a body. Raises Refusal 400, also where a key stands twice: two readers
    could read two different webhooks in it.
    """
    try:
        payload = json.loads(body, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise Refusal(400, "the body is not JSON") from None
    if not isinstance(payload, dict):
        raise Refusal(400, "the body is not a JSON object")
    return payload


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found
