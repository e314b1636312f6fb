"""What every process of the live rehearsal does alike: listen on loopback only, stop on SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ipaddress
import json
import signal
import socket
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import uvicorn

from rollout_lib.errors import UsageError

HOST = "127.0.0.1"


def refuse_far_addresses(addresses: Iterable[str]) -> None:
    """Raises UsageError for an address that is not http on this machine."""
    for address in addresses:
        parts = urlsplit(address)
        try:
            near = ipaddress.ip_address(parts.hostname or "").is_loopback
        except ValueError:
            near = False  # a name could resolve anywhere
        if parts.scheme != "http" or not near:
            raise UsageError(
                reason=(
                    f"{address!r} is not an http address of 127.0.0.0/8: a rehearsal stays at home."
                )
            )


def listen(port: int) -> socket.socket:
    """A bound socket on loopback; port 0 takes a free one. Raises UsageError where the port is
    taken.
    """
    # With its protocol named, or asyncio leaves Nagle's algorithm on: 40 ms for each answer.
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((HOST, port))
    except OSError as error:
        bound.close()
        raise UsageError(
            reason=f"port {port} of {HOST} cannot be used: {error.strerror}."
        ) from None
    return bound


class QuietServer(uvicorn.Server):
    """A server beside others in one process: the process, not each server, takes the signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def configured(app: Any, **more: Any) -> uvicorn.Config:
    """uvicorn's settings that all share: no access log (a body never reaches a log), one loop, no
    banner.
    """
    return uvicorn.Config(
        app,
        log_level="error",  # each garbled request is a warning: strangers would fill the log
        access_log=False,
        server_header=False,
        loop="asyncio",
        ws="none",
        timeout_graceful_shutdown=15,
        **more,
    )


async def until_stopped(
    *servers: tuple[uvicorn.Server, socket.socket], ready: Mapping[str, int]
) -> None:
    """Serve on each socket until SIGTERM or SIGINT; what runs then is answered first.

    ready: the ports, printed as one line of JSON once all of them answer.
    """

    def stop() -> None:
        for server, _ in servers:
            server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    tasks = [asyncio.create_task(server.serve(sockets=[bound])) for server, bound in servers]
    while not all(server.started or server.should_exit for server, _ in servers):
        await asyncio.wait(tasks, timeout=0.01, return_when=asyncio.FIRST_COMPLETED)
    print(json.dumps(dict(ready)), flush=True)
    await asyncio.gather(*tasks)


def pairs(values: list[str], parser: argparse.ArgumentParser) -> dict[str, str]:
    """`name=value` arguments as a mapping; a repeated or broken one ends the program."""
    found: dict[str, str] = {}
    for text in values:
        name, sign, value = text.partition("=")
        if not sign or not name or not value or name in found:
            parser.error(f"expected name=value, each name once, not {text!r}")
        found[name] = value
    return found
