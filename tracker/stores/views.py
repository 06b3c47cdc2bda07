"""Who saw an impression, kept as long as anybody can be told by it: for conversions that no click led to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

from sqlalchemy import ColumnElement, Connection, Table, delete, select

from tracker import summing
from tracker.days import BUCKET_MS
from tracker.events import Kind, Verdict
from tracker.extensions import in_list
from tracker.stores.contract import EventId, StoredEvent
from tracker.summing import DAY
from tracker.sums import VisitorView

visitor_views = cast(Table, VisitorView.__table__)
VIEWS_MAX = 1_000  # of one visitor's day that are looked at, the latest


def note(connection: Connection, rows: Iterable[StoredEvent], forgotten_before: int) -> None:
    """Notes counted impressions of people. One with a remark came over a proxy, which is nobody's browser."""
    impression, counted = int(Kind.IMPRESSION), int(Verdict.COUNTED)
    seen = [
        (at_ms // BUCKET_MS, visitor, at_ms, nonce)
        for at_ms, nonce, kind, verdict, _, _, link_id, visitor, _, detail in (row[:10] for row in rows)
        if kind == impression and verdict == counted and detail is None and link_id is not None and visitor is not None
    ]
    seen = [view for view in sorted(seen) if view[0] >= forgotten_before * DAY]
    if seen:
        # In the order of keys: two loaders at once wait for each other at most once.
        summing.insert_new(connection, visitor_views, seen)


def ids_of(connection: Connection, day: int, visitor: int, before_ms: int) -> Sequence[EventId]:
    """The impressions of a visitor's day up to an instant, the latest first."""
    views = visitor_views.c
    query = select(views.at_ms, views.nonce).where(_of_day(day), views.visitor == visitor, views.at_ms <= before_ms)
    query = query.order_by(views.at_ms.desc(), views.nonce.desc()).limit(VIEWS_MAX)
    return [(at_ms, nonce) for at_ms, nonce in connection.execute(query)]


def _of_day(day: int) -> ColumnElement[bool]:
    """Each quarter of a day by itself: then a visitor is looked up in the key and no row of others is read."""
    return in_list(visitor_views.c.bucket, range(day * DAY, (day + 1) * DAY))


def forget(connection: Connection, day: int, visitor: int) -> None:
    connection.execute(delete(visitor_views).where(_of_day(day), visitor_views.c.visitor == visitor))


def forget_before(connection: Connection, day: int) -> None:
    connection.execute(delete(visitor_views).where(visitor_views.c.bucket < day * DAY))
