"""What messages say, and when they are said: templates over real checkpoints, and the onset's
steps.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout_lib.database.outbox import Onset
from rollout_lib.model import Change, Outcome, State
from rollout_lib.notify import render
from rollout_lib.notify.onset import LASTS, RANK, Tell, decide

NINE = datetime(2025, 12, 3, 8, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def test_the_start_message_is_the_runbooks(day):
    """Subject and every line of the runbook's first message, with the plan's domains and hours."""
    said = render(day.change(10), day.plan)
    assert said["subject"] == "Week 6 Traffic Rollout Started - 10%"
    for line in (
        "We've started routing 10% of webhook traffic to the unified system.",
        "- Domains: jobs, marketplace, property",
        "- Protected: mobility, profile, insurance (no changes)",
        "- Monitoring: Continuous for 4 hours",
        "- Expected impact: None (seamless transition)",
        "Will update after 4 hours with results.",
    ):
        assert line in said["text"].splitlines()


def test_the_success_message_has_the_measured_figures(day):
    """The runbook's X% and Xms are the phase's own, each beside its target; impact is never claimed
    unattested.
    """
    day.change(10)
    day.check()
    said = render(replace(day.evaluate(), state=State.PASS), day.plan)
    assert said["subject"] == "Week 6 - 10% Rollout Successful, Scaling to 25%"
    assert "- Error rate: 0.00%, 0 of 29 requests (target < 0.1%)" in said["text"]
    assert "- P95 latency: 851ms (target < 2000ms)" in said["text"]
    assert "- Customer impact: not attested" in said["text"]
    assert "Proceeding with 25% rollout" in said["text"]


def test_a_literal_breach_without_evidence_sends_the_one_line_rollback(day):
    """One failing webhook: nobody has to act, and everybody has the command at hand."""
    day.change(10)
    for _ in range(3):
        day.check()
    said = render(day.check(1), day.plan)
    assert said["subject"] == "Week 6 - Watch at 10%"
    assert "Literal says ROLL_BACK, evidence says WATCH" in said["text"]
    assert "rollout rollback --emergency" in said["text"]


@pytest.mark.parametrize(
    ("state", "subject"),
    [
        (State.HOLD, "Week 6 - Hold at 10%"),
        (State.STEP_BACK, "Week 6 - Step back asked at 10%"),
        (State.ROLL_BACK, "Week 6 - Roll back asked at 10%"),
        (State.NO_DATA, "Week 6 - No data at 10%: somebody must look"),
        (State.COULD_NOT_LOOK, "Week 6 - No data at 10%: somebody must look"),
    ],
)
def test_each_bad_verdict_has_a_message_that_says_where_routing_is(day, state, subject):
    """What is true of production is in the text: nothing was changed, and the
    percentage as it is.
    """
    day.change(10)
    said = render(replace(day.check(), state=state), day.plan)
    assert said["subject"] == subject
    assert "10%" in said["subject"] + said["text"]


def test_an_act_says_first_what_is_true_of_routing_and_restarts_only_what_is_off(day):
    """Asked: still at 10 %, the command next; done: disabled, and how to start again. The reason
    comes after.
    """
    day.change(10)
    asked = replace(day.check(), state=State.ROLL_BACK)
    off = (Decimal(0), False)
    done = replace(
        asked,
        change=Change(before=(Decimal(10), True), asked=off, after=off, applied=True, reason="x"),
    )
    first, second, third, *rest = render(asked, day.plan)["text"].splitlines()
    assert first.startswith("Nothing was changed by this run: routing is still at 10%.")
    assert second == "rollout rollback --emergency --reason '…'"
    assert third.startswith("Why: ")
    assert not any("--restart" in line for line in rest)
    text = render(done, day.plan)["text"]
    assert text.startswith(
        "Routing is disabled; jobs, marketplace, property go to legacy (before: 10%)."
    )
    assert "rollout acknowledge --restart --reason '…'" in text


def test_a_leak_is_never_called_no_changes(day):
    """The protected domains are as the run found them; a commanded rollback, which looked at
    nothing, says so.
    """
    day.change(10)
    seen = replace(day.check(), state=State.ROLL_BACK)
    calm = "- Protected: mobility, profile, insurance (no changes; not probed in this run)"
    assert calm in render(seen, day.plan)["text"]
    reason = "3 rows of mobility went to unified"
    checks = tuple(
        replace(check, outcome=Outcome.FAIL, reason=reason) if check.name == "leak" else check
        for check in seen.verdict.checks
    )
    leaked = render(replace(seen, verdict=replace(seen.verdict, checks=checks)), day.plan)["text"]
    assert f"- Protected: {reason}" in leaked
    assert "no changes" not in leaked
    off = (Decimal(0), False)
    change = Change(before=(Decimal(10), True), asked=off, after=off, applied=True, reason="a call")
    commanded = replace(seen, operation="rollback", verdict=None, figures={}, change=change)
    assert render(commanded, day.plan)["text"].count("not measured by this run") == 2
    assert "not looked at by this run" in render(commanded, day.plan)["text"]


def test_a_phase_that_proves_too_little_is_called_inconclusive(day):
    """Not a hold: what is missing is named, and who may acknowledge it."""
    day.change(10)
    for _ in range(16):  # 29 requests in all, for a hold of four hours
        day.check()
    evaluated = day.evaluate()
    assert evaluated.state is State.INCONCLUSIVE
    said = render(evaluated, day.plan)
    assert said["subject"] == "Week 6 - Inconclusive at 10%"
    assert "rollout acknowledge --reason '…'" in said["text"]


def test_calm_checks_are_silent(day):
    """A clean check has no message; neither has a dry run nor a refused attempt."""
    day.change(10)
    assert render(day.check(), day.plan) is None
    for kind in ("dry-run", "attempt"):
        assert render(replace(day.change(25), kind=kind), day.plan) is None


def test_messages_carry_no_personal_data(day):
    """A sentence that quotes an error is redacted before it leaves the house."""
    day.change(10)
    bad = replace(
        day.check(), state=State.HOLD, sentence="failed for +49 151 2345 6789, token=abc123secret"
    )
    text = render(bad, day.plan)["text"]
    assert "2345" not in text
    assert "abc123secret" not in text


def test_another_rollout_is_called_by_its_own_name(day):
    """Only a rollout named after a week is called Week N."""
    plan = day.plan.model_copy(update={"rollout": "payments"})
    assert render(day.change(10), plan)["subject"].startswith("payments Traffic Rollout Started")


def test_one_message_when_it_begins_one_when_it_lasts_one_when_it_ends():
    """A hold over two hours, looked at every minute: three messages in all."""
    onset, told = None, []
    for minute in range(121):
        decision = decide(onset, "hold" if minute < 120 else None, NINE + minute * MINUTE)
        onset = decision.onset
        if decision.tell:
            told.append((minute, decision.tell))
    assert told == [(0, Tell.BEGINS), (30, Tell.LASTS), (120, Tell.ENDS)]


def test_worse_is_told_and_better_is_not():
    """Watch, hold, watch, hold, roll back: told at the first of each new worst only."""
    onset, told = None, []
    for minute, kind in enumerate(["watch", "hold", "watch", "hold", "roll_back", "hold"]):
        decision = decide(onset, kind, NINE + minute * MINUTE)
        onset = decision.onset
        told.append(decision.tell)
    assert told == [Tell.BEGINS, Tell.WORSE, None, None, Tell.WORSE, None]
    assert onset.since == NINE


def test_a_watch_is_not_repeated():
    """It asks nobody to do anything, so it is told once however long it lasts."""
    onset = decide(None, "watch", NINE).onset
    assert decide(onset, "watch", NINE + 10 * LASTS).tell is None


def test_a_late_check_changes_nothing():
    """A check older than the onset, calm or bad, neither ends nor begins anything."""
    onset = Onset(state="hold", since=NINE, told_at=NINE)
    for kind in (None, "roll_back"):
        assert decide(onset, kind, NINE - MINUTE).tell is None


def test_an_unknown_kind_is_an_error_and_never_calm():
    """A kind that nobody ranked must not read as the end of trouble."""
    with pytest.raises(ValueError, match="nonsense"):
        decide(None, "nonsense", NINE)


@given(st.lists(st.sampled_from([None, *RANK]), max_size=60))
def test_beginnings_and_ends_come_in_pairs(kinds):
    """Over any sequence: never two beginnings without an end, never an end without a beginning."""
    onset, open_ = None, False
    for minute, kind in enumerate(kinds):
        decision = decide(onset, kind, NINE + minute * MINUTE)
        onset = decision.onset
        if decision.tell is Tell.BEGINS:
            assert not open_
            open_ = True
        if decision.tell is Tell.ENDS:
            assert open_
            open_ = False
        assert open_ == (onset is not None)
