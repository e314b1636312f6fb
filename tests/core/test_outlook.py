"""A plan before its day: what its phases will see is what the engine then does, and what is unwise
is said by its path.
"""

from __future__ import annotations

import json
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
import yaml

from rollout_lib.cli.app import run
from rollout_lib.display.ahead import outlook_chart
from rollout_lib.judgement.advice import advice
from rollout_lib.judgement.outlook import SURE, even_hours, outlooks, suggestions
from rollout_lib.judgement.streams import judge_streams
from rollout_lib.model import TOTAL, CheckKind, Counts, Look, State, Window
from rollout_lib.plan import load_plan

PLAN = Path("parameters/week6.rehearsal.yaml")
TIMES = 300  # phases through the whole engine: ± 5 points at 80 %, twice the standard error


def changed(plan, index=0, **values):
    """The plan with one phase changed."""
    phases = list(plan.phases)
    phases[index] = phases[index].model_copy(update=values)
    return plan.model_copy(update={"phases": tuple(phases)})


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Writes a plan like the rehearsal's, changed; no variable leads to a database."""
    monkeypatch.delenv("ROLLOUT_REHEARSAL_URL", raising=False)

    def file(**values) -> str:
        content = yaml.safe_load(PLAN.read_text(encoding="utf-8")) | values
        path = tmp_path / "plan.yaml"
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        return str(path)

    return file


def acted(plan, percentage: Decimal, checks: int, rate: float, draw) -> bool:
    """One phase, request by request, judged by the engine that judges the day."""
    began, hours = plan.begins(0), plan.monitoring.interval.total_seconds() / 3600
    nothing, looks = Counts(bad=0, total=0), []
    for number in range(checks):
        errors = {}
        for name in plan.domains:
            mean = float(percentage) / 100 * plan.expected_requests_per_hour[name] * hours
            total = int(draw.poisson(mean))
            errors[name] = Counts(bad=int(draw.binomial(total, rate)), total=total)
        errors[TOTAL] = Counts(
            bad=sum(one.bad for one in errors.values()),
            total=sum(one.total for one in errors.values()),
        )
        start = began + number * plan.monitoring.interval
        looks.append(
            Look(
                slot=start + plan.monitoring.interval,
                window=Window(start=start, end=start + plan.monitoring.interval),
                errors=errors,
                latency=dict.fromkeys((*plan.domains, TOTAL), nothing),
                router=nothing,
                legacy=nothing,
                unified_settled=0,
                legacy_settled=0,
                closed=True,
            )
        )
    kinds = (CheckKind.ERRORS, CheckKind.LATENCY, CheckKind.ROUTER)
    literal = {(kind, name): State.CLEAN for kind in kinds for name in (*plan.domains, TOTAL)}
    streams = judge_streams(looks, literal, plan)
    return any(one.evidence in (State.STEP_BACK, State.ROLL_BACK) for one in streams)


def test_a_suggested_hold_finds_the_rate_as_often_as_the_engine_does():
    """The shortest suggestion for a percentage, simulated again with other numbers: nine of ten;
    two checks less are too few.
    """
    plan, draw = load_plan(PLAN), np.random.default_rng(7)
    found = suggestions(plan, even_hours(plan), 0.02, timedelta(hours=4))
    assert [one.hold for one in found] == sorted(one.hold for one in found)
    one = next(one for one in found if one.percentage == 25)
    checks = int(one.hold / plan.monitoring.interval)
    share = np.mean([acted(plan, one.percentage, checks, 0.02, draw) for _ in range(TIMES)])
    assert share == pytest.approx(one.acts, abs=0.06)
    assert one.acts >= SURE
    fewer = np.mean([acted(plan, one.percentage, checks - 2, 0.02, draw) for _ in range(TIMES)])
    assert fewer < SURE


def test_more_traffic_and_higher_rates_are_found_sooner():
    """Along the phases of the plan and along the rates, never the other way."""
    plan = load_plan(PLAN)
    seen = outlooks(plan, even_hours(plan))
    for one in seen:
        acts = [sight.acts for sight in one.sights]
        assert acts == sorted(acts)
        assert one.false_act <= one.wakes < 0.2
    assert [one.shows for one in seen] == sorted((one.shows for one in seen), reverse=True)
    assert seen[0].requests == pytest.approx(460)


def test_a_phase_of_weeks_is_no_more_certain_than_what_was_simulated():
    """Its first week is simulated; what never acted there has not acted, and requests are of all."""
    plan = changed(load_plan(PLAN), 3, hold=timedelta(days=60))
    long = outlooks(plan, even_hours(plan))[3]
    assert long.checks == 60 * 96
    assert long.requests == pytest.approx(0.5 * 1150 * 24 * 60)
    assert long.false_act < 0.2


def test_a_limit_over_every_rate_has_nothing_to_find():
    """Said, and no chart of nothing."""
    plan = load_plan(PLAN)
    wide = {"error_rate_investigate_pct": Decimal(10), "error_rate_rollback_pct": Decimal(20)}
    plan = plan.model_copy(update={"thresholds": plan.thresholds.model_copy(update=wide)})
    seen = outlooks(plan, even_hours(plan))
    assert seen[0].sights == ()
    assert "limit is over each" in outlook_chart(seen).finding
    assert advice(plan, seen) == ()


def test_a_phase_at_night_sees_the_traffic_of_the_night():
    """The log's hours are the phase's own, by the plan's zone."""
    plan = changed(load_plan(PLAN), 0, start=time(1, 0))
    hours = dict.fromkeys(plan.domains, (0.0,) * 8 + (100.0,) * 16)
    night, day, *_ = outlooks(plan, hours)
    assert (night.requests, night.shows, [one.acts for one in night.sights]) == (0, None, [0.0] * 4)
    assert day.requests == pytest.approx(300)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"hold": timedelta(minutes=15)}, "phases[0].hold: 1 checks expect 29 requests"),
        ({"day": date(2026, 3, 29), "start": time(2, 30)}, "the clocks skip 02:30"),
        ({"day": date(2025, 10, 26), "start": time(2, 30)}, "02:30 comes twice"),
        ({"start": time(3, 0)}, "needs somebody who is awake"),
        ({"percentage": Decimal(5)}, "5 % to 25 % in one step is 5.0 times"),
    ],
    ids=["short", "skipped", "twice", "night", "steep"],
)
def test_what_is_legal_and_unwise_is_said(values, said):
    """By its path, with the arithmetic."""
    plan = changed(load_plan(PLAN), **values)
    words = advice(plan, outlooks(plan, even_hours(plan)))
    assert any(said in one for one in words), words


def test_the_runbooks_plan_is_not_unwise(file, capsys):
    """Exit 0, and said."""
    assert run(["plan", "check", file()]) == 0
    assert "Nothing in it is unwise." in capsys.readouterr().out


def test_a_plan_that_cannot_be_used_is_refused_with_every_problem(file, capsys):
    """Exit 2; the same words as any other command has."""
    broken = file(mode="lenient", domains=["jobs", "jobs"])
    for verb in ("check", "explain"):
        assert run(["plan", verb, broken]) == 2
        said = capsys.readouterr().err
        assert "mode:" in said
        assert "domains:" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("0.1%", "4h"), "not over the plan's limit"),
        (("0.2 %", "1h"), "No percentage up to 100 % finds 0.2 % within 1 h"),
        (("often", "4h"), "--detect: must be a rate in percent"),
        (("nan", "4h"), "--detect: must be a rate in percent"),
        (("1", "soon"), "--within: must be a duration"),
        (("1", "5m"), "No percentage up to 100 %"),
    ],
)
def test_a_rate_that_no_phase_can_reach_is_one_sentence(file, capsys, options, said):
    """Exit 2, nothing on stdout."""
    detect, within = options
    assert run(["plan", "suggest", file(), "--detect", detect, "--within", within]) == 2
    told = capsys.readouterr()
    assert said in told.err
    assert told.out == ""


def test_suggestions_and_outlooks_are_given_as_json_too(file, capsys):
    """The same figures for a program."""
    path = file()
    assert run(["plan", "suggest", path, "--detect", "1%", "--within", "4h", "--json"]) == 0
    first, *_ = json.loads(capsys.readouterr().out)["suggestions"]
    assert (first["percentage"], first["hold_s"]) == ("100", 3600)
    assert run(["plan", "explain", path, "--json"]) == 0
    phases = json.loads(capsys.readouterr().out)["phases"]
    assert [one["percentage"] for one in phases] == ["10", "25", "35", "50"]
    assert phases[0]["found"][-1]["acts"] == 1.0
