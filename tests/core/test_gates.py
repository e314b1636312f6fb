"""May the percentage rise? The gates that need no database: the way up from the lowest step, and
time.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from rollout_lib.judgement.gates import may_raise, next_percentage, plan_step_back
from rollout_lib.model import Attestation, PhaseRun, State


def unmet(run, target, **more) -> set[str]:
    """The names of the gates that say no, for Rita, with pre-flight passed and no complaints."""
    given = Attestation(
        subject="complaints",
        value="none",
        by="Rita",
        reason="",
        at=run.now,
        plan_digest=run.plan.digest,
        phase_began=run.standing.phase.began_at,
        seq=1,
    )
    standing = replace(run.standing, attestations=(given,))
    facts = {
        "operator": "Rita",
        "typed_environment": "",
        "again": False,
        "expected": None,
        "now": run.now,
        "preflight": State.PASS,
    } | more
    gates = may_raise(
        plan=run.plan, config=run.config(), standing=standing, target=Decimal(target), **facts
    )
    return {gate.name for gate in gates if not gate.met}


@pytest.fixture
def served(phase):
    """10 % held for its four hours, every slot checked, evaluated PASS just now."""
    run = phase()
    for _ in range(16):
        run.check(total=29)
    run.standing = replace(run.standing, evaluation=(run.now, State.PASS))
    return run


def test_a_served_and_passed_phase_opens_the_next_and_no_other(served):
    """25 % after 10 %: every gate is met; 35 % is not the next phase."""
    assert unmet(served, 25) == set()
    assert unmet(served, 35) == {"next phase"}
    assert unmet(served, 10) == {"next phase"}


@pytest.mark.parametrize("state", [state for state in State if state is not State.PASS])
def test_only_a_pass_opens_the_next_phase(served, state):
    """Whatever else an evaluation or a pre-flight said, it is not a pass."""
    served.standing = replace(served.standing, evaluation=(served.now, state))
    assert unmet(served, 25) == {"phase passed"}
    assert unmet(served, 25, preflight=state) == {"phase passed", "pre-flight"}


def test_a_pass_is_good_for_its_hours_and_not_from_the_future(served):
    """Older than the plan allows, or later than now, or revoked: evaluate again."""
    hours = served.plan.monitoring.evaluation_valid
    for age, refused in (
        (hours, set()),
        (hours + timedelta(seconds=1), {"phase passed"}),
        (timedelta(seconds=-1), {"phase passed"}),
    ):
        served.standing = replace(served.standing, evaluation=(served.now - age, State.PASS))
        assert unmet(served, 25) - {"slots accounted for"} == refused
    served.standing = replace(
        served.standing, evaluation=(served.now, State.PASS), revoked="HOLD at 12:15"
    )
    assert "phase passed" in unmet(served, 25)


def test_a_latch_is_left_by_beginning_again_only(served):
    """STEP BACK stands: no next phase; the same percentage may be begun anew."""
    served.standing = replace(
        served.standing, latched=State.STEP_BACK, latched_reason="errors:total"
    )
    assert unmet(served, 25) == {"nothing latched"}
    assert unmet(served, 10, again=True) == set()


def test_a_roll_back_that_nobody_carried_out_is_not_forgotten_by_beginning_again(served):
    """It leaves the phase by off and a named restart; --again would begin with no evidence and routing on."""
    served.standing = replace(
        served.standing, latched=State.ROLL_BACK, latched_reason="errors:total"
    )
    assert unmet(served, 10, again=True) == {"nothing latched"}


def test_from_the_lowest_step_the_next_phase_is_the_first(served):
    """At 5 % there is nothing to have passed: pre-flight, names and complaints are asked for, and
    no latch.
    """
    served.percentage = Decimal(5)
    lowest = PhaseRun(index=None, percentage=Decimal(5), began_at=served.began)
    served.standing = replace(
        served.standing, phase=lowest, evaluation=None, last_change=(served.began, Decimal(5), True)
    )
    assert unmet(served, 10) == set()
    assert unmet(served, 25) == {"next phase"}
    assert unmet(served, 10, preflight=None) == {"pre-flight"}
    served.standing = replace(served.standing, latched=State.STEP_BACK)
    assert unmet(served, 10) == {"nothing latched"}


def test_the_ways_up_and_down_are_the_plans(phase):
    """Up phase by phase; down 50, 35, 25, 10, 5, off; a percentage off the plan goes down to one of
    it.
    """
    plan, way = phase().plan, [Decimal(50)]
    while way[-1] is not None:
        way.append(plan_step_back(plan, way[-1]))
    assert way == [50, 35, 25, 10, 5, None]
    assert plan_step_back(plan, Decimal(40)) == 35
    assert [next_percentage(plan, Decimal(now)) for now in (0, 5, 10, 25, 35, 50)] == [
        10,
        10,
        25,
        35,
        50,
        None,
    ]
