"""`rollout watch` as a process on a server with live rows: it acts, stands by, takes over, stops
and says so.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import time
from datetime import timedelta
from decimal import Decimal

import pytest

from rollout_lib import operations as op
from rollout_lib.database.lease import Lease
from rollout_lib.schedule import Stop

pytestmark = pytest.mark.slow

watching = importlib.import_module("rollout_lib.schedule.watch")  # the package has its function


def test_the_first_round_after_the_commit_acts_and_the_ledger_names_it(live):
    """Quiet rounds; six failures are committed; the round that was under way may miss them, the
    next one acts.
    """
    day = live()
    watcher = day.watch()
    watcher.until("quiet")
    day.fails()
    (committed,) = day.sql(
        "SELECT max(created_at) FROM webhook_routing_logs WHERE status = 'error'"
    )
    while not watcher.lines.empty():
        watcher.said.append(watcher.lines.get())
    before = len(watcher.said)
    act = watcher.until("act")
    assert "Done: routing is off." in act["text"]
    rounds = [event["kind"] for event in watcher.said[before:] if event["kind"] in ("quiet", "act")]
    assert rounds in (["act"], ["quiet", "act"])
    assert day.routing() == (0, False)
    assert (act["exit_code"], "requests failed in the last" in act["text"]) == (40, True), act
    kind, at, body = day.sql("SELECT kind, at, body FROM rollout.ledger ORDER BY seq DESC LIMIT 1")[
        0
    ]
    body = json.loads(body)
    assert (kind, body["state"], body["change"]["applied"], body["operator"]) == (
        "extra",
        "ROLL_BACK",
        True,
        "Rita",
    )
    assert committed[0] < at
    watcher.process.send_signal(signal.SIGTERM)
    assert "nobody watches it from here" in watcher.rest()[-1]["text"]


def test_sigterm_between_two_slots_stops_at_once_and_gives_the_lease_back(live):
    """It says that nobody watches from here, leaves routing as it is, and the next watcher need not
    wait.
    """
    day = live()
    watcher = day.watch()
    watcher.until("quiet")
    watcher.process.send_signal(signal.SIGTERM)
    said = watcher.rest()
    assert said[-1]["kind"] == "stop"
    assert day.routing() == (10, True)
    day.watch().until("quiet")


def test_sigterm_in_a_slot_finishes_or_abandons_it_and_says_which(live):
    """The run's kernel ends too; the slot is judged once or not at all, and never half."""
    day = live("10s")
    watcher = day.watch("--outputs", str(day.plan.parent / "out"))
    watcher.until("slot")
    time.sleep(11)  # into a later slot
    watcher.process.send_signal(signal.SIGTERM)
    said = watcher.rest()
    assert said[-1]["kind"] == "stop"
    words = [event["text"] for event in said if event["kind"] == "slot"]
    assert all("SIGTERM" in text or ":" in text for text in words)
    slots = day.sql(
        "SELECT slot, count(*) FROM rollout.ledger WHERE kind = 'checkpoint' AND operation ="
        " 'monitor' GROUP BY slot"
    )
    assert slots
    assert {number for _, number in slots} == {1}
    assert day.routing() == (10, True)
    assert not list((day.plan.parent / "out").rglob(".part-*"))


@pytest.mark.parametrize("server_kind", ["postgresql-18", "pgbouncer"], indirect=True)
def test_a_second_watcher_stands_by_and_takes_over_from_one_that_was_killed(live):
    """One lease, through a transaction pooler too: the second says who watches; after kill -9 of
    it, it acts.
    """
    day = live()
    first = day.watch()
    first.until("quiet")
    second = day.watch()
    assert "standing by" in second.until("lease")["text"]
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    taken = second.until("lease")
    assert "this watcher has the lease, after" in taken["text"]
    day.fails()
    second.until("act")
    assert day.routing() == (0, False)
    holders = [
        json.loads(body)
        for (body,) in day.sql("SELECT body FROM rollout.ledger WHERE kind = 'lease'")
    ]
    assert [bool(body["before"]) for body in holders][-1] is True


def test_slots_that_nobody_checked_are_missed_and_count_at_the_evaluation(live):
    """Killed, and started again some slots later: each is recorded as missed, once; the phase is
    not passed.
    """
    day = live("5s")
    first = day.watch("--outputs", str(day.plan.parent / "out"))
    first.until("slot")
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    time.sleep(12)
    second = day.watch("--outputs", str(day.plan.parent / "out"))
    assert "recorded as missed" in second.until("missed")["text"]
    second.until("slot")
    second.process.send_signal(signal.SIGTERM)
    second.rest()
    missed = day.sql(
        "SELECT slot, count(*) FROM rollout.ledger WHERE kind = 'missed' GROUP BY slot"
    )
    assert len(missed) >= 2
    assert {number for _, number in missed} == {1}
    checks = op.evaluate_phase(day.session()).checkpoint.verdict.checks
    (accounted,) = [check for check in checks if "slot" in check.name]
    assert accounted.outcome != "PASS", accounted


def test_a_phase_begun_under_an_edited_plan_is_watched_by_it(live):
    """An edit in the middle of a phase holds and changes no limit; begun --again, the watcher
    follows.
    """
    day = live()
    watcher = day.watch()
    watcher.until("quiet")
    text = day.plan.read_text()
    day.plan.write_text(text.replace("roll_back: true", "roll_back: false"))
    assert "roll_back: false" in day.plan.read_text()
    op.attest(day.session(), subject="complaints", value="none")
    done = op.change_percentage(
        day.session(), to=Decimal(10), again=True, reason="edited", dry_run=False
    )
    assert done.checkpoint.change.applied, done.checkpoint.sentence
    for _ in range(3):  # a round that was under way, the one that sees the new plan, one under it
        watcher.until("quiet")
    day.fails()
    asked = watcher.until("act")
    assert asked["exit_code"] == 40
    assert day.routing() == (10, True), "the plan says: ask"


def test_lowered_by_hand_is_recorded_by_the_next_round(live):
    """From psql, with no slot near: within a round it is on the ledger, notes and all, and 0 % is
    set.
    """
    day = live()
    watcher = day.watch()
    watcher.until("quiet")
    day.sql("SELECT set_routing_enabled(false, 'I did not like the look of it')")
    act = watcher.until("act")
    assert "I did not like the look of it" in act["text"]
    assert day.routing() == (0, False)
    body = json.loads(day.sql("SELECT body FROM rollout.ledger ORDER BY seq DESC LIMIT 1")[0][0])
    assert body["adopted"]["enabled"] is False


def test_an_act_that_cannot_be_done_is_recorded_once_and_tried_again(live):
    """The function and the table refuse: the ledger says NOT DONE once; when they obey again, it is
    done.
    """
    day = live()
    day.sql(
        """CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN RAISE EXCEPTION ''not today''; END';
        CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON webhook_routing_config FOR EACH ROW EXECUTE FUNCTION refuse();
        ALTER TABLE webhook_routing_config ENABLE ALWAYS TRIGGER refuse"""
    )
    watcher = day.watch()
    watcher.until("quiet")
    day.fails()
    act = watcher.until("act")
    assert "NOT DONE" in act["text"]
    assert act["exit_code"] == 40
    for _ in range(2):
        watcher.until("quiet")
    count = "SELECT count(*) FROM rollout.ledger WHERE operation = 'monitor' AND kind = 'extra'"
    assert day.sql(count) == [(1,)]
    day.sql("DROP TRIGGER refuse ON webhook_routing_config")
    watcher.until("act")
    assert day.routing() == (0, False)


def test_a_database_that_goes_away_is_waited_for_and_found_again(live, proxy, through, monkeypatch):
    """No line, then one again: `away` once, `back` once, and the watch goes on."""
    monkeypatch.setenv("ROLLOUT_REHEARSAL_URL", through(os.environ["ROLLOUT_REHEARSAL_URL"]))
    day = live()
    watcher = day.watch()
    watcher.until("quiet")
    proxy.arm(1, "unheard", gone=True)
    away = watcher.until("away")
    assert "Routing goes on as last configured" in away["text"]
    proxy.mend()
    assert "answers again" in watcher.until("back")["text"]
    watcher.until("quiet")
    assert [event["kind"] for event in watcher.said].count("away") == 1


@pytest.mark.parametrize("lost", [False, True], ids=["kept", "lost"])
def test_a_lease_that_is_lost_in_a_round_leaves_the_slot_to_who_has_it(
    live, monkeypatch, tmp_path, lost
):
    """A round that took long: another watcher holds the lease by its end, and the slot is its own.
    Where the lease is kept, the slot is checked.
    """
    day = live("5s")
    said: list[watching.Event] = []
    session = day.session()
    held = watching._Watch(
        session=session,
        outputs=tmp_path,
        kernel="plain",
        say=said.append,
        stop=Stop(),
        lease=Lease(session.database, timedelta(seconds=15)),
    )
    trip = watching.trip

    def and_lose(*args, **how):
        seen = trip(*args, **how)
        if lost:
            day.sql(
                "UPDATE rollout.lease SET holder = 'another', until = clock_timestamp() + interval '1 h'"
            )
            assert not held.lease.take()
        return seen

    monkeypatch.setattr(watching, "trip", and_lose)
    time.sleep(5)  # so that a slot of the phase is due
    try:
        watching._one_round(held)
    finally:
        held.lease.release()
    slots = [event for event in said if event.kind in ("slot", "missed")]
    assert bool(slots) is not lost
