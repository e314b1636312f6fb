"""How runs end when they end badly: what the record says, what the ledger holds, and that nothing
is left behind.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import nbformat
import papermill
import psutil
import pytest
from papermill.engines import papermill_engines

from rollout_lib.archive import verify
from rollout_lib.archive.chain import link
from rollout_lib.archive.sealing import seal
from rollout_lib.database import ledger as store
from rollout_lib.errors import ParameterError
from rollout_lib.rehearsal.scenarios import SCENARIOS
from rollout_lib.rehearsal.world import World
from rollout_lib.runner import run as runner
from rollout_lib.runner import servers

pytestmark = pytest.mark.slow

NAP = "import time; time.sleep(60)"
DIES = "import os; os._exit(3)"
SWALLOWS = "import time\ntry:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    time.sleep(60)"
LIMIT = "a cell ran longer than 3 s and was stopped"
DEAF = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(60)"


def notebook(*cells: str) -> nbformat.NotebookNode:
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in cells], metadata={"kernelspec": kernel}
    )


def execute(*cells: str, kernel: str = "python3", cell_limit: float = 30, run_limit: float = 60):
    """The notebook after our engine, and why it did not finish ("" where it did)."""
    prepared = papermill.execute_notebook(
        notebook(*cells), None, prepare_only=True, progress_bar=False
    )
    limits = {"cell_limit": cell_limit, "run_limit": run_limit}
    papermill_engines.execute_notebook_with_engine(
        "rollout",
        prepared,
        kernel_name=kernel,
        input_path="x.ipynb",
        output_path=None,
        progress_bar=False,
        log_output=False,
        **limits,
    )
    return prepared, str(prepared.metadata.papermill.get("rollout_died", ""))


def kernels() -> list[psutil.Process]:
    """Kernels that this process has started and that still run."""
    return [
        child
        for child in psutil.Process().children(recursive=True)
        if "ipykernel_launcher" in child.cmdline()
    ]


def states(executed) -> list[str]:
    return [cell.metadata.papermill["status"] for cell in executed.cells]


ENDS = {
    "the kernel dies": (("1", DIES, "2"), {}, "its kernel died"),
    "a cell hangs": (("1", NAP, "2"), {"cell_limit": 3}, LIMIT),
    "a cell swallows its limit": (
        ("1", SWALLOWS, "2"),
        {"cell_limit": 3},
        LIMIT,
    ),
    "a cell hears no limit": (("1", DEAF, "2"), {"cell_limit": 3}, LIMIT),
    "a cell is interrupted": (
        ("1", "raise KeyboardInterrupt", "2"),
        {},
        "a cell was interrupted (KeyboardInterrupt)",
    ),
    "the run is too long": (
        ("1", NAP, "2"),
        {"run_limit": 4},
        "it ran too long (limit of a run: 4 s)",
    ),
    "the run is too long before its kernel is there": (
        ("1",),
        {"run_limit": 0.2},
        "it ran too long",
    ),
}


@pytest.mark.parametrize("how", ENDS)
def test_a_run_that_did_not_finish_says_so(how):
    """What papermill archives as completed is failed here: the cell that ran, the reason, and the
    rest pending.
    """
    cells, limits, words = ENDS[how]
    executed, said = execute(*cells, **limits)
    assert words in said
    (failed,) = [cell for cell in executed.cells if cell.metadata.papermill["status"] == "failed"]
    assert failed.outputs[-1].ename == "RunDied"
    answered = states(executed).index(
        "failed"
    )  # on a busy machine a limit may come before the cell that naps
    assert states(executed) == ["completed"] * answered + ["failed"] + ["pending"] * (
        len(cells) - answered - 1
    )
    assert answered == 1 or "run_limit" in limits
    assert executed.metadata.papermill["exception"] is True
    assert not kernels()


def test_a_missing_kernel_says_so():
    """Without the kernel that a notebook names no cell ran, and none is called completed."""
    executed, said = execute("1", "2", kernel="no_such_kernel")
    assert "No such kernel named no_such_kernel" in said
    assert states(executed) == ["failed", "pending"]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGTERM, "told to stop (SIGTERM)"),
        (signal.SIGHUP, "told to stop (SIGHUP)"),
        (signal.SIGINT, "interrupted from the keyboard"),
    ],
)
def test_a_signal_ends_the_run_and_its_kernel(number, words):
    """SIGTERM and Ctrl-C are recorded as what they were, the kernel ends too, and the handlers are
    as before.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started in the background by a shell
        signal.signal(signal.SIGINT, signal.default_int_handler)
    before = signal.getsignal(number)
    executed, said = execute("1", f"import os; os.kill(os.getppid(), {int(number)}); {NAP}", "2")
    assert words in said
    assert states(executed) == ["completed", "failed", "pending"]
    assert not kernels()
    assert signal.getsignal(number) is before


def test_leaving_by_sys_exit_is_no_good_end():
    """`sys.exit(0)` in a cell skips the ones after it: the run raised, and is not complete."""
    executed, _ = execute("1", "import sys; sys.exit(0)", "2")
    assert runner._raised(executed).exit_code == 1
    assert states(executed) == ["completed", "failed", "pending"]


def test_stock_papermill_is_honest_with_our_engine(tmp_path):
    """`papermill --engine rollout` on a kernel that dies exits non-zero and archives a failed
    notebook, once.
    """
    source, target = tmp_path / "in.ipynb", tmp_path / "out" / "day.ipynb"
    nbformat.write(notebook("1", DIES), source)
    command = [
        sys.executable,
        "-m",
        "papermill",
        "--engine",
        "rollout",
        "--no-request-save-on-cell-execute",
        "--no-progress-bar",
        str(source),
        f"archive://{target}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0, done.stderr
    assert "its kernel died" in done.stderr
    assert (
        json.loads(target.read_text())["metadata"]["papermill"]["rollout_died"]
        == "its kernel died."
    )


@pytest.mark.parametrize(
    "given", [{"dry_run": 0}, {"dry_run": "false"}, {"expectd_percentage": "10"}]
)
def test_stock_papermill_refuses_wrong_parameters_on_our_engine(given):
    """Another type and a mistyped guard end it before a kernel starts: nothing is taken for what it
    is not.
    """
    model = nbformat.read(runner.notebook_path("10_change_percentage"), 4)
    prepared = papermill.execute_notebook(
        model, None, parameters=given, prepare_only=True, progress_bar=False
    )
    with pytest.raises(ParameterError, match=next(iter(given))):
        papermill_engines.execute_notebook_with_engine(
            "rollout",
            prepared,
            kernel_name="no_such_kernel",
            input_path="x.ipynb",
            output_path=None,
            progress_bar=False,
            log_output=False,
        )


@pytest.fixture
def models(tmp_path, monkeypatch) -> Path:
    """The model notebooks, copied where a test may edit them."""
    folder = tmp_path / "notebooks"
    shutil.copytree(runner.NOTEBOOKS, folder)
    monkeypatch.setattr(runner, "NOTEBOOKS", folder)
    return folder


@pytest.fixture
def world(database, plan):
    """A morning before the start; its clock is the runs' clock."""
    world = World(database.address, plan, SCENARIOS["healthy"], seed=1)
    world.prelude(world.start)
    yield world
    world.close()


def check(world: World, outputs: Path, *, wait: int = 15, **more) -> runner.RunResult:
    """One scheduled check of the next quarter of an hour."""
    world.advance(world.now + timedelta(minutes=wait))
    given = {"as_of": world.now.isoformat(), "operator": "Rita", "slot": "now"}
    return runner.run_notebook("20_monitor", given, outputs=outputs, kernel="warm", **more)


def proof(database, outputs: Path, later: timedelta = timedelta(hours=1)) -> verify.Proof:
    with database.transaction(readonly=True) as connection:
        links = [link(row) for row in store.chain(connection)]
    return verify.verify(links, outputs, now=datetime.now(UTC) + later)


def add_cell(path: Path, source: str, at: int | None = None) -> None:
    """Put a cell in; at the end, before the sentinel, where no place is given."""
    model = nbformat.read(path, as_version=4)
    model.cells.insert(
        len(model.cells) - 1 if at is None else at, nbformat.v4.new_code_cell(source)
    )
    nbformat.write(model, path)


def test_a_kernel_that_dies_after_the_decision_leaves_it_on_the_ledger(
    database, world, models, tmp_path
):
    """The checkpoint was written before any chart: it is archived and sealed, and the run is no
    good end.
    """
    add_cell(models / "20_monitor.ipynb", DIES)
    result = check(world, tmp_path / "outputs")
    assert (result.exit_code, result.checkpoint["state"], result.trouble) == (50, "OFF", "")
    assert "This run did not finish" in result.html.read_text()
    assert result.record.read_text() == json.dumps(
        result.checkpoint, ensure_ascii=False, separators=(",", ":")
    )
    found = proof(database, tmp_path / "outputs")
    assert (found.whole, found.entries) == (True, 2)


def test_a_run_without_a_checkpoint_is_an_attempt_and_no_check(database, world, models, tmp_path):
    """A run that dies before it decided anything leaves its notebook and an entry that says it
    died.
    """
    add_cell(models / "20_monitor.ipynb", DIES, at=3)
    result = check(world, tmp_path / "outputs")
    assert (result.exit_code, result.checkpoint, result.record) == (50, None, None)
    with database.transaction(readonly=True) as connection:
        (entry,) = store.chain(connection)
    assert entry.kind == "attempt"
    assert "its kernel died" in json.loads(entry.body)["died"]
    assert proof(database, tmp_path / "outputs").whole


def test_five_megabytes_of_hostile_error_are_cut_and_escaped(database, world, models, tmp_path):
    """An endless error with markup ends up short, escaped and said to be cut; the run's exit code
    is a defect's.
    """
    add_cell(models / "20_monitor.ipynb", "raise ValueError('<script>alert(1)</script>' * 200_000)")
    result = check(world, tmp_path / "outputs")
    assert (result.exit_code, result.trouble) == (1, "")
    assert result.notebook.stat().st_size < 600_000
    assert "characters left out" in result.notebook.read_text()
    page = result.html.read_text()
    assert len(page) < 400_000
    assert "<script" not in page
    assert proof(database, tmp_path / "outputs").whole


@pytest.fixture
def full_disk(tmp_path):
    """A folder that takes 12 KB: a small tmpfs, or where mounting is not allowed a limit on the
    size of a file.
    """
    import resource

    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12k", "tmpfs", folder], capture_output=True
    ).returncode
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    if mounted:
        resource.setrlimit(resource.RLIMIT_FSIZE, (12288, before[1]))

    def mend() -> None:
        if mounted:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        else:
            subprocess.run(
                ["mount", "-o", "remount,size=64m", folder], check=True, capture_output=True
            )

    yield folder, mend
    if mounted:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    else:
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_loses_no_decision_and_leaves_nothing_half_written(database, world, full_disk):
    """The checkpoint stands on the ledger, no file is half there, verify names the run, and seal
    mends it later.
    """
    outputs, mend = full_disk
    result = check(world, outputs)
    assert result.checkpoint["state"] == "OFF"
    assert "could not be archived" in result.trouble
    assert "stands on the ledger" in result.trouble
    assert [
        path
        for path in outputs.rglob("*")
        if path.is_file() and path.stat().st_size and "ipynb" in path.name
    ] == []
    assert not list(outputs.rglob(".part-*"))
    found = proof(database, outputs)
    assert [item.kind for item in found.findings] == ["unsealed"]
    assert result.run_id[:8] in found.findings[0].what
    mend()
    later = datetime.now(UTC) + timedelta(hours=1)
    (sealed,) = seal(world.plan, outputs, later)
    assert "before its notebook was archived" in sealed.what
    assert seal(world.plan, outputs, later) == []
    found = proof(database, outputs)
    assert (found.findings, found.whole, len(found.notes)) == ([], True, 1)


def test_a_place_that_is_no_folder_is_said_and_nothing_is_lost(database, world, tmp_path):
    """Where the archive cannot be written at all, the run says so, and its checkpoint stands on the
    ledger.
    """
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    (outputs / world.plan.rollout).write_text("in the way")
    result = check(world, outputs)
    assert "could not be archived" in result.trouble
    assert (result.exit_code, result.notebook, result.sealed) == (50, None, None)
    with database.transaction(readonly=True) as connection:
        assert [row.kind for row in store.chain(connection)] == ["checkpoint"]


def test_a_notebook_edited_between_two_runs_is_named(database, world, models, tmp_path):
    """Each run's entry holds the hash of the notebook that ran; verify says between which runs it
    changed.
    """
    outputs = tmp_path / "outputs"
    check(world, outputs)
    add_cell(models / "20_monitor.ipynb", "1 + 1", at=1)
    check(world, outputs)
    found = proof(database, outputs)
    assert found.whole
    assert found.notes == ["20_monitor was edited between the runs of #2 and #4"]


def test_the_ledger_gone_while_a_run_is_archived_is_caught_up_by_the_next(
    database, world, models, tmp_path
):
    """A seal that the database does not take waits in a file; the next run appends it, and all is
    proved.
    """
    outputs = tmp_path / "outputs"
    broken = (
        "import os, psycopg\nwith psycopg.connect(os.environ['ROLLOUT_REHEARSAL_URL']) as c: "
        "c.execute('ALTER TABLE rollout.ledger RENAME TO gone')"
    )
    original = (models / "20_monitor.ipynb").read_text()
    add_cell(models / "20_monitor.ipynb", broken)
    result = check(world, outputs)
    assert "not sealed on the ledger yet" in result.trouble
    with database.transaction(readonly=False) as connection:
        connection.exec_driver_sql("ALTER TABLE rollout.gone RENAME TO ledger")
    (models / "20_monitor.ipynb").write_text(original)
    assert [item.kind for item in proof(database, outputs).findings] == ["unsealed", "waiting"]
    check(world, outputs)
    found = proof(database, outputs)
    assert (found.findings, found.entries) == ([], 4)


def killed(
    world: World, outputs: Path, *, after: float = 0, step: int | None = None, by=signal.SIGKILL
) -> bool:
    """One check in a process of its own, killed after some seconds or at a step of its writing;
    whether it was.

    SIGTERM while the notebook runs ends the notebook, not the process, which records that.
    """
    world.advance(world.now + timedelta(minutes=15))
    struck: list[str] = []
    child = os.fork()
    if child == 0:
        try:
            servers.Server.alive = lambda self: (
                True
            )  # the warm servers are ours, but not this process's children
            left = itertools.count(step, -1) if step is not None else itertools.repeat(None)

            def dying(name: str, write: Callable) -> Callable:
                def written(*given, **more):
                    if next(left) == 0:
                        struck.append(name)
                        os.kill(os.getpid(), by)
                    return write(*given, **more)

                return written

            for name in ("fsync", "link", "unlink", "replace"):
                setattr(os, name, dying(name, getattr(os, name)))
            check(world, outputs, wait=0)
        finally:
            os._exit(7 if struck else 0)
    if step is None:
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    return os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 7


def found_and_mended(database, world: World, outputs: Path) -> set[str]:
    """Each file is whole, verify finds nothing worse than what is missing yet, seal mends it; what
    was found.
    """
    for path in (path for path in (outputs / world.plan.rollout).rglob("2*") if path.is_file()):
        text = path.read_text()
        json.loads(text) if path.suffix in (".json", ".ipynb") else text.rindex("</html>")
    before = {item.kind for item in proof(database, outputs).findings}
    assert before <= {"unsealed", "uncopied"}, proof(database, outputs).findings
    seal(world.plan, outputs, datetime.now(UTC) + timedelta(hours=1))
    after = proof(database, outputs)
    assert (after.findings, after.whole) == ([], True)
    return before


@pytest.mark.parametrize("runs", [5, pytest.param(50, marks=pytest.mark.slow)])
def test_kill_9_at_any_moment_leaves_no_unreadable_and_no_lying_record(
    runs, database, world, tmp_path
):
    """Each file is whole or not there, verify names the runs that are not sealed, and seal closes
    them.
    """
    outputs, draw, longest = tmp_path / "outputs", random.Random(runs), 1.0
    check(world, outputs)  # the servers of warm kernels run, and one good record is there
    ended = []
    for _ in range(runs):
        before = len(list(outputs.rglob("*.ipynb")))
        killed(world, outputs, after=draw.uniform(0, longest))
        ended.append(len(list(outputs.rglob("*.ipynb"))) > before)
        longest *= (
            0.9 if ended[-1] else 1.1
        )  # so that about half of them die early, however busy the machine is
    time.sleep(1)  # what a killed runner's kernel was still writing
    found = found_and_mended(database, world, outputs)
    assert runs < 50 or ("unsealed" in found and 5 < sum(ended) < 45)


@pytest.mark.parametrize(
    ("by", "stride"),
    [
        (signal.SIGKILL, 6),
        pytest.param(signal.SIGKILL, 1, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, 2, marks=pytest.mark.slow),
    ],
)
def test_killed_at_each_write_of_a_run_it_leaves_what_seal_can_close(
    by, stride, database, world, tmp_path
):
    """Ended at its first write, at a later one, … until a run comes through: each end is named, and
    mended.
    """
    outputs, seen, step = tmp_path / "outputs", [], 0
    check(world, outputs)
    while killed(world, outputs, step=step, by=by):
        seen.append(found_and_mended(database, world, outputs))
        step += stride
    assert (
        len(seen) * stride > 18
    )  # four steps of each of three files and two copies, one of the index
    assert {"unsealed"} in seen
    assert {"uncopied"} in seen
