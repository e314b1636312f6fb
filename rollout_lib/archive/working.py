"""Working copies: what a person opens, below outputs/working/, so that the models in notebooks/
stay as they are.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from rollout_lib.archive.sealing import WORKING
from rollout_lib.errors import UsageError
from rollout_lib.plan import Plan


def working_folder(outputs: Path, plan: Plan, operator: str, now: datetime) -> Path:
    """outputs/working/<day>_<operator>/, by the rollout's own day; made where it is not there.

    Outside rehearsals the environment stands in the name: what was practised is never taken for
    what was done. Raises UsageError where the folder cannot be written."""
    who = re.sub(r"[^\w.-]+", "-", operator).strip("-.") or "nobody"
    name = f"{now.astimezone(plan.zone):%Y-%m-%d}_{who}"
    if plan.environment != "rehearsal":
        name += f"_{plan.environment}"
    folder = outputs.absolute() / WORKING / name
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        probe = folder / ".may-be-written"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(
            reason=(
                f"The output folder {outputs} cannot be written ({error.strerror}); "
                "name another with --outputs or $ROLLOUT_OUTPUTS."
            )
        ) from None
    return folder


def copy_models(models: Iterable[Path], folder: Path) -> list[Path]:
    """Copy each model that is not there yet; what somebody has worked in is left as it is. Returns
    the new ones.

    Raises UsageError where there is no model at all.
    """
    made, models = [], list(models)
    if not models:
        raise UsageError(
            reason=(
                "There are no notebooks beside rollout_lib to copy: run it in the project's folder,"
                " from its own .venv."
            )
        )
    for model in models:
        copy = folder / model.name
        if not copy.exists():
            shutil.copyfile(model, copy)
            made.append(copy)
    return made


def make_private(folder: Path) -> None:
    """Let nobody else read what a person works in: files 0600, folders 0700; what is not ours stays."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            with contextlib.suppress(OSError):
                path.chmod(0o700 if path.is_dir() else 0o600)
