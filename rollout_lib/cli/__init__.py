"""The command `rollout`. The emergency path is decided before anything heavy is imported."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point: `rollout rollback --emergency` goes its own short way, everything else through
    typer.
    """
    arguments = sys.argv[1:]
    if arguments[:1] == ["rollback"] and "--emergency" in arguments and "--help" not in arguments:
        from rollout_lib.cli.emergency import emergency

        sys.exit(emergency(arguments[1:]))
    from rollout_lib.cli.app import run

    sys.exit(run(arguments))
