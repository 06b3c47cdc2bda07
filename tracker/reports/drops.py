"""Whether a day fell far behind the same weekday of the weeks before. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

from tracker.reports.metrics import Rate
from tracker.reports.statistics import newcombe

WEEKS = 4
WEEKS_MIN = 3
CLICKS_MIN = 20  # on average; of fewer a half is no news
HALF = 0.5
RATE_KEPT_MAX = 0.7  # of the lowest rate: what falls less is not sudden
HITS_MIN = 20  # of the weeks together
TRIALS_MIN = 50  # of the day
Z_99 = 2.5758293035489004


def known(weeks: Sequence[int]) -> Sequence[int]:
    """The weeks, the newest first, less those before anything came."""
    end = len(weeks)
    while end and not weeks[end - 1]:
        end -= 1
    return weeks[:end]


def may_have_dropped(n: int, week_ago: int) -> bool:
    """Whether a count can be under half of the lowest of some weeks, by the newest of them alone."""
    return n < HALF * week_ago


def may_have_fallen(rate: Rate, week_ago: Rate) -> bool:
    """The same of a rate. Held against each other as products: no rate is divided."""
    both = rate.trials and week_ago.hits
    return bool(both) and rate.hits * week_ago.trials <= RATE_KEPT_MAX * week_ago.hits * rate.trials


def has_dropped(n: int, weeks: Sequence[int]) -> bool:
    """Whether a count is under half of the lowest of the weeks, and by more than chance.

    Two Poisson counts differ by more than z times the root of their sum in one of a hundred cases.
    """
    weeks = known(weeks)
    if len(weeks) < WEEKS_MIN or sum(weeks) < CLICKS_MIN * len(weeks):
        return False
    least = min(weeks)
    return may_have_dropped(n, least) and least - n > Z_99 * sqrt(least + n)


def rate_has_dropped(rate: Rate, weeks: Sequence[Rate]) -> bool:
    """Whether a rate is far under the lowest of the weeks, and surely under all of them together (Newcombe, 95 %)."""
    weeks = [week for week in weeks if week.trials]
    if len(weeks) < WEEKS_MIN or rate.trials < TRIALS_MIN:
        return False
    together = Rate(sum(week.hits for week in weeks), sum(week.trials for week in weeks))
    if not (rate.is_proportion and together.is_proportion) or together.hits < HITS_MIN:
        return False
    if not all(may_have_fallen(rate, week) for week in weeks):
        return False
    return newcombe(rate.hits, rate.trials, together.hits, together.trials)[1] < 0
