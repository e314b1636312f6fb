"""Chart specs into SVG by one process for many kernels: its JavaScript engine takes half a second to start.

The server ends when the process that started it ends (its standard input closes). Who cannot reach one
draws alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import threading
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
    """Serve on the Unix socket `path`: one line of JSON in, the SVG out, until standard input closes."""
    import vl_convert

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        print("ready", flush=True)
        threading.Thread(target=_serve, args=(listener, vl_convert.vegalite_to_svg), daemon=True).start()
        sys.stdin.read()
    with contextlib.suppress(OSError):  # nobody else may be left to remove them
        os.unlink(path)
        os.rmdir(os.path.dirname(path))


def _serve(listener: socket.socket, draw) -> None:
    draw({"data": {"values": [{"x": 1}]}, "mark": "point", "encoding": {"x": {"field": "x", "type": "quantitative"}}})
    while True:
        connection, _ = listener.accept()
        with connection, connection.makefile("rw", encoding="utf-8") as stream:
            try:
                stream.write(draw(json.loads(stream.readline())))
            except (ValueError, OSError):
                continue  # nothing was answered: who asked draws alone, and says what is wrong


if __name__ == "__main__":
    main(sys.argv[1])
