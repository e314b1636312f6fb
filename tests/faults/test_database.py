"""A database that is slow, away, read-only or full while a check runs, and what waits in files
meanwhile.
"""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal

import psycopg
import pytest

from rollout_lib import operations as op
from rollout_lib import spool
from rollout_lib.database.ledger import read_facts
from rollout_lib.errors import CouldNotMeasure, DatabaseUnreachable
from rollout_lib.judgement.state import fold
from rollout_lib.model import Act, CheckKind, State

# Eleven of unified's requests failed in the quarter of an hour after the evaluation; legacy goes
# on.
FAILING = """INSERT INTO webhook_routing_logs (created_at, domain, routed_to, status, response_time_ms, message_id)
    SELECT CAST('{at}' AS timestamptz) + n * interval '20 seconds', 'jobs', CASE WHEN n % 4 = 0 THEN 'unified' ELSE
           'legacy' END, CASE WHEN n % 4 = 0 THEN 'error' ELSE 'success' END, 700, 'wamid.' || n
      FROM generate_series(1, 44) n"""
OFF, AT_10 = (Decimal(0), False), (Decimal(10), True)


def fails(day) -> None:
    day.sql(FAILING.format(at=day.now))
    day.now += timedelta(minutes=15)


def check(day):
    return op.monitor(day.session(), slot="now")


def routing(day) -> tuple:
    return day.sql("SELECT percentage, enabled FROM webhook_routing_config")[0]


def standing(day):
    session = day.session()
    with session.database.transaction(readonly=True) as connection:
        return fold(read_facts(connection, session.plan).entries, session.plan)


def test_over_a_slow_line_a_check_acts_as_over_a_fast_one(evening, proxy, through, monkeypatch):
    """A tenth of a second more for each request: the same verdict, the same act, on the ledger."""
    monkeypatch.setenv("ROLLOUT_REHEARSAL_URL", through(evening.direct))
    fails(evening)
    proxy.delay = 0.1
    done = check(evening)
    assert (done.checkpoint.state, done.head is not None) == (State.ROLL_BACK, True)
    assert routing(evening) == OFF


def test_a_database_that_refuses_is_no_pass_and_the_next_check_is_as_if_nothing_had_been(
    evening, monkeypatch
):
    """Nothing listens: exit 50, nothing on the ledger, routing as it was; the same slot is judged
    afterwards.
    """
    address = os.environ["ROLLOUT_REHEARSAL_URL"]
    evening.now += timedelta(minutes=15)
    before = evening.sql("SELECT max(seq) FROM rollout.ledger")
    monkeypatch.setenv(
        "ROLLOUT_REHEARSAL_URL", psycopg.conninfo.make_conninfo(address, host="127.0.0.1", port="1")
    )
    with pytest.raises(DatabaseUnreachable, match="Routing goes on as last configured"):
        check(evening)
    monkeypatch.setenv("ROLLOUT_REHEARSAL_URL", address)
    assert (routing(evening), evening.sql("SELECT max(seq) FROM rollout.ledger")) == (AT_10, before)
    assert check(evening).checkpoint.kind == "checkpoint"


def test_a_read_only_database_is_switched_off_and_the_record_waits(evening):
    """As Supabase sets a full one: the rollback says READ WRITE; so does the record, which is on
    the ledger.
    """
    fails(evening)
    name = psycopg.conninfo.conninfo_to_dict(evening.direct)["dbname"]
    evening.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    done = check(evening)
    assert (done.checkpoint.state, routing(evening)) == (State.ROLL_BACK, OFF)
    assert done.head is not None


def test_what_the_ledger_cannot_take_waits_in_a_file_and_comes_before_the_next_entry(evening):
    """The ledger is away while a check rolls back: done, told, kept; the next run appends it first,
    once.
    """
    fails(evening)
    evening.sql("ALTER FUNCTION rollout.append_entry RENAME TO gone")
    done = check(evening)
    assert (done.checkpoint.state, done.head, routing(evening)) == (State.ROLL_BACK, None, OFF)
    assert str(spool.waiting()[0]) in done.kept
    evening.sql("ALTER FUNCTION rollout.gone RENAME TO append_entry")
    evening.now += timedelta(minutes=15)
    again = check(evening)
    assert (again.checkpoint.verdict.act, spool.waiting()) == (Act.NONE, [])
    assert routing(evening) == OFF
    assert standing(evening).last_change[1:] == OFF


def test_a_check_kept_here_whose_slot_was_judged_elsewhere_becomes_an_extra_one(
    evening, tmp_path, monkeypatch
):
    """Two machines: the one that could not record does not take the slot twice, and is not stuck by
    it for ever.
    """
    evening.now += timedelta(minutes=15)
    evening.sql("ALTER FUNCTION rollout.append_entry RENAME TO gone")
    assert check(evening).head is None
    evening.sql("ALTER FUNCTION rollout.gone RENAME TO append_entry")
    here = os.environ["ROLLOUT_OUTPUTS"]
    monkeypatch.setenv("ROLLOUT_OUTPUTS", str(tmp_path / "elsewhere"))
    assert check(evening).checkpoint.kind == "checkpoint"
    monkeypatch.setenv("ROLLOUT_OUTPUTS", here)
    evening.now += timedelta(minutes=15)
    assert check(evening).checkpoint.kind == "checkpoint"
    kinds = evening.sql(
        "SELECT kind FROM rollout.ledger WHERE operation = 'monitor' ORDER BY seq DESC LIMIT 3"
    )
    assert kinds == [("checkpoint",), ("extra",), ("checkpoint",)]
    assert spool.waiting() == []


def test_a_kept_file_that_cannot_be_read_or_appended_is_reported_and_stops_no_other(evening):
    """Broken, no entry, a folder, one that the ledger refuses: each is named and stays; the rest is
    on the ledger.
    """
    evening.now += timedelta(minutes=15)
    evening.sql("ALTER FUNCTION rollout.append_entry RENAME TO gone")
    assert check(evening).head is None
    (whole,) = spool.waiting()
    entry = json.loads(whole.read_text())
    bad = {
        "1_broken_1": "{",
        "2_none_1": "[1]",
        "4_when_1": json.dumps(entry | {"at": "at noon", "run_id": "x"}),
    }
    for name, text in bad.items():
        (spool.folder() / f"{name}.json").write_text(text)
    (spool.folder() / "3_folder_1.json").mkdir()
    evening.sql("ALTER FUNCTION rollout.gone RENAME TO append_entry")
    for _ in range(2):
        evening.now += timedelta(minutes=15)
        done = check(evening)
        assert done.head is not None
        told = [line for line in done.told if "was kept for the ledger" in line]
        assert [line.split(" ")[0].rsplit("/")[-1] for line in told] == [
            "1_broken_1.json",
            "2_none_1.json",
            "3_folder_1.json",
            "4_when_1.json",
        ]
        assert "stays: at: at noon" in told[-1]
        assert "4_when_1.json" in done._repr_mimebundle_()["text/plain"]
        assert len(spool.waiting()) == 4
    assert evening.sql(
        f"SELECT count(*) FROM rollout.ledger WHERE run_id = '{entry['run_id']}'"
    ) == [(1,)]


def test_two_runs_at_once_append_what_waits_once(evening):
    """Each finds the same file: one of them appends it, and it is gone."""
    evening.sql("ALTER FUNCTION rollout.append_entry RENAME TO gone")
    op.roll_back(evening.session(), reason="errors")
    evening.sql("ALTER FUNCTION rollout.gone RENAME TO append_entry")
    databases = [evening.session().database for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda database: database.drain(), databases))
    assert sorted(len(item.appended) for item in found) == [0, 0, 0, 1]
    assert [item.left for item in found] == [()] * 4
    assert spool.waiting() == []
    assert evening.sql("SELECT count(*) FROM rollout.ledger WHERE operation = 'rollback'") == [(1,)]


def test_a_rollback_that_reaches_the_ledger_late_does_not_end_what_was_begun_since(
    evening, monkeypatch
):
    """Rolled back, kept in a file, begun again by a named person; the late entry is history and no
    new rollback.
    """
    evening.sql("ALTER FUNCTION rollout.append_entry RENAME TO gone")
    op.roll_back(evening.session(), reason="errors")
    evening.sql("ALTER FUNCTION rollout.gone RENAME TO append_entry")
    (kept,) = spool.waiting()
    elsewhere = kept.rename(kept.with_suffix(".elsewhere"))
    evening.now += timedelta(minutes=15)
    assert check(evening).checkpoint.adopted.enabled is False
    evening.goes_on(minutes=5)
    evening.attest()
    evening.acknowledge("restart", "mended")
    assert evening.raise_to(10).change.applied
    elsewhere.rename(kept)
    evening.now += timedelta(minutes=10)
    assert check(evening).checkpoint.state is not State.ROLL_BACK
    assert spool.waiting() == []
    known = standing(evening)
    assert (known.phase.percentage, known.latched, routing(evening)) == (10, None, AT_10)


def test_a_rollback_without_a_ledger_says_what_is_true(evening):
    """The ledger's schema is gone: off, exit 0, kept in a file; nobody is told that nothing was
    changed.
    """
    evening.sql("DROP SCHEMA rollout CASCADE")
    done = op.roll_back(evening.session(), reason="errors")
    assert (done.checkpoint.exit_code, routing(evening)) == (0, OFF)
    assert "Routing is disabled" in done.checkpoint.sentence
    assert done.kept


def test_a_rollback_over_an_entry_that_nobody_can_read_is_done_and_recorded(evening):
    """An entry of a newer version is a hold at least, named by its number, and stops no rollback."""
    evening.sql(
        """SELECT rollout.append_entry('checkpoint', 'monitor', 'week6-unified', now(), NULL, NULL, 'x',
        '{"state": "NOBODY KNOWS", "run_id": "x"}')"""
    )
    found = check(evening).checkpoint
    assert found.exit_code in (20, 50)
    assert any(item.kind is CheckKind.LEDGER and item.state for item in found.verdict.checks)
    done = op.roll_back(evening.session(), reason="errors")
    assert (done.checkpoint.exit_code, routing(evening), done.head is not None) == (0, OFF, True)


def test_a_spike_that_cannot_be_recorded_is_done_and_said(evening):
    """Complaints spike while the ledger is away: off, and the error says that it is done and what
    is not.
    """
    evening.sql("ALTER FUNCTION rollout.append_entry RENAME TO gone")
    with pytest.raises(CouldNotMeasure, match=r"routing is disabled.*\nIt is done\.") as said:
        evening.attest("spike")
    assert "othing was" not in str(said.value)
    assert "as it was" not in str(said.value)
    assert routing(evening) == OFF


def test_a_spike_over_an_entry_that_nobody_can_read_or_with_a_locked_ledger_contradicts_nothing(
    evening, monkeypatch
):
    """A hole in the ledger, or somebody holds it: routing is off, and no word says that it is as it
    was.
    """
    evening.sql(
        """SELECT rollout.append_entry('checkpoint', 'monitor', 'week6-unified', now(), NULL, NULL, 'x',
        '{"state": "NOBODY KNOWS", "run_id": "x"}')"""
    )
    evening.attest("spike")
    assert routing(evening) == OFF
    evening.sql("UPDATE webhook_routing_config SET enabled = true, percentage = 10")
    with psycopg.connect(evening.direct) as other:
        other.execute("LOCK TABLE rollout.ledger IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(CouldNotMeasure, match=r"It is done\.") as locked:
            evening.attest("spike")
    assert routing(evening) == OFF
    assert "othing was" not in str(locked.value)
    assert "as it was" not in str(locked.value)


def test_an_extension_that_is_no_number_never_reaches_the_ledger(evening):
    """It could be read by no run to come."""
    for value in ("abc", "-3600", "0", "1e3"):
        with pytest.raises(Exception, match="extension"):
            evening.acknowledge("extension", value)
    assert standing(evening).extension_s == 0


def test_an_hour_that_nobody_checked_holds_the_phase(evening):
    """Four slots without a check: the next one is judged over their rows, and the evaluation names
    them.
    """
    evening.now += timedelta(hours=1)
    evening.sql(
        FAILING.format(at=evening.now - timedelta(minutes=15)).replace("'error'", "'success'")
    )
    assert check(evening).checkpoint.kind == "checkpoint"
    done = op.evaluate_phase(evening.session()).checkpoint
    assert done.state is State.INCONCLUSIVE
    missed = [item for item in done.verdict.checks if item.name == "every slot checked"]
    assert [item.outcome.value for item in missed] == ["FAIL"], [
        item.name for item in done.verdict.checks
    ]
    evening.attest()
    assert "phase passed" in evening.unmet()


def test_two_checks_of_one_slot_at_once_act_once_and_count_once(evening):
    """Two runners in the same slot: one check, one extra, routing off, one phase of evidence."""
    fails(evening)
    children = []
    for _ in range(2):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                check(evening)
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    assert routing(evening) == OFF
    rows = evening.sql(
        "SELECT kind, body FROM rollout.ledger WHERE operation = 'monitor' ORDER BY seq DESC"
        " LIMIT 2"
    )
    assert len({json.loads(body)["run_id"] for _, body in rows}) == 2
    # Of the phase: whoever comes so late that routing is off already checks that, and no phase.
    claimed = """SELECT count(*) FROM rollout.ledger WHERE phase_began IS NOT NULL
                 AND slot = (SELECT max(slot) FROM rollout.ledger)"""
    assert evening.sql(claimed) == [(1,)]
