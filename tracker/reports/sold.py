"""Conversions added up for a report: by link, by what was known of their click, by local step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, case, func, literal, select
from sqlalchemy.orm import Session

from tracker.days import BUCKET_MS, Span
from tracker.extensions import in_list
from tracker.models import Conversion
from tracker.salesums import COUNTING
from tracker.stores import ALL, Dimension, Selection

ADDED_AT_ONCE = 2_000  # conversions that are in memory while they are added up


class Sum(NamedTuple):
    """Counting conversions of one link in one currency; `outside` ones lie beyond the window and are not in `n`."""

    link_id: int
    currency: str | None
    n: int
    minor: int | None
    outside: int


def sums(session: Session, campaign_id: int, start_ms: int, end_ms: int, selection: Selection = ALL) -> list[Sum]:
    """Conversions whose click lies in [start_ms, end_ms), net of rejected and refunded ones, by link and currency."""
    query = (
        select(
            Conversion.link_id,
            Conversion.currency,
            func.sum(case((Conversion.outside_window, 0), else_=1)),
            func.sum(case((Conversion.outside_window, 0), else_=Conversion.minor)),
            func.sum(case((Conversion.outside_window, 1), else_=0)),
        )
        .where(*_counting(campaign_id, start_ms, end_ms, selection))
        .group_by(Conversion.link_id, Conversion.currency)
    )
    return [Sum(*row) for row in session.execute(query)]


class Sold(NamedTuple):
    """Conversions whose click had the same value of a dimension, in one currency."""

    value: str | None
    currency: str | None
    n: int
    minor: int


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


def breakdowns(
    session: Session,
    campaign_id: int,
    start_ms: int,
    end_ms: int,
    dimensions: Sequence[Dimension],
    selection: Selection = ALL,
) -> dict[Dimension, list[Sold]]:
    """Conversions and their money by what was known of their click; those beyond the window are not in.

    Added up here and in one pass: to sort them in the database for each dimension costs several times as much. They
    come some at a time, so what is held grows with the values there are and not with the conversions.
    """
    columns = [_of_click(dimension) for dimension in dimensions]
    query = select(Conversion.currency, func.coalesce(Conversion.minor, 0), *columns).where(
        *_counting(campaign_id, start_ms, end_ms, selection), Conversion.outside_window.is_(False)
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


def _counting(campaign_id: int, start_ms: int, end_ms: int, selection: Selection) -> Iterator[ColumnElement[bool]]:
    """The conditions that hold for conversions of a campaign that count, outside the window or not."""
    yield Conversion.campaign_id == campaign_id
    yield Conversion.click_at_ms >= start_ms
    yield Conversion.click_at_ms < end_ms
    yield Conversion.status.in_(COUNTING)
    if selection.links is not None:
        yield in_list(Conversion.link_id, selection.links)
    for dimension, value in selection.values.items():
        yield _of_click(dimension) == value


def _of_click(dimension: Dimension) -> Any:
    return getattr(Conversion, f"click_{dimension.word}")


def series(
    session: Session, campaign_id: int, span: Span, step: int, selection: Selection = ALL
) -> Iterable[tuple[int, int]]:
    """Counting conversions by local step of their click, as the store's series counts clicks."""
    bucket = Conversion.click_at_ms // literal(BUCKET_MS, literal_execute=True)
    index = ((bucket + span.offset) // literal(step, literal_execute=True)).label("step")
    query = (
        select(index, func.count())
        .where(
            *_counting(campaign_id, span.start * BUCKET_MS, span.end * BUCKET_MS, selection),
            Conversion.outside_window.is_(False),
        )
        .group_by(index)
    )
    return [(int(step), n) for step, n in session.execute(query)]
