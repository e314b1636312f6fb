"""Routing is off: what the log may still say, and that nothing done afterwards forgives it. And what
was written in a phase and is stamped outside it.
"""

from __future__ import annotations

from datetime import timedelta

import pytest

from rollout_lib import operations as op
from rollout_lib.emergency import switch_off
from rollout_lib.model import CheckKind, State

pytestmark = pytest.mark.one_server

LOOSE = """ALTER TABLE webhook_routing_logs DROP CONSTRAINT IF EXISTS routed_to_is_known,
    DROP CONSTRAINT IF EXISTS status_is_known"""
SINCE = {
    "nothing": lambda evening: None,
    "an edit of its notes": lambda evening: evening.sql(
        "UPDATE webhook_routing_config SET notes = 'looked at it'"
    ),
    "0 % once more": lambda evening: evening.sql("SELECT update_routing_percentage(0, 'again')"),
    "the emergency once more": lambda evening: switch_off(
        evening.direct, reason="again", operator="Rita"
    ),
    "a rollback once more": lambda evening: op.roll_back(evening.session(), reason="again"),
    "a check, and an edit": lambda evening: (
        op.monitor(evening.session()),
        evening.sql("UPDATE webhook_routing_config SET notes = 'x'"),
    ),
}


def row(evening, *, back: timedelta = timedelta(minutes=3), **values: str) -> None:
    """One row of jobs to unified, written now and stamped a few minutes ago; values replaces."""
    told = {
        "domain": "jobs",
        "routed_to": "unified",
        "status": "success",
        "message_id": "m",
    } | values
    columns, words = ", ".join(told), ", ".join(f"'{word}'" for word in told.values())
    evening.sql(
        f"INSERT INTO webhook_routing_logs (created_at, response_time_ms, {columns})"
        f" VALUES (CAST('{evening.now - back}' AS timestamptz), 700, {words})"
    )


@pytest.mark.parametrize("since", SINCE)
def test_a_router_that_did_not_obey_is_not_forgiven(evening, since):
    """A row of unified ten minutes after the rollback, and then somebody touches the configuration."""
    op.roll_back(evening.session(), reason="errors")
    evening.goes_on(13)
    row(evening)
    SINCE[since](evening)
    evening.goes_on(5)
    checkpoint = op.monitor(evening.session()).checkpoint
    assert checkpoint.state is State.ROLL_BACK
    assert checkpoint.exit_code == 40
    assert "does not obey" in checkpoint.sentence


def test_what_was_on_again_meanwhile_is_no_disobedience(evening):
    """Raised by hand after a rollback, and switched off again: off is since the second."""
    op.roll_back(evening.session(), reason="errors")
    evening.goes_on(10)
    evening.sql("SELECT update_routing_percentage(5, 'x'), set_routing_enabled(true, 'x')")
    evening.goes_on(10)
    op.roll_back(evening.session(), reason="again")
    evening.goes_on(5)
    assert op.monitor(evening.session()).checkpoint.state is State.OFF


UNKNOWN = {
    "a destination that nobody knows": {"routed_to": "unifed"},
    "a destination in another language": {"routed_to": "einheitlich", "domain": "property"},
}


@pytest.mark.parametrize("what", UNKNOWN)
def test_while_off_a_word_that_may_be_unifieds_holds(evening, what):
    """Exit 20, and the word in the sentence: that it is off and nothing comes is not known."""
    op.roll_back(evening.session(), reason="errors")
    evening.sql(LOOSE)
    evening.goes_on(10)
    row(evening, **UNKNOWN[what])
    evening.goes_on(5)
    checkpoint = op.monitor(evening.session()).checkpoint
    assert (checkpoint.state, checkpoint.exit_code) == (State.HOLD, 20)
    assert UNKNOWN[what]["routed_to"] in checkpoint.sentence


def test_while_off_a_protected_domain_that_fails_holds(evening):
    """Mobility's own webhook fails: it is not of the routing, and somebody looks all the same."""
    op.roll_back(evening.session(), reason="errors")
    evening.goes_on(10)
    for number in range(12):
        row(evening, domain="mobility", routed_to="legacy", status="error", message_id=f"m{number}")
    evening.goes_on(5)
    checkpoint = op.monitor(evening.session()).checkpoint
    assert (checkpoint.state, checkpoint.exit_code) == (State.HOLD, 20)
    assert "mobility" in checkpoint.sentence


def test_off_and_nothing_came_is_off(evening):
    """The control of all of these."""
    op.roll_back(evening.session(), reason="errors")
    evening.goes_on(15)
    checkpoint = op.monitor(evening.session()).checkpoint
    assert (checkpoint.state, checkpoint.exit_code) == (State.OFF, 0)


@pytest.mark.parametrize(
    "stamp", ["1970-01-01", "0044-03-15 BC", "-infinity", "2000-01-01 00:03"], ids=str
)
def test_what_no_clock_that_was_set_says_holds_it(evening, stamp):
    """The epoch, and instants that Python has none for: rows of the phase all the same."""
    row(evening, status="error")
    evening.sql(
        "INSERT INTO webhook_routing_logs (created_at, domain, routed_to, status, response_time_ms,"
        f" message_id) SELECT '{stamp}', 'jobs', 'unified', 'error', 9, 'm' || n"
        " FROM generate_series(1, 30) n"
    )
    checkpoint = op.evaluate_phase(evening.session()).checkpoint
    assert checkpoint.state is State.HOLD
    (stray,) = [one for one in checkpoint.verdict.checks if one.kind is CheckKind.ARRIVED_LATE]
    assert stray.observed == "30 rows, 30 failed"


@pytest.mark.parametrize("hours", [4.2, 5, 13, 72])
def test_what_is_stamped_before_the_phase_holds_it(evening, hours):
    """Sixty failures of unified by a clock hours behind: no look counts them, and no phase passes."""
    for number in range(60):
        back = timedelta(hours=hours, seconds=number)
        row(evening, back=back, status="error", message_id=f"m{number}")
    checkpoint = op.evaluate_phase(evening.session()).checkpoint
    assert checkpoint.state is State.HOLD
    (stray,) = [one for one in checkpoint.verdict.checks if one.kind is CheckKind.ARRIVED_LATE]
    assert (
        "60 rows were written or changed in this phase and are stamped outside it" in stray.reason
    )
    assert "60 of them failed" in stray.reason


def test_what_came_late_for_the_phase_before_is_said_and_holds_nothing(evening):
    """Rows that the router had buffered over the change, one of them failed: of the earlier phase."""
    for number in range(5):
        back = timedelta(hours=4.2, seconds=number)
        row(evening, back=back, status="success" if number else "error", message_id=f"m{number}")
    checkpoint = op.evaluate_phase(evening.session()).checkpoint
    assert checkpoint.state is State.PASS
    (stray,) = [one for one in checkpoint.verdict.checks if one.kind is CheckKind.ARRIVED_LATE]
    assert stray.observed == "5 rows, 1 failed"


def test_where_the_order_of_writing_is_not_known_it_is_said(evening):
    """A view: the evaluation warns, and decides by what is stamped."""
    evening.sql(
        "DROP VIEW webhook_routing_stats; ALTER TABLE webhook_routing_logs RENAME TO older;"
        " CREATE VIEW webhook_routing_logs AS SELECT * FROM older"
    )
    checkpoint = op.evaluate_phase(evening.session()).checkpoint
    assert checkpoint.state is State.PASS
    (stray,) = [one for one in checkpoint.verdict.checks if one.kind is CheckKind.ARRIVED_LATE]
    assert "cannot be told" in stray.reason
