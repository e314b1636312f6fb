"""Slots, phases and gaps are cut in one place: every count of checks comes from it, in every zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from rollout_lib.display import charts
from rollout_lib.display import history as past
from rollout_lib.judgement.state import fold
from rollout_lib.judgement.summary import summarise
from rollout_lib.judgement.timeline import expected_slots, slot_of, slots_of, spans
from rollout_lib.plan import load_plan

PLAN = load_plan("parameters/week6.rehearsal.yaml")
ZONES = ["UTC", "Asia/Kolkata", "Europe/Berlin", "America/St_Johns", "Pacific/Chatham"]


def every(minutes):
    """The plan with another interval between its slots."""
    monitoring = PLAN.monitoring.model_copy(update={"interval": timedelta(minutes=minutes)})
    return PLAN.model_copy(update={"monitoring": monitoring})


NEW_YEAR = datetime(2025, 1, 1, tzinfo=UTC)
instants = st.builds(
    lambda since, zone: (NEW_YEAR + since).astimezone(ZoneInfo(zone)),
    st.timedeltas(timedelta(0), timedelta(days=730)),
    st.sampled_from(ZONES),
)
spans_of_time = st.timedeltas(timedelta(0), timedelta(hours=60))
minutes = st.sampled_from([5, 7, 10, 15, 20, 30, 60])


@given(instants, spans_of_time, minutes)
def test_the_expected_slots_are_the_slots_that_the_clock_is_in(began, lasted, step):
    """Whatever the zone, over midnight and both clock changes: exactly the values of slot_of in
    (began, until], each once, in order.
    """
    plan, until = every(step), began + lasted
    interval = plan.monitoring.interval
    slots = expected_slots(began, until, plan)
    assert slots == sorted(set(slots))
    assert all(slot_of(slot, interval) == slot and began < slot <= until for slot in slots)
    ticks, tick = set(), began.astimezone(UTC)
    while tick <= until:
        ticks.add(slot_of(tick, interval))
        tick += timedelta(minutes=1)
    ticks.add(slot_of(until, interval))
    assert {slot for slot in ticks if slot > began} == set(slots)


@given(instants, spans_of_time, minutes, st.sets(st.integers(0, 60)), st.randoms())
def test_done_and_missed_make_expected(began, lasted, step, chosen, random):
    """Of any checks, its own and strangers': done and missed are disjoint and add up; none is over
    that could still be checked; only the last can be open.
    """
    plan, until = every(step), began + lasted
    every_slot = expected_slots(began, until, plan)
    done = [slot for number, slot in enumerate(every_slot) if number in chosen]
    strangers = [began, began - timedelta(hours=1), until + timedelta(days=1)]
    slots = slots_of(began, until, [*done, *strangers], plan)
    assert set(slots.done) == set(done)
    assert not set(slots.done) & set(slots.missed)
    assert sorted((*slots.done, *slots.missed)) == list(slots.expected)
    left = [slot for slot in every_slot if slot not in slots.expected]
    assert left == [slot for slot in [slots.open] if slot]
    assert not left or left == every_slot[-1:]


def test_counts_agree_wherever_they_are_shown(day):
    """A phase with a gap, a rollback while a slot is open, checks while routing is off: report, day,
    chart, handover and evaluation say the same.
    """
    day.change(10)
    day.check()
    day.check(wait=timedelta(minutes=45))  # two slots without a check
    day.now += timedelta(minutes=20)  # the slot of now is open, the one before it was missed
    entries, now = list(day.entries), day.now
    slots = summarise(entries, day.plan, now).phases[0].slots
    assert (len(slots.done), len(slots.missed)) == (2, 2)
    standing = fold(entries, day.plan)
    assert standing.slots_done == slots.done
    summary = summarise(entries, day.plan, now)
    assert summary.gaps == slots.missed
    assert [(one.checks, one.expected) for one in summary.days] == [(2, 4)]
    day.change(0)
    for _ in range(5):  # while routing is off, slots go on, and are nobody's of a phase
        day.check()
    summary = summarise(day.entries, day.plan, day.now)
    [phase] = summary.phases
    assert (phase.checks, phase.expected) == (2, 4)
    assert [(one.checks, one.expected) for one in summary.days] == [(2, 4)]
    assert past.missing(day.history, day.plan) == list(phase.slots.missed)
    assert [span.percentage for span in spans(day.history)] == [10]
    assert "2 missed" in charts.timeline(day.history, day.plan).finding


def test_a_history_in_which_nothing_ever_turned_has_no_span():
    """Checks before the first raise, or of a day that never began, have charts all the same."""
    assert spans([]) == []
