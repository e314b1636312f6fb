"""The verb `lab`: JupyterLab on dated working copies, sealed when the session ends."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rollout_lib.cli.options import FOLDER, Operator, Outputs, Plan, app

if TYPE_CHECKING:
    from rollout_lib.plan import Plan as Loaded


@app.command()
def lab(
    plan: Plan = "",
    operator: Operator = "",
    outputs: Outputs = FOLDER,
    port: Annotated[
        int, typer.Option("--port", help="On 127.0.0.1; without it the first free one from 8888.")
    ] = 0,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Only print the address.")
    ] = False,
) -> int:
    """Open JupyterLab on working copies of the notebooks, below outputs/working/<day>_<operator>/.

    A rehearsal's plan without an address gets a practice day on this machine, whose traffic goes
    on. What was saved is archived and chained when the session ends: by File > Shut Down, Ctrl-C or
    SIGTERM."""
    from rollout_lib.archive.working import copy_models, make_private, working_folder
    from rollout_lib.cli.lab import landing, opening, server
    from rollout_lib.database.connection import connect
    from rollout_lib.plan import load_plan
    from rollout_lib.runner.run import NOTEBOOKS
    from rollout_lib.surroundings import REHEARSAL, account

    # Without a plan the practice day is what is asked for, whatever else the environment names.
    loaded = load_plan(plan or os.environ.get("ROLLOUT_PLAN", "") or REHEARSAL)
    server.refuse_taken(port)
    who = operator.strip() or os.environ.get("ROLLOUT_OPERATOR") or account()
    practising = (
        loaded.environment == "rehearsal"
        and not os.environ.get(loaded.database.variable, "").strip()
    )
    practising = practising and any(sign in loaded.database.name for sign in "*?[")
    if not practising:
        connect(loaded)  # asks nothing of it, and refuses an address that is not the plan's
    folder = working_folder(outputs, loaded, who, datetime.now(UTC))
    if practising:
        from rollout_lib.rehearsal.practice import prepare

        loaded = prepare(loaded, folder, who, lambda words: print(words, flush=True))
    copy_models(sorted(NOTEBOOKS.glob("*.ipynb")), folder)
    place = connect(loaded).place
    page = landing.write(folder, loaded, place, who, practising=practising)
    opening.lay_out(folder / server.STATE / "workspaces", folder, page, beside=practising)
    make_private(folder)
    print(f"{place} · {place.rollout}")
    print(f"working copies of {who}: {folder}\nJupyterLab and the control room start …", flush=True)

    def ready(told: dict[str, Any], runtime: Path) -> None:
        if trouble := opening.run_room(told, runtime, folder, NOTEBOOKS / opening.ROOM):
            print(
                f"The control room does not run yet ({trouble}): run it there with Run > Run All"
                " Cells."
            )

    with server.world_of(loaded, folder, practising) as world:
        ended = server.serve(
            loaded,
            outputs.absolute(),
            folder,
            who,
            port=port,
            browser=not no_browser,
            ready=ready,
            world=world,
        )
    return _sealed(loaded, outputs) or ended


def _sealed(plan: Loaded, outputs: Path) -> int:
    """Archive and chain what was saved, and say what became of each; the exit code."""
    from rollout_lib.archive.sealing import seal
    from rollout_lib.errors import RolloutError

    try:
        done = seal(plan, outputs)
    except RolloutError as failure:
        print(
            f"The session ended, and nothing of it is sealed yet: {failure}\nThe saved copies stay"
            f" where they are. When it can be done again: rollout seal --plan {plan.path}"
        )
        return failure.exit_code
    for item in done:
        print(item)
    if not done:
        print("Nothing to seal: no saved copy shows a run that the archive does not have.")
    return 0 if all(item.seq for item in done) else 70
