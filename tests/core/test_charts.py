"""Charts from checkpoints: what their captions say, and what their drawings must never
do.
"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta

import pytest

from rollout_lib.display import charts
from rollout_lib.display import history as past
from rollout_lib.display.drawing import frame
from rollout_lib.display.ribbon import _runs
from rollout_lib.model.record import to_json

ALL = [
    charts.error_rate,
    charts.interval,
    charts.p95,
    charts.p95_by_domain,
    charts.split,
    charts.requests,
    charts.evidence,
    charts.timeline,
    charts.uptime,
]


def test_captions_of_a_clean_phase_state_what_was_not_seen(day):
    """No error is said as what it still allows, with its counts, in the rollout's own time."""
    day.change(10)
    for _ in range(4):
        day.check()
    said = [repr(chart(day.history, day.plan)) for chart in ALL]
    assert said[0] == "No unified request failed in the window of any of the 4 checks."
    assert said[1].startswith(
        "0 of 116 requests of the phase to 10:00 failed: the true rate is below"
    )
    assert said[2] == "p95 stayed under 2,000 ms in all 4 checks; highest 851 ms at 09:15."
    assert said[3] == "Jobs was slowest on unified: p95 861 ms at 09:15."
    assert (
        said[4]
        == "Unified's share was within 2 points of the configured one in all 4 checks; last 10.0 %"
        " (configured 10 %)."
    )
    assert said[5] == "116 unified requests in 4 looks: 29 to 29 a look, 115 expected in all."
    assert said[6].startswith("Highest evidence on errors of all domains: < 1, at ")
    assert said[7] == "Routing is at 10 % since 09:00; 4 checks, none missed."
    assert said[8].startswith("Protected uptime was not measured")


def test_captions_of_a_failing_phase_name_the_moment(day):
    """The highest rate with its counts, and the look at which the evidence reached its line."""
    day.change(10)
    day.check()
    day.check(3)
    assert (
        repr(charts.error_rate(day.history, day.plan))
        == "The error rate of the window was over 0.5 % in 1 of 2 checks; highest 10.3 % · 3/29 at"
        " 09:30; 3 failing webhooks in all."
    )
    assert re.match(
        r"Evidence on errors of \w+ reached \d+ at 09:30: \d+, of 3 failing webhooks.",
        repr(charts.evidence(day.history, day.plan)),
    )


def test_a_single_webhook_over_the_line_is_not_called_an_act(day):
    """Forty retries are one webhook, and one webhook never acts, whatever its e-value."""
    day.change(10)
    for _ in range(3):
        day.check()
    last = day.history[-1]
    over = [replace(stream, e_now=stream.act_at + 1, bad=1) for stream in last.verdict.streams]
    day.history[-1] = replace(last, verdict=replace(last.verdict, streams=tuple(over)))
    assert "A single webhook never acts." in repr(charts.evidence(day.history, day.plan))


def test_a_missed_check_is_a_mark_and_never_joined(day):
    """Two slots without a check: two crosses with their number, and two separate
    stretches of line.
    """
    day.change(10)
    day.check()
    day.check()
    day.check(wait=timedelta(minutes=45))
    day.check()
    gaps = past.missing(day.history, day.plan)
    assert [past.clock(gap, day.plan) for gap in gaps] == ["09:45", "10:00"]
    assert [row["part"] for row in past.totals(day.history, gaps)] == [0, 0, 1, 1]
    svg = charts.p95(day.history, day.plan).svg
    assert svg.count("✕") == 2
    assert "2 missed" in svg
    assert repr(charts.timeline(day.history, day.plan)).endswith("4 checks, 2 missed.")


def test_a_check_that_is_missed_at_the_end_is_within_the_chart(day):
    """The last look is an evaluation, after slots that nobody checked: their crosses are left of
    its right end.
    """
    day.change(10)
    day.check()
    day.now += timedelta(minutes=50)
    day.evaluate()
    gaps = past.missing(day.history, day.plan)
    assert [past.clock(gap, day.plan) for gap in gaps] == [
        "09:30",
        "09:45",
    ], "the slot of 10:00 is open"
    shared = frame(day.history, day.plan)
    assert shared.start < max(past.wall(gap, day.plan) for gap in gaps) <= shared.end


def test_checks_while_routing_is_off_are_within_the_timeline(day):
    """Hours of OFF after a rollback are boxes of the chart, and do not push it over the page."""
    day.change(10)
    day.check()
    day.change(0)
    for _ in range(30):
        day.check()
    svg = charts.timeline(day.history, day.plan).svg
    (width,) = re.findall(r'<svg[^>]* width="(\d+)"', svg)
    assert int(width) < 800


def test_an_extra_check_is_a_point_beside_the_line_of_evidence(day):
    """What a person looked at between two slots is part of the next look: hollow, named, and joined
    to nothing.
    """
    day.change(10)
    day.check()
    day.check()
    scheduled = charts.evidence(day.history, day.plan).svg
    last = day.history[-1]
    later = last.at + timedelta(minutes=5)
    extra = replace(last, kind="extra", look=None, slot=None, at=later)
    drawn = charts.evidence([*day.history, extra], day.plan).svg
    assert "extra check" not in scheduled
    assert drawn.count("extra check") == 1
    assert lines(drawn) == lines(scheduled) == 1


def lines(svg: str) -> int:
    """Vertices of the drawn line of unified: one step between two looks."""
    (path,) = re.findall(r'mark-line[^>]*>\s*<path[^>]*? d="([^"]+)"', svg)
    return path.count("L")


def test_no_check_is_missed_while_routing_is_off(day):
    """Slots are owed from a change on until routing is off; a night at 0 % is no gap."""
    day.change(10)
    day.check()
    day.change(0)
    day.now += timedelta(hours=12)
    day.change(10)
    day.check()
    assert past.missing(day.history, day.plan) == []
    assert [row["part"] for row in past.totals(day.history, [])] == [0, 1]


def test_a_run_of_equal_verdicts_ends_at_a_gap(day):
    """Boxes of the ribbon never cover a check that was not made."""
    day.change(10)
    day.check()
    day.check(wait=timedelta(minutes=30))
    cells = [
        {"at": run.at, "row": "verdict", "sign": "✓", "word": "CLEAN", "colour": "#000"}
        for run, _ in past.monitors(day.history)
    ]
    runs = _runs(cells, frame(day.history, day.plan), 900_000)
    assert [run["n"] for run in runs] == [1, 1]
    assert runs[1]["x0"] > runs[0]["x"]


@pytest.mark.parametrize("chart", ALL, ids=lambda chart: chart.__name__)
def test_every_chart_of_a_whole_day_is_small_and_needs_no_network(day, chart):
    """33 checks over two phases, an error and a gap: at most 26 kB, no script, no image, no
    reference outside.
    """
    day.change(10)
    for number in range(16):
        day.check(1 if number == 5 else 0, wait=timedelta(minutes=30 if number == 9 else 15))
    day.change(25)
    for _ in range(17):
        day.check()
    picture = chart(day.history, day.plan)
    assert len(picture.svg) <= 26_000
    outside = re.findall(
        r"(?:href|src)=\"([^#\"][^\"]*)|url\((?!#)[^)]*\)|<script|<image", picture.svg
    )
    assert outside == []
    assert "NaN" not in picture.svg
    assert "null" not in picture.svg


@pytest.mark.parametrize("chart", ALL, ids=lambda chart: chart.__name__)
def test_every_chart_says_so_when_there_is_nothing_to_draw(day, chart):
    """An empty history, and a phase before its first check, are sentences and not errors."""
    assert repr(chart([], day.plan))
    day.change(10)
    assert repr(chart(day.history, day.plan))


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/Los_Angeles"])
def test_axes_do_not_follow_the_machine(day, zone, tmp_path):
    """The same history gives the same drawing whatever the time zone of the
    machine that draws it.
    """
    day.change(10)
    for _ in range(8):
        day.check()
    file = tmp_path / "runs.jsonl"
    file.write_text("\n".join(map(to_json, day.history)), encoding="utf-8")
    program = (
        "import sys;from rollout_lib.display import charts;from rollout_lib.plan import load_plan;"
        "from rollout_lib.model.record import from_json;"
        "print(charts.p95([from_json(line) for line in open(sys.argv[1])],"
        " load_plan('parameters/week6.rehearsal.yaml')).svg)"
    )
    elsewhere = subprocess.run(
        [sys.executable, "-c", program, str(file)],
        env={"TZ": zone, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert ">09:00<" in elsewhere
    assert re.findall(r">\d\d:\d\d<", elsewhere) == re.findall(
        r">\d\d:\d\d<", charts.p95(day.history, day.plan).svg
    )


def test_checks_while_routing_is_off_are_told_apart(day):
    """So that the caption and the table of phases say the same number of a phase."""
    day.change(10)
    day.check()
    day.check(12)
    day.change(0)
    day.check()
    said = repr(charts.timeline(day.history, day.plan))
    assert "1 of them while off" in said, said
