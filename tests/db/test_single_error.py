"""The morning with one failing webhook, on a real database, from the first raise to the report."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from rollout_lib import operations as op
from rollout_lib.database.session import open_session
from rollout_lib.model import State
from rollout_lib.rehearsal.scenarios import SCENARIOS
from rollout_lib.rehearsal.world import World

pytestmark = pytest.mark.one_server


def test_one_error_goes_on_to_25_percent_by_a_name_and_the_report_says_why_in_two_sentences(
    database, plan
):
    """WATCH for an hour, inconclusive after four, refused without a name, raised with one; the
    report has the why.
    """
    world = World(database.address, plan, SCENARIOS["single-error"], seed=20251203)

    def session():
        return open_session(
            "parameters/week6.rehearsal.yaml", as_of=world.now.isoformat(), operator="Rita"
        )

    def attest(subject, value):
        op.attest(
            session(),
            subject=subject,
            value=value,
            reason="support saw it; the retry served the customer",
        )

    def to(percentage):
        attest("complaints", "none")
        return op.change_percentage(
            session(), to=Decimal(percentage), reason="as planned", dry_run=False
        ).checkpoint

    world.prelude(world.start)
    assert to(10).exit_code == 0
    states = []
    for _ in range(16):
        world.advance(world.now + timedelta(minutes=15))
        states.append(op.monitor(session(), slot="now").checkpoint.state)
    assert State.WATCH in states
    assert set(states) <= {State.CLEAN_UNPROVEN, State.WATCH}
    assert op.evaluate_phase(session()).checkpoint.state is State.INCONCLUSIVE
    assert to(25).exit_code == 60
    attest("acknowledgement", "inconclusive")
    assert op.evaluate_phase(session()).checkpoint.state is State.PASS
    assert to(25).exit_code == 0
    world.advance(world.now + timedelta(minutes=15))
    op.monitor(session(), slot="now")
    told = op.report(session()).run.checkpoint.sentence
    world.close()
    why = told.split("At 10 %: ")[1]
    assert why.startswith("The phase passes although inconclusive on error rate < 0.1 % (1/")
    assert (
        "where 20 would act. Rita acknowledged it at 13:00 CET: support saw it; the retry served"
        in why
    )
