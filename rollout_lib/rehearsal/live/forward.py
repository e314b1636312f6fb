"""Hand a webhook on, once; tell apart what was never sent from what may have run."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import httpx2

from rollout_lib.rehearsal.live.serving import refuse_far_addresses

CONNECT_S = 2.0
IN_FLIGHT = 500  # connections to one destination; it never takes another one's
# Nothing of the request has left this process when one of these is raised: it cannot have run.
_NEVER_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a destination said. status is None where it said nothing: `sent` tells if it may have
    run.
    """

    status: int | None
    body: bytes = b""
    content_type: str = "application/json"
    sent: bool = True
    problem: str | None = None  # for error_message: never a body, never an address
    timed_out: bool = False


class Forwarder:
    """Holds the connections to the destinations, webhook name -> loopback address: to each its own,
    so that one that hangs starves no other."""

    def __init__(
        self, addresses: Mapping[str, str], *, timeout_s: float, connect_s: float = CONNECT_S
    ) -> None:
        refuse_far_addresses(addresses.values())
        self._longest_s = connect_s + timeout_s
        # Idle ones go before the destination's own five seconds are over: none is closed as it is
        # used.
        limits = httpx2.Limits(
            max_connections=IN_FLIGHT, max_keepalive_connections=20, keepalive_expiry=4.0
        )
        self._destinations = {
            name: (
                address,
                httpx2.AsyncClient(
                    timeout=httpx2.Timeout(timeout_s, connect=connect_s, pool=connect_s),
                    limits=limits,
                    verify=False,  # plain http on loopback
                    trust_env=False,  # a proxy of the environment is not on loopback
                    follow_redirects=False,
                ),
            )
            for name, address in addresses.items()
        }

    async def close(self) -> None:
        """Ends the connections."""
        for _, client in self._destinations.values():
            await client.aclose()

    async def post(self, name: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """POST the bytes as they came. Never raises for what a destination does."""
        if name not in self._destinations:
            return Answer(status=None, sent=False, problem=f"{name} is not deployed")
        address, client = self._destinations[name]
        try:
            # The client's own timeouts are between two bytes; a destination that drips is bounded
            # by this one.
            async with asyncio.timeout(self._longest_s):
                answer = await client.post(address, content=body, headers=headers)
        except _NEVER_SENT as error:
            return Answer(
                status=None, sent=False, problem=f"no connection to {name} ({type(error).__name__})"
            )
        except (httpx2.TimeoutException, TimeoutError):
            return Answer(status=None, problem=f"{name} did not answer in time", timed_out=True)
        except httpx2.HTTPError as error:
            return Answer(status=None, problem=f"{name} broke off ({type(error).__name__})")
        problem = (
            f"{name} answered HTTP {answer.status_code}" if answer.status_code >= 400 else None
        )
        return Answer(
            status=answer.status_code,
            body=answer.content,
            content_type=answer.headers.get("content-type", "application/octet-stream"),
            problem=problem,
        )
