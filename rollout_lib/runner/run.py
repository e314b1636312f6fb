"""One run: parameters checked, executed by papermill on our engine, archived once, sealed on the
ledger.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat

from rollout_lib.archive import names, sealing
from rollout_lib.archive.provenance import SOURCE_VARIABLE
from rollout_lib.errors import ArchiveFailed, RolloutError, RunDied, all_errors
from rollout_lib.notify import metrics
from rollout_lib.plan import Plan, default_path, load_plan
from rollout_lib.redaction import redact
from rollout_lib.runner.parameters import check, check_meaning, defaults, load_notebook
from rollout_lib.runner.readiness import knock
from rollout_lib.runner.witness import doubt

_ROLES = {".ipynb": "notebook", ".json": "record", ".html": "html"}
_LONGEST = 4_000  # characters of an error that are told; the notebook has more of it
LOOK = "20_monitor"
NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """How a run ended and where its record is. exit_code is the run's own; sealed is the `archived`
    entry.
    """

    run_id: str
    exit_code: int
    error: str
    checkpoint: Mapping[str, Any] | None
    notebook: Path | None
    html: Path | None
    record: Path | None
    sealed: tuple[int, str] | None
    recorded: tuple[int, str] | None = None  # the notebook's own entry
    died: str = ""  # why the run did not finish, also where its checkpoint stands
    trouble: str = ""  # what could not be archived or sealed
    told: tuple[str, ...] = ()  # what became of the messages, a line each


def notebook_path(name: str) -> Path:
    """The model notebook of a name such as `20_monitor`."""
    return NOTEBOOKS / f"{name}.ipynb"


def run_notebook(
    name: str,
    parameters: Mapping[str, Any],
    *,
    outputs: Path,
    kernel: str = "plain",
    sources: Mapping[str, str] | None = None,
    cell_limit: float = 120,
    run_limit: float = 600,
    by_hand: bool = False,
) -> RunResult:
    """Run one of our notebooks and archive it.

    parameters are validated before anything starts (ParameterError, PlanError: exit 2, nothing
    written). kernel: "plain", or "warm" for one forked from a process that has the imports done.
    sources: where each value came from, shown in the notebook. by_hand: a person started it, and a
    database that it could ask nothing of is told to them (UsageError, CouldNotMeasure: nothing
    written). Never raises for how the run itself ended."""
    path = notebook_path(name)
    model, digest = load_notebook(path)
    source = f"{name}:{digest}"
    allowed = defaults(model)
    wanted = str(parameters.get("plan") or "")
    look = name == LOOK and parameters.get(
        "slot"
    )  # without a slot it is a person's, who is told by an error
    with metrics.unseen_if_it_fails(wanted or str(default_path())) if look else nullcontext():
        given = check(parameters, allowed)
        plan = load_plan(str(given.get("plan", "")))
        check_meaning(given, plan)
    if by_hand:
        knock(name, given, plan)
    run_id = uuid.uuid4().hex
    given = {**given, "plan": str(Path(plan.path).resolve()), "run_id": run_id}
    with _known_as(source):
        executed, error = _execute(path, model, given, kernel, cell_limit, run_limit, sources or {})
    displayed = sealing.shown_checkpoint(executed)
    unproven = doubt(displayed, plan, run_id, given)
    if isinstance(unproven, RunDied):  # of a cell's own making: nothing of it is this run's
        displayed, error = None, error or unproven
    checkpoint = json.loads(displayed["text"]) if displayed else None
    code = _exit_code(error, checkpoint)
    if unproven is not None and code in (0, 10):
        code = unproven.exit_code
    files, sealed, trouble, failure = _keep(
        executed, name, source, plan, outputs.resolve(), run_id, checkpoint, displayed, error
    )
    if failure:
        code = code or failure.exit_code
    if checkpoint is None and name == LOOK:  # a kernel that died wrote nothing itself
        trouble = "; ".join(filter(None, (trouble, metrics.write_unseen(plan))))
    return RunResult(
        run_id=run_id,
        exit_code=code,
        error=str(error or ""),
        checkpoint=checkpoint,
        notebook=files.get("notebook"),
        html=files.get("html"),
        record=files.get("record"),
        sealed=sealed,
        recorded=(displayed["seq"], displayed["hash"]) if displayed and displayed["seq"] else None,
        died=(
            str(error)
            if isinstance(error, RunDied) or (error is not None and error.exit_code == 1)
            else ""
        ),
        trouble="; ".join(
            filter(None, (trouble, str(unproven) if checkpoint and unproven else ""))
        ),
        told=tuple(displayed.get("told", ())) if displayed else (),
    )


@contextmanager
def _known_as(source: str) -> Iterator[None]:
    """Kernels started meanwhile know what they run; what this process records itself afterwards is
    no notebook's.
    """
    before = os.environ.get(SOURCE_VARIABLE)
    os.environ[SOURCE_VARIABLE] = source
    try:
        yield
    finally:
        os.environ.pop(SOURCE_VARIABLE)
        if before is not None:
            os.environ[SOURCE_VARIABLE] = before


def _execute(
    path: Path,
    model: nbformat.NotebookNode,
    given: Mapping[str, Any],
    kernel: str,
    cell_limit: float,
    run_limit: float,
    sources: Mapping[str, str],
) -> tuple[nbformat.NotebookNode, RolloutError | None]:
    """The executed notebook and the exception that ended it, None for a good end."""
    import papermill
    from papermill.engines import papermill_engines

    from rollout_lib.runner import kernels

    executed = papermill.execute_notebook(
        model, None, parameters=dict(given), prepare_only=True, progress_bar=False
    )
    executed.metadata["papermill"]["input_path"] = path.name
    _say_sources(executed, given, sources)
    try:
        papermill_engines.execute_notebook_with_engine(
            "rollout",
            executed,
            kernel_name="python3",
            input_path=path.name,
            output_path=None,
            progress_bar=False,
            log_output=False,
            cell_limit=cell_limit,
            run_limit=run_limit,
            **kernels.options(kernel),
        )
    except Exception as error:  # a failed cell: what it raised is in its output
        return executed, _raised(executed) or RunDied(
            notebook=path.name, reason=f"{type(error).__name__}: {error}"
        )
    return executed, _raised(executed)


def _raised(executed: Any) -> RolloutError | None:
    """The error that a cell ended with, as the class of ours that it was; None for a good end."""
    died = executed.metadata["papermill"].get("rollout_died")
    if died:
        return RunDied(notebook=executed.metadata["papermill"]["input_path"], reason=died)
    for cell in executed.cells:
        for output in cell.get("outputs", []) if cell.cell_type == "code" else []:
            if output.get("output_type") == "error":
                cls = all_errors().get(output["ename"], RolloutError)
                said = output["evalue"][:_LONGEST]
                return cls(f"{output['ename']}: {said}" if cls is RolloutError else said)
    return None


def _say_sources(executed: Any, given: Mapping[str, Any], sources: Mapping[str, str]) -> None:
    """A cell after the injected one: where each value came from."""
    ours = {
        "run_id": "this run",
        "plan": f"the plan that was found: {sources.get('plan', 'set by the caller')}",
    }
    lines = [
        f"| `{name}` | {ours.get(name) or sources.get(name, 'set by the caller')} |"
        for name in given
    ]
    lines += [
        f"| `{name}` | the notebook's default |" for name in defaults(executed) if name not in given
    ]
    cell = nbformat.v4.new_markdown_cell(
        "\n".join(["| parameter | from |", "| --- | --- |", *lines])
    )
    for index, other in enumerate(executed.cells):
        if "injected-parameters" in other.metadata.get("tags", []):
            executed.cells.insert(index + 1, cell)
            return


def _exit_code(error: RolloutError | None, checkpoint: Mapping[str, Any] | None) -> int:
    """By the class of what ended the run; a run that ended well without a
    checkpoint is a defect.
    """
    judged = int(checkpoint["exit_code"]) if checkpoint else None
    if isinstance(error, RunDied) and judged not in (None, 0, 10):
        return judged  # what was decided and done stands, although a later cell did not end
    if error is not None:
        return error.exit_code
    return RolloutError.exit_code if judged is None else judged


def _keep(
    executed: nbformat.NotebookNode,
    name: str,
    source: str,
    plan: Plan,
    outputs: Path,
    run_id: str,
    checkpoint: dict[str, Any] | None,
    displayed: dict[str, Any] | None,
    error: RolloutError | None,
) -> tuple[dict[str, Path], tuple[int, str] | None, str, ArchiveFailed | None]:
    """Archive the run's files and seal them: (files, sealed, trouble, failure of the archive or
    None).
    """
    dry = checkpoint is not None and checkpoint["kind"] == "dry-run"
    at = checkpoint["at"] if checkpoint else datetime.now(UTC).isoformat()
    stem = names.stem_of(checkpoint, plan.rollout, name, run_id)
    base = names.folder(
        outputs / names.DRY_RUNS if dry else outputs, plan.rollout, datetime.fromisoformat(at)
    )
    files, failure = sealing.archive(
        executed, stem, base, outputs, displayed["text"] if displayed else ""
    )
    paths = {_ROLES[Path(path).suffix]: outputs / path for path in files}
    trouble = str(failure or "")
    if dry or (
        failure and checkpoint
    ):  # unsealed: `rollout verify` names it, `rollout seal` completes it
        return paths, None, trouble, failure
    died = ""
    if checkpoint is None or isinstance(error, RunDied):
        died = redact(str(error or "it showed no checkpoint").splitlines()[0][:500])
    more = {"source": source, "died": died, "trouble": trouble}
    entry = sealing.entry_for(
        name, plan, run_id, at, files, kind="archived" if checkpoint else "attempt", **more
    )
    sealed, unsealed = sealing.seal_run(plan, outputs, entry)
    return paths, sealed, "; ".join(filter(None, (trouble, unsealed))), failure
