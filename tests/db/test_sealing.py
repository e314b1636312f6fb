"""What a person ran in a notebook of their own, saved below outputs/working/, becomes part of the
archive.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import nbformat
import pytest

from rollout_lib import operations as op
from rollout_lib.archive import verify
from rollout_lib.archive.provenance import SOURCE_VARIABLE
from rollout_lib.archive.sealing import MIMETYPE, WORKING, seal
from rollout_lib.cli.app import run
from rollout_lib.database.session import open_session


@pytest.fixture
def saved(archive, monkeypatch) -> Path:
    """A check by hand on the morning's archive, and the notebook that shows it, saved."""
    path = archive.outputs / WORKING / "my checks.ipynb"
    monkeypatch.delenv(SOURCE_VARIABLE, raising=False)
    monkeypatch.setenv("JPY_SESSION_NAME", str(path))
    shown = op.monitor(
        open_session("parameters/week6.rehearsal.yaml", as_of="2025-12-03T09:05:00+00:00")
    )
    output = nbformat.v4.new_output("display_data", data=shown._repr_mimebundle_())
    cell = nbformat.v4.new_code_cell("monitor(session)", outputs=[output], execution_count=1)
    path.parent.mkdir()
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    return path


def test_a_notebook_saved_by_hand_is_archived_and_vouched_for(archive, saved):
    """Notebook, record and page are there, the entry holds their hashes, a second time there is
    nothing to do.
    """
    before = archive.proof()
    assert any("not sealed yet" in note for note in before.notes)
    (done,) = seal(archive.plan, archive.outputs)
    assert (done.seq, done.what) == (15, "working/my checks.ipynb, saved by hand")
    assert seal(archive.plan, archive.outputs) == []
    after = archive.proof()
    assert (after.findings, after.files - before.files) == ([], 3)
    assert saved.exists()  # the person's own copy stays


def test_a_saved_notebook_that_shows_another_checkpoint_is_not_sealed(archive, saved):
    """Edited after it ran: it is named, nothing vouches for it, and the command exits 70."""
    notebook = nbformat.read(saved, as_version=4)
    shown = notebook.cells[0].outputs[0].data[MIMETYPE]
    shown["text"] = shown["text"].replace('"exit_code":', '"exit_code" :')
    nbformat.write(notebook, saved)
    (done,) = seal(archive.plan, archive.outputs)
    assert (done.seq, "the ledger does not hold" in done.what) == (None, True)
    assert run(["seal", "--outputs", str(archive.outputs)]) == 70
    assert not list(archive.outputs.rglob("*my-checks*"))


def test_a_notebook_that_was_never_saved_is_closed_as_that_after_half_a_day(archive, saved):
    """For twelve hours it may be open; then it is unsealed, and seal says that it never came."""
    saved.unlink()
    links = archive.links()
    assert verify.verify(links, archive.outputs, now=archive.now + timedelta(hours=10)).whole
    late = archive.now + timedelta(hours=13)
    assert [item.kind for item in verify.verify(links, archive.outputs, now=late).findings] == [
        "unsealed"
    ]
    (done,) = seal(archive.plan, archive.outputs, late)
    assert done.what == "the notebook that a person had open was never saved"
    proof = verify.verify(archive.links(), archive.outputs, now=late)
    assert (proof.whole, [note for note in proof.notes if "never archived" in note] != []) == (
        True,
        True,
    )


def test_a_sealed_copy_does_not_keep_a_later_run_from_being_closed(archive, saved):
    """The copy of a run that is sealed already lies beside a run whose notebook never came: the
    second is closed, and nothing is said of the first again.
    """
    assert len(seal(archive.plan, archive.outputs)) == 1
    op.monitor(open_session("parameters/week6.rehearsal.yaml", as_of="2025-12-03T09:06:00+00:00"))
    (done,) = seal(archive.plan, archive.outputs, archive.now + timedelta(hours=13))
    assert done.what == "the notebook that a person had open was never saved"


def test_many_who_seal_at_once_leave_one_archive(archive):
    """Eight at a time copy the same ledger and rebuild the same index: all is there once, and
    whole.
    """
    for path in archive.copies():
        path.unlink()
    (archive.outputs / ".index.jsonl").unlink(missing_ok=True)
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda _: seal(archive.plan, archive.outputs), range(8)))
    assert done == [[]] * 8
    proof = archive.proof()
    assert (proof.findings, proof.notes, len(archive.copies())) == ([], [], proof.entries)
    kept = [
        json.loads(line)["name"]
        for line in (archive.outputs / ".index.jsonl").read_text().splitlines()
    ]
    assert len(kept) == len(set(kept)) == proof.entries
    assert (archive.outputs / "index.html").read_text().rstrip().endswith("</html>")
