"""Conversions added up for a report: by link, by what was known of their click, by local step.

Read off their sums; only a selection by values, which no sum knows, takes the conversions themselves. Periods are in
buckets, `axis` says whether the click or the conversion itself lies in them. Those that do not count are in nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, bindparam, func, literal, select
from sqlalchemy.orm import Session

from tracker.days import BUCKET_MS, Span
from tracker.extensions import in_given, in_list
from tracker.reports.metrics import Sales
from tracker.salesums import (
    ADDED,
    CLICK_COLUMNS,
    COUNTS,
    INSTANTS,
    WITHIN,
    Axis,
    conversions,
    sale_days,
    sale_part_days,
    sale_parts,
    sale_quarters,
    sale_steps,
)
from tracker.stores import ALL, Dimension, Selection
from tracker.summing import DAY, SIZES, Of, over, padded

CAMPAIGNS_AT_ONCE = SIZES[-1]
ADDED_AT_ONCE = 2_000  # conversions that are in memory while they are added up


class Sum(NamedTuple):
    """Conversions of one link (0: of none) in one currency, money in its minor units.

    `outside` ones lie beyond the window, `views` have only a view behind them; neither are in `n`. Of `n`, so many are
    `approved` and not pending.
    """

    link_id: int
    currency: str | None
    n: int
    minor: int
    outside: int
    views: int
    view_minor: int
    approved: int


def sums(
    session: Session, campaign_id: int, start: int, end: int, selection: Selection = ALL, axis: Axis = Axis.CLICK
) -> list[Sum]:
    """Conversions from bucket `start` to before `end`, net of rejected and refunded ones, by link and currency."""
    given: dict[str, int] = {}
    if selection.values:
        query = (
            select(
                func.coalesce(conversions.c.link_id, 0),
                conversions.c.currency,
                *(func.sum(added) for added in ADDED.values()),
            )
            .where(*_chosen(campaign_id, start, end, selection, axis))
            .group_by(conversions.c.link_id, conversions.c.currency)
        )
    else:
        of = {"campaign_id": campaign_id, "axis": int(axis)}
        query, given = over(sale_quarters, sale_days, ("link_id", "currency"), of, start, end)
    return [
        Sum(link_id, currency or None, *map(int, added))
        for link_id, currency, *added in session.execute(query, given).all()
        if any(added) and (selection.links is None or link_id in selection.links)
    ]


def of_campaigns(
    session: Session, campaign_ids: Sequence[int], start: int, end: int, axis: Axis = Axis.CLICK
) -> dict[int, Sales]:
    """Conversions of several campaigns, by campaign; those without any are not in it."""
    found: dict[int, tuple[int, dict[str, int], int]] = {}
    for at in range(0, len(campaign_ids), CAMPAIGNS_AT_ONCE):
        of: Of = {"campaign_id": padded(sorted(campaign_ids[at : at + CAMPAIGNS_AT_ONCE])), "axis": int(axis)}
        query, given = over(sale_quarters, sale_days, ("campaign_id", "currency"), of, start, end)
        for campaign_id, currency, n, minor, *_, approved in session.execute(query, given).all():
            if n:
                had, money, were = found.get(campaign_id, (0, {}, 0))
                if currency:
                    money[currency] = int(minor)
                found[campaign_id] = (had + int(n), money, were + int(approved))
    return {campaign_id: Sales(*three) for campaign_id, three in found.items()}


def by_link_of(session: Session, campaign_ids: Sequence[int], start: int, end: int) -> dict[tuple[int, int], int]:
    """How many conversions several campaigns have by the day of their click, by campaign and link (0: of none)."""
    found: dict[tuple[int, int], int] = {}
    for at in range(0, len(campaign_ids), CAMPAIGNS_AT_ONCE):
        of: Of = {"campaign_id": padded(sorted(campaign_ids[at : at + CAMPAIGNS_AT_ONCE])), "axis": int(Axis.CLICK)}
        query, given = over(sale_quarters, sale_days, ("campaign_id", "link_id"), of, start, end)
        found |= {(campaign_id, link_id): int(n) for campaign_id, link_id, n, *_ in session.execute(query, given) if n}
    return found


def of_campaigns_by_day(
    session: Session, campaign_ids: Sequence[int], span: Span, currencies: Iterable[str]
) -> list[DaySum]:
    """Their money in these currencies by the local day of the click; `key` is the campaign."""
    table, found = sale_quarters.c, []
    day = ((table.bucket + span.offset) // literal(DAY, literal_execute=True)).label("day")
    for at in range(0, len(campaign_ids), CAMPAIGNS_AT_ONCE):
        query = (
            select(day, table.campaign_id, table.currency, func.sum(table.minor))
            .where(
                table.campaign_id.in_(sorted(campaign_ids[at : at + CAMPAIGNS_AT_ONCE])),
                table.axis == int(Axis.CLICK),
                table.bucket >= span.start,
                table.bucket < span.end,
                table.currency.in_(sorted(currencies)),
            )
            .group_by(day, table.campaign_id, table.currency)
        )
        found += [DaySum(int(day), int(key), code, int(n)) for day, key, code, n in session.execute(query)]
    return found


class Sold(NamedTuple):
    """Conversions whose click had the same value of a dimension, in one currency."""

    value: str | None
    currency: str | None
    n: int
    minor: int


def breakdowns(
    session: Session,
    campaign_id: int,
    start: int,
    end: int,
    dimensions: Sequence[Dimension],
    selection: Selection = ALL,
    axis: Axis = Axis.CLICK,
) -> dict[Dimension, list[Sold]]:
    """Conversions and their money by what was known of their click; views and those beyond the window are not in."""
    if selection.values or selection.links is not None or axis != Axis.CLICK:
        return _one_by_one(session, campaign_id, start, end, dimensions, selection, axis)
    of: Of = {"campaign_id": campaign_id, "dimension": tuple(map(int, dimensions))}
    query, given = over(sale_parts, sale_part_days, ("dimension", "value", "currency"), of, start, end)
    found: dict[int, list[Sold]] = {dimension: [] for dimension in dimensions}
    for dimension, value, currency, n, minor in session.execute(query, given).all():
        if n:
            found[dimension].append(Sold(value or None, currency or None, int(n), int(minor)))
    return {dimension: found[dimension] for dimension in dimensions}


class _Sums:
    """How many conversions there are of each value, and their money in minor units of one currency."""

    __slots__ = ("minor", "n")

    def __init__(self) -> None:
        self.n: Counter[str | None] = Counter()
        self.minor: dict[str | None, int] = {}

    def add(self, values: Sequence[str | None], minors: Sequence[int]) -> None:
        self.n.update(values)
        sums = self.minor
        for value in set(values):
            sums.setdefault(value, 0)
        for value, minor in zip(values, minors, strict=True):
            sums[value] += minor


def _one_by_one(
    session: Session,
    campaign_id: int,
    start: int,
    end: int,
    dimensions: Sequence[Dimension],
    selection: Selection,
    axis: Axis,
) -> dict[Dimension, list[Sold]]:
    """Added up here and in one pass: to sort them in the database for each dimension costs several times as much.

    They come some at a time, so what is held grows with the values there are and not with the conversions.
    """
    columns = [CLICK_COLUMNS[dimension] for dimension in dimensions]
    query = select(conversions.c.currency, func.coalesce(conversions.c.minor, 0), *columns).where(
        *_chosen(campaign_id, start, end, selection, axis), WITHIN
    )
    sums: dict[str | None, list[_Sums]] = {}
    with session.connection().execute(query, execution_options={"yield_per": ADDED_AT_ONCE}) as found:
        for rows in found.partitions():
            # Mostly there is one currency, and by value alone they are counted much quicker.
            by_currency: dict[str | None, list[Any]] = {}
            for row in rows:
                by_currency.setdefault(row[0], []).append(row)
            for currency, same in by_currency.items():
                _, minors, *values = zip(*same, strict=True)
                for added, column in zip(sums.setdefault(currency, [_Sums() for _ in columns]), values, strict=True):
                    added.add(column, minors)
    return {
        dimension: [
            Sold(value, currency, n, of_all[number].minor[value])
            for currency, of_all in sums.items()
            for value, n in of_all[number].n.items()
        ]
        for number, dimension in enumerate(dimensions)
    }


def _chosen(campaign_id: int, start: int, end: int, selection: Selection, axis: Axis) -> Iterator[ColumnElement[bool]]:
    """The conditions that hold for selected conversions of a campaign that are in any sum."""
    yield conversions.c.campaign_id == campaign_id
    yield INSTANTS[axis] >= start * BUCKET_MS
    yield INSTANTS[axis] < end * BUCKET_MS
    yield COUNTS
    if selection.links is not None:
        yield in_list(conversions.c.link_id, selection.links)
    for dimension, value in selection.values.items():
        yield CLICK_COLUMNS[dimension] == value


def series(
    session: Session,
    campaign_id: int,
    span: Span,
    step: int,
    selection: Selection = ALL,
    axis: Axis = Axis.CLICK,
) -> Iterable[tuple[int, int]]:
    """Conversions by local step, as the store's series counts clicks; views and those beyond the window are not in."""
    given: dict[str, Any] = {}
    if selection.values:
        bucket = INSTANTS[axis] // literal(BUCKET_MS, literal_execute=True)
        index = ((bucket + span.offset) // literal(step, literal_execute=True)).label("step")
        where = [*_chosen(campaign_id, span.start, span.end, selection, axis), WITHIN]
        query = select(index, func.count()).where(*where).group_by(index)
    else:
        query = _series(step, of_links=selection.links is not None)
        given = span._asdict() | {"campaign": campaign_id, "axis": int(axis)}
        given |= {} if selection.links is None else {"links": sorted(selection.links)}
    return [(int(step), int(n)) for step, n in session.execute(query, given).all() if n]


@lru_cache(maxsize=64)
def _series(step: int, *, of_links: bool) -> Select[Any]:
    """Put together once for all campaigns and periods."""
    # Those of all links are summed already.
    table = sale_quarters.c if of_links else sale_steps.c
    index = ((table.bucket + bindparam("offset")) // literal(step, literal_execute=True)).label("step")
    query = select(index, func.sum(table.n)).where(
        table.campaign_id == bindparam("campaign"),
        table.axis == bindparam("axis"),
        table.bucket >= bindparam("start"),
        table.bucket < bindparam("end"),
    )
    return (query.where(in_given(table.link_id, "links")) if of_links else query).group_by(index)


class DaySum(NamedTuple):
    """Money of conversions by link (0: of none) or campaign and by currency, of a local day counted from 1970-01-01."""

    day: int
    key: int
    currency: str
    minor: int


def by_day(
    session: Session,
    campaign_id: int,
    span: Span,
    currencies: Iterable[str],
    selection: Selection = ALL,
    axis: Axis = Axis.CLICK,
) -> list[DaySum]:
    """Money in these currencies by local day; views and those beyond the window are not in."""
    if selection.values:
        bucket = INSTANTS[axis] // literal(BUCKET_MS, literal_execute=True)
        link_id: ColumnElement[int] = func.coalesce(conversions.c.link_id, 0)
        currency: ColumnElement[str] = conversions.c.currency
        minor: ColumnElement[int] = func.sum(func.coalesce(conversions.c.minor, 0))
        where = [*_chosen(campaign_id, span.start, span.end, selection, axis), WITHIN]
    else:
        bucket, link_id = sale_quarters.c.bucket, sale_quarters.c.link_id
        currency, minor = sale_quarters.c.currency, func.sum(sale_quarters.c.minor)
        where = [sale_quarters.c.campaign_id == campaign_id, sale_quarters.c.axis == int(axis)]
        where += [bucket >= span.start, bucket < span.end]
        if selection.links is not None:
            where.append(in_list(link_id, selection.links))
    day = ((bucket + span.offset) // literal(DAY, literal_execute=True)).label("day")
    query = select(day, link_id, currency, minor).where(*where, currency.in_(sorted(currencies)))
    found = session.execute(query.group_by(day, link_id, currency)).all()
    return [DaySum(int(day), int(link), code, int(n)) for day, link, code, n in found]
