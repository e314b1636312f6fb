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


class Refusal(Exception):
    """A request that is no webhook for us; `reason` may be shown to whoever sent it."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


def signature(secret: bytes, body: bytes) -> str:
    """Meta's X-Hub-Signature-256 for the bytes of a body."""
    return "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()


async def read_body(request: Request, largest: int = LARGEST_BODY) -> bytes:
    """All of the body, at most `largest` bytes, within BODY_S. Raises Refusal 413 or 408."""
    declared = request.headers.get("content-length", "")
    if (
        declared.isascii()
        and declared.isdigit()
        and (len(declared) > 15 or int(declared) > largest)
    ):
        raise Refusal(413, f"the body is larger than {largest} bytes")
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > largest:
                    raise Refusal(413, f"the body is larger than {largest} bytes")
    except TimeoutError:
        raise Refusal(408, "the body did not arrive in time") from None
    return bytes(body)


def read_payload(body: bytes, given: str, secret: bytes | None) -> dict[str, Any]:
    """The JSON object of a body whose signature is right; the signature comes first.

    given: the header X-Hub-Signature-256. secret None: unsigned webhooks are taken. Raises Refusal
    401 or 400."""
    if secret is not None:
        if not given:
            raise Refusal(401, "X-Hub-Signature-256 is missing")
        if not hmac.compare_digest(
            given.encode("utf-8", "replace"), signature(secret, body).encode()
        ):
            raise Refusal(401, "X-Hub-Signature-256 does not match the body")
    try:
        payload = json.loads(body)
    except (ValueError, RecursionError):
        raise Refusal(400, "the body is not JSON") from None
    if not isinstance(payload, dict):
        raise Refusal(400, "the body is not a JSON object")
    return payload
