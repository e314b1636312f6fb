"""What somebody raises by hand is never made legal by what the suite recommends afterwards.

Begun from an evaluated 10 % phase, 13:00 on Day 3, which each test copies."""

from __future__ import annotations

from decimal import Decimal

import pytest

from rollout_lib import operations as op
from rollout_lib.cli.app import run
from rollout_lib.model import State
from rollout_lib.operations.status import look

pytestmark = pytest.mark.one_server
ROUTING = "SELECT percentage, enabled FROM webhook_routing_config ORDER BY created_at DESC LIMIT 1"
PAST_ALL_GATES = {"no drift", "next phase", "pre-flight"}


def by_hand(day, values: str) -> None:
    """What a stranger does with psql."""
    day.sql(f"UPDATE webhook_routing_config SET {values}, notes = 'psql', updated_at = now()")


def check(day):
    """The next scheduled check's checkpoint."""
    day.goes_on(15)
    return op.monitor(day.session(), slot="now").checkpoint


def step_back(day):
    return op.roll_back(day.session(), reason="too much by hand", gradual=True).checkpoint


def stranger_inserts(day) -> None:
    day.sql("INSERT INTO webhook_routing_config (percentage, enabled) VALUES (60, true)")


@pytest.fixture
def at_25(evening):
    """25 % running, 10 % passed."""
    evening.attest()
    assert evening.raise_to(25).change.applied
    return evening


@pytest.mark.parametrize("percentage", [50, 60, 35, "11.5", 100])
def test_a_step_back_goes_to_what_the_ledger_made_legal_and_no_further_up(evening, percentage):
    """10 % passed and running, more by psql: back to 10 %, and the alarm is gone then, not before."""
    by_hand(evening, f"percentage = {percentage}")
    assert check(evening).state is State.STEP_BACK
    assert check(evening).state is State.STEP_BACK, "it stays for as long as it is so"
    assert step_back(evening).change.after == (Decimal(10), True)
    assert evening.sql(ROUTING) == [(Decimal("10.00"), True)]
    assert check(evening).state is not State.STEP_BACK


def test_a_step_back_from_a_phase_that_has_not_passed_is_no_rung_of_the_way_down(at_25):
    """25 % is legal and has not passed: from 60 % by hand it is back to 10 %, which has."""
    by_hand(at_25, "percentage = 60")
    assert step_back(at_25).change.after == (Decimal(10), True)


def test_what_passed_before_a_rollback_is_no_place_to_go_back_to(evening):
    """10 % passed, rolled back, begun again: from 60 % by hand it is back to the lowest step."""
    op.roll_back(evening.session(), reason="errors")
    evening.acknowledge("restart", "after rollback")
    evening.goes_on(5)
    evening.attest()
    assert evening.raise_to(10).change.applied
    by_hand(evening, "percentage = 60")
    assert step_back(evening).change.after == (Decimal(5), True)


@pytest.mark.parametrize("to", [50, 35, 25])
def test_a_change_below_what_was_raised_by_hand_asks_every_gate(evening, to):
    """10 % legal, 60 % by hand: 50 % is less than is configured, and no lowering."""
    evening.attest()
    by_hand(evening, "percentage = 60")
    assert evening.unmet(to) >= PAST_ALL_GATES
    assert evening.unmet(to, again=True) >= PAST_ALL_GATES


def test_a_change_down_to_what_is_legal_asks_none(evening):
    """60 % by hand, `change --to 10`: done at once, and the phase begins anew."""
    by_hand(evening, "percentage = 60")
    done = evening.raise_to(10)
    assert (done.change.after, [gate.name for gate in done.change.gates]) == (
        (Decimal(10), True),
        ["expectation"],
    )


@pytest.mark.parametrize("to", [10, 50])
def test_what_was_raised_by_hand_is_not_begun_again(evening, to):
    """`--again` of the percentage that somebody set by hand is refused."""
    evening.attest()
    by_hand(evening, "percentage = 50")
    if to == 50:
        assert {"no drift", "next phase"} <= evening.unmet(50, again=True)
    else:
        assert evening.raise_to(10, again=True).change.after == (Decimal(10), True)


@pytest.mark.parametrize("percentage", [10, 5, "0.01"])
def test_routing_enabled_by_hand_after_a_rollback_is_a_step_back_to_nothing(evening, percentage):
    """The ledger says off: however little is let through, one phase down is off."""
    op.roll_back(evening.session(), reason="errors")
    by_hand(evening, f"percentage = {percentage}, enabled = true")
    assert run(["rollback", "--reason", "x", "--plan", str(evening.plan_file)]) == 0
    assert step_back(evening).change.after == (Decimal(0), False)
    by_hand(evening, f"percentage = {percentage}, enabled = true")
    found = check(evening)
    (drift,) = [item for item in found.verdict.checks if item.name == "drift"]
    assert (drift.state, found.state) == (State.STEP_BACK, State.ROLL_BACK), "the rollback stands"
    assert evening.sql(ROUTING) == [(Decimal("0.00"), False)]


def test_what_was_lowered_by_hand_and_adopted_is_the_line_from_then_on(at_25):
    """25 % lowered to 5 % by psql and adopted: 10 % by psql is a raise again."""
    by_hand(at_25, "percentage = 5")
    found = check(at_25)
    assert found.adopted is not None
    assert found.sentence.startswith("Lowered by hand"), "it stands in that check's sentence"
    by_hand(at_25, "percentage = 10")
    assert check(at_25).state is State.STEP_BACK
    assert step_back(at_25).change.after == (Decimal(5), True)


def test_a_second_configuration_row_is_measured_against_the_same_line(evening):
    """A newer row with 60 %: STEP BACK, no `change` along it, and back to 10 % in that row."""
    evening.attest()
    stranger_inserts(evening)
    assert evening.unmet(50) >= PAST_ALL_GATES
    assert check(evening).state is State.STEP_BACK
    step_back(evening)
    assert evening.sql(ROUTING) == [(Decimal("10.00"), True)]


@pytest.mark.parametrize("first", [True, False])
def test_of_two_rows_of_one_instant_the_one_that_lets_more_through_is_told(evening, first):
    """The router may read either; that one of them is off says nothing."""
    on, off = "(60, true, now_, now_)", "(0, false, now_, now_)"
    rows = f"{on}, {off}" if first else f"{off}, {on}"
    evening.sql(
        "ALTER TABLE webhook_routing_config DROP CONSTRAINT newest_is_unambiguous; DELETE FROM webhook_routing_config;"
        " INSERT INTO webhook_routing_config (percentage, enabled,"
        f" created_at, updated_at) VALUES {rows.replace('now_', repr('2025-12-03 11:00:00+00'))}"
    )
    facts = op.glance(evening.session()).facts
    assert (facts.config.percentage, facts.config.enabled) == (Decimal(60), True)
    assert look(evening.session()).config == facts.config
    assert look(evening.session()).line["routing"].startswith("60")


@pytest.mark.parametrize("values", ["percentage = 'NaN'", "percentage = NULL", "percentage = -3"])
def test_a_percentage_that_is_none_stops_every_raise_and_no_lowering(evening, values):
    """NULL, NaN and negative: could not look, nothing rises, and 0 % is reached all the same."""
    evening.sql(
        "ALTER TABLE webhook_routing_config DROP CONSTRAINT percentage_is_a_share,"
        " ALTER COLUMN percentage DROP NOT NULL"
    )
    by_hand(evening, values)
    found = check(evening)
    assert (found.state, found.exit_code) == (State.COULD_NOT_LOOK, 50)
    assert evening.raise_to(0).change.after == (Decimal(0), False)
    assert evening.sql(ROUTING) == [(Decimal("0.00"), False)]


def test_more_than_everything_is_a_raise_by_hand(evening):
    """120 % where the table lets it: STEP BACK, and back to 10 %."""
    evening.sql("ALTER TABLE webhook_routing_config DROP CONSTRAINT percentage_is_a_share")
    by_hand(evening, "percentage = 120")
    assert check(evening).state is State.STEP_BACK
    assert step_back(evening).change.after == (Decimal(10), True)


def test_without_a_ledger_one_phase_down_is_off(evening):
    """Nobody knows what was made legal: a step back switches off, and says why."""
    evening.sql("ALTER TABLE rollout.ledger RENAME TO ledger_away")
    done = step_back(evening)
    assert done.change.after == (Decimal(0), False)
    assert "nobody knows what it made legal" in done.change.detail


def test_zero_percent_needs_no_ledger(evening):
    """`change --to 0` with the ledger away, as a rollback: done, and kept for the ledger."""
    evening.sql("ALTER TABLE rollout.ledger RENAME TO ledger_away")
    assert evening.raise_to(0).change.after == (Decimal(0), False)


def test_the_dry_run_of_a_step_back_names_the_same_target(evening, capsys):
    """`rollout rollback` without --apply, 60 % by hand: down to 10 %, as --apply does."""
    by_hand(evening, "percentage = 60")
    assert run(["rollback", "--reason", "x", "--plan", str(evening.plan_file)]) == 0
    assert "would go down to 10 %" in capsys.readouterr().out


def test_by_hand_to_a_percentage_off_the_plan_is_a_hold(evening):
    """10 % lowered to 7 %: recorded, and held; nothing is raised from it."""
    by_hand(evening, "percentage = 7")
    found = check(evening)
    (drift,) = [item for item in found.verdict.checks if item.name == "drift"]
    assert (drift.state, drift.outcome.value) == (State.HOLD, "FAIL")
    assert found.exit_code in (20, 50)  # the copied day has no newer row: it may be blind as well
    evening.attest()
    assert "next phase" in evening.unmet(10)
    assert "next phase" in evening.unmet(25)
