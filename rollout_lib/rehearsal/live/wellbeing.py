"""What the router says to a GET: the platform's handshake, and its health in public and to an
operator.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from starlette.datastructures import QueryParams
from starlette.responses import PlainTextResponse, Response

from rollout_lib.rehearsal.live.configuration import Configuration
from rollout_lib.rehearsal.live.logbook import Logbook

LONGEST_CHALLENGE = 500
LEAST_REFUSED = 10  # fewer are strangers, not a rotated secret
SILENT_S = 60.0  # without a good one: at the runbook's traffic they come each three seconds
ENOUGH_ACCEPTED = 20  # good signatures in a row: the secret is right, and what was refused is over


def same(given: str, expected: str) -> bool:
    """Compare in a time that tells nothing about the expected text, not even its length."""
    digests = [
        hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in (given, expected)
    ]
    return hmac.compare_digest(*digests)


def handshake(query: QueryParams, token: str | None) -> Response:
    """Answer the platform's subscription: its challenge as plain text, or 403 for everything else.

    token None: none is expected, so none is right."""
    given = {name: query.getlist(f"hub.{name}") for name in ("mode", "verify_token", "challenge")}
    once = all(len(values) == 1 for values in given.values())
    challenge = given["challenge"][0] if once else ""
    right = same(given["verify_token"][0] if once else "", token or "") and bool(token)
    if right and given["mode"] == ["subscribe"] and 0 < len(challenge) <= LONGEST_CHALLENGE:
        content = challenge.encode("utf-8", "replace")
        return PlainTextResponse(content, headers={"x-content-type-options": "nosniff"})
    return PlainTextResponse("forbidden", 403)


class Signatures:
    """Counts refused signatures since the trouble began: is it a stranger, or a rotated secret?

    A secret that was rotated signs nothing that is accepted any more; whatever a stranger sends, the
    platform's own go on being accepted beside it. clock: seconds, monotonic."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.refused = self.asked = self._accepted_in_a_row = 0
        self.since: datetime | None = None
        self._clock, self._accepted_at = clock, -math.inf

    def note(self, accepted: bool) -> None:
        """Count one request. Many good ones in a row end the trouble."""
        if accepted:
            self._accepted_in_a_row += 1
            self._accepted_at = self._clock()
            if self._accepted_in_a_row >= ENOUGH_ACCEPTED:
                self.refused, self.asked, self.since = 0, 0, None
        else:
            self._accepted_in_a_row = 0
            self.refused += 1
            self.since = self.since or datetime.now(UTC)
        if self.since is not None:
            self.asked += 1

    @property
    def suspicious(self) -> bool:
        """More refused than accepted, not a few, and none accepted for a while."""
        silent = self._clock() - self._accepted_at >= SILENT_S
        return silent and self.refused >= LEAST_REFUSED and 2 * self.refused > self.asked

    def sentence(self) -> str:
        """The figure, since when, and what to ask; "" where nothing was refused."""
        if self.since is None:
            return ""
        asked = f"{self.refused:,} of {self.asked:,} refused since {self.since:%H:%M} UTC"
        if self.suspicious:
            return f"{asked}: secret rotated?"
        return f"{asked}, others accepted: a stranger's" if self.asked > self.refused else asked


def public(
    name: str, version: int, configuration: Configuration, log: Logbook, signatures: Signatures
) -> dict[str, Any]:
    """Alive and well or not; neither percentage nor domains. Refused signatures are said where
    they are many, so that a probe can show them.
    """
    logged = not (log.dropped or log.refused or log.problem)
    well = configuration.current() is not None and logged and not signatures.suspicious
    return {
        "function": name,
        "version": version,
        "status": "ok" if well else "degraded",
        "signatures": signatures.sentence() if signatures.suspicious else None,
    }


def private(
    configuration: Configuration, log: Logbook, signatures: Signatures, counts: Counter[str]
) -> dict[str, Any]:
    """What an operator sees besides: what it decides by, and what became of the requests."""
    config = configuration.current()
    return {
        "configuration": config
        and {
            "percentage": str(config.percentage),
            "enabled": config.enabled,
            "domains": sorted(config.domains),
            "read_at": config.read_at.isoformat(),
        },
        "configuration_problem": configuration.problem or None,
        "log": log.counts(),
        "signatures": {
            "refused": signatures.refused,
            "asked": signatures.asked,
            "since": signatures.since and signatures.since.isoformat(),
            "sentence": signatures.sentence() or None,
        },
        "requests": dict(sorted(counts.items())),
    }
