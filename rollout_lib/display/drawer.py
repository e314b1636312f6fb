"""Chart specs into SVG by one process for many kernels: its JavaScript engine takes half a second
to start.

The server ends when the process that started it ends (its standard input closes). Who cannot reach
one draws alone."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

VARIABLE = "ROLLOUT_DRAWER"  # the server's socket


def svg(spec: dict[str, Any]) -> str:
    """The SVG of a Vega-Lite spec, by the server where there is one, else here."""
    path = os.environ.get(VARIABLE)
    drawn = _asked(path, spec) if path else ""
    if drawn:
        return drawn
    import vl_convert

    return vl_convert.vegalite_to_svg(spec)


def _asked(path: str, spec: dict[str, Any]) -> str:
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(10)
            client.connect(path)
            with client.makefile("rw", encoding="utf-8") as stream:
                stream.write(json.dumps(spec) + "\n")
                stream.flush()
                return stream.read()
    except OSError:
        return ""


def main(path: str) -> None:
    """Serve on the Unix socket `path`: one line of JSON in, the SVG out, until standard input
    closes.
    """
    import vl_convert

    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    say_ready(path)
    threading.Thread(
        target=_serve, args=(listener, vl_convert.vegalite_to_svg), daemon=True
    ).start()
    sys.stdin.read()
    leave(path)


def say_ready(path: str) -> None:
    """The first word to whoever started this server; where they are gone already, it leaves without
    one.
    """
    try:
        os.write(1, b"ready\n")
    except BrokenPipeError:
        leave(path)


def leave(path: str) -> None:
    """End here, whatever other threads are at. The socket and its folder go too: nobody else may be
    left to do it.
    """
    with contextlib.suppress(OSError):
        os.unlink(path)
        os.rmdir(os.path.dirname(path))
    os._exit(0)


def _serve(listener: socket.socket, draw: Callable[[dict[str, Any]], str]) -> None:
    draw(
        {
            "data": {"values": [{"x": 1}]},
            "mark": "point",
            "encoding": {"x": {"field": "x", "type": "quantitative"}},
        }
    )
    while True:
        connection, _ = listener.accept()
        # What was not answered is drawn by who asked, who says what is wrong with it, or is gone.
        with (
            contextlib.suppress(ValueError, OSError),
            connection,
            connection.makefile("rw", encoding="utf-8") as one,
        ):
            one.write(draw(json.loads(one.readline())))


if __name__ == "__main__":
    main(sys.argv[1])
