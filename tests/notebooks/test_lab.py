"""`rollout lab` as a process: what it refuses, what it keeps, how a session ends, and the practice day."""

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

from rollout_lib.database import connect
from rollout_lib.plan import load_plan
from rollout_lib.rehearsal.server import _Place, default_folder, drop_database, embedded, stop

LAB = (sys.executable, "-m", "rollout_lib", "lab", "--no-browser", "--operator", "Rita")


@contextmanager
def session(log: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen, str]]:
    """A running session and the address that it printed."""
    with open(log, "w") as said:
        process = subprocess.Popen([*LAB, *arguments], stdin=subprocess.DEVNULL, stdout=said, stderr=said,
                                   env={**os.environ, "COLUMNS": "500"})  # fmt: skip
    try:
        while not (found := re.search(r"JupyterLab: (\S+)", log.read_text())) and process.poll() is None:
            time.sleep(0.1)
        assert found, log.read_text()
        yield process, found[1]
    finally:
        process.terminate()
        process.wait()


def run_by_hand(copy: Path) -> None:
    """Run a working copy in place, as somebody does who has it open in Jupyter, and save it."""
    command = [sys.executable, "-m", "papermill", str(copy), str(copy), "-k", "python3", "--no-progress-bar"]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "JPY_SESSION_NAME": str(copy)})


@pytest.mark.parametrize("what", ["plan", "port", "outputs", "production", "another database"])
def test_what_cannot_be_is_refused_in_one_message(what, today, monkeypatch):
    """An unknown plan, a port taken, a folder that cannot be one, no address, a wrong one: exit 2, nothing made."""
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


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_signal_ends_the_session_and_seals_what_was_saved(number, today, tmp_path):
    """JupyterLab stops, the saved check is in the archive and on the ledger, the command exits 0."""
    with session(tmp_path / "log") as (process, address):
        assert httpx2.get(address, trust_env=False).status_code == 200
        (folder,) = (today.outputs / "working").iterdir()
        assert folder.name.endswith("_Rita")
        run_by_hand(folder / "20_monitor.ipynb")
        process.send_signal(number)
        assert process.wait() == 0
    said = (tmp_path / "log").read_text()
    assert "20_monitor.ipynb, saved by hand" in said
    assert len(list(today.outputs.glob("week6-unified/*/*_20_monitor_*.ipynb"))) == 1
    assert today.sql("SELECT kind FROM rollout.ledger ORDER BY seq DESC LIMIT 1") == [("archived",)]
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(address, trust_env=False)


@pytest.mark.slow
def test_a_second_session_of_a_day_leaves_what_somebody_worked_in(today, tmp_path):
    """A changed copy and a file of one's own are as they were; a model that was not there yet is added."""
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
    assert (folder / "40_report.ipynb").read_bytes() == Path("notebooks/40_report.ipynb").read_bytes()


@pytest.mark.slow
def test_a_session_whose_database_went_away_says_that_nothing_is_sealed(today, server, tmp_path):
    """Exit 50, the saved copies stay, and the command that seals them later is told."""
    name = psycopg.conninfo.conninfo_to_dict(today.address)["dbname"]
    with session(tmp_path / "log") as (process, _):
        drop_database(server, name)
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 50
    assert f"rollout seal --plan {today.plan}" in (tmp_path / "log").read_text()
    assert list(today.outputs.glob("working/*/20_monitor.ipynb"))


@pytest.fixture
def own_server(monkeypatch):
    """The project's own embedded server, stopped again if it did not run before."""
    monkeypatch.delenv("ROLLOUT_REHEARSAL_URL", raising=False)
    monkeypatch.setenv("ROLLOUT_PLAN", "parameters/week6.rehearsal.yaml")
    there = _Place(default_folder(), None).answers()
    address = embedded()
    yield address
    if not there:
        stop()


@pytest.mark.slow
def test_without_an_address_a_rehearsal_gets_a_practice_day_whose_traffic_goes_on(own_server, tmp_path):
    """10 % with every slot checked, a landing page, rows that are newer than it; a second session finds it again."""
    outputs = ("--outputs", str(tmp_path / "outputs"))
    with session(tmp_path / "log", *outputs) as (process, address):
        page = httpx2.get(address, trust_env=False)
        assert (page.status_code, "README.md" in str(page.url)) == (200, True)
        (path,) = tmp_path.glob("outputs/working/*/rehearsal_*.yaml")
        database = connect(load_plan(path))
        with psycopg.connect(database.address, autocommit=True) as connection:
            checks = connection.execute("SELECT count(*) FROM rollout.ledger WHERE slot IS NOT NULL").fetchone()
            assert checks[0] in (16, 17)  # by where in a quarter of an hour the day began
            query = "SELECT max(created_at) FROM webhook_routing_logs"
            before = connection.execute(query).fetchone()
            while connection.execute(query).fetchone() == before:
                assert process.poll() is None
                time.sleep(0.2)
    with session(tmp_path / "log", *outputs):
        assert [*tmp_path.glob("outputs/working/*/rehearsal_*.yaml")] == [path]
    drop_database(own_server, database.place.database)
