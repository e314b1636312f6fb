"""What the log can do to a check: late, hidden, silent, nameless, misspelt, deleted, ahead of time."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import Phase as Stage
from hypothesis import strategies as st

from rollout_lib.database import traffic
from rollout_lib.database.cells import normal
from rollout_lib.database.connection import meant
from rollout_lib.database.ledger import config_from
from rollout_lib.evidence import refractory
from rollout_lib.judgement.counting import look_from, phase_counts, told
from rollout_lib.judgement.explain import watch_sentence
from rollout_lib.judgement.log import off_check
from rollout_lib.judgement.slot import judge_slot
from rollout_lib.judgement.state import EMPTY
from rollout_lib.judgement.streams import differences
from rollout_lib.model import (
    TOTAL,
    CheckKind,
    Counts,
    Look,
    Measurement,
    PhaseRun,
    RoutingConfig,
    Standing,
    State,
    Verdict,
    Window,
)

BEGAN = datetime(2025, 12, 3, 8, 0, tzinfo=UTC)
SLOT, LAG = timedelta(minutes=15), timedelta(minutes=2)
COLUMNS = "created_at, domain, routed_to, status, response_time_ms, message_id"
DOMAINS = ("jobs", "marketplace", "property")
MINUTE = timedelta(minutes=1)


class Phase:
    """A phase at 10 % whose checks measure a real log, slot after slot."""

    def __init__(self, database, plan) -> None:
        self.database, self.plan, self.looks, self.slot = database, plan, [], BEGAN
        self.connection = psycopg.connect(database.address, autocommit=True, prepare_threshold=None)

    def write(self, rows) -> None:
        with self.connection.cursor() as cursor:
            cursor.executemany(
                f"INSERT INTO webhook_routing_logs ({COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s)",
                rows,
            )

    def allow_anything(self) -> None:
        """A log as others made it: no constraint on its words."""
        self.connection.execute(
            "ALTER TABLE webhook_routing_logs DROP CONSTRAINT routed_to_is_known,"
            " DROP CONSTRAINT status_is_known, DROP CONSTRAINT response_time_not_negative,"
            " ALTER domain DROP NOT NULL, ALTER routed_to DROP NOT NULL, ALTER status DROP NOT NULL"
        )

    def traffic(self, start: datetime, minutes: float = 15, **words) -> None:
        """Twenty rows a minute, a tenth of them to unified; words replaces values of unified's."""
        rows = []
        for number in range(int(minutes * 20)):
            at, unified = start + timedelta(seconds=3 * number + 1), number % 10 == 0
            values = {
                "domain": DOMAINS[number // 10 % 3],
                "routed_to": "unified" if unified else "legacy",
                "status": "success",
                "ms": 700,
                "id": f"m{start.timestamp():.0f}.{number}",
            }
            values |= {
                name: value(number) if callable(value) else value
                for name, value in words.items()
                if unified
            }
            rows.append((at, *values.values()))
        self.write(rows)

    def measure(self, as_of: datetime, **how) -> Measurement:
        with self.database.transaction(readonly=True) as connection:
            return traffic.measure(
                connection,
                plan=self.plan,
                as_of=as_of,
                phase_began=BEGAN,
                increment_start=self.looks[-1].window.end if self.looks else BEGAN,
                whole_phase=how.get("whole_phase", False),
                live=False,
                before=self.looks[-1] if self.looks else None,
                percentage=Decimal(10),
                lag=how.get("lag"),
            )

    def standing(self) -> Standing:
        run = PhaseRun(index=0, percentage=Decimal(10), began_at=BEGAN)
        return replace(
            EMPTY,
            phase=run,
            last_change=(BEGAN, Decimal(10), True),
            plan_digest=self.plan.digest,
            looks=tuple(self.looks),
        )

    def check(self) -> Verdict:
        """The next scheduled check; its look is kept."""
        self.slot += SLOT
        measurement = self.measure(self.slot)
        verdict = judge_slot(
            plan=self.plan,
            config=self.config(),
            standing=self.standing(),
            measurement=measurement,
            slot=self.slot,
            now=self.slot,
        )
        self.looks.append(look_from(measurement, self.slot, True, self.plan))
        return verdict

    def config(self) -> RoutingConfig:
        return RoutingConfig(
            percentage=Decimal(10),
            enabled=True,
            domains=self.plan.domains,
            created_at=BEGAN,
            updated_at=None,
            notes=None,
            rows=1,
        )


@pytest.fixture
def phase(database, plan) -> Iterator[Phase]:
    phase = Phase(database, plan)
    yield phase
    phase.connection.close()


def found(verdict: Verdict, kind: CheckKind):
    return next((check for check in verdict.checks if check.kind is kind), None)


def failing(number: int) -> str:
    return "error" if number % 20 == 0 else "success"


def test_a_log_that_is_twenty_minutes_late_is_not_looked_at_and_counts_when_it_comes(phase):
    """COULD NOT LOOK with its age while rows are late; what came since is counted by the look that
    sees it first, and an outage in it is acted on.
    """
    phase.traffic(BEGAN - 45 * MINUTE, 55)
    phase.traffic(BEGAN + 10 * MINUTE, 1, status=failing)
    for _ in range(2):
        verdict = phase.check()
    assert verdict.state is State.COULD_NOT_LOOK
    assert "newest row is 19 min old" in found(verdict, CheckKind.DATA).reason
    phase.traffic(BEGAN + 11 * MINUTE, 30, status=failing)
    verdict = phase.check()
    assert verdict.state is State.ROLL_BACK
    assert phase.looks[-1].late > 0
    assert sum(look.errors[TOTAL].total for look in phase.looks) > 0


@pytest.mark.parametrize("identity", ["", "  ", "-", None, "wamid", "undefined"])
def test_a_total_outage_is_rolled_back_whatever_the_ids_are(phase, identity):
    """Blank is no id, and one word in every row identifies nothing: rows count by themselves."""
    phase.traffic(BEGAN, status="error", id=identity)
    assert phase.check().state is State.ROLL_BACK


def test_half_of_twenty_rows_is_a_hold_though_one_webhook_failed(phase):
    """Forty retries of one webhook among others: no evidence, and a person looks all the same."""
    phase.traffic(
        BEGAN,
        status=lambda number: "error" if number % 20 == 0 else "success",
        id=lambda number: "the same" if number % 20 == 0 else f"other {number}",
    )
    verdict = phase.check()
    assert verdict.evidence is State.WATCH
    assert found(verdict, CheckKind.OUTAGE).state is State.HOLD


# Space that is none, what cannot be seen, and full width.
DISGUISED = ["\u00a0{}", "{}\u200b", "\ufeff{}", "{}\u2060\u3000", "\v{}", "\u202e{}"]


@pytest.mark.parametrize(
    "word",
    [
        "Unified",
        " unified ",
        "UNIFIED",
        "ｕｎｉｆｉｅｄ",
        *(each.format("unified") for each in DISGUISED),
    ],
)
def test_unified_in_any_spelling_is_unified(phase, word):
    """Its failures are counted, its leaks are leaks, and a check says how it is spelled."""
    phase.allow_anything()
    phase.traffic(BEGAN, routed_to=word, status="error")
    verdict = phase.check()
    assert verdict.state is State.ROLL_BACK
    assert "routed_to" in found(verdict, CheckKind.WORDS).reason


@pytest.mark.parametrize(
    ("domain", "word"),
    [
        *((name, "Unified") for name in (" Mobility", "TAXI?", None, "", "unknown", "Insurance")),
        *(("mobility", word) for word in ("ｕｎｉｆｉｅｄ", *DISGUISED)),
    ],
)
def test_a_leak_is_one_in_any_spelling(phase, domain, word):
    """Whatever is not among the plan's domains: routing goes off."""
    phase.allow_anything()
    phase.traffic(BEGAN)
    sent_to = word.format("unified")
    phase.write([(BEGAN + 5 * MINUTE, domain, sent_to, "success", 700, "leaked")])
    verdict = phase.check()
    assert found(verdict, CheckKind.LEAK).state is State.ROLL_BACK


@pytest.mark.parametrize(
    "word", [" Jobs", "ｊｏｂｓ", *(each.format("jobs") for each in DISGUISED)]
)
def test_a_plans_domain_in_another_spelling_is_no_leak(phase, word):
    """' Jobs' is jobs: counted there, and told."""
    phase.allow_anything()
    phase.traffic(BEGAN, domain=word)
    verdict = phase.check()
    assert found(verdict, CheckKind.LEAK).state is None
    assert phase.looks[-1].errors["jobs"].total == 26
    assert "domain" in found(verdict, CheckKind.WORDS).reason


@pytest.mark.parametrize("word", ["SUCCESS", DISGUISED[0], "full width"])
@pytest.mark.parametrize("column", ["routed_to", "status", "domain"])
def test_a_check_and_the_whole_phase_read_a_word_alike_in_any_spelling(phase, column, word):
    """The same rows in another spelling: the same requests, failures and slow ones, of the check's
    window and of the whole phase.
    """
    phase.allow_anything()
    phase.traffic(BEGAN, ms=lambda number: 5000 if number % 50 == 0 else 700, status=failing)
    span = Window(start=BEGAN, end=BEGAN + SLOT)

    def read():
        with phase.database.transaction(readonly=True) as connection:
            whole = traffic.whole_span(connection, phase.plan, span, ("unified",))
        measured = phase.measure(BEGAN + SLOT + LAG)
        return whole, measured.window, measured.increment, measured.leak

    before = read()
    spelled = (
        "translate({column}, 'abcdefghijklmnopqrstuvwxyz', 'ａｂｃｄｅｆｇｈｉｊｋｌｍｎｏｐｑｒｓｔｕｖｗｘｙｚ')"
        if word == "full width"
        else f"replace('{word}', '{{}}', {{column}})"
        if "{}" in word
        else "' ' || upper({column})"
    ).replace("{column}", column)
    phase.connection.execute(f"UPDATE webhook_routing_logs SET {column} = {spelled}")
    assert read() == before


LETTERS = [chr(n) for n in (*range(1, 0xD800), *range(0xE000, 0x10000), *range(0xE0000, 0xE0080))]


def test_a_letter_makes_another_word_of_it_in_sql_and_here_alike(phase):
    """Each letter before, in and after "success": what cannot be seen is not there, and what can be seen is no
    success, for the database as for us.
    """
    words = [
        word for one in LETTERS for word in (f"{one}success", f"suc{one}cess", f"success{one}")
    ]
    asked = f"SELECT {meant('word')} FROM unnest(CAST(%s AS text[])) WITH ORDINALITY AS t (word, n) ORDER BY n"
    read = [row[0] for row in phase.connection.execute(asked, [words])]
    pairs = zip(words, read, strict=True)
    differ = [ascii(w) for w, theirs in pairs if (theirs == "success") != (normal(w) == "success")]
    assert differ == []
    seen = [one for one in LETTERS if normal(f"suc{one}cess") != "success"]
    assert len(seen) > 0.95 * len(LETTERS)
    assert all(normal(f"suc{one}cess") != "success" for one in "éßЅ❌!0")


@pytest.mark.parametrize("word", ["succeß", "success❌", "successé", "sucсess"])
def test_a_word_that_only_looks_like_success_is_a_failure(phase, word):
    """Letters that a database without them would read as success."""
    phase.allow_anything()
    phase.traffic(BEGAN, status=word)
    assert phase.check().state is State.ROLL_BACK


@pytest.mark.parametrize("status", ["failed", "ERROR", None, ""])
def test_a_status_that_nobody_knows_is_a_failure(phase, status):
    """It is counted as an error and a check names it."""
    phase.allow_anything()
    phase.traffic(BEGAN, status=status)
    verdict = phase.check()
    assert verdict.state is State.ROLL_BACK
    assert "status" in found(verdict, CheckKind.WORDS).reason


def test_an_unknown_destination_reached_nobody(phase):
    """It counts as a router error and holds."""
    phase.allow_anything()
    phase.traffic(BEGAN)
    phase.write([(BEGAN + 5 * MINUTE, "jobs", "canary", "success", 7, f"c{n}") for n in range(9)])
    verdict = phase.check()
    assert phase.looks[-1].router.bad == 1  # within one refractory time
    assert found(verdict, CheckKind.WORDS).state is State.HOLD


@pytest.mark.parametrize("ms", [None, -5])
def test_a_p95_of_a_part_of_the_rows_is_not_kept(phase, ms):
    """Where the rows without a latency could all be slow, nobody knows the p95."""
    phase.allow_anything()
    phase.traffic(BEGAN, ms=lambda number: ms if number % 40 == 0 else 700)
    verdict = phase.check()
    assert found(verdict, CheckKind.LATENCIES).state is State.COULD_NOT_LOOK


def test_a_latency_of_zero_of_every_row_is_none(phase):
    """A clock that was never started: nobody knows the p95."""
    phase.traffic(BEGAN, ms=lambda _: 0)
    assert found(phase.check(), CheckKind.LATENCIES).state is State.COULD_NOT_LOOK


def test_a_latency_of_zero_is_one_where_others_took_time(phase):
    """What is answered within half a millisecond now and then is no finding."""
    phase.traffic(BEGAN, ms=lambda number: number // 30 % 2)
    assert CheckKind.LATENCIES not in {check.kind for check in phase.check().checks}


@pytest.mark.parametrize(
    "instant",
    ["infinity", "-infinity", "0044-03-15T00:00:00+00:00 BC", "20000-01-01T00:00:00+00:00"],
)
def test_an_instant_that_no_clock_says_is_no_configuration(instant):
    """Of a row that anybody may have written: a check ends in 50 with a sentence."""
    row = {"percentage": 10, "enabled": True, "domains": []}
    assert config_from({**row, "created_at": instant}, 1) is None
    now = BEGAN.isoformat()
    config = config_from({**row, "created_at": now, "updated_at": instant}, 1)
    assert config.updated_at is None


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", None])
def test_a_percentage_that_is_none_is_no_configuration(value):
    """The check ends in 50 with a sentence instead of a traceback."""
    row = {"percentage": value, "enabled": True, "created_at": BEGAN.isoformat(), "domains": []}
    assert config_from(row, 1) is None


def test_a_secret_among_the_domains_is_not_kept():
    """What somebody pasted into the wrong column is hidden where the row is read."""
    row = {"percentage": 10, "enabled": True, "created_at": BEGAN.isoformat()}
    pasted = ["jobs", "postgresql://rita:hunter2xyz@db.example.org/postgres"]
    config = config_from({**row, "domains": pasted}, 1)
    assert config.domains[0] == "jobs"
    assert "hunter2xyz" not in str(config)


def test_success_with_an_error_message_is_looked_at(phase):
    """It counts as the runbook counts it, and is never CLEAN without a word."""
    phase.traffic(BEGAN)
    phase.connection.execute(
        "UPDATE webhook_routing_logs SET error_message = ' ' WHERE routed_to = 'unified';"
        "UPDATE webhook_routing_logs SET error_message = 'boom' WHERE routed_to = 'legacy'"
    )
    assert CheckKind.WORDS not in {check.kind for check in phase.check().checks}
    phase.traffic(BEGAN + SLOT)
    phase.connection.execute(
        "UPDATE webhook_routing_logs SET error_message = 'TypeError' WHERE routed_to = 'unified'"
    )
    verdict = phase.check()
    assert verdict.state is State.WATCH
    assert "60 rows of unified say success" in found(verdict, CheckKind.WORDS).reason


def test_the_difference_of_latencies_is_of_rows_on_both_sides(phase):
    """A tenth of unified and a twentieth of legacy over 2,000 ms, over two checks; an older record
    has no counts of it, and then there is no tile.
    """
    for start in (BEGAN, BEGAN + SLOT):
        phase.traffic(start, ms=lambda number: 2001 if number % 100 == 0 else 2000)
    phase.connection.execute(
        "UPDATE webhook_routing_logs SET response_time_ms = 2500"
        " WHERE routed_to = 'legacy' AND extract(second FROM created_at) BETWEEN 3 AND 6"
    )
    phase.check()
    found = {one.metric: one for one in phase.check().differences}["latency"]
    for name, counts in (("unified", found.unified), ("legacy", found.legacy)):
        counted = phase.connection.execute(
            "SELECT count(*) FILTER (WHERE response_time_ms > 2000), count(*) FROM"
            " webhook_routing_logs WHERE routed_to = %s AND created_at < %s",
            [name, BEGAN + 2 * SLOT - LAG],
        ).fetchone()
        assert (counts.bad, counts.total) == counted, name
        assert counts.bad
    before = [replace(look, slower={}) for look in phase.looks]
    assert [one.metric for one in differences(before)] == ["errors"]


def test_a_burst_counts_once(phase, plan):
    """Four webhooks that fail within 20 s are one failure of every stream, and leave n."""
    phase.traffic(BEGAN)
    burst = BEGAN + 5 * MINUTE
    phase.write(
        [
            (
                burst + timedelta(seconds=5 * number),
                DOMAINS[number % 3],
                "unified",
                "error",
                9,
                f"b{number}",
            )
            for number in range(4)
        ]
    )
    verdict = phase.check()
    counted = phase.looks[-1].errors
    assert (counted[TOTAL].bad, counted[TOTAL].total) == (1, 27)
    (total,) = (one for one in verdict.streams if one.stream == f"errors:{TOTAL}")
    assert (total.bad, total.total) == (4, 30), "what is told is every failing webhook"
    assert total.counted == Counts(bad=1, total=27)
    told = watch_sentence(total, verdict, phase.measure(phase.slot + LAG).window, plan)
    assert "4 of 30 webhooks failed in the phase (1 where a burst counts once)" in told
    versus = next(one for one in verdict.differences if one.metric == "errors")
    assert (versus.unified.bad, versus.unified.total) == (4, 30)
    assert refractory(0.001, 115) == timedelta(seconds=60)
    assert refractory(0.001, 11500).total_seconds() == pytest.approx(6.26, abs=0.01)
    phase.traffic(BEGAN + 13 * MINUTE)
    phase.write([(BEGAN + 15 * MINUTE, "jobs", "unified", "error", 9, "later")])
    phase.check()
    assert phase.looks[-1].errors[TOTAL].bad == 1


def test_retries_of_legacy_are_no_split(phase):
    """Legacy that fails 5 % with three retries: as many webhooks as without."""
    phase.traffic(BEGAN)
    phase.write(
        [
            (
                BEGAN + 5 * MINUTE + timedelta(seconds=number % 9),
                "jobs",
                "legacy",
                "error",
                9,
                f"r{number % 13}",
            )
            for number in range(52)
        ]
    )
    phase.check()
    look = phase.looks[-1]
    assert (look.unified_settled, look.legacy_settled) == (25, 225 + 13)


def test_rows_that_are_deleted_stay_counted(phase):
    """A clean-up takes a failing row away: the larger count stands, the check says so."""
    phase.traffic(BEGAN, 60)
    phase.write([(BEGAN + 5 * MINUTE, "jobs", "unified", "error", 9, "gone")])
    phase.check()
    phase.connection.execute(
        "DELETE FROM webhook_routing_logs WHERE created_at < %s", (BEGAN + 9 * MINUTE,)
    )
    verdict = phase.check()
    assert sum(look.errors[TOTAL].bad for look in phase.looks) == 1
    assert phase.looks[-1].gone > 0
    assert found(verdict, CheckKind.ROWS_GONE) is not None


def test_a_domain_that_unified_never_hears_of_is_no_data(phase):
    """Property's rows go to unified without a log line of them: not CLEAN, and never CERTIFIED."""
    phase.traffic(BEGAN, 60, domain=lambda number: DOMAINS[number // 10 % 2])
    for _ in range(3):
        verdict = phase.check()
    assert verdict.state is State.NO_DATA
    assert "property" in found(verdict, CheckKind.DATA).reason


def _off(phase, now: datetime, database, settled: datetime) -> Measurement:
    measurement = phase.measure(now)
    with database.transaction(readonly=True) as connection:
        off = settled - traffic.SETTLING
        arrived = traffic.arrived_since_off(connection, phase.plan, off, now)
    return replace(measurement, arrived_since_off=arrived)


def test_rows_that_were_there_before_do_not_disobey(phase, plan, database):
    """Stamped four minutes ahead and written before the rollback: off; one row written after: not."""
    phase.traffic(BEGAN, 14)
    phase.connection.execute("SELECT set_routing_enabled(false, 'stop')")
    settled = BEGAN + 10 * MINUTE
    now = BEGAN + 14 * MINUTE
    assert off_check(_off(phase, now, database, settled), settled, plan).state is State.OFF
    phase.write([(now - MINUTE, "jobs", "unified", "success", 9, "late")])
    assert off_check(_off(phase, now, database, settled), settled, plan).state is State.ROLL_BACK


def test_silence_after_a_rollback_is_not_obedience(phase, plan, database):
    """A log without a row for hours, or one that row security hides, proves nothing."""
    phase.traffic(BEGAN)
    measurement = phase.measure(BEGAN + timedelta(hours=3))
    assert off_check(measurement, BEGAN + 20 * MINUTE, plan).state is State.COULD_NOT_LOOK


@pytest.mark.parametrize("shape", ["table", "partitioned", "view"])
def test_every_check_asks_whether_our_role_sees_the_rows(phase, plan, database, shape):
    """Row security without a policy that shows us all: named, whatever kind of relation the log is."""
    run = phase.connection.execute
    if shape != "table":
        run("DROP VIEW webhook_routing_stats; ALTER TABLE webhook_routing_logs RENAME TO older")
    if shape == "partitioned":
        run(
            "CREATE TABLE webhook_routing_logs (LIKE older) PARTITION BY RANGE (created_at);"
            "CREATE TABLE p1 PARTITION OF webhook_routing_logs DEFAULT;"
            "ALTER TABLE webhook_routing_logs ENABLE ROW LEVEL SECURITY"
        )
    if shape == "view":
        run(
            "CREATE VIEW webhook_routing_logs WITH (security_invoker = true) AS SELECT * FROM older"
        )
    run(
        "CREATE ROLE hidden_from NOLOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO hidden_from"
    )
    try:
        with database.transaction(readonly=True) as connection:
            connection.exec_driver_sql("SET LOCAL ROLE hidden_from")
            hidden = traffic.measure(
                connection,
                plan=plan,
                as_of=BEGAN,
                phase_began=None,
                increment_start=BEGAN - SLOT,
                whole_phase=False,
                live=False,
            ).hidden
        assert hidden == (("older",) if shape == "view" else ("webhook_routing_logs",))
    finally:
        run("DROP OWNED BY hidden_from; DROP ROLE hidden_from")


# --- the counting against a plain loop

rows_drawn = st.lists(
    st.tuples(
        st.sampled_from(DOMAINS),
        st.sampled_from(("unified", "unified", "legacy", "error")),
        st.sampled_from(("success", "error", "error")),
        st.one_of(st.just(None), st.just(""), st.sampled_from("abcdefghij")),
        st.integers(0, 57 * 60),  # seconds after the beginning
        st.integers(0, 3),  # checks by which it is late
    ),
    min_size=40,
    max_size=90,
)


def _by_hand(rows, wait: timedelta) -> tuple[int, int]:
    """(bad, total) of unified as judgement.md has it, in the order of time."""
    first, bad, removed, last = set(), 0, 0, None
    unified = sorted((row for row in rows if row[2] == "unified"), key=lambda row: (row[0], row[1]))
    for at, _, _, status, _, identity in unified:
        if status == "success":
            continue
        fresh = not identity or identity not in first
        first.add(identity)
        if fresh and (last is None or at - last >= wait):
            bad, last = bad + 1, at
        else:
            removed += 1
    return bad, len(unified) - removed


@given(rows=rows_drawn, in_order=st.booleans())
@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[
        Stage.explicit,
        Stage.reuse,
        Stage.generate,
    ],  # to shrink takes minutes, and says little
)
def test_looks_add_up_to_a_plain_count_of_the_phase(phase, plan, rows, in_order):
    """Late by up to three checks, blank ids, ids under two domains, retries: the phase measured as a
    whole is what one pass over all rows counts. So is the sum of four looks where failures came in
    their order; where an earlier one came later, what was counted first stays counted: never fewer.
    """
    phase.connection.execute("TRUNCATE webhook_routing_logs")
    phase.looks, phase.slot = [], BEGAN
    shuffle = random.Random(len(rows))
    written = [
        (BEGAN + timedelta(seconds=item[4], microseconds=n), *item[:3], 700, item[3])
        for n, item in enumerate(rows)
    ]
    arrives = [
        min(int(item[4] + 120) // 900 + (0 if in_order and item[2] == "error" else item[5]), 3)
        for item in rows
    ]
    for number in range(4):
        due = [row for row, when in zip(written, arrives, strict=True) if when == number]
        shuffle.shuffle(due)
        if due:
            phase.write(due)
        phase.check()
    by_hand = _by_hand(written, refractory(0.001, 115))
    looks: list[Look] = phase.looks
    bad = sum(look.errors[TOTAL].bad for look in looks)
    total = sum(look.errors[TOTAL].total for look in looks)
    whole = phase_counts(phase.measure(phase.slot, whole_phase=True), plan).errors[TOTAL]
    assert (whole.bad, whole.total) == by_hand
    assert bad >= by_hand[0]
    assert total >= by_hand[1]
    assert (bad, total) == by_hand or not in_order


def test_a_webhook_that_failed_hours_ago_is_not_failing_anew(phase):
    """Its retry is no request, though the hour that is read again does not hold its first failure."""
    phase.traffic(BEGAN, 120)
    for minutes in (5, 100):
        at = BEGAN + minutes * MINUTE
        phase.write([(at, "jobs", "unified", "error", 3000, "retried")])
    for _ in range(8):
        phase.check()
    assert sum(look.errors[TOTAL].bad for look in phase.looks) == 1
    assert sum(look.latency[TOTAL].bad for look in phase.looks) == 1


def sparse(phase: Phase, start: datetime, number: int, **values) -> None:
    """Rows of property on unified, one a minute, among many of other domains; every fifth failed."""
    phase.write(
        (
            start + (count + 0.5) * MINUTE,
            "property",
            "unified",
            "error" if count % 5 == 0 else "success",
            700,
            values.get("id", f"p{start.timestamp():.0f}.{count}"),
        )
        for count in range(number)
    )


def test_one_id_in_all_rows_of_a_domain_with_few_hides_no_failure(phase):
    """Three failures of thirteen rows that share one id are three, however many rows others have."""
    phase.traffic(BEGAN, domain="jobs")
    phase.traffic(BEGAN, domain="marketplace", id=lambda n: f"k{n}")
    sparse(phase, BEGAN, 13, id="constant")
    verdict = phase.check()
    assert told(phase.looks[-1], "errors:property").bad == 3
    assert "unified/property" in found(verdict, CheckKind.IDS).observed
    whole = phase_counts(phase.measure(phase.slot, whole_phase=True), phase.plan)
    assert told(whole, "errors:property").bad == 3


def test_retries_of_one_webhook_of_a_domain_with_few_rows_are_one_failure(phase):
    """Of a domain whose rows have ids of their own, a webhook that fails three times fails once."""
    phase.traffic(BEGAN, domain="jobs")
    phase.traffic(BEGAN, domain="marketplace", id=lambda n: f"k{n}")
    sparse(phase, BEGAN, 13)
    at = BEGAN + 11 * MINUTE
    phase.write((at, "property", "unified", "error", 700, "again") for _ in range(3))
    phase.check()
    assert told(phase.looks[-1], "errors:property").bad == 4
