"""The verdict of one check: literal beside evidence, the ladder, its latches, and what is no
evidence.
"""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout_lib.evidence import CountError, difference_interval
from rollout_lib.judgement.explain import clean_sentence, differ_sentence
from rollout_lib.judgement.literal import error_state, latency_state
from rollout_lib.judgement.slot import judge_slot
from rollout_lib.judgement.streams import ACT_AT, HOLD_AT, error_bets, judge_streams, ladder_state
from rollout_lib.model import STATES, Act, Leak, Outcome, Probe, State, worst

ACTS = (State.STEP_BACK, State.ROLL_BACK)


def check_named(verdict, name):
    return next(check for check in verdict.checks if check.name == name)


def stream(verdict, name="errors:total"):
    return next(item for item in verdict.streams if item.stream == name)


@pytest.mark.parametrize(
    ("bad", "total", "state"),
    [
        (0, 0, State.QUIET),
        (0, 1, State.CLEAN),
        (9, 10_000, State.CLEAN),
        (10, 10_000, State.STEP_BACK),  # exactly 0.1 % is not ok
        (50, 10_000, State.STEP_BACK),  # exactly 0.5 % is investigate
        (51, 10_000, State.ROLL_BACK),
        (10**9, 10**12, State.STEP_BACK),
        (1, 115, State.ROLL_BACK),
    ],
)
def test_error_rates_are_compared_exactly_as_written(phase, bad, total, state):
    """Below 0.1 % ok, 0.1 to 0.5 % investigate, above roll back, to the last request; no request is
    no answer.
    """
    assert error_state(bad, total, phase().plan.thresholds) is state


@pytest.mark.parametrize(
    ("p95", "state"),
    [
        (None, State.QUIET),
        (1999.99, State.CLEAN),
        (2000.0, State.STEP_BACK),
        (3000.0, State.STEP_BACK),
        (3000.01, State.ROLL_BACK),
        (float("nan"), State.ROLL_BACK),
    ],
)
def test_latencies_are_compared_exactly_as_written(phase, p95, state):
    """Exactly 2000 ms is not ok, exactly 3000 ms is investigate; what compares false falls through
    to the worst.
    """
    assert latency_state(p95, phase().plan.thresholds) is state


def test_the_ladder_has_one_total_order():
    """Every state has its place and its exit code; the worst of any two does not depend on their
    order.
    """
    assert set(STATES) == set(State)
    for one in State:
        for other in State:
            assert worst([one, other]) is worst([other, one])
    order = [
        State.ROLL_BACK,
        State.STEP_BACK,
        State.NO_DATA,
        State.HOLD,
        State.WATCH,
        State.CLEAN_UNPROVEN,
        State.CERTIFIED,
    ]
    assert all(worst([bad, better]) is bad for bad, better in pairwise(order))
    with pytest.raises(ValueError, match="no state"):
        worst([])


def test_a_line_that_is_just_reached_is_reached():
    """Evidence of exactly 20 acts, of exactly 5 holds, a certificate of exactly 20 certifies; a
    domain acts at a line of its own, and is certified at the same as all.
    """
    under, own = math.nextafter(ACT_AT, 0), ACT_AT + math.log(3)

    def at(now=0.0, peak=0.0, act_at=ACT_AT, bad=2, certificate=0.0):
        return ladder_state(now, peak, act_at, bad, 9, certificate, State.CLEAN)

    assert at(peak=ACT_AT) is State.STEP_BACK
    assert at(peak=under) is State.CLEAN_UNPROVEN
    assert at(peak=under, act_at=own) is at(peak=ACT_AT, act_at=own) is State.CLEAN_UNPROVEN
    assert at(peak=own, act_at=own) is State.STEP_BACK
    assert at(now=HOLD_AT) is State.HOLD
    assert at(now=math.nextafter(HOLD_AT, 0)) is State.CLEAN_UNPROVEN
    assert at(certificate=ACT_AT, act_at=own, bad=0) is State.CERTIFIED
    assert at(certificate=under, bad=0) is State.CLEAN_UNPROVEN


@given(
    st.floats(-5, 10), st.floats(0, 10), st.integers(0, 9), st.integers(0, 500), st.floats(-5, 10)
)
def test_the_ladder_is_the_table_of_the_design(now, peak, bad, total, certificate):
    """For any evidence, the state is the first row of the design's table that applies."""
    total = max(bad, total)
    for literal in (State.CLEAN, State.STEP_BACK, State.ROLL_BACK):
        state = ladder_state(now, peak, ACT_AT, bad, total, certificate, literal)
        if peak >= math.log(20) and bad >= 2:
            assert state is (State.ROLL_BACK if literal is State.ROLL_BACK else State.STEP_BACK)
        elif now >= math.log(5) and bad >= 2:
            assert state is State.HOLD
        elif literal is not State.CLEAN:
            assert state is State.WATCH
        elif total == 0:
            assert state is State.QUIET
        else:
            assert state is (
                State.CERTIFIED if certificate >= math.log(20) else State.CLEAN_UNPROVEN
            )


def test_one_failing_webhook_is_watched_and_never_acts(phase):
    """1 of 115 is over 0.5 %: literal says roll back, evidence says watch, and the sentence has the
    arithmetic.
    """
    run = phase()
    run.check(total=35)
    run.check(total=30)
    run.check(total=30)
    verdict = run.check(errors=1, total=20)
    assert (verdict.literal, verdict.evidence, verdict.state) == (
        State.ROLL_BACK,
        State.WATCH,
        State.WATCH,
    )
    assert verdict.act is Act.NONE
    total = watch = stream(verdict)
    assert total.bad == 1
    sentence = check_named(verdict, "errors:total").reason
    assert sentence == "1/115 = 0.87 % > 0.5 %, the runbook says roll back"
    assert verdict.sentence.startswith(
        "1 of 79 jobs requests failed in the last hour: 1.27 %, over 0.5 %. 1 of 79 webhooks failed in"
        " the phase. One failure proves nothing: a service at 0.1 % shows one in 8 % of such hours"
    )
    assert watch.e_peak < ACT_AT
    assert "one failing webhook of 79 proves nothing" in verdict.differ


def test_why_the_columns_differ_names_the_line_of_that_stream(phase):
    """A domain acts at 60 and the total at 20: who reads how much is missing
    reads the right one.
    """
    verdict = phase().check(total=100)
    for name, words, needed in (
        ("errors:jobs", "errors of jobs", 60),
        ("errors:total", "errors of all domains", 20),
    ):
        loud = replace(stream(verdict, name), literal=State.ROLL_BACK, bad=2)
        said = differ_sentence(
            replace(verdict, literal=State.ROLL_BACK, streams=(loud,)), phase().plan
        )
        assert said.startswith(words)
        assert said.endswith(f"acts at {needed})")


def test_one_failing_webhook_in_the_very_first_request_does_not_act(phase):
    """Even where the bet on it would pay over 20, a single webhook is never evidence."""
    verdict = phase().check(errors=1, total=1)
    assert stream(verdict).e_peak >= ACT_AT
    assert verdict.evidence is State.WATCH


def test_forty_retries_of_one_webhook_are_one_failure(phase):
    """Forty error rows of one message_id: literal counts rows, evidence counts the webhook once
    among the rest; that half of the rows failed is a hold all the same.
    """
    verdict = phase().check(errors=40, failing=1, total=70)
    assert check_named(verdict, "errors:total").observed == "40/70 = 57.14 %"
    assert (stream(verdict).bad, stream(verdict).total) == (1, 31)
    assert (verdict.evidence, verdict.state) == (State.WATCH, State.HOLD)
    assert check_named(verdict, "outage").state is State.HOLD
    again = phase()
    again.check(errors=1, total=30)
    assert (
        stream(again.check(errors=12, failing=0, total=42)).total == 60
    )  # retries of what had failed before


def test_rows_without_an_id_count_by_themselves(phase):
    """Nothing says that they are one webhook: four such rows are four failures, and they act."""
    verdict = phase().check(errors=4, failing=4, total=30)
    assert verdict.state is State.ROLL_BACK
    assert verdict.act is Act.ROLL_BACK
    assert verdict.acts_alone


def test_evidence_without_a_literal_roll_back_steps_back_and_asks(phase):
    """A steady 0.3 %, many requests: literal says investigate, evidence is there, so one step back
    is asked for.
    """
    run = phase()
    states = [run.check(errors=6, total=2000).state for _ in range(4)]
    assert State.STEP_BACK in states
    assert State.ROLL_BACK not in states
    last = run.check(errors=6, total=2000)
    assert (last.act, last.acts_alone) == (Act.STEP_BACK, False)


def test_an_act_latches_for_the_phase_and_a_hold_does_not(phase):
    """After the act the service recovers: the verdict stays the act; after a hold it goes back to
    clean.
    """
    run = phase()
    assert run.check(errors=4, total=30).state is State.ROLL_BACK
    assert [run.check(total=300).state for _ in range(20)] == [State.ROLL_BACK] * 20
    held = phase()
    first = held.check(errors=1, total=90)
    assert first.state is State.WATCH
    assert held.check(errors=1, total=90).evidence is State.HOLD
    assert held.check(total=900).evidence is not State.HOLD


def test_bets_go_on_after_sixteen_slots_and_so_do_latches(phase):
    """A hold of slot 16 stands a minute later; a failure at slot 17 is bet on as one at slot 15 is;
    the peak stays the phase's.
    """
    held = phase()
    for _ in range(14):
        held.check(total=29)
    held.check(errors=1, total=29)
    last = held.check(errors=1, total=29)
    assert last.evidence is State.HOLD
    assert held.extra(total=1).evidence is State.HOLD
    run = phase()
    for _ in range(16):
        run.check(total=300)
    verdict = run.check(errors=9, total=30)
    sooner = phase()
    for _ in range(14):
        sooner.check(total=300)
    assert stream(verdict).e_now == pytest.approx(
        stream(sooner.check(errors=9, total=30)).e_now, abs=0.1
    )
    assert verdict.state is State.ROLL_BACK
    later = [run.check(total=500) for _ in range(20)][-1]
    assert stream(later).e_peak == pytest.approx(stream(verdict).e_peak)
    assert stream(later).e_now < 0.5
    assert later.latched is State.ROLL_BACK


def test_a_partial_look_spends_no_stake(phase):
    """Twenty extra checks inside a slot leave the slot's verdict as it would have been without
    them.
    """
    asked, quiet = phase(), phase()
    for run in (asked, quiet):
        run.check(total=30)
    for _ in range(20):
        asked.extra(errors=1, total=12)
    one, other = asked.check(errors=2, total=40), quiet.check(errors=2, total=40)
    assert [item.path for item in one.streams] == [item.path for item in other.streams]


def test_a_partial_look_acts_as_a_whole_one_would(phase):
    """The tripwire's round and a person's check see the open slot's failures at once."""
    verdict = phase().extra(errors=3, total=9)
    assert verdict.state is State.ROLL_BACK


def test_a_domain_acts_at_its_share_of_the_risk(phase):
    """Three domains: each stream acts at 60, the total at 20; all stand in the verdict with their
    line.
    """
    verdict = phase().check(errors=3, total=30, domain="property")
    lines = {item.stream: round(math.exp(item.act_at)) for item in verdict.streams}
    assert {lines[f"errors:{name}"] for name in ("jobs", "marketplace", "property")} == {60}
    assert (lines["errors:total"], lines["latency:total"], lines["router"]) == (20, 20, 20)
    assert len(lines) == 9


def test_a_dead_unified_shows_in_the_router_stream(phase):
    """Requests that reach nothing are `error` rows of no domain: the router stream acts, errors do
    not.
    """
    verdict = phase().check(router=40)
    assert verdict.state is State.ROLL_BACK
    assert stream(verdict, "router").evidence is State.ROLL_BACK
    assert stream(verdict).evidence is State.CLEAN_UNPROVEN
    assert "reached no function" in verdict.sentence


def test_latency_is_the_same_test_at_five_percent(phase):
    """A third of the requests over two seconds: p95 is over its line and the
    latency stream acts.
    """
    run = phase()
    states = [run.check(slow=10, total=30, slow_ms=3500).state for _ in range(2)]
    assert states[-1] is State.ROLL_BACK
    slow = phase()
    states = [slow.check(slow=10, total=30, slow_ms=2500).state for _ in range(2)]
    assert states[-1] is State.STEP_BACK


def test_strict_enforces_the_runbook_as_written(phase):
    """mode strict: over 0.5 % rolls back at once, 0.1 to 0.5 % asks for one step back, evidence
    stands beside it.
    """
    verdict = phase(mode="strict").check(errors=1, total=115)
    assert (verdict.state, verdict.evidence, verdict.act, verdict.acts_alone) == (
        State.ROLL_BACK,
        State.WATCH,
        Act.ROLL_BACK,
        True,
    )
    verdict = phase(mode="strict").check(errors=1, total=600)
    assert (verdict.state, verdict.act, verdict.acts_alone) == (
        State.STEP_BACK,
        Act.STEP_BACK,
        False,
    )
    assert phase(mode="strict").check(total=115).state is State.CLEAN


def test_silence_of_unified_is_no_data_by_day_and_quiet_by_night(phase):
    """None of 29 expected is NO_DATA; none of 6 expected says nothing either way and is QUIET."""
    for legacy, state in ((261, State.NO_DATA), (62, State.QUIET)):
        run = phase()
        run.more = {"last_unified_at": None, "legacy_since_unified": legacy}
        assert run.check(total=0, legacy=legacy).state is state
    assert STATES[State.QUIET] == 0
    assert STATES[State.NO_DATA] == 50


def test_missing_data_never_outranks_an_act(phase):
    """Unified failed and then fell silent: the act stands, and stale rows do not hide it."""
    run = phase()
    run.check(errors=4, total=30)
    run.more = {"newest_row_at": run.began - timedelta(hours=2)}
    assert run.check(total=0, legacy=0).state is State.ROLL_BACK


def test_stale_rows_are_could_not_look(phase):
    """The newest row of any kind is old: nothing is judged clean."""
    run = phase()
    run.more = {"newest_row_at": run.began - timedelta(hours=2)}
    verdict = run.check()
    assert verdict.state is State.COULD_NOT_LOOK
    assert verdict.act is Act.NONE


@pytest.mark.parametrize(
    ("unified", "total", "outcome"),
    [(120, 1000, Outcome.PASS), (121, 1000, Outcome.WARN), (79, 1000, Outcome.WARN)],
)
def test_the_split_is_within_two_points_exactly(phase, unified, total, outcome):
    """Exactly two points away is within; one row more is over, which alone is watched."""
    verdict = phase().check(total=unified, legacy=total - unified)
    assert check_named(verdict, "split").outcome is outcome
    assert verdict.state is (State.WATCH if outcome is Outcome.WARN else State.CLEAN_UNPROVEN)
    assert verdict.next_step.startswith("rollout status ")


def test_what_to_look_at_next_is_what_shows_it(phase):
    """Errors for failures, the p95 chart for slowness, the configuration for a share that is not as
    configured.
    """
    assert phase().check(errors=1, total=100).next_step.startswith("rollout errors --plan ")
    slow = phase().check(total=100, slow=6)
    assert (slow.state, slow.next_step.partition(" ")[2].startswith("monitor ")) == (
        State.WATCH,
        True,
    )
    assert "p95 chart" in slow.next_step
    split = phase().check(total=100, legacy=200)
    assert split.state is State.HOLD
    assert split.next_step.startswith("rollout status --plan ")
    assert "split chart" in split.next_step
    for verdict in (slow, split):
        assert verdict.next_step.endswith("To stop: rollout rollback --emergency --reason '…'")


def test_a_wrong_split_alarms_on_settled_rows_only(phase):
    """A third of the rows at a configured 10 % holds; the rows of the first 30 seconds are not
    evidence.
    """
    run = phase()
    verdict = run.check(total=100, legacy=200)
    assert (check_named(verdict, "split").state, verdict.evidence) == (State.HOLD, State.HOLD)
    settling = phase()
    settling.more = {"settled_unified": 0, "settled_legacy": 0}
    assert check_named(settling.check(total=100, legacy=200), "split").state is State.WATCH


def test_a_split_is_not_judged_over_an_edit(phase):
    """Somebody halves the percentage by hand: drift says so; mixed rows are compared with neither
    share.
    """
    run = phase()
    run.check(total=30)
    run.percentage = Decimal(5)
    split = check_named(run.check(total=15), "split")
    assert split.outcome is Outcome.COULD_NOT_LOOK
    assert split.state is None


def test_routing_off_is_ok_only_while_nothing_comes(phase):
    """OFF and exit 0 while no row comes later than the rollback + 30 s; otherwise the router does
    not obey: 40.
    """
    run = phase()
    run.enabled = False
    off = run.began + timedelta(minutes=5)
    run.standing = replace(
        run.standing,
        phase=None,
        rolled_back_at=off,
        off_at=off,
        last_change=(off, Decimal(0), False),
    )
    run.percentage = Decimal(0)
    for late, state in ((30, State.OFF), (31, State.ROLL_BACK)):
        run.more = {"last_unified_at": off + timedelta(seconds=late)}
        verdict = run.check(total=0, legacy=0)
        assert verdict.state is state
    assert STATES[State.OFF] == 0


def test_routing_found_off_is_not_called_a_router_that_does_not_obey(phase):
    """Switched off by hand between two checks: the rows before that are no offence."""
    run = phase()
    run.check()
    run.enabled = False
    run.more = {"last_unified_at": run.now + timedelta(minutes=7)}
    assert run.extra(total=12).state is State.OFF


def test_a_shared_incident_is_said_and_never_blocks(phase):
    """Both fail alike: the act stays an act, and the sentence says that rolling
    back may not help.
    """
    verdict = phase().check(errors=4, total=30, legacy=270, legacy_errors=36)
    assert verdict.act is Act.ROLL_BACK
    assert verdict.acts_alone
    assert "rolling back may not help" in verdict.sentence
    alone = phase().check(errors=4, total=30, legacy=270, legacy_errors=1)
    assert "rolling back may not help" not in alone.sentence


def test_a_leak_is_never_called_a_shared_incident(phase):
    """Legacy fails too, but routing goes off for the leak: that does help."""
    run = phase()
    run.more = {"leak": replace(run.measure().leak, rows=1, domains=("mobility",))}
    verdict = run.check(legacy_errors=30)
    assert verdict.state is State.ROLL_BACK
    assert "may not help" not in verdict.sentence


def test_the_unclipped_hour_stands_beside_the_clipped_window(phase):
    """Errors of before the change are in the hour and in check_routing_health, not in what is
    judged.
    """
    run = phase()
    before = run.measure(errors=20, total=60)
    run.increments.clear()
    run.more = {"hour": before.hour}
    verdict = run.check(total=30)
    assert check_named(verdict, "errors:total").observed == "0/30 = 0.00 %"
    assert check_named(verdict, "check_routing_health").limit == "ROLL BACK"


def test_looks_out_of_order_are_refused(phase):
    """Overlapping increments would count requests twice: an error of ours, not a verdict."""
    run = phase()
    run.check()
    run.check()
    looks = (run.standing.looks[1], run.standing.looks[0])
    with pytest.raises(CountError, match="out of order"):
        judge_streams(looks, {}, run.plan)


def test_a_plan_of_one_domain_has_its_stream_and_the_total(phase):
    """One domain is not a special case: its own stream, the total and the router are judged."""
    run = phase()
    run.plan = run.plan.model_copy(update={"domains": ("jobs",)})
    assert [item.stream for item in run.check().streams] == [
        "errors:jobs",
        "latency:jobs",
        "errors:total",
        "latency:total",
        "router",
    ]


@pytest.mark.parametrize("limit", [0.0005, 0.001, 0.01, 0.1, 0.4, 0.9])
def test_another_error_limit_moves_the_alternatives(limit):
    """Whatever the plan's limit, every alternative is over it and below 1; at 0.1 % they are the
    design's.
    """
    _, alternatives, weights = error_bets(limit)
    assert all(limit < one < 1 for one in alternatives)
    assert sum(weights) == pytest.approx(1)
    assert (limit != 0.001) or alternatives[0] == 0.002


def test_the_clean_sentence_says_what_is_missing(phase):
    """0 of 460 in four hours: the bound that the certificate inverts to, and the hours and requests
    still missing; it never contradicts what is shown.
    """
    run = phase()
    for _ in range(15):
        run.check(total=29, legacy=261)
    verdict = run.check(total=25, legacy=225)
    assert (
        verdict.sentence
        == "None of 460 requests failed. The true rate is below 0.87 % (95 % sure)."
        " Proving < 0.5 % takes 3.0 h more without an error (347 requests)."
        " Proving < 0.1 % takes 31 h more without an error (3,581 requests)."
    )
    for total in (800, 806, 807, 808):
        words = clean_sentence(replace(stream(verdict), total=total), run.plan, ())
        printed = float(words.split("below ")[1].split(" %")[0])
        assert (printed <= 0.5) is ("Shown: < 0.5 %" in words), words


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(4, 60)), min_size=1, max_size=24))
def test_verdicts_are_consistent_on_any_history(phase, counts):
    """Acts never soften within a phase; an act needs two webhooks; evidence below its lines never
    acts.
    """
    run, reached = phase(), 0
    for errors, total in counts:
        verdict = run.check(errors=errors, total=total, legacy=9 * total)
        rank = list(STATES).index(verdict.state)
        acted = list(STATES).index(State.STEP_BACK)
        assert not reached >= acted or rank >= reached
        reached = max(reached, rank)
        for item in verdict.streams:
            if item.evidence in ACTS:
                assert item.bad >= 2
                assert item.e_peak >= item.act_at
            if item.evidence is State.HOLD:
                assert item.e_now >= HOLD_AT
            assert not math.isnan(item.e_now)


def test_an_unreadable_configuration_is_could_not_look(phase):
    """No readable row: exit 50, nothing is asked for, the percentage is untouched."""
    run = phase()
    measurement = run.measure()
    verdict = judge_slot(
        plan=run.plan,
        config=None,
        standing=run.standing,
        measurement=measurement,
        slot=run.now,
        now=run.now,
    )
    assert (verdict.state, verdict.act) == (State.COULD_NOT_LOOK, Act.NONE)


@pytest.mark.parametrize(("rate", "phases"), [(0.01, 6), (0.05, 4)])
def test_the_benchmark_decides_as_a_check_does(phase, rate, phases):
    """What `make bench` simulates on arrays is, phase by phase, the slot in which judge_slot acts
    on the total.
    """
    from benchmarks import rules
    from benchmarks.operating_characteristics import draw

    bads, totals = draw(rate, phases, 16, 115, seed=7)
    found = rules.evidence(bads, totals)
    for simulated, bad, total in zip(found, bads, totals, strict=True):
        run, acted = phase(), -1
        for slot in range(16):
            verdict = run.check(errors=int(bad[slot]), total=int(total[slot]))
            if stream(verdict).evidence in ACTS:
                acted = slot
                break
        assert acted == simulated


@pytest.mark.parametrize(
    ("leak", "down", "roll_back", "facts", "alone"),
    [
        (True, False, False, "leak", True),
        (False, True, True, "leak", False),
        (True, False, True, "down", False),
        (False, True, False, "down", True),
        (True, None, False, "down", True),  # a plan of before: one switch for both
        (False, None, True, "down", False),
        (False, False, True, "errors", True),
        (True, True, False, "errors", False),
        (False, False, True, "leak errors", True),  # one cause that acts alone is enough
        (False, False, False, "leak down errors", False),
    ],
)
def test_each_cause_of_a_rollback_has_its_own_switch(phase, leak, down, roll_back, facts, alone):
    """A leak, a dead protected endpoint and the evidence act alone as the plan says of each."""
    run = phase()
    acts = run.plan.acts_alone.model_copy(
        update={"protected_leak": leak, "protected_down": down, "roll_back": roll_back}
    )
    run.plan = run.plan.model_copy(update={"acts_alone": acts})
    if "leak" in facts:
        seen = Leak(rows=3, domains=("mobility",), first_at=run.began, last_at=run.began)
        run.more = {"leak": seen}
    measurement = run.measure(errors=4 if "errors" in facts else 0, total=30)
    probes = [
        Probe(kind=kind, name=name, up=up, failures=0 if up else 2, at=run.now, detail="HTTP 502")
        for kind, name, up in (
            ("protected", "mobility", "down" not in facts),
            ("witness", "own", True),
        )
    ]
    verdict = judge_slot(
        plan=run.plan,
        config=run.config(),
        standing=run.standing,
        measurement=measurement,
        slot=run.now,
        now=run.now,
        probes=probes,
    )
    assert verdict.state is State.ROLL_BACK
    assert verdict.acts_alone is alone


def test_the_difference_to_legacy_is_of_the_phase_and_decides_nothing(phase):
    """Unified 3 of 60 against legacy 0 of 540, over both checks; the interval is the engine's."""
    run = phase()
    run.check(errors=1, total=30)
    found, slower = run.check(errors=2, total=30).differences
    assert (slower.metric, slower.unified.total, slower.legacy.total) == ("latency", 60, 540)
    assert (found.unified.bad, found.unified.total) == (3, 60)
    assert (found.legacy.bad, found.legacy.total) == (0, 540)
    assert (found.low, found.high) == difference_interval(3, 60, 0, 540)
    assert found.low < 0.05 < found.high
    assert phase().check(total=30, legacy=0).differences == ()


def test_one_webhook_once_and_another_hours_later_are_no_act(phase):
    """The first of all requests fails: its evidence alone is over 20, and one webhook never acts.
    A thousand good requests later a second one fails: by then the evidence is gone, and none of
    both looks had evidence and two webhooks at once.
    """
    run = phase()
    first = run.check(errors=1, total=1)
    assert stream(first).e_now >= ACT_AT
    assert first.state is State.WATCH
    for _ in range(12):
        run.check(total=100)
    later = run.check(errors=1, total=100)
    assert stream(later).e_now < HOLD_AT
    assert later.act is Act.NONE
    assert stream(later).evidence is State.WATCH
