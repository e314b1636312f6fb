"""A signal that falls anywhere into a wait is heard."""

from __future__ import annotations

import subprocess
import sys

# The signal falls on the n-th line that the wait runs through in Python, in a process for each, so that one that
# hangs on a lock which it holds itself is seen as that.
CHILD = """
import signal, sys
from rollout_lib.schedule.stop import Stop

def traced(frame, event, argument):
    if event == "line":
        lines.append(frame.f_lineno)
        if len(lines) == int(sys.argv[1]):
            signal.raise_signal(signal.SIGTERM)
    return traced

stop, lines = Stop(), []
signal.signal(signal.SIGTERM, lambda *_: stop.set())
sys.settrace(traced)
stop.wait(0)
sys.settrace(None)
print(len(lines), stop.is_set(), stop.wait(0))
"""


def _falls_on(line: int) -> tuple[int, bool]:
    said = subprocess.run(
        [sys.executable, "-c", CHILD, str(line)], capture_output=True, text=True, timeout=120
    ).stdout.split()
    assert said[1] == said[2]
    return int(said[0]), said[1] == "True"


def test_a_signal_on_any_line_of_a_wait_is_heard_and_hangs_nowhere():
    """`threading.Event` keeps its lock on half of these lines, and the handler waits for it for ever."""
    lines, heard = _falls_on(0)
    assert (lines > 0, heard) == (True, False)
    assert [_falls_on(line)[1] for line in range(1, lines + 1)] == [True] * lines


def test_a_wait_without_a_signal_ends_after_its_time_and_says_so():
    """As an event's: False after the time, True at once when it was set, however often it is asked."""
    from rollout_lib.schedule.stop import Stop

    stop = Stop()
    assert (stop.is_set(), stop.wait(0.01)) == (False, False)
    stop.set()
    stop.set()
    assert [stop.wait(60), stop.wait(60), stop.is_set()] == [True, True, True]
