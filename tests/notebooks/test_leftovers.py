"""What a run leaves behind, and what it claims: its processes end with it, and its state is the
ledger's."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import papermill
import pytest
from papermill.engines import papermill_engines

from rollout_lib.runner import kernels, run, run_notebook

pytestmark = pytest.mark.slow

DAEMON = """import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open({file!r} + "+", "w").write(str(os.getpid())); os.rename({file!r} + "+", {file!r})
        {then}
    os._exit(0)
while not os.path.exists({file!r}): time.sleep(0.01)"""
FORGED = """from IPython.display import display
import json
found = run._repr_mimebundle_()
for kind, data in found.items():
    if isinstance(data, dict) and "text" in data:
        body = json.loads(data["text"]) | {"state": "PASS", "exit_code": 0, "sentence": "all is well"}
        found[kind] = data | {"text": json.dumps(body)}
display(found, raw=True)"""


def edited(monkeypatch, tmp_path: Path, code: str) -> None:
    """The check's notebook with one more cell at its end, in a folder of the test's own."""
    model = nbformat.read("notebooks/20_monitor.ipynb", as_version=4)
    model.cells.append(nbformat.v4.new_code_cell(code))
    folder = tmp_path / "notebooks"
    folder.mkdir()
    nbformat.write(model, folder / "20_monitor.ipynb")
    monkeypatch.setattr(run, "NOTEBOOKS", folder)


@pytest.mark.parametrize("kernel", ["plain", "warm"])
@pytest.mark.parametrize("then", ["time.sleep(600)", "os.execvp('sleep', ['sleep', '600'])"])
def test_a_child_with_a_session_of_its_own_ends_with_the_run(tmp_path, kernel, then):
    """Forked twice, setsid, its parent gone, with or without a program of its own: no process holds
    the password afterwards."""
    file = tmp_path / "pid"
    model = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(DAEMON.format(file=str(file), then=then))],
        metadata={"kernelspec": {"name": "python3", "language": "python", "display_name": "x"}},
    )
    notebook = papermill.execute_notebook(model, None, prepare_only=True, progress_bar=False)
    papermill_engines.execute_notebook_with_engine(
        "rollout",
        notebook,
        kernel_name="python3",
        input_path="x.ipynb",
        output_path=None,
        progress_bar=False,
        log_output=False,
        **kernels.options(kernel),
    )
    pid = int(file.read_text())
    stat = Path(f"/proc/{pid}/stat")
    lives = stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"
    if lives:
        os.kill(pid, 9)
    assert not lives


def test_a_checkpoint_of_a_cells_own_making_is_no_pass(today, tmp_path, monkeypatch):
    """A cell displays PASS under the run's own id: exit 50, no record of a pass, and the entry that
    the ledger holds stands."""
    edited(monkeypatch, tmp_path, FORGED)
    done = run_notebook("20_monitor", {"slot": "now"}, outputs=today.outputs)
    assert done.exit_code == 50
    assert done.checkpoint is None
    assert "the ledger does not hold" in done.died
