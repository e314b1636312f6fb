"""The commands that prove, close and compare records: verify, seal, diff."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rollout_lib.cli.options import FOLDER, Json, Outputs, Plan, app

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rollout_lib.archive.chain import Link

FilesOnly = Annotated[
    bool, typer.Option("--files-only", help="The database is gone: use the files alone.")
]


@app.command()
def verify(
    plan: Plan = "",
    outputs: Outputs = FOLDER,
    head: Annotated[
        str, typer.Option("--head", help="NUMBER:HASH as a message or report carries it.")
    ] = "",
    files_only: FilesOnly = False,
    allowed_signers: Annotated[
        str,
        typer.Option(
            "--allowed-signers", help="Check the heads' signatures by this file of ssh-keygen's."
        ),
    ] = "",
    as_json: Json = False,
) -> int:
    """Prove the archive: every hash again, database and files; names what was edited, deleted,
    added or cut off.
    """
    from rollout_lib.archive.verify import parse_head
    from rollout_lib.archive.verify import verify as prove

    wanted = parse_head(head)
    links, place, guards, own = None, f"files only · {outputs}", [], None
    if not files_only:
        from rollout_lib.database.connection import connect
        from rollout_lib.database.guards import read_guards
        from rollout_lib.plan import load_plan

        links, place = _ledger(plan, outputs)
        database = connect(load_plan(plan))
        own = database.place
        if (outputs / own.database / "ledger").is_dir():
            outputs = outputs / own.database  # a rehearsal's, which has a folder of its own
            place = f"{own} · {outputs}"
        with database.transaction(readonly=True) as connection:
            guards = read_guards(connection)
    proof = prove(links, outputs.resolve(), wanted, place=own, guards=guards)
    if allowed_signers:
        from rollout_lib.archive.signing import check_signatures

        chain = links if links is not None else _longest(outputs.resolve())
        bad, good = check_signatures(outputs.resolve(), Path(allowed_signers), chain)
        proof.findings += bad
        for by in sorted({signed.by for signed in good}):
            last = max(signed.seq for signed in good if signed.by == by)
            proof.notes.append(f"{by} signed #1 to #{last} of {proof.entries:,} entries")
    if as_json:
        print(
            json.dumps(asdict(proof) | {"whole": proof.whole, "place": place}, ensure_ascii=False)
        )
        return 0 if proof.whole else 70
    print(place)
    for finding in proof.findings:
        print(f"✗ {finding.kind:<9} {finding.where}: {finding.what}")
    for note in proof.notes:
        print(f"  note      {note}")
    seq, digest = proof.head
    if not proof.entries:
        print(
            "✗ There is no ledger entry to prove anything with: not in the database, and not in the"
            " files."
        )
    elif proof.findings:
        number = len(proof.findings)
        print(
            f"✗ The archive does not prove itself: {number} finding{'s' * (number > 1)} in"
            f" {proof.entries:,} ledger entries and {proof.files:,} files. Nothing was changed by"
            " looking."
        )
    else:
        print(
            f"✓ The archive proves itself: {proof.entries:,} ledger entries and {proof.files:,}"
            f" files, head {seq}:{digest[:16]}."
        )
        if not wanted:
            print(
                "  Compare the head with one that was kept elsewhere: rollout verify --head"
                " NUMBER:HASH"
            )
    return 0 if proof.whole else 70


def _longest(outputs: Path) -> Sequence[Link]:
    """The longest chain that the files hold."""
    from rollout_lib.archive import copies

    return max((copies.read(folder)[0] for folder in copies.chains(outputs)), key=len, default=[])


@app.command()
def seal(plan: Plan = "", outputs: Outputs = FOLDER, as_json: Json = False) -> int:
    """Archive and chain notebooks saved by hand, and close runs that ended before they could be
    archived.
    """
    from rollout_lib.archive.sealing import seal as close
    from rollout_lib.plan import load_plan

    loaded = load_plan(plan)
    done = close(loaded, outputs)
    if as_json:
        print(json.dumps([asdict(item) for item in done], ensure_ascii=False))
    else:
        _, place = _ledger(plan, outputs)
        print(place)
        for item in done:
            print(item)
        if not done:
            print(
                "Nothing to seal: every run is sealed, or younger than 15 minutes and may still be"
                " running."
            )
    return 0 if all(item.seq for item in done) else 70


@app.command()
def diff(
    one: Annotated[
        str, typer.Argument(metavar="A", help="A record's file, a run id or a ledger number.")
    ],
    other: Annotated[str, typer.Argument(metavar="B", help="The one to compare it with.")],
    plan: Plan = "",
    outputs: Outputs = FOLDER,
    files_only: FilesOnly = False,
    every: Annotated[bool, typer.Option("--all", help="What is the same in both too.")] = False,
    as_json: Json = False,
) -> int:
    """Compare two checkpoints metric by metric: what changed, as A, B and the difference."""
    from rollout_lib.archive.compare import compared, find

    by_files = all(Path(name).is_file() for name in (one, other))
    links = _ledger(plan, outputs)[0] if not (files_only or by_files) else None
    rows = compared(find(one, outputs, links), find(other, outputs, links))
    if as_json:
        print(json.dumps([row._asdict() for row in rows], ensure_ascii=False))
        return 0
    from rich.console import Console
    from rich.table import Table

    table = Table("metric", "A", "B", "difference", box=None, header_style="bold")
    for column in table.columns[1:]:
        column.justify = "right"
    shown = [row for row in rows if every or row.one != row.other]
    for row in shown:
        table.add_row(row.metric, row.one, row.other, row.difference)
    if shown:
        Console().print(table)
    if same := len(rows) - len(shown):
        print(f"{same} metrics are the same in both; --all shows them.")
    return 0


def _ledger(plan: str, outputs: Path) -> tuple[list[Link], str]:
    """The whole ledger and the first line of everything."""
    from rollout_lib.archive.chain import link
    from rollout_lib.database.connection import connect
    from rollout_lib.database.ledger import chain
    from rollout_lib.plan import load_plan

    database = connect(load_plan(plan))
    with database.transaction(readonly=True) as connection:
        links = [link(row) for row in chain(connection)]
    return links, f"{database.place} · {outputs}"
