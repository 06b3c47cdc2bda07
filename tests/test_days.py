"""Local days fall on quarter hours in every zone, on the days the clock is changed too."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest

from tracker import days

pytestmark = pytest.mark.any_database


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", date(2026, 3, 29), 23),
        ("Europe/Berlin", date(2026, 10, 25), 25),
        ("Asia/Kathmandu", date(2026, 1, 1), 24),
        ("Australia/Lord_Howe", date(2026, 4, 5), 24.5),
        ("America/Santiago", date(2026, 9, 6), 23),
        ("UTC", date(2026, 1, 1), 24),
    ],
)
def test_a_local_day_is_as_long_as_its_clock_says(zone: str, day: date, hours: float) -> None:
    start, end = days.bucket_range(day, day, ZoneInfo(zone))
    assert (end - start) / 4 == hours


def test_buckets_of_a_span_divide_into_the_right_local_days_in_every_zone() -> None:
    for name in sorted(available_timezones()):
        zone = ZoneInfo(name)
        first, last = date(2026, 1, 1), date(2026, 12, 31)
        start, end = days.bucket_range(first, last, zone)
        spans = list(days.spans(start, end, zone))
        assert spans[0].start == start
        assert spans[-1].end == end
        for one, two in pairwise(spans):
            assert one.end == two.start
        for span in spans:
            for bucket in {span.start, (span.start + span.end) // 2, span.end - 1}:
                local = datetime.fromtimestamp(bucket * days.BUCKET_S, UTC).astimezone(zone).date()
                assert days.local_day((bucket + span.offset) // 96) == local, name


def test_instants_go_to_milliseconds_and_back() -> None:
    at = datetime(2026, 11, 21, 12, 0, 0, 123000, UTC)
    assert days.from_ms(days.to_ms(at)) == at
    assert days.today(ZoneInfo("Pacific/Kiritimati"), at) == at.date() + timedelta(days=1)
