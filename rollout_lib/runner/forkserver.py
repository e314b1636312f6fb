"""A small server that has the imports done and forks a fresh process for each kernel that is asked
for.

It stays single-threaded, so that its forks are clean; ipykernel starts after the fork. It ends when
the process that started it ends (its standard input closes)."""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import threading
from typing import Any

from rollout_lib.display.drawer import leave, say_ready
from rollout_lib.runner.leftovers import VARIABLE, wear

WARM = (
    "pandas",
    "altair",
    "vl_convert",
    "sqlalchemy.dialects.postgresql.psycopg",
    "scipy.special",
    "scipy.optimize",
    "pydantic",
    "yaml",
    "jinja2",
    "ipykernel.kernelapp",
    "ipykernel.ipkernel",
    "ipykernel.debugger",
    "IPython.core.interactiveshell",
    "matplotlib_inline.backend_inline",
    "rollout_lib.notebook",
    "rollout_lib.display.charts",
    "rollout_lib.model.record",
    "rollout_lib.archive.provenance",
)


def main(path: str) -> None:
    """Serve on the Unix socket `path` until standard input closes."""
    for name in WARM:
        with contextlib.suppress(
            ImportError
        ):  # what is missing is imported by the kernel itself, or fails there
            importlib.import_module(name)
    with contextlib.suppress(ImportError):
        _first_strokes()
        sys.modules["rollout_lib.archive.provenance"].git_commit()  # of what was loaded now
    gc.collect()
    gc.freeze()  # a child's collector leaves these pages alone, shared as they are
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children are reaped by the system
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        say_ready(path)
        while True:
            ready, _, _ = select.select([listener, sys.stdin], [], [])
            if sys.stdin in ready:
                leave(path)
            connection, _ = listener.accept()
            with (
                connection,
                contextlib.suppress(OSError),
            ):  # who asked is gone: the next one is served
                _answer(connection, listener)


def _answer(connection: socket.socket, listener: socket.socket) -> None:
    """Fork a kernel for the request of a connection, and say its process id."""
    asked = connection.makefile("r").readline()
    if not asked.endswith("\n"):
        return
    child = os.fork()
    if child == 0:
        listener.close()
        _become(json.loads(asked), connection)
    connection.sendall(f"{child}\n".encode())


def _hang_on(line: socket.socket) -> None:
    """End this process where the runner that asked for it has ended or let go of it."""
    with contextlib.suppress(OSError):
        line.recv(1)
    os._exit(1)


def _first_strokes() -> None:
    """A chart that nobody sees: what Altair looks up on its first one, no child looks up again."""
    import altair as alt

    data = alt.InlineData(values="[]", format=alt.JsonDataFormat(type="json"))
    axis, scale = alt.Axis(grid=False), alt.Scale(domain=[0, 1], clamp=True)
    line = (
        alt.Chart(data)
        .mark_line(color="red")
        .encode(
            x=alt.X("x:T", title=None, axis=axis, scale=alt.Scale(type="utc")),
            y=alt.Y("y:Q", axis=axis, scale=scale),
            detail="part:N",
        )
    )
    words = alt.Chart(data).mark_text(dx=1).encode(x="x:T", y=alt.value(0), text="w:N")
    alt.layer(line, words).properties(width=1, height=1).to_dict()


def _become(request: dict[str, Any], line: socket.socket) -> None:
    """The child: a kernel of its own session, with the environment and folder
    that were asked for.
    """
    code = 1
    try:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ.clear()
        os.environ.update(request["env"])
        wear(os.environ.get(VARIABLE, ""))
        os.chdir(request["cwd"])
        null = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(null, number)
        threading.Thread(target=_hang_on, args=(line,), daemon=True).start()
        from ipykernel.kernelapp import IPKernelApp

        sys.argv = ["ipykernel_launcher", *request["argv"]]
        IPKernelApp.launch_instance(argv=request["argv"])
        code = 0
    finally:
        os._exit(code)


if __name__ == "__main__":
    main(sys.argv[1])
