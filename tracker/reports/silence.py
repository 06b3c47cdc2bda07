"""Whether what came regularly has stopped: a campaign's last days held against its own days before. Pure.

Days here are 24 hours back from now, whatever the clock says: so each holds every hour of a day once, nights too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import log
from typing import NamedTuple

from tracker.events import Kind

SILENT_DAYS_MAX = 14  # beyond that it is over, and no news
BEFORE_DAYS = 14  # what is expected is read off so many
BEFORE_DAYS_MIN = 3
RECENT_DAYS = 3
WEEK = 7
DAYS = SILENT_DAYS_MAX + BEFORE_DAYS + 1
# Nothing where so many are expected has a chance of exp(-expected), if they come independently (Poisson).
CHANCE_MAX = 0.001
EXPECTED_MIN = -log(CHANCE_MAX)


class History(NamedTuple):
    """What counted of a campaign in each of its last DAYS days, the newest first."""

    impressions: Sequence[int]
    clicks: Sequence[int]
    conversions: Sequence[int]

    @property
    def days(self) -> int:
        """How many days ago anything first came, at most as many as are looked at."""
        together = zip(self.impressions, self.clicks, self.conversions, strict=True)
        return max((number for number, came in enumerate(together, 1) if any(came)), default=0)


class Silence(NamedTuple):
    """What came and has stopped for so many whole days. `is_all`: nothing else comes either."""

    kind: Kind
    days: int
    is_all: bool


def silences(history: History) -> Iterator[Silence]:
    """What has stopped. Where nothing comes at all that is said once, of whatever of its hits came last."""
    seen, clicked, sold = history
    quiet = [
        (kind, days)
        for kind, counts, beside in ((Kind.IMPRESSION, seen, clicked), (Kind.CLICK, clicked, seen))
        if (days := _silent_days(counts, beside, history.days))
    ]
    if not seen[0] and not clicked[0]:
        if quiet:
            kind, days = min(quiet, key=lambda each: each[1])
            yield Silence(kind, days, is_all=True)
        return
    for kind, days in quiet:
        yield Silence(kind, days, is_all=False)
    # Where no clicks come there is nothing to convert.
    if clicked[0] and (days := _silent_days(sold, clicked, history.days)):
        yield Silence(Kind.CONVERSION, days, is_all=False)


def may_be_silent(counts: Sequence[int]) -> bool:
    """Whether a silence could be more than chance, by what came of one kind alone: what else is known can clear it."""
    silent = next((number for number, n in enumerate(counts) if n), 0)
    last = max((number for number, n in enumerate(counts, 1) if n), default=0)
    before = len(range(silent + 1, min(silent + 1 + BEFORE_DAYS, last)))
    if not 0 < silent <= SILENT_DAYS_MAX or before < BEFORE_DAYS_MIN:
        return False
    recent = sum(counts[silent : silent + RECENT_DAYS]) / RECENT_DAYS
    return silent * min(recent, sum(counts[silent + 1 :]) / before) > EXPECTED_MIN


def _silent_days(counts: Sequence[int], beside: Sequence[int], age: int) -> int:
    """For how many whole days it has been silent where that is more than chance, else 0."""
    silent = next((number for number, n in enumerate(counts) if n), 0)
    if 0 < silent <= SILENT_DAYS_MAX and _expected(counts, beside, silent, age) > EXPECTED_MIN:
        return silent
    return 0


def _expected(counts: Sequence[int], beside: Sequence[int], silent: int, age: int) -> float:
    """How many would have come at the least, by all that can be told; 0 where too little is known.

    By its mean, by the days right before it stopped (a mailing fades out), by the same days of the two weeks before
    (weekends), and by what came of that beside which it comes. Each of them protects from a false alarm of its own.
    """
    before = range(silent + 1, min(silent + 1 + BEFORE_DAYS, age))
    if len(before) < BEFORE_DAYS_MIN:
        return 0
    mean = sum(counts[day] for day in before) / len(before)
    recent = sum(counts[silent : silent + RECENT_DAYS]) / RECENT_DAYS
    least = silent * min(mean, recent)
    # The first week back that lies before the silence, and the one before it.
    back = (silent // WEEK + 1) * WEEK
    has_weeks = back + WEEK + silent <= age
    if has_weeks:
        least = min(least, *(sum(counts[week : week + silent]) for week in (back, back + WEEK)))
    meanwhile, then = sum(beside[:silent]), sum(beside[day] for day in before)
    if meanwhile and then:
        return min(least, meanwhile * sum(counts[day] for day in before) / then)
    return least if has_weeks else 0
