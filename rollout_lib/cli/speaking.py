"""Output that cannot fail: what was done stays done, and the exit code is of the deed, where stdout
cannot print a sign, is full, closed, or was never there."""

from __future__ import annotations

import codecs
import os
import sys
import unicodedata
from typing import Any, TextIO

_SPELLED = {"·": "-", "…": "...", "’": "'", "‘": "'", "“": '"', "”": '"', "–": "-", "—": "-"}
_SPELLED |= {"×": "x", "→": "->", "≥": ">=", "≤": "<=", "⏹": "!!"}


def unfailing() -> None:
    """Put streams that never raise in the place of stdout and stderr, for the whole process."""
    codecs.register_error("spelled", _spell)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, _Unfailing):
            setattr(sys, name, _Unfailing(stream))


def settle() -> None:
    """Write out what waits; what nobody can take any more is dropped, or Python would end with an
    exit code of its own.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()


def _spell(error: UnicodeError) -> tuple[str, int]:
    """A sign that the stream's encoding lacks, in letters that every one has."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end]
    return "".join(_plain(sign) for sign in signs), error.end


def _plain(sign: str) -> str:
    if sign in _SPELLED:
        return _SPELLED[sign]
    letters = unicodedata.normalize("NFKD", sign).encode("ascii", "ignore").decode()
    return letters or f"\\u{ord(sign):04x}"


class _Unfailing:
    """A stream that takes everything; what its file cannot take goes nowhere from then on."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream: Any = stream if stream is not None else open(os.devnull, "w")  # noqa: SIM115  # for the process
        reconfigure = getattr(self._stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="spelled")

    def write(self, text: str) -> int:
        """As a file's; never raises."""
        try:
            self._stream.write(text)
        except (OSError, ValueError):
            self._go_nowhere()
        return len(text)

    def writelines(self, lines: Any) -> None:
        """As a file's; never raises."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """As a file's; never raises."""
        try:
            self._stream.flush()
        except (OSError, ValueError):
            self._go_nowhere()

    def _go_nowhere(self) -> None:
        """Point the descriptor at nothing, so that what waits in the buffer is dropped there."""
        try:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)
            self._stream.flush()
        except (OSError, ValueError):
            self._stream = open(os.devnull, "w")  # noqa: SIM115  # for the process

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
