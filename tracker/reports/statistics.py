"""How sure a figure is, and how much traffic it takes to be surer. Each function names the source of its formula.

Standard library only: docs/decisions/0027 has what was measured. Proportions are given as hits out of trials.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import accumulate
from math import ceil, erfc, exp, lgamma, log, log1p, sqrt
from statistics import NormalDist

# A page that keeps itself up to date asks for the same again each second, of as many pairs as it has.
REMEMBERED_MAX = 4_096
Z_95 = 1.959963984540054
ALPHA = 0.05
# The number of observations at which a confidence sequence is at its narrowest, for a level of ALPHA.
TUNED_FOR = 5_000
_RHO_SQUARED = (-2 * log(ALPHA) + log(-2 * log(ALPHA) + 1)) / TUNED_FOR
_NORMAL = NormalDist()
TRIALS_MAX = 10**12  # more than anybody can wait for
GRID = 80  # steps of a numerical integral
GRID_REACH = 6.0  # standard deviations on each side


def wilson(hits: int, trials: int, z: float = Z_95) -> tuple[float, float]:
    """The score interval of a proportion, 0 <= hits <= trials, trials > 0.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927), 209-212.
    81 of 263 gives .2553 to .3662; 0 of 20 gives 0 to .1611 (Newcombe, Statistics in Medicine 17 (1998), 857-872).
    """
    p = hits / trials
    square = z * z
    centre = p + square / (2 * trials)
    margin = z * sqrt((p * (1 - p) + square / (4 * trials)) / trials)
    scale = 1 + square / trials
    low = 0.0 if hits == 0 else (centre - margin) / scale
    high = 1.0 if hits == trials else (centre + margin) / scale
    return low, high


def newcombe(hits: int, trials: int, hits_before: int, trials_before: int) -> tuple[float, float]:
    """The 95 % interval of the difference of two proportions, first less second, each over trials > 0.

    Method 10 (hybrid score) of R. G. Newcombe, Statistics in Medicine 17 (1998), 873-890.
    56 of 70 less 48 of 80 gives .0524 to .3339.
    """
    p, q = hits / trials, hits_before / trials_before
    low, high = wilson(hits, trials)
    low_before, high_before = wilson(hits_before, trials_before)
    difference = p - q
    return (
        difference - sqrt((p - low) ** 2 + (high_before - q) ** 2),
        difference + sqrt((high - p) ** 2 + (q - low_before) ** 2),
    )


def z_test(hits: int, trials: int, hits_base: int, trials_base: int) -> float:
    """The two-sided p-value of the pooled z-test of two proportions, good for a single look; trials > 0.

    J. L. Fleiss, B. Levin, M. C. Paik, "Statistical Methods for Rates and Proportions", 3rd ed. (2003), chapter 3,
    without the correction for continuity. Its square is Pearson's chi-square of the fourfold table.
    """
    pooled = (hits + hits_base) / (trials + trials_base)
    variance = pooled * (1 - pooled) * (1 / trials + 1 / trials_base)
    if not variance:
        return 1.0
    return erfc(abs(hits / trials - hits_base / trials_base) / sqrt(2 * variance))


@lru_cache(maxsize=REMEMBERED_MAX)
def difference_sequence(
    hits: int, trials: int, hits_base: int, trials_base: int, alpha: float = ALPHA
) -> tuple[float, float]:
    """An interval of the difference of two proportions that holds at all times at once, first less second.

    The asymptotic confidence sequence of I. Waudby-Smith, D. Arbour, R. Sinha, E. H. Kennedy, A. Ramdas, "Time-uniform
    central limit theory and asymptotic confidence sequences", Annals of Statistics 52 (2024), 2613-2640, theorem 2.2,
    with rho tuned as its appendix says: with probability 1 - alpha it never leaves out the true difference, however
    often it is looked at, once there are enough observations for the central limit theorem. trials > 0.
    """
    difference, variance = _difference(hits, trials, hits_base, trials_base)
    half = sqrt(variance) * _boundary(trials + trials_base, alpha)
    return max(difference - half, -1.0), min(difference + half, 1.0)


@lru_cache(maxsize=REMEMBERED_MAX)
def lift_sequence(
    hits: int, trials: int, hits_base: int, trials_base: int, alpha: float = ALPHA
) -> tuple[float, float, float]:
    """The relative lift of the first proportion over the second, and an interval that holds at all times at once.

    A lift of .5 is half as much again. The variance of the quotient is the delta method's (G. Casella, R. L. Berger,
    "Statistical Inference", 2nd ed. (2002), section 5.5.4), the sequence that of `difference_sequence`.
    2422 of 3461 over 1396 of 3000 gives .50386, between .40098 and .60675. hits_base and trials > 0.
    """
    p, q = hits / trials, hits_base / trials_base
    variance = _variance(hits, trials) / q**2 + _variance(hits_base, trials_base) * p**2 / q**4
    lift = p / q - 1
    half = sqrt(variance) * _boundary(trials + trials_base, alpha)
    return lift, max(lift - half, -1.0), lift + half


@lru_cache(maxsize=REMEMBERED_MAX)
def always_valid_p(hits: int, trials: int, hits_base: int, trials_base: int) -> float:
    """The smallest alpha at which `difference_sequence` leaves out zero, 1 at most.

    That interval solved for alpha, rho being the same at every level. As a p-value it holds however often it is looked
    at: R. Johari, P. Koomen, L. Pekelis, D. Walsh, "Always valid inference", Operations Research 70 (2022), 1806-1821.
    """
    difference, variance = _difference(hits, trials, hits_base, trials_base)
    return _p_of(difference**2 / variance, trials + trials_base)


@lru_cache(maxsize=REMEMBERED_MAX)
def trials_to_settle(hits: int, trials: int, hits_base: int, trials_base: int, alpha: float = ALPHA) -> int | None:
    """How many more trials of both together would make `always_valid_p` alpha, if the rates stay what they are now.

    0 where it is already, None where there is no difference or more than TRIALS_MAX are needed. Found by bisection.
    """
    difference, variance = _difference(hits, trials, hits_base, trials_base)
    now = trials + trials_base
    of_one = difference**2 / variance / now  # the square of z grows by this with each trial
    needed = _first(lambda n: _p_of(of_one * n, n) <= alpha)
    return None if needed is None else max(needed - now, 0)


def chi_square(observed: Sequence[int], shares: Sequence[float]) -> tuple[float, float]:
    """Pearson's chi-square of counts against the shares that they should have, and its p-value.

    K. Pearson, Philosophical Magazine 50 (1900), 157-175. As a check of an experiment's split: A. Fabijan et al.,
    "Diagnosing sample ratio mismatch in online controlled experiments", KDD 2019. 44,000 against 45,000 of equal
    shares gives 11.236, p = .0008. Shares are above 0, of any sum.
    """
    total, whole = sum(observed), sum(shares)
    if not total:
        return 0.0, 1.0
    expected = [total * share / whole for share in shares]
    statistic = sum((n - of) ** 2 / of for n, of in zip(observed, expected, strict=True))
    return statistic, chi_square_tail(statistic, len(observed) - 1)


def chi_square_tail(x: float, freedom: int) -> float:
    """The probability of a chi-square above x >= 0, with so many degrees of freedom >= 1.

    Q(a, x/2) for a half or whole a, from the complementary error function or the exponential upwards by
    Q(a + 1, y) = Q(a, y) + y^a e^-y / Gamma(a + 1): M. Abramowitz, I. A. Stegun, "Handbook of Mathematical Functions"
    (1964), 26.4.4, 26.4.5 and 6.5.21.
    """
    y = x / 2
    if y <= 0:
        return 1.0
    a, tail = (0.5, erfc(sqrt(y))) if freedom % 2 else (1.0, exp(-y))
    while a < freedom / 2:
        tail += exp(a * log(y) - y - lgamma(a + 1))
        a += 1
    return min(tail, 1.0)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values of several comparisons, adjusted so that the chance of any false one stays below the level.

    S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6 (1979),
    65-70; adjusted as by S. P. Wright, Biometrics 48 (1992), 1005-1013. .01, .04, .03 become .03, .06, .06.
    """
    adjusted = [1.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min((len(p_values) - rank) * p_values[index], 1.0))
        adjusted[index] = highest
    return adjusted


def holm_levels(p_values: Sequence[float], alpha: float = ALPHA) -> list[float]:
    """The level that Holm's procedure holds each p-value to: alpha / m for the least, alpha / (m - 1) for the next, and
    for the first that fails and all after it the same. A p-value is at most its level exactly where `holm` gives alpha
    or less, so that an interval drawn at this level says what the verdict says.
    """
    levels = [alpha] * len(p_values)
    left, failed = len(p_values), False
    for index in sorted(range(len(p_values)), key=p_values.__getitem__):
        levels[index] = alpha / left
        failed = failed or p_values[index] > levels[index]
        left -= 0 if failed else 1
    return levels


def sample_size(base: float, other: float, *, power: float = 0.8, alpha: float = ALPHA) -> float:
    """Trials that each of two arms needs so that a two-sided z-test at the end finds this difference; not rounded.

    Fleiss, Levin, Paik (2003), chapter 4, with the variance under no difference taken at the base rate on both sides,
    as E. Miller does ("Sample Size Calculator", evanmiller.org/ab-testing): 20 % against 25 % gives 1,030.
    Rates lie between 0 and 1, and are not the same.
    """
    needed = _quantile(1 - alpha / 2) * sqrt(2 * base * (1 - base)) + _quantile(power) * sqrt(
        base * (1 - base) + other * (1 - other)
    )
    return (needed / (other - base)) ** 2


def sequential_sample_size(base: float, other: float, *, power: float = 0.8, alpha: float = ALPHA) -> int | None:
    """Trials that each of two arms needs until `difference_sequence` leaves out zero with this power at the latest.

    The boundary of Waudby-Smith et al. at n + n observations, in the place of the normal quantile of `sample_size`.
    None where it is more than TRIALS_MAX.
    """
    spread = base * (1 - base) + other * (1 - other)
    reach = _quantile(power)
    return _first(lambda n: abs(other - base) >= sqrt(spread / n) * (_boundary(2 * n, alpha) + reach))


def days_needed(per_arm: int, arms: int, per_day: float) -> int:
    """Whole days until every arm has its trials, with so many a day shared evenly among them. per_day > 0."""
    return ceil(per_arm * arms / per_day)


def chances_to_be_best(counts: Sequence[tuple[int, int]]) -> list[float]:
    """The probability of each (hits, trials) to have the highest rate, each rate being anything at first.

    Beta posteriors by a uniform prior, the integral of one's density and the others' distributions: S. L. Scott,
    "A modern Bayesian look at the multi-armed bandit", Applied Stochastic Models in Business and Industry 26 (2010),
    639-658; integrated numerically, by the midpoint rule. It speaks of these counts alone, and not of looking again.
    """
    posteriors = [_Posterior(hits + 1, trials - hits + 1) for hits, trials in counts]
    found = []
    for own in posteriors:
        total = 0.0
        for x, height in zip(own.points, own.heights, strict=True):
            for other in posteriors:
                if other is not own:
                    height *= other.below(x)
            total += height
        found.append(total)
    whole = sum(found)
    return [each / whole for each in found]


class _Posterior:
    """A Beta(a, b) distribution, at GRID points over all of it that matters."""

    def __init__(self, a: int, b: int) -> None:
        mean = a / (a + b)
        reach = GRID_REACH * sqrt(mean * (1 - mean) / (a + b + 1))
        self._low, high = max(mean - reach, 0.0), min(mean + reach, 1.0)
        self._step = (high - self._low) / GRID
        self.points = [self._low + self._step * (index + 0.5) for index in range(GRID)]
        scale = lgamma(a + b) - lgamma(a) - lgamma(b) + log(self._step)
        self.heights = [exp(scale + (a - 1) * log(x) + (b - 1) * log1p(-x)) for x in self.points]
        whole = sum(self.heights)
        self._passed = [0.0, *(passed / whole for passed in accumulate(self.heights))]

    def below(self, x: float) -> float:
        """The probability of a value below x."""
        at = (x - self._low) / self._step
        if at <= 0 or at >= GRID:
            return 0.0 if at <= 0 else 1.0
        left = int(at)
        return self._passed[left] + (at - left) * (self._passed[left + 1] - self._passed[left])


def _difference(hits: int, trials: int, hits_base: int, trials_base: int) -> tuple[float, float]:
    """The difference of two proportions and the variance of that."""
    return hits / trials - hits_base / trials_base, _variance(hits, trials) + _variance(hits_base, trials_base)


def _variance(hits: int, trials: int) -> float:
    """Of a proportion. One without any hit or miss would have none: half of each is added there (Haldane, 1956)."""
    p = hits / trials if 0 < hits < trials else (hits + 0.5) / (trials + 1)
    return p * (1 - p) / trials


def _boundary(n: int, alpha: float) -> float:
    """By how many standard errors the estimate of n observations may be off, at any time, at this level."""
    grown = n * _RHO_SQUARED
    return sqrt(2 * (grown + 1) / grown * log(sqrt(grown + 1) / alpha))


def _p_of(z_squared: float, n: int) -> float:
    grown = n * _RHO_SQUARED
    return min(sqrt(grown + 1) * exp(-z_squared * grown / (2 * (grown + 1))), 1.0)


def _first(reached: Callable[[int], bool]) -> int | None:
    """The least n that reaches something which all larger ones reach too; None above TRIALS_MAX."""
    high = 1
    while not reached(high):
        high *= 2
        if high > TRIALS_MAX:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high


def _quantile(share: float) -> float:
    return _NORMAL.inv_cdf(share)
