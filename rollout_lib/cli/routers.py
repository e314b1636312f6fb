"""The verb `router check`: the contract, sent to a deployed router of a staging environment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from rollout_lib.cli.options import Json, Plan, app

router = typer.Typer(
    name="router", no_args_is_help=True, help="Prove a webhook-traffic-router before the day."
)
app.add_typer(router)


@router.command()
def check(
    url: Annotated[str, typer.Option("--url", help="Where the router takes webhooks.")],
    plan: Plan = "",
    contract: Annotated[
        str, typer.Option("--contract", help="Another table than the library's own.")
    ] = "",
    as_json: Json = False,
) -> int:
    """Send the contract to a router, compare answers and rows, and put the configuration back.

    Refused where the plan says production. The app secret and the verify token are in
    $ROLLOUT_REHEARSAL_APP_SECRET and $ROLLOUT_REHEARSAL_VERIFY_TOKEN. Exit 0: as the contract says;
    20: it differs, do not advance; 50: no answer, or the rows are elsewhere."""
    from rich.console import Console

    from rollout_lib.plan import load_plan
    from rollout_lib.rehearsal.live.checking import check_router, refuse_wrong
    from rollout_lib.rehearsal.live.contract import TABLE, read_contract

    loaded = load_plan(plan)
    refuse_wrong(loaded, url)
    table = read_contract(Path(contract) if contract else TABLE)
    console = Console(stderr=True)

    def progress(what: str, done: int, total: int) -> None:
        console.print(f"{done + 1}/{total}  {what}", highlight=False)

    report = check_router(loaded, url, table, progress)
    differences = [difference.model_dump() for difference in report.differences]
    if as_json:
        shown = {
            "place": report.place,
            "url": report.url,
            "requests": report.requests,
            "differences": differences,
            "configuration": report.put_back or "as it was",
        }
        print(json.dumps(shown, ensure_ascii=False))
    else:
        print(report.place)
        for difference in report.differences:
            print(f"✗ {difference.line()}")
        print(_sentence(len(differences), report.requests))
        print(report.put_back or "The configuration is as it was.")
    if report.put_back:
        return 50
    return 20 if differences else 0


def _sentence(differences: int, requests: int) -> str:
    if not differences:
        return f"✓ {requests} requests: the router does what the contract says."
    return f"{differences} differences in {requests} requests: mend the router before the rollout."
