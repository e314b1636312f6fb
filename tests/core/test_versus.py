"""Unified beside legacy, as people see it: the same tile in notebook, control room and report."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from rollout_lib.control_room import paint
from rollout_lib.display.page import answer, checkpoint_card
from rollout_lib.display.versus import difference_tiles, difference_words
from rollout_lib.evidence import difference_interval
from rollout_lib.judgement.chances import acted_on, bound, chance_lines
from rollout_lib.judgement.streams import differences
from rollout_lib.judgement.summary import summarise
from rollout_lib.model import Counts, Difference
from rollout_lib.notebook import against_legacy, chances
from rollout_lib.operations.record import Recorded
from rollout_lib.operations.report import Report


def difference(unified: tuple[int, int], legacy: tuple[int, int], metric: str = "errors"):
    low, high = difference_interval(*unified, *legacy)
    return Difference(
        metric=metric,
        unified=Counts(bad=unified[0], total=unified[1]),
        legacy=Counts(bad=legacy[0], total=legacy[1]),
        low=low,
        high=high,
    )


def drawn(html: str) -> dict[str, float]:
    """Where the bar begins and ends, the zero line and the dot."""
    (left, width), (zero,), (dot,) = (
        [float(found) for found in re.search(pattern, html).groups()]
        for pattern in (
            r'<rect x="([\d.]+)" y="\d+" width="([\d.]+)"',
            r'<line x1="([\d.]+)"',
            r'<circle cx="([\d.]+)"',
        )
    )
    return {"low": left, "high": left + width, "zero": zero, "seen": dot}


@pytest.mark.parametrize(
    ("unified", "legacy", "words"),
    [
        ((3, 115), (1, 1035), "+2.5 points, between −0.2 and +10.8 (95 % sure). No difference is"),
        ((0, 115), (0, 1035), "0.0 points, between −0.5 and +4.4 (95 % sure). No difference is"),
        ((50, 115), (0, 1035), "+43.5 points, between +14.8 and +75.7 (95 % sure). Unified has m"),
        ((0, 1035), (50, 115), "−43.5 points, between −75.7 and −14.8 (95 % sure). Unified has f"),
        ((500, 10**6), (3600, 9 * 10**6), "+0.010 points, between −0.002 and +0.023 (95 % sure)"),
    ],
)
def test_the_difference_is_said_in_points_rounded_outwards(unified, legacy, words):
    """Figures, both ends and what they come to; a printed end is never inside the exact one."""
    said = difference_words(difference(unified, legacy))
    assert said.startswith(f"Unified minus legacy in errors: {words}")


def test_a_bar_lies_where_its_words_say():
    """Zero in the middle; all of a worse unified right of it, all of a better left, the dot on the
    bar.
    """
    for unified, legacy, side in (
        ((50, 115), (0, 1035), 1),
        ((0, 1035), (50, 115), -1),
        ((3, 115), (1, 1035), 0),
        ((0, 10**6), (0, 10**6), 0),
        ((1, 1), (0, 1), 0),
    ):
        at = drawn(str(difference_tiles([difference(unified, legacy)])))
        assert at["zero"] == 120
        assert 0 <= at["low"] <= at["seen"] <= at["high"] <= 240
        found = (at["low"] > at["zero"]) - (at["high"] < at["zero"])
        assert found == side


def test_a_tile_is_escaped_and_has_no_script():
    """The name of a metric is text; nothing in the tile runs."""
    html = str(difference_tiles([difference((1, 9), (0, 9), metric="<img onerror=x>")]))
    assert "<img" not in html
    assert "&lt;img" in html
    assert "<script" not in html
    assert not difference_tiles(())


def test_notebook_room_and_report_show_the_same_tile(day):
    """The card, the room's answer and the report's page have the verdict's difference, both rates
    beside it, and say that it decides nothing.
    """
    day.change(10)
    day.check(errors=1)
    run = day.check()
    found = run.verdict.differences[0]
    words, rates = difference_words(found), f"unified {100 / 58:.1f} % · 1/58"
    summary = summarise(day.entries, day.plan, day.now)
    recorded = Recorded(checkpoint=run, text="", head=None)
    shown = (
        checkpoint_card(run, None),
        answer(run.state, run.sentence, run.verdict),
        against_legacy(Report(run=recorded, summary=summary)).html,
    )
    assert all(words in html and rates in html for html in shown)
    assert all("It decides nothing." in html for html in shown)
    assert paint.answer is answer  # the room paints its verdict with it
    assert summary.phases[0].differences == run.verdict.differences


def test_without_both_nothing_is_compared_and_that_is_said(day):
    """A rollout that never began has no tile, and a sentence in its place."""
    run = day.change(0)
    recorded = Recorded(checkpoint=run, text="", head=None)
    summary = summarise(day.entries, day.plan, day.now)
    assert "were not compared" in against_legacy(Report(run=recorded, summary=summary)).text


def test_counts_that_cannot_be_cost_the_figure_and_not_the_verdict(phase):
    """Three failing of two requests on legacy's side: no tile, and no error."""
    run = phase()
    run.check(errors=1, total=30)
    (look,) = run.standing.looks
    assert differences([look])
    for wrong in (Counts(bad=3, total=2), Counts(bad=-1, total=2)):
        (left,) = differences([replace(look, legacy=wrong)])
        assert left.metric == "latency"


def test_the_chance_of_a_false_act_is_said_for_phase_and_rollout(phase):
    """The plan's own phases and their product, the design's figures with their source, and the
    bound that 1 in 20 is; no more than the bound is ever simulated.
    """
    plan = phase().plan
    shares = [acted_on(plan, one, 0.0005) for one in plan.phases]
    at_limit = [acted_on(plan, one, 0.001) for one in plan.phases]
    own, design, most = chance_lines(plan)
    for share, phase_ in zip(shares, plan.phases, strict=True):
        assert f"{100 * share:.1f} % at {phase_.percentage:g} %" in own
    kept = 1.0
    for share in shares:
        kept *= 1 - share
    assert f"in {100 * (1 - kept):.1f} % of whole rollouts" in own
    assert "at most 2.4 %" in design
    assert "about 16 %" in design
    assert "docs/judgement.md" in design
    assert most.startswith("1 in 20 is the bound of one bet over its first 16 checks")
    assert "over the 96 checks of 50 % it is 18 %" in most
    assert all(share <= limit for share, limit in zip(shares, at_limit, strict=True))
    assert max(at_limit) <= 2 * bound(96)  # the total's line, and a third of it for each domain
    assert acted_on(plan, plan.phases[0], 0.05) == 1.0


def test_the_bound_of_one_bet_is_one_in_twenty_for_sixteen_checks_and_then_grows():
    """1/2 + 15/30 is the whole stake; each later check adds a thirtieth of a twentieth."""
    assert [bound(checks) for checks in (1, 16)] == pytest.approx([0.05, 0.05])
    assert bound(17) == pytest.approx((1 / 2 + 16 / 30) / 20)
    assert bound(96) == pytest.approx(0.1833, abs=1e-4)
    assert bound(10_000) == 1.0


def test_the_reports_chances_are_those_that_were_recorded(day):
    """A line a sentence, escaped."""
    run = replace(day.change(10), evidence={"chances": ["1 in 20 <b>", "second"]})
    shown = chances(Report(run=Recorded(checkpoint=run, text="", head=None), summary=None))
    assert shown.html == "<ul><li>1 in 20 &lt;b&gt;</li><li>second</li></ul>"
