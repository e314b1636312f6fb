"""Kernels for the runner: a plain one, or a fresh process forked from one that has the imports
done.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
import warnings
from pathlib import Path
from queue import Empty
from typing import Any, cast

import papermill  # noqa: F401  # first: it loads our engine by its entry point, which must not be half-way through
import zmq
from jupyter_client.asynchronous import AsyncKernelClient
from jupyter_client.provisioning import LocalProvisioner

from rollout_lib.display.drawer import VARIABLE as DRAWER
from rollout_lib.runner import servers
from rollout_lib.runner.engine import IpcKernelManager


def options(kernel: str) -> dict[str, Any]:
    """What nbclient needs for a "plain" or a "warm" kernel."""
    if kernel == "plain":
        return {"kernel_manager_class": IpcKernelManager}
    if kernel != "warm":
        raise ValueError(f'a kernel is "plain" or "warm", not {kernel!r}')
    return {"kernel_manager_class": WarmKernelManager}


class _Forked:
    """As much of a Popen as a provisioner asks of a process that is not its own child."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int, line: socket.socket) -> None:
        self.pid, self.line = pid, line
        self.returncode: int | None = None

    def poll(self) -> int | None:
        try:
            os.kill(self.pid, 0)
            alive = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            alive = False
        if not alive:
            self.returncode = 0
            self.line.close()
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
    """A LocalProvisioner whose process is forked by the server; without one it starts a plain one,
    and says so.
    """

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> Any:
        argv = cmd[cmd.index("ipykernel_launcher") + 1 :]
        try:
            servers.await_ready()
            env = {**(kwargs.get("env") or os.environ), DRAWER: servers.drawer()}
            forked = _Forked(*servers.fork(argv, env, kwargs.get("cwd") or os.getcwd()))
        except (OSError, subprocess.SubprocessError) as error:
            warnings.warn(
                f"no warm kernel ({error}); a plain one is used", RuntimeWarning, stacklevel=2
            )
            return await super().launch_kernel(cmd, **kwargs)
        self.process = cast("subprocess.Popen[Any]", forked)
        self.pid = self.pgid = forked.pid
        return self.connection_info


class PromptClient(AsyncKernelClient):
    """A client that is ready when the kernel says idle, instead of when it has been silent for a
    while.
    """

    async def _async_wait_for_ready(self, timeout: float | None = None) -> None:
        until, patience = time.monotonic() + (timeout or 60), 0.03
        while time.monotonic() < until:
            asked = (
                self.kernel_info()
            )  # again where the first status was lost before we were subscribed
            with contextlib.suppress(Empty):
                while True:
                    message = await self.iopub_channel.get_msg(timeout=patience)
                    if message["parent_header"].get("msg_id") == asked and _is_idle(message):
                        reply = await self.shell_channel.get_msg(timeout=5)
                        self._handle_kernel_info_reply(reply)
                        return
            patience = min(2 * patience, 1.0)
            if not await self._async_is_alive():
                raise RuntimeError("Kernel died before replying to kernel_info")
        raise RuntimeError(f"Kernel didn't respond in {timeout} seconds")

    wait_for_ready = _async_wait_for_ready


def _is_idle(message: dict[str, Any]) -> bool:
    content = message["content"]
    return bool(message["msg_type"] == "status" and content["execution_state"] == "idle")


class WarmKernelManager(IpcKernelManager):
    """A kernel manager on Unix sockets whose kernels are forked warm."""

    def client(self, **kw: Any) -> PromptClient:  # type: ignore[override]  # asynchronous: nbclient awaits it
        """As nbclient asks for it; everything else about the connection is the manager's."""
        client = PromptClient(
            **self.get_connection_info(session=True),
            connection_file=self.connection_file,
            parent=self,
            **kw,
        )
        client.context.setsockopt(
            zmq.RECONNECT_IVL, 5
        )  # ms; its sockets are there a few after it asks for them
        return client

    async def _async_pre_start_kernel(self, **kw: Any) -> Any:
        if self.provisioner is None:
            self.provisioner = WarmProvisioner(
                kernel_id=self.kernel_id or "warm", kernel_spec=self.kernel_spec, parent=self
            )
        return await super()._async_pre_start_kernel(**kw)
