"""The command that writes the ledger's tables: a folder of CSV, Parquet or JSON lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from rollout_lib.cli.options import FOLDER, Json, Outputs, Plan, app


@app.command()
def export(
    since: Annotated[
        str, typer.Option("--from", help="ISO instant with its offset; the ledger's beginning.")
    ] = "",
    until: Annotated[str, typer.Option("--to", help="The end of the span; now.")] = "",
    kind: Annotated[str, typer.Option("--format", help="csv, parquet or jsonl.")] = "csv",
    out: Annotated[
        str, typer.Option("--out", help="A new folder; below --outputs without it.")
    ] = "",
    plan: Plan = "",
    outputs: Outputs = FOLDER,
    as_json: Json = False,
) -> int:
    """Write checks, looks, decisions and statements of a span as tables. Changes nothing."""
    import uuid

    from rollout_lib.database.session import open_session, parse_instant
    from rollout_lib.errors import ParameterError
    from rollout_lib.operations.export import export as write

    problems: list[str] = []
    start, end = parse_instant(since, "--from", problems), parse_instant(until, "--to", problems)
    if problems:
        raise ParameterError(problems="\n".join(problems))
    session = open_session(plan)
    own = outputs / session.plan.rollout / "exports" / f"{kind}_{uuid.uuid4().hex[:8]}"
    done = write(session, start=start, end=end, kind=kind, folder=Path(out) if out else own)
    if as_json:
        shown = {name: {"file": str(file), "rows": rows} for name, (file, rows) in done.items()}
        print(json.dumps(shown, ensure_ascii=False))
        return 0
    print(session.place)
    for name, (file, rows) in done.items():
        print(f"{rows:>7,}  {name:<11} {file}")
    print("The columns are described in docs/data.md.")
    return 0
