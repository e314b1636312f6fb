"""papermill's IO handler for `archive://…` paths: written once, whole or not at all (stock papermill too)."""

from __future__ import annotations

from pathlib import Path

from papermill.iorw import LocalHandler

from rollout_lib.archive.writing import write_once

SCHEME = "archive://"


class WriteOnceHandler(LocalHandler):
    """Reads like a local file; the first write of a path is the only one.

    papermill writes its output after each cell: only the final one is kept, so use it with
    `--no-request-save-on-cell-execute`, or let the runner do it.
    """

    def read(self, path: str) -> str:
        return super().read(path.removeprefix(SCHEME))

    def write(self, buf: str, path: str) -> None:
        write_once(Path(path.removeprefix(SCHEME)), buf.encode())

    def pretty_path(self, path: str) -> str:
        return path.removeprefix(SCHEME)
