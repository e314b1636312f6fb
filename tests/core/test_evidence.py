"""The formulas against independent arithmetic: exact fractions, 50-digit floats, and whole
enumerations.
"""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import mpmath
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout_lib import evidence as ev

BETS = (0.001, ev.ERROR_ALTERNATIVES, ev.ERROR_WEIGHTS)
SLOW = (0.05, ev.LATENCY_ALTERNATIVES, ev.LATENCY_WEIGHTS)
STAKES = [Fraction(1, 2)] + [Fraction(1, 30)] * 15
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
    """M_t from its definition: every stake's own product, a new start every 16 looks."""
    path = []
    for t in range(len(increments)):
        first = t - t % 16
        stakes = STAKES[: t - first + 1]
        value = 1 - sum(stakes)
        for stake, j in zip(stakes, range(first, t + 1), strict=True):
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
def test_the_restart_mixture_is_its_definition_over_40_looks(bets):
    """M_t agrees with exact fractions at every look, across two new beginnings, with quiet looks
    among them.
    """
    increments = [((7 * t) % 3 if t % 4 == 0 else 0, (29 * t) % 41) for t in range(40)]
    increments = [(min(k, n), n) for k, n in increments]
    path = ev.log_evidence_restart([k for k, _ in increments], [n for _, n in increments], *bets)
    assert path == pytest.approx(
        [_log(value) for value in exact_restart(increments, bets)], rel=1e-10, abs=1e-10
    )


def test_a_new_block_forgets_the_old_one():
    """Look 17 is judged as look 1 is: what came in the block before does not count in it."""
    old = ev.log_evidence_restart([9] * 16 + [1], [20] * 16 + [30], *BETS)
    assert old[16] == pytest.approx(ev.log_evidence_restart([1], [30], *BETS)[0])


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
    """Turning one good request into a bad one never lowers M at that look or after in its block."""
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
    """A look without a request inside a block moves a stake from the pocket to a
    bet worth as much.
    """
    bads, totals = [k for k, _ in increments], [n for _, n in increments]
    path = ev.log_evidence_restart([*bads, 0], [*totals, 0], *BETS)
    begins = len(increments) % 16 == 0
    assert path[-1] == pytest.approx(0.0 if begins else path[-2], rel=1e-9, abs=1e-9)


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
