"""The measuring statement against the database's own answers to the same questions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollout_lib import operations as op
from rollout_lib.database import traffic
from rollout_lib.database.session import open_session
from rollout_lib.database.traffic import measure
from rollout_lib.errors import ParameterError
from rollout_lib.judgement.figures import percentile, select, table_rows
from rollout_lib.judgement.safety import health_check
from rollout_lib.model import LEGACY, TOTAL, UNIFIED, CheckKind, Outcome, State

AS_OF = datetime(2025, 12, 3, 12, 0, tzinfo=UTC)
LAG = timedelta(minutes=2)
UNTIL = AS_OF - LAG
SLOT = timedelta(minutes=15)
COLUMNS = "created_at, domain, routed_to, status, response_time_ms, message_id"
latencies = st.one_of(st.none(), st.integers(0, 40), st.integers(0, 2**31 - 1))
row = st.tuples(
    st.sampled_from(("jobs", "marketplace", "property", "mobility")),
    st.sampled_from(("unified", "legacy", "error")),
    st.sampled_from(("success", "error")),
    latencies,
    st.one_of(st.none(), st.sampled_from("abcde")),
    st.integers(0, 74),  # minutes before UNTIL
)


@pytest.fixture
def log(database):
    """Writes rows as the router does; `measure` reads them back."""
    with psycopg.connect(database.address, autocommit=True, prepare_threshold=None) as connection:

        def write(rows) -> None:
            with connection.cursor() as cursor:
                cursor.executemany(
                    f"INSERT INTO webhook_routing_logs ({COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s)",
                    rows,
                )

        write.connection = connection
        yield write


def look(database, plan, *, began=None, since=None, whole_phase=False, live=False, as_of=AS_OF):
    with database.transaction(readonly=True) as connection:
        return measure(
            connection,
            plan=plan,
            as_of=as_of,
            phase_began=began,
            increment_start=since or as_of - LAG - timedelta(hours=1),
            whole_phase=whole_phase,
            live=live,
        )


@given(rows=st.lists(row, max_size=60))
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_every_figure_is_what_the_database_says_to_the_digit(database, plan, log, rows):
    """Counts, errors, p50, p95, p99 and the mean of any rows equal count, percentile_cont and avg
    on them.
    """
    log.connection.execute("TRUNCATE webhook_routing_logs")
    log([(UNTIL - timedelta(minutes=item[5], seconds=1), *item[:5]) for item in rows])
    traffic = look(database, plan).window
    for routed_to in (UNIFIED, LEGACY):
        for domains in (["jobs"], ["marketplace"], ["property"], list(plan.domains)):
            said = log.connection.execute(
                """SELECT count(*), count(*) FILTER (WHERE status = 'error'),
                          percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY response_time_ms)
                     FROM webhook_routing_logs
                    WHERE routed_to = %s AND domain = ANY (%s) AND created_at >= %s AND created_at < %s""",
                (routed_to, domains, UNTIL - timedelta(hours=1), UNTIL),
            ).fetchone()
            cell = select(traffic, routed_to, domains)
            assert (cell.requests, cell.errors) == said[:2]
            ours = [percentile(cell.latencies, q) for q in (0.5, 0.95, 0.99)]
            assert ours == (said[2] or [None] * 3)


@given(rows=st.lists(row, max_size=60), since=st.integers(0, 60))
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_failing_webhook_is_counted_once_in_a_phase(database, plan, log, rows, since):
    """Distinct ids per destination, first failure only, rows without an id by themselves: as a
    plain loop counts.
    """
    log.connection.execute("TRUNCATE webhook_routing_logs")
    written = [
        (UNTIL - timedelta(minutes=item[5], seconds=number + 1), *item[:5])
        for number, item in enumerate(rows)
    ]
    log(written)
    began, increment = UNTIL - timedelta(minutes=75), UNTIL - timedelta(minutes=since)
    found = look(database, plan, began=began, since=increment, whole_phase=True)
    first: dict = {}
    fresh = whole = 0
    for at, _, routed_to, status, _, identity in sorted(
        item for item in written if item[0] >= began
    ):
        if routed_to != UNIFIED or status != "error":
            continue
        if identity is not None and first.setdefault(identity, at) != at:
            continue
        whole += 1
        fresh += at >= increment
    assert sum(cell.failing for cell in found.phase.cells if cell.routed_to == UNIFIED) == whole
    assert sum(cell.failing for cell in found.increment.cells if cell.routed_to == UNIFIED) == fresh


def test_windows_are_half_open_and_end_at_the_lag(database, plan, log):
    """A row of the first instant counts, one of the last instant to the next window; none counts
    twice.
    """
    instant = timedelta(microseconds=1)
    edges = [
        UNTIL - timedelta(hours=1) - instant,
        UNTIL - timedelta(hours=1),
        UNTIL - instant,
        UNTIL,
        AS_OF,
    ]
    log(
        [
            (at, "jobs", "unified", "success", number, f"m{number}")
            for number, at in enumerate(edges)
        ]
    )
    assert select(look(database, plan).window, UNIFIED, ["jobs"]).latencies == {1: 1, 2: 1}
    later = look(database, plan, as_of=AS_OF + timedelta(hours=1)).window
    assert select(later, UNIFIED, ["jobs"]).latencies == {3: 1, 4: 1}


def test_the_window_is_a_whole_hour_in_the_middle_of_a_phase(database, plan, log):
    """With an increment of a quarter of an hour, rows of the window's first minutes count too."""
    log(
        [
            (
                UNTIL - timedelta(minutes=60) + timedelta(seconds=30),
                "jobs",
                "unified",
                "error",
                700,
                "a",
            )
        ]
    )
    found = look(database, plan, began=UNTIL - timedelta(hours=2), since=UNTIL - SLOT)
    assert select(found.window, UNIFIED, ["jobs"]).requests == 1
    assert select(found.increment, UNIFIED, ["jobs"]).requests == 0


def test_the_unclipped_hour_is_the_runbooks_own(database, plan, log):
    """It ends at the instant of the check, as check_routing_health() has it, and not at the lag; it
    is not judged.
    """
    edges = [
        AS_OF - timedelta(minutes=61),
        AS_OF - timedelta(minutes=59),
        UNTIL,
        AS_OF - timedelta(seconds=1),
    ]
    log(
        [
            (at, "jobs", "unified", "success", number, f"m{number}")
            for number, at in enumerate(edges)
        ]
    )
    found = look(database, plan)
    assert select(found.hour, UNIFIED, ["jobs"]).latencies == {1: 1, 2: 1, 3: 1}
    assert select(found.window, UNIFIED, ["jobs"]).latencies == {0: 1, 1: 1}
    assert (found.hour.window.start, found.hour.window.end) == (AS_OF - timedelta(hours=1), AS_OF)


def test_increments_one_after_the_other_count_each_row_once(database, plan, log):
    """Four looks of a quarter of an hour add up to the phase that they are of."""
    began = AS_OF - timedelta(hours=1)
    log(
        [
            (began + timedelta(seconds=7 * number), "jobs", "unified", "success", 700, None)
            for number in range(500)
        ]
    )
    looks, since = [], began
    for number in range(1, 5):
        found = look(
            database,
            plan,
            began=began,
            since=since,
            as_of=began + number * SLOT,
            whole_phase=number == 4,
        )
        looks.append(found)
        since = found.increment.window.end
    counted = sum(select(item.increment, UNIFIED, ["jobs"]).requests for item in looks)
    assert counted == select(looks[-1].phase, UNIFIED, ["jobs"]).requests == 498


def test_a_phase_is_never_judged_by_rows_of_before_it(database, plan, log):
    """The literal window is clipped at the phase's beginning; the runbook's unclipped hour stands
    beside it.
    """
    began = UNTIL - timedelta(minutes=10)
    log(
        [
            (began - timedelta(minutes=1), "jobs", "unified", "error", 9000, "old"),
            (began + timedelta(minutes=1), "jobs", "unified", "success", 700, "new"),
        ]
    )
    found = look(database, plan, began=began)
    assert (
        select(found.window, UNIFIED, ["jobs"]).requests,
        select(found.hour, UNIFIED, ["jobs"]).requests,
    ) == (
        1,
        2,
    )
    assert sum(cell.errors for cell in found.window.cells) == 0


def test_no_statement_is_compiled_before_it_runs(database):
    """Debian's servers would, at a second for each check."""
    with database.transaction(readonly=True) as connection:
        assert connection.exec_driver_sql("SHOW jit").scalar_one() == "off"


def test_a_leak_is_seen_up_to_the_last_instant(database, plan, log):
    """Leaks do not wait for the ingestion lag, and an unknown domain is one."""
    log(
        [
            (AS_OF - timedelta(seconds=1), "unknown", "unified", "success", 1, None),
            (AS_OF - timedelta(seconds=2), "insurance", "unified", "success", 1, None),
        ]
    )
    leak = look(database, plan, began=AS_OF - timedelta(hours=1)).leak
    assert (leak.rows, sorted(leak.domains)) == (2, ["insurance", "unknown"])


def test_rows_of_no_latency_count_as_requests_and_not_as_fast_ones(database, plan, log):
    """A NULL response time is no zero: percentiles are of the rows that have one."""
    log([(UNTIL - SLOT, "jobs", "unified", "success", ms, None) for ms in (None, None, 100)])
    shown = table_rows(look(database, plan).window, ["jobs"])[0]
    assert (shown["requests"], shown["p50_ms"]) == (3, 100.0)


def test_another_instant_than_now_is_refused_outside_rehearsals(monkeypatch, tmp_path):
    """as_of in a staging plan: exit 2, before any database is asked."""
    with open("parameters/week6.rehearsal.yaml", encoding="utf-8") as file:
        text = file.read().replace("environment: rehearsal", "environment: staging")
    (tmp_path / "plan.yaml").write_text(text)
    monkeypatch.setenv("ROLLOUT_REHEARSAL_URL", "postgresql://127.0.0.1:1/rehearsal_x")
    with pytest.raises(ParameterError, match="only a rehearsal has a clock of its own") as caught:
        open_session(str(tmp_path / "plan.yaml"), as_of="2025-12-03T10:00:00+01:00")
    assert caught.value.exit_code == 2


# --- the runbook's check_routing_health()
# ----------------------------------------------------------------

LIVE = """INSERT INTO webhook_routing_logs (created_at, domain, routed_to, status, response_time_ms)
    SELECT now() - interval '10 minutes', 'jobs', 'unified', CASE WHEN n <= %s THEN 'error' ELSE 'success' END, %s
      FROM generate_series(1, 1000) n"""


@pytest.mark.parametrize(
    ("errors", "ms", "rate", "p95"),
    [
        (0, 700, "ok", "ok"),
        (1, 700, "investigate", "ok"),  # exactly 0.1 %
        (5, 700, "investigate", "ok"),  # exactly 0.5 %
        (6, 700, "rollback", "ok"),
        (0, 1999, "ok", "ok"),
        (0, 2000, "ok", "investigate"),
        (0, 3000, "ok", "investigate"),
        (0, 3001, "ok", "rollback"),
    ],
)
def test_the_health_function_has_the_runbooks_boundaries(
    database, plan, log, errors, ms, rate, p95
):
    """Exactly 0.1 % and 2000 ms are not good, more than 0.5 % and 3000 ms are a rollback; the suite
    agrees.
    """
    log.connection.execute(LIVE, (errors, ms))
    found = look(database, plan, as_of=datetime.now(UTC), live=True)
    said = {item["metric"]: item["status"] for item in found.health.rows}
    assert (said["error_rate_pct"], said["p95_ms"], said["requests"]) == (rate, p95, "ok")
    ours = State.CLEAN if (rate, p95) == ("ok", "ok") else State.WATCH
    assert health_check(found.health, ours).outcome is Outcome.PASS


def test_without_a_row_the_health_function_says_no_data_and_never_ok(database, plan):
    """An empty hour is not a healthy one."""
    found = look(database, plan, as_of=datetime.now(UTC), live=True)
    assert {item["status"] for item in found.health.rows} == {"no data"}
    assert health_check(found.health, State.QUIET).outcome is Outcome.PASS
    assert health_check(found.health, State.CLEAN).outcome is Outcome.WARN


def test_a_health_function_that_disagrees_is_a_check_of_its_own(database, plan, log):
    """A deployed function that always says ok is shown as disagreeing, in the monitor's own
    verdict.
    """
    log.connection.execute("""CREATE OR REPLACE FUNCTION check_routing_health()
        RETURNS TABLE (metric text, value numeric, threshold numeric, status text) LANGUAGE sql
        SET search_path = public AS $$ SELECT 'all', 0::numeric, 0::numeric, 'ok' $$""")
    log.connection.execute(LIVE, (30, 700))
    log.connection.execute(
        "SELECT set_routing_enabled(true, 'x'), update_routing_percentage(10, 'x')"
    )
    checks = {check.name: check for check in op.monitor(open_session()).checkpoint.verdict.checks}
    found = checks["check_routing_health"]
    assert (found.outcome, found.observed, found.limit) == (Outcome.WARN, "ok", "not ok")


FAILING = {
    "raises": "plpgsql AS $$ BEGIN RAISE EXCEPTION 'password=hunter2xyz no'; END $$",
    "writes": "sql AS $$ INSERT INTO webhook_routing_logs DEFAULT VALUES; SELECT true $$",
    "writes its alert": "plpgsql AS $$ BEGIN UPDATE webhook_routing_config SET notes = 'x';"
    " RETURN true; END $$",
    "does not end": "sql AS $$ SELECT pg_sleep(600) IS NULL $$",
    "ends the transaction": "plpgsql AS $$ BEGIN COMMIT; RETURN true; END $$",
}


@pytest.mark.parametrize("what", FAILING)
def test_a_health_function_that_fails_costs_its_own_check_alone(
    database, plan, log, monkeypatch, what
):
    """It raises, writes or hangs: the check is made, what it cannot know is said, nothing is written."""
    monkeypatch.setattr(traffic, "HEALTH_SECONDS", 1)
    log.connection.execute(LIVE, (0, 700))
    log.connection.execute(
        "SELECT set_routing_enabled(true, 'x'), update_routing_percentage(10, 'x');"
        "DROP FUNCTION check_routing_health; CREATE FUNCTION check_routing_health() RETURNS boolean"
        f" LANGUAGE {FAILING[what]}"
    )
    before = log.connection.execute("SELECT c::text FROM webhook_routing_config c").fetchall()
    run = op.monitor(open_session()).checkpoint
    (found,) = [one for one in run.verdict.checks if one.kind is CheckKind.HEALTH]
    assert found.outcome is Outcome.COULD_NOT_LOOK
    assert "check_routing_health() failed: " in found.reason
    assert "hunter2" not in found.reason
    (errors,) = [s for s in run.verdict.streams if s.stream == f"errors:{TOTAL}"]
    assert errors.literal is not State.COULD_NOT_LOOK
    assert run.exit_code != 50
    assert (
        log.connection.execute("SELECT c::text FROM webhook_routing_config c").fetchall() == before
    )


def test_a_health_function_that_is_missing_is_said_too(database, plan, log):
    """Pre-flight asks for it; a check goes on without."""
    log.connection.execute(LIVE, (0, 700))
    log.connection.execute("DROP FUNCTION check_routing_health")
    found = look(database, plan, as_of=datetime.now(UTC), live=True)
    assert found.health.failed
    assert health_check(found.health, State.CLEAN).outcome is Outcome.COULD_NOT_LOOK


@pytest.mark.parametrize(
    ("said", "outcome"),
    [("boolean AS $$ SELECT true $$", "pass"), ("text AS $$ SELECT 'x' $$", "?")],
)
def test_a_health_function_of_one_value_is_read(database, plan, log, said, outcome):
    """A boolean is compared, a word that nobody knows is shown."""
    log.connection.execute(LIVE, (0, 700))
    log.connection.execute(
        "DROP FUNCTION check_routing_health; CREATE FUNCTION check_routing_health() RETURNS"
        f" {said.replace(' AS', ' LANGUAGE sql AS')}"
    )
    found = health_check(
        look(database, plan, as_of=datetime.now(UTC), live=True).health, State.CLEAN
    )
    assert found.outcome is (Outcome.PASS if outcome == "pass" else Outcome.COULD_NOT_LOOK)


def test_in_simulated_time_the_health_function_is_not_asked(database, plan, log):
    """It always looks at real time, so beside a simulated clock it is not
    applicable, never a pass.
    """
    found = look(database, plan)
    assert found.health.rows is None
    assert health_check(found.health, State.CLEAN).outcome is Outcome.NOT_APPLICABLE
