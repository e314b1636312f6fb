"""docs/first-half-hour.md, typed as it stands: every block, in one shell, in a folder like a new
checkout.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

GUIDE = Path("docs/first-half-hour.md")
PROJECT = Path(__file__).parents[2]


def lines() -> list[str]:
    """The lines of the guide's blocks, in order."""
    blocks = re.findall(
        r"^```bash$\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    return [line for block in blocks for line in block.splitlines() if line.strip()]


def promised(line: str) -> set[int]:
    """The exit codes that a line's comment names; 0 where it names none."""
    found = re.search(r"# exit ((?:\d+(?: or )?)+)$", line)
    return {int(code) for code in re.findall(r"\d+", found[1])} if found else {0}


@pytest.mark.slow  # two whole rehearsals
def test_each_command_of_the_first_half_hour_ends_as_the_guide_says(tmp_path):
    """Every line exits with the code that its comment promises; the archive that they leave proves
    itself.
    """
    for name in ("Makefile", ".venv", "parameters", "pyproject.toml", "requirements.lock"):
        (tmp_path / name).symlink_to(PROJECT / name)
    for name in ("notebooks", "rollout_lib"):  # a checkout of its own, with outputs of its own
        shutil.copytree(PROJECT / name, tmp_path / name)
    (tmp_path / "outputs").mkdir()
    typed = lines()
    assert len(typed) > 20
    # What is built stays as it is: the environment of these tests is the one that `make setup`
    # made.
    script = "\n".join(f'{line}\necho "=> $?"' for line in typed).replace(
        "make rehearse", "make -o setup rehearse"
    )
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("ROLLOUT_", "PG", "MAKE"))
    } | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    codes = [int(code) for code in re.findall(r"^=> (\d+)$", done.stdout, re.MULTILINE)]
    wrong = [
        (line, code) for line, code in zip(typed, codes, strict=True) if code not in promised(line)
    ]
    assert wrong == [], done.stdout + done.stderr


def test_a_promise_is_read_as_it_is_written():
    """The comment's codes, and 0 without one."""
    assert promised("rollout monitor   # exit 0 or 10") == {0, 10}
    assert promised("rollout change --to 50   # exit 60") == {60}
    assert promised("rollout verify") == {0}
