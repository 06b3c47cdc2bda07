"""What happened when: the steps of a report's chart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone

from tracker import days
from tracker.days import Span
from tracker.events import Kind
from tracker.reports.facts import Facts


@dataclass(frozen=True, slots=True)
class Point:
    """One step of the series. `at` is a local date, or for hours an instant with its offset.

    `complete` is the share of its conversions that has probably come in, `None` where that is not known.
    """

    at: date | datetime
    impressions: int = 0
    clicks: int = 0
    conversions: int = 0
    complete: float | None = None


def series(facts: Facts, first: date, last: date, spans: Sequence[Span], interval: str) -> list[Point]:
    """Every step of the days from `first` to `last`, those without events too."""
    hourly = interval == "hour"
    counts: dict[date | datetime, list[int]] = {}
    if hourly:
        for span in spans:
            for index in range((span.start + span.offset) // 4, -(-(span.end + span.offset) // 4)):
                counts[_hour(index, span.offset)] = [0, 0, 0]
    else:
        for day in days.dates(first, last):
            counts.setdefault(_start_of_step(day, interval, first), [0, 0, 0])

    def add(offset: int, index: int, column: int, n: int) -> None:
        at = _hour(index, offset) if hourly else _start_of_step(days.local_day(index), interval, first)
        counts[at][column] += n

    for found in facts.steps:
        add(found.offset, found.number, 0 if found.kind == Kind.IMPRESSION else 1, found.n)
    for offset, index, n in facts.sale_steps:
        add(offset, index, 2, n)
    return [Point(at, *three) for at, three in counts.items()]


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
