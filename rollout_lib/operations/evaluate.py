"""The end of a phase: the whole phase measured once more, the runbook's success checkpoints by
name.
"""

from __future__ import annotations

from rollout_lib.database.heads import read_head
from rollout_lib.database.ledger import read_facts
from rollout_lib.database.session import Session
from rollout_lib.errors import CouldNotMeasure
from rollout_lib.judgement.counting import phase_counts
from rollout_lib.judgement.findings import findings_of
from rollout_lib.judgement.phase_end import judge_phase_end
from rollout_lib.model import TOTAL
from rollout_lib.operations.lowering import act_on
from rollout_lib.operations.monitor import figures, judged, measure_since
from rollout_lib.operations.record import Recorded, record
from rollout_lib.operations.standing import stand
from rollout_lib.probes import take_probes


def evaluate_phase(session: Session) -> Recorded:
    """May the rollout advance? PASS (0), INCONCLUSIVE or HOLD (20), an act (30, 40), or could not
    look (50).

    It changes the routing only where a roll back stands that the plan does alone.
    """
    probes = take_probes(session.plan)
    copied = read_head(session.database)  # before the ledger, which only grows
    with session.database.transaction(readonly=True) as connection:
        facts = read_facts(connection, session.plan)
        standing = stand(session, connection, facts, copied)
        if standing.phase is None:
            raise CouldNotMeasure(reason="no phase is running, so there is none to evaluate.")
        now = session.now(facts.now)
        measurement = measure_since(
            connection, session, standing, now, whole_phase=True, config=facts.config
        )
    verdict = judge_phase_end(
        plan=session.plan,
        config=facts.config,
        standing=standing,
        measurement=measurement,
        now=now,
        probes=probes,
    )
    change = act_on(session, verdict, facts, standing)
    whole = measurement.phase
    total = phase_counts(measurement, session.plan).errors[TOTAL]
    checkpoint = judged(
        session,
        facts,
        standing,
        verdict,
        change,
        operation="evaluate",
        figures=figures(measurement, session.plan) if whole else {},
        evidence={
            "phase": {
                "bad": total.bad,
                "total": total.total,
                "percentage": str(standing.phase.percentage),
                "began_at": standing.phase.began_at.isoformat(),
            },
        },
        findings=findings_of(verdict.checks),
    )
    return record(session, facts, checkpoint)
