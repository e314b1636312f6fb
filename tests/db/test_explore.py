"""An investigation on a real log: what failed, where, since when; rows without secrets, statements
that can be pasted, tables for a warehouse, and notes that change nothing.
"""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal

import pandas as pd
import psycopg
import pytest

from rollout_lib import frames
from rollout_lib import operations as op
from rollout_lib.cli.app import run
from rollout_lib.database.ledger import read_facts
from rollout_lib.errors import ParameterError
from rollout_lib.judgement.state import fold
from rollout_lib.notebook import about
from rollout_lib.operations.explore import investigate
from rollout_lib.operations.export import export

pytestmark = pytest.mark.one_server
SECRET = "+4915112345678"
# After the evening's last check: jobs fails on unified for ten minutes, one webhook again and again.
FAILING = """INSERT INTO webhook_routing_logs (created_at, domain, routed_to, status, response_time_ms,
        error_message, message_id, from_number)
    SELECT CAST('{at}' AS timestamptz) + n * interval '30 seconds', 'jobs', 'unified', 'error', 700 + n,
           'no answer for {secret}', CASE WHEN n < 5 THEN 'wamid.same' ELSE 'wamid.' || n END, '{secret}'
      FROM generate_series(0, 19) n"""


@pytest.fixture
def failed(evening):
    """An evening in which jobs begins to fail; nobody has checked since."""
    evening.sql(FAILING.format(at=evening.now, secret=SECRET))
    evening.now += timedelta(minutes=10)
    return evening


def test_it_says_what_failed_where_and_since_when(failed):
    """The counts are the database's own; legacy stands beside; retries are told."""
    found = investigate(failed.session(), start=(failed.now - timedelta(hours=1)).isoformat())
    assert found.by_error.iloc[0]["rows"] == 20
    assert (
        found.by_domain.query("domain == 'jobs' and routed_to == 'unified'").iloc[0]["errors"] == 20
    )
    since = found.since.query("domain == 'jobs' and routed_to == 'unified'").iloc[0]
    assert since["first"] == (failed.now - timedelta(minutes=10)).replace(second=0, microsecond=0)
    (rate,) = found.against_legacy.query("routed_to == 'unified'")["rate_pct"]
    assert 0 < rate <= 100
    assert found.retries.iloc[0]["rows"] == 5
    assert set(found.before_and_after["when"]) <= {"before", "after"}


def test_no_number_body_or_id_is_in_any_of_its_frames(failed):
    """Redacted, and an id is its fingerprint."""
    found = investigate(failed.session(), start=(failed.now - timedelta(hours=1)).isoformat())
    sampled = failed.session().sample(failed=True, limit=20)
    for table in (found.failing, found.by_error, found.slow, found.retries, sampled):
        text = table.to_csv()
        assert SECRET not in text
        assert "5112345678" not in text
        assert "wamid" not in text
    assert "from_number" not in sampled.columns


def test_a_red_check_fills_in_its_window_and_domain(failed):
    """Without a window: that of the last check that was not well."""
    op.monitor(failed.session(), slot="")
    failed.now += timedelta(hours=2)
    found = investigate(failed.session())
    assert found.end < failed.now - timedelta(hours=1)
    assert found.about.startswith("the window of ")
    assert len(found.failing) == 20


def test_without_a_red_check_it_is_the_last_hour_and_an_empty_one_is_empty(evening):
    """Every frame is there, with its columns and no row."""
    found = investigate(evening.session())
    assert found.about == "the hour before now"
    later = evening.now + timedelta(days=2)
    empty = investigate(
        evening.session(), start=later.isoformat(), end=(later + timedelta(hours=1)).isoformat()
    )
    tables = (empty.by_error, empty.by_domain, empty.since, empty.retries, empty.before_and_after)
    assert [len(table) for table in tables] == [0] * 5
    assert list(empty.slow.columns) == list(frames.COLUMNS["sample"])


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"limit": 0}, "limit: 1 to 5,000"),
        ({"limit": 10**6}, "limit: 1 to 5,000"),
        ({"routed_to": "nowhere"}, "routed_to:"),
        ({"start": "late"}, "must be after start"),
        ({"start": "early"}, "at most 31 days"),
    ],
)
def test_a_sample_that_cannot_be_meant_is_refused(evening, how, said):
    """One sentence; nothing is read."""
    ways = {"late": evening.now + timedelta(hours=1), "early": evening.now - timedelta(days=99)}
    given = {name: ways.get(value, value) for name, value in how.items()}
    with pytest.raises(ParameterError, match=said):
        evening.session().sample(**given)


@pytest.mark.parametrize("name", ["measure", "facts", "errors", "phase"])
def test_a_statement_runs_as_it_is_pasted(evening, name):
    """Values in place, no bind left; psql's own answer is one that comes."""
    shown = evening.session().sql(name)
    assert repr(shown) == str(shown)
    with psycopg.connect(evening.session().database.address) as connection:
        assert connection.execute(str(shown)).fetchall() or name == "errors"  # none failed
    with pytest.raises(ParameterError, match="one of measure, facts"):
        evening.session().sql("mesure")


def test_a_note_stands_on_the_ledger_and_changes_nothing(evening, capsys):
    """The gates, the standing and the routing are as they were; the report says it."""
    before = evening.unmet(25)
    assert note(evening, "the deploy of 10:05, see INC-7") == 0
    assert "stated note: the deploy of 10:05" in capsys.readouterr().out
    assert evening.unmet(25) == before
    with evening.session().database.transaction(readonly=True) as connection:
        facts = read_facts(connection, evening.session().plan)
    assert fold(facts.entries, evening.session().plan).unreadable == ()
    told = op.report(evening.session())
    assert "note" in set(told.statements["subject"])
    evening.attest()
    assert evening.raise_to(25).change.applied


def test_a_note_needs_a_reason(evening, capsys):
    """Exit 2, and nothing is written."""
    assert note(evening, " ") == 2
    assert "reason" in capsys.readouterr().err


def note(evening, reason: str) -> int:
    where = ["--plan", evening.session().plan.path, "--as-of", evening.now.isoformat()]
    return run(["note", "--reason", reason, "--operator", "Rita", *where])


READ = {
    "csv": pd.read_csv,
    "parquet": pd.read_parquet,
    "jsonl": lambda file: pd.read_json(file, lines=True),
}


@pytest.mark.parametrize("kind", sorted(READ))
def test_what_is_exported_is_read_back(evening, kind, tmp_path):
    """Every table with its columns, the same rows in each format, and instants that are ones."""
    evening.attest()
    done = export(
        evening.session(), start=None, end=None, kind=kind, folder=tmp_path / "exports" / "one"
    )
    assert set(done) == {"checks", "looks", "decisions", "statements"}
    schema = {"decisions": "history"}
    for name, (file, rows) in done.items():
        table = READ[kind](file)
        assert list(table.columns) == list(frames.COLUMNS[schema.get(name, name)])
        assert len(table) == rows > 0
        assert pd.to_datetime(table["at"], utc=True).notna().all()
    raised = READ[kind](done["decisions"][0]).query("operation == 'change'").iloc[0]
    assert Decimal(str(raised["after_pct"])) == 10


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--format", "xlsx"), "--format: one of csv, parquet, jsonl"),
        (("--from", "2031-01-01T00:00:00+00:00"), "no entry in this span"),
        (("--from", "yesterday"), "--from: must be an ISO instant"),
    ],
)
def test_an_export_that_cannot_be_made_writes_nothing(evening, options, said, tmp_path, capsys):
    """One sentence, exit 2, no folder; nor over one that is there."""
    where = ["--plan", evening.session().plan.path, "--out", str(tmp_path / "out")]
    assert run(["export", *where, *options]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".part-*"))
    assert run(["export", *where, "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {
        "checks",
        "looks",
        "decisions",
        "statements",
    }
    assert run(["export", *where]) == 2
    assert "is not written over" in capsys.readouterr().err


def test_a_place_where_nothing_can_be_written_is_said(evening, tmp_path, capsys):
    """Exit 2, and no defect of ours."""
    (tmp_path / "file").write_text("")
    where = ["--plan", evening.session().plan.path, "--out", str(tmp_path / "file" / "out")]
    assert run(["export", *where]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_exports_are_no_strangers_to_the_proof(evening, capsys):
    """Below outputs/ they are views: `rollout verify` names none of them."""
    where = ["--plan", evening.session().plan.path]
    assert run(["export", *where]) == 0
    assert run(["verify", *where]) == 0
    assert "exports/" not in capsys.readouterr().out.split("docs/data.md.")[-1]


def test_a_post_mortem_is_filled_from_the_ledger(evening, capsys):
    """What happened, each phase, what was stated; whatever somebody wrote is no markup."""
    evening.acknowledge("note", "<b>deploy</b> | of `x`")
    evening.sql("SELECT 1")
    where = ["--plan", evening.session().plan.path, "--as-of", evening.now.isoformat()]
    assert run(["report", "--markdown", *where]) == 0
    text = capsys.readouterr().out
    for part in (
        "# Post-mortem: week6-unified",
        "## What happened",
        "| 10 % |",
        "_Write: the cause",
    ):
        assert part in text
    assert "<b>" not in text


def test_what_cannot_be_read_is_a_table_and_not_left_out(evening, tmp_path, capsys):
    """An entry of a newer version is exported with the reason, and status says that it waits."""
    evening.sql(
        "SELECT rollout.append_entry('attestation', 'complaints', 'week6-unified',"
        " clock_timestamp(), NULL, NULL, 'planted', '{\"subject\": \"complaints\"}')"
    )
    done = export(evening.session(), start=None, end=None, kind="csv", folder=tmp_path / "out")
    file, rows = done["unreadable"]
    assert rows == 1
    assert pd.read_csv(file)["why"].notna().all()
    assert run(["status", "--plan", evening.session().plan.path]) == 0
    assert "cannot be read" in capsys.readouterr().out


def test_more_failures_than_are_read_are_said(failed, monkeypatch):
    """The counts of a cut sample are not given out as all."""
    monkeypatch.setattr("rollout_lib.operations.explore.MOST", 5)
    monkeypatch.setattr("rollout_lib.notebook.MOST", 5)
    session = failed.session()
    found = investigate(session, start=(failed.now - timedelta(hours=1)).isoformat())
    assert "Only the newest 5 failing rows" in repr(about(found, session))


def test_unknown_words_are_failures_here_as_in_a_check(evening):
    """Another destination or status is no success; another spelling is one."""
    evening.sql(
        "ALTER TABLE webhook_routing_logs DROP CONSTRAINT routed_to_is_known,"
        " DROP CONSTRAINT status_is_known, ALTER COLUMN status DROP NOT NULL"
    )
    rows = [("unified", "ok?"), ("nowhere", "success"), (" Unified", "Success "), ("unified", None)]
    for routed_to, status in rows:
        said = f"'{status}'" if status else "NULL"
        evening.sql(
            "INSERT INTO webhook_routing_logs (created_at, domain, routed_to, status) VALUES"
            f" (CAST('{evening.now}' AS timestamptz) + interval '1 s', 'jobs', '{routed_to}', {said})"
        )
    start = evening.now.isoformat()
    end = (evening.now + timedelta(minutes=1)).isoformat()
    found = investigate(evening.session(), start=start, end=end)
    assert int(found.minutes["errors"].sum()) == 3
    assert len(found.failing) == 3
