"""One run from its parameters to its files: what is refused before a kernel starts, and what each
record says.
"""

from __future__ import annotations

import hashlib
import html
import json
import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID

import jsonschema
import nbformat
import pytest

from rollout_lib import __version__
from rollout_lib import operations as op
from rollout_lib.archive import sealing, verify
from rollout_lib.archive.chain import link
from rollout_lib.cli.app import run as command
from rollout_lib.database import ledger as store
from rollout_lib.database.session import open_session
from rollout_lib.errors import ParameterError
from rollout_lib.rehearsal.conductor import rehearse
from rollout_lib.rehearsal.scenarios import SCENARIOS
from rollout_lib.rehearsal.world import World
from rollout_lib.runner import RunResult, run, run_notebook

PLAN = "parameters/week6.rehearsal.yaml"
SCHEMA = Path(verify.__file__).with_name("checkpoint.schema.json")


@pytest.fixture
def world(database, plan):
    """A day at 10 %, a quarter of an hour after its start."""
    world = World(database.address, plan, SCENARIOS["healthy"], seed=1)
    world.prelude(world.start)

    def session():
        return open_session(PLAN, as_of=world.now.isoformat(), operator="Rita")

    op.attest(session(), subject="complaints", value="none")
    assert op.change_percentage(
        session(), to=Decimal(10), reason="first", dry_run=False
    ).checkpoint.change.applied
    world.advance(world.now + timedelta(minutes=15))
    yield world
    world.close()


def check(world: World, outputs: Path, name: str = "20_monitor", **given) -> RunResult:
    """One run of a notebook, now."""
    given = {"as_of": world.now.isoformat(), "operator": "Rita", **given}
    return run_notebook(name, given, outputs=outputs, kernel="warm")


def links(database) -> list:
    with database.transaction(readonly=True) as connection:
        return [link(row) for row in store.chain(connection)]


def whole(database, outputs: Path) -> bool:
    # The heads of these runs lie in the environment's folder, which the fixture put below this one.
    shutil.rmtree(outputs / "outputs" / "heads", ignore_errors=True)
    found = verify.verify(links(database), outputs)
    assert found.findings == []
    return found.whole


REFUSED = {
    "an unknown name": ("20_monitor", {"slott": "now"}, "slott: unknown; this notebook has plan, "),
    "not a number": ("20_monitor", {"as_of": float("nan")}, "as_of: must be str"),
    "a number for a text": (
        "10_change_percentage",
        {"to_percentage": 25},
        "must be str like '10', not int 25",
    ),
    "a percentage that is none": ("10_change_percentage", {"to_percentage": "nan"}, "not 'nan'"),
    "a percentage as YAML reads it": ("10_change_percentage", {"to_percentage": 0o10}, "not int 8"),
    "a word for a truth": (
        "10_change_percentage",
        {"dry_run": "no"},
        "dry_run: must be bool like True, not str 'no'",
    ),
    "a number for a truth": (
        "10_change_percentage",
        {"dry_run": 0},
        "dry_run: must be bool like True, not int 0",
    ),
    "code for a name": ("20_monitor", {"x; import os": "1"}, "x; import os: unknown"),
    "a time that YAML made a number": ("20_monitor", {"slot": 45045}, "slot: must be str"),
    "an object": ("20_monitor", {"as_of": datetime(2025, 12, 3, tzinfo=UTC)}, "as_of: must be str"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_wrong_parameter_is_refused_before_anything_starts(what, tmp_path, monkeypatch):
    """Unknown, not a number, another type, nothing coerced: named, no kernel started, no file
    written.
    """
    monkeypatch.setattr(run, "_execute", None)  # what would start a kernel
    name, given, words = REFUSED[what]
    with pytest.raises(ParameterError) as error:
        run_notebook(name, {"plan": PLAN, **given}, outputs=tmp_path)
    assert words in str(error.value)
    assert "The parameters are not valid; nothing was changed" in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_the_notebook_shows_where_each_value_came_from(world, tmp_path):
    """After the injected cell: from the command line, from the caller, this run's own, or the
    notebook's default.
    """
    given = ("--as-of", world.now.isoformat(), "--operator", "Rita", "--outputs", str(tmp_path))
    assert command(["monitor", *given]) in (0, 10)
    (path,) = tmp_path.rglob("*.ipynb")
    (cell,) = [
        cell
        for cell in nbformat.read(path, as_version=4).cells
        if "| parameter | from |" in cell.source
    ]
    assert "| `as_of` | command line |" in cell.source
    assert "| `run_id` | this run |" in cell.source
    named = [line.split("`")[1] for line in cell.source.splitlines()[2:]]
    assert sorted(named) == sorted({*named})
    assert set(named) >= {"plan", "as_of", "operator", "slot", "run_id"}


def test_each_entry_of_a_run_holds_what_made_it(world, database, plan, tmp_path):
    """Plan digest, library version, git commit and the hash of the notebook's file; then the hash
    of each file.
    """
    result = check(world, tmp_path, slot="now")
    checkpoint, archived = links(database)[-2:]
    body, seal = json.loads(checkpoint.body), json.loads(archived.body)
    source = hashlib.sha256(run.notebook_path("20_monitor").read_bytes()).hexdigest()
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    ).stdout
    assert body["provenance"]["library"] == __version__
    assert commit.startswith(body["provenance"]["commit"].rstrip("+"))
    assert body["provenance"]["notebook"] == seal["source"] == f"20_monitor:{source}"
    assert body["plan_digest"] == plan.digest
    files = {
        str(path.relative_to(tmp_path)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (result.notebook, result.record, result.html)
    }
    assert seal["files"] == files
    assert (
        result.record.read_text() == checkpoint.body
    )  # the hashed text itself, not another spelling of it


def test_a_model_edited_during_its_run_is_named_by_what_ran(world, database, tmp_path, monkeypatch):
    """The hash is of what was executed, not of what the file holds when the run ends."""
    path = tmp_path / "20_monitor.ipynb"
    path.write_bytes(run.notebook_path("20_monitor").read_bytes())
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(run, "NOTEBOOKS", tmp_path)
    load = run.load_notebook

    def edited(place: Path):
        loaded = load(place)
        path.write_text(path.read_text().replace("# ", "## ", 1))
        return loaded

    monkeypatch.setattr(run, "load_notebook", edited)
    assert check(world, tmp_path / "outputs").exit_code in (0, 10)
    assert json.loads(links(database)[-1].body)["source"] == f"20_monitor:{before}"


def test_what_this_process_records_after_a_run_is_no_notebooks(world, database, tmp_path):
    """A tripwire's act between two runs names no notebook, and waits for no second entry."""
    check(world, tmp_path, slot="now")
    op.monitor(open_session(PLAN, as_of=world.now.isoformat(), operator="Rita"))
    assert json.loads(links(database)[-1].body)["provenance"]["notebook"] == "none"
    found = verify.verify(links(database), tmp_path, now=datetime.now(UTC) + timedelta(minutes=14))
    assert "unsealed" not in str(found)


def test_two_runs_in_one_second_have_two_names(world, database, tmp_path):
    """The same instant, the same slot: the second is an extra check, and both are kept."""
    one, other = check(world, tmp_path, slot="now"), check(world, tmp_path, slot="now")
    assert [one.checkpoint["kind"], other.checkpoint["kind"]] == ["checkpoint", "extra"]
    assert one.record.name[:16] == other.record.name[:16]
    assert len({one.record, other.record}) == 2
    assert whole(database, tmp_path)


def test_a_clock_that_goes_back_an_hour_overwrites_nothing_and_judges_no_slot_twice(
    world, database, tmp_path
):
    """A run of an hour before is recorded after, as an extra check; the chain goes on and proves
    itself.
    """
    for _ in range(4):
        check(world, tmp_path, slot="now")
        world.advance(world.now + timedelta(minutes=15))
    files = {
        path: path.read_bytes()
        for path in tmp_path.rglob("2*")
        if path.is_file() and path.parent.name != "heads"  # which is written anew by every run
    }
    back = (world.now - timedelta(hours=1)).isoformat()
    result = check(world, tmp_path, as_of=back, slot="now")
    assert (result.checkpoint["kind"], result.checkpoint["at"][:16], result.trouble) == (
        "extra",
        back[:16],
        "",
    )
    assert {path: path.read_bytes() for path in files} == files
    assert whole(database, tmp_path)


def test_a_name_that_is_taken_is_said_and_the_first_record_stays(
    world, database, tmp_path, monkeypatch
):
    """Two runs of one id and one instant: the second is refused its files, and its decision stands
    on the ledger.
    """
    monkeypatch.setattr(
        run, "uuid", SimpleNamespace(uuid4=lambda: UUID(int=7))
    )  # the runner's own ids alone
    first = check(world, tmp_path)
    before = first.notebook.read_bytes()
    second = check(world, tmp_path)
    assert "Nothing was overwritten" in second.trouble
    assert (second.exit_code, second.checkpoint["kind"]) == (50, "extra")
    assert first.notebook.read_bytes() == before
    assert [entry.kind for entry in links(database)][-3:] == ["extra", "archived", "extra"]


@pytest.fixture
def read_only(tmp_path):
    """A folder that takes no file, from root neither."""
    folder = tmp_path / "read-only"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", folder]
    if subprocess.run(mount, capture_output=True, check=False).returncode == 0:
        yield folder
        subprocess.run(["umount", "-l", folder], check=True)
        return
    folder.chmod(0o555)
    try:
        (folder / "probe").touch()
    except OSError:
        yield folder
    else:
        pytest.skip("root may write anywhere here, and may not mount")
    folder.chmod(0o755)


def test_a_rollback_into_a_read_only_archive_is_done_and_on_the_ledger(
    world, database, read_only, tmp_path
):
    """Routing is off, the ledger says so, the error says what stands; later the run is closed as
    what it was.
    """
    result = check(world, read_only, "90_rollback", reason="a test")
    assert "could not be archived" in result.trouble
    assert "stands on the ledger" in result.trouble
    assert result.exit_code == 50
    assert result.checkpoint["change"]["after"] == ["0", False]
    assert [(entry.kind, json.loads(entry.body)["run_id"]) for entry in links(database)][-1] == (
        "checkpoint",
        result.run_id,
    )
    assert list(read_only.iterdir()) == []
    found = verify.verify(links(database), read_only, now=datetime.now(UTC) + timedelta(hours=1))
    assert "unsealed" in {item.kind for item in found.findings}
    sealing.seal(world.plan, tmp_path / "outputs", datetime.now(UTC) + timedelta(hours=1))
    assert whole(database, tmp_path / "outputs")


# Words of the record, lengths of time as a program prints them, values of Python, marks of Markdown.
WRITTEN_FOR_PROGRAMS = re.compile(
    r"CLEAN_UNPROVEN|ROLL_BACK|STEP_BACK|COULD_NOT_LOOK|NO_DATA|(?<![\d:-])\d{1,2}:\d\d:\d\d\.\d+|"
    r"(?<![\d:])\d:\d\d:\d\d(?!\d)|\benabled (?:True|False)|\bNone\b(?! of)|\bnan\b|`"
)


def read(page: str) -> str:
    """What a person reads of a page: no code, no drawing, no style."""
    bare = re.sub(r"<(style|pre|code|svg)\b.*?</\1>", " ", page, flags=re.DOTALL)
    return html.unescape(re.sub(r"<[^>]+>", " ", bare))


@pytest.mark.slow
def test_every_record_of_a_day_keeps_to_the_schema_and_every_page_stands_alone(
    server, plan, tmp_path, monkeypatch
):
    """A whole rehearsal: each record valid, each twin below 400 KB, without script or reference;
    all of it proved.
    """
    monkeypatch.setenv(plan.database.variable, server)
    day = rehearse("healthy", outputs=tmp_path)
    assert day.ok, day.problems
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
    records, pages = (
        list((day.outputs / plan.rollout).rglob("2*.json")),
        list(day.outputs.rglob("*.html")),
    )
    assert len(records) == day.runs == len(pages) - 1  # the index is one more
    for path in records:
        validator.validate(json.loads(path.read_text()))
    for path in pages:
        text = path.read_text()
        assert len(text.encode()) < 400_000, path
        assert "<script" not in text
        assert "http://" not in text.replace("http://www.w3.org/", "")
        assert "https://" not in text
        assert " src=" not in text
        assert WRITTEN_FOR_PROGRAMS.findall(read(text)) == [], path
    monkeypatch.setenv("ROLLOUT_REHEARSAL_URL", f"{server}")
    assert (
        command(
            ["verify", "--plan", str(day.plan_path), "--outputs", str(day.outputs), "--files-only"]
        )
        == 0
    )
