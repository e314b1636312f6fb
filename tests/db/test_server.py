"""The embedded server: crashes, concurrent callers, and what it opens to others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from rollout_lib.errors import CouldNotMeasure, UsageError
from rollout_lib.rehearsal import server as embedded_server
from rollout_lib.rehearsal.server import create_database, embedded, stop


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("crashes")
    yield folder
    stop(folder)


def postmaster(address: str) -> int:
    with psycopg.connect(address) as connection:
        text = connection.execute("SELECT pg_read_file('postmaster.pid')").fetchone()[0]
    return int(text.split()[0])


def test_it_starts_again_after_kill_9_and_has_what_was_committed(folder):
    """A server that was killed leaves a stale pid file; the next call starts it, with its data."""
    address = create_database(embedded(folder), "rehearsal_kept")
    with psycopg.connect(address) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS x")
    os.kill(postmaster(address), signal.SIGKILL)
    embedded(folder)
    with psycopg.connect(address) as connection:
        assert connection.execute("SELECT x FROM kept").fetchall() == [(1,)]


def test_an_initialisation_that_was_killed_half_way_is_begun_anew(tmp_path):
    """A data folder that initdb did not finish is never taken for a complete one."""
    place = embedded_server._Place(tmp_path, None)
    with place.locked():
        part = place.data.with_name("data.part")
        part.mkdir(parents=True)
        (part / "PG_VERSION").write_text("18\n")
    with psycopg.connect(embedded(tmp_path)) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    stop(tmp_path)


def test_callers_at_the_same_time_share_one_server(tmp_path):
    """Four processes that ask for the same folder at once get one postmaster."""
    code = (
        "import sys; from pathlib import Path; from rollout_lib.rehearsal.server import embedded; "
    )
    code += "print(embedded(Path(sys.argv[1])))"

    def ask(_):
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    with ThreadPoolExecutor(4) as pool:
        addresses = set(pool.map(ask, range(4)))
    assert len(addresses) == 1
    assert len({postmaster(address) for address in addresses}) == 1
    stop(tmp_path)


def test_the_server_is_not_root_and_opens_no_folder_to_others(folder):
    """Neither the socket nor the data can be entered by others, whoever runs the tests."""
    embedded(folder)
    place = embedded_server._Place(folder, None)
    for path in (place.data, place.socket):
        assert path.stat().st_mode & 0o077 == 0
        assert path.stat().st_uid != 0


def test_a_folder_that_somebody_else_put_there_is_refused(tmp_path, monkeypatch):
    """A link in the shared temporary folder is not followed: as root it would give away what it
    points to.
    """
    monkeypatch.setattr(embedded_server.tempfile, "gettempdir", lambda: str(tmp_path))
    place = embedded_server._Place(tmp_path / "project", None)
    (tmp_path / "target").mkdir()
    place.runtime.symlink_to(tmp_path / "target")
    with pytest.raises(CouldNotMeasure, match="belongs to somebody else"):
        embedded(tmp_path / "project")


@pytest.mark.parametrize("name", ["Upper", "x;DROP", "", "1st", "a" * 64])
def test_a_name_that_is_none_is_refused(folder, name):
    """What cannot name a database never reaches a statement."""
    with pytest.raises(UsageError):
        create_database(embedded(folder), name)
