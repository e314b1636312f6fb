"""Kernels for the runner: a plain one, or a fresh process forked from one that has the imports done."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

from jupyter_client.provisioning import LocalProvisioner

from rollout_lib.runner.engine import IpcKernelManager

_server: ForkServer | None = None


def options(kernel: str) -> dict[str, Any]:
    """What nbclient needs for a "plain" or a "warm" kernel; warm falls back to plain and says so."""
    if kernel == "plain":
        return {"kernel_manager_class": IpcKernelManager}
    if kernel != "warm":
        raise ValueError(f'a kernel is "plain" or "warm", not {kernel!r}')
    try:
        warm_server()
    except (OSError, subprocess.SubprocessError) as error:
        warnings.warn(f"no warm kernel ({error}); a plain one is used", RuntimeWarning, stacklevel=2)
        return {"kernel_manager_class": IpcKernelManager}
    return {"kernel_manager_class": WarmKernelManager}


class ForkServer:
    """The server's process and its socket; it ends with this process."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="rollout-fork-"))
        self.path = self.folder / "socket"
        # One thread: a fork of a process with a numeric library's threads would not be clean.
        quiet = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rollout_lib.runner.forkserver", str(self.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **quiet},
            start_new_session=True,
        )
        if self.process.stdout is None or self.process.stdout.readline().strip() != b"ready":
            self.close()
            raise OSError("the fork server did not start")

    def fork(self, argv: list[str], env: dict[str, str], cwd: str) -> int:
        """The pid of a new kernel process."""
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(self.path))
            client.sendall(json.dumps({"argv": argv, "env": env, "cwd": cwd}).encode() + b"\n")
            return int(client.makefile("r").readline())

    def close(self) -> None:
        """End the server; kernels that still run end by themselves with their parent's requests."""
        with contextlib.suppress(OSError):
            if self.process.stdin:
                self.process.stdin.close()
            self.process.wait(timeout=5)
        if self.process.stdout:
            self.process.stdout.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def warm_server() -> ForkServer:
    """The fork server of this process, started on first use."""
    global _server
    if _server is None or _server.process.poll() is not None:
        _server = ForkServer()
        atexit.register(_server.close)
    return _server


class _Forked:
    """As much of a Popen as a provisioner asks of a process that is not its own child."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int) -> None:
        self.pid, self.returncode = pid, None

    def poll(self) -> int | None:
        try:
            os.kill(self.pid, 0)
            alive = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            alive = False
        if not alive:
            self.returncode = 0
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        until = None if timeout is None else time.monotonic() + timeout
        while self.poll() is None:
            if until is not None and time.monotonic() > until:
                raise subprocess.TimeoutExpired("kernel", timeout or 0)
            time.sleep(0.02)
        return 0

    def send_signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class WarmProvisioner(LocalProvisioner):
    """A LocalProvisioner whose process is forked by the server."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> Any:
        argv = cmd[cmd.index("ipykernel_launcher") + 1 :]
        env = {**(kwargs.get("env") or os.environ), "JPY_PARENT_PID": str(os.getpid())}
        self.process = _Forked(warm_server().fork(argv, env, kwargs.get("cwd") or os.getcwd()))
        self.pid = self.pgid = self.process.pid
        return self.connection_info


class WarmKernelManager(IpcKernelManager):
    """A kernel manager on Unix sockets whose kernels are forked warm."""

    async def _async_pre_start_kernel(self, **kw: Any) -> Any:
        if self.provisioner is None:
            self.provisioner = WarmProvisioner(
                kernel_id=self.kernel_id or "warm", kernel_spec=self.kernel_spec, parent=self
            )
        return await super()._async_pre_start_kernel(**kw)
