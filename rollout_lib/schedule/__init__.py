"""The schedule in the foreground: slots as notebooks, a tripwire between them, one watcher by a
lease.
"""

from rollout_lib.schedule.stop import Stop
from rollout_lib.schedule.watch import Event, watch

__all__ = ["Event", "Stop", "watch"]
