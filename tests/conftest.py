"""Real servers for the tests: the embedded PostgreSQL 18, Debian's 15, a pooler, a database for
each test.

Every test in tests/db that uses the `database` runs three times: on 18, and among the slow ones on
15 and on 18 through pgbouncer in transaction mode, as Supabase's port 6543 does it. All others run
on 18."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psycopg
import pytest

from rollout_lib import operations as op
from rollout_lib.database.connection import Database, connect
from rollout_lib.database.migrations import migrate
from rollout_lib.database.session import open_session
from rollout_lib.model import State
from rollout_lib.plan import Plan, load_plan
from rollout_lib.rehearsal.scenarios import SCENARIOS
from rollout_lib.rehearsal.server import create_database, drop_database, embedded, stop
from rollout_lib.rehearsal.world import World

SERVERS = (
    "postgresql-18",
    pytest.param("postgresql-15", marks=pytest.mark.slow),
    pytest.param("pgbouncer", marks=pytest.mark.slow),
)
DEBIAN_15 = Path("/usr/lib/postgresql/15/bin")
# Whoever may log in through the pooler: it knows no other names.
POOLED_USERS = (
    "postgres",
    "rollout_observer",
    "rollout_operator",
    "anon",
    "authenticated",
    "service_role",
    "stranger",
)
VARIABLE = "ROLLOUT_REHEARSAL_URL"
FREEZE = (
    "freezes: [{start: 2025-12-03T14:10:00+01:00, end: 2025-12-03T14:20:00+01:00, reason:"
    ' "release"}]\n'
)
# What Debian calls a package, and the program of it that the tests use.
PROGRAMS = {
    "postgresql-15": str(DEBIAN_15 / "initdb"),
    "systemd": "systemd-analyze",
    "prometheus": "promtool",
}


def needs(package: str, program: str = "") -> str:
    """The path of a Debian package's program; without it the test is skipped by the package's name.

    With $ROLLOUT_REQUIRE_ALL set, as CI does, it fails instead: there nothing may be left out
    unseen."""
    wanted = program or PROGRAMS.get(package, package)
    found = shutil.which(wanted, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None and os.environ.get("ROLLOUT_REQUIRE_ALL"):
        pytest.fail(
            f"the package {package} is not installed here, and $ROLLOUT_REQUIRE_ALL asks for it",
            pytrace=False,
        )
    if found is None:
        pytest.skip(f"the package {package} is not installed here")
    return found


LONGEST_FIRST = ("rehearsal", "live", "notebooks", "faults", "slow", "browser", "attacks", "db")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Folders of long files first, so that no worker is left alone with one at the end."""
    places = {name: place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: places.get(item.path.parent.name, len(places)))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """tests/db on every kind of server, but for those that say that one is enough."""
    if metafunc.definition.get_closest_marker("one_server"):
        return
    if "server_kind" in metafunc.fixturenames and metafunc.definition.path.parent.name == "db":
        metafunc.parametrize("server_kind", SERVERS, indirect=True, scope="session")


@pytest.fixture(scope="session")
def server_kind(request) -> str:
    """Which server: one of SERVERS."""
    return getattr(request, "param", SERVERS[0])


@pytest.fixture(scope="session")
def _running(tmp_path_factory) -> Iterator[Callable[[str], str]]:
    """Starts a server when it is first asked for, and stops all of them at the end."""
    started: dict[str, tuple[Path, Path | None, str]] = {}

    def address(package: str) -> str:
        if package not in started:
            binaries = DEBIAN_15 if package == "postgresql-15" else None
            folder = tmp_path_factory.mktemp("postgres")
            started[package] = (
                folder,
                binaries,
                embedded(folder, durable=False, binaries=binaries),
            )
        return started[package][2]

    yield address
    for folder, binaries, _ in started.values():
        stop(folder, binaries=binaries)


@pytest.fixture(scope="session")
def server(server_kind, _running) -> str:
    """The direct address of a server that belongs to this test session: for its administrator."""
    if server_kind == "postgresql-15":
        needs("postgresql-15")
        return _running("postgresql-15")
    return _running("postgresql-18")


@pytest.fixture(scope="session")
def door(server_kind, server, tmp_path_factory) -> Iterator[Callable[[str], str]]:
    """From the direct address of a database to the one that the suite is given: the pooler's, or
    the same.
    """
    if server_kind != "pgbouncer":
        yield lambda address: address
        return
    pooler, place = _start_pooler(needs("pgbouncer"), server)
    yield lambda address: psycopg.conninfo.make_conninfo(address, host=str(place), port="6543")
    pooler.terminate()
    pooler.wait(timeout=30)
    shutil.rmtree(place, ignore_errors=True)


def _start_pooler(program: str, server: str) -> tuple[subprocess.Popen, Path]:
    """pgbouncer in transaction mode in front of a server; as root it runs as the
    server's own user.
    """
    behind = psycopg.conninfo.conninfo_to_dict(server)
    place = Path(
        f"/tmp/rollout-pooler-{uuid.uuid4().hex[:10]}"
    )  # a socket's path may have 107 characters
    place.mkdir(mode=0o700)
    (place / "users").write_text("".join(f'"{name}" ""\n' for name in POOLED_USERS))
    (place / "pgbouncer.ini").write_text(
        f"[databases]\n* = host={behind['host']} port={behind['port']}\n[pgbouncer]\nlisten_addr"
        f" =\nlisten_port = 6543\nunix_socket_dir = {place}\nauth_type = trust\nauth_file ="
        f" {place}/users\npool_mode = transaction\nmax_client_conn = 200\ndefault_pool_size ="
        f" 10\nserver_idle_timeout = 5\nlogfile = {place}/log\n"
    )
    account = pwd.getpwnam("nobody") if os.getuid() == 0 else None
    if account:
        for path in (place, *place.iterdir()):
            os.chown(path, account.pw_uid, account.pw_gid)
    pooler = subprocess.Popen(
        [program, "-q", str(place / "pgbouncer.ini")],
        user=account.pw_uid if account else None,
        group=account.pw_gid if account else None,
        extra_groups=[] if account else None,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=place,
    )
    for _ in range(200):
        with socket.socket(socket.AF_UNIX) as knock:
            if pooler.poll() is None and knock.connect_ex(str(place / ".s.PGSQL.6543")) == 0:
                return pooler, place
        time.sleep(0.05)
    pytest.fail(f"pgbouncer did not start: {(place / 'log').read_text()[-800:]}")


@pytest.fixture(autouse=True)
def _outputs_of_before() -> Iterator[None]:
    """A command that a test runs in this process names its output folder for what runs below it,
    and no further.
    """
    before = os.environ.get("ROLLOUT_OUTPUTS")
    yield
    (
        os.environ.pop("ROLLOUT_OUTPUTS", None)
        if before is None
        else os.environ.update(ROLLOUT_OUTPUTS=before)
    )


@pytest.fixture
def plan() -> Plan:
    """The shipped plan of the rehearsal."""
    return load_plan("parameters/week6.rehearsal.yaml")


@pytest.fixture
def empty_database(server, door, plan, tmp_path, monkeypatch) -> Iterator[Database]:
    """A new database without any table, as the plan finds it."""
    name = f"rehearsal_{uuid.uuid4().hex[:12]}"
    address = create_database(server, name)
    monkeypatch.setenv(plan.database.variable, door(address))
    monkeypatch.setenv("ROLLOUT_OUTPUTS", str(tmp_path / "outputs"))
    yield connect(plan)
    drop_database(server, name)


@pytest.fixture
def database(empty_database) -> Database:
    """A new database with the runbook's objects and the ledger."""
    migrate(empty_database, apply=True)
    return empty_database


@pytest.fixture
def supabase_roles(server) -> Iterator[tuple[str, ...]]:
    """Supabase's roles behind its keys, as they are there: ask for them before the database."""
    roles = ("anon", "authenticated", "service_role")
    with psycopg.connect(server, autocommit=True) as connection:
        for role in roles:
            connection.execute(
                f"CREATE ROLE {role} LOGIN {'BYPASSRLS' if role == 'service_role' else ''}"
            )
        yield roles
        for role in roles:
            connection.execute(f"DROP ROLE {role}")


@pytest.fixture
def direct(server, database) -> str:
    """The address of the test's database past the pooler, for what an administrator does to it."""
    return psycopg.conninfo.make_conninfo(server, dbname=database.place.database)


class Evening:
    """A rollout at some moment of its day: sessions at `now`, what a person does to it, what is
    configured.
    """

    def __init__(self, direct: str, plan_file: Path, now: datetime) -> None:
        self.direct, self.plan_file, self.now = direct, plan_file, now

    def session(self, operator: str = "Rita"):
        return open_session(str(self.plan_file), as_of=self.now.isoformat(), operator=operator)

    def sql(self, statement: str) -> list[tuple]:
        with psycopg.connect(self.direct, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def configuration(self) -> list[tuple]:
        return self.sql("SELECT c::text FROM webhook_routing_config c")

    def goes_on(self, minutes: int = 5) -> None:
        """Time passes, with healthy traffic: ten rows a minute, one of them to unified while routing
        is on.
        """
        began, self.now = self.now, self.now + timedelta(minutes=minutes)
        self.sql(f"""INSERT INTO webhook_routing_logs
                (created_at, domain, routed_to, status, response_time_ms, message_id)
            SELECT CAST('{began}' AS timestamptz) + n * interval '6 seconds', 'jobs',
                   CASE WHEN n % 10 = 5 AND (SELECT bool_or(enabled) FROM webhook_routing_config)
                        THEN 'unified' ELSE 'legacy' END, 'success', 700,
                   gen_random_uuid()::text
              FROM generate_series(0, {minutes * 10 - 1}) n""")

    def attest(self, value: str = "none") -> None:
        op.attest(
            self.session(), subject="complaints", value=value, reason="asked the support desk"
        )

    def acknowledge(self, subject: str, value: str) -> None:
        op.attest(self.session(), subject=subject, value=value, reason="talked about it")

    def raise_to(self, to: int = 25, *, operator: str = "Rita", **how):
        how = {"reason": "scaling", "dry_run": False, **how}
        return op.change_percentage(self.session(operator), to=Decimal(to), **how).checkpoint

    def unmet(self, to: int = 25, **how) -> set[str]:
        """The names of the gates that refuse a raise; that it refused, wholly, is asserted here."""
        before = self.configuration()
        done = self.raise_to(to, **how)
        names = {gate.name for gate in done.change.gates if not gate.met}
        assert (done.exit_code, done.change.applied) == (60, False)
        assert all(name in done.sentence for name in names)
        assert self.configuration() == before
        kinds = self.sql(
            "SELECT kind FROM rollout.ledger WHERE operation = 'change' ORDER BY seq DESC LIMIT 1"
        )
        assert kinds == [("attempt",)], "a refusal is recorded as an attempt"
        return names


@pytest.fixture(scope="session")
def passed(server, tmp_path_factory):
    """Names of two databases to copy: the morning (nothing begun) and the end of a passed 10 %
    phase.
    """
    file = tmp_path_factory.mktemp("gates") / "plan.yaml"
    file.write_text(Path("parameters/week6.rehearsal.yaml").read_text() + FREEZE)
    plan, names, moments = load_plan(file), {}, {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROLLOUT_OUTPUTS", str(file.parent))
        for kind in ("morning", "evening"):
            name = f"rehearsal_{kind}_{uuid.uuid4().hex[:8]}"
            address = create_database(server, name, names.get("morning"))
            names[kind] = name
            patch.setenv(VARIABLE, address)
            migrate(connect(plan), apply=True)
            world = World(address, plan, SCENARIOS["healthy"], seed=1)
            if kind == "morning":
                world.prelude(world.start)
            else:
                world.now = world.start
                day = Evening(address, file, world.start)
                day.attest()
                assert day.raise_to(10).change.applied
                for _ in range(16):
                    world.advance(world.now + timedelta(minutes=15))
                    day.now = world.now
                    op.monitor(day.session(), slot="now")
                assert op.evaluate_phase(day.session()).checkpoint.state is State.PASS
            moments[kind] = world.now
            world.close()
    yield file, names, moments
    for name in names.values():
        drop_database(server, name)


@pytest.fixture
def a_day(server, door, passed, tmp_path, monkeypatch) -> Iterator[Callable[[str], Evening]]:
    """Copies of the two days, each in a database of its own, the environment set for the last one
    made.
    """
    made = []

    def a_day(kind: str) -> Evening:
        file, names, moments = passed
        own = tmp_path / "plan.yaml"
        own.write_text(file.read_text())
        direct = create_database(server, f"rehearsal_{uuid.uuid4().hex[:12]}", names[kind])
        made.append(direct)
        monkeypatch.setenv(VARIABLE, door(direct))
        monkeypatch.setenv("ROLLOUT_OUTPUTS", str(tmp_path / "outputs"))
        return Evening(direct, own, moments[kind])

    yield a_day
    for direct in made:
        drop_database(server, psycopg.conninfo.conninfo_to_dict(direct)["dbname"])


@pytest.fixture
def evening(a_day) -> Evening:
    """The end of a passed 10 % phase, 13:00 on Day 3."""
    return a_day("evening")


class Hook:
    """An HTTP endpoint that keeps what was posted to it; `answer` is its status, `opens` may keep
    it waiting.
    """

    def __init__(self) -> None:
        hook, self.posts, self.answer, self.opens = self, [], 200, threading.Event()
        self.opens.set()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.opens.wait(60)
                if hook.answer == 200:
                    hook.posts.append(json.loads(body))
                self.send_response(hook.answer)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"json://:s3cret-token@127.0.0.1:{self.server.server_port}/hook"

    @property
    def subjects(self) -> list[str]:
        return [post["title"] for post in self.posts]


@pytest.fixture
def hook() -> Iterator[Hook]:
    """Where messages are posted to."""
    hook = Hook()
    yield hook
    hook.opens.set()
    hook.server.shutdown()
    hook.server.server_close()
