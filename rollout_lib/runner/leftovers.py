"""Processes that a run leaves behind: whatever its kernel forked, in a session of its own or not,
is ended with the run. It holds the run's environment, and the password in it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

VARIABLE = "ROLLOUT_KERNEL"  # in a kernel's environment, and in that of all it starts
_PR_SET_NAME = 15
_ROUNDS = 20  # of looking again: what is being forked meanwhile is seen in the next one


def new_mark() -> str:
    """A mark of one kernel; as a process's name it may have 15 letters."""
    return f"ro-{uuid.uuid4().hex[:12]}"


def wear(mark: str) -> None:
    """Name this process by its mark: what it forks without starting a program keeps the name.

    For a kernel that was forked itself, whose environment the system does not show."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_NAME, mark.encode(), 0, 0, 0)


def end_marked(mark: str) -> int:
    """End every process with that mark, by SIGKILL; returns how many there were."""
    ended: set[int] = set()
    for _ in range(_ROUNDS):
        found = set(_marked(mark))
        if not found:
            break
        for pid in found:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        ended |= found
        time.sleep(0.02)
    return len(ended)


def _marked(mark: str) -> Iterator[int]:
    sign = f"{VARIABLE}={mark}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        if int(folder.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):  # ended meanwhile, or another user's
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
            named = (folder / "comm").read_text().strip() == mark
            if state != "Z" and (named or sign in (folder / "environ").read_bytes().split(b"\0")):
                yield int(folder.name)
