"""The wish that a loop ends, which a signal handler may utter."""

from __future__ import annotations

from queue import Empty, SimpleQueue


class Stop:
    """As a threading.Event, set from signal handlers, too.

    A handler runs in the main thread, in the middle of what that does: an Event whose lock the
    waiting loop holds just then would be waited for in the handler for ever. A SimpleQueue may be
    written from there by its contract.
    """

    def __init__(self) -> None:
        self._told: SimpleQueue[None] = SimpleQueue()

    def set(self) -> None:
        """End every wait from now on."""
        self._told.put(None)

    def is_set(self) -> bool:
        """Return whether the loop is to end."""
        return not self._told.empty()

    def wait(self, seconds: float) -> bool:
        """Wait so long, at most; return whether the loop is to end."""
        try:
            self._told.put(self._told.get(timeout=seconds))
        except Empty:
            return False
        return True
