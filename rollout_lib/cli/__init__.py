"""The command `rollout`. The emergency path is decided before anything heavy is imported."""

from __future__ import annotations

import sys

from rollout_lib.cli.speaking import settle, unfailing


def main() -> None:
    """Entry point: `rollout rollback --emergency` goes its own short way, everything else through
    typer. The exit code is of what was done, whoever listens.
    """
    unfailing()
    try:
        sys.exit(_run(sys.argv[1:]))
    finally:
        settle()


def _run(arguments: list[str]) -> int:
    if arguments[:1] == ["rollback"] and "--emergency" in arguments and "--help" not in arguments:
        from rollout_lib.cli.emergency import emergency

        return emergency(arguments[1:])
    from rollout_lib.cli.app import run

    return run(arguments)
