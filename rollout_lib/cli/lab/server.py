"""JupyterLab as a process of ours on loopback: started, shown, and ended by whatever ends the session."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rollout_lib.errors import RolloutError, UsageError
from rollout_lib.plan import Plan

HOST = "127.0.0.1"
STATE = ".lab"  # in the working folder: the log, and which documents were open
_START_S, _STOP_S = 180.0, 30.0


def refuse_taken(port: int) -> None:
    """Raises UsageError where a port that was asked for cannot be listened on; 0 is any."""
    if not port:
        return
    try:
        socket.create_server((HOST, port)).close()
    except (OSError, OverflowError) as error:
        raise UsageError(reason=f"Port {port} of {HOST} cannot be used ({error}); without --port a free one is "
                         "taken.") from None  # fmt: skip


@contextmanager
def world_of(plan: Plan, folder: Path, practising: bool) -> Iterator[None]:
    """Beside a practice day its world, which ends with us even if we are killed: its standard input closes."""
    if not practising:
        yield
        return
    with open(_state(folder) / "world.log", "a") as log:
        command = [sys.executable, "-m", "rollout_lib.rehearsal.practice", plan.path]
        world = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True)
    try:
        yield
    finally:
        _end(world)


def serve(plan: Plan, outputs: Path, folder: Path, first: str, operator: str, *, port: int, browser: bool) -> int:
    """Run JupyterLab until the person shuts it down or a signal ends the session.

    It shows `outputs`, so that records can be opened beside the copies, and lands in `folder`. Returns 0; raises
    RolloutError where it did not start or broke.
    """
    log = _state(folder) / "jupyter.log"
    with tempfile.TemporaryDirectory(prefix="rollout-lab-") as runtime, open(log, "w") as said:
        command = _command(outputs, folder, first, port, browser)
        environment = _environment(plan, outputs, folder, operator, runtime)
        process = subprocess.Popen(command, env=environment, cwd=folder, stdin=subprocess.DEVNULL, stdout=said,
                                   stderr=said, start_new_session=True)  # fmt: skip
        with _ended_by_signals(process) as asked:
            _announce(process, Path(runtime), first)
            code = process.wait()
    if code and not asked:
        raise RolloutError(reason=f"JupyterLab ended with {code}. What was saved: rollout seal --plan {plan.path}\n"
                           f"{log.read_text(errors='replace')[-1500:]}")  # fmt: skip
    return 0


def _state(folder: Path) -> Path:
    state = folder / STATE
    state.mkdir(exist_ok=True)
    return state


def _command(outputs: Path, folder: Path, first: str, port: int, browser: bool) -> list[str]:
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.ip={HOST}", f"--ServerApp.root_dir={outputs}",
               f"--ServerApp.preferred_dir={folder}", f"--LabApp.default_url={first}"]  # fmt: skip
    # Not a login shell: that would forget the PATH with the command `rollout`.
    command += [f"--ServerApp.terminado_settings={{'shell_command': ['{os.environ.get('SHELL') or '/bin/sh'}']}}"]
    command += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0"] if port else []
    command += [] if browser else ["--no-browser"]
    return command + (["--allow-root"] if os.geteuid() == 0 else [])


def _environment(plan: Plan, outputs: Path, folder: Path, operator: str, runtime: str) -> dict[str, str]:
    """What kernels and terminals find: the plan, who operates, the archive, and the command `rollout`."""
    own = str(Path(__file__).parent)  # labconfig/ in it: quiet, saving often, README as a page
    before = os.environ.get("JUPYTER_CONFIG_PATH")
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "ROLLOUT_PLAN": str(Path(plan.path).absolute()),
        "ROLLOUT_OPERATOR": operator,
        "ROLLOUT_OUTPUTS": str(outputs),
        "JUPYTER_CONFIG_PATH": f"{own}{os.pathsep}{before}" if before else own,
        "JUPYTER_RUNTIME_DIR": runtime,
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / STATE / "workspaces"),
    }


@contextmanager
def _ended_by_signals(process: subprocess.Popen) -> Iterator[list[int]]:
    """Ctrl-C and SIGTERM end JupyterLab, once; the list then holds the signal. Sealing comes after."""
    asked: list[int] = []

    def end(number: int, _: object) -> None:
        if not asked:
            asked.append(number)
            print("\nEnding the session: JupyterLab stops, then what was saved is sealed …", flush=True)
            process.terminate()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield asked
    finally:
        _end(process)
        for number in before:  # until sealing is over as well
            signal.signal(number, signal.SIG_IGN)


def _announce(process: subprocess.Popen, runtime: Path, first: str) -> None:
    """Wait until it listens, and print the address that opens it."""
    file = runtime / f"jpserver-{process.pid}.json"
    deadline = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            told = json.loads(file.read_text())
        except (OSError, ValueError):
            time.sleep(0.1)
            continue
        print(f"JupyterLab: {told['url'].rstrip('/')}{first}?token={told['token']}")
        print("Ctrl-C here, or File > Shut Down there, ends the session and seals what was saved.", flush=True)
        return


def _end(process: subprocess.Popen) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdin is not None:
        process.stdin.close()
