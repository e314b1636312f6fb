"""A papermill engine that tells the truth about how a run ended (entry point `rollout`).

papermill archives a dead kernel, a timeout and an interrupt as completed; here a code cell is
completed only if its kernel answered, and anything else is failed and raised again."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import tempfile
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import ensure_event_loop, run_sync
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat.v4 import new_output
from papermill.engines import NBClientEngine
from papermill.exceptions import PapermillExecutionError

from rollout_lib.errors import RunDied
from rollout_lib.runner import leftovers
from rollout_lib.runner.parameters import check, defaults

CELL_LIMIT = 120  # seconds
RUN_LIMIT = 600
_AGAIN = 3  # seconds until a run that was told to stop, and goes on, is told again
_GRACE = 10  # seconds from the interrupt at a cell's limit to the end of its kernel


logging.getLogger("papermill").addHandler(
    logging.NullHandler()
)  # without one, its warnings go to the terminal


class Interrupted(BaseException):
    """The run was told to stop from outside."""


class IpcKernelManager(AsyncKernelManager):
    """A kernel on Unix sockets: nothing listens on the network, and ipykernel has nothing to warn
    of.

    Asynchronous, as nbclient expects: a blocking client would hear neither a limit nor the kernel's
    death."""

    transport = "ipc"
    cut_off: asyncio.Future[Any] | None = (
        None  # a cell was stopped at its limit; the rest of the run's time, by then
    )

    mark = ""  # of this kernel and of all that it starts

    async def _async_pre_start_kernel(self, **kw: Any) -> Any:
        """Mark the kernel's environment, so that what it leaves behind is found."""
        self.mark = leftovers.new_mark()
        kw["env"] = {**(kw.get("env") or os.environ), leftovers.VARIABLE: self.mark}
        return await super()._async_pre_start_kernel(**kw)

    pre_start_kernel = _async_pre_start_kernel

    def _ip_default(self) -> str:
        """A name of its own: by default it is one for a folder, and two runs there would share
        their sockets.
        """
        return f"{tempfile.gettempdir()}/rollout-{uuid.uuid4().hex}"

    async def _async_interrupt_kernel(self) -> None:
        """Not when it ends: Jupyter interrupts first, and the kernel complains of that on the
        terminal.
        """
        if not self.shutting_down:
            self.cut_off = asyncio.ensure_future(self._end_what_goes_on())
            await super()._async_interrupt_kernel()

    async def _end_what_goes_on(self) -> None:
        """A cell that hears no interrupt, or swallows it, goes on no longer than this."""
        await asyncio.sleep(_GRACE)
        if self.provisioner is not None:
            await self.provisioner.kill()

    interrupt_kernel = _async_interrupt_kernel


class HonestEngine(NBClientEngine):
    """NBClientEngine with a limit for each cell and for the whole run, and honest end states."""

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **options: Any) -> None:
        """Execute; on kernel death, a hang, SIGTERM, SIGINT or a missing kernel the record says so.

        cell_limit and run_limit are seconds; kernel_manager_class and others go to nbclient.
        """
        asked = options.pop("execution_timeout", None)  # stock papermill's own option
        cell_limit = options.pop("cell_limit", None) or asked or CELL_LIMIT
        run_limit = options.pop("run_limit", RUN_LIMIT)
        made: list[IpcKernelManager] = []
        _check_parameters(nb_man.nb)
        cut = ""
        # A kernel whose cells have all answered has nothing left to do, and is not asked.
        options.setdefault("shutdown_kernel", "immediate")
        options["kernel_manager_class"] = _noting(
            made, options.get("kernel_manager_class", IpcKernelManager)
        )
        try:
            with _stoppable(run_limit):
                super().execute_managed_notebook(
                    nb_man,
                    kernel_name,
                    execution_timeout=cell_limit,
                    interrupt_on_timeout=True,
                    **options,
                )
        except PapermillExecutionError:
            raise
        except BaseException as error:
            before = _quiet()
            cut = _words(error, cell_limit, run_limit)
        finally:
            _end(made)
        if cut:
            # what was cut off in mid-air ends here, not in the middle of what this process does
            # next
            gc.collect()
            ensure_event_loop().set_exception_handler(
                before
            )  # of the next run's errors every one is heard again
        if any(manager.cut_off for manager in made):  # whatever the cell made of the interrupt
            cut = f"a cell ran longer than {cell_limit:g} s and was stopped."
        elif "KeyboardInterrupt" in _raised(nb_man):
            cut = cut or "a cell was interrupted (KeyboardInterrupt) before its limit."
        if cut:
            return _died(nb_man, cut)
        unfinished = [
            cell for cell in nb_man.nb.cells if cell.cell_type == "code" and not _finished(cell)
        ]
        if unfinished and not _raised(nb_man):
            return _died(nb_man, "the kernel ended without an answer to every cell.")
        return None


def _died(nb_man: Any, words: str) -> None:
    """The cell that was running (or would have been next) failed with RunDied, and the notebook
    says why.

    As an error output, so that papermill archives the notebook and exits non-zero as for any failed
    cell. Cells that never ran stay pending: papermill calls what comes before the first failed cell
    completed."""
    error = RunDied(notebook=_name(nb_man), reason=words)
    cell = _where_it_ended([cell for cell in nb_man.nb.cells if cell.cell_type == "code"])
    if cell is not None:
        cell.metadata.setdefault("papermill", {}).update({"exception": True, "status": "failed"})
        said = [f"RunDied: {error}"]  # what stock papermill prints is the traceback
        cell.outputs.append(new_output("error", ename="RunDied", evalue=str(error), traceback=said))
    nb_man.nb.metadata.setdefault("papermill", {}).update(
        {"exception": True, "rollout_died": words}
    )


def _where_it_ended(cells: list[Any]) -> Any:
    """The first code cell that was stopped or never finished; where all answered, the one that took
    the longest.
    """
    for cell in cells:
        stopped = any(
            output.get("ename") == "KeyboardInterrupt" for output in cell.get("outputs", [])
        )
        if stopped or not _finished(cell):
            return cell
    return max(
        cells,
        key=lambda cell: cell.metadata.get("papermill", {}).get("duration") or 0,
        default=None,
    )


def _check_parameters(notebook: Any) -> None:
    """As stock papermill hands them over: unknown names and other types are refused before a kernel
    starts.
    """
    given = notebook.metadata.get("papermill", {}).get("parameters") or {}
    if given:
        check(given, defaults(notebook))


def _noting(made: list[IpcKernelManager], cls: type[IpcKernelManager]) -> type[IpcKernelManager]:
    """The class, noting what is made of it: nbclient forgets a kernel whose start was cut off."""

    class Noted(cls):  # type: ignore[misc,valid-type]  # the class is what the caller asked for
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            made.append(self)

    return Noted


def _end(made: list[IpcKernelManager]) -> None:
    """Whatever kernel still runs is killed: it belongs to this run, and the run is over."""
    for manager in made:
        if manager.cut_off:
            manager.cut_off.cancel()
        if manager.has_kernel:
            run_sync(manager.shutdown_kernel)(now=True)
        if manager.mark:
            leftovers.end_marked(manager.mark)


def _quiet() -> Any:
    """nbclient's own tasks of a run that was cut off end without a word from here on: what happened
    is said by us.

    Returns the handler that was there before.
    """
    loop = ensure_event_loop()
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda *_: None)
    if not loop.is_running():
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
    return before


def _words(error: BaseException, cell_limit: float, run_limit: float) -> str:
    if isinstance(error, DeadKernelError):
        return "its kernel died."
    if isinstance(error, CellTimeoutError):
        return f"a cell ran longer than {cell_limit:g} s and was stopped."
    if isinstance(error, Interrupted):
        return (
            f"{error}."
            if "told to stop" in str(error)
            else f"{error} (limit of a run: {run_limit:g} s)."
        )
    if isinstance(error, KeyboardInterrupt):
        return "it was interrupted from the keyboard."
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}."


def _finished(cell: Any) -> bool:
    """A code cell truly finished only if it was counted and its kernel replied."""
    if not "".join(cell.source).strip():
        return True
    timing = cell.metadata.get("execution", {})
    return cell.execution_count is not None and "shell.execute_reply" in timing


def _raised(nb_man: Any) -> set[str]:
    """The names of what cells ended with."""
    return {
        output["ename"]
        for cell in nb_man.nb.cells
        for output in cell.get("outputs", [])
        if output.get("output_type") == "error"
    }


def _name(nb_man: Any) -> str:
    path = nb_man.nb.metadata.get("papermill", {}).get("input_path")
    return path if isinstance(path, str) else "a notebook"


@contextmanager
def _stoppable(limit: float) -> Iterator[None]:
    """SIGTERM and the run's limit raise in the main thread; elsewhere only the limits of cells
    hold.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    told: list[int] = []

    def stop(number: int, frame: Any) -> None:
        heard = before[signal.Signals(number)]
        if not told and callable(heard):
            heard(number, frame)  # who runs this run hears of it too
        told.append(number)
        signal.setitimer(
            signal.ITIMER_REAL, _AGAIN
        )  # a finalizer, or a callback, may swallow what is raised here
        name = signal.Signals(told[0]).name
        raise Interrupted(
            "it ran too long" if told[0] == signal.SIGALRM else f"it was told to stop ({name})"
        )

    numbers = (signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)
    before = {number: signal.getsignal(number) for number in numbers}  # all, before one may come
    for number in numbers:
        signal.signal(number, stop)
    signal.setitimer(signal.ITIMER_REAL, limit)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
