"""A report's series as charts: one drawing for a desk, one for a phone, and the same figures as a table."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from tracker import days
from tracker.reports.campaign import CampaignReport
from tracker.reports.grouping import Group
from tracker.reports.maturity import WHOLE_FROM
from tracker.reports.metrics import Rate
from tracker.reports.series import Point
from tracker.web import charts as geometry
from tracker.web import formats, words
from tracker.web.charts import NARROW, WIDE, Band, Chart, Mark, RateValue, Value
from tracker.web.periods import RATES

GROUPS_SHOWN = 10
NOUNS = {
    "clicks": ("click", "clicks"),
    "impressions": ("impression", "impressions"),
    "conversions": ("conversion", "conversions"),
}


class Marker(Protocol):
    """A change to be marked in a chart."""

    @property
    def at(self) -> datetime: ...
    @property
    def title(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the table beside a chart."""

    name: str
    point: Point
    before: Point | None


@dataclass(frozen=True, slots=True)
class Partial:
    """A step of which more conversions are to come: about this share has come in."""

    name: str
    share: float


@dataclass(frozen=True, slots=True)
class Charts:
    """The drawings of one metric and the table of all of them."""

    wide: Chart
    narrow: Chart
    steps: list[Step]
    has_before: bool
    partial: list[Partial]


@dataclass(frozen=True, slots=True)
class GroupTable:
    """The busiest groups, each with its two rates drawn on the scale of all; `left` are not shown."""

    shown: list[tuple[Group, Band | None, Band | None]]
    left: int


def charts(report: CampaignReport, metric: str, markers: Sequence[Marker] = ()) -> Charts:
    earlier: list[Point | None] = list(report.previous_series or [])
    earlier += [None] * (len(report.series) - len(earlier))
    steps = [Step(_name(point.at), point, before) for point, before in zip(report.series, earlier, strict=False)]
    marks = _marks(report, markers)
    one_day = report.period.length == 1
    if metric in RATES:
        rates = [_rate_value(step, metric, one_day) for step in steps]
        before = [getattr(step.before, metric) for step in steps if step.before is not None]
        has_before = any(rate.value is not None for rate in before)
        wide, narrow = (
            geometry.rate_chart(rates, before, size, formats.axis_percent, marks) for size in (WIDE, NARROW)
        )
    else:
        values = [_value(step, metric, one_day) for step in steps]
        previous = [getattr(step.before, metric) for step in steps if step.before is not None]
        has_before = any(previous)
        line = previous if has_before else []
        wide, narrow = (geometry.bar_chart(values, line, size, marks) for size in (WIDE, NARROW))
    partial = [Partial(step.name, share) for step in steps if (share := _share(step.point)) is not None]
    return Charts(wide, narrow, steps, has_before, partial)


def _marks(report: CampaignReport, markers: Sequence[Marker]) -> list[Mark]:
    """Where on the axis of steps the changes lie; those outside it are left out."""
    zone = ZoneInfo(report.timezone)
    starts = [_start(point.at, zone) for point in report.series]
    if not starts:
        return []
    starts.append(days.start_of(report.period.last + timedelta(days=1), zone))
    marks = []
    for marker in markers:
        index = bisect_right(starts, marker.at) - 1
        if 0 <= index < len(starts) - 1:
            within = (marker.at - starts[index]) / (starts[index + 1] - starts[index])
            marks.append(Mark(index + within, marker.title))
    return marks


def _start(at: date | datetime, zone: ZoneInfo) -> datetime:
    return at if isinstance(at, datetime) else days.start_of(at, zone)


def _rate_value(step: Step, metric: str, one_day: bool) -> RateValue:
    rate: Rate = getattr(step.point, metric)
    title = f"{step.name}: {_rate_said(rate)}"
    if step.before is not None:
        title += f"; before, {_name(step.before.at)}: {formats.rate(getattr(step.before, metric))}"
    return RateValue(rate, _label(step.point.at, one_day), title)


def _rate_said(rate: Rate) -> str:
    limits = formats.limits(rate)
    return formats.rate(rate) + (f", between {limits}" if limits else "")


def _share(point: Point) -> float | None:
    """The share of a step's conversions that has come in, where more are to come."""
    return point.complete if point.complete is not None and point.complete < WHOLE_FROM else None


def _value(step: Step, metric: str, one_day: bool) -> Value:
    n = getattr(step.point, metric)
    title = f"{step.name}: {formats.number(n)} {words.times(n, *NOUNS[metric])}"
    if step.before is not None:
        title += f"; before, {_name(step.before.at)}: {formats.number(getattr(step.before, metric))}"
    share = _share(step.point) if metric == "conversions" else None
    if share is not None:
        title += f"; about {formats.share(share)} of them have probably come in"
    return Value(n, _label(step.point.at, one_day), title, share is not None)


def _name(at: date | datetime) -> str:
    return f"{formats.day(at.date())}, {formats.hour(at)}" if isinstance(at, datetime) else formats.day(at)


def _label(at: date | datetime, one_day: bool) -> str:
    """Under hours of several days only the days are named, where they begin."""
    if not isinstance(at, datetime):
        return formats.day(at)
    if one_day:
        return formats.hour(at)
    return formats.day(at.date()) if at.hour == 0 else ""


def bands(report: CampaignReport) -> dict[str, Band | None]:
    """The tiles' rates, each on a scale that holds the period before as well."""
    found = {}
    for name in ("ctr", "conversion_rate"):
        rate = getattr(report.totals, name)
        rates = [rate, getattr(report.previous, name)] if report.previous else [rate]
        found[name] = geometry.band(rate, geometry.band_top(rates))
    return found


def groups(found: Sequence[Group], shown_max: int = GROUPS_SHOWN) -> GroupTable:
    shown = found[:shown_max]
    ctr_top = geometry.band_top(group.totals.ctr for group in shown)
    conversion_top = geometry.band_top(group.totals.conversion_rate for group in shown)
    rows = [
        (
            group,
            geometry.band(group.totals.ctr, ctr_top),
            geometry.band(group.totals.conversion_rate, conversion_top),
        )
        for group in shown
    ]
    return GroupTable(rows, len(found) - len(shown))
