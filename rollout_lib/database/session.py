"""A session: the validated plan, its database, who operates, and which instant counts as now.

Every notebook and command opens one first. Nothing is changed by opening it.
"""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

from rollout_lib.database.connection import Database, connect
from rollout_lib.errors import ParameterError
from rollout_lib.judgement.persons import is_person
from rollout_lib.model import Place
from rollout_lib.plan import Plan, load_plan
from rollout_lib.redaction import name_of
from rollout_lib.surroundings import account


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
