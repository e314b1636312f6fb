"""`rollout lab` as a process: what it refuses, what it keeps, how a session ends, and the practice
day.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import nbformat
import psycopg
import pytest

from rollout_lib.archive.working import copy_models
from rollout_lib.database.connection import connect
from rollout_lib.errors import UsageError
from rollout_lib.plan import load_plan
from rollout_lib.rehearsal.server import drop_database

pytestmark = pytest.mark.slow

LAB = (sys.executable, "-m", "rollout_lib", "lab", "--no-browser", "--operator", "Rita")


@contextmanager
def session(log: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen, str]]:
    """A running session on a port of its own, and the address that it printed."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with open(log, "w") as said:
        process = subprocess.Popen(
            [*LAB, f"--port={port}", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            env={**os.environ, "COLUMNS": "500"},
        )
    try:
        while (
            not (found := re.search(r"JupyterLab: (\S+)", log.read_text()))
            and process.poll() is None
        ):
            time.sleep(0.1)
        assert found, log.read_text()
        yield process, found[1]
    finally:
        process.terminate()
        process.wait()


def children(pid: int) -> dict[int, str]:
    """The processes that a process started, and theirs: pid and command line."""
    found = {}
    for child in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
        words = (
            Path(f"/proc/{child}/cmdline")
            .read_bytes()
            .replace(b"\0", b" ")
            .decode(errors="replace")
        )
        found |= {child: words, **children(child)}
    return found


def child(process: subprocess.Popen, word: str) -> int:
    """The one child of a session whose command line holds a word."""
    (pid,) = [pid for pid, words in children(process.pid).items() if word in words]
    return pid


def runs(pid: int) -> bool:
    """Does a process still run? One that nobody has reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def assert_private(folder: Path, token: str) -> None:
    """Nobody else can read what a person works in, and no log holds what opens the session."""
    assert folder.stat().st_mode & 0o077 == 0
    for path in folder.rglob("*"):
        if path.is_dir() or path.suffix in (".log", ".ipynb", ".md", ".yaml"):
            assert path.stat().st_mode & 0o077 == 0 or path.suffix == ".ipynb", path
        if path.is_file():
            assert token not in path.read_text(errors="replace"), path
    for name in (".lab", "README.md", "20_monitor.ipynb", ".lab/jupyter.log"):
        assert (folder / name).stat().st_mode & 0o077 == 0, name


def run_by_hand(copy: Path) -> None:
    """Run a working copy in place, as somebody does who has it open in Jupyter, and save it."""
    command = [
        sys.executable,
        "-m",
        "papermill",
        str(copy),
        str(copy),
        "-k",
        "python3",
        "--no-progress-bar",
    ]
    subprocess.run(
        command, check=True, capture_output=True, env={**os.environ, "JPY_SESSION_NAME": str(copy)}
    )


@pytest.mark.parametrize("what", ["plan", "port", "outputs", "production", "another database"])
def test_what_cannot_be_is_refused_in_one_message(what, today, monkeypatch):
    """An unknown plan, a port taken, a folder that cannot be one, no address, a wrong one: exit 2,
    nothing made.
    """
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        (today.outputs.parent / "file").write_text("")
        monkeypatch.delenv("DATABASE_URL", raising=False)
        if what == "another database":
            monkeypatch.setenv("ROLLOUT_REHEARSAL_URL", "postgresql://127.0.0.1:1/shop")
        arguments, word = {
            "plan": (("--plan", "none.yaml"), "none.yaml"),
            "port": (("--port", port), port),
            "outputs": (("--outputs", str(today.outputs.parent / "file")), "cannot be written"),
            "production": (("--plan", "parameters/week6.production.yaml"), "DATABASE_URL"),
            "another database": ((), "shop"),
        }[what]
        done = subprocess.run([*LAB, *arguments], capture_output=True, text=True)
    assert done.returncode == 2, done.stdout + done.stderr
    assert word in done.stderr
    assert "Traceback" not in done.stderr
    assert not today.outputs.exists()


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_a_signal_ends_the_session_and_seals_what_was_saved(number, today, tmp_path):
    """JupyterLab stops, the saved check is in the archive and on the ledger, the
    command exits 0.
    """
    with session(tmp_path / "log") as (process, address):
        assert httpx2.get(address, trust_env=False).status_code == 200
        (folder,) = (today.outputs / "working").iterdir()
        assert folder.name.endswith("_Rita")
        assert_private(folder, httpx2.URL(address).params["token"])
        run_by_hand(folder / "20_monitor.ipynb")
        process.send_signal(number)
        assert process.wait() == 0
    said = (tmp_path / "log").read_text()
    assert "20_monitor.ipynb, saved by hand" in said
    assert len(list(today.outputs.glob("week6-unified/*/*_20_monitor_*.ipynb"))) == 1
    assert today.sql("SELECT kind FROM rollout.ledger ORDER BY seq DESC LIMIT 1") == [("archived",)]
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(address, trust_env=False)


def test_a_session_that_is_killed_leaves_nothing_running(today, tmp_path):
    """kill -9 on the command: JupyterLab, the kernel of the control room and what that started end
    by themselves.
    """
    with session(tmp_path / "log") as (process, _):
        started = children(process.pid)
        assert any("ipykernel" in words for words in started.values()), (
            "the control room runs in a kernel"
        )
        process.kill()
        for _ in range(600):
            left = {pid: words for pid, words in started.items() if runs(pid)}
            if not left:
                break
            time.sleep(0.1)
    assert left == {}


def test_a_jupyterlab_that_cannot_start_is_could_not_look(today, tmp_path, monkeypatch):
    """A broken configuration of Jupyter's own: exit 50 and its last words, not a defect and not
    silence.
    """
    (tmp_path / "jupyter_server_config.json").write_text(
        '{"ServerApp": {"certfile": "/no/such/file"}}'
    )
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path))
    done = subprocess.run(LAB, capture_output=True, text=True)
    assert done.returncode == 50, done.stdout + done.stderr
    assert "did not start (it ended with" in done.stderr
    assert "/no/such/file" in done.stderr
    assert "JupyterLab: " not in done.stdout


def test_a_jupyterlab_that_breaks_is_said(today, tmp_path):
    """Killed in the middle of a session: exit 50, and how to seal what was saved."""
    with session(tmp_path / "log") as (process, _):
        os.kill(child(process, "rollout_lib.cli.lab.child"), signal.SIGKILL)
        assert process.wait() == 50
    said = (tmp_path / "log").read_text()
    assert "JupyterLab broke (it ended with -9)" in said
    assert f"rollout seal --plan {today.plan}" in said


def test_a_copy_that_is_no_notebook_keeps_no_other_from_being_sealed(today, tmp_path):
    """Broken JSON in one working copy: it is named, the saved check is sealed, exit 70."""
    with session(tmp_path / "log") as (process, _):
        (folder,) = (today.outputs / "working").iterdir()
        (folder / "10_change_percentage.ipynb").write_text('{"cells": [')
        (folder / "40_report.ipynb").write_text("[]")
        run_by_hand(folder / "20_monitor.ipynb")
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 70
    said = (tmp_path / "log").read_text()
    assert (
        f"✗  working/{folder.name}/10_change_percentage.ipynb cannot be read (NotJSONError" in said
    )
    assert f"✗  working/{folder.name}/40_report.ipynb cannot be read" in said
    assert "20_monitor.ipynb, saved by hand" in said
    assert len(list(today.outputs.glob("week6-unified/*/*_20_monitor_*.ipynb"))) == 1


def test_without_any_model_there_is_no_session(tmp_path):
    """An installation without the notebooks is refused, not opened on an empty folder."""
    with pytest.raises(UsageError, match="no notebooks"):
        copy_models([], tmp_path)


def test_a_second_session_of_a_day_leaves_what_somebody_worked_in(today, tmp_path):
    """A changed copy and a file of one's own are as they were; a model that was not there yet is
    added.
    """
    with session(tmp_path / "log"):
        (folder,) = (today.outputs / "working").iterdir()
    mine = folder / "20_monitor.ipynb"
    notebook = nbformat.read(mine, 4)
    notebook.cells.insert(0, nbformat.v4.new_markdown_cell("my own words"))
    nbformat.write(notebook, mine)
    (folder / "notes.md").write_text("mine")
    (folder / "40_report.ipynb").unlink()
    before = mine.read_bytes()
    with session(tmp_path / "log"):
        assert list((today.outputs / "working").iterdir()) == [folder]
    assert (mine.read_bytes(), (folder / "notes.md").read_text()) == (before, "mine")
    assert (folder / "40_report.ipynb").read_bytes() == Path(
        "notebooks/40_report.ipynb"
    ).read_bytes()


def test_a_session_whose_database_went_away_says_that_nothing_is_sealed(today, server, tmp_path):
    """Exit 50, the saved copies stay, and the command that seals them later is told."""
    name = psycopg.conninfo.conninfo_to_dict(today.address)["dbname"]
    with session(tmp_path / "log") as (process, _):
        drop_database(server, name)
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 50
    assert f"rollout seal --plan {today.plan}" in (tmp_path / "log").read_text()
    assert list(today.outputs.glob("working/*/20_monitor.ipynb"))


def test_without_an_address_a_rehearsal_gets_a_practice_day_whose_traffic_goes_on(
    own_server, tmp_path
):
    """10 % with every slot checked, rows that are newer than it; a second session finds it, and
    loses its world.
    """
    outputs = ("--outputs", str(tmp_path / "outputs"))
    with session(tmp_path / "log", *outputs) as (process, address):
        assert httpx2.get(address, trust_env=False).status_code == 200
        (path,) = tmp_path.glob("outputs/working/*/rehearsal_*.yaml")
        database = connect(load_plan(path))
        with psycopg.connect(database.address, autocommit=True) as connection:
            checks = connection.execute(
                "SELECT count(*) FROM rollout.ledger WHERE slot IS NOT NULL"
            ).fetchone()
            assert checks[0] in (16, 17)  # by where in a quarter of an hour the day began
            query = "SELECT max(created_at) FROM webhook_routing_logs"
            before = connection.execute(query).fetchone()
            while connection.execute(query).fetchone() == before:
                assert process.poll() is None
                time.sleep(0.2)
    with session(tmp_path / "log", *outputs) as (process, _):
        assert [*tmp_path.glob("outputs/working/*/rehearsal_*.yaml")] == [path]
        os.kill(child(process, "rollout_lib.rehearsal.practice"), signal.SIGKILL)
        while "✗ The practice world ended with -9" not in (tmp_path / "log").read_text():
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 50
    drop_database(own_server, database.place.database)
