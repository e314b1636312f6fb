"""Every SQL block of the runbook, as written, on the migration that we ship."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest

RUNBOOK = Path(__file__).parents[2] / "docs" / "runbook" / "week6-day3-traffic-rollout.md"
LOGS = """INSERT INTO webhook_routing_logs (created_at, domain, routed_to, webhook_name, status, response_time_ms,
        error_message, message_id)
    SELECT now() - interval '1 minute' * (n % 50), (ARRAY['jobs', 'marketplace', 'property'])[1 + n % 3],
           CASE WHEN n % 10 = 0 THEN 'unified' ELSE 'legacy' END, 'wa-webhook-jobs',
           CASE WHEN n = 7 THEN 'error' ELSE 'success' END, 700 + n, CASE WHEN n = 7 THEN 'upstream timeout' END,
           'm' || n
      FROM generate_series(1, 300) n"""
START = (Decimal("10.00"), True)


def sql_blocks() -> list[tuple[str, str]]:
    """(heading and number, statements) of each ```sql block and of each statement
    given to psql -c.
    """
    found = []
    for part in re.split(r"^(?=#{2,3} )", RUNBOOK.read_text(encoding="utf-8"), flags=re.MULTILINE):
        blocks = re.findall(r"^```sql\n(.*?)^```", part, flags=re.MULTILINE | re.DOTALL)
        blocks += re.findall(
            r"^psql \"\$DATABASE_URL\" -c \"(SELECT .*?)\"$", part, flags=re.MULTILINE
        )
        heading = part.splitlines()[0].lstrip("# ")
        found += [(f"{heading} [{number}]", block) for number, block in enumerate(blocks, 1)]
    return found


BLOCKS = dict(sql_blocks())


@pytest.fixture
def day_three(database):
    """The middle of Day 3: 10 %, enabled, an hour of rows with one error."""
    with psycopg.connect(database.address, autocommit=True, prepare_threshold=None) as connection:
        connection.execute("SELECT set_routing_enabled(true, 'before the block')")
        connection.execute("SELECT update_routing_percentage(10.00, 'before the block')")
        connection.execute(LOGS)
        yield connection


def results(connection: psycopg.Connection, text: str) -> list[list[tuple]]:
    """The rows of every statement of a block; the block is sent as it is written, as psql -c sends
    it.
    """
    cursor = connection.execute(text)
    found = [cursor.fetchall()]
    while cursor.nextset():
        found.append(cursor.fetchall())
    return found


def configuration(connection: psycopg.Connection) -> tuple[Decimal, bool]:
    row = connection.execute(
        "SELECT percentage, enabled FROM webhook_routing_config ORDER BY created_at DESC LIMIT 1"
    )
    return row.fetchone()


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_of_the_runbook_runs_as_written(day_three, name):
    """Each of its statements answers with rows, and the configuration is then
    what its prose says.
    """
    after = {
        "Phase 2: Scale to 25% (Afternoon) [1]": (Decimal("25.00"), True),
        "Emergency Rollback (Immediate) [1]": (Decimal("10.00"), False),
        "Gradual Rollback [1]": (Decimal("5.00"), False),
        "After Day 3 (25% stable) [1]": (Decimal("35.00"), True),
        "After Day 3 (25% stable) [2]": (Decimal("50.00"), True),
    }.get(name, START)
    found = results(day_three, BLOCKS[name])
    assert len(found) == BLOCKS[name].count(";")
    assert all(found)
    assert configuration(day_three) == after


def test_no_block_of_the_runbook_is_overlooked():
    """Twelve blocks: ten fenced as SQL, two given to psql."""
    text = RUNBOOK.read_text(encoding="utf-8")
    assert len(BLOCKS) == text.count("```sql") + text.count('-c "SELECT') == 12


def test_the_initial_configuration_is_zero_and_disabled(database):
    """`Should show: percentage=0.00, enabled=false`."""
    with psycopg.connect(database.address, autocommit=True) as connection:
        results(connection, BLOCKS["3. Initial Configuration Check [1]"])
        assert configuration(connection) == (Decimal("0.00"), False)


def test_the_figures_of_the_blocks_are_those_of_the_rows(day_three):
    """The view, the comparison and the one-line status count the same 300 rows, 30 of them unified,
    one error.
    """
    compared = results(day_three, BLOCKS["Traffic Comparison [1]"])[0]
    assert [(row[0], row[1]) for row in compared] == [("legacy", 270), ("unified", 30)]
    assert compared[0][4] == Decimal("0.3704")
    routing, enabled, requests, _ = results(day_three, BLOCKS["Quick Status Check [1]"])[0][0]
    assert (routing, enabled, requests) == ("10.00% → unified", "true", 300)
    (error,) = results(day_three, BLOCKS["Error Analysis [1]"])[0]
    assert error[2:4] == ("upstream timeout", 1)
    detailed = results(day_three, BLOCKS["Detailed Metrics [1]"])[0]
    assert sum(row[2] for row in detailed) == 300
    assert {row[7][0] for row in detailed} == {"✅", "🚨"}


def test_the_function_says_when_a_percentage_is_none(day_three):
    """What cannot be a percentage is refused by the function itself, and nothing changes."""
    for value in ("-1", "100.01", "'NaN'", "NULL"):
        with pytest.raises(psycopg.errors.RaiseException):
            day_three.execute(f"SELECT update_routing_percentage({value}, 'mistyped')")
    assert configuration(day_three) == START
