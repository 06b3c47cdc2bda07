"""Sums of conversions, kept up by whoever changes one and written in the same transaction.

    sums = SaleSums()
    sums.before(conversion)  # it is held
    ...                      # whatever is changed of it
    sums.after(conversion)
    sums.write(session)      # the last thing before the commit

A new conversion has no `before`. Many at once go by `before_all` and `after_all`. Rows of sums are shared by all sales
of a campaign: to write them last, and in one order, keeps the wait for them short and lets no two wait for each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum
from typing import Any, NamedTuple, cast

from sqlalchemy import ColumnElement, Row, Table, and_, case, func, select, update
from sqlalchemy.orm import Session

from tracker import summing
from tracker.days import BUCKET_MS
from tracker.models import Conversion
from tracker.stores import Dimension
from tracker.summing import DAY
from tracker.sums import SaleDay, SalePart, SalePartDay, SaleQuarter, SaleStep

APPROVED = "approved"
COUNTING = (APPROVED, "pending")
VIEW = "view"  # `matched_by`
IN_MAX = 500

conversions = cast(Table, Conversion.__table__)
sale_quarters = cast(Table, SaleQuarter.__table__)
sale_days = cast(Table, SaleDay.__table__)
sale_steps = cast(Table, SaleStep.__table__)
sale_parts = cast(Table, SalePart.__table__)
sale_part_days = cast(Table, SalePartDay.__table__)
# In the order that they are written in, and locked.
TABLES = (sale_quarters, sale_days, sale_steps, sale_parts, sale_part_days)


class Axis(IntEnum):
    """By which instant conversions are dated. Numbers are stored: never renumber."""

    CLICK = 0
    CONVERSION = 1


INSTANTS = {Axis.CLICK: conversions.c.click_at_ms, Axis.CONVERSION: conversions.c.converted_at_ms}

# What of a conversion the sums depend on, and what each adds, in SQL. `Share.of` says the same in Python.

COUNTS = and_(conversions.c.status.in_(COUNTING), conversions.c.is_test.is_(False))
_BY_CLICK = conversions.c.matched_by != VIEW
_INSIDE = conversions.c.outside_window.is_(False)
WITHIN: ColumnElement[bool] = and_(_INSIDE, _BY_CLICK)
VIEWED: ColumnElement[bool] = and_(_INSIDE, ~_BY_CLICK)
_MINOR = func.coalesce(conversions.c.minor, 0)
ADDED: dict[str, ColumnElement[Any]] = {
    "n": case((WITHIN, 1), else_=0),
    "minor": case((WITHIN, _MINOR), else_=0),
    "outside_n": case((_INSIDE, 0), else_=1),
    "view_n": case((VIEWED, 1), else_=0),
    "view_minor": case((VIEWED, _MINOR), else_=0),
    "approved_n": case((and_(WITHIN, conversions.c.status == APPROVED), 1), else_=0),
}
CLICK_COLUMNS = {dimension: conversions.c[f"click_{dimension.word}"] for dimension in Dimension}
_COLUMNS = (
    *("campaign_id", "link_id", "status", "is_test", "outside_window", "matched_by", "click_at_ms"),
    *("converted_at_ms", "minor", "currency", *(column.name for column in CLICK_COLUMNS.values())),
)
_WITHIN, _OUTSIDE, _VIEWED = range(3)
_NOTHING = (0, 0)


class Share(NamedTuple):
    """Where a conversion stands in the sums; what it adds there is one and its money. Instants are buckets."""

    campaign_id: int
    link_id: int
    currency: str
    clicked: int
    converted: int
    counted_as: int
    is_approved: bool
    values: tuple[str, ...]

    @classmethod
    def of(cls, conversion: Conversion | Row[Any]) -> Share | None:
        """`None` for one that no figure counts."""
        if conversion.status not in COUNTING or conversion.is_test:
            return None
        viewed = _VIEWED if conversion.matched_by == VIEW else _WITHIN
        return cls(
            conversion.campaign_id,
            conversion.link_id or 0,
            conversion.currency or "",
            conversion.click_at_ms // BUCKET_MS,
            conversion.converted_at_ms // BUCKET_MS,
            _OUTSIDE if conversion.outside_window else viewed,
            conversion.status == APPROVED,
            tuple(getattr(conversion, column.name) or "" for column in CLICK_COLUMNS.values()),
        )


Sums = dict[tuple[Any, ...], list[int]]


class SaleSums:
    """What the conversions of one unit of work change of the sums, added up until it is written."""

    def __init__(self) -> None:
        self._shares: dict[Share, list[int]] = {}

    def before(self, conversion: Conversion | Row[Any]) -> None:
        """Takes out what a conversion adds as it is. The caller holds it, or another's change would be taken out."""
        self._add(conversion, -1)

    def after(self, conversion: Conversion | Row[Any]) -> None:
        """Puts in what a conversion adds as it is."""
        self._add(conversion, 1)

    def before_all(self, session: Session, ids: Iterable[int]) -> None:
        """Holds conversions until the commit, in the order of their ids, and takes out what they add as they are."""
        session.flush()
        columns = [conversions.c[name] for name in _COLUMNS]
        for some in _chunks(sorted(ids)):
            in_order = select(conversions.c.id).where(conversions.c.id.in_(some)).order_by(conversions.c.id)
            # An update that changes nothing holds a row in any database; SQLite knows no other lock.
            held = update(conversions).where(conversions.c.id.in_(in_order.with_for_update()))
            for row in session.execute(held.values(goal=conversions.c.goal).returning(*columns)):
                self.before(row)

    def after_all(self, session: Session, ids: Iterable[int]) -> None:
        """Puts in what conversions add as they are by now."""
        session.flush()
        columns = [conversions.c[name] for name in _COLUMNS]
        for some in _chunks(sorted(ids)):
            for row in session.execute(select(*columns).where(conversions.c.id.in_(some))):
                self.after(row)

    def _add(self, conversion: Conversion | Row[Any], sign: int) -> None:
        share = Share.of(conversion)
        if share is not None:
            _put(self._shares, share, (sign, sign * (conversion.minor or 0)))

    def write(self, session: Session) -> None:
        """Adds the differences to the sums; nothing is left of them here. Comes last before the commit."""
        session.flush()
        for table, sums in self._by_table().items():
            rows = [(*key, *sums[key]) for key in sorted(sums) if any(sums[key])]
            if rows:
                summing.add(session.connection(), table, rows)
        self.clear()

    def clear(self) -> None:
        """Forgets everything, as a rollback does."""
        self._shares.clear()

    def _by_table(self) -> dict[Table, Sums]:
        found: dict[Table, Sums] = {table: {} for table in TABLES}
        for share, (n, minor) in self._shares.items():
            if n or minor:
                for table, key, sums in _rows_of(share, n, minor):
                    _put(found[table], key, sums)
        return found


def _rows_of(share: Share, n: int, minor: int) -> Iterator[tuple[Table, tuple[Any, ...], Sequence[int]]]:
    """The rows of each table that so many conversions of one share belong to, and what they add there."""
    campaign_id, link_id, currency, clicked, converted, counted_as, is_approved, values = share
    within = (n, minor) if counted_as == _WITHIN else _NOTHING
    viewed = (n, minor) if counted_as == _VIEWED else _NOTHING
    all_of_it = (*within, n if counted_as == _OUTSIDE else 0, *viewed, within[0] if is_approved else 0)
    for axis, bucket in ((0, clicked), (1, converted)):
        yield sale_quarters, (campaign_id, axis, bucket, link_id, currency), all_of_it
        yield sale_days, (campaign_id, axis, bucket // DAY, link_id, currency), all_of_it
        if counted_as == _WITHIN:
            yield sale_steps, (campaign_id, axis, bucket), within[:1]
    if counted_as == _WITHIN:
        for dimension, value in zip(_DIMENSIONS, values, strict=True):
            yield sale_parts, (campaign_id, dimension, clicked, value, currency), within
            yield sale_part_days, (campaign_id, dimension, clicked // DAY, value, currency), within


_DIMENSIONS = tuple(int(dimension) for dimension in CLICK_COLUMNS)


def _put(sums: dict[Any, list[int]], key: tuple[Any, ...], more: Sequence[int]) -> None:
    kept = sums.get(key)
    if kept is None:
        sums[key] = list(more)
    else:
        for place, n in enumerate(more):
            kept[place] += n


def _chunks(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(ids), IN_MAX):
        yield ids[start : start + IN_MAX]
