"""The standing by the ledger alone: what a look, a verdict, a statement and a change do to the
running phase.
"""

from __future__ import annotations

import json
import random
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from rollout_lib.judgement.state import fold
from rollout_lib.model import Adopted, Check, CheckKind, EntryKind, Outcome, State
from rollout_lib.model.record import read_entry


def stated(day, subject="acknowledgement", value="inconclusive"):
    """A statement by Rita as the next entry."""
    standing = fold(day.entries, day.plan)
    body = {
        "subject": subject,
        "value": value,
        "by": "Rita",
        "reason": "seen",
        "plan_digest": day.plan.digest,
    }
    row = {
        "seq": len(day.entries) + 1,
        "kind": "attestation" if subject == "complaints" else "acknowledgement",
        "operation": subject,
        "rollout": day.plan.rollout,
        "at": day.now,
        "phase_began": standing.phase.began_at if standing.phase else None,
        "slot": None,
        "run_id": "r",
        "hash": f"{len(day.entries) + 1:064x}",
        "body": json.dumps(body),
    }
    day.entries.append(read_entry(row))


def amend(day, **fields):
    """The last entry as if its run had found otherwise."""
    entry = day.entries[-1]
    day.entries[-1] = replace(entry, body=replace(entry.body, **fields))


def standing_of(day):
    return fold(day.entries, day.plan)


def test_a_repeated_slot_changes_nothing(day):
    """The same slot recorded twice, whatever the second run saw: the looks are
    those of the first.
    """
    day.change(10)
    day.check()
    day.check(errors=1)
    before = standing_of(day)
    again = replace(day.entries[-1], seq=len(day.entries) + 1)
    day.entries.append(again)
    assert standing_of(day).looks == before.looks
    assert standing_of(day).slots_done == before.slots_done


def test_a_late_slot_changes_nothing(day):
    """A check of 09:15 that is recorded after the one of 09:30 adds no look: its rows are in that
    one.
    """
    day.change(10)
    day.check()
    day.check()
    before = standing_of(day)
    late = replace(
        day.entries[-1], seq=len(day.entries) + 1, slot=day.entries[-1].slot - timedelta(minutes=8)
    )
    day.entries.append(late)
    assert standing_of(day).looks == before.looks


def test_a_missed_slot_is_no_look(day):
    """Half an hour between two checks: two looks, and the slot between them is
    not among the done.
    """
    day.change(10)
    day.check()
    day.check(wait=timedelta(minutes=30))
    standing = standing_of(day)
    assert [slot.minute for slot in standing.slots_done] == [15, 45]
    assert len(standing.looks) == 2


def test_an_extra_check_adds_no_look_and_still_latches(day):
    """A person's check claims no slot, spends no stake; an act that it saw stands for the phase."""
    day.change(10)
    day.check()
    acted = day.check(errors=9)
    assert acted.state is State.ROLL_BACK
    day.entries[-1] = replace(day.entries[-1], kind="extra", slot=None)
    standing = standing_of(day)
    assert (len(standing.looks), standing.latched) == (1, State.ROLL_BACK)


def test_a_check_that_missed_its_slot_brings_only_its_bad_news(day):
    """It is kept as an extra check of that slot: an endpoint that it found down counts, one that it
    found up does not.
    """
    day.change(10)
    day.check()
    probes = [
        Check(
            name=f"protected:{name}",
            kind=CheckKind.PROBE,
            subject=name,
            outcome=outcome,
            observed="",
            limit="",
            reason="",
        )
        for name, outcome in (("mobility", Outcome.FAIL), ("profile", Outcome.PASS))
    ]
    verdict = replace(day.entries[-1].body.verdict, checks=tuple(probes))
    amend(day, verdict=verdict)
    assert set(standing_of(day).protected) == {"mobility", "profile"}
    day.entries[-1] = replace(day.entries[-1], kind=EntryKind.EXTRA, slot=None)
    assert set(standing_of(day).protected) == {"mobility"}


def test_a_latch_keeps_the_reason_of_the_check_that_acted(day):
    """Later checks repeat the state; the reason stays the first one's, and never grows."""
    day.change(10)
    first = day.check(errors=9)
    for _ in range(5):
        day.check()
    assert standing_of(day).latched_reason == first.sentence


def test_a_pass_is_revoked_by_a_hold_and_not_by_a_watch(day):
    """Slots go on after an evaluation: a hold or worse since then takes the pass back."""
    day.change(10)
    day.check()
    day.evaluate()
    amend(day, state=State.PASS)
    assert standing_of(day).evaluation[1] is State.PASS
    for state, revoked in ((State.WATCH, False), (State.HOLD, True)):
        day.check()
        amend(day, state=state)
        assert bool(standing_of(day).revoked) is revoked


def test_an_evaluation_latches_what_it_finds(day):
    """An act seen first by an evaluation stands as one seen by a check does."""
    day.change(10)
    day.check()
    day.evaluate()
    amend(day, state=State.STEP_BACK)
    assert standing_of(day).latched is State.STEP_BACK


def test_a_phase_begun_again_starts_from_nothing(day):
    """--again after a mend: no looks, no latch, no evaluation, no extension of before; the attempt
    is counted.
    """
    day.change(10)
    day.check(errors=9)
    day.evaluate()
    stated(day, "extension", "3600")
    assert standing_of(day).extension_s == 3600
    day.now += timedelta(minutes=5)
    day.change(10)
    standing = standing_of(day)
    assert (standing.looks, standing.slots_done, standing.latched, standing.evaluation) == (
        (),
        (),
        None,
        None,
    )
    assert (standing.extension_s, standing.phase.attempt, standing.phase.percentage) == (
        0,
        2,
        Decimal(10),
    )


def test_an_extension_never_shortens_a_hold(day):
    """A negative number of seconds on the ledger adds nothing: it cannot be read."""
    day.change(10)
    stated(day, "extension", "-7200")
    assert standing_of(day).extension_s == 0
    assert [entry.seq for entry in standing_of(day).unreadable] == [2]


def test_routing_off_latches_whoever_did_it(day):
    """Adopted from a hand's edit: no phase runs, and starting again needs a person."""
    day.change(10)
    day.check()
    amend(day, adopted=Adopted(percentage=Decimal(10), enabled=False))
    standing = standing_of(day)
    assert standing.phase is None
    assert standing.latched is State.ROLL_BACK
    assert standing.rolled_back_at is not None
    assert "by hand" in standing.latched_reason


def test_the_order_in_which_entries_are_read_does_not_matter(day):
    """The fold goes by sequence number."""
    day.change(10)
    for errors in (0, 1, 0, 2):
        day.check(errors=errors)
    shuffled = list(day.entries)
    random.Random(1).shuffle(shuffled)
    assert fold(shuffled, day.plan) == standing_of(day)


def test_a_raise_after_an_off_of_a_later_instant_is_of_after_it(day):
    """An off is stamped ahead of the raise that follows it on the ledger: what runs is told, since
    nothing that goes up is ever kept in a file."""
    day.change(10)
    day.change(0)
    amend(day, at=day.now + timedelta(hours=5))
    day.change(10)
    assert standing_of(day).phase is not None
    assert standing_of(day).last_change[1:] == (Decimal(10), True)


def test_off_that_reaches_the_ledger_late_moves_no_instant_back(day):
    """Off at 09:30; an emergency of 09:15 that waited in a file comes after it: off is since 09:30,
    so that a restart stated between the two is not taken for one of after it.
    """
    day.change(10)
    day.check()
    day.now += timedelta(minutes=15)
    day.change(0)
    before = standing_of(day)
    early = day.now - timedelta(minutes=15)
    late = day.entries[-1]
    day.entries.append(
        replace(
            late,
            seq=late.seq + 1,
            operation="rollback",
            at=early,
            body=replace(late.body, operation="rollback", at=early, run_id="emergency"),
        )
    )
    after = standing_of(day)
    assert after.rolled_back_at == before.rolled_back_at == day.now
    assert after.last_change == before.last_change
