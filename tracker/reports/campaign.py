"""The campaign report: rollups and conversions put together once, for page, API and terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Select, bindparam, select
from sqlalchemy.orm import Session, lazyload

from tracker import days
from tracker.days import Span
from tracker.errors import Invalid
from tracker.links import by_ids
from tracker.models import Campaign, Link, Workspace
from tracker.money import Money
from tracker.reports import comparison, cost, maturity, metrics, weekhours
from tracker.reports.cost import Finances
from tracker.reports.facts import Facts, gather
from tracker.reports.filters import DIMENSIONS, EVERYTHING, LINK_FIELDS, NAMES, Filters
from tracker.reports.grouping import Group, Later, by_dimension, by_field
from tracker.reports.series import HOUR, Point, series
from tracker.reports.weekhours import WeekHour
from tracker.salesums import Axis
from tracker.stores import ALL, Dimension, EventStore, Selection, Step
from tracker.summing import DAY

DAYS_DEFAULT = 14
DAYS_MAX = 1100
HOURLY_DAYS_MAX = 31
YEAR_DAYS = 364
HEAT_DAYS_MAX = 92
FIRST_DAY, LAST_DAY = date(1980, 1, 1), date(2100, 1, 1)
DATE_REFUSED = f"A date is written like 2026-11-07, from {FIRST_DAY} to {LAST_DAY}."
COMPARISONS = ("previous", "year", "custom")
INTERVALS = ("day", "hour", "week", "month")
GROUPS = NAMES
AXES = {"click": Axis.CLICK, "conversion": Axis.CONVERSION}


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
        return self.moved(-self.length)

    @property
    def year_before(self) -> Period:
        """As many days 52 weeks before: a year on the same days of the week."""
        return self.moved(-YEAR_DAYS)

    def moved(self, by_days: int) -> Period:
        by = timedelta(days=by_days)
        return Period(self.first + by, self.last + by)

    def spans(self, zone: ZoneInfo) -> list[Span]:
        return list(days.spans(*days.bucket_range(self.first, self.last, zone), zone))


@dataclass(frozen=True, slots=True)
class CampaignReport:
    """Everything a campaign page shows of one period, cut down by `filters`."""

    campaign: Campaign
    period: Period
    timezone: str
    as_of: datetime
    totals: metrics.Totals
    series: list[Point]
    groups: Mapping[str, Sequence[Group]]
    previous_period: Period | None
    previous: metrics.Totals | None
    previous_series: list[Point] | None
    changes: dict[str, comparison.Difference | None] | None
    outside_window: int
    views: metrics.Sales
    filters: Filters
    axis: Axis
    week: list[WeekHour] | None = None
    # What was spent and is in no group, by the name of the grouping.
    not_assigned: Mapping[str, list[Money]] = field(default_factory=dict)


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
        found = _date(text)
        if found is None:
            errors[field] = DATE_REFUSED
        return found or default.last

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


def read_comparison(period: Period, how: str | None, first: str | None) -> Period | None:
    """The period that another is compared with: `previous`, `year`, or `custom` from a first day on; or none at all.

    It is as long as the other, so that sums can be held against each other. Raises Invalid.
    """
    if not how:
        return None
    if how not in COMPARISONS:
        raise Invalid({"compare": f"Compare with one of {', '.join(COMPARISONS)}."})
    if how != "custom":
        found = period.before if how == "previous" else period.year_before
    else:
        day = _date(first or "")
        if day is None:
            raise Invalid({"compare_from": DATE_REFUSED})
        found = period.moved((day - period.first).days)
    if found.first < FIRST_DAY or found.last > LAST_DAY:
        raise Invalid({"compare_from": DATE_REFUSED})
    return found


def _date(text: str) -> date | None:
    """One way to write a date, of the several that ISO 8601 has."""
    try:
        found = date.fromisoformat(text)
    except ValueError:
        return None
    return found if found.isoformat() == text and FIRST_DAY <= found <= LAST_DAY else None


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
    compare: Period | bool = False,
    group_by: Iterable[str] = (),
    interval: str = "day",
    filters: Filters = EVERYTHING,
    axis: Axis = Axis.CLICK,
    marks: bool = True,
    week: bool = False,
    rates: bool = False,
    money_of_hits: bool = True,
) -> CampaignReport:
    """Puts the report together. `group_by` names keys of GROUPS; `compare` adds another period, or if it is True
    as many days directly before.

    Conversions are dated by their click or by themselves, as `axis` says. `marks`: by click, each step tells how much
    of its conversions has probably come in. `week`: the hours of the week too, of a period that is no longer than
    HEAT_DAYS_MAX. `rates`: each step's click-through rate too, which takes another look where links lack impressions.
    `money_of_hits`: what groups of hits earned is told in the workspace's currency too.

    Raises Invalid where more links have a value than a report can be cut down to.
    """
    group_by = list(group_by)
    reading = _Reading(session, store, workspace, campaign, interval, filters, axis)
    hourly = week and period.length <= HEAT_DAYS_MAX
    dimensions = [DIMENSIONS[name] for name in group_by if name in DIMENSIONS]
    facts, finances, steps = reading.of(period, dimensions, hourly=hourly, rates=rates)
    found = finances.of_totals(_totals(facts, filters))
    previous = series_before = None
    if before := period.before if compare is True else compare or None:
        facts_before, finances_before, series_before = reading.of(before, rates=rates)
        previous = finances_before.of_totals(_totals(facts_before, filters))
    if marks and axis == Axis.CLICK:
        curve = maturity.curve(session, campaign, now)
        steps = maturity.marked(steps, curve, period.last, ZoneInfo(workspace.timezone), now)
    by_links = any(name in LINK_FIELDS for name in group_by)
    links = [link for link in _links(session, campaign, facts.links) if filters.fits(link)] if by_links else []

    def grouped(name: str) -> Sequence[Group]:
        some = by_dimension(facts, found, name) if name in DIMENSIONS else by_field(links, facts, name)
        return finances.of_groups(name, some) if money_of_hits or name in LINK_FIELDS else some

    groups = Later(group_by, grouped)
    return CampaignReport(
        campaign=campaign,
        period=period,
        timezone=workspace.timezone,
        as_of=now.astimezone(UTC),
        totals=found,
        series=steps,
        groups=groups,
        previous_period=before,
        previous=previous,
        previous_series=series_before,
        changes=comparison.changes(found, previous) if previous else None,
        outside_window=facts.outside,
        views=metrics.together(facts.views.values()),
        filters=filters,
        axis=axis,
        week=weekhours.of(facts) if hourly else None,
        not_assigned=Later(group_by, lambda name: finances.not_assigned(name, groups[name])),
    )


def links_of(session: Session, campaign: Campaign, filters: Filters) -> frozenset[int] | None:
    """The ids of the links that filters by links' fields leave; `None` for all. Raises Invalid for too many.

    Of links that belonged to the campaign once and do not any more only whole reports tell.
    """
    return filters.selection(_links(session, campaign, set())).links if filters.by_link else None


def totals(
    session: Session, store: EventStore, workspace: Workspace, campaign: Campaign, period: Period
) -> metrics.Totals:
    """The totals alone, for lists of campaigns."""
    spans = period.spans(ZoneInfo(workspace.timezone))
    facts = gather(session, store, campaign.id, spans, selection=ALL)
    finances = cost.read(session, store, workspace, campaign.id, facts, spans)
    return finances.of_totals(_totals(facts, EVERYTHING))


def counts(
    session: Session,
    store: EventStore,
    workspace: Workspace,
    campaign: Campaign,
    period: Period,
    *,
    filters: Filters = EVERYTHING,
    axis: Axis = Axis.CLICK,
) -> metrics.Totals:
    """The totals that a report with these filters has, less its money: for what stands beside one."""
    return _totals(_Reading(session, store, workspace, campaign, "day", filters, axis).counts(period), filters)


def raw_missing_before(store: EventStore, campaign: Campaign, period: Period, zone: ZoneInfo) -> datetime | None:
    """The instant before which events of a period are deleted, so that no filter by hit can find them; or None."""
    since_ms = store.raw_since_ms()
    begins_ms = period.spans(zone)[0].start * days.BUCKET_MS
    first = store.first_bucket(campaign.id)
    if first is None or max(begins_ms, first * days.BUCKET_MS) >= since_ms:
        return None
    return days.from_ms(since_ms)


def _totals(facts: Facts, filters: Filters) -> metrics.Totals:
    return metrics.totals(facts.cells, facts.sales, of_link=filters.of_link)


class _Reading:
    """Reads the facts and the series of one period after another, in the same steps and by the same filters."""

    def __init__(
        self,
        session: Session,
        store: EventStore,
        workspace: Workspace,
        campaign: Campaign,
        interval: str,
        filters: Filters,
        axis: Axis,
    ) -> None:
        self._session, self._store, self._workspace, self._campaign = session, store, workspace, campaign
        self._zone, self._interval = ZoneInfo(workspace.timezone), interval
        self._filters, self._axis = filters, axis

    def of(
        self, period: Period, dimensions: Sequence[Dimension] = (), *, hourly: bool = False, rates: bool = False
    ) -> tuple[Facts, Finances, list[Point]]:
        spans = period.spans(self._zone)
        selection = self._selection(spans)
        step = HOUR if hourly or self._interval == "hour" else DAY
        found = gather(
            self._session,
            self._store,
            self._campaign.id,
            spans,
            selection=selection,
            dimensions=dimensions,
            step=step,
            axis=self._axis,
        )
        finances = cost.read(
            self._session,
            self._store,
            self._workspace,
            self._campaign.id,
            found,
            spans,
            filters=self._filters,
            selection=selection,
            axis=self._axis,
        )
        seen = self._seen_steps(found, spans, selection) if rates else None
        return found, finances, series(found, period.first, period.last, spans, self._interval, seen)

    def counts(self, period: Period) -> Facts:
        spans = period.spans(self._zone)
        selection = self._selection(spans)
        of = (self._session, self._store, self._campaign.id, spans)
        return gather(*of, selection=selection, axis=self._axis)

    def _seen_steps(self, found: Facts, spans: Sequence[Span], selection: Selection) -> Sequence[Step] | None:
        """The steps of those links that have impressions; `None` where only single hits could tell."""
        links = found.seen_links
        if links >= found.clicked_links:
            return found.steps
        return None if selection.values else self._store.series(self._campaign.id, spans, found.step, links)

    def _selection(self, spans: Sequence[Span]) -> Selection:
        """What the filters select; which links, told by all that anything happened on in this period."""
        if not self._filters.by_link:
            return self._filters.selection([])
        all_of_it = gather(self._session, self._store, self._campaign.id, spans, selection=ALL, axis=self._axis)
        return self._filters.selection(_links(self._session, self._campaign, all_of_it.links))


def _links(session: Session, campaign: Campaign, seen: set[int]) -> list[Link]:
    """The links that a campaign has, and those it had when something happened on them."""
    own = list(session.scalars(_own_links(), {"campaign": campaign.id}))
    return [*own, *by_ids(session, seen.difference(link.id for link in own)).values()]


@cache
def _own_links() -> Select[Link]:
    # Their campaign is at hand.
    return select(Link).where(Link.campaign_id == bindparam("campaign")).options(lazyload(Link.campaign))
