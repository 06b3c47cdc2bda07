"""A conversion settled on its click: what it learns of it once both are stored, in whichever order they arrive."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import and_, select, update
from sqlalchemy.orm import Session

from tracker.events import Verdict
from tracker.models import Conversion
from tracker.salesums import SaleSums
from tracker.stores import Dimension, EventId, StoredEvent

SETTLE_WITHIN = timedelta(days=7)  # as long as a click may wait in a spool
SETTLE_MAX = 500
NOBODYS = (Verdict.TEST, Verdict.INTERNAL)  # verdicts of clicks whose sales count nowhere


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


def settle(session: Session, clicks: Mapping[int, StoredEvent], named: Mapping[int, EventId]) -> None:
    """Marks conversions, by id, whose click has been found and, where need was, counted; commits.

    What is known of the click is copied to the conversion, which breaks down by it from then on. It may be another
    than was named: the first of a double click. A sale that came of a test, or of somebody who is internal, is a test.
    `named` are the ids of clicks that they were looked for by: one that another click has taken over since waits.
    """
    sums = SaleSums()
    sums.before_all(session, clicks)
    now_named = select(Conversion.id, Conversion.click_at_ms, Conversion.click_nonce).where(Conversion.id.in_(clicks))
    still = {
        conversion_id
        for conversion_id, *event_id in session.execute(now_named)
        if named[conversion_id] == tuple(event_id)
    }
    settled = {conversion_id: click for conversion_id, click in clicks.items() if conversion_id in still}
    rows = [
        {
            "id": conversion_id,
            "click_settled": True,
            "path_settled": False,
            "click_at_ms": click.at_ms,
            "click_nonce": click.nonce,
            **{f"click_{dimension.word}": getattr(click, dimension.word) for dimension in Dimension},
        }
        for conversion_id, click in settled.items()
    ]
    if rows:
        session.execute(update(Conversion), rows)
    tried_out = [conversion_id for conversion_id, click in settled.items() if click.verdict in NOBODYS]
    session.execute(update(Conversion).where(Conversion.id.in_(tried_out)).values(is_test=True))
    sums.after_all(session, clicks)
    sums.write(session)
    session.commit()
