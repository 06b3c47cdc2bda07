"""What a period cost and what its revenue comes to: entries and clicks put together, in the workspace's currency."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Date, Executable, and_, bindparam, case, func, select
from sqlalchemy.orm import Session

from tracker import costs, days, rates
from tracker.campaigning import Cost
from tracker.days import Span
from tracker.extensions import in_given
from tracker.models import Workspace
from tracker.money import Money
from tracker.rates import Piece, Purse, Table, micros
from tracker.reports import sold
from tracker.reports.facts import NO_LINK, Facts
from tracker.reports.filters import DIMENSIONS, EVERYTHING, Filters
from tracker.reports.grouping import Group
from tracker.reports.metrics import Rate, Sales, Totals
from tracker.salesums import Axis
from tracker.stores import ALL, EventStore, Selection
from tracker.summing import DAY

SOURCE = "source"


class Line(NamedTuple):
    """Millionths spent on a link, a source or, with neither, the whole campaign, and the rate that holds for them."""

    link_id: int | None
    source: str | None
    currency: str
    rate: Decimal | None
    micros: int


@dataclass(frozen=True, slots=True)
class Finances:
    """The money of one period, kept by whom it belongs to, each amount with the rate of its day.

    `revenue_by_link` has 0 for conversions of no link. `links` are those that a filter leaves, `None` for all.
    """

    table: Table
    first: date
    last: date
    filters: Filters
    links: frozenset[int] | None = None
    whole: Purse = field(default_factory=dict)
    by_source: dict[str, Purse] = field(default_factory=dict)
    by_link: dict[int, Purse] = field(default_factory=dict)
    revenue_by_link: dict[int, Purse] = field(default_factory=dict)

    def of_totals(self, totals: Totals) -> Totals:
        """The totals of the report with their money."""
        return self._told(totals, self._spent(), rates.merge(self.revenue_by_link.values()))

    def of_groups(self, name: str, groups: Sequence[Group]) -> list[Group]:
        """Groups with their money; a source that something was spent on is one, even if it has no link.

        What was spent on all of the campaign, or on a source, is in no group of links: `not_assigned` says how much.
        """
        if name in DIMENSIONS:
            return [replace(group, totals=self._of_hits(group.totals)) for group in groups]
        found = [replace(group, totals=self._of_links(name, group)) for group in groups]
        if name == SOURCE and not self.filters.by_hit:
            keys = {group.key for group in groups}
            found += [
                Group(source, self._told(NOTHING, purse, {}), [])
                for source, purse in sorted(self._sources().items())
                if source not in keys
            ]
        return found

    def not_assigned(self, name: str, groups: Sequence[Group]) -> list[Money]:
        """What was spent and is in none of these groups, in each currency."""
        if name in DIMENSIONS or self.filters.by_hit:
            return []
        left = self._spent() or {}
        for group in groups:
            left = rates.merge([left, _negative(self._of_group(name, group))])
        return [amount for amount in rates.settle(left, self.table.base).amounts if amount.minor]

    def _spent(self) -> Purse | None:
        if self.filters.by_hit:
            return None
        links = [purse for link, purse in self.by_link.items() if self.links is None or link in self.links]
        return rates.merge([*links, *self._sources().values(), *([] if self.filters.by_link else [self.whole])])

    def _sources(self) -> Mapping[str, Purse]:
        """What was spent on sources, as far as filters leave it: only one by source itself can tell."""
        if not self.filters.by_link:
            return self.by_source
        if set(self.filters.given) == {SOURCE}:
            wanted = self.filters.given[SOURCE]
            return {source: purse for source, purse in self.by_source.items() if source == wanted}
        return {}

    def _of_group(self, name: str, group: Group) -> Purse:
        own = [self.by_link[link.id] for link in group.links if link.id in self.by_link]
        if name == SOURCE and group.key is not None:
            own += [purse for source, purse in self._sources().items() if source == group.key]
        return rates.merge(own)

    def _of_links(self, name: str, group: Group) -> Totals:
        ids = [link.id for link in group.links] + ([NO_LINK] if group.key is None else [])
        revenue = rates.merge(self.revenue_by_link.get(link_id, {}) for link_id in ids)
        return self._told(group.totals, None if self.filters.by_hit else self._of_group(name, group), revenue)

    def _of_hits(self, totals: Totals) -> Totals:
        """What was spent on hits from one country nobody knows. Their revenue has a total where rates stand still."""
        revenue: Purse = {}
        for amount in totals.revenue:
            pieces = self.table.pieces(amount.currency, self.first, self.last)
            rate = pieces[0].rate if len(pieces) == 1 else None
            revenue[amount.currency, rate] = micros(amount.minor, amount.currency)
        return self._told(totals, None, revenue)

    def _told(self, totals: Totals, spent: Purse | None, revenue: Purse) -> Totals:
        base = self.table.base
        earned = rates.settle(revenue, base)
        # Without conversions it is known that nothing came in; of conversions that told no value it is not.
        total = earned.total if totals.conversions or earned.amounts else Money(0, base)
        found = replace(totals, revenue_total=total, revenue_without_rate=earned.without_rate)
        if spent is None:
            return found
        cost = rates.settle(spent, base)
        return replace(found, cost=cost.amounts, cost_total=cost.total, cost_without_rate=cost.without_rate)


NOTHING = Totals(0, 0, 0, 0, 0, Rate(0, 0), Rate(0, 0), [], {})


def _negative(purse: Purse) -> Purse:
    return {key: -n for key, n in purse.items()}


def read(
    session: Session,
    store: EventStore,
    workspace: Workspace,
    campaign_id: int,
    facts: Facts,
    spans: Sequence[Span],
    *,
    filters: Filters = EVERYTHING,
    selection: Selection = ALL,
    axis: Axis = Axis.CLICK,
) -> Finances:
    """The money of a period, which is all of `spans`; `facts` are those of the same period and selection."""
    first, last = _days(spans)
    start, end = spans[0].start, spans[-1].end
    entries = [] if filters.by_hit else _entries(session, workspace, [campaign_id], first, last)
    clicked = [] if filters.by_hit else [each for each in store.click_costs(campaign_id, start, end) if each.n]
    sold_in = {currency for sale in facts.sales.values() for currency in sale.minor}
    currencies = sold_in | {row.currency for row in entries} | {each.currency for each in clicked}
    table = rates.read(session, workspace, currencies, first, last)
    found = Finances(table, first, last, filters, selection.links)
    for _, line in _spread(entries, table, first, last):
        _add(found, line)
    for changing, piece in _pieces(table, (each.currency for each in clicked), first, last):
        run = _buckets(spans, piece.first, piece.last)
        # As a rule the rate stands still, and what was read is all there is.
        for each in clicked if run == (start, end) else store.click_costs(campaign_id, *run):
            if each.n and each.currency == changing:
                _add(found, Line(each.link_id, None, each.currency, piece.rate, each.micros))
    changing_ones = _changing(table, sold_in, first, last)
    days_of = (sold.by_day(session, campaign_id, span, changing_ones, selection, axis) for span in spans)
    found.revenue_by_link.update(_earned(table, first, facts.sales, days_of if changing_ones else ()))
    return found


def of_campaigns(
    session: Session,
    store: EventStore,
    workspace: Workspace,
    campaign_ids: Sequence[int],
    spans: Sequence[Span],
    sales: Mapping[int, Sales],
) -> dict[int | None, Finances]:
    """The money of several campaigns over a period, and that of all of them under None; `sales` are by campaign."""
    first, last = _days(spans)
    entries = _entries(session, workspace, campaign_ids, first, last) if campaign_ids else []
    clicked = store.click_costs_of(campaign_ids, spans[0].start, spans[-1].end) if campaign_ids else []
    sold_in = {currency for sale in sales.values() for currency in sale.minor}
    currencies = sold_in | {row.currency for row in entries} | {each.currency for each in clicked}
    table = rates.read(session, workspace, currencies, first, last)
    found: dict[int, Finances] = {each: Finances(table, first, last, EVERYTHING) for each in campaign_ids}
    for campaign_id, line in _spread(entries, table, first, last):
        _add(found[campaign_id], line._replace(link_id=None, source=None))
    for changing, piece in _pieces(table, (each.currency for each in clicked), first, last):
        run = _buckets(spans, piece.first, piece.last)
        whole = run == (spans[0].start, spans[-1].end)
        for each in clicked if whole else store.click_costs_of(campaign_ids, *run):
            if each.currency == changing:
                _add(found[each.campaign_id], Line(None, None, each.currency, piece.rate, each.micros))
    changing_ones = _changing(table, sold_in, first, last)
    days_of = (sold.of_campaigns_by_day(session, campaign_ids, span, changing_ones) for span in spans)
    for campaign_id, purse in _earned(table, first, sales, days_of if changing_ones else ()).items():
        found[campaign_id].revenue_by_link[NO_LINK] = purse
    together = Finances(
        table,
        first,
        last,
        EVERYTHING,
        whole=rates.merge(each.whole for each in found.values()),
        revenue_by_link={NO_LINK: rates.merge(each.revenue_by_link.get(NO_LINK, {}) for each in found.values())},
    )
    by_campaign: dict[int | None, Finances] = {None: together}
    return by_campaign | dict(found.items())


def _days(spans: Sequence[Span]) -> tuple[date, date]:
    """The local days that a period begins and ends with."""
    first = days.local_day((spans[0].start + spans[0].offset) // DAY)
    return first, days.local_day((spans[-1].end - 1 + spans[-1].offset) // DAY)


def _entries(
    session: Session, workspace: Workspace, campaign_ids: Sequence[int], first: date, last: date
) -> Sequence[Any]:
    """Entries that lie in the period wholly, in the workspace's currency, are added up in the database."""
    given = {"first": first, "last": last, "base": workspace.currency, "campaigns": sorted(campaign_ids)}
    return session.execute(_entries_query(), given).all()


@cache
def _entries_query() -> Executable:
    first, last = bindparam("first", type_=Date), bindparam("last", type_=Date)
    inside = and_(Cost.first_on >= first, Cost.last_on <= last, Cost.currency == bindparam("base"))
    keys = (Cost.campaign_id, Cost.link_id, Cost.source, Cost.currency)
    return (
        select(
            *keys,
            func.min(Cost.first_on).label("first_on"),
            func.max(Cost.last_on).label("last_on"),
            func.sum(Cost.minor).label("minor"),
        )
        .where(in_given(Cost.campaign_id, "campaigns"), Cost.first_on <= last, Cost.last_on >= first)
        .group_by(*keys, case((inside, 0), else_=Cost.id))
    )


def _spread(entries: Iterable[Any], table: Table, first: date, last: date) -> Iterator[tuple[int, Line]]:
    """What falls on the days of a period of each entry, by the rates of its days, with its campaign."""
    for row in entries:
        for piece in table.pieces(row.currency, max(first, row.first_on), min(last, row.last_on)):
            minor = costs.part(int(row.minor), row.first_on, row.last_on, piece.first, piece.last)
            yield row.campaign_id, Line(row.link_id, row.source, row.currency, piece.rate, micros(minor, row.currency))


def _pieces(table: Table, currencies: Iterable[str], first: date, last: date) -> Iterator[tuple[str, Piece]]:
    for currency in sorted(set(currencies)):
        for piece in table.pieces(currency, first, last):
            yield currency, piece


def _changing(table: Table, currencies: Iterable[str], first: date, last: date) -> list[str]:
    """Currencies that have several rates within a period."""
    return [currency for currency in currencies if len(table.pieces(currency, first, last)) > 1]


def _earned(
    table: Table, first: date, sales: Mapping[int, Sales], by_day: Iterable[Iterable[sold.DaySum]]
) -> dict[int, Purse]:
    """Revenue by the rates of its days. `by_day` has that in currencies whose rate changes, and that alone."""
    found: dict[int, Purse] = {}
    apart = [each for some in by_day for each in some]
    changing = {each.currency for each in apart}
    for key, sale in sales.items():
        for currency, minor in sale.minor.items():
            if currency not in changing:
                found.setdefault(key, {})[currency, table.on(currency, first)] = micros(minor, currency)
    for day, key, currency, minor in apart:
        purse, at = found.setdefault(key, {}), (currency, table.on(currency, days.local_day(day)))
        purse[at] = purse.get(at, 0) + micros(minor, currency)
    return found


def _buckets(spans: Sequence[Span], first: date, last: date) -> tuple[int, int]:
    """The buckets of some of the local days that spans cover, from the first to before the last."""
    start, end = (first - days.local_day(0)).days * DAY, ((last - days.local_day(0)).days + 1) * DAY
    found = [
        (max(start - span.offset, span.start), min(end - span.offset, span.end))
        for span in spans
        if start < span.end + span.offset and end > span.start + span.offset
    ]
    return found[0][0], found[-1][1]


def _add(found: Finances, line: Line) -> None:
    if line.link_id is not None:
        purse = found.by_link.setdefault(line.link_id, {})
    elif line.source is not None:
        purse = found.by_source.setdefault(line.source, {})
    else:
        purse = found.whole
    key = (line.currency, line.rate)
    purse[key] = purse.get(key, 0) + line.micros
