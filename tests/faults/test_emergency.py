"""The emergency where something is in its way: it finds the right database, gets through, and says
what is true.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from rollout_lib import operations as op
from rollout_lib import spool
from rollout_lib.cli import emergency as command
from rollout_lib.database.migrations import migrate
from rollout_lib.emergency import line, switch_off
from rollout_lib.errors import DatabaseUnreachable
from rollout_lib.rehearsal.server import _binaries

ROLLOUT = str(Path(sys.executable).with_name("rollout"))
HOSTILE = "it's 5 % \\'; UPDATE webhook_routing_config SET percentage = 100; --\x1b[2J $$ “weird”"
PLAN = (
    "rollout: blue\nenvironment: production\ndatabase:\n  variable: PROD_URL # the address\n  name:"
    " {name}\n"
)


def off(*arguments: str, cwd: Path | None = None, **environment: str):
    """The command in a process of its own with nothing of our environment but the PATH."""
    command = [ROLLOUT, "rollback", "--emergency", *arguments]
    environment = {"PATH": os.environ["PATH"], **environment}
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd)


@pytest.fixture
def two(server, evening, a_day):
    """Two running rollouts: what is meant, and what must not be touched."""
    return evening, a_day("evening")


def is_on(day) -> bool:
    return day.sql("SELECT enabled FROM webhook_routing_config")[0][0]


def write(folder: Path, name: str = "rehearsal_*") -> str:
    path = folder / "prod.yaml"
    path.write_text(PLAN.format(name=name))
    return str(path)


BROKEN = "phases: [ {percentage: ten\n\t: ]\nmode: x: y\n"


@pytest.mark.parametrize("how", ["--plan", "$ROLLOUT_PLAN", "--plan, broken", "--variable"])
def test_the_plan_says_which_database_is_meant_also_where_it_is_broken(two, tmp_path, how):
    """$DATABASE_URL holds another address: the plan's variable is taken, the other database is not
    touched.
    """
    meant, other = two
    meant.sql("UPDATE rollout.marker SET rollout = 'blue', environment = 'production'")
    plan = write(tmp_path)
    if "broken" in how:
        Path(plan).write_text(Path(plan).read_text() + BROKEN)
    given = {"--variable": ("--variable", "PROD_URL"), "$ROLLOUT_PLAN": ()}.get(
        how, ("--plan", plan)
    )
    more = {"ROLLOUT_PLAN": plan} if how == "$ROLLOUT_PLAN" else {}
    done = off(
        "--reason",
        "x",
        *given,
        DATABASE_URL=other.direct,
        PROD_URL=meant.direct,
        ROLLOUT_REHEARSAL_URL=other.direct,
        **more,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (is_on(meant), is_on(other)) == (False, True)
    rollout = "week6-unified" if how == "--variable" else "blue"
    assert meant.sql("SELECT rollout FROM rollout.ledger ORDER BY seq DESC LIMIT 1") == [(rollout,)]
    first = "NO PLAN" if how == "--variable" else "PRODUCTION"
    assert done.stdout.startswith(f"{first} · "), done.stdout


def test_without_a_plan_its_entry_is_of_the_rollout_that_the_ledger_is_of(empty_database, evening):
    """Nothing names a rollout: the newest entry does, and the checks of that rollout know of it; an
    empty ledger has none to name, and that is what its entry says. A kept entry is named when it is
    appended."""
    before = (
        "SELECT rollout.append_entry('attempt', 'monitor', 'blue', now(), NULL, NULL, 'x', '{}')"
    )
    evening.sql(f"{before}; ALTER FUNCTION rollout.append_entry RENAME TO gone")
    done = switch_off(evening.direct, reason="x", operator="Rita")
    assert not is_on(evening)
    assert done.recorded.endswith(".json")
    evening.sql("ALTER FUNCTION rollout.gone RENAME TO append_entry")
    assert len(evening.session().database.drain().appended) == 1
    assert evening.sql("SELECT rollout FROM rollout.ledger ORDER BY seq DESC LIMIT 1") == [
        ("blue",)
    ]
    migrate(empty_database, apply=True)
    assert switch_off(empty_database.address, reason="x", operator="Rita").recorded.startswith(
        "#1:"
    )
    with psycopg.connect(empty_database.address) as connection:
        assert connection.execute("SELECT rollout FROM rollout.ledger").fetchall() == [("unnamed",)]


def test_another_database_than_the_plans_is_switched_off_and_said_to_be_another(evening, tmp_path):
    """Nothing is refused in an emergency; but "done" is not said of a database that the plan does
    not name.
    """
    done = off("--reason", "x", "--plan", write(tmp_path, name="postgres"), PROD_URL=evening.direct)
    assert (done.returncode, is_on(evening)) == (50, False)
    first = done.stdout.splitlines()[0]
    assert "NOT the database of" in first
    assert "the plan says postgres" in first
    assert "ROUTING IS OFF" not in done.stdout


def test_a_name_beside_the_address_of_another_server_is_not_the_plans(evening, through, tmp_path):
    """host names the plan's server, hostaddr leads elsewhere: off there, and said to be another."""
    plan = Path(write(tmp_path))
    plan.write_text(plan.read_text().replace("name:", "host: db.example.org\n  name:"))
    address = psycopg.conninfo.make_conninfo(
        through(evening.direct), host="db.example.org", hostaddr="127.0.0.1"
    )
    done = off("--reason", "x", "--plan", str(plan), PROD_URL=address)
    assert (done.returncode, is_on(evening)) == (50, False), done.stdout + done.stderr
    assert "its host is 127.0.0.1, the plan says db.example.org" in done.stdout.splitlines()[0]


def test_an_address_that_names_no_database_is_told_as_that(evening):
    """libpq goes to a default, which is off then: which, is said."""
    name = psycopg.conninfo.conninfo_to_dict(evening.direct)["dbname"]
    address = evening.direct.replace(f"dbname={name}", "").replace(f"/{name}", "/")
    done = off("--reason", "x", DATABASE_URL=address, PGDATABASE=name)
    assert (done.returncode, is_on(evening)) == (0, False), done.stdout + done.stderr
    assert f"the address names no database: this is the default, {name}" in done.stdout


OUTPUTS = {
    "full": {"stdout": "/dev/full"},
    "full, stderr too": {"stdout": "/dev/full", "stderr": "/dev/full"},
    "closed": {"closed": (1,)},
    "closed, all of them": {"closed": (0, 1, 2)},
    "a pipe that nobody reads": {"pipe": True},
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "latin1": {"PYTHONIOENCODING": "latin1", "LC_ALL": "C"},
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}


@pytest.mark.parametrize("way", OUTPUTS)
@pytest.mark.parametrize("more", [(), ("--json",)])
def test_what_was_done_is_done_whoever_listens(evening, tmp_path, way, more):
    """Output that cannot be printed, written or read: exit 0 of the switching, no traceback."""
    how = dict(OUTPUTS[way])
    closed, pipe = how.pop("closed", ()), how.pop("pipe", False)
    named = {name: how.pop(name) for name in ("stdout", "stderr") if name in how}
    streams = {name: Path(file).open("w") for name, file in named.items()}  # noqa: SIM115  # closed below
    if pipe:
        reader, writer = os.pipe()
        os.close(reader)
        streams["stdout"] = os.fdopen(writer, "w")
    streams.setdefault("stderr", (tmp_path / "stderr").open("w"))
    streams.setdefault("stdout", (tmp_path / "stdout").open("w"))
    command = [ROLLOUT, "rollback", "--emergency", "--reason", "причина ⏹", *more]
    if closed:
        shut = " ".join(f"{number}>&-" for number in closed)
        command = ["sh", "-c", f'exec "$@" {shut}', "sh", *command]
    environment = {"PATH": os.environ["PATH"], "DATABASE_URL": evening.direct, **how}
    done = subprocess.run(command, env=environment, cwd=tmp_path, **streams)
    for stream in streams.values():
        with contextlib.suppress(OSError):
            stream.close()
    assert (done.returncode, is_on(evening)) == (0, False)
    assert (tmp_path / "stderr").read_text() == ""
    said = (tmp_path / "stdout").read_bytes()
    assert not said or b"ROUTING IS OFF" in said or b'"after": ["0.00", false]' in said


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_another_encoding_of_the_environment_changes_nothing(evening, encoding):
    """A reason in another script: our own connection speaks UTF-8."""
    done = off("--reason", "причина", DATABASE_URL=evening.direct, PGCLIENTENCODING=encoding)
    assert (done.returncode, is_on(evening)) == (0, False), done.stderr
    assert evening.sql("SELECT notes FROM webhook_routing_config")[0] == ("причина",)


BAD_PLANS = {
    "gone": lambda file: file.unlink(),
    "a folder": lambda file: (file.unlink(), file.mkdir()),
    "empty": lambda file: file.write_text(""),
    "bytes": lambda file: file.write_bytes(b"\xff\xfe\x00\x01"),
}


@pytest.mark.parametrize("what", BAD_PLANS)
def test_a_plan_that_cannot_be_read_is_named_and_stops_nothing(evening, tmp_path, what):
    """$ROLLOUT_PLAN leads nowhere: routing is off, and the plan that was not used is named."""
    plan = write(tmp_path)
    BAD_PLANS[what](Path(plan))
    done = off("--reason", "x", DATABASE_URL=evening.direct, ROLLOUT_PLAN=plan)
    assert (done.returncode, is_on(evening)) == (0, False), done.stderr
    assert f"the plan {plan} was not used" in done.stdout


def test_a_production_plan_never_falls_back_to_a_rehearsal(evening, tmp_path):
    """Its variable is not set: exit 2 and "not switched off", although a rehearsal's address is at
    hand.
    """
    for given in (("--plan", write(tmp_path)), ("--variable", "PROD_URL")):
        done = off("--reason", "x", *given, ROLLOUT_REHEARSAL_URL=evening.direct)
        assert (done.returncode, is_on(evening)) == (2, True)
        assert "NOT SWITCHED OFF" in done.stderr
        assert "PROD_URL" in done.stderr


def test_with_nothing_set_it_says_so_and_starts_no_server(tmp_path):
    """A new shell without an address: no embedded server answers "routing is off" in production's
    place.
    """
    done = off("--reason", "x", cwd=tmp_path, HOME=str(tmp_path))
    assert done.returncode == 2
    assert "export DATABASE_URL" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [("--reason", "x", "--ofline"), ("--oops",), ()])
def test_wrong_words_say_that_nothing_was_done(evening, words):
    """A mistyped option is never guessed at."""
    done = off(*words, DATABASE_URL=evening.direct)
    assert (done.returncode, is_on(evening)) == (2, True)
    assert "ROUTING WAS NOT SWITCHED OFF" in done.stderr


@pytest.mark.parametrize("way", ["service", "PGSERVICE", "PGHOST", "sqlalchemy"])
def test_a_pg_service_the_environment_and_sqlalchemys_spelling_are_addresses(
    evening, tmp_path, way
):
    """Whatever psql or the rest of the suite takes for an address is one here."""
    parts = psycopg.conninfo.conninfo_to_dict(evening.direct)
    (tmp_path / "services").write_text(
        "[prod]\n" + "".join(f"{key}={value}\n" for key, value in parts.items())
    )
    pg = {
        "PGHOST": parts["host"],
        "PGPORT": parts["port"],
        "PGUSER": parts["user"],
        "PGDATABASE": parts["dbname"],
    }
    url = f"postgresql+psycopg://{parts['user']}@/{parts['dbname']}?host={parts['host']}&port={parts['port']}"
    given = {
        "service": {"DATABASE_URL": " service=prod\n"},
        "PGSERVICE": {"PGSERVICE": "prod"},
        "PGHOST": pg,
        "sqlalchemy": {"DATABASE_URL": url},
    }[way]
    done = off("--reason", "x", cwd=tmp_path, PGSERVICEFILE=str(tmp_path / "services"), **given)
    assert (done.returncode, is_on(evening)) == (0, False), done.stderr


def test_an_address_that_cannot_be_read_is_not_quoted():
    """libpq's words about a wrong address repeat it, password and all."""
    done = off("--reason", "x", DATABASE_URL="postgres//rita:hunter2@db/postgres")
    assert done.returncode == 50
    assert "hunter2" not in done.stdout + done.stderr


@pytest.mark.skipif(os.getuid() != 0, reason="only root starts a process as a user without a name")
def test_a_user_without_a_name_can_press_it(evening, tmp_path, through):
    """A container's user that no passwd file knows, in a folder where it may write nothing."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.environ.clear()
            os.environ["DATABASE_URL"] = through(evening.direct)
            os.chdir("/")
            os.setuid(54321)
            code = command.emergency(["--emergency", "--reason", "x"])
        finally:
            os._exit(code)
    assert (os.waitpid(child, 0)[1], is_on(evening)) == (0, False)
    assert (
        "user 54321"
        in evening.sql("SELECT body FROM rollout.ledger ORDER BY seq DESC LIMIT 1")[0][0]
    )


def test_a_connection_that_is_lost_half_way_is_opened_again(evening, proxy, through, monkeypatch):
    """Cut at each request in turn, the answer lost: it ends done, and says that
    the line was lost.
    """
    for number in range(1, 25):
        evening.sql("UPDATE webhook_routing_config SET enabled = true, percentage = 10")
        proxy.arm(number, "unanswered")
        done = switch_off(
            through(evening.direct), reason="x", operator="Rita", rollout="week6-unified"
        )
        assert (float(done.after[0]), done.after[1], is_on(evening)) == (0, False, False)
        assert done.before is None or float(done.before[0]) in (0, 10)
        heard = any("lost" in line or "not on the ledger" in line for line in done.trouble)
        assert heard or not proxy.happened.is_set(), number


def test_a_frozen_server_is_not_waited_for_without_end(evening, proxy, through, tmp_path):
    """No answer ever comes: exit 50, "not known", and a statement for the console that is safe to
    paste.
    """
    proxy.arm(9, "stalled")
    code = (
        "import sys; from rollout_lib.emergency import line; import rollout_lib.emergency as"
        " e;e.DEADLINE = line.DEADLINE = 1.5; line.RECONNECT = 0;sys.argv = ['rollout',"
        f" 'rollback', '--emergency', '--reason', {HOSTILE!r}];from rollout_lib.cli import main;"
        " main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "DATABASE_URL": through(evening.direct)},
    )
    assert done.returncode == 50, done.stdout + done.stderr
    assert "Whether routing is off is NOT known" in done.stderr
    assert "\x1b" not in done.stderr
    (statement,) = [
        line
        for line in done.stderr.splitlines()
        if line.startswith("SELECT set_routing_enabled(false, ")
    ]
    psql = [
        _binaries(None) / "psql",
        "-X",
        "-q",
        "-v",
        "ON_ERROR_STOP=1",
        "-d",
        evening.direct,
        "-c",
        statement,
    ]
    subprocess.run(psql, check=True, capture_output=True)
    percentage, enabled, notes = evening.sql(
        "SELECT percentage, enabled, notes FROM webhook_routing_config"
    )[0]
    assert (float(percentage), enabled) == (10, False)
    assert notes.startswith("it's 5 % \\'; UPDATE webhook_routing_config")


def test_a_table_that_somebody_locks_whole_is_got_through(evening, monkeypatch):
    """Ours, idle in its transaction: ended. Reading what was does not wait for it either."""
    monkeypatch.setattr(line, "PATIENCE", 0.5)
    with psycopg.connect(evening.direct, application_name="rollout") as idle:
        idle.execute("LOCK TABLE webhook_routing_config IN ACCESS EXCLUSIVE MODE")
        done = switch_off(evening.direct, reason="x", operator="Rita")
        assert (done.before, is_on(evening)) == (None, False)
        assert any("ended our own session" in line for line in done.trouble)
        idle.close()


def test_a_locked_row_of_somebody_else_is_named_with_the_statement_that_ends_it(
    evening, monkeypatch, capfd
):
    """Not ours to end: who holds it, and what ends it; freed, it is done."""
    monkeypatch.setattr(line, "PATIENCE", 0.2)
    with psycopg.connect(evening.direct, application_name="psql") as other:
        other.execute("SELECT 1 FROM webhook_routing_config FOR UPDATE")
        pid = other.info.backend_pid
        waiter = subprocess.Popen(
            [
                sys.executable,
                "-c",
                f"""
import psycopg, time
with psycopg.connect({evening.direct!r}, autocommit=True) as c:
    while not c.execute("SELECT 1 FROM pg_stat_activity WHERE application_name = 'rollout'").fetchone():
        time.sleep(.1)
    time.sleep(2.5); c.execute("SELECT pg_terminate_backend({pid})")""",
            ]
        )
        done = switch_off(evening.direct, reason="x", operator="Rita")
        waiter.wait(timeout=30)
        other.close()
    assert not is_on(evening)
    assert f"SELECT pg_terminate_backend({pid})" in " ".join(done.trouble)
    assert str(pid) in capfd.readouterr().err


def test_a_function_that_never_ends_is_gone_around(evening, monkeypatch):
    """A deployed function that hangs: its limit passes, and the newest row is updated plainly."""
    evening.sql(
        """CREATE OR REPLACE FUNCTION set_routing_enabled(p_enabled boolean, p_notes text DEFAULT NULL)
        RETURNS void LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(60); END'"""
    )
    monkeypatch.setattr(line, "LIMIT", 1.0)
    done = switch_off(evening.direct, reason="x", operator="Rita")
    assert not is_on(evening)
    assert any("updated plainly" in line for line in done.trouble)


def test_a_database_that_turned_read_only_is_written_to_and_the_record_follows(evening):
    """As Supabase does to a full one: the emergency says READ WRITE."""
    evening.sql(
        "ALTER DATABASE "
        + psycopg.conninfo.conninfo_to_dict(evening.direct)["dbname"]
        + " SET default_transaction_read_only = on"
    )
    done = switch_off(evening.direct, reason="x", operator="Rita", rollout="week6-unified")
    assert not is_on(evening)
    assert done.recorded.startswith(("#", str(spool.folder())))


def test_without_a_ledger_and_without_a_place_for_a_file_it_is_off_all_the_same(
    evening, tmp_path, monkeypatch
):
    """Nothing can be recorded: exit 0, for it is done, and "nowhere" is said."""
    evening.sql("DROP SCHEMA rollout CASCADE")
    (tmp_path / "file").write_text("no folder")
    done = off("--reason", "x", DATABASE_URL=evening.direct, ROLLOUT_OUTPUTS=str(tmp_path / "file"))
    assert (done.returncode, is_on(evening)) == (0, False), done.stderr
    assert "ROUTING IS OFF" in done.stdout
    assert "recorded: nowhere" in done.stdout


@pytest.fixture
def full(server, passed, tmp_path):
    """A copy of the evening on a file system of 24 MB that is full to the last block."""
    if os.getuid() != 0:
        pytest.skip("mounting a file system needs root")
    place = Path(f"/tmp/rollout-full-{os.getpid()}")
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m,mode=777", "tmpfs", place], capture_output=True
    )
    if mounted.returncode:
        place.rmdir()
        pytest.skip("mounting a file system is not allowed here")
    with psycopg.connect(server, autocommit=True) as admin:
        name = f"rehearsal_full_{os.getpid()}"
        space = place / "space"
        space.mkdir()
        space.chmod(0o777)
        account = os.stat(psycopg.conninfo.conninfo_to_dict(server)["host"]).st_uid
        os.chown(space, account, -1)
        space.chmod(0o700)
        admin.execute(f"CREATE TABLESPACE small LOCATION '{space}'")
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {passed[1]['evening']} TABLESPACE small")
        yield psycopg.conninfo.make_conninfo(server, dbname=name), place
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        admin.execute("DROP TABLESPACE small")
    subprocess.run(["umount", "-l", place], check=True)
    place.rmdir()


def until_full(connection: psycopg.Connection, statement: str) -> None:
    """The statement again and again, until there is no space for it."""
    for _ in range(100_000):
        try:
            connection.execute(statement)
        except psycopg.errors.DiskFull:
            return
    pytest.fail("it never filled up")


def test_a_full_database_can_be_switched_off_and_is_recorded_when_there_is_room(
    full, evening, monkeypatch
):
    """No block is left: the newest row fits in its page, the entry waits in a file, the next run
    appends it.
    """
    address, place = full
    evening.direct = address
    monkeypatch.setenv("ROLLOUT_REHEARSAL_URL", address)
    reserve = place / "reserve"
    reserve.write_bytes(b"x" * 1_000_000)
    with psycopg.connect(address, autocommit=True) as filler:
        filler.execute("CREATE TABLE filler (t text)")
        until_full(
            filler,
            "INSERT INTO filler SELECT repeat(md5(n::text), 60) FROM generate_series(1, 2000) n",
        )
        # The server's vacuum may have removed the cache file that a new session needs: it is written
        # while there is room, or nobody could connect, which is not what this is about.
        reserve.unlink()
        psycopg.connect(address).close()
        with open(place / "rest", "wb", buffering=0) as rest, contextlib.suppress(OSError):
            while True:
                rest.write(b"x" * 4096)
        # the ledger's own pages too, to the last line
        until_full(
            filler,
            "SELECT rollout.append_entry('message', 'x', 'other', now(), NULL, NULL, 'x', '{}')",
        )
    evening.now += timedelta(minutes=15)
    check = op.monitor(
        evening.session(), slot="now"
    )  # judges and keeps what it saw; what is full is not called well
    assert (check.head, check.checkpoint.kind, len(spool.waiting())) == (None, "checkpoint", 1)
    done = switch_off(address, reason="full", operator="Rita", rollout="week6-unified")
    assert (float(done.after[0]), done.after[1]) == (0, False)
    assert "not on the ledger yet" in " ".join(done.trouble)
    evening.sql("DROP TABLE filler")
    assert len(evening.session().database.drain().appended) == 2
    last = "SELECT operation FROM rollout.ledger ORDER BY seq DESC LIMIT 2"
    assert evening.sql(last) == [("rollback",), ("monitor",)]
    assert spool.waiting() == []


def test_a_refusing_database_is_said_with_the_statement_for_the_console(evening):
    """Nothing listens: exit 50 at once, routing as it was, and what to run by other means."""
    began = time.monotonic()
    with pytest.raises(DatabaseUnreachable, match=r"SELECT set_routing_enabled\(false"):
        switch_off("postgresql://127.0.0.1:1/x", reason="x", operator="Rita")
    assert time.monotonic() - began < line.RECONNECT
    assert is_on(evening)


def test_two_at_once_are_one_end(evening):
    """Two people press it at the same moment: off, 0 %, both recorded."""
    both = [
        subprocess.Popen(
            [ROLLOUT, "rollback", "--emergency", "--reason", f"by {name}"],
            stdout=subprocess.PIPE,
            env={"PATH": os.environ["PATH"], "DATABASE_URL": evening.direct},
        )
        for name in ("Rita", "Ahmed")
    ]
    assert [one.wait(timeout=60) for one in both] == [0, 0]
    assert evening.sql("SELECT percentage, enabled FROM webhook_routing_config")[0] == (0, False)
    assert len(evening.sql("SELECT 1 FROM rollout.ledger WHERE operation = 'rollback'")) == 2
