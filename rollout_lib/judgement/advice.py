"""What is legal in a plan and unwise all the same. Pure: a plan and what its phases will see."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal

from rollout_lib.judgement.outlook import SURE, Outlook
from rollout_lib.model import Check, Outcome
from rollout_lib.plan.schema import Plan
from rollout_lib.text import percent_up

STEEPEST = 3  # times the traffic of the phase before
OFTEN = 0.05  # of healthy phases that are acted on
AWAKE = range(6, 21)  # hours of the day


def advice(plan: Plan, seen: Sequence[Outlook], legacy: Sequence[Check] = ()) -> tuple[str, ...]:
    """Warnings, each a sentence that begins with the plan's own path. legacy: what its rates of the
    last day come to under the plan's thresholds, where a log could be read.
    """
    return (
        *_clocks(plan),
        *_blind(seen),
        *_steep(plan),
        *_nobody(plan),
        *(f"thresholds: {one.reason}" for one in legacy if one.outcome is not Outcome.PASS),
    )


def _clocks(plan: Plan) -> Iterator[str]:
    """Hours that the clocks skip or have twice, and hours in which nobody is awake."""
    for index, phase in enumerate(plan.phases):
        where = f"phases[{index}].start"
        begins = datetime.combine(phase.day, phase.start, tzinfo=plan.zone)
        real = begins.astimezone(UTC).astimezone(plan.zone)
        if real.replace(tzinfo=None) != begins.replace(tzinfo=None):
            yield (
                f"{where}: the clocks skip {phase.start:%H:%M} on {phase.day}; the phase would begin"
                f" at {real:%H:%M}."
            )
        elif begins.utcoffset() != begins.replace(fold=1).utcoffset():
            yield f"{where}: {phase.start:%H:%M} comes twice on {phase.day}; the first one is taken."
        if phase.start.hour not in AWAKE:
            yield f"{where}: a raise at {phase.start:%H:%M} needs somebody who is awake."


def _blind(seen: Sequence[Outlook]) -> Iterator[str]:
    """Phases that say little: they find neither an outage nor anything else, or act for nothing."""
    for index, one in enumerate(seen):
        worst = one.sights[-1] if one.sights else None
        if worst is not None and worst.acts < SURE:
            shows = (
                f"excludes no more than {percent_up(100 * one.shows)}"
                if one.shows
                else "shows nothing"
            )
            yield (
                f"phases[{index}].hold: {one.checks} checks expect {one.requests:,.0f} requests at"
                f" {one.percentage:g} %. A service that fails {100 * worst.rate:g} % is found in"
                f" {100 * worst.acts:.0f} % of such phases; a pass without a failure {shows}."
            )
        if one.false_act > OFTEN:
            yield (
                f"phases[{index}].hold: a healthy service would be acted on in"
                f" {100 * one.false_act:.0f} % of such phases."
            )


def _steep(plan: Plan) -> Iterator[str]:
    before: Decimal | None = None
    for index, phase in enumerate(plan.phases):
        if before is not None and phase.percentage > STEEPEST * before:
            yield (
                f"phases[{index}].percentage: {before:g} % to {phase.percentage:g} % in one step is"
                f" {phase.percentage / before:.1f} times the traffic."
            )
        before = phase.percentage


def _nobody(plan: Plan) -> Iterator[str]:
    """What would go unseen, or would wait for a person."""
    unseen = [name for name in plan.protected_domains if name not in plan.probes.protected]
    if unseen and plan.environment == "production":
        yield f"probes.protected: {', '.join(unseen)} are not asked, so nobody sees them go down."
    for name in ("protected_leak", "roll_back"):
        if not getattr(plan.acts_alone, name):
            yield f"acts_alone.{name}: false, so an outage lasts until a person has read about it."
