"""What somebody does past the suite is told as it was, for as long as it lasted.

Begun from an evaluated 10 % phase, 13:00 on Day 3."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from rollout_lib import operations as op
from rollout_lib.notebook import statements_table

pytestmark = pytest.mark.one_server


def by_hand(day, at, values: str) -> None:
    """Write the configuration as psql would, stamped `at` by the day's clock."""
    day.sql(
        "SET session_replication_role = replica;"
        f" UPDATE webhook_routing_config SET {values}, notes = 'by night', updated_at = '{at}'"
    )


def edits(day):
    return [
        (edit.before, edit.after, edit.words) for edit in op.report(day.session()).summary.by_hand
    ]


def test_a_raise_by_hand_that_was_taken_back_is_an_event_of_its_own(evening):
    """60 % for 48 s, by hand; seen by a check, ended by a step back; and shown with its note."""
    evening.goes_on(1)
    by_hand(evening, evening.now, "percentage = 60")
    evening.now += timedelta(seconds=20)
    op.monitor(evening.session())
    words = "60 % still so, by hand (10 % by the ledger)"
    assert edits(evening) == [(Decimal(10), Decimal(60), words)]
    evening.now += timedelta(seconds=28)
    assert op.roll_back(
        evening.session(), reason="not ours", gradual=True
    ).checkpoint.change.applied
    words = "60 % for 48 s, by hand (10 % by the ledger)"
    assert edits(evening) == [(Decimal(10), Decimal(60), words)]
    shown = statements_table(op.report(evening.session()))._repr_html_()
    assert words in shown
    assert "by night" in shown


def test_a_lowering_by_hand_stands_in_the_sentence_of_the_check_that_adopted_it(evening):
    """Lowered to 5 %: accepted by the next check, which says so first, and told in the report."""
    by_hand(evening, evening.now + timedelta(minutes=1), "percentage = 5")
    evening.goes_on(5)
    done = op.monitor(evening.session()).checkpoint
    assert done.adopted.percentage == 5
    assert "Lowered by hand" in done.sentence
    assert [(before, after) for before, after, _ in edits(evening)] == [(Decimal(10), Decimal(5))]
    assert "for 4 min" in edits(evening)[0][2]


def test_what_the_suite_did_itself_is_no_edit_by_hand(evening):
    """Checks, a rollback and a start again: none of it is told as somebody else's."""
    evening.goes_on(5)
    op.monitor(evening.session())
    op.roll_back(evening.session(), reason="errors")
    evening.goes_on(5)
    op.monitor(evening.session())
    assert edits(evening) == []
