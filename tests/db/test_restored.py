"""A database that was restored from a dump has forgotten what came after it: nothing rises on it.

Begun from an evaluated 10 % phase, 13:00 on Day 3; the dump is of before an automatic rollback."""

from __future__ import annotations

from decimal import Decimal

import pytest

from rollout_lib import operations as op
from rollout_lib.cli.app import run
from rollout_lib.database.heads import path_of
from rollout_lib.emergency import switch_off
from rollout_lib.errors import ParameterError
from rollout_lib.model import CheckKind, State
from rollout_lib.operations.status import look

pytestmark = pytest.mark.one_server


def check(day):
    day.goes_on()
    return op.monitor(day.session()).checkpoint


def restore(day, seq: int) -> None:
    """The database as it was dumped when #seq was its ledger's last entry."""
    day.sql(
        "SET session_replication_role = replica;"
        f" DELETE FROM rollout.ledger WHERE seq > {seq};"
        " UPDATE webhook_routing_config SET percentage = 10, enabled = true"
    )


@pytest.fixture
def restored(evening):
    """10 % passed, one check seen here, rolled back; then the dump of before the rollback."""
    check(evening)
    ((seq,),) = evening.sql("SELECT max(seq) FROM rollout.ledger")
    op.roll_back(evening.session(), reason="errors")
    restore(evening, seq)
    return evening


def head_of(found):
    return next(item for item in found.verdict.checks if item.kind is CheckKind.HEAD)


def test_every_judgement_holds_and_goes_on_holding(restored):
    """Routing on, the latch gone: each check, round and evaluation is a HOLD, however many come."""
    for _ in range(2):
        found = check(restored)
        assert (found.state, head_of(found).state) == (State.HOLD, State.HOLD)
    assert op.glance(restored.session()).verdict.state is State.HOLD
    assert head_of(op.evaluate_phase(restored.session()).checkpoint).state is State.HOLD
    assert "--restored" in op.preflight(restored.session()).checkpoint.verdict.next_step


def test_a_look_says_it_before_any_check_does(restored):
    """`rollout status` on the restored database: what was seen here, and who accepts it."""
    said = look(restored.session()).lines(restored.session())
    assert any("was seen here" in line and "--restored" in line for line in said)


def test_nothing_rises_until_a_named_person_accepts_it(restored):
    """The raise is refused by name; accepted on the ledger, the next check is as before."""
    restored.attest()
    assert "ledger as last seen" in restored.unmet(25)
    words = ["acknowledge", "--restored", "--reason", "the dump of 12:00", "--operator", "Rita"]
    words += ["--plan", str(restored.plan_file), "--as-of", restored.now.isoformat()]
    assert run(words) == 0
    assert head_of(check(restored)).state is None
    with pytest.raises(ParameterError, match="nothing is to be accepted"):
        op.attest(restored.session(), subject="restored", value="", reason="again")


def test_a_lowering_is_not_stopped(restored):
    """One phase down is done on the restored database, and leads to off: what the ledger once made
    legal may have been taken back in what it forgot.
    """
    down = op.roll_back(restored.session(), reason="x", gradual=True).checkpoint
    assert (down.change.applied, down.change.after[1]) == (True, False)


def test_off_is_not_stopped(restored):
    """Off: done on the restored database."""
    assert restored.raise_to(0).change.after == (Decimal(0), False)


def test_a_ledger_that_grew_past_the_head_by_another_way_is_another(restored):
    """After the restore other entries take the numbers: it holds all the same."""
    for _ in range(4):
        assert check(restored).state is State.HOLD


def test_a_head_that_cannot_be_read_holds_and_one_of_another_database_says_nothing(evening):
    """Damaged: HOLD until accepted. None, or only another ledger's: as before."""
    assert head_of(check(evening)).state is None
    file = path_of(evening.session().database)
    file.with_name("0123456789abcdef.json").write_text('{"seq": 900, "hash": "00"}')
    assert head_of(check(evening)).state is None
    file.write_text("{")
    assert head_of(check(evening)).state is State.HOLD
    op.attest(evening.session(), subject="restored", value="", reason="the disk was full")
    assert head_of(check(evening)).state is None
    file.unlink()
    assert head_of(check(evening)).state is None


def test_a_second_machine_sees_the_ledger_grow(evening, tmp_path, monkeypatch):
    """What another folder recorded meanwhile is no restored dump here."""
    check(evening)
    with monkeypatch.context() as patch:
        patch.setenv("ROLLOUT_OUTPUTS", str(tmp_path / "elsewhere"))
        assert head_of(check(evening)).state is None
    assert head_of(check(evening)).state is None


@pytest.mark.parametrize("act", ["emergency", "statement"])
def test_a_dump_of_before_an_emergency_or_a_statement_is_seen(evening, act):
    """Each of them is an entry that this machine has seen: the dump of before it is a HOLD."""
    check(evening)
    ((seq,),) = evening.sql("SELECT max(seq) FROM rollout.ledger")
    if act == "emergency":
        switch_off(evening.session().database.address, reason="errors", operator="Rita")
    else:
        op.attest(evening.session(), subject="complaints", value="some", reason="three calls")
    restore(evening, seq)
    assert head_of(check(evening)).state is State.HOLD


@pytest.mark.parametrize("act", ["emergency", "statement"])
def test_neither_accepts_a_restored_ledger(restored, act):
    """On the restored database they are done, and the head seen before stays the one wanted."""
    if act == "emergency":
        switch_off(restored.session().database.address, reason="errors", operator="Rita")
    else:
        op.attest(restored.session(), subject="complaints", value="none", reason="asked")
    assert head_of(check(restored)).state is State.HOLD
