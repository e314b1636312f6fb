"""The end of a phase: what passes, what is inconclusive, what an acknowledgement covers; and the
beginning.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from rollout_lib.judgement.baseline import judge_baseline, power_line, undecided, undecided_line
from rollout_lib.judgement.figures import percentile
from rollout_lib.judgement.findings import (
    extension,
    findings_of,
    more_for_errors,
    more_for_latency,
    more_for_split,
    uncovered,
    written,
)
from rollout_lib.judgement.literal import error_state
from rollout_lib.model import (
    LEGACY,
    Act,
    Cell,
    Check,
    CheckKind,
    Counts,
    Finding,
    FindingKind,
    Outcome,
    State,
    Statement,
    Traffic,
    Window,
)


def whole(phase, errors=(), **facts):
    """A phase of sixteen checks with 460 requests; errors: the slots (from 0) in which one webhook
    fails.
    """
    run = phase(**facts)
    share = float(run.percentage) / 10
    for slot in range(16):
        run.check(errors=int(slot in errors), total=round(29 * share))
    return run


def named(verdict, name):
    return next(check for check in verdict.checks if check.name.startswith(name))


def test_a_clean_phase_passes_and_is_not_called_proven(phase):
    """0 of 464: PASS, with the rate that the data cannot exclude in the sentence."""
    verdict = whole(phase).end()
    assert verdict.state is State.PASS
    assert "the true rate is below 0.87 % (95 % sure" in verdict.sentence
    assert "proven" not in verdict.sentence.lower()
    assert {check.name for check in verdict.checks} >= {
        "error rate < 0.1 %",
        "p95 < 2,000 ms",
        "~10 % of traffic to unified",
        "no customer impact",
        "protected webhooks 100 % up",
        "no degradation",
        "every slot checked",
        "hold time served",
    }


def test_what_nobody_probed_is_called_not_probed_and_never_100_percent(phase):
    """Without a probe, what was observed is counts of the webhook's own rows, and no uptime."""
    verdict = whole(phase).end()
    found = [
        check for check in verdict.checks if check.kind in (CheckKind.UPTIME, CheckKind.PROTECTED)
    ]
    assert len(found) == 4
    for check in found:
        assert check.observed.startswith("not probed")
        assert "%" not in check.observed


def test_one_error_is_inconclusive_until_a_named_person_says_so(phase):
    """1 of 464 fails the literal test without evidence; acknowledged it passes, and the sentence
    says why in two.
    """
    run = whole(phase, errors=[4])
    open_one = run.end()
    assert open_one.state is State.INCONCLUSIVE
    assert open_one.act is Act.NONE
    passed = run.end(acknowledged=open_one)
    assert passed.state is State.PASS
    assert passed.sentence.startswith(
        "The phase passes although inconclusive on error rate < 0.1 % (1/464 = 0.22 %)"
    )
    assert passed.sentence.endswith("Rita acknowledged it at 13:00 CET: seen by support.")
    assert "where 20 would act. Rita" in passed.sentence


def test_an_acknowledgement_is_of_what_was_found_and_no_more(phase):
    """One more failing webhook since, another plan, another phase, no name: inconclusive still."""
    one = whole(phase, errors=[4])
    shown = one.end()
    assert whole(phase, errors=[4, 15]).end(acknowledged=shown).state is not State.PASS
    one.end(acknowledged=shown)
    (given,) = one.standing.attestations
    for spoiled in (
        replace(given, plan_digest="other"),
        replace(given, phase_began=one.began - timedelta(days=1)),
        replace(given, by=" "),
        replace(given, reason=""),
        replace(given, subject="override"),
        replace(given, findings=()),  # stated by the first rules, which named nothing
    ):
        one.standing = replace(one.standing, attestations=(spoiled,))
        assert one.end().state is State.INCONCLUSIVE
    one.standing = replace(one.standing, attestations=(given,), evaluation=(one.now, State.PASS))
    assert one.end().state is State.PASS  # evaluated again, with nothing new


def test_what_was_not_shown_is_not_covered(phase):
    """One error acknowledged; two slots missed, a failure logged late or rows gone since make it
    inconclusive again, and the sentence names what nobody put a name to.
    """
    run = whole(phase, errors=[4])
    shown = run.end()
    assert run.end(acknowledged=shown).state is State.PASS
    kept = run.standing
    run.standing = replace(kept, slots_done=(*kept.slots_done[:7], *kept.slots_done[9:]))
    missed = run.end()
    assert missed.state is State.INCONCLUSIVE
    assert missed.sentence.endswith("Rita's acknowledgement was not of: every slot checked.")
    assert run.end(acknowledged=missed).state is State.PASS
    one_more = run.standing.slots_done
    run.standing = replace(run.standing, slots_done=(*one_more[:3], *one_more[4:]))
    assert run.end().state is State.INCONCLUSIVE


@pytest.mark.parametrize(
    ("then", "worse"),
    [
        ({"figures": {"failing": 2}}, True),
        ({"figures": {"failing": 1}}, False),
        ({"figures": {"failing": 0}}, False),
        ({"figures": {"failing": 1, "retries": 4}}, True),  # a figure that nobody was shown
        ({"figures": {"failing": 1}, "subject": "jobs"}, True),
        ({"figures": {"failing": 1}, "kind": FindingKind.LATE_ROWS}, True),
        ({"figures": {"failing": 1}, "members": ("13:00",)}, False),
        ({"figures": {"failing": 1}, "members": ("13:15",)}, True),
        ({"figures": {"failing": math.nan}}, True),
        (None, True),  # an undecided check that names nothing
    ],
)
def test_a_finding_that_got_worse_is_another(then, worse):
    """Same kind and subject, no figure higher, nothing named that was not: else it is not
    covered.
    """
    shown = Finding(
        kind=FindingKind.ERROR_RATE, subject="total", figures={"failing": 1}, members=("13:00",)
    )
    found = None if then is None else replace(shown, **({"members": ()} | then))
    check = Check(
        name="x",
        outcome=Outcome.FAIL,
        observed="",
        limit="",
        reason="",
        state=State.INCONCLUSIVE,
        finding=found,
    )
    assert bool(uncovered([check], [shown])) is worse
    said = {"subject": "acknowledgement", "value": "", "by": "R", "reason": "", "plan_digest": ""}
    read = TypeAdapter(Statement).validate_json(json.dumps(said | {"findings": written([shown])}))
    assert read.findings == (shown,)


def test_an_acknowledgement_never_covers_a_hold_or_an_act(phase):
    """What stands on evidence is mended or begun again, not signed away."""
    run = whole(phase, errors=[4])
    shown = run.end()
    run.standing = replace(run.standing, latched=State.STEP_BACK, latched_reason="errors:total")
    assert run.end(acknowledged=shown).state is State.STEP_BACK
    run.standing = replace(run.standing, latched=None)
    assert run.end(acknowledged=shown).state is State.PASS
    run.standing = replace(run.standing, last_slot=(run.now, State.HOLD, "slow"))
    assert run.end(acknowledged=shown).state is State.HOLD


def test_a_hold_of_the_last_slot_stands_at_the_evaluation(phase):
    """Property is slow in slots 13 to 16 and holds at the last: the evaluation a minute later says
    HOLD, with no row or a few good ones since, and nobody's name opens it.
    """
    run = phase()
    for _ in range(12):
        run.check(total=29)
    last = [run.check(total=29, slow=3, domain="property", slow_ms=3600) for _ in range(4)][-1]
    assert last.state is State.HOLD
    assert (first := run.end()).state is State.HOLD
    assert run.end(acknowledged=first).state is State.HOLD
    run.measure(total=900)  # good rows since, by which the bet is under 5
    good = run.increments.pop()
    verdict = run.end(increment=good)
    assert verdict.state is State.HOLD
    assert "at the last check" in named(verdict, "no hold or act stands").reason


def test_each_point_says_what_would_settle_it(phase):
    """One error in 460 needs 541 requests more, 4.7 h at 115 an hour; each other point its own; all
    of them are in the sentence.
    """
    run = phase()
    for slot in range(16):
        run.check(errors=int(slot == 4), total=29 if slot % 4 else 28)
    verdict = run.end()
    (found,) = findings_of(verdict.checks)
    assert (found.requests, found.seconds) == (541, pytest.approx(541 / 115 * 3600))
    assert "541 more, 4.7 h at 115/h without a failure" in verdict.sentence
    longer = extension([found], run.now, run.now, timedelta(minutes=15))
    assert longer == timedelta(hours=4, minutes=45)
    served = run.now - timedelta(hours=1)  # the hold ended an hour ago: it is longer by that
    assert extension([found], run.now, served, timedelta(minutes=15)) == longer + timedelta(hours=1)
    few = phase()
    for _ in range(16):
        few.check(total=12)
    few.standing = replace(few.standing, slots_done=few.standing.slots_done[1:])
    verdict = few.end()
    assert [item.kind for item in findings_of(verdict.checks)][:2] == [
        FindingKind.TRAFFIC,
        FindingKind.SLOTS,
    ]
    assert all(item.name in verdict.sentence for item in verdict.checks if item.finding)


@pytest.mark.parametrize(
    ("bad", "total", "more"), [(1, 460, 541), (1, 1001, 0), (1, 1000, 1), (2, 460, 1541)]
)
def test_the_requests_that_settle_an_error_rate_are_exact(phase, bad, total, more):
    """One less is still over the limit, so many are under it."""
    limits = phase().plan.thresholds
    assert more_for_errors(bad, total, limits.error_rate_investigate_pct) == more
    assert error_state(bad, total + more, limits) is State.CLEAN
    assert more == 0 or error_state(bad, total + more - 1, limits) is not State.CLEAN


@given(
    st.dictionaries(st.integers(200, 4000), st.integers(1, 40), min_size=1, max_size=8),
    st.integers(0, 500),
    st.integers(0, 500),
)
def test_the_requests_that_settle_a_latency_or_a_share_are_the_fewest(latencies, unified, legacy):
    """With so many more the p95 is under 2000 ms, or the share within two points; with one less it
    is not.
    """
    fast = max((ms for ms in latencies if ms < 2000), default=0)

    def p95(more):
        return percentile({**latencies, fast: latencies.get(fast, 0) + more}, 0.95)

    more = more_for_latency(latencies, 2000)
    assert p95(more) < 2000
    assert more == 0 or p95(more - 1) >= 2000
    rows = more_for_split(unified, legacy, Decimal(10), Decimal(2))
    off = abs(10 * unified - (unified + legacy)) / 10

    def within(more):
        return 100 * off <= 2 * (unified + legacy + more) + 1e-9

    assert within(rows)
    assert rows == 0 or not within(rows - 1)


def test_in_strict_a_literal_failure_holds(phase):
    """mode strict: the runbook decides alone, and nobody's name opens the next phase."""
    run = phase(mode="strict")
    for slot in range(64):
        run.check(errors=int(slot == 0), total=290)
    run.standing = replace(run.standing, latched=None)
    run.more = {}
    assert run.end().state is State.PASS  # 1 of 18,560 is under 0.1 %
    run = phase(mode="strict")
    for slot in range(16):
        run.check(errors=int(slot == 0), total=29)
    run.standing = replace(run.standing, latched=None)
    assert (held := run.end()).state is State.HOLD
    assert findings_of(held.checks) == ()
    assert run.end(acknowledged=held).state is State.HOLD


def test_a_missed_slot_is_seen_and_inconclusive(phase):
    """Its rows joined the next look, so nothing is lost; but nobody looked for a quarter of an
    hour.
    """
    run = whole(phase)
    done = run.standing.slots_done
    run.standing = replace(run.standing, slots_done=(*done[:7], *done[8:]))
    verdict = run.end()
    assert verdict.state is State.INCONCLUSIVE
    assert named(verdict, "every slot checked").observed == "15 of 16"


def test_rows_that_came_late_are_seen_at_the_end(phase):
    """The whole phase measured once more has a failure that no look had: inconclusive, and it says
    so.
    """
    run = whole(phase)
    looks = run.standing.looks
    run.increments[3] = replace(
        run.increments[3],
        cells=tuple(
            (
                replace(cell, errors=1, failing=1)
                if cell.routed_to == "unified" and cell.domain == "jobs"
                else cell
            )
            for cell in run.increments[3].cells
        ),
    )
    assert run.standing.looks == looks
    verdict = run.end()
    assert named(verdict, "late rows").observed == "+0 rows, +1 failing"
    assert verdict.state is State.INCONCLUSIVE


def test_the_hold_must_be_served_and_an_extension_prolongs_it(phase):
    """Before its end, and before the end of an extension, the phase holds."""
    run = phase()
    for _ in range(15):
        run.check(total=29)
    assert run.end().state is State.HOLD
    run = whole(phase)
    run.standing = replace(run.standing, extension_s=3600)
    verdict = run.end()
    assert verdict.state is State.HOLD
    assert "in 1:00:00" in named(verdict, "hold time served").reason


def test_too_little_traffic_shows_nothing(phase):
    """20 requests where 460 are expected: no failure, and inconclusive all the same."""
    run = phase()
    for _ in range(16):
        run.check(total=1, domain="jobs")
    verdict = run.end()
    assert verdict.state is State.INCONCLUSIVE
    assert named(verdict, "enough traffic").limit == ">= 230 requests"


def test_no_degradation_is_judged_against_the_phase_before(phase):
    """25 % failing 2 % after 10 % at none fails the checkpoint; alike it says
    that none was seen.
    """
    before = {"bad": 0, "total": 5000, "percentage": "10", "began_at": "2025-12-02T08:00:00+00:00"}
    run = whole(phase, percentage=Decimal(25))
    run.standing = replace(run.standing, passed_traffic=before)
    assert named(run.end(), "no degradation vs 10 %").outcome is Outcome.PASS
    run = whole(phase, errors=range(0, 16, 2), percentage=Decimal(25))
    run.standing = replace(run.standing, passed_traffic=before, latched=None)
    check = named(run.end(), "no degradation vs 10 %")
    assert (check.outcome, check.state) == (Outcome.FAIL, State.HOLD)


def test_with_routing_off_there_is_nothing_to_pass(phase):
    """OFF is a good answer to a check and none to an evaluation: it holds."""
    run = whole(phase)
    run.enabled = False
    verdict = run.end()
    assert verdict.state is State.HOLD
    assert "no running phase" in verdict.sentence


def test_an_evaluation_without_the_whole_phase_is_a_defect(phase):
    """Nobody may judge a phase on its last hour."""
    with pytest.raises(ValueError, match="not measured"):
        whole(phase).end(phase=None)


def test_complaints_hold_a_phase(phase):
    """Attested as some: no customer impact is not met."""
    run = whole(phase, errors=[4])
    run.end(acknowledged=run.end())
    (given,) = run.standing.attestations
    some = replace(given, subject="complaints", value="some")
    run.standing = replace(run.standing, attestations=(given, some))
    assert run.end().state is State.HOLD


def legacy(
    errors: int = 0,
    total: int = 27600,
    slow: int = 0,
    router: int = 0,
    domains=("jobs", "marketplace", "property"),
):
    """Legacy's last 24 hours, evenly over the domains (failures and slow requests in the first)."""
    end = datetime(2025, 12, 3, 8, tzinfo=UTC)
    each = total // len(domains)
    cells = tuple(
        Cell(
            domain=name,
            routed_to=LEGACY,
            requests=each,
            errors=bad,
            failing=bad,
            slow=late,
            slow_failing=0,
            latencies={700: each - late, 2600: late},
        )
        for name, bad, late in zip(domains, (errors, 0, 0), (slow, 0, 0), strict=False)
    )
    window = Window(start=end - timedelta(hours=24), end=end)
    return {
        "legacy": Traffic(window=window, cells=cells),
        "router": Counts(bad=router, total=total + router),
    }


@pytest.mark.parametrize(
    ("facts", "name", "outcome"),
    [
        ({}, "legacy error rate", Outcome.PASS),
        ({"errors": 30}, "legacy error rate", Outcome.WARN),  # 0.11 %: a literal breach alone
        ({"errors": 80}, "legacy error rate", Outcome.FAIL),
        ({"slow": 1000}, "legacy p95", Outcome.PASS),
        (
            {"slow": 1400},
            "legacy p95",
            Outcome.WARN,
        ),  # 5.1 % over two seconds, the bound still below
        ({"slow": 2500}, "legacy p95", Outcome.FAIL),
        ({"router": 27}, "router errors at 0 %", Outcome.PASS),
        ({"router": 60}, "router errors at 0 %", Outcome.FAIL),
        ({"domains": ("jobs", "property")}, "every domain", Outcome.FAIL),
    ],
)
def test_legacy_must_be_able_to_meet_the_thresholds(phase, facts, name, outcome):
    """Evidence fails, a literal breach alone warns, router errors and a silent domain fail."""
    checks = judge_baseline(plan=phase().plan, **legacy(**facts))
    assert next(check for check in checks if check.name.startswith(name)).outcome is outcome


def test_without_legacy_nothing_is_compared(phase):
    """No row in 24 hours is could not look, never a pass."""
    (check,) = judge_baseline(plan=phase().plan, **legacy(total=0))
    assert check.state is State.COULD_NOT_LOOK


def test_the_power_line_is_the_designs(phase):
    """10 % for 4 hours sees 1.1 % and cannot tell 0.3 % from 0.1 %."""
    plan = phase().plan
    line = power_line(plan, plan.phases[0])
    assert "sees error rates of 1.1 % and more with 80 % probability" in line
    assert line.endswith("it cannot tell 0.3 % from 0.1 %.")


def test_how_many_healthy_phases_end_undecided_is_said_with_the_plans_figures(phase):
    """A fifth of 10 % phases at half of the limit; the sum of Poisson terms agrees with a draw."""
    plan = phase().plan
    first, second = (undecided(plan, one) for one in plan.phases[:2])
    assert first == pytest.approx(1 - math.exp(-0.23), abs=1e-6)
    assert second == pytest.approx(1 - math.exp(-0.575) * 1.575, abs=1e-6)
    line = undecided_line(plan)
    assert line.startswith("A healthy service (0.05 % errors) ends a phase undecided")
    assert "21 % at 10 %" in line


def test_an_evaluation_before_any_check_is_a_verdict_and_no_pass(phase):
    """Rows of both destinations, and no slot judged yet: it holds, and says which slots are
    missing.
    """
    running = phase()
    running.measure()
    verdict = running.end()
    assert verdict.state is not State.PASS
    assert any(check.name == "split" for check in verdict.checks)
