"""What somebody must be told at 3 a.m., as an HTTP endpoint receives it from real processes."""

from __future__ import annotations

import contextlib
import os
import time
from datetime import timedelta

import pytest

from rollout_lib import operations as op
from rollout_lib import spool
from rollout_lib.emergency import line
from rollout_lib.errors import DatabaseUnreachable
from rollout_lib.model import State
from rollout_lib.schedule import lasting

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning"),  # Apprise's
]
FAILING = """INSERT INTO webhook_routing_logs (created_at, domain, routed_to, status, response_time_ms, message_id)
    SELECT CAST('{at}' AS timestamptz) + n * interval '20 seconds', 'jobs', 'unified', 'error', 700, 'wamid.' || n
      FROM generate_series(1, 40) n"""


@pytest.fixture
def paged(hook, monkeypatch):
    """The endpoint that $ROLLOUT_NOTIFY names."""
    monkeypatch.setenv("ROLLOUT_NOTIFY", hook.address)
    return hook


def came(hook, words: str) -> str:
    """The text of the message with these words, once it has come."""
    ends = time.monotonic() + 120
    while time.monotonic() < ends:
        for post in list(hook.posts):
            if words in f"{post['title']}\n{post['message']}":
                return f"{post['title']}\n{post['message']}"
        time.sleep(0.1)
    raise AssertionError(f"nobody was told {words!r}: {hook.subjects}")


def test_nobody_waits_longer_than_five_minutes_for_such_a_page():
    """The tests below shorten what this is."""
    assert timedelta(minutes=5) == lasting.PAGES_AFTER


def test_a_database_that_stays_away_is_paged_once_and_again_when_it_goes_a_second_time(
    live, paged, proxy, through, monkeypatch
):
    """Away: said at once, paged when it lasts, once; back; away again is another page."""
    monkeypatch.setenv("ROLLOUT_REHEARSAL_URL", through(os.environ["ROLLOUT_REHEARSAL_URL"]))
    watcher = live().watch(BLIND_PAGES="3")
    for number in (1, 2):
        watcher.until("quiet")
        paged.posts.clear()
        proxy.arm(1, "unheard", gone=True)
        assert "does not answer" in watcher.until("away")["text"]
        assert paged.posts == [], "said to those who look, and nobody is woken yet"
        second = watcher.until("away")
        assert "1 of 1 recipients reached" in second["text"], number
        assert "Nothing could be seen for 0 minutes, since" in came(paged, "nobody can look")
        time.sleep(3)
        proxy.mend()
        watcher.until("back")
        assert len(paged.posts) == 1


def test_a_database_that_answers_and_shows_nothing_is_paged_once_and_recorded(live, paged):
    """Rows stopped an hour ago: rounds say so; after the time the ledger and people have it, and
    once only.
    """
    day = live()
    paged.posts.clear()
    watcher = day.watch(BLIND_PAGES="3")
    watcher.until("quiet")
    day.sql("UPDATE webhook_routing_logs SET created_at = created_at - interval '1 hour'")
    act = watcher.until("act")
    assert "Could not look" in act["text"]
    assert act["exit_code"] == 50
    assert "neither good nor bad news" in came(paged, "somebody must look")
    for _ in range(5):
        watcher.until("quiet")
    assert day.sql("SELECT count(*) FROM rollout.ledger WHERE operation = 'monitor'") == [(1,)]
    assert len(paged.posts) == 1
    assert day.routing() == (10, True)


def test_a_plan_that_is_broken_or_edited_in_a_phase_is_paged_and_the_tripwire_goes_on(live, paged):
    """Broken: one page, at once; mended; edited: another; and errors switch off by the plan as it
    was.
    """
    day = live()
    paged.posts.clear()
    watcher = day.watch()
    watcher.until("quiet")
    whole = day.plan.read_text()
    day.plan.write_text(whole + "phases: twice\n")
    assert "key given twice" in watcher.until("trouble")["text"]
    told = came(paged, "something is wrong with the plan")
    assert "The tripwire goes on by the plan of digest" in told
    for _ in range(3):
        watcher.until("quiet")
    day.plan.write_text(whole)
    watcher.until("quiet")
    watcher.until("quiet")
    assert len(paged.posts) == 1
    day.plan.write_text(whole.replace("roll_back: true", "roll_back: false"))
    assert "was edited in the running phase" in watcher.until("trouble")["text"]
    came(paged, "was edited in the running phase")
    day.fails()
    assert watcher.until("act")["exit_code"] == 40
    assert day.routing() == (0, False)


def test_an_edited_plan_is_a_hold_that_the_scheduled_check_tells_where_nobody_watches(
    evening, paged
):
    """By a timer alone: the next check holds and says what was edited; a raise from it is refused
    by name.
    """
    evening.now += timedelta(minutes=15)
    evening.sql(
        FAILING.format(at=evening.now - timedelta(minutes=15)).replace("'error'", "'success'")
    )
    evening.plan_file.write_text(evening.plan_file.read_text() + "# edited\n")
    done = op.monitor(evening.session(), slot="now").checkpoint
    assert done.state is State.HOLD
    assert "The plan was edited in this phase" in came(paged, "Hold at 10%")
    evening.attest()
    assert "plan unchanged" in evening.unmet()


def test_an_act_that_failed_is_told_where_the_ledger_cannot_be_reached_either(
    evening, paged, proxy, through, monkeypatch
):
    """The line is cut between the verdict and the act, and no other is taken: told, kept, done by
    the next check.
    """
    monkeypatch.setattr(line, "RECONNECT", 1.0)
    monkeypatch.setenv("ROLLOUT_REHEARSAL_URL", through(evening.direct))
    evening.sql(FAILING.format(at=evening.now))
    evening.now += timedelta(minutes=15)
    for number in range(
        9, 40
    ):  # before the verdict it is no check at all; the first one after it is the act's own
        proxy.arm(number, "unheard", gone=True)
        with contextlib.suppress(DatabaseUnreachable):
            done = op.monitor(evening.session(), slot="now")
            break
    assert proxy.happened.is_set()
    assert (done.checkpoint.state, done.checkpoint.change.applied, done.head) == (
        State.ROLL_BACK,
        False,
        None,
    )
    told = came(paged, "ROLL BACK FAILED at 10%")
    assert "NOT DONE as far as is known" in told
    assert "rollout rollback --emergency --reason" in told
    assert "Not on the ledger yet." in told
    assert any("recipients reached" in line for line in done.told)
    assert len(spool.waiting()) == 1
    proxy.mend()
    assert op.monitor(evening.session()).checkpoint.change.applied
    assert evening.sql("SELECT percentage, enabled FROM webhook_routing_config") == [(0, False)]
    came(paged, "ROLLED BACK, routing disabled")
    assert spool.waiting() == []


def test_an_act_that_is_refused_and_cannot_be_recorded_is_told_too(evening, paged):
    """The table and the ledger both refuse: the message is all that is left, and it says so."""
    evening.sql("""CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN RAISE EXCEPTION ''not today''; END';
        CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON webhook_routing_config FOR EACH ROW EXECUTE FUNCTION refuse();
        ALTER TABLE webhook_routing_config ENABLE ALWAYS TRIGGER refuse;
        ALTER FUNCTION rollout.append_entry RENAME TO gone""")
    evening.sql(FAILING.format(at=evening.now))
    evening.now += timedelta(minutes=15)
    done = op.monitor(evening.session(), slot="now")
    assert (done.checkpoint.exit_code, done.head) == (40, None)
    told = came(paged, "ROLL BACK FAILED at 10%")
    assert "not today" in told
    assert "Not on the ledger yet." in told
