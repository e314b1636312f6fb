"""What the next operator reads: days and hand-over, from the ledger alone."""

from __future__ import annotations

from datetime import timedelta

from rollout_lib.judgement.summary import summarise
from rollout_lib.model import State


def told(day):
    return dict(summarise(day.entries, day.plan, day.now).handover)


def test_a_running_phase_is_handed_over_with_its_hold_and_the_next_step(day):
    """Where routing stands, when its hold ends, what comes when, and that nobody
    attested anything.
    """
    day.change(10)
    day.check()
    found = told(day)
    assert found["routing"] == "10 % since Wed 03 Dec 09:00 CET; its hold ends Wed 03 Dec 13:00 CET"
    assert found["stands"] == found["missing"] == "nothing"
    assert found["next step"].startswith("25 % at Wed 03 Dec 13:30 CET: rollout evaluate")
    assert found["stated"] == "nobody attested anything"


def test_what_is_missing_or_latched_is_named(day):
    """A quarter of an hour that nobody checked, and errors that roll back: both are in the
    hand-over.
    """
    day.change(10)
    day.check(wait=timedelta(minutes=30))
    assert told(day)["missing"] == "1 checks, the last of Wed 03 Dec 09:15 CET"
    assert day.check(12).state is State.ROLL_BACK
    assert told(day)["stands"].startswith("ROLL BACK: 12 of 14 jobs requests failed")


def test_after_a_rollback_the_next_step_is_a_named_person(day):
    """Off: legacy has everything, and starting again is asked for in words."""
    day.change(10)
    day.check()
    day.change(0)
    found = told(day)
    assert found["routing"] == "off: everything goes to legacy"
    assert "rollout acknowledge --restart" in found["next step"]


def test_a_week_is_told_day_by_day(day):
    """Two days: what routing became in each, the checks of each, and a night's slots on the day
    that they are of.
    """
    day.change(10)
    for _ in range(64):
        day.check()
    day.change(25)
    day.check()
    first, second = summarise(day.entries, day.plan, day.now).days
    assert (first.routing, first.checks, first.expected) == ("off → 10 %", 59, 59)
    assert (second.routing, second.checks, second.expected) == ("10 % → 25 %", 6, 6)
