"""A plan before its day: what its phases will see, at the log's traffic where there is one."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rollout_lib.database.connection import Database, connect
from rollout_lib.database.hours import requests_by_hour
from rollout_lib.database.ledger import read_clock
from rollout_lib.database.traffic import baseline_asked, baseline_from
from rollout_lib.errors import RolloutError
from rollout_lib.judgement.advice import advice
from rollout_lib.judgement.baseline import judge_baseline
from rollout_lib.judgement.outlook import Hours, Outlook, even_hours, outlooks
from rollout_lib.model import Check
from rollout_lib.plan import Plan

_SILENT = (0.0,) * 24
_NAME = r"[a-z0-9][a-z0-9_-]*"


@dataclass(frozen=True, kw_only=True)
class Foresight:
    """What is known of a plan's traffic, where from in words, and what follows from it."""

    plan: Plan
    hours: Hours
    source: str
    outlooks: tuple[Outlook, ...]
    warnings: tuple[str, ...]


def foresee(plan: Plan) -> Foresight:
    """Look ahead. The database is asked only where the plan's own variable names one, and it is not
    needed: what cannot be read is said in `source`, and the plan's own traffic is taken.
    """
    hours, source, legacy = _from_log(plan)
    seen = outlooks(plan, hours)
    return Foresight(
        plan=plan, hours=hours, source=source, outlooks=seen, warnings=advice(plan, seen, legacy)
    )


def _from_log(plan: Plan) -> tuple[Hours, str, Sequence[Check]]:
    if not os.environ.get(plan.database.variable, "").strip():
        return even_hours(plan), "the plan's expected_requests_per_hour, at every hour", ()
    try:
        database = _log_of(plan)
        with database.transaction(readonly=True) as connection:
            now = read_clock(connection)
            found = requests_by_hour(connection, plan.time_zone, now)
            statement, binds = baseline_asked(plan, now)
            legacy, router = baseline_from(plan, now, connection.execute(statement, binds).one())
    except RolloutError as error:
        why = str(error).splitlines()[0]
        return even_hours(plan), f"the plan's own; the log could not be read: {why}", ()
    checks = judge_baseline(plan=plan, legacy=legacy, router=router)
    if found is None:
        return even_hours(plan), "the plan's own; the log holds less than a day", checks
    hours = {name: found.get(name, _SILENT) for name in plan.domains}
    return hours, f"the log of {database.place.database}, hour by hour", checks


def _log_of(plan: Plan) -> Database:
    """The plan's database, read for what its log says: the rollout before has marked it, and the
    next one is planned by the same log.
    """
    database = connect(plan)
    return replace(database, wanted=replace(database.wanted, rollout=""))


def expected_from(plan: Plan) -> dict[str, int]:
    """Requests an hour of every domain that the log names, protected ones left out: a mean of the
    hours of day; {} where no log can be read.
    """
    if not os.environ.get(plan.database.variable, "").strip():
        return {}
    database = _log_of(plan)
    with database.transaction(readonly=True) as connection:
        found = requests_by_hour(connection, plan.time_zone, read_clock(connection)) or {}
    by_day = {name: sum(hours[8:20]) / 12 for name, hours in found.items()}
    return {
        name: max(1, round(mean))
        for name, mean in sorted(by_day.items())
        if name not in plan.protected_domains and re.fullmatch(_NAME, name)
    }
