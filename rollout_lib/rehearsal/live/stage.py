"""Everything in front of the database as real processes: destinations, the Management API, the
router.
"""

from __future__ import annotations

import json
import os
import secrets
import select
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx2

from rollout_lib.errors import CouldNotMeasure
from rollout_lib.rehearsal.live.recognise import UNKNOWN
from rollout_lib.rehearsal.live.router import (
    DATABASE,
    OPERATOR,
    SECRET,
    UNIFIED_NAME,
    VERIFY,
    legacy_name,
)

_LIVE = "rollout_lib.rehearsal.live"
READY_S, STOP_S, CONNECT_S = 60.0, 30.0, 10.0


class Stage:
    """Starts the processes, and ends exactly those. Use it in a `with`; folder takes what they say
    on stderr.
    """

    def __init__(
        self,
        database: str,
        domains: Iterable[str],
        protected: Iterable[str],
        folder: Path,
        *,
        median_ms: float = 700.0,
        timeout_s: float = 10.0,
        seed: int = 1,
    ) -> None:
        self.folder, self.protected = folder, tuple(protected)
        self.names = (
            UNIFIED_NAME,
            *(legacy_name(name) for name in (*domains, *self.protected, UNKNOWN)),
        )
        self._timeout_s, self._median_ms, self._seed = timeout_s, median_ms, seed
        own = {name: secrets.token_hex(16) for name in (SECRET, VERIFY, OPERATOR)}
        self.environment = {**os.environ, DATABASE: database, **own}
        self._processes: dict[str, subprocess.Popen[str]] = {}
        self._client = httpx2.Client(timeout=10.0, trust_env=False)
        self.ports: dict[str, int] = {}
        self.codes: dict[str, int] = {}  # exit codes of what has ended

    def __enter__(self) -> Stage:
        try:
            serve = [part for name in self.names for part in ("--serve", f"{name}=0")]
            self.ports = self._start(
                "destinations",
                *serve,
                "--median-ms",
                str(self._median_ms),
                "--seed",
                str(self._seed),
            )
            self.start_router()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for name in reversed(list(self._processes)):
            self.end(name)
        self._client.close()

    def start_router(self) -> None:
        """The router, on the port it had before if it is started again."""
        to = [part for name in self.names for part in ("--to", f"{name}={self.address(name)}")]
        guarded = [part for name in self.protected for part in ("--protected", name)]
        port = str(self.ports.get("router", 0))
        # All of it shares this machine, which may stall for seconds: no connection is then called
        # refused.
        patience = ("--timeout", str(self._timeout_s), "--connect-timeout", str(CONNECT_S))
        self.ports |= self._start("router", "--port", port, *patience, *to, *guarded)

    def address(self, name: str) -> str:
        """The loopback address of a destination, "router", "control" or "management"."""
        return f"http://127.0.0.1:{self.ports[name]}"

    def set(self, name: str, **behaviour: Any) -> float:
        """A destination behaves so from now on; when, as Unix seconds."""
        answer = self._client.put(f"{self.address('control')}/{name}", json=behaviour)
        if answer.status_code != 200:
            raise CouldNotMeasure(
                reason=f"the destinations refused {behaviour} for {name}: {answer.text}"
            )
        return float(answer.json()["at"])

    def received(self) -> dict[str, list[tuple[float, str]]]:
        """What each destination received: (when, correlation id)."""
        answer = self._client.get(self.address("control")).json()
        return {
            name: [(at, identity) for at, identity in one["received"]]
            for name, one in answer.items()
        }

    def ran(self) -> list[tuple[float, str, str, int | None]]:
        """Each message at each function, the earliest first: (when, function, message id, what it
        answered; None where it has not).
        """
        answer = self._client.get(self.address("control")).json()
        return sorted(
            (
                (at, name, identity, status)
                for name, one in answer.items()
                for at, identity, status in one["messages"]
            ),
            key=lambda one: one[0],
        )

    def health(self) -> dict[str, Any]:
        """The router's own words, as its operator sees them."""
        headers = {"authorization": f"Bearer {self.environment[OPERATOR]}"}
        address = self.address("router") + "/health"
        words: dict[str, Any] = self._client.get(address, headers=headers).json()
        return words

    def start(self, name: str, *command: str, announces: bool = False) -> subprocess.Popen[str]:
        """Another process of the rehearsal, ended with the rest. announces: it prints a line when
        it is ready.
        """
        with open(self.folder / f"{name}.log", "a", encoding="utf-8") as log:
            process = subprocess.Popen(
                [sys.executable, *command],
                stdin=subprocess.DEVNULL,
                env=self.environment,
                stdout=subprocess.PIPE if announces else log,
                stderr=log,
                text=True,
            )
        self._processes[name] = process
        return process

    def end(self, name: str) -> int:
        """SIGTERM, and its exit code; what does not end in time is killed."""
        process = self._processes.pop(name)
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
        self.codes[name] = process.returncode
        return process.returncode

    def _start(self, name: str, *arguments: str) -> dict[str, int]:
        process = self.start(name, "-m", f"{_LIVE}.{name}", *arguments, announces=True)
        line = ""
        if process.stdout and select.select([process.stdout], [], [], READY_S)[0]:
            line = process.stdout.readline()
        if not line.startswith("{"):
            words = (self.folder / f"{name}.log").read_text(encoding="utf-8")[-500:].strip()
            raise CouldNotMeasure(
                reason=f"the rehearsal's {name} did not start: {words or 'it said nothing'}."
            )
        ports: dict[str, int] = json.loads(line)
        return ports
