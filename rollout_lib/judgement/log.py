"""Can the log be believed? Its age, what our role sees of it, its ids, its words, its latencies. Pure.

Each finding is a check of its own; where there is none, one check says so. Silence is not health."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from rollout_lib.judgement.counting import LATENCY_LIMIT
from rollout_lib.judgement.figures import select, timed
from rollout_lib.judgement.streams import AT_LEAST
from rollout_lib.model import (
    TOTAL,
    UNIFIED,
    Check,
    CheckKind,
    Look,
    Measurement,
    Outcome,
    State,
    Word,
)
from rollout_lib.plan.schema import Plan
from rollout_lib.text import both_clocks, both_times, percent, rate

DOZENS = 24  # rows: none of so many expected is no chance, and no quiet hour
FEWEST = 5  # rows: a rate of the hour from fewer says nothing
OUTAGE_ROWS = 20  # of unified in the window: half of them failed is at least a hold
REPEATED = 20  # failing rows of one id: a webhook retried without end, or ids that identify nothing


def sight_check(measurement: Measurement, plan: Plan, wanted: str) -> Check | None:
    """COULD NOT LOOK where the log is hidden from our role, silent, or behind; None where it is not.

    Behind: the newest row is older than the lag, and by the hour's own rate dozens should have come
    since."""
    newest = measurement.newest_row_at
    if measurement.hidden:
        tables = ", ".join(measurement.hidden)
        reason = (
            f"Could not look: row security on {tables} may keep rows from our role. Let it read"
            " every row, then check again."
        )
        return _blind("hidden", wanted, reason)
    if newest is None or measurement.as_of - newest > plan.monitoring.stale_after:
        last = "the log has no row"
        if newest is not None:
            minutes = (measurement.as_of - newest).total_seconds() / 60
            at = both_times(newest, plan.time_zone)
            last = f"the last row is {minutes:,.0f} min old, of {at}"
        reason = f"Could not look: {last}. Traffic or logging has stopped, or our view."
        return _blind(last, wanted, reason)
    rows = sum(cell.requests for cell in measurement.hour.cells)
    since = newest - measurement.hour.window.start
    return _behind(measurement.as_of - newest, rows, since, plan, wanted)


def _behind(age: timedelta, rows: int, since: timedelta, plan: Plan, wanted: str) -> Check | None:
    """COULD NOT LOOK where the newest row is older than the lag, and by the rate of the `rows` that
    came in `since` before it dozens should have followed.
    """
    expected = rows * (age / since) if rows >= FEWEST and since else 0.0
    if age <= plan.monitoring.ingestion_lag or expected < DOZENS:
        return None
    minutes = age.total_seconds() / 60
    reason = (
        f"Could not look: the newest row is {minutes:.0f} min old, and {expected:,.0f} should have"
        " come since. Rows come late: look at the router's logging."
    )
    return _blind(f"newest row {minutes:.0f} min old", wanted, reason)


def arrival_checks(
    *,
    hour_rows: int,
    newest_at: datetime | None,
    ahead_rows: int,
    ahead_at: datetime | None,
    now: datetime,
    plan: Plan,
) -> tuple[Check, ...]:
    """Before the first raise: does the log arrive in time, and has the router the database's clock?

    hour_rows: of the hour up to now; ahead_*: rows stamped later than the database's clock. A late
    log is COULD NOT LOOK; a clock that is ahead by more than the lag HOLD, since its rows would fall
    into no window; a log without a row for long is said, and baseline asks for it by itself."""
    wanted = f"within {plan.monitoring.ingestion_lag.total_seconds():.0f} s"
    late = None
    if newest_at is not None:
        age = now - newest_at
        late = _behind(age, hour_rows, timedelta(hours=1) - age, plan, wanted)
    if late is None:
        last = "no row" if newest_at is None else both_times(newest_at, plan.time_zone)
        silent = newest_at is None or now - newest_at > plan.monitoring.stale_after
        reason = f"The newest row of the log: {last}; {hour_rows:,} in the last hour."
        late = _check(
            CheckKind.DATA,
            Outcome.WARN if silent else Outcome.PASS,
            last,
            wanted,
            f"{reason} Traffic or logging has stopped, or it is a quiet hour."
            if silent
            else reason,
        )
    late = replace(late, name="log arrives in time")
    found = _stamped_ahead(ahead_rows, ahead_at, now, plan)
    clock = found
    if clock is None:
        reason = "No row is stamped ahead of the database's clock by more than the lag."
        clock = _check(CheckKind.CLOCK, Outcome.PASS, "agrees", "the same clock", reason)
    return late, replace(clock, name="router's clock")


def _blind(observed: str, wanted: str, reason: str) -> Check:
    return _check(
        CheckKind.DATA, Outcome.COULD_NOT_LOOK, observed, wanted, reason, State.COULD_NOT_LOOK
    )


def log_checks(measurement: Measurement, look: Look, plan: Plan) -> tuple[Check, ...]:
    """Every finding about the log itself, or the one check that there is none."""
    found = [
        *_outages(measurement, plan),
        *_latencies(measurement, plan),
        *_ids(measurement),
        *_words(measurement.words),
        *_contradictions(measurement),
        *_late(look),
        *_ahead(measurement, plan),
        *_strays(measurement, plan),
    ]
    if found:
        return tuple(found)
    reason = "Rows are on time, their ids tell webhooks apart, and every word in them is known."
    return (_check(CheckKind.LOG, Outcome.PASS, "as expected", "timely, named, known", reason),)


def _labels(plan: Plan) -> list[tuple[str, list[str]]]:
    return [(TOTAL, list(plan.domains)), *[(name, [name]) for name in plan.domains]]


def _outages(measurement: Measurement, plan: Plan) -> list[Check]:
    """Half of 20 or more rows failed: whatever the ids and the evidence say, a person looks."""
    for label, names in _labels(plan):
        cell = select(measurement.window, UNIFIED, names)
        if cell.requests >= OUTAGE_ROWS and 2 * cell.errors >= cell.requests:
            observed = f"{rate(cell.errors, cell.requests)} of rows failed"
            of = "" if label == TOTAL else f" of {label}"
            reason = f"{observed}{of} on unified in the window: an outage, whatever the ids say."
            return [
                _check(
                    CheckKind.OUTAGE, Outcome.FAIL, observed, "less than half", reason, State.HOLD
                )
            ]
    return []


def _latencies(measurement: Measurement, plan: Plan) -> list[Check]:
    """A p95 is kept only if it would be kept by the rows without a latency too."""
    for label, names in _labels(plan):
        cell = select(measurement.window, UNIFIED, names)
        known, missing = timed(cell), cell.untimed
        if not any(ms > 0 for ms in cell.latencies):  # a clock that was never started
            known, missing = 0, missing + known
        over = cell.slow > LATENCY_LIMIT * known
        if (
            missing >= FEWEST
            and not over
            and cell.slow + missing > LATENCY_LIMIT * (known + missing)
        ):
            observed = f"{rate(missing, known + missing)} without a latency"
            of = "" if label == TOTAL else f" of {label}"
            reason = (
                f"{observed}{of} on unified (NULL, negative, or 0 ms of all): the p95 of all cannot be told from"
                f" the other {known:,}."
            )
            wanted = f"at most {percent(100 * LATENCY_LIMIT)} slow or unknown"
            state = State.COULD_NOT_LOOK
            return [
                _check(CheckKind.LATENCIES, Outcome.COULD_NOT_LOOK, observed, wanted, reason, state)
            ]
    return []


def _ids(measurement: Measurement) -> list[Check]:
    ids, wanted = measurement.ids, "one distinct in ten or more"
    if ids.nameless:
        where = ", ".join(ids.nameless)
        reason = (
            f"Fewer than one id in ten is distinct ({where}): ids identify nothing there, so each"
            " row counts by itself."
        )
        return [_check(CheckKind.IDS, Outcome.WARN, where, wanted, reason)]
    if ids.repeated >= REPEATED:
        reason = (
            f"One id failed in {ids.repeated:,} rows of the hour: a webhook retried without end, or"
            " ids that identify nothing. Look at those rows."
        )
        observed = f"one id in {ids.repeated:,} failing rows"
        return [_check(CheckKind.IDS, Outcome.FAIL, observed, wanted, reason, State.HOLD)]
    if ids.rows and 2 * ids.named < ids.rows:
        observed = f"{rate(ids.named, ids.rows)} have one"
        reason = f"{observed} of the newest rows: rows without an id count by themselves."
        return [_check(CheckKind.IDS, Outcome.WARN, observed, wanted, reason)]
    return []


def _words(words: Sequence[Word]) -> list[Check]:
    """Words that are not ours: an unknown destination holds, any other unknown word is to be looked
    at.
    """
    if not words:
        return []
    told = ", ".join(f"{word.column} {word.word} ({word.rows:,})" for word in words[:4])
    more = f" and {len(words) - 4:,} more" if len(words) > 4 else ""
    unknown = [word for word in words if not word.meant]
    state = None
    if unknown:
        lost = any(word.column == "routed_to" for word in unknown)
        state = State.HOLD if lost else State.WATCH
    reason = (
        f"{told}{more} in the last hour. What is spelled otherwise counts as meant; an unknown"
        " destination or status counts as failed."
    )
    outcome = Outcome.FAIL if state is State.HOLD else Outcome.WARN
    rows = sum(word.rows for word in words)
    return [_check(CheckKind.WORDS, outcome, f"{rows:,} rows", "known words", reason, state)]


def _contradictions(measurement: Measurement) -> list[Check]:
    """By the runbook they succeeded; whoever wrote them had something to say of a failure."""
    rows = measurement.contradicted
    if not rows:
        return []
    reason = (
        f"{rows:,} rows of unified say success and have an error message in the last hour. They count"
        " as successes, as in the runbook: see what they say (rollout errors shows failures only)."
    )
    return [_check(CheckKind.WORDS, Outcome.WARN, f"{rows:,} rows", "none", reason, State.WATCH)]


def _late(look: Look) -> list[Check]:
    found = []
    if look.late:
        reason = (
            f"{look.late:,} requests of earlier checks have arrived since, and count in this one."
        )
        found.append(_check(CheckKind.ARRIVED_LATE, Outcome.WARN, f"{look.late:,}", "0", reason))
    if look.gone:
        reason = (
            f"{look.gone:,} requests that were counted are not in the log any more: somebody"
            " deleted rows. The larger count stands."
        )
        found.append(_check(CheckKind.ROWS_GONE, Outcome.WARN, f"{look.gone:,}", "0", reason))
    return found


def _ahead(measurement: Measurement, plan: Plan) -> list[Check]:
    until, rows = measurement.ahead_until, measurement.ahead_rows
    found = _stamped_ahead(rows, until, measurement.as_of, plan)
    return [found] if found else []


def _stamped_ahead(rows: int, until: datetime | None, now: datetime, plan: Plan) -> Check | None:
    """Rows of the future: the router's clock, or who wrote them, is ahead of the database's."""
    if until is None or until - now <= plan.monitoring.ingestion_lag:
        return None
    seconds = (until - now).total_seconds()
    reason = (
        f"{rows:,} rows are stamped up to {seconds:,.0f} s ahead of the database's clock. Set the"
        " router's clock."
    )
    observed, wanted = f"{seconds:,.0f} s ahead", "the same clock"
    return _check(CheckKind.CLOCK, Outcome.FAIL, observed, wanted, reason, State.HOLD)


def _strays(measurement: Measurement, plan: Plan) -> list[Check]:
    """Of a whole phase: what was written in it and is counted by no look, good or bad."""
    found, wanted = measurement.strays, "none"
    if measurement.phase is None or (found is not None and not found.rows):
        return []
    if found is None:
        reason = (
            "The order in which its rows were written cannot be told, only how they are stamped."
        )
        return [_check(CheckKind.ARRIVED_LATE, Outcome.WARN, "not known", wanted, reason)]
    ends = [both_clocks(at, plan.time_zone) for at in (found.first_at, found.last_at) if at]
    span = " to ".join(ends) or "at no instant of this century"
    reason = (
        f"{found.rows:,} rows were written or changed in this phase and are stamped outside it ({span}),"
        f" so that nothing counts them; {found.bad:,} of them failed."
    )
    observed = f"{found.rows:,} rows, {found.bad:,} failed"
    if found.bad < AT_LEAST:
        return [_check(CheckKind.ARRIVED_LATE, Outcome.WARN, observed, wanted, reason)]
    reason += (
        " Set the clock of who writes them, then begin the phase anew: rollout change --to <same>"
    )
    reason += " --again --reason …"
    return [_check(CheckKind.ARRIVED_LATE, Outcome.FAIL, observed, wanted, reason, State.HOLD)]


def off_checks(measurement: Measurement, plan: Plan) -> list[Check]:
    """What is asked of the log while routing is off: a word that nobody knows may be unified's."""
    return [*_words(measurement.words), *_ahead(measurement, plan)]


def off_check(measurement: Measurement, settled: datetime, plan: Plan) -> Check:
    """While routing is off, nothing routed later than the rollback + 30 s may go to unified.

    A row that was there when routing went off is no offence, however its stamp reads; a log that
    cannot be seen proves nothing."""
    last = measurement.last_unified_at
    wanted = f"no unified row after {both_clocks(settled, plan.time_zone)}"
    ahead = ""
    if last is not None and last > settled:
        seen = both_clocks(last, plan.time_zone)
        if measurement.arrived_since_off != 0:
            reason = (
                f"Routing is off, yet unified got a request at {seen}. The router does not obey."
            )
            return _check(CheckKind.OFF, Outcome.FAIL, seen, wanted, reason, State.ROLL_BACK)
        ahead = f" Rows stamped up to {seen} were there before."
    blind = sight_check(measurement, plan, wanted)
    if blind is not None:
        reason = f"Routing is off by the configuration. {blind.reason}"
        return _check(
            CheckKind.OFF,
            Outcome.COULD_NOT_LOOK,
            blind.observed,
            wanted,
            reason,
            State.COULD_NOT_LOOK,
        )
    reason = f"Routing is off, and nothing went to unified since.{ahead}"
    return _check(
        CheckKind.OFF, Outcome.WARN if ahead else Outcome.PASS, "none", wanted, reason, State.OFF
    )


def _check(
    kind: CheckKind,
    outcome: Outcome,
    observed: str,
    wanted: str,
    reason: str,
    state: State | None = None,
) -> Check:
    return Check(
        name=kind.value,
        outcome=outcome,
        observed=observed,
        limit=wanted,
        reason=reason,
        state=state,
        kind=kind,
    )
