"""What happened when: the steps of a report's chart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone

from tracker import days
from tracker.days import Span
from tracker.events import Kind
from tracker.reports.facts import Facts
from tracker.reports.metrics import Rate
from tracker.stores import Step
from tracker.summing import DAY

HOUR = 4  # in buckets


@dataclass(frozen=True, slots=True)
class Point:
    """One step of the series. `at` is a local date, or for hours an instant with its offset.

    `complete` is the share of its conversions that has probably come in, `None` where that is not known. `seen_clicks`
    are those of links that have impressions in the period, `None` where it is not known which these are.
    """

    at: date | datetime
    impressions: int = 0
    clicks: int = 0
    conversions: int = 0
    complete: float | None = None
    seen_clicks: int | None = None

    @property
    def ctr(self) -> Rate:
        return Rate(self.seen_clicks or 0, self.impressions if self.seen_clicks is not None else 0)

    @property
    def conversion_rate(self) -> Rate:
        return Rate(self.conversions, self.clicks)


def series(
    facts: Facts,
    first: date,
    last: date,
    spans: Sequence[Span],
    interval: str,
    seen_steps: Sequence[Step] | None = None,
) -> list[Point]:
    """Every step of the days from `first` to `last`, those without events too.

    `seen_steps` are of links that have impressions, where others have clicks too.
    """
    hourly = interval == "hour"
    counts: dict[date | datetime, list[int]] = {}
    if hourly:
        for span in spans:
            for index in range((span.start + span.offset) // HOUR, -(-(span.end + span.offset) // HOUR)):
                counts[_hour(index, span.offset)] = [0] * 4
    else:
        for day in days.dates(first, last):
            counts.setdefault(_start_of_step(day, interval, first), [0] * 4)
    # Added up by number first: there are many more hours than days, and to find a day's date takes the time.
    size = 1 if hourly else DAY // facts.step
    sums: dict[tuple[int, int], list[int]] = {}
    for offset, number, kind, n in facts.steps:
        sums.setdefault((offset, number // size), [0] * 4)[0 if kind == Kind.IMPRESSION else 1] += n
    for offset, number, n in facts.sale_steps:
        sums.setdefault((offset, number // size), [0] * 4)[2] += n
    for offset, number, kind, n in seen_steps or ():
        if kind == Kind.CLICK:
            sums.setdefault((offset, number // size), [0] * 4)[3] += n
    for (offset, number), four in sums.items():
        at = _hour(number, offset) if hourly else _start_of_step(days.local_day(number), interval, first)
        counts[at] = [had + n for had, n in zip(counts[at], four, strict=True)]
    return [
        Point(at, seen, clicked, converted, seen_clicks=of_seen if seen_steps is not None else None)
        for at, (seen, clicked, converted, of_seen) in counts.items()
    ]


def _hour(index: int, offset: int) -> datetime:
    """The local hour of a step, with the offset it was counted at (an hour repeated in autumn is two steps)."""
    zone = timezone(timedelta(seconds=offset * days.BUCKET_S))
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(hours=index)).replace(tzinfo=zone)


def _start_of_step(day: date, interval: str, first: date) -> date:
    """The first day of the step that a day falls in, no earlier than the period itself begins."""
    if interval == "week":
        return max(day - timedelta(days=day.weekday()), first)
    if interval == "month":
        return max(day.replace(day=1), first)
    return day
