"""The formulas against independent arithmetic."""

from __future__ import annotations

import math

import pytest

from rollout_lib import evidence as ev

BETS = (0.001, ev.ERROR_ALTERNATIVES, ev.ERROR_WEIGHTS)


def test_the_spot_values_of_the_design_are_reached():
    """Sample sizes, bounds and ranks agree with the figures that the decision layer was designed by."""
    assert ev.required_total(0, 0.001) == 2995
    assert ev.required_total_anytime(0, 0.001) == 4041
    assert (ev.required_total(0, 0.005), ev.required_total_anytime(0, 0.005)) == (598, 807)
    assert ev.upper_bound(0, 460) == pytest.approx(0.006491, abs=5e-7)
    assert ev.rate_interval(0, 460)[1] == pytest.approx(0.009001, abs=5e-7)
    assert ev.quantile_ranks(115) == (101, 115)
    assert ev.quantile_ranks(60)[1] is None
    assert next(n for n in range(1, 200) if ev.quantile_ranks(n)[1] is not None) == 93


def test_evidence_is_a_fair_bet_at_the_limit():
    """At the boundary the expectation over every outcome of 40 requests is exactly 1."""
    total = sum(
        math.comb(40, k) * 0.001**k * 0.999 ** (40 - k) * math.exp(ev.log_evidence(k, 40, *BETS)) for k in range(41)
    )
    assert total == pytest.approx(1.0, rel=1e-9)


@pytest.mark.parametrize(("bad", "total"), [(-1, 3), (4, 3), (0.5, 3), (float("nan"), 3), (True, 3)])
def test_contradictory_counts_are_refused(bad, total):
    """Counts that cannot be are an error of ours, never a NaN that passes."""
    with pytest.raises(ev.CountError):
        ev.log_evidence(bad, total, *BETS)
