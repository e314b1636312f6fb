"""The end of a phase: what passes, what is inconclusive, what an acknowledgement covers; and the
beginning.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from rollout_lib.judgement.baseline import judge_baseline, power_line
from rollout_lib.model import LEGACY, Act, Cell, Counts, Outcome, State, Traffic, Window


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
    assert "compatible with any error rate up to 0.89 %" in verdict.sentence
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


def test_one_error_is_inconclusive_until_a_named_person_says_so(phase):
    """1 of 464 fails the literal test without evidence; acknowledged it passes, and the sentence
    says why in two.
    """
    run = whole(phase, errors=[4])
    open_one = run.end()
    assert open_one.state is State.INCONCLUSIVE
    assert open_one.act is Act.NONE
    passed = run.end(acknowledged_of=1)
    assert passed.state is State.PASS
    assert passed.sentence.startswith(
        "The phase passes although inconclusive on error rate < 0.1 % (1/464 = 0.22 %"
    )
    assert passed.sentence.endswith("Rita acknowledged it at 13:00 CET: seen by support.")
    assert "where 20 would act. Rita" in passed.sentence


def test_an_acknowledgement_is_of_what_was_found_and_no_more(phase):
    """One more failing webhook since, another plan, another phase, no name: inconclusive still."""
    run = whole(phase, errors=[4, 15])
    assert run.end(acknowledged_of=1).state is not State.PASS
    run = whole(phase, errors=[4])
    run.end(acknowledged_of=1)
    (given,) = run.standing.attestations
    for spoiled in (
        replace(given, plan_digest="other"),
        replace(given, phase_began=run.began - timedelta(days=1)),
        replace(given, by=" "),
        replace(given, reason=""),
        replace(given, at=run.now - timedelta(seconds=1)),  # before the evaluation that it is of
        replace(given, subject="override"),
    ):
        run.standing = replace(run.standing, attestations=(spoiled,))
        assert run.end().state is State.INCONCLUSIVE
    run.standing = replace(run.standing, attestations=(given,), evaluation=(run.now, State.PASS))
    assert run.end().state is State.INCONCLUSIVE


def test_an_acknowledgement_never_covers_a_hold_or_an_act(phase):
    """What stands on evidence is mended or begun again, not signed away."""
    run = whole(phase, errors=[4])
    run.standing = replace(run.standing, latched=State.STEP_BACK, latched_reason="errors:total")
    assert run.end(acknowledged_of=1).state is State.STEP_BACK


def test_in_strict_a_literal_failure_holds(phase):
    """mode strict: the runbook decides alone, and nobody's name opens the next phase."""
    run = phase(mode="strict")
    for slot in range(64):
        run.check(errors=int(slot == 0), total=290)
    run.standing = replace(run.standing, latched=None)
    run.more = {}
    verdict = run.end(acknowledged_of=1)
    assert verdict.state is State.PASS  # 1 of 18,560 is under 0.1 %
    run = phase(mode="strict")
    for slot in range(16):
        run.check(errors=int(slot == 0), total=29)
    run.standing = replace(run.standing, latched=None)
    assert run.end(acknowledged_of=1).state is State.HOLD


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
    assert named(verdict, "late rows").observed == "+0 requests, +1 failing"
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
    run.end(acknowledged_of=1)
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


def test_an_evaluation_before_any_check_is_a_verdict_and_no_pass(phase):
    """Rows of both destinations, and no slot judged yet: it holds, and says which slots are
    missing.
    """
    running = phase()
    running.measure()
    verdict = running.end()
    assert verdict.state is not State.PASS
    assert any(check.name == "split" for check in verdict.checks)
