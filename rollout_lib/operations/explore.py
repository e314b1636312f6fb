"""An investigation of the log, as somebody on call makes it: frames to look at, each a question.

It reads, redacted and bounded, and changes nothing; what was found is a note on the ledger."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from rollout_lib.database.connection import load_sql
from rollout_lib.database.ledger import read_facts
from rollout_lib.database.samples import MOST, refuse, sample
from rollout_lib.database.session import Session, parse_instant
from rollout_lib.errors import ParameterError
from rollout_lib.judgement.state import fold
from rollout_lib.model import STATES, TOTAL, Checkpoint, Outcome, runs

if TYPE_CHECKING:
    from pandas import DataFrame

_DAY = timedelta(days=1)
_MOST_MINUTES = 100_000  # the LIMIT of sql/minutes.sql
_RED = 20  # exit codes from HOLD on


@dataclass(frozen=True, kw_only=True)
class Investigation:
    """A window of the log and what is asked of it; each property is a pandas frame, instants UTC.

    about: where the window comes from, in words. failing and slow: rows under the columns of
    frames.COLUMNS["sample"], at most 5,000. minutes: minute, domain, routed_to, requests, errors,
    slow. changed_at: the last change of the routing that the ledger knows, None for none."""

    start: datetime
    end: datetime
    domain: str
    about: str
    changed_at: datetime | None
    minutes: DataFrame = field(repr=False)
    failing: DataFrame = field(repr=False)
    slow: DataFrame = field(repr=False)

    @property
    def by_error(self) -> DataFrame:
        """What failed, by which error: message, domain, destination, how often, first, last."""
        found = self.failing.groupby(["error_message", "domain", "routed_to"], dropna=False)
        return _sorted(
            found["created_at"].agg(rows="count", first="min", last="max").reset_index(), "rows"
        )

    @property
    def by_domain(self) -> DataFrame:
        """Where it failed: requests, errors and slow ones by domain and destination, rate in %."""
        return _rates(self.minutes, ["domain", "routed_to"])

    @property
    def against_legacy(self) -> DataFrame:
        """Unified beside legacy, all domains together."""
        return _rates(self.minutes, ["routed_to"])

    @property
    def since(self) -> DataFrame:
        """Since when: the first and last minute with a failure, and in how many of the minutes."""
        bad = self.minutes[self.minutes["errors"] > 0].groupby(["domain", "routed_to"])
        return bad["minute"].agg(first="min", last="max", minutes="count").reset_index()

    @property
    def before_and_after(self) -> DataFrame:
        """Before and after the last change of the routing, by destination; empty without one."""
        if self.changed_at is None:
            return _rates(self.minutes[:0].assign(when=""), ["when", "routed_to"])
        late = self.minutes["minute"] >= self.changed_at
        when = late.map({True: "after", False: "before"})
        return _rates(self.minutes.assign(when=when), ["when", "routed_to"])

    @property
    def retries(self) -> DataFrame:
        """Webhooks that failed more than once: their fingerprint, how often, first and last."""
        named = self.failing[self.failing["webhook"] != ""].groupby(["webhook", "domain"])
        found = named["created_at"].agg(rows="count", first="min", last="max").reset_index()
        return _sorted(found[found["rows"] > 1], "rows")


def _rates(minutes: DataFrame, by: list[str]) -> DataFrame:
    found = minutes.groupby(by)[["requests", "errors", "slow"]].sum().reset_index()
    return found.assign(rate_pct=(100 * found["errors"] / found["requests"]).astype("Float64"))


def _sorted(found: DataFrame, by: str) -> DataFrame:
    return found.sort_values(by, ascending=False, kind="stable").reset_index(drop=True)


def investigate(
    session: Session, *, start: str = "", end: str = "", domain: str = ""
) -> Investigation:
    """Read a window. start and end: ISO instants with offset; "" is the window of the last check
    of the last day that was not well (HOLD or worse), else the hour before now. domain: one of the log, "" is all,
    or that of the failed check. Raises ParameterError (exit 2) for a window that cannot be meant.
    """
    from rollout_lib import frames

    problems: list[str] = []
    given = parse_instant(start, "start", problems), parse_instant(end, "end", problems)
    if problems:
        raise ParameterError(problems="\n".join(problems))
    with session.database.transaction(readonly=True) as connection:
        facts = read_facts(connection, session.plan)
        now = session.now(facts.now)
        red = _red([entry.body for entry in runs(facts.entries)], now)
        until = given[1] or (red.at if red and given[0] is None else now)
        began = given[0] or until - session.plan.monitoring.window
        about = "the window that was asked for" if any(given) else "the hour before now"
        if red is not None and not any(given):
            about, domain = f"the window of {red.state.value}: {red.sentence}", domain or _of(red)
        refuse(began, until)
        name = domain.strip().lower()
        standing = fold(facts.entries, session.plan)
        binds = {
            "start": began,
            "until": until,
            "domain": name,
            "slow_ms": session.plan.thresholds.p95_investigate_ms,
        }
        rows = connection.execute(load_sql("minutes"), binds).mappings()
        minutes = frames.frame("minutes", [dict(row) for row in rows])
        if len(minutes) >= _MOST_MINUTES:
            raise ParameterError(
                problems="end: too many minutes to add up; choose a shorter window"
            )
        read = partial(sample, connection, start=began, end=until, domain=name)
        failing, slow = read(failed=True, limit=MOST), read(slowest=True, limit=20)
    return Investigation(
        start=began,
        end=until,
        domain=name,
        about=about,
        changed_at=standing.last_change[0] if standing.last_change else None,
        minutes=minutes,
        failing=failing,
        slow=slow,
    )


def _red(past: list[Checkpoint], now: datetime) -> Checkpoint | None:
    """The last check of the last day that was not well."""
    checks = [run for run in past if run.operation == "monitor" and now - _DAY < run.at <= now]
    return next((run for run in reversed(checks) if STATES[run.state] >= _RED), None)


def _of(run: Checkpoint) -> str:
    """The one domain that the failed checks of a run speak of, "" where it is not one."""
    found = run.verdict.checks if run.verdict else ()
    named = {one.subject for one in found if one.outcome is Outcome.FAIL and one.subject}
    named.discard(TOTAL)
    return named.pop() if len(named) == 1 else ""
