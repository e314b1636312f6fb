"""Days 3 to 5 and the nights between, every check a notebook."""

from __future__ import annotations

import pytest

from rollout_lib.plan import load_plan
from rollout_lib.rehearsal.conductor import rehearse


@pytest.mark.slow
def test_a_healthy_week_reaches_50_percent_and_every_quarter_of_an_hour_was_looked_at(
    server, tmp_path, monkeypatch
):
    """10, 25, 35 and 50 %, each evaluated before the next morning's raise; no slot missing, day or
    night.
    """
    monkeypatch.setenv(load_plan("parameters/week6.rehearsal.yaml").database.variable, server)
    week = rehearse("healthy", week=True, outputs=tmp_path)
    assert week.ok, week.problems
    assert [float(phase.percentage) for phase in week.summary.phases] == [10, 25, 35, 50]
    assert {phase.evaluation.value for phase in week.summary.phases} == {"PASS"}
    assert week.summary.gaps == ()
    assert [day.routing for day in week.summary.days] == [
        "off → 10 % → 25 %",
        "25 % → 35 %",
        "35 % → 50 %",
        "50 %",
    ]
    assert all(day.checks == day.expected for day in week.summary.days)
    assert week.summary.refused == ()
    assert len(list(tmp_path.rglob("*_40_report_*.ipynb"))) == 4  # one each evening, and the week's
    assert "50 % since Fri 05 Dec 09:00 CET" in dict(week.summary.handover)["routing"]
    assert week.report is not None
    assert "Hand-over" in week.report.read_text(encoding="utf-8")


@pytest.mark.slow
def test_what_breaks_at_two_in_the_night_is_rolled_back_before_the_morning(
    server, tmp_path, monkeypatch
):
    """The slots go on without anybody: off by three; the morning's raise is refused, the report
    says what to do.
    """
    monkeypatch.setenv(load_plan("parameters/week6.rehearsal.yaml").database.variable, server)
    week = rehearse("night", week=True, outputs=tmp_path)
    assert week.ok, week.problems
    handed_over = dict(week.summary.handover)
    assert handed_over["routing"].startswith("off")
    assert "acknowledge --restart" in handed_over["next step"]
    assert week.summary.refused
