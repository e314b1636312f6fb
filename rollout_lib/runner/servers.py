"""The two servers of a warm runner: one forks kernels that have the imports done, one draws their
charts.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

_MODULES = {"kernels": "rollout_lib.runner.forkserver", "drawing": "rollout_lib.display.drawer"}
_servers: dict[str, Server] = {}
_PATIENCE = 20  # seconds for a fork, which takes a hundredth of one


class Server:
    """A server of ours in a process of its own: `python -m module socket`, ending with this
    process.
    """

    def __init__(self, module: str) -> None:
        self.module = module
        self.folder = Path(tempfile.mkdtemp(prefix="rollout-"))
        self.path = self.folder / "socket"
        # One thread: a fork of a process with a numeric library's threads would not be clean.
        quiet = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, str(self.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Its kernels hang on their own run, not on ours; ipykernel's debugger has a warning for
            # nobody.
            env={
                **os.environ,
                **quiet,
                "JPY_PARENT_PID": "",
                "PYDEVD_DISABLE_FILE_VALIDATION": "1",
            },
            start_new_session=True,
        )
        self.ready = False

    def alive(self) -> bool:
        """Whether its process still runs."""
        return self.process.poll() is None

    def await_ready(self) -> None:
        """Wait for its first word; OSError where it never comes."""
        if not self.ready and (
            self.process.stdout is None or self.process.stdout.readline().strip() != b"ready"
        ):
            self.close()
            raise OSError(f"{self.module} did not start")
        self.ready = True

    def close(self) -> None:
        """End the server; a kernel that it forked lives on until its own run is over."""
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            if self.process.stdin:
                self.process.stdin.close()
            self.process.wait(timeout=5)
        if self.process.stdout:
            self.process.stdout.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def warm_up() -> None:
    """Start the servers (on first use, and again where one died) without waiting for them."""
    for name, module in _MODULES.items():
        if name not in _servers or not _servers[name].alive():
            _servers[name] = Server(module)
            atexit.register(_servers[name].close)


def await_ready() -> None:
    """The servers started and ready; OSError where one cannot be had."""
    warm_up()
    for server in _servers.values():
        server.await_ready()


def running() -> dict[str, Server]:
    """The servers of this process by what they are for."""
    return {name: server for name, server in _servers.items() if server.alive()}


def drawer() -> str:
    """The socket of the drawing server."""
    return str(_servers["drawing"].path)


def fork(argv: list[str], env: dict[str, str], cwd: str) -> tuple[int, socket.socket]:
    """The pid of a new kernel process, and the line that it hangs on: it ends where this end
    closes.

    OSError where the server gives no answer.
    """
    line = socket.socket(socket.AF_UNIX)
    try:
        line.settimeout(_PATIENCE)
        line.connect(str(_servers["kernels"].path))
        line.sendall(json.dumps({"argv": argv, "env": env, "cwd": cwd}).encode() + b"\n")
        answer = line.makefile("r").readline()
        if not answer:
            raise OSError("the server of kernels died")
    except BaseException:
        line.close()
        raise
    return int(answer), line
