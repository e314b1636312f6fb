"""The formulas against independent arithmetic: exact fractions, 50-digit floats, and whole
enumerations.
"""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rollout_lib import evidence as ev
from rollout_lib.text import percent

BETS = (0.001, ev.ERROR_ALTERNATIVES, ev.ERROR_WEIGHTS)
SLOW = (0.05, ev.LATENCY_ALTERNATIVES, ev.LATENCY_WEIGHTS)
FIRST, LATER = Fraction(1, 2), Fraction(1, 30)
counts = st.integers(0, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
looks = st.lists(counts, min_size=1, max_size=40)


def exact(bad: int, total: int, limit: float, alternatives, weights) -> Fraction:
    """E(k, n) as a fraction of the decimals that the design writes, without a logarithm."""
    p = Fraction(str(limit))
    q = [Fraction(str(value)) for value in alternatives]
    w = [Fraction(str(value)) for value in weights]
    terms = (
        one * (r / p) ** bad * ((1 - r) / (1 - p)) ** (total - bad)
        for r, one in zip(q, w, strict=True)
    )
    return sum(terms)


def exact_restart(increments: list[tuple[int, int]], bets) -> list[Fraction]:
    """M_t from its definition: every stake's own product, one stake a look for ever."""
    path = []
    for t in range(len(increments)):
        stakes = [FIRST, *[LATER] * t]
        value = max(Fraction(0), 1 - sum(stakes))
        for j, stake in enumerate(stakes):
            since = increments[j : t + 1]
            value += stake * exact(sum(k for k, _ in since), sum(n for _, n in since), *bets)
        path.append(value)
    return path


def _log(value: Fraction) -> float:
    return float(mpmath.log(mpmath.mpf(value.numerator) / value.denominator))


def test_the_spot_values_of_the_design_are_reached():
    """Sample sizes, bounds and ranks agree with the figures that the decision layer was designed
    by.
    """
    assert ev.required_total(0, 0.001) == 2995
    assert ev.required_total_anytime(0, 0.001) == 4041
    assert (ev.required_total(0, 0.005), ev.required_total_anytime(0, 0.005)) == (598, 807)
    assert ev.upper_bound(0, 460) == pytest.approx(0.006491, abs=5e-7)
    assert ev.rate_interval(0, 460)[1] == pytest.approx(0.009001, abs=5e-7)
    assert ev.quantile_ranks(115) == (101, 115)
    assert ev.quantile_ranks(60)[1] is None
    assert next(n for n in range(1, 200) if ev.quantile_ranks(n)[1] is not None) == 93


@pytest.mark.parametrize("bets", [BETS, SLOW])
@pytest.mark.parametrize(
    ("bad", "total"), [(0, 0), (0, 1), (1, 1), (3, 115), (115, 115), (0, 460), (7, 460)]
)
def test_evidence_is_the_fraction_that_the_design_writes(bets, bad, total):
    """log_evidence agrees with exact fractions to twelve digits, at none, some and all bad."""
    assert ev.log_evidence(bad, total, *bets) == pytest.approx(
        _log(exact(bad, total, *bets)), rel=1e-12, abs=1e-12
    )


@pytest.mark.parametrize("bets", [BETS, SLOW])
def test_the_mixture_is_its_definition_over_40_looks(bets):
    """M_t agrees with exact fractions at every look, past the sixteenth, with quiet looks among
    them.
    """
    increments = [((7 * t) % 3 if t % 4 == 0 else 0, (29 * t) % 41) for t in range(40)]
    increments = [(min(k, n), n) for k, n in increments]
    path = ev.log_evidence_restart([k for k, _ in increments], [n for _, n in increments], *bets)
    assert path == pytest.approx(
        [_log(value) for value in exact_restart(increments, bets)], rel=1e-10, abs=1e-10
    )


def test_many_phases_at_once_are_each_of_them_alone():
    """The vectorised path that baseline and benchmark use is the checked one, phase by phase, over
    a day.
    """
    random = np.random.default_rng(12)
    totals = random.poisson(30, (5, 96))
    bads = random.binomial(totals, 0.01)
    together = ev.restart_paths(bads, totals, *BETS)
    unified = ev.split_paths(bads, totals - bads, 0.1)
    for row in range(5):
        alone = ev.log_evidence_restart(bads[row].tolist(), totals[row].tolist(), *BETS)
        assert together[row] == pytest.approx(alone, rel=1e-12)
        split = ev.log_split_evidence_restart(
            bads[row].tolist(), (totals - bads)[row].tolist(), 0.1
        )
        assert unified[row] == pytest.approx(split, rel=1e-12)


def test_no_failure_is_forgotten_at_any_hour_of_the_phase():
    """Two errors in neighbouring looks are evidence wherever the pair falls in the phase: the clock
    of a block decided it, STEP BACK or WATCH.
    """
    worth = []
    for first in range(1, 60):
        bads = [0] * 62
        bads[first] = bads[first + 1] = 1
        worth.append(ev.log_evidence_restart(bads[: first + 2], [1] * (first + 2), *BETS)[-1])
    assert min(worth) > math.log(20)
    assert max(abs(a - b) for a, b in itertools.pairwise(worth)) < 0.3
    held = ev.log_evidence_restart([0] * 14 + [1, 1], [29] * 16, *BETS)[-1]
    partial = ev.log_evidence_restart([0] * 14 + [1, 1, 0], [29] * 16 + [0], *BETS)[-1]
    assert partial > held  # a minute later, at the evaluation, it stands as it stood


def test_the_split_is_its_definition_over_40_looks():
    """log M of the split agrees with 30 digits at every look, past the sixteenth."""
    looks = [((5 * t) % 7, (11 * t) % 40) for t in range(40)]
    path = ev.log_split_evidence_restart([u for u, _ in looks], [v for _, v in looks], 0.1)
    with mpmath.workdps(30):
        for t, found in enumerate(path):
            wanted = max(mpmath.mpf(0), mpmath.mpf(15 - t) / 30)
            for j in range(t + 1):
                u, v = (sum(part) for part in zip(*looks[j : t + 1], strict=True))
                stake = mpmath.mpf(1) / (30 if j else 2)
                odds = mpmath.beta(10 + u, 90 + v) / mpmath.beta(10, 90)
                wanted += stake * odds / (mpmath.mpf("0.1") ** u * mpmath.mpf("0.9") ** v)
            assert found == pytest.approx(float(mpmath.log(wanted)), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("bets", [BETS, SLOW])
def test_evidence_is_a_fair_bet_at_the_limit_and_a_losing_one_below(bets):
    """Over every outcome of 3 looks of 3 requests, E[M_t] is 1 at the limit and less under it, at
    each look.
    """
    limit = bets[0]
    for rate in (limit, limit / 2, 0.0):
        expected = [0.0, 0.0, 0.0]
        for bads in itertools.product(range(4), repeat=3):
            chance = math.prod(math.comb(3, k) * rate**k * (1 - rate) ** (3 - k) for k in bads)
            for t, value in enumerate(ev.log_evidence_restart(bads, [3] * 3, *bets)):
                expected[t] += chance * math.exp(value)
        fair = rate == limit
        assert all(value == pytest.approx(1, abs=1e-9) if fair else value < 1 for value in expected)


def test_after_the_pocket_is_empty_the_expectation_grows_by_one_stake_a_look():
    """Over all 2^17 outcomes of 17 looks of one request at the limit, E[M_t] is
    max(1, 1/2 + (t-1)/30): the bound of a false act that the design gives.
    """
    outcomes = (np.arange(2**17)[:, None] >> np.arange(17)) & 1
    paths = ev.restart_paths(outcomes, np.ones_like(outcomes), 0.05, (0.2,), (1.0,))
    chances = np.prod(np.where(outcomes == 1, 0.05, 0.95), axis=1)
    assert chances @ np.exp(paths) == pytest.approx([1.0] * 16 + [31 / 30], abs=1e-9)


def test_the_certificate_is_a_fair_bet_at_the_limit_and_a_losing_one_above():
    """Its null is the other way round: at the limit its expectation is 1, at
    higher rates below 1.
    """
    for rate in (0.001, 0.002, 0.3):
        expected = math.fsum(
            math.comb(60, k)
            * rate**k
            * (1 - rate) ** (60 - k)
            * math.exp(ev.log_certificate(k, 60, 0.001))
            for k in range(61)
        )
        assert expected == pytest.approx(1, abs=1e-9) if rate == 0.001 else expected < 1


def test_the_split_is_a_fair_bet_at_the_configured_share():
    """Over every outcome of 3 looks of 4 rows at a share of 0.1 the expectation of M_t is 1."""
    expected = 0.0
    for outcome in itertools.product(range(5), repeat=3):
        chance = math.prod(math.comb(4, u) * 0.1**u * 0.9 ** (4 - u) for u in outcome)
        expected += chance * math.exp(
            ev.log_split_evidence_restart(outcome, [4 - u for u in outcome], 0.1)[-1]
        )
    assert expected == pytest.approx(1, abs=1e-9)


def test_the_comparison_is_a_fair_bet_when_both_fail_alike():
    """Given 5 failures at a share of requests of 0.1, the expectation over who failed is 1."""
    expected = math.fsum(
        math.comb(5, k)
        * 0.1**k
        * 0.9 ** (5 - k)
        * math.exp(ev.log_evidence_versus([k], [5 - k], [100], [900]))
        for k in range(6)
    )
    assert expected == pytest.approx(1, abs=1e-9)


def test_ville_holds_for_a_service_at_the_limit():
    """M reaches 20 in at most 5 % of phases at the limit: an exact recursion over 4 looks of 40
    requests.
    """
    limit, per_look, crossed, alive = 0.05, 12, 0.0, {(): 1.0}
    chance = [
        math.comb(per_look, k) * limit**k * (1 - limit) ** (per_look - k)
        for k in range(per_look + 1)
    ]
    for _ in range(4):
        following: dict[tuple, float] = {}
        for seen, weight in alive.items():
            for k in range(per_look + 1):
                bads = (*seen, k)
                over = ev.log_evidence_restart(bads, [per_look] * len(bads), *SLOW)[-1] >= math.log(
                    20
                )
                if over:
                    crossed += weight * chance[k]
                else:
                    following[bads] = weight * chance[k]
        alive = {bads: weight for bads, weight in following.items() if weight > 1e-9}
    assert 0 < crossed <= 0.05


@given(looks)
def test_more_failures_are_never_less_evidence(increments):
    """Turning one good request into a bad one never lowers M at that look or after."""
    bads, totals = [k for k, _ in increments], [n for _, n in increments]
    free = [t for t, (k, n) in enumerate(increments) if k < n]
    if not free:
        return
    worse = list(bads)
    worse[free[0]] += 1
    before = ev.log_evidence_restart(bads, totals, *BETS)
    after = ev.log_evidence_restart(worse, totals, *BETS)
    assert all(b >= a - 1e-9 * max(1, abs(a)) for a, b in zip(before, after, strict=True))


@given(counts, st.floats(0.0005, 0.5))
def test_bounds_and_certificates_move_the_right_way(pair, limit):
    """One more failure raises the bound and both ends of the interval, and
    weakens the certificate.
    """
    bad, total = pair
    if bad == total:
        return
    assert ev.upper_bound(bad + 1, total) > ev.upper_bound(bad, total)
    assert ev.log_certificate(bad + 1, total, limit) < ev.log_certificate(bad, total, limit)
    low, high = ev.rate_interval(bad, total)
    worse_low, worse_high = ev.rate_interval(bad + 1, total)
    assert low <= bad / total <= high
    assert (worse_low >= low - 1e-12, worse_high >= high - 1e-12) == (True, True)


@given(st.lists(counts, min_size=2, max_size=12), st.integers(0, 10))
def test_what_is_cumulative_does_not_care_how_it_was_looked_at(increments, seed):
    """The certificate and a single bet see sums; the comparison sees looks of one ratio as one
    look.
    """
    bads, totals = [k for k, _ in increments], [n for _, n in increments]
    at = 1 + seed % (len(increments) - 1)
    merged = [sum(bads[:at]), *bads[at:]], [sum(totals[:at]), *totals[at:]]
    assert ev.log_certificate(sum(bads), sum(totals), 0.001) == ev.log_certificate(
        *map(sum, merged), 0.001
    )
    legacy = [9 * n for n in totals]
    apart = ev.log_evidence_versus(bads, [0] * len(bads), totals, legacy)
    together = ev.log_evidence_versus([sum(bads)], [0], [sum(totals)], [sum(legacy)])
    assert apart == pytest.approx(together, rel=1e-9, abs=1e-9)


@given(looks)
def test_an_empty_look_leaves_the_evidence_where_it_was(increments):
    """A look without a request moves a stake from the pocket to a bet worth as much; when the
    pocket is empty, it adds the stake alone.
    """
    bads, totals = [k for k, _ in increments], [n for _, n in increments]
    path = ev.log_evidence_restart([*bads, 0], [*totals, 0], *BETS)
    spent = len(increments) >= 16
    wanted = np.logaddexp(path[-2], math.log(1 / 30)) if spent else path[-2]
    assert path[-1] == pytest.approx(wanted, rel=1e-9, abs=1e-9)


def test_a_look_without_one_side_says_nothing_about_the_other():
    """While unified or legacy is silent, the comparison stands still."""
    both = ev.log_evidence_versus([2], [1], [50], [450])
    assert ev.log_evidence_versus([2, 0, 5], [1, 7, 0], [50, 0, 30], [450, 99, 0]) == pytest.approx(
        both
    )
    assert ev.log_evidence_versus([], [], [], []) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("bad", "total"), [(0, 0), (0, 1), (1, 1), (5, 5), (2, 460), (460, 460)])
def test_the_interval_ends_where_the_mixture_rejects(bad, total):
    """Each printed end solves the inequality of the design in 50 digits; at none and all bad it is
    0 and 1.
    """
    low, high = ev.rate_interval(bad, total)
    with mpmath.workdps(50):
        mixture = mpmath.log(mpmath.beta(0.5 + bad, 50 + total - bad) / mpmath.beta(0.5, 50))

        def rejects(p: float) -> bool:
            p = mpmath.mpf(p)
            log_e = mixture - bad * mpmath.log(p) - (total - bad) * mpmath.log(1 - p)
            return log_e >= mpmath.log(20)

        if bad:
            assert (rejects(low * (1 - 1e-6)), rejects(low * (1 + 1e-6))) == (True, False)
        else:
            assert low == 0
        if bad < total:
            assert (rejects(high * (1 + 1e-6)), rejects(high * (1 - 1e-6))) == (True, False)
        else:
            assert high == 1


def test_a_total_outage_has_an_interval():
    """Every request failing, from the first on, is a figure and not a crash."""
    for total in (1, 29, 10**9):
        low, high = ev.rate_interval(total, total)
        assert 0 < low < high == 1


@pytest.mark.parametrize("total", [1, 2, 60, 92, 93, 115, 460, 3000])
def test_the_ranks_are_those_of_a_whole_search(total):
    """Halving finds the same ranks as looking at every count of exceedances in 30 digits."""
    with mpmath.workdps(30):
        rejected = [
            k
            for k in range(total + 1)
            if mpmath.beta(1 + k, 19 + total - k) / mpmath.beta(1, 19)
            >= 20 * mpmath.mpf("0.05") ** k * mpmath.mpf("0.95") ** (total - k)
        ]
    high = [k for k in rejected if k > 0.05 * total]
    low = [k for k in rejected if k < 0.05 * total]
    wanted = (total - high[0] + 1 if high else None, total - low[-1] if low else None)
    assert ev.quantile_ranks(total) == wanted


def test_a_billion_requests_are_judged_in_finite_numbers():
    """10^9 requests give finite logs that agree with 60-digit arithmetic, and ranks around 95 %."""
    bad, total = 1_100_000, 10**9
    with mpmath.workdps(60):
        wanted = mpmath.log(
            mpmath.fsum(
                mpmath.mpf(str(w))
                * (mpmath.mpf(str(q)) / mpmath.mpf("0.001")) ** bad
                * ((1 - mpmath.mpf(str(q))) / mpmath.mpf("0.999")) ** (total - bad)
                for q, w in zip(ev.ERROR_ALTERNATIVES, ev.ERROR_WEIGHTS, strict=True)
            )
        )
    assert ev.log_evidence(bad, total, *BETS) == pytest.approx(float(wanted), rel=1e-9)
    for path in (
        ev.log_evidence_restart([bad] * 20, [total] * 20, *BETS),
        [ev.log_certificate(0, total, 0.001)],
        [ev.log_split_evidence(10**8, 9 * 10**8, 0.1)],
        ev.rate_interval(bad, total),
    ):
        assert all(math.isfinite(value) for value in path)
    low, high = ev.quantile_ranks(total)
    assert 0.9499 * total < low < 0.95 * total < high < 0.9501 * total


def test_no_request_is_no_evidence():
    """At n = 0 every bet is worth 1, the bound is 1, the interval everything, and no rank bounds
    anything.
    """
    assert ev.log_evidence(0, 0, *BETS) == pytest.approx(0, abs=1e-12)
    assert ev.log_certificate(0, 0, 0.001) == pytest.approx(0, abs=1e-12)
    assert ev.log_split_evidence(0, 0, 0.1) == 0
    assert (ev.upper_bound(0, 0), ev.rate_interval(0, 0), ev.quantile_ranks(0)) == (
        1.0,
        (0.0, 1.0),
        (None, None),
    )
    assert ev.log_evidence_restart([], [], *BETS) == []


@pytest.mark.parametrize("bad", [-1, 4, 0.5, float("nan"), float("inf"), True, None, "3", 1 + 0j])
def test_counts_that_cannot_be_are_an_error_of_ours(bad):
    """Negative, more than all, broken, NaN, text: refused by every function, never a NaN that
    passes.
    """
    for call in (
        lambda: ev.log_evidence(bad, 3, *BETS),
        lambda: ev.log_evidence_restart([0, bad], [3, 3], *BETS),
        lambda: ev.log_certificate(bad, 3, 0.001),
        lambda: ev.upper_bound(bad, 3),
        lambda: ev.rate_interval(bad, 3),
        lambda: ev.required_total(bad if bad != 4 else -4, 0.001),
        lambda: ev.log_evidence_versus([bad], [0], [3], [3]),
        lambda: ev.log_split_evidence(bad if bad != 4 else -4, 3, 0.1),
    ):
        with pytest.raises(ev.CountError):
            call()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: ev.log_split_evidence(-1, 3, 0.1),
            "unified must be a count of at least 0, not -1",
        ),
        (
            lambda: ev.log_split_evidence(3, None, 0.1),
            "legacy must be a count of at least 0, not None",
        ),
        (
            lambda: ev.log_split_evidence_restart([3], [-1], 0.1),
            "legacies must be a count of at least 0, not -1",
        ),
        (
            lambda: ev.log_evidence_restart([-1], [3], *BETS),
            "bads must be a count of at least 0, not -1",
        ),
        (
            lambda: ev.log_evidence_versus([1], [-1], [3], [3]),
            "errors_legacy must be a count of at least 0, not -1",
        ),
        (
            lambda: ev.log_evidence_versus(1, 5, 3, 3),
            "errors_legacy [5.0] of requests_legacy [3.0] is a contradict",
        ),
        (
            lambda: ev.log_evidence_versus(None, 1, 3, 3),
            "errors_unified must be a count of at least 0, not None",
        ),
        (lambda: ev.quantile_ranks(-1), "total must be a count of at least 0, not -1"),
    ],
)
def test_a_wrong_count_is_named_as_the_caller_named_it(call, words):
    """The argument's own name and its value, so that nobody looks for the mistake
    in another one.
    """
    with pytest.raises(ev.CountError) as refused:
        call()
    assert words in str(refused.value)


def test_a_number_alone_is_one_look():
    """Scalars or sequences in: the same evidence, to the digit."""
    assert (
        ev.log_evidence_versus(4, 1, 100, 900) == ev.log_evidence_versus([4], [1], [100], [900]) > 0
    )
    assert ev.log_evidence_restart(2, 115, *BETS) == ev.log_evidence_restart([2], [115], *BETS)
    assert ev.log_split_evidence_restart(30, 70, 0.1) == ev.log_split_evidence_restart(
        [30], [70], 0.1
    )


@pytest.mark.parametrize("limit", [0, 1, -0.1, 1.5, float("nan"), None, True])
def test_limits_and_shares_outside_0_to_1_are_an_error_of_ours(limit):
    """A limit of 0 or 1 would divide by nothing; NaN compares false with everything: both are
    refused.
    """
    for call in (
        lambda: ev.log_evidence(0, 3, limit, ev.ERROR_ALTERNATIVES, ev.ERROR_WEIGHTS),
        lambda: ev.log_certificate(0, 3, limit),
        lambda: ev.required_total(0, limit),
        lambda: ev.required_total_anytime(0, limit),
        lambda: ev.upper_bound(0, 3, limit),
        lambda: ev.rate_interval(0, 3, limit),
        lambda: ev.quantile_ranks(3, limit),
        lambda: ev.log_split_evidence(1, 3, limit),
        lambda: ev.log_split_evidence_restart([1], [3], limit),
    ):
        with pytest.raises(ev.CountError):
            call()


def test_bets_that_prove_nothing_are_an_error_of_ours():
    """Alternatives under the limit, weights that do not sum to 1, looks of different length:
    refused.
    """
    for call in (
        lambda: ev.log_evidence(0, 3, 0.001, (0.0005,), (1.0,)),
        lambda: ev.log_evidence(0, 3, 0.001, (0.01, 0.02), (0.5, 0.6)),
        lambda: ev.log_evidence(0, 3, 0.001, (), ()),
        lambda: ev.log_evidence(0, 3, 0.001, (0.01, 0.02), (1.5, -0.5)),
        lambda: ev.log_evidence(0, 3, 0.001, (0.01, float("nan")), (0.5, 0.5)),
        lambda: ev.log_evidence_restart([0], [3, 3], *BETS),
        lambda: ev.log_evidence_versus([0], [0], [3], [3, 3]),
        lambda: ev.log_split_evidence_restart([1], [3, 3], 0.1),
        lambda: ev.log_split_evidence(1, 3, 0.1, concentration=0),
        lambda: ev.log_split_evidence(1, 3, 0.1, concentration=float("inf")),
    ):
        with pytest.raises(ev.CountError):
            call()


@given(counts, st.floats(0.0005, 0.5))
def test_the_printed_bound_is_the_certificates(pair, limit):
    """A limit is certified exactly where the bound that is printed is at most it; and the bound
    solves the definition in 40 digits.
    """
    bad, total = pair
    bound = ev.certified_bound(bad, total)
    certified = ev.log_certificate(bad, total, limit) >= math.log(20)
    assert certified == (bound <= limit) or bound == pytest.approx(limit, rel=1e-9)
    if bad == total:
        assert bound == 1
        return
    with mpmath.workdps(40):
        p = mpmath.mpf(bound)
        parts = [mpmath.mpf(c) / 10 for c in (1, 3, 6)]
        bets = (c**bad * ((1 - c * p) / (1 - p)) ** (total - bad) / 3 for c in parts)
        found = mpmath.fsum(bets)
    assert float(found) == pytest.approx(20, rel=1e-6) or bound > 1 - 1e-9


def test_a_bound_and_what_is_missing_never_contradict_each_other():
    """At one request before the proof the bound is over 0.5 %, at the proof it is not: for none to
    five failures.
    """
    for bad in range(6):
        needed = ev.required_total_anytime(bad, 0.005)
        assert ev.certified_bound(bad, needed - 1) > 0.005 >= ev.certified_bound(bad, needed)
    assert ev.certified_bound(0, 460) == pytest.approx(0.0087, abs=1e-4)


@pytest.mark.parametrize(("bad", "total"), [(26, 27), (459, 460), (10**9 - 1, 10**9), (40, 41)])
def test_one_good_request_is_a_rate_under_one(bad, total):
    """Where one of 27 requests was served, a rate of 1.0 is no longer possible: the end is under
    it, and the text does not say 100 %.
    """
    low, high = ev.rate_interval(bad, total)
    assert 0 < low < bad / total < high < 1
    assert ev.certified_bound(bad, total) < 1
    assert percent(100 * high) == "> 99.99 %"


def _on_a_grid(unified: tuple[int, int], legacy: tuple[int, int], alpha: float):
    """The least and the largest difference over a fine grid of pairs of rates: no search, no
    root.
    """
    rates = np.concatenate([np.geomspace(1e-7, 0.01, 1500), np.linspace(0.0101, 0.9999, 1500)])

    def log_e(bad: int, total: int) -> np.ndarray:
        mixture = mpmath.log(mpmath.beta(0.5 + bad, 50 + total - bad) / mpmath.beta(0.5, 50))
        return float(mixture) - bad * np.log(rates) - (total - bad) * np.log1p(-rates)

    kept = log_e(*unified)[:, None] + log_e(*legacy)[None, :] < -math.log(alpha)
    apart = np.where(kept, rates[:, None] - rates[None, :], np.nan)
    return float(np.nanmin(apart)), float(np.nanmax(apart))


@pytest.mark.parametrize(
    ("unified", "legacy"),
    [((0, 115), (1, 1035)), ((3, 115), (1, 1035)), ((9, 40), (8, 360)), ((0, 5), (0, 0))],
)
def test_the_difference_is_the_set_of_pairs_that_are_not_rejected(unified, legacy):
    """The ends agree with a grid of three thousand rates a side, and swap when the sides do."""
    low, high = ev.difference_interval(*unified, *legacy)
    least, most = _on_a_grid(unified, legacy, 0.05)
    assert (low, high) == (pytest.approx(least, abs=1e-3), pytest.approx(most, abs=1e-3))
    assert ev.difference_interval(*legacy, *unified) == pytest.approx((-high, -low))


def test_the_difference_holds_the_truth_at_every_look():
    """An exact recursion over every outcome of 3 looks of 3 requests a side: the true difference
    ever leaves a 50 % interval in at most half of all phases.
    """
    alpha, per_look, rates = 0.5, 3, (0.3, 0.05)
    draws = [
        [math.comb(per_look, k) * p**k * (1 - p) ** (per_look - k) for k in range(per_look + 1)]
        for p in rates
    ]
    alive, missed = {(0, 0): 1.0}, 0.0
    for look in range(1, 4):
        following: dict[tuple[int, int], float] = {}
        for (u, v), weight in alive.items():
            for more_u, more_v in itertools.product(range(per_look + 1), repeat=2):
                key = (u + more_u, v + more_v)
                chance = weight * draws[0][more_u] * draws[1][more_v]
                following[key] = following.get(key, 0.0) + chance
        alive = {}
        for (u, v), weight in following.items():
            low, high = ev.difference_interval(u, per_look * look, v, per_look * look, alpha)
            if low <= rates[0] - rates[1] <= high:
                alive[(u, v)] = weight
            else:
                missed += weight
    assert 0 < missed <= alpha


@settings(max_examples=20)
@given(counts, counts)
def test_the_difference_holds_what_was_seen_and_more_looks_of_it(one, other):
    """The seen difference is always inside, within -1 and 1; a smaller risk makes it wider."""
    low, high = ev.difference_interval(*one, *other)
    wide_low, wide_high = ev.difference_interval(*one, *other, 0.01)
    assert -1 <= wide_low <= low + 1e-9
    assert high - 1e-9 <= wide_high <= 1
    if one[1] and other[1]:
        assert low - 1e-9 <= one[0] / one[1] - other[0] / other[1] <= high + 1e-9


hostile = st.one_of(
    st.just((0, 0)),
    st.integers(1, 5).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))),
    st.integers(1, 10**9).map(lambda n: (0, n)),
    st.integers(1, 10**9).map(lambda n: (n, n)),
    st.integers(10**6, 10**9).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))),
    st.integers(10**6, 10**9).map(lambda n: (1, n)),
    st.integers(10**6, 10**9).map(lambda n: (n - 1, n)),
)


@settings(max_examples=15)
@given(hostile, hostile)
@example((0, 0), (0, 0))
@example((0, 1), (10**9, 10**9))
@example((10**9, 10**9), (0, 10**9))
@example((10**9 - 1, 10**9), (1, 10**9))
def test_no_counts_are_too_hostile_for_the_difference(unified, legacy):
    """None, one, all bad, millions against nothing: always two ends within -1 and 1, in order, and
    what was seen between them.
    """
    low, high = ev.difference_interval(*unified, *legacy)
    assert -1 <= low <= high <= 1
    if unified[1] and legacy[1]:
        assert low <= unified[0] / unified[1] - legacy[0] / legacy[1] <= high
    else:
        assert low < 0 < high
