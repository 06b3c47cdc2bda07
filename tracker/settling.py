"""Conversions whose click may still be in the spool, and what is kept of it once it has been found."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import and_, select, update
from sqlalchemy.orm import Session

from tracker.models import Conversion
from tracker.salesums import SaleSums
from tracker.stores import Dimension, StoredEvent

SETTLE_WITHIN = timedelta(days=7)  # as long as a click may wait in a spool
SETTLE_MAX = 500


class Unsettled(NamedTuple):
    """A conversion whose click has not been looked at yet."""

    id: int
    click_at_ms: int
    click_nonce: int


def unsettled(session: Session, now: datetime, after_id: int) -> list[Unsettled]:
    """Conversions whose click has not been looked at yet, in the order of their ids: it may still be in the spool."""
    columns = (Conversion.id, Conversion.click_at_ms, Conversion.click_nonce)
    fresh = and_(Conversion.click_settled.is_(False), Conversion.created_at >= now - SETTLE_WITHIN)
    query = select(*columns).where(fresh, Conversion.id > after_id).order_by(Conversion.id).limit(SETTLE_MAX)
    return [Unsettled(*row) for row in session.execute(query)]


def settle(session: Session, clicks: Mapping[int, StoredEvent]) -> None:
    """Marks conversions, by id, whose click has been found and, where need was, counted; commits.

    What is known of the click is copied to the conversion, which breaks down by it from then on.
    """
    rows = [
        {"id": conversion_id, "click_settled": True}
        | {f"click_{dimension.word}": getattr(click, dimension.word) for dimension in Dimension}
        for conversion_id, click in clicks.items()
    ]
    sums = SaleSums()
    sums.before_all(session, clicks)
    session.execute(update(Conversion), rows)
    sums.after_all(session, clicks)
    sums.write(session)
    session.commit()
