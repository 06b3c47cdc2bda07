"""The campaign report: rollups and conversions put together once, for page, API and terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from typing import NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from tracker import conversions, days
from tracker.errors import Invalid
from tracker.events import Kind
from tracker.models import Campaign, Link, Workspace
from tracker.reports import comparison, metrics
from tracker.stores import Cell, EventStore

DAYS_DEFAULT = 14
DAYS_MAX = 1100
HOURLY_DAYS_MAX = 31
IN_MAX = 500
FIRST_DAY, LAST_DAY = date(1980, 1, 1), date(2100, 1, 1)
INTERVALS = ("day", "hour", "week", "month")
GROUPS: dict[str, Callable[[Link], str | None]] = {
    "link": lambda link: link.code,
    "content": lambda link: link.content,
    "source": lambda link: link.source,
    "medium": lambda link: link.medium,
    "term": lambda link: link.term,
}


class Period(NamedTuple):
    """Local dates, both inclusive."""

    first: date
    last: date

    @property
    def length(self) -> int:
        return (self.last - self.first).days + 1

    @property
    def before(self) -> Period:
        """As many days, directly before."""
        return Period(self.first - timedelta(days=self.length), self.first - timedelta(days=1))


@dataclass(frozen=True, slots=True)
class Point:
    """One step of the series. `at` is a local date, or for hours an instant with its offset."""

    at: date | datetime
    impressions: int = 0
    clicks: int = 0
    conversions: int = 0


@dataclass(frozen=True, slots=True)
class Group:
    """The metrics of the links that share one value; `key` is None for links without one."""

    key: str | None
    totals: metrics.Totals
    links: list[Link]


@dataclass(frozen=True, slots=True)
class CampaignReport:
    """Everything a campaign page shows of one period."""

    campaign: Campaign
    period: Period
    timezone: str
    as_of: datetime
    totals: metrics.Totals
    series: list[Point]
    groups: dict[str, list[Group]]
    previous_period: Period | None
    previous: metrics.Totals | None
    previous_series: list[Point] | None
    changes: dict[str, comparison.Difference | None] | None
    outside_window: int


def default_period(workspace: Workspace, now: datetime) -> Period:
    """The last 14 whole days in the workspace's zone: today is not over, so it is not among them."""
    yesterday = days.today(ZoneInfo(workspace.timezone), now) - timedelta(days=1)
    return Period(yesterday - timedelta(days=DAYS_DEFAULT - 1), yesterday)


def today(workspace: Workspace, now: datetime) -> Period:
    day = days.today(ZoneInfo(workspace.timezone), now)
    return Period(day, day)


def read_period(workspace: Workspace, first: str | None, last: str | None, now: datetime) -> Period:
    """A period from the texts of `from` and `to`; without a last day it runs to today. Raises Invalid."""
    default = default_period(workspace, now)
    errors: dict[str, str] = {}

    def day(field: str, text: str) -> date:
        """One way to write a date, of the several that ISO 8601 has."""
        try:
            found = date.fromisoformat(text)
        except ValueError:
            found = date.min
        if found.isoformat() != text or not FIRST_DAY <= found <= LAST_DAY:
            errors[field] = f"A date is written like 2026-11-07, from {FIRST_DAY} to {LAST_DAY}."
            return default.last
        return found

    end = day("to", last) if last else today(workspace, now).last if first else default.last
    start = day("from", first) if first else end - timedelta(days=DAYS_DEFAULT - 1)
    period = Period(start, end)
    if not errors and period.length < 1:
        errors["to"] = "The last day lies before the first."
    if not errors and period.length > DAYS_MAX:
        errors["from"] = f"A report covers at most {DAYS_MAX} days."
    if errors:
        raise Invalid(errors)
    return period


def began_today(store: EventStore, campaign: Campaign, workspace: Workspace, now: datetime) -> bool:
    """Whether nothing happened before today: a report of whole days would then show nothing at all."""
    zone = ZoneInfo(workspace.timezone)
    first = store.first_bucket(campaign.id)
    return first is None or first >= days.bucket_of(days.start_of(days.today(zone, now), zone))


def build(
    session: Session,
    store: EventStore,
    workspace: Workspace,
    campaign: Campaign,
    period: Period,
    *,
    now: datetime,
    compare: bool = False,
    group_by: Iterable[str] = (),
    interval: str = "day",
) -> CampaignReport:
    """Puts the report together. `group_by` names keys of GROUPS; `compare` adds as many days directly before."""
    zone = ZoneInfo(workspace.timezone)
    cells, sales, outside = _collect(session, store, campaign, period, zone)
    links = _links(session, campaign, {cell.link_id for cell in cells} | set(sales)) if group_by else []
    before = period.before if compare else None
    previous = None
    if before:
        cells_before, sales_before, _ = _collect(session, store, campaign, before, zone)
        previous = metrics.totals(cells_before, sales_before)
    found = metrics.totals(cells, sales)
    return CampaignReport(
        campaign=campaign,
        period=period,
        timezone=workspace.timezone,
        as_of=now.astimezone(UTC),
        totals=found,
        series=_series(session, store, campaign, period, zone, interval),
        groups={name: _groups(links, cells, sales, name) for name in group_by},
        previous_period=before,
        previous=previous,
        previous_series=_series(session, store, campaign, before, zone, interval) if before else None,
        changes=comparison.changes(found, previous) if previous else None,
        outside_window=outside,
    )


def totals(
    session: Session, store: EventStore, workspace: Workspace, campaign: Campaign, period: Period
) -> metrics.Totals:
    """The totals alone, for lists of campaigns."""
    cells, sales, _ = _collect(session, store, campaign, period, ZoneInfo(workspace.timezone))
    return metrics.totals(cells, sales)


def _collect(
    session: Session, store: EventStore, campaign: Campaign, period: Period, zone: ZoneInfo
) -> tuple[list[Cell], dict[int, metrics.Sales], int]:
    start, end = days.bucket_range(period.first, period.last, zone)
    sales: dict[int, metrics.Sales] = {}
    outside = 0
    for row in conversions.sums(session, campaign.id, start * days.BUCKET_MS, end * days.BUCKET_MS):
        outside += row.outside
        known = sales.get(row.link_id, metrics.Sales())
        minor = dict(known.minor)
        if row.currency and row.minor is not None:
            minor[row.currency] = minor.get(row.currency, 0) + row.minor
        sales[row.link_id] = metrics.Sales(known.conversions + row.n, minor)
    return store.totals(campaign.id, start, end), sales, outside


def _links(session: Session, campaign: Campaign, seen: set[int]) -> list[Link]:
    """The links that a campaign has, and those it had when something happened on them."""
    own = list(session.scalars(select(Link).where(Link.campaign_id == campaign.id)))
    moved = sorted(seen.difference(link.id for link in own))
    for start in range(0, len(moved), IN_MAX):
        own += session.scalars(select(Link).where(Link.id.in_(moved[start : start + IN_MAX])))
    return own


def _groups(links: list[Link], cells: list[Cell], sales: dict[int, metrics.Sales], name: str) -> list[Group]:
    """Links by their key, the busiest group first."""
    key_of, of_link = GROUPS[name], name == "link"
    grouped: dict[str | None, list[Link]] = {}
    for link in links:
        grouped.setdefault(key_of(link), []).append(link)
    groups = []
    for key, members in grouped.items():
        ids = {link.id for link in members}
        part = {link_id: sale for link_id, sale in sales.items() if link_id in ids}
        found = metrics.totals((cell for cell in cells if cell.link_id in ids), part, of_link=of_link)
        groups.append(Group(key, found, members))
    return sorted(groups, key=lambda group: (-group.totals.clicks, -group.totals.impressions, group.key or ""))


def _series(
    session: Session, store: EventStore, campaign: Campaign, period: Period, zone: ZoneInfo, interval: str
) -> list[Point]:
    """Every step of the period, those without events too."""
    start, end = days.bucket_range(period.first, period.last, zone)
    spans = list(days.spans(start, end, zone))
    hourly = interval == "hour"
    step = 4 if hourly else 96
    counts: dict[date | datetime, list[int]] = {}
    if hourly:
        for span in spans:
            for index in range((span.start + span.offset) // 4, -(-(span.end + span.offset) // 4)):
                counts[_hour(index, span.offset)] = [0, 0, 0]
    else:
        for day in days.dates(period.first, period.last):
            counts.setdefault(_start_of_step(day, interval, period), [0, 0, 0])

    def add(offset: int, index: int, column: int, n: int) -> None:
        at = _hour(index, offset) if hourly else _start_of_step(days.local_day(index), interval, period)
        counts[at][column] += n

    for found in store.series(campaign.id, spans, step):
        add(found.offset, found.number, 0 if found.kind == Kind.IMPRESSION else 1, found.n)
    for span in spans:
        for index, n in conversions.series(session, campaign.id, span, step):
            add(span.offset, index, 2, n)
    return [Point(at, *three) for at, three in counts.items()]


def _hour(index: int, offset: int) -> datetime:
    """The local hour of a step, with the offset it was counted at (an hour repeated in autumn is two steps)."""
    zone = timezone(timedelta(seconds=offset * days.BUCKET_S))
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(hours=index)).replace(tzinfo=zone)


def _start_of_step(day: date, interval: str, period: Period) -> date:
    """The first day of the step that a day falls in, no earlier than the period itself begins."""
    if interval == "week":
        return max(day - timedelta(days=day.weekday()), period.first)
    if interval == "month":
        return max(day.replace(day=1), period.first)
    return day
