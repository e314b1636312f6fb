"""When to tell: once when something begins, once when it gets worse, once when it lasts, once when
it ends. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from rollout_lib.database.outbox import Onset

RANK = ("watch", "hold", "no_data", "step_back", "roll_back")  # kinds of a condition, worst last
LASTS = timedelta(minutes=30)
PATIENT = ("watch",)  # asks nobody to do anything, so it is not repeated


class Tell(StrEnum):
    """Why a message goes out."""

    BEGINS = "begins"
    WORSE = "worse"
    LASTS = "lasts"
    ENDS = "ends"


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What to tell (None: nothing), and what is going on afterwards; onset None
    where nothing is.
    """

    tell: Tell | None
    onset: Onset | None


def decide(
    before: Onset | None, kind: str | None, at: datetime, lasts: timedelta = LASTS
) -> Decision:
    """The next step of one condition.

    before: what was going on. kind: what a check at `at` found, one of RANK, None where all is
    calm. A check that is older than what is known (a late or repeated run) changes nothing."""
    if before is not None and at < before.since:
        return Decision(tell=None, onset=before)
    if kind is None:
        return Decision(tell=Tell.ENDS if before else None, onset=None)
    if kind not in RANK:
        raise ValueError(f"no condition is called {kind!r}; an unknown one is never calm")
    rank = RANK.index(kind)
    if before is None:
        return Decision(tell=Tell.BEGINS, onset=Onset(state=kind, since=at, told_at=at))
    if rank > RANK.index(before.state):
        return Decision(tell=Tell.WORSE, onset=Onset(state=kind, since=before.since, told_at=at))
    if before.escalated_at is None and before.state not in PATIENT and at - before.told_at >= lasts:
        return Decision(tell=Tell.LASTS, onset=replace(before, escalated_at=at))
    return Decision(tell=None, onset=before)
