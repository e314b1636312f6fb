"""JupyterLab as a process of ours on loopback: started, shown, and ended by whatever ends the
session.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from rollout_lib.errors import CouldNotMeasure, UsageError
from rollout_lib.plan import Plan

HOST = "127.0.0.1"
STATE = ".lab"  # in the working folder: the logs, and which documents are open
_START_S, _STOP_S = 180.0, 30.0
Ready = Callable[
    [dict[str, Any], Path], None
]  # what the server wrote about itself, and its runtime folder


class LabFailed(CouldNotMeasure):
    """JupyterLab {what}. No routing was changed by that: `rollout status` says what is true of it
    now. What was saved stays where it is, to be sealed: rollout seal --plan {plan} {log}"""


def refuse_taken(port: int) -> None:
    """Raises UsageError where a port that was asked for cannot be listened on; 0 is any."""
    if not port:
        return
    try:
        socket.create_server((HOST, port)).close()
    except (OSError, OverflowError) as error:
        raise UsageError(
            reason=(
                f"Port {port} of {HOST} cannot be used ({error}); without --port a free one is "
                "taken."
            )
        ) from None


@contextmanager
def world_of(
    plan: Plan, folder: Path, practising: bool
) -> Iterator[subprocess.Popen[bytes] | None]:
    """Beside a practice day its world, which ends with us even if we are killed: its standard input
    closes.
    """
    if not practising:
        yield None
        return
    with open_private(_state(folder) / "world.log") as log:
        command = [sys.executable, "-m", "rollout_lib.rehearsal.practice", plan.path]
        world = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield world
    finally:
        _end(world)


def serve(
    plan: Plan,
    outputs: Path,
    folder: Path,
    operator: str,
    *,
    port: int,
    browser: bool,
    ready: Ready,
    world: subprocess.Popen[bytes] | None,
) -> int:
    """Run JupyterLab until the person shuts it down or a signal ends the session.

    It shows `outputs`, so that records can be opened beside the copies. `ready` is called once it
    listens, before its address is told. Returns 0, or 50 where the practice world ended before the
    session did; raises LabFailed where JupyterLab did not start or broke."""
    log = _state(folder) / "jupyter.log"
    with tempfile.TemporaryDirectory(prefix="rollout-lab-") as runtime, open_private(log) as said:
        _give_token(Path(runtime))
        process = subprocess.Popen(
            _command(outputs, folder, port),
            cwd=folder,
            umask=0o077,
            stdin=subprocess.PIPE,
            stdout=said,
            env=_environment(plan, outputs, folder, operator, runtime),
            stderr=said,
            start_new_session=True,
        )
        with _ended_by_signals(process) as asked:
            told = _wait_for_its_word(process, Path(runtime))
            if told:
                _while_it_lives(process, lambda: ready(told, Path(runtime)))
                _announce(told, Path(runtime), process.pid, browser=browser)
            elif not asked:
                what = f"did not start within {_START_S:.0f} s"
                if process.poll() is not None:
                    what = f"did not start (it ended with {process.returncode})"
                raise LabFailed(what=what, plan=plan.path, log=_end_of(log))
            gone = _wait(process, world, folder)
            code = process.wait()
    if code and not asked:
        raise LabFailed(what=f"broke (it ended with {code})", plan=plan.path, log=_end_of(log))
    return 50 if gone else 0


def _while_it_lives(process: subprocess.Popen[bytes], do: Callable[[], None]) -> None:
    """Do something that asks the server, and wait for it no longer than the server is there to
    answer.
    """
    doing = threading.Thread(target=do, daemon=True)
    doing.start()
    while doing.is_alive() and process.poll() is None:
        doing.join(0.2)


def _wait(
    process: subprocess.Popen[bytes], world: subprocess.Popen[bytes] | None, folder: Path
) -> bool:
    """Wait for the end of JupyterLab; whether the world ended before, which is said at once."""
    while world is not None and world.poll() is None and process.poll() is None:
        time.sleep(0.2)
    if world is None or process.poll() is not None:
        return False
    print(
        f"✗ The practice world ended with {world.returncode}: no request arrives any more, and its"
        " endpoints do not answer. End the session and open it again. It said"
        f" last:\n{_end_of(_state(folder) / 'world.log')}",
        flush=True,
    )
    return True


def _end_of(log: Path) -> str:
    return log.read_text(errors="replace")[-1500:]


def _state(folder: Path) -> Path:
    state = folder / STATE
    state.mkdir(mode=0o700, exist_ok=True)
    state.chmod(0o700)  # one of an older session too
    return state


def open_private(path: Path) -> IO[str]:
    """Open a file for writing that nobody else may read, whoever could read the one before it."""
    path.unlink(missing_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w")


def _give_token(runtime: Path) -> None:
    """Name the session's token in a file of its own: one that JupyterLab makes itself, it logs."""
    with open_private(runtime / "jupyter_server_config.json") as file:
        json.dump({"IdentityProvider": {"token": secrets.token_hex(24)}}, file)


def _command(outputs: Path, folder: Path, port: int) -> list[str]:
    command = [
        sys.executable,
        "-m",
        "rollout_lib.cli.lab.child",
        f"--ServerApp.ip={HOST}",
        "--no-browser",
        f"--ServerApp.root_dir={outputs}",
        f"--ServerApp.preferred_dir={folder}",
    ]
    # Not a login shell: that would forget the PATH with the command `rollout`.
    command += [
        "--ServerApp.terminado_settings={'shell_command':"
        f" ['{os.environ.get('SHELL') or '/bin/sh'}']}}"
    ]
    command += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0"] if port else []
    return command + (["--allow-root"] if os.geteuid() == 0 else [])


def _environment(
    plan: Plan, outputs: Path, folder: Path, operator: str, runtime: str
) -> dict[str, str]:
    """What kernels and terminals find: the plan, who operates, the archive, and the command
    `rollout`.
    """
    own = str(Path(__file__).parent)  # labconfig/ in it: quiet, saving often, README as a page
    before = os.environ.get("JUPYTER_CONFIG_PATH")
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "ROLLOUT_PLAN": str(Path(plan.path).absolute()),
        "ROLLOUT_OPERATOR": operator,
        "ROLLOUT_OUTPUTS": str(outputs),
        "JUPYTER_CONFIG_PATH": os.pathsep.join(filter(None, (runtime, own, before))),
        "JUPYTER_RUNTIME_DIR": runtime,
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / STATE / "workspaces"),
    }


@contextmanager
def _ended_by_signals(process: subprocess.Popen[bytes]) -> Iterator[list[int]]:
    """Ctrl-C and SIGTERM end JupyterLab, once; the list then holds the signal.
    Sealing comes after.
    """
    asked: list[int] = []

    def end(number: int, _: object) -> None:
        if not asked:
            asked.append(number)
            print(
                "\nEnding the session: JupyterLab stops, then what was saved is sealed …",
                flush=True,
            )
            process.terminate()

    before = {
        number: signal.signal(number, end)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield asked
    finally:
        _end(process)
        for number in before:  # until sealing is over as well
            signal.signal(number, signal.SIG_IGN)


def _wait_for_its_word(process: subprocess.Popen[bytes], runtime: Path) -> dict[str, Any]:
    """What it writes about itself once it listens; {} where it ended, or did not listen in time."""
    file = runtime / f"jpserver-{process.pid}.json"
    deadline = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            told: dict[str, Any] = json.loads(file.read_text())
            return told
        except (OSError, ValueError):
            time.sleep(0.1)
    return {}


def _announce(told: dict[str, Any], runtime: Path, pid: int, *, browser: bool) -> None:
    """Print the address that opens it, and open it: by a file, so that no process list shows the
    token.
    """
    print(f"JupyterLab: {told['url'].rstrip('/')}/lab?token={told['token']}")
    print(
        "Ctrl-C here, or File > Shut Down there, ends the session and seals what was saved.",
        flush=True,
    )
    page = runtime / f"jpserver-{pid}-open.html"
    if browser and page.exists():
        threading.Thread(target=webbrowser.open, args=(page.as_uri(),), daemon=True).start()


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdin is not None:
        process.stdin.close()
