"""Warm kernels: fresh processes of one warm parent, one drawing server, and what happens without
them.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import warnings
from pathlib import Path

import nbformat
import pytest

from rollout_lib.display import drawer
from rollout_lib.runner import kernels, servers
from rollout_lib.runner.engine import HonestEngine, IpcKernelManager

pytestmark = pytest.mark.slow

SPEC = {
    "data": {"values": [{"x": 1, "y": 2}]},
    "mark": "point",
    "encoding": {"x": {"field": "x", "type": "quantitative"}},
}


def execute(*sources: str, kernel: str = "warm", **more: str) -> list[str]:
    """What each cell of a small notebook printed."""
    from papermill.engines import NotebookExecutionManager

    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source) for source in sources]
    )
    for cell in notebook.cells:
        cell.metadata["papermill"] = {}
    notebook.metadata["papermill"] = {}
    manager = NotebookExecutionManager(notebook, progress_bar=False, log_output=False)
    HonestEngine.execute_managed_notebook(manager, "python3", **kernels.options(kernel), **more)
    return ["".join(output.get("text", "") for output in cell.outputs) for cell in notebook.cells]


def test_nothing_leaks_from_one_run_to_the_next():
    """What a run leaves in a module, in the builtins, in its environment or its folder, the next
    one never sees.
    """
    execute(
        "import builtins, math, os",
        "builtins.left = math.left = os.environ['LEFT'] = 'x'; left_name = 1",
        "os.chdir('/')",
    )
    (seen,) = execute(
        "import builtins, math, os\nprint(hasattr(builtins, 'left'), hasattr(math, 'left'), 'LEFT'"
        " in os.environ, os.getcwd() == '/', 'left_name' in globals())"
    )
    assert seen == "False False False False False\n"


def test_each_run_is_a_process_of_its_own():
    """Two runs have two process ids, and neither is the server's."""
    pids = [int(execute("import os; print(os.getpid())")[0]) for _ in range(2)]
    assert len({*pids, *(server.process.pid for server in servers.running().values())}) == 4


def test_two_runs_in_one_folder_never_share_a_socket():
    """Each kernel has sockets of its own name, none in the folder of the run, and none is left
    after it.
    """
    places = [IpcKernelManager().ip for _ in range(2)]
    assert len({*places}) == 2
    assert not {*places} & {*map(str, Path.cwd().iterdir())}
    (shown,) = execute(
        "from ipykernel.kernelapp import IPKernelApp; print(IPKernelApp.instance().ip)"
    )
    place = Path(shown.strip())
    assert place.parent == Path(places[0]).parent
    assert list(place.parent.glob(f"{place.name}*")) == []


def test_a_killed_server_is_started_again():
    """kill -9 on both servers between two runs: the next run is warm again."""
    execute("1")
    for server in servers.running().values():
        server.process.kill()
        server.process.wait()
    assert execute("print('here')") == ["here\n"]
    assert set(servers.running()) == {"kernels", "drawing"}


def test_without_a_server_a_plain_kernel_runs_and_says_so(monkeypatch):
    """Where the servers cannot be had, the run goes on in a plain kernel with a warning that names
    the reason.
    """
    monkeypatch.setattr(servers, "_MODULES", {"kernels": "rollout_lib.runner.nowhere"})
    monkeypatch.setattr(servers, "_servers", {})
    with pytest.warns(RuntimeWarning, match="no warm kernel .*did not start"):
        assert execute("print('here')") == ["here\n"]


def test_a_server_that_does_not_answer_is_replaced_by_a_plain_kernel(monkeypatch):
    """The fork is asked for and never answered: the run goes on in a plain
    kernel, with a warning.
    """
    servers.await_ready()
    monkeypatch.setattr(servers, "await_ready", lambda: None)  # it was well a moment ago
    servers.running()["kernels"].process.kill()
    servers._servers["kernels"].process.wait()
    with pytest.warns(RuntimeWarning, match="no warm kernel .*; a plain one is used"):
        assert execute("print('here')") == ["here\n"]


def test_a_server_that_dies_during_a_run_takes_nothing_with_it():
    """The run ends well in the kernel that it has, and the next one is warm again
    without a word.
    """
    servers.await_ready()
    server = servers.running()["kernels"].process
    assert (
        execute("1", f"import os, signal; os.kill({server.pid}, signal.SIGKILL)", "print('here')")[
            2
        ]
        == "here\n"
    )
    server.wait()
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        assert execute("print('again')") == ["again\n"]


def test_a_chart_is_the_same_from_the_server_and_alone(monkeypatch):
    """The drawing server gives what drawing here gives; a socket that nobody serves changes
    nothing.
    """
    monkeypatch.delenv(drawer.VARIABLE, raising=False)
    alone = drawer.svg(SPEC)
    servers.await_ready()
    monkeypatch.setenv(drawer.VARIABLE, servers.drawer())
    assert drawer.svg(SPEC) == alone
    monkeypatch.setenv(drawer.VARIABLE, "/nonexistent/socket")
    assert drawer.svg(SPEC) == alone


def test_a_spec_that_cannot_be_drawn_fails_where_it_was_asked_for(monkeypatch):
    """The server answers nothing and lives on; who asked gets the reason."""
    servers.await_ready()
    monkeypatch.setenv(drawer.VARIABLE, servers.drawer())
    with pytest.raises(ValueError, match=r"mark|encoding|Vega"):
        drawer.svg({"mark": "nonsense", "data": {"values": []}, "encoding": {"x": {"field": 3}}})
    assert drawer.svg(SPEC).startswith("<svg")


RUNNER = """
from tests_warm import execute
from rollout_lib.runner import servers
servers.await_ready()
print(*(server.process.pid for server in servers.running().values()), flush=True)
print(*(server.folder for server in servers.running().values()), flush=True)
execute("import os, time; open({pipe!r}, 'w').write(str(os.getpid())); time.sleep(600)")
"""


def test_nothing_is_left_of_a_runner_that_was_killed(tmp_path):
    """kill -9 in the middle of a cell: its warm kernel ends, both servers end, and their sockets
    are removed.
    """
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / "tests_warm.py").symlink_to(Path(__file__).resolve())
    process = subprocess.Popen(
        [sys.executable, "-c", RUNNER.format(pipe=str(pipe))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    with process:
        pids, folders = process.stdout.readline().split(), process.stdout.readline().split()
        pids.append(pipe.read_text())  # the kernel's, once its cell runs
        process.kill()
        assert (
            process.stderr.read() == ""
        )  # read to its end: until the last process that it started is gone
    assert (len(pids), len(folders)) == (3, 2)
    subprocess.run(
        ["timeout", "20", "tail", *(f"--pid={pid}" for pid in pids), "-f", "/dev/null"], check=True
    )
    assert not [folder for folder in folders if Path(folder).exists()]


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), signal.SIGKILL)", "sys.exit(3)"])
@pytest.mark.parametrize("when", ["", "servers.await_ready(); "])
def test_the_servers_leave_without_a_word(when, end):
    """Their runner is killed, or ends, while they still start or after it: nothing on the terminal,
    nothing left.
    """
    code = (
        f"import os, signal, sys; from rollout_lib.runner import servers; servers.warm_up(); {when}"
    )
    code += f"print(*(one.folder for one in servers.running().values()), flush=True); {end}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode in (-9, 3), done.stderr) == (
        True,
        "",
    )  # read until both servers are gone, too
    folders = done.stdout.split()
    assert len(folders) == 2
    assert not [folder for folder in folders if Path(folder).exists()]


def test_asking_the_drawer_and_leaving_does_not_end_it():
    """Who asks for a chart and is gone before it is drawn: the next one is answered by the same
    server.
    """
    servers.await_ready()
    for _ in range(3):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(servers.drawer())
            client.sendall(json.dumps(SPEC).encode() + b"\n")
            client.shutdown(socket.SHUT_RD)
    assert drawer._asked(servers.drawer(), SPEC).startswith("<svg")


LISTENS = """
import subprocess, sys
child = '''
import os, pathlib, signal, sys
told = pathlib.Path({told!r})
signal.signal(signal.SIGINT, lambda *_: told.write_text("interrupted") and os._exit(0))
print("ready", flush=True)
sys.stdin.read()
'''
process = subprocess.Popen([sys.executable, "-c", child], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
print(process.stdout.readline().strip(), process.pid)
"""


@pytest.mark.parametrize("kernel", ["plain", "warm"])
def test_a_kernel_whose_run_is_over_is_not_interrupted(tmp_path, kernel):
    """An interrupt goes to all that a kernel started: none comes when the run ends, and so no
    complaint about one.
    """
    told = tmp_path / "told"
    for how in (
        "graceful",
        "immediate",
    ):  # the second is how it is done; the first leaves time to hear of it
        (said,) = execute(LISTENS.format(told=str(told)), kernel=kernel, shutdown_kernel=how)
        word, pid = said.split()
        assert word == "ready"
        subprocess.run(["timeout", "20", "tail", f"--pid={pid}", "-f", "/dev/null"], check=True)
        assert not told.exists()
