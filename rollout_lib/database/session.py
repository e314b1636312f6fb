"""A session: the validated plan, its database, who operates, and which instant counts as now.

Every notebook and command opens one first. Nothing is changed by opening it.
"""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from rollout_lib.database.connection import Database, connect
from rollout_lib.database.ledger import Facts, facts_asked, read_clock, read_facts
from rollout_lib.database.samples import pasted, sample
from rollout_lib.database.traffic import measure_binds, phase_binds
from rollout_lib.errors import ParameterError
from rollout_lib.judgement.persons import is_person
from rollout_lib.judgement.state import fold
from rollout_lib.model import Place, Window
from rollout_lib.plan import Plan, load_plan
from rollout_lib.redaction import name_of
from rollout_lib.surroundings import account

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, kw_only=True)
class Session:
    """What a run works with. as_of is set in rehearsals and replays only; None means the database's
    clock.
    """

    plan: Plan
    database: Database = field(repr=False)
    operator: str
    as_of: datetime | None
    run_id: str

    @property
    def place(self) -> Place:
        return self.database.marked

    @property
    def person(self) -> str:
        """Who can answer for a statement: "" where only an account or a role is known, which is
        nobody. A rehearsal has no people, and takes any name.
        """
        known = self.plan.environment == "rehearsal" or is_person(self.operator)
        return self.operator.strip() if known else ""

    def now(self, clock: datetime) -> datetime:
        """The one instant of this run: as_of where it is set, else the database's clock as just
        read.
        """
        return self.as_of or clock

    def sample(
        self,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        domain: str = "",
        routed_to: str = "",
        failed: bool | None = None,
        slowest: bool = False,
        limit: int = 200,
    ) -> DataFrame:
        """Redacted rows of the log, newest (or slowest) first, at most 5,000: a pandas frame.

        Without start and end, the plan's window up to now. Never a message's body, sender or id:
        `webhook` is the id's fingerprint. Raises ParameterError (exit 2)."""
        with self.database.transaction(readonly=True) as connection:
            until = end or self.now(read_clock(connection))
            return sample(
                connection,
                start=start or until - self.plan.monitoring.window,
                end=until,
                domain=domain,
                routed_to=routed_to,
                failed=failed,
                slowest=slowest,
                limit=limit,
            )

    def sql(self, name: str) -> Pasted:
        """A statement of a check with the values that it would have now, ready to paste into psql.

        name: measure, facts, errors or phase. Raises ParameterError for another."""
        asked = {"measure": _measure, "facts": _facts, "errors": _window, "phase": _phase}
        if name not in asked:
            raise ParameterError(problems=f"sql: one of {', '.join(asked)}, not {name!r}")
        with self.database.transaction(readonly=True) as connection:
            facts = read_facts(connection, self.plan)
        return Pasted(pasted(name, asked[name](self, facts)))


class Pasted(str):
    """A statement that is shown as it is pasted: without quotes or escapes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _facts(session: Session, facts: Facts) -> dict[str, Any]:
    return dict(facts_asked(session.plan)[1])


def _window(session: Session, facts: Facts) -> dict[str, Any]:
    now = session.now(facts.now)
    return {"start": now - session.plan.monitoring.window, "until": now}


def _phase(session: Session, facts: Facts) -> dict[str, Any]:
    standing, now = fold(facts.entries, session.plan), session.now(facts.now)
    until = now - session.plan.monitoring.ingestion_lag
    began = standing.phase.began_at if standing.phase else until - session.plan.monitoring.window
    return phase_binds(session.plan, Window(start=began, end=max(began, until)))


def _measure(session: Session, facts: Facts) -> dict[str, Any]:
    standing, now = fold(facts.entries, session.plan), session.now(facts.now)
    began = standing.phase.began_at if standing.phase else standing.rolled_back_at
    last = standing.looks[-1] if standing.looks else None
    return measure_binds(
        plan=session.plan,
        as_of=now,
        phase_began=began,
        increment_start=(last.window.end if last else began)
        or now - session.plan.monitoring.window,
        live=session.as_of is None,
        before=last,
    )


def open_session(
    plan: str = "", *, as_of: str = "", operator: str = "", run_id: str = ""
) -> Session:
    """Validate the plan and the parameters, and find the database that the plan names.

    plan: path of a plan file ("" is $ROLLOUT_PLAN, else the rehearsal's). as_of: ISO instant with
    an offset, refused outside rehearsals. operator: who answers for this run ("" is
    $ROLLOUT_OPERATOR, else the system's user). Raises UsageError (exit 2) or CouldNotMeasure (exit
    50)."""
    loaded = load_plan(plan)
    problems: list[str] = []
    instant = parse_instant(as_of, "as_of", problems)
    if instant and loaded.environment != "rehearsal":
        problems.append(
            f"as_of: only a rehearsal has a clock of its own; this plan is {loaded.environment}"
        )
    if problems:
        raise ParameterError(problems="\n".join(problems))
    return Session(
        plan=loaded,
        database=connect(loaded),
        operator=name_of(operator or os.environ.get("ROLLOUT_OPERATOR") or account()),
        as_of=instant,
        run_id=run_id or uuid.uuid4().hex,
    )


def parse_percentage(text: str, name: str, problems: list[str]) -> Decimal | None:
    """A percentage from text, None for ""; a problem is added for anything that is no finite
    number.
    """
    if text == "":
        return None
    if not isinstance(text, str):
        problems.append(
            f'{name}: must be text such as "25", not the {type(text).__name__} {text!r}'
        )
        return None
    try:
        value = Decimal(text) if text.isascii() and "e" not in text.lower() else Decimal("NaN")
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite():
        problems.append(f"{name}: must be a percentage such as 25, not {text!r}")
        return None
    return value


def parse_instant(text: str, name: str, problems: list[str]) -> datetime | None:
    """An aware instant in UTC from ISO text, None for ""; a problem is added for anything else."""
    if not text:
        return None
    try:
        instant = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        problems.append(
            f"{name}: must be an ISO instant such as 2025-12-03T09:15:00+01:00, not {text!r}"
        )
        return None
    if instant.tzinfo is None:
        problems.append(f"{name}: needs its offset, as {text}+01:00")
        return None
    return instant.astimezone(UTC)
