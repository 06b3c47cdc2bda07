"""The intervals and tests, against published figures, exact sums and simulated experiments without any difference."""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Callable
from itertools import accumulate, pairwise
from math import comb, exp, lgamma, log, log1p, prod

import pytest

from tracker.reports.comparison import difference
from tracker.reports.metrics import Rate
from tracker.reports.statistics import (
    always_valid_p,
    chances_to_be_best,
    chi_square,
    chi_square_tail,
    days_needed,
    difference_sequence,
    holm,
    holm_levels,
    lift_sequence,
    newcombe,
    sample_size,
    sequential_sample_size,
    trials_to_settle,
    wilson,
    z_test,
)
from tracker.reports.trial import EXPECTED_MIN

pytestmark = pytest.mark.any_database


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (0, 20, 0.0, 0.1611), (480, 12000, 0.0366, 0.0437), (24, 480, 0.0338, 0.0733)],
)
def test_wilson_gives_the_published_limits(hits: int, trials: int, low: float, high: float) -> None:
    assert wilson(hits, trials) == pytest.approx((low, high), abs=5e-5)
    assert wilson(trials - hits, trials) == pytest.approx((1 - high, 1 - low), abs=5e-5)


def test_newcombe_gives_the_published_limits() -> None:
    assert newcombe(56, 70, 48, 80) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_a_rate_without_trials_is_none_and_one_above_all_has_no_interval() -> None:
    assert (Rate(0, 0).value, Rate(0, 0).interval) == (None, None)
    assert (Rate(3, 2).value, Rate(3, 2).interval) == (1.5, None)
    assert difference(Rate(1, 2), Rate(0, 0)) is None
    change = difference(Rate(50, 100), Rate(10, 100))
    assert change is not None
    assert change.is_real


def binomial(n: int, p: float) -> list[float]:
    """The probability of each number of hits."""
    scale = lgamma(n + 1)
    return [exp(scale - lgamma(k + 1) - lgamma(n - k + 1) + k * log(p) + (n - k) * log1p(-p)) for k in range(n + 1)]


def likely(n: int, p: float) -> list[tuple[int, float]]:
    """The numbers of hits that come up at all, with their probabilities."""
    return [(k, chance) for k, chance in enumerate(binomial(n, p)) if chance > 1e-9]


# Intervals


@pytest.mark.parametrize("n", [250, 1000, 4000])
@pytest.mark.parametrize("p", [0.02, 0.05, 0.1, 0.2, 0.3, 0.5])
def test_wilson_covers_the_truth_as_often_as_it_says(n: int, p: float) -> None:
    covered = sum(chance for k, chance in likely(n, p) if wilson(k, n)[0] <= p <= wilson(k, n)[1])
    assert 0.94 <= covered <= 0.965


@pytest.mark.parametrize(("n", "n_before"), [(100, 100), (150, 100), (200, 60), (200, 200)])
@pytest.mark.parametrize(("p", "q"), [(0.1, 0.1), (0.2, 0.25), (0.3, 0.2), (0.5, 0.5), (0.4, 0.6)])
def test_newcombe_covers_the_truth_as_often_as_it_says(n: int, n_before: int, p: float, q: float) -> None:
    covered = 0.0
    for k, chance in likely(n, p):
        for k_before, chance_before in likely(n_before, q):
            low, high = newcombe(k, n, k_before, n_before)
            covered += chance * chance_before * (low <= p - q <= high)
    assert 0.94 <= covered <= 0.965


# Sequences


def test_the_lift_and_its_sequence_are_the_published_ones() -> None:
    assert lift_sequence(2422, 3461, 1396, 3000) == pytest.approx((0.50386, 0.40098, 0.60675), abs=5e-6)


def test_a_sequence_of_differences_is_wider_than_an_interval_for_one_look_and_narrows() -> None:
    low, high = difference_sequence(196, 4000, 148, 4000)
    assert low < newcombe(196, 4000, 148, 4000)[0] < newcombe(196, 4000, 148, 4000)[1] < high
    assert (low + high) / 2 == pytest.approx(0.012)
    widths = [
        high - low for n in (100, 1000, 10_000, 100_000) for low, high in (difference_sequence(n // 20, n, n // 25, n),)
    ]
    assert all(wider > narrower for wider, narrower in pairwise(widths))
    assert difference_sequence(1, 1, 0, 1) == (-1, 1)


@pytest.mark.parametrize("counts", [(260, 4000, 148, 4000), (196, 4000, 148, 4000), (30, 900, 90, 700)])
def test_the_p_value_is_the_level_at_which_the_sequence_touches_zero(counts: tuple[int, int, int, int]) -> None:
    p = always_valid_p(*counts)
    assert 0 < p < 1
    low, high = difference_sequence(*counts, p)
    assert min(abs(low), abs(high)) == pytest.approx(0, abs=1e-12)
    assert always_valid_p(*counts[2:], *counts[:2]) == p
    assert p > z_test(*counts)


@pytest.mark.parametrize("counts", [(0, 50, 0, 80), (5, 5, 9, 9), (7, 100, 7, 100)])
def test_no_difference_is_no_evidence(counts: tuple[int, int, int, int]) -> None:
    assert always_valid_p(*counts) > 0.9
    low, high = difference_sequence(*counts)
    assert low < 0 < high


def test_what_is_missing_until_a_pair_is_settled_settles_it() -> None:
    counts = (196, 4000, 148, 4000)
    more = trials_to_settle(*counts)
    assert more
    grown = 1 + more / 8000
    settled = [round(n * grown) for n in counts]
    assert always_valid_p(*settled) == pytest.approx(0.05, abs=0.006)
    assert always_valid_p(*(round(n * (1 + more / 8000 * 0.95)) for n in counts)) > 0.05
    assert trials_to_settle(*(n * 2 for n in settled)) == 0
    assert trials_to_settle(7, 100, 7, 100) is None
    assert trials_to_settle(*counts, 0.01) > more  # type: ignore[operator]


def expected_enough(hits: int, n: int, hits_base: int, n_base: int) -> bool:
    pooled = (hits + hits_base) / (n + n_base)
    return min(pooled, 1 - pooled) * min(n, n_base) >= EXPECTED_MIN


Judge = Callable[[int, int, int, int], float]


def false_alarms(test: Judge, p: float, of_look: tuple[int, int], looks: int = 20, runs: int = 1500) -> float:
    """How often two arms of one rate are told apart at any of the looks."""
    chance = random.Random(20)
    drawn = [list(accumulate(binomial(n, p))) for n in of_look]
    alarms = 0
    for _ in range(runs):
        hits, hits_base = 0, 0
        for look in range(1, looks + 1):
            hits += bisect(drawn[0], chance.random())
            hits_base += bisect(drawn[1], chance.random())
            counts = (hits, of_look[0] * look, hits_base, of_look[1] * look)
            if expected_enough(*counts) and test(*counts) <= 0.05:
                alarms += 1
                break
    return alarms / runs


@pytest.mark.parametrize(
    ("p", "of_look"), [(0.02, (500, 500)), (0.1, (200, 200)), (0.05, (900, 100)), (0.4, (50, 50)), (0.02, (100, 1400))]
)
def test_looking_twenty_times_at_no_difference_raises_an_alarm_less_often_than_once_in_twenty(
    p: float, of_look: tuple[int, int]
) -> None:
    assert false_alarms(always_valid_p, p, of_look) < 0.05
    assert false_alarms(z_test, p, of_look) > 0.12


def test_a_sequence_holds_the_true_difference_at_all_of_many_looks() -> None:
    chance = random.Random(7)
    p, q, n = 0.12, 0.08, 100
    drawn = [list(accumulate(binomial(n, rate))) for rate in (p, q)]
    left_out = 0
    for _ in range(400):
        hits, hits_base = 0, 0
        for look in range(1, 101):
            hits += bisect(drawn[0], chance.random())
            hits_base += bisect(drawn[1], chance.random())
            counts = (hits, n * look, hits_base, n * look)
            low, high = difference_sequence(*counts)
            if expected_enough(*counts) and not low <= p - q <= high:
                left_out += 1
                break
    assert left_out / 400 < 0.05


# The split


def test_chi_square_of_a_split_is_the_published_one() -> None:
    statistic, p = chi_square([44_000, 45_000], [50, 50])
    assert (statistic, p) == (pytest.approx(11.236, abs=5e-4), pytest.approx(0.0008, abs=5e-5))
    assert chi_square([100, 200, 300], [1, 2, 3]) == (0, 1)
    assert chi_square([0, 0], [1, 1]) == (0, 1)


@pytest.mark.parametrize(
    ("x", "freedom", "tail"),
    [
        *[(3.841, 1, 0.05), (6.635, 1, 0.01), (5.991, 2, 0.05), (7.815, 3, 0.05), (18.307, 10, 0.05)],
        *[(24.996, 15, 0.05), (10.828, 1, 0.001), (124.342, 100, 0.05), (0, 4, 1.0)],
    ],
)
def test_the_tail_of_chi_square_is_that_of_the_tables(x: float, freedom: int, tail: float) -> None:
    assert chi_square_tail(x, freedom) == pytest.approx(tail, abs=2e-5)


@pytest.mark.parametrize("freedom", [1, 2, 3, 6, 9])
def test_the_tail_of_chi_square_is_what_its_density_adds_up_to(freedom: int) -> None:
    low, high, steps = 4.0, 90.0, 20_000
    step = (high - low) / steps
    scale = -(freedom / 2) * log(2) - lgamma(freedom / 2)
    middles = (low + (index + 0.5) * step for index in range(steps))
    area = sum(exp(scale + (freedom / 2 - 1) * log(x) - x / 2) for x in middles) * step
    assert chi_square_tail(low, freedom) == pytest.approx(area, rel=1e-5)


# Many comparisons


def test_holm_adjusts_as_published() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.01, 0.02, 0.03, 0.04]) == pytest.approx([0.04, 0.06, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []


def test_a_level_of_holm_says_the_same_as_the_adjusted_value() -> None:
    chance = random.Random(3)
    seen = set()
    for _ in range(500):
        p_values = [chance.random() ** 4 for _ in range(chance.randrange(1, 7))]
        adjusted, levels = holm(p_values), holm_levels(p_values)
        rejected = [p <= 0.05 for p in adjusted]
        assert rejected == [p <= level for p, level in zip(p_values, levels, strict=True)]
        seen.add(sum(rejected))
    assert len(seen) > 3


def test_six_equal_variants_are_seldom_told_apart_once_corrected() -> None:
    chance = random.Random(5)
    drawn = list(accumulate(binomial(800, 0.1)))
    plain = corrected = 0
    for _ in range(150):
        hits = [bisect(drawn, chance.random()) for _ in range(6)]
        p_values = [z_test(hits[a], 800, hits[b], 800) for a in range(6) for b in range(a)]
        plain += min(p_values) <= 0.05
        corrected += min(holm(p_values)) <= 0.05
    assert corrected / 150 < 0.08
    assert plain / 150 > 0.2


# How much is needed


def test_the_sample_size_is_the_published_one() -> None:
    assert round(sample_size(0.2, 0.25)) == 1030
    assert sample_size(0.2, 0.22) > sample_size(0.2, 0.25)
    assert sample_size(0.2, 0.25, power=0.9) > sample_size(0.2, 0.25)
    assert sample_size(0.2, 0.25, alpha=0.01) > sample_size(0.2, 0.25)


def found_with(test: Judge, n: int, p: float, q: float) -> float:
    """The exact chance that a test of n and n at the end finds this difference."""
    return sum(
        chance * chance_base
        for hits, chance in likely(n, p)
        for hits_base, chance_base in likely(n, q)
        if test(hits, n, hits_base, n) <= 0.05
    )


def test_a_sample_of_that_size_finds_the_difference_about_as_often_as_it_should() -> None:
    assert found_with(z_test, round(sample_size(0.4, 0.6)), 0.6, 0.4) == pytest.approx(0.8, abs=0.03)
    n = sequential_sample_size(0.4, 0.6)
    assert n
    assert n > sample_size(0.4, 0.6)
    assert found_with(always_valid_p, n, 0.6, 0.4) == pytest.approx(0.8, abs=0.03)


def test_what_nobody_can_wait_for_has_no_size() -> None:
    assert sequential_sample_size(0.2, 0.2 + 1e-9) is None


def test_days_are_whole_and_shared_by_all_arms() -> None:
    assert [days_needed(1030, 2, per_day) for per_day in (2060, 2059, 100, 1.5)] == [1, 2, 21, 1374]


# Chances


def test_the_chance_to_be_best_of_two_is_the_exact_sum() -> None:
    """By E. Miller, "Formulas for Bayesian A/B Testing": a sum over beta functions."""

    def beta(a: int, b: int) -> float:
        return lgamma(a) + lgamma(b) - lgamma(a + b)

    (hits, n), (hits_other, n_other) = (12, 90), (20, 100)
    a, b, c, d = hits + 1, n - hits + 1, hits_other + 1, n_other - hits_other + 1
    exact = sum(exp(beta(a + i, b + d) - log(d + i) - beta(1 + i, d) - beta(a, b)) for i in range(c))
    assert chances_to_be_best([(hits, n), (hits_other, n_other)]) == pytest.approx([1 - exact, exact], abs=1e-3)


def test_chances_to_be_best_are_even_where_counts_are_and_add_up() -> None:
    assert chances_to_be_best([(5, 100)] * 4) == pytest.approx([0.25] * 4)
    lopsided = chances_to_be_best([(0, 1_000_000), (900_000, 1_000_000), (1, 2)])
    assert sum(lopsided) == pytest.approx(1)
    assert lopsided[0] < 1e-9
    assert lopsided[2] == pytest.approx(1 - binomial_below(1, 2, 0.9), abs=2e-3)


def binomial_below(hits: int, n: int, x: float) -> float:
    """The chance that a rate with such counts lies below x: Beta(hits + 1, n - hits + 1) by its binomial sum."""
    return sum(comb(n + 1, k) * prod([x] * k) * (1 - x) ** (n + 1 - k) for k in range(hits + 1, n + 2))
