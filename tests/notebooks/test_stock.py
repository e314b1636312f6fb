"""The notebooks without our runner: stock papermill as a command, and nbval."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

NOTEBOOKS = (
    "00_preflight",
    "05_plan",
    "10_change_percentage",
    "20_monitor",
    "30_evaluate_phase",
    "40_report",
    "50_control_room",
    "60_explore",
    "90_rollback",
)


def papermill(name: str, output: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """`papermill notebooks/<name>.ipynb … -f parameters/<name>.yaml` with its stock engine."""
    command = [
        Path(sys.executable).with_name("papermill"),
        f"notebooks/{name}.ipynb",
        str(output),
        "-k",
        "python3",
        "--no-progress-bar",
        "-f",
        f"parameters/{name}.yaml",
        *more,
    ]
    return subprocess.run(command, capture_output=True, text=True)


def states(today) -> list[str]:
    rows = today.sql(
        "SELECT body FROM rollout.ledger WHERE kind IN ('checkpoint', 'extra') ORDER BY seq"
    )
    return [json.loads(body)["state"] for (body,) in rows]


def test_stock_papermill_runs_a_check(today, tmp_path):
    """Exit 0, the slot's checkpoint on the ledger, charts as SVG in the output."""
    before = len(states(today))
    done = papermill("20_monitor", tmp_path / "out.ipynb")
    assert done.returncode == 0, done.stderr
    assert len(states(today)) == before + 1
    assert "<svg" in (tmp_path / "out.ipynb").read_text(encoding="utf-8")


def test_stock_papermill_exits_non_zero_where_the_answer_is_not_go_on(today, tmp_path):
    """A check after something raised the percentage by hand: the last cell raises, the command
    exits 1.
    """
    today.sql("SELECT update_routing_percentage(50.00, 'by hand')")
    done = papermill("20_monitor", tmp_path / "out.ipynb")
    assert done.returncode == 1
    assert "SteppedBack" in done.stderr
    assert states(today)[-1] == "STEP_BACK"


def test_stock_papermill_refuses_a_name_that_the_notebook_lacks(today, tmp_path):
    """`-p slto now` is no extra check with exit 0: exit 1, nothing recorded; and what would be
    overwritten by an import (`-p percentage 25`) changes nothing either.
    """
    before = len(states(today))
    done = papermill("20_monitor", tmp_path / "out.ipynb", "-p", "slto", "now")
    assert done.returncode == 1
    assert "slto: unknown; this notebook has plan, as_of, slot" in done.stderr
    done = papermill("90_rollback", tmp_path / "out.ipynb", "-p", "percentage", "25")
    assert done.returncode == 1
    assert "percentage: unknown" in done.stderr
    assert len(states(today)) == before
    assert (float(today.routing()[0]), today.routing()[1]) == (10.0, True)


def test_a_parameter_set_of_a_rollback_goes_one_phase_down(today, tmp_path):
    """90_rollback by its set: from 10 % to 5 %, in the database that $ROLLOUT_PLAN names."""
    done = papermill("90_rollback", tmp_path / "out.ipynb")
    assert done.returncode == 0, done.stderr
    assert (float(today.routing()[0]), today.routing()[1]) == (5.0, True)


def test_stock_papermill_runs_every_notebook(today, tmp_path):
    """In the order of a day, each by its parameter set: at 10 % a dry run to 10 % has nothing to
    do.
    """
    codes = {name: papermill(name, tmp_path / f"{name}.ipynb").returncode for name in NOTEBOOKS}
    assert codes == dict.fromkeys(NOTEBOOKS, 0)


def test_nbval_runs_every_notebook_with_its_defaults(today):
    """`pytest --nbval-lax` over all of them, in a database whose rows make each end well; 90
    switches routing off.
    """
    files = [f"notebooks/{name}.ipynb" for name in NOTEBOOKS]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:xdist",
            "--nbval-lax",
            "--nbval-current-env",
            "-c",
            os.devnull,
            "--rootdir",
            ".",
            *files,
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert (float(today.routing()[0]), today.routing()[1]) == (0.0, False)
