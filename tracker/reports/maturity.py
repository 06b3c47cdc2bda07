"""How much of a day's conversions has probably come in: from how long after their clicks earlier ones came."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Select, bindparam, select
from sqlalchemy.orm import Session

from tracker import days
from tracker.days import DAY_MS
from tracker.models import Campaign, Conversion
from tracker.reports.series import Point
from tracker.salesums import COUNTING, VIEW

OBSERVED_MIN = 50
OBSERVED_MAX = 300  # the newest of those whose click is older than the window: nothing more can come of it
WHOLE_FROM = 0.95
PARTS = 24  # of a step, each with its own age


@dataclass(frozen=True, slots=True)
class Curve:
    """How long after their click conversions came, in milliseconds, the shortest first."""

    delays_ms: Sequence[int]

    def share(self, age_ms: float) -> float:
        """The share of a click's conversions that have come when it is this old."""
        return bisect_right(self.delays_ms, age_ms) / len(self.delays_ms)

    def complete(self, start_ms: int, end_ms: int, now_ms: int) -> float:
        """The share that has come of clicks spread evenly over a step, as far as it has passed."""
        end_ms = min(end_ms, now_ms)
        if end_ms <= start_ms:
            return 1.0  # nothing has been clicked there yet
        length = (end_ms - start_ms) / PARTS
        return sum(self.share(now_ms - start_ms - (part + 0.5) * length) for part in range(PARTS)) / PARTS


def curve(session: Session, campaign: Campaign, now: datetime) -> Curve | None:
    """From clicks that are older than the campaign's window; `None` with fewer conversions than tell anything."""
    before_ms = days.to_ms(now) - campaign.click_window_days * DAY_MS
    found = session.scalars(_delays(), {"campaign": campaign.id, "before_ms": before_ms})
    delays = sorted(found)
    return Curve(delays) if len(delays) >= OBSERVED_MIN else None


@cache
def _delays() -> Select[Any]:
    return (
        select(Conversion.converted_at_ms - Conversion.click_at_ms)
        .where(
            Conversion.campaign_id == bindparam("campaign"),
            Conversion.click_at_ms < bindparam("before_ms"),
            Conversion.status.in_(COUNTING),
            Conversion.outside_window.is_(False),
            Conversion.is_test.is_(False),
            Conversion.matched_by != VIEW,
            Conversion.click_id.is_not(None),
        )
        .order_by(Conversion.click_at_ms.desc())
        .limit(OBSERVED_MAX)
    )


def marked(points: list[Point], found: Curve | None, last: date, zone: ZoneInfo, now: datetime) -> list[Point]:
    """The points, each with the share of its conversions that has probably come in."""
    if found is None or not points:
        return points
    starts = [_start_ms(point.at, zone) for point in points]
    ends = [*starts[1:], days.to_ms(days.start_of(last + timedelta(days=1), zone))]
    now_ms = days.to_ms(now)
    return [
        replace(point, complete=found.complete(start, end, now_ms))
        for point, start, end in zip(points, starts, ends, strict=True)
    ]


def _start_ms(at: date | datetime, zone: ZoneInfo) -> int:
    return days.to_ms(at if isinstance(at, datetime) else days.start_of(at, zone))
