"""Variants against each other by one rate: every pair is tested, with looking often and comparing many allowed for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property, lru_cache
from math import ceil
from typing import NamedTuple

from tracker.reports import statistics
from tracker.reports.metrics import Rate

# Hits, and misses, that each side of a pair must be good for at the rate of both together before it is tested: the
# sequences rest on the central limit theorem. Simulated: docs/decisions/0027.
EXPECTED_MIN = 20
RATIO_ALPHA = 0.001  # of the check of a split: an alarm there overturns everything else


class Lift(NamedTuple):
    """A relative difference, .5 being half as much again, with its limits."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Pair:
    """Two variants, by their places. `difference` is the first's rate less the second's, between `low` and `high`.

    The limits are those of a confidence sequence at the level that Holm's procedure holds this pair to, so that they
    leave out zero exactly where it is settled; `level` is that one. `p` is adjusted by Holm over all pairs. `more`: so
    many trials of both together are still missing, until it is settled, or until it can be tested where it is too
    early; None where that cannot be told, or nobody could wait for it.
    """

    first: int
    second: int
    difference: float
    low: float | None
    high: float | None
    lift: Lift | None
    level: float
    p: float
    is_settled: bool
    is_early: bool
    more: int | None


class Outcome(StrEnum):
    """What can be said of all variants: nothing yet, no difference, one above some, or above all others."""

    EARLY = "too_early"
    OPEN = "open"
    AHEAD = "ahead"
    BEST = "best"


@dataclass(frozen=True)
class Trial:
    """Rates of two or more variants, by their places; those that are no proportions take no part.

    `pairs` hold the higher rate first, in the order of their places.
    """

    rates: Sequence[Rate]
    pairs: list[Pair]

    @cached_property
    def taking_part(self) -> list[int]:
        return [place for place, rate in enumerate(self.rates) if rate.is_proportion]

    @cached_property
    def leader(self) -> int:
        """The place of the highest rate, the first of several."""
        return max(self.taking_part, key=lambda place: (self.rates[place].value or 0, -place))

    @property
    def outcome(self) -> Outcome:
        if all(pair.is_early for pair in self.pairs):
            return Outcome.EARLY
        beaten = self.beaten
        if not beaten:
            return Outcome.OPEN
        return Outcome.BEST if len(beaten) == len(self.taking_part) - 1 else Outcome.AHEAD

    @cached_property
    def beaten(self) -> list[Pair]:
        """The settled pairs of the leader, the nearest of the beaten first."""
        own = [pair for pair in self.pairs if pair.first == self.leader and pair.is_settled]
        return sorted(own, key=lambda pair: pair.difference)

    @property
    def next_settled(self) -> Pair | None:
        """The open pair that could be settled first, one of the leader's rather than another; None where none can."""
        waiting = [pair for pair in self.pairs if not pair.is_settled and pair.more is not None]
        leader = self.leader
        return min(waiting, key=lambda pair: (pair.first != leader, pair.more or 0), default=None)

    def trials_of(self, pair: Pair) -> int:
        return self.rates[pair.first].trials + self.rates[pair.second].trials

    @cached_property
    def chances(self) -> dict[int, float]:
        """For each place that takes part, the chance of the highest rate by today's counts alone; none if too early."""
        if self.outcome is Outcome.EARLY:
            return {}
        places = self.taking_part
        counts = tuple((self.rates[place].hits, self.rates[place].trials) for place in places)
        return dict(zip(places, _chances(counts), strict=True))

    def between(self, place: int, other: int) -> Pair | None:
        """How one variant stands against another; None where one of them takes no part."""
        for pair in self.pairs:
            if (pair.first, pair.second) == (place, other):
                return pair
            if (pair.first, pair.second) == (other, place):
                return _turned(pair, self.rates)
        return None


@lru_cache(maxsize=statistics.REMEMBERED_MAX)
def _chances(counts: tuple[tuple[int, int], ...]) -> list[float]:
    return statistics.chances_to_be_best(counts)


def run(rates: Sequence[Rate]) -> Trial | None:
    """Tests every pair of variants; None where fewer than two of them have a rate that is a proportion."""
    places = [place for place, rate in enumerate(rates) if rate.is_proportion]
    if len(places) < 2:
        return None
    ordered = [
        (a, b) if (rates[a].value or 0) >= (rates[b].value or 0) else (b, a)
        for at, a in enumerate(places)
        for b in places[at + 1 :]
    ]
    p_values = [_p_of(rates[first], rates[second]) for first, second in ordered]
    levels, adjusted = statistics.holm_levels(p_values), statistics.holm(p_values)
    return Trial(
        rates,
        [
            _pair(rates, places_of_pair, p, level)
            for places_of_pair, p, level in zip(ordered, adjusted, levels, strict=True)
        ],
    )


def is_early(rate: Rate, other: Rate) -> bool:
    """Whether there are too few hits, or misses, to test a pair."""
    pooled = (rate.hits + other.hits) / (rate.trials + other.trials)
    return min(pooled, 1 - pooled) * min(rate.trials, other.trials) < EXPECTED_MIN


def _p_of(rate: Rate, other: Rate) -> float:
    """1 where it is too early, so that Holm's procedure counts the pair and does not reject it."""
    if is_early(rate, other):
        return 1.0
    return statistics.always_valid_p(rate.hits, rate.trials, other.hits, other.trials)


def _pair(rates: Sequence[Rate], places: tuple[int, int], p: float, level: float) -> Pair:
    rate, other = rates[places[0]], rates[places[1]]
    counts = (rate.hits, rate.trials, other.hits, other.trials)
    early = is_early(rate, other)
    low, high = (None, None) if early else statistics.difference_sequence(*counts, level)
    settled = p <= statistics.ALPHA
    return Pair(
        first=places[0],
        second=places[1],
        difference=(rate.value or 0) - (other.value or 0),
        low=low,
        high=high,
        lift=_lift(rate, other, level),
        level=level,
        p=p,
        is_settled=settled,
        is_early=early,
        more=_until_testable(rate, other) if early else statistics.trials_to_settle(*counts, level),
    )


def _turned(pair: Pair, rates: Sequence[Rate]) -> Pair:
    """The same pair seen from the other side."""
    low, high = (None, None) if pair.low is None or pair.high is None else (-pair.high, -pair.low)
    return replace(
        pair,
        first=pair.second,
        second=pair.first,
        difference=-pair.difference,
        low=low,
        high=high,
        lift=_lift(rates[pair.second], rates[pair.first], pair.level),
    )


def _lift(rate: Rate, other: Rate, level: float) -> Lift | None:
    if is_early(rate, other) or not other.hits:
        return None
    return Lift(*statistics.lift_sequence(rate.hits, rate.trials, other.hits, other.trials, level))


def _until_testable(rate: Rate, other: Rate) -> int | None:
    """Trials of both together, in the proportion they have now; None where there is no hit, or no miss, to go by."""
    trials = rate.trials + other.trials
    pooled = (rate.hits + other.hits) / trials
    rarer = min(pooled, 1 - pooled)
    if not rarer:
        return None
    return ceil(EXPECTED_MIN / rarer / min(rate.trials, other.trials) * trials) - trials


@dataclass(frozen=True, slots=True)
class SampleRatio:
    """Whether traffic came as it was meant to be split. `shares` are of one; `p` is that of Pearson's chi-square."""

    observed: list[int]
    shares: list[float]
    chi_square: float
    p: float

    @property
    def is_off(self) -> bool:
        return self.p < RATIO_ALPHA


def sample_ratio(observed: Sequence[int], shares: Sequence[float]) -> SampleRatio:
    whole = sum(shares)
    statistic, p = statistics.chi_square(observed, shares)
    return SampleRatio(list(observed), [share / whole for share in shares], statistic, p)
