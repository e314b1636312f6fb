"""A bare watch for a live rehearsal: one unscheduled check after another, by the suite's own operation.

`python -m rollout_lib.rehearsal.live.tripwire --plan … --every 2`. It is no notebook and claims no slot.
"""

from __future__ import annotations

import argparse
import sys
import time

from rollout_lib.errors import RolloutError
from rollout_lib.operations import monitor
from rollout_lib.session import open_session


def main() -> None:
    """Check until SIGTERM; a check that could not look is said, and the next one comes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan", required=True)
    parser.add_argument("--every", type=float, default=2.0, help="seconds from one check to the next")
    arguments = parser.parse_args()
    while True:
        began = time.monotonic()
        try:
            found = monitor(open_session(arguments.plan, operator="tripwire")).checkpoint
            print(f"{found.at:%H:%M:%S} {found.state} {found.sentence}", file=sys.stderr, flush=True)
        except RolloutError as error:
            print(error, file=sys.stderr, flush=True)
        time.sleep(max(0.1, arguments.every - (time.monotonic() - began)))


if __name__ == "__main__":
    main()
