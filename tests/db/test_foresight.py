"""A plan's traffic and legacy's rates, read from the log before the day."""

from __future__ import annotations

import psycopg
import pytest

from rollout_lib.cli.app import run
from rollout_lib.operations.foresight import foresee
from rollout_lib.plan import load_plan

pytestmark = pytest.mark.one_server
# Three days of legacy, a row a minute by day (08:00 to 20:00 in the plan's zone) and none by night.
DAYS = """INSERT INTO webhook_routing_logs (created_at, domain, routed_to, status, response_time_ms)
    SELECT at, 'Jobs ', 'legacy', CASE WHEN n % {failing} = 0 THEN 'error' ELSE 'success' END, 700
      FROM (SELECT now() - n * interval '1 minute' AS at, n FROM generate_series(1, {minutes}) n) x
     WHERE extract(hour FROM at AT TIME ZONE 'Europe/Berlin') BETWEEN 8 AND 19"""


@pytest.fixture
def legacy(database, plan):
    """Writes so many minutes of legacy, of which every so many fails."""

    def legacy(minutes: int, failing: int) -> None:
        with psycopg.connect(database.address) as connection:
            connection.execute(DAYS.format(minutes=minutes, failing=failing))

    return legacy


def test_the_hours_of_the_log_are_those_of_the_phases(plan, legacy):
    """A mean of whole days, by the plan's clock; a domain without a row has none."""
    legacy(4 * 1440 + 100, 10_000_000)
    seen = foresee(plan)
    assert seen.source.startswith("the log of rehearsal_")
    assert [round(seen.hours["jobs"][hour]) for hour in (3, 7, 8, 19, 20)] == [0, 0, 60, 60, 0]
    assert seen.hours["property"] == (0.0,) * 24
    assert seen.outlooks[0].requests == pytest.approx(24, abs=0.5)  # 10 % of four hours of 60
    assert not any(one.startswith("thresholds: ") and "legacy" in one for one in seen.warnings)


def test_thresholds_below_legacys_own_rates_are_unwise(plan, legacy, capsys):
    """Legacy fails 5 % itself: said by `plan check`, which still ends in 0."""
    legacy(3 * 1440, 20)
    assert run(["plan", "check", plan.path]) == 0
    said = capsys.readouterr().out
    assert "unwise  thresholds: " in said
    assert "that legacy is over it" in said


def test_a_short_log_or_one_that_is_away_leaves_the_plans_own_traffic(plan, legacy, monkeypatch):
    """Said in words; the outlook is made all the same."""
    legacy(300, 1000)
    seen = foresee(plan)
    assert "holds less than a day" in seen.source
    assert seen.outlooks[0].requests == pytest.approx(460)
    monkeypatch.setenv(plan.database.variable, "postgresql://127.0.0.1:1/rehearsal_x")
    assert "the log could not be read" in foresee(plan).source


def test_a_new_plan_has_the_domains_and_the_traffic_of_the_log(plan, legacy, tmp_path, capsys):
    """Protected domains are left out; what is unwise against that log is said at once."""
    legacy(3 * 1440, 20)
    out = tmp_path / "plan.yaml"
    options = ("--rollout", "week7", "--protected", "mobility", "--day", "2026-01-07")
    where = ("--environment", "rehearsal", "--database", "rehearsal_*")
    where += ("--variable", plan.database.variable, "--phases", "10:4h,50:24h")
    assert run(["plan", "new", "--out", str(out), *options, *where]) == 0
    made = load_plan(out)
    assert made.domains == ("jobs",)
    assert made.expected_requests_per_hour == {"jobs": 60}
    said = capsys.readouterr().out
    assert "unwise  thresholds: " in said
    assert "5.0 times the traffic" in said
