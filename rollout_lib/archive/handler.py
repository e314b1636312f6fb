"""papermill's IO handler for `archive://…` paths: written once, whole or not at all (stock
papermill too).
"""

from __future__ import annotations

import json
from pathlib import Path

from papermill.iorw import LocalHandler

from rollout_lib.archive.writing import write_once
from rollout_lib.errors import ParameterError

SCHEME = "archive://"


class WriteOnceHandler:
    """Reads like a local file; the first write of a path is the only one.

    papermill writes its output after each cell: only the final one is kept, so use it with
    `--no-request-save-on-cell-execute`, or let the runner do it. papermill calls an entry point's
    class as it is, without making an instance: all methods are static."""

    @staticmethod
    def read(path: str) -> str:
        text: str = LocalHandler().read(path.removeprefix(SCHEME))
        return text

    @staticmethod
    def listdir(path: str) -> list[str]:
        names: list[str] = LocalHandler().listdir(path.removeprefix(SCHEME))
        return names

    @staticmethod
    def write(buf: str, path: str) -> None:
        """ParameterError for a notebook that has not ended: what is written once is written at the
        end.
        """
        run = json.loads(buf).get("metadata", {}).get("papermill", {})
        if run.get("start_time") and not run.get("end_time"):
            raise ParameterError(
                problems=f"{SCHEME} is written once, at the end: --no-request-save-on-cell-execute"
            )
        write_once(Path(path.removeprefix(SCHEME)), buf.encode())

    @staticmethod
    def pretty_path(path: str) -> str:
        return path.removeprefix(SCHEME)
