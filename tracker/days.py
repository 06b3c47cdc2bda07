"""Local days in quarter-hour buckets: every zone's day boundary of today's time falls on one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo, available_timezones

BUCKET_S = 900
# Names in the zone database that stand for no zone.
NO_PLACES = frozenset({"Factory", "localtime"})
BUCKET_MS = BUCKET_S * 1000
DAY_MS = 86_400_000


class Span(NamedTuple):
    """Buckets `start` (inclusive) to `end` (exclusive) over which the zone keeps one offset, in buckets, from UTC."""

    start: int
    end: int
    offset: int


def is_zone(name: str) -> bool:
    return name in available_timezones() and name not in NO_PLACES


def now() -> datetime:
    return datetime.now(UTC)


def from_ms(at_ms: int) -> datetime:
    """Milliseconds since 1970 as an instant in UTC."""
    return datetime.fromtimestamp(at_ms / 1000, UTC)


def to_ms(at: datetime) -> int:
    """An instant as milliseconds since 1970; the clock's own precision is finer and is cut."""
    return int(at.timestamp() * 1000)


def today(zone: ZoneInfo, at: datetime) -> date:
    return at.astimezone(zone).date()


def start_of(day: date, zone: ZoneInfo) -> datetime:
    """The first instant of a local day. Where midnight does not exist (a clock put forward), the first that does."""
    local = datetime.combine(day, time(), zone)
    return local.astimezone(UTC)


def bucket_of(at: datetime) -> int:
    return int(at.timestamp()) // BUCKET_S


def bucket_range(first: date, last: date, zone: ZoneInfo) -> tuple[int, int]:
    """Buckets from the start of `first` (inclusive) to the end of `last` (exclusive)."""
    return bucket_of(start_of(first, zone)), bucket_of(start_of(last + timedelta(days=1), zone))


def _offset(bucket: int, zone: ZoneInfo) -> int:
    offset = datetime.fromtimestamp(bucket * BUCKET_S, UTC).astimezone(zone).utcoffset()
    return round((offset or timedelta()).total_seconds()) // BUCKET_S


def spans(start: int, end: int, zone: ZoneInfo) -> Iterator[Span]:
    """Cuts a run of buckets where the zone's offset changes, so that `(bucket + offset) // 96` is the local day."""
    while start < end:
        offset = _offset(start, zone)
        good, probe = start, start
        while probe < end and _offset(probe, zone) == offset:
            good = probe
            probe += 96
        low, high = good, min(probe, end)
        # No zone changes its offset twice within a day, so the change lies between the last good bucket and here.
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if _offset(middle, zone) == offset else (low, middle)
        yield Span(start, high, offset)
        start = high


def local_day(index: int) -> date:
    """The date of a day number counted from 1970-01-01, local."""
    return date(1970, 1, 1) + timedelta(days=index)


def dates(first: date, last: date) -> Iterator[date]:
    for step in range((last - first).days + 1):
        yield first + timedelta(days=step)
