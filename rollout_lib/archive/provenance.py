"""What made a record: the library's version, the commit it stood at, the notebook's source."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path

from rollout_lib import __version__

SOURCE_VARIABLE = (  # "name:sha256", set by the runner for the time of a run
    "ROLLOUT_NOTEBOOK_SOURCE"
)


@cache
def git_commit() -> str:
    """The commit of the checkout this library runs from, with `+` where files differ; "none"
    outside git.

    Asked once by each process that loads the library: another checkout later is not what runs.
    """
    folder = Path(__file__).parent
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return "none"
    return done.stdout.strip()


def provenance() -> dict[str, str]:
    """library, commit, notebook: recorded in every checkpoint."""
    return {
        "library": __version__,
        "commit": git_commit(),
        "notebook": os.environ.get(SOURCE_VARIABLE) or _by_hand(),
    }


def _by_hand() -> str:
    """The notebook that a person has open in Jupyter; the control room's clicks leave nothing to
    archive.
    """
    session = os.environ.get("JPY_SESSION_NAME", "")
    return (
        f"by hand:{session}"
        if session.endswith(".ipynb") and "50_control_room" not in session
        else "none"
    )
