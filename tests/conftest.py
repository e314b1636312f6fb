"""Real servers for the tests: the embedded PostgreSQL 18, Debian's 15, a pooler, a database for each test.

Every test in tests/db that uses the `database` runs three times: on 18, on 15, and on 18 through pgbouncer in
transaction mode, as Supabase's port 6543 does it. All others run on 18.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from rollout_lib.database import Database, connect
from rollout_lib.migrations import migrate
from rollout_lib.plan import Plan, load_plan
from rollout_lib.rehearsal.server import create_database, drop_database, embedded, stop

SERVERS = ("postgresql-18", "postgresql-15", "pgbouncer")
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
# What Debian calls a package, and the program of it that the tests use.
PROGRAMS = {"postgresql-15": str(DEBIAN_15 / "initdb"), "systemd": "systemd-analyze", "prometheus": "promtool"}


def needs(package: str, program: str = "") -> str:
    """The path of a Debian package's program; without it the test is skipped by the package's name.

    With $ROLLOUT_REQUIRE_ALL set, as CI does, it fails instead: there nothing may be left out unseen.
    """
    wanted = program or PROGRAMS.get(package, package)
    found = shutil.which(wanted, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None and os.environ.get("ROLLOUT_REQUIRE_ALL"):
        pytest.fail(
            f"the package {package} is not installed here, and $ROLLOUT_REQUIRE_ALL asks for it", pytrace=False
        )
    if found is None:
        pytest.skip(f"the package {package} is not installed here")
    return found


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """tests/db on every kind of server."""
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
            started[package] = (folder, binaries, embedded(folder, durable=False, binaries=binaries))
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
    """From the direct address of a database to the one that the suite is given: the pooler's, or the same."""
    if server_kind != "pgbouncer":
        yield lambda address: address
        return
    pooler, place = _start_pooler(needs("pgbouncer"), server)
    yield lambda address: psycopg.conninfo.make_conninfo(address, host=str(place), port="6543")
    pooler.terminate()
    pooler.wait(timeout=30)
    shutil.rmtree(place, ignore_errors=True)


def _start_pooler(program: str, server: str) -> tuple[subprocess.Popen, Path]:
    """pgbouncer in transaction mode in front of a server; as root it runs as the server's own user."""
    behind = psycopg.conninfo.conninfo_to_dict(server)
    place = Path(f"/tmp/rollout-pooler-{uuid.uuid4().hex[:10]}")  # a socket's path may have 107 characters
    place.mkdir(mode=0o700)
    (place / "users").write_text("".join(f'"{name}" ""\n' for name in POOLED_USERS))
    (place / "pgbouncer.ini").write_text(
        f"[databases]\n* = host={behind['host']} port={behind['port']}\n"
        f"[pgbouncer]\nlisten_addr =\nlisten_port = 6543\nunix_socket_dir = {place}\nauth_type = trust\n"
        f"auth_file = {place}/users\npool_mode = transaction\nmax_client_conn = 200\ndefault_pool_size = 10\n"
        f"server_idle_timeout = 5\nlogfile = {place}/log\n"
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
            connection.execute(f"CREATE ROLE {role} LOGIN {'BYPASSRLS' if role == 'service_role' else ''}")
        yield roles
        for role in roles:
            connection.execute(f"DROP ROLE {role}")


@pytest.fixture
def direct(server, database) -> str:
    """The address of the test's database past the pooler, for what an administrator does to it."""
    return psycopg.conninfo.make_conninfo(server, dbname=database.place.database)
