"""One phase on a real database, through the operations themselves."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from rollout_lib import operations as op
from rollout_lib.database.session import open_session
from rollout_lib.display import charts
from rollout_lib.emergency import switch_off
from rollout_lib.model import Outcome, State
from rollout_lib.rehearsal.scenarios import SCENARIOS
from rollout_lib.rehearsal.world import World

pytestmark = pytest.mark.one_server
ACTS = ("STEP_BACK", "ROLL_BACK")


class Day:
    """A world and the sessions that look at it."""

    def __init__(self, database, plan, scenario: str) -> None:
        self.world = World(database.address, plan, SCENARIOS[scenario], seed=1)
        self.world.prelude(self.world.start)

    def session(self):
        return open_session(
            "parameters/week6.rehearsal.yaml", as_of=self.world.now.isoformat(), operator="Rita"
        )

    def begin(self):
        op.attest(self.session(), subject="complaints", value="none")
        return op.change_percentage(
            self.session(), to=Decimal(10), reason="Initial 10% rollout", dry_run=False
        )

    def check(self):
        self.world.advance(self.world.now + timedelta(minutes=15))
        return op.monitor(self.session(), slot="now").checkpoint


@pytest.fixture
def day(database, plan, request):
    day = Day(database, plan, request.param)
    yield day
    day.world.close()


@pytest.mark.parametrize("day", ["healthy"], indirect=True)
def test_a_healthy_phase_passes_after_its_hold(day):
    """Sixteen clean checks and an evaluation end in PASS, and 25 % before it is refused."""
    assert day.begin().checkpoint.change.applied
    refused = op.change_percentage(day.session(), to=Decimal(25), reason="too early", dry_run=False)
    assert refused.checkpoint.exit_code == 60
    assert {day.check().state for _ in range(16)} == {State.CLEAN_UNPROVEN}
    assert op.evaluate_phase(day.session()).checkpoint.state is State.PASS


@pytest.mark.parametrize("day", ["healthy"], indirect=True)
def test_a_missed_slot_is_not_judged_on_the_rows_of_a_later_one(day):
    """Half an hour after it, it is an extra check whatever it is called: the slot stays missed, and
    counts so.
    """
    day.begin()
    day.check()
    day.world.advance(day.world.now + timedelta(minutes=30))
    missed = (day.world.now - timedelta(minutes=15)).isoformat()
    found = op.monitor(day.session(), slot=missed).checkpoint
    assert (found.kind, found.slot) == ("extra", None)
    checks = op.evaluate_phase(day.session()).checkpoint.verdict.checks
    (slots,) = [check for check in checks if check.name == "every slot checked"]
    assert (slots.outcome, slots.observed) == (Outcome.FAIL, "1 of 2")


@pytest.mark.parametrize("day", ["errors"], indirect=True)
def test_five_percent_errors_switch_routing_off(day):
    """The suite acts alone, names the stream that did it, and the next check finds routing off."""
    day.begin()
    states = [day.check() for _ in range(16)]
    acted = [item for item in states if item.change is not None]
    assert len(acted) == 1
    assert acted[0].exit_code == 40
    assert " requests failed in the last " in acted[0].sentence
    assert states[-1].state is State.OFF


ACTING = [name for name, world in SCENARIOS.items() if world.ends["evidence"].decided in ACTS]


@pytest.mark.slow
@pytest.mark.parametrize("day", ACTING, indirect=True)
def test_each_world_that_must_be_acted_on_is_decided_as_it_says(day, request):
    """The first act of the day: its state, and by a check or a stream of which kind."""
    ends = SCENARIOS[request.node.callspec.params["day"]].ends["evidence"]
    day.begin()
    found = next(seen for _ in range(16) if (seen := day.check()).state in ACTS)
    verdict = found.verdict
    kinds = {check.kind for check in verdict.checks if check.state is found.state}
    kinds |= {one.measure for one in verdict.streams if found.state in (one.literal, one.evidence)}
    assert (found.state.value, ends.by in kinds) == (ends.decided, True), found.sentence
    assert ends.says in found.sentence


@pytest.mark.parametrize("day", ["healthy"], indirect=True)
def test_a_check_after_an_emergency_draws_its_charts(day):
    """The emergency's entry knows no plan and no notebook; the timeline of the next check shows it
    all the same.
    """
    day.begin()
    day.check()
    session = day.session()
    switch_off(
        session.database.address,
        reason="test",
        operator="Rita",
        rollout=session.plan.rollout,
        at=day.world.now,
    )
    day.world.advance(day.world.now + timedelta(minutes=15))
    run = op.monitor(day.session(), slot="now")
    assert run.checkpoint.state is State.OFF
    assert "→ off" in charts.timeline(run.past, session.plan).finding
