"""Who saw an impression, kept as long as anybody can be told by it: for conversions that no click led to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

from sqlalchemy import Connection, Table, delete, select

from tracker import summing
from tracker.events import Kind, Verdict
from tracker.stores.contract import EventId, StoredEvent
from tracker.stores.rollups import DAY_MS
from tracker.sums import VisitorView

visitor_views = cast(Table, VisitorView.__table__)
VIEWS_MAX = 1_000  # of one visitor's day that are looked at, the latest


def note(connection: Connection, rows: Iterable[StoredEvent], forgotten_before: int) -> None:
    """Notes counted impressions of people. One with a remark came over a proxy, which is nobody's browser."""
    seen = {
        (row.at_ms // DAY_MS, row.visitor, row.at_ms, row.nonce)
        for row in rows
        if row.kind == Kind.IMPRESSION
        and row.verdict == Verdict.COUNTED
        and row.visitor is not None
        and row.detail is None
        and row.link_id is not None
        and row.at_ms // DAY_MS >= forgotten_before
    }
    if seen:
        # In the order of keys: two loaders at once wait for each other at most once.
        summing.insert_new(connection, visitor_views, sorted(seen))


def ids_of(connection: Connection, day: int, visitor: int, before_ms: int) -> Sequence[EventId]:
    """The impressions of a visitor's day up to an instant, the latest first."""
    views = visitor_views.c
    query = select(views.at_ms, views.nonce).where(views.day == day, views.visitor == visitor, views.at_ms <= before_ms)
    query = query.order_by(views.at_ms.desc(), views.nonce.desc()).limit(VIEWS_MAX)
    return [(at_ms, nonce) for at_ms, nonce in connection.execute(query)]


def forget(connection: Connection, day: int, visitor: int) -> None:
    views = visitor_views.c
    connection.execute(delete(visitor_views).where(views.day == day, views.visitor == visitor))


def forget_before(connection: Connection, day: int) -> None:
    connection.execute(delete(visitor_views).where(visitor_views.c.day < day))
