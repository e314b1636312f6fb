"""The report of a day: the ledger read once, summarised, recorded."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rollout_lib.database.ledger import read_facts
from rollout_lib.database.session import Session
from rollout_lib.database.traffic import errors_between
from rollout_lib.judgement.chances import chance_lines
from rollout_lib.judgement.state import fold
from rollout_lib.judgement.summary import Summary, exit_code, summarise, uptime_words
from rollout_lib.model import LedgerEntry
from rollout_lib.operations.record import Recorded, checkpoint_of, record

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, kw_only=True)
class Report:
    """The recorded checkpoint of the report and the summary that its tables and charts draw."""

    run: Recorded = field(repr=False)
    summary: Summary
    entries: tuple[LedgerEntry, ...] = field(repr=False, default=())

    @property
    def phases(self) -> DataFrame:
        """One row a phase: when, how it was checked, unified's total at its end (a pandas frame)."""
        from rollout_lib import frames

        return frames.phases(self.summary.phases)

    @property
    def statements(self) -> DataFrame:
        """What named persons stated, one row each."""
        from rollout_lib import frames

        return frames.stated(self.entries)


def report(session: Session) -> Report:
    """Summarise the rollout so far from its ledger; it judges nothing and changes nothing."""
    with session.database.transaction(readonly=True) as connection:
        facts = read_facts(connection, session.plan)
        now = session.now(facts.now)
        summary = summarise(facts.entries, session.plan, now)
        began = (
            summary.phases[0].began_at if summary.phases else now - session.plan.monitoring.window
        )
        errors = errors_between(connection, began, now)
    standing = fold(facts.entries, session.plan)
    checkpoint = checkpoint_of(
        session,
        facts,
        standing,
        operation="report",
        state=summary.state,
        exit_code=exit_code(summary.state),
        sentence=summary.outcome,
        figures={"errors": errors},
        evidence={
            "checks": sum(phase.checks for phase in summary.phases),
            "uptime": uptime_words(summary.phases),
            "chances": list(chance_lines(session.plan)),
        },
    )
    return Report(run=record(session, facts, checkpoint), summary=summary, entries=facts.entries)
