"""The application and the options that several commands share; nothing heavy is imported here."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from rollout_lib.spool import outputs_folder

app = typer.Typer(
    name="rollout",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    help=(
        "Run a gradual rollout of webhook traffic, check it, roll it back, and prove what"
        " happened.\n\nExit codes: 0 healthy · 2 wrong input, nothing ran · 10 watch · 20 hold · 30"
        " step back · 40 roll back · 50 could not measure · 60 change refused · 70 archive altered"
        " · 1 a defect."
    ),
)


def _version(asked: bool) -> None:
    if asked:
        from rollout_lib import __version__

        print(f"rollout {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Say which one this is."),
    ] = False,
) -> None:
    """The options of the program itself."""


def _outputs(context: typer.Context, path: Path) -> Path:
    """The folder that is meant; what runs below this command (kernels, the spool) finds the same."""
    source = context.get_parameter_source("outputs")
    if source is not None and source.name == "DEFAULT":
        path = outputs_folder(str(context.params.get("plan") or ""))
    os.environ["ROLLOUT_OUTPUTS"] = str(path.resolve())
    return path


Plan = Annotated[
    str,
    typer.Option("--plan", help="The plan file; without it $ROLLOUT_PLAN, else the rehearsal's."),
]
AsOf = Annotated[str, typer.Option("--as-of", help="Another instant than now; rehearsals only.")]
Operator = Annotated[
    str, typer.Option("--operator", help="Who answers for it; else $ROLLOUT_OPERATOR, else you.")
]
Json = Annotated[bool, typer.Option("--json", help="The result as JSON.")]
Outputs = Annotated[
    Path,
    typer.Option(
        "--outputs", envvar="ROLLOUT_OUTPUTS", callback=_outputs, help="Where records are archived."
    ),
]
Reason = Annotated[str, typer.Option("--reason", help="Why; it stands on the ledger.")]
Apply = Annotated[bool, typer.Option("--apply", help="Do it; without this nothing is changed.")]
FOLDER = Path("outputs")
