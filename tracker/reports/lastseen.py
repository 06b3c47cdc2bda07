"""When an impression, a click and a conversion last counted on each of some links."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tracker import days
from tracker.events import Kind
from tracker.models import Conversion, Link
from tracker.salesums import COUNTS
from tracker.stores import LAST_DAYS_MAX, EventStore, Last

# Hits of a quarter that are looked through for the instant: of many links at once, and of one alone.
OF_MANY_MAX = 2_000
OF_ONE_MAX = 20_000
LINKS_MAX = 50


class Seen(NamedTuple):
    """An instant, or, where not `is_exact`, the beginning of the quarter of an hour in which it lies."""

    at: datetime
    is_exact: bool


class LastSeen(NamedTuple):
    """What was last seen of a link; `None` for what was not seen within `LAST_DAYS_MAX` days.

    Sums are kept by campaign: what came in before a link went over to another campaign is not looked at.
    """

    impression: Seen | None
    click: Seen | None
    conversion: Seen | None


def of_links(session: Session, store: EventStore, links: Sequence[Link], now: datetime) -> dict[int, LastSeen]:
    """By link id, for at most LINKS_MAX links; the work for each is bounded, whatever it has had."""
    links = links[:LINKS_MAX]
    today = (now.date() - date(1970, 1, 1)).days
    by_campaign: dict[int, list[int]] = {}
    for link in links:
        by_campaign.setdefault(link.campaign_id, []).append(link.id)
    found: dict[tuple[int, int], Seen] = {}
    looked_at_max = OF_ONE_MAX if len(links) == 1 else OF_MANY_MAX
    for campaign_id, ids in by_campaign.items():
        last = store.last_seen(campaign_id, ids, today, looked_at_max=looked_at_max)
        sold = [each for each in last if each.kind == Kind.CONVERSION]
        converted = _converted(session, campaign_id, sold)
        for each in last:
            at_ms = converted.get(each.link_id) if each.kind == Kind.CONVERSION else each.at_ms
            is_exact = at_ms is not None
            found[each.link_id, each.kind] = Seen(days.from_ms(at_ms or each.bucket * days.BUCKET_MS), is_exact)
    kinds = (Kind.IMPRESSION, Kind.CLICK, Kind.CONVERSION)
    return {link.id: LastSeen(*(found.get((link.id, kind)) for kind in kinds)) for link in links}


def may_be_older(link: Link, now: datetime) -> bool:
    """Whether a link was there before the days that are looked at: what was not seen in them is not never."""
    return link.created_at < now - timedelta(days=LAST_DAYS_MAX)


def _converted(session: Session, campaign_id: int, sold: Sequence[Last]) -> dict[int, int]:
    """The instants of the newest conversions, each within the quarter that its link's sums name."""
    found: dict[int, int] = {}
    for bucket in sorted({each.bucket for each in sold}):
        ids = [each.link_id for each in sold if each.bucket == bucket]
        query = select(Conversion.link_id, func.max(Conversion.converted_at_ms)).where(
            Conversion.campaign_id == campaign_id,
            Conversion.converted_at_ms >= bucket * days.BUCKET_MS,
            Conversion.converted_at_ms < (bucket + 1) * days.BUCKET_MS,
            COUNTS,
            Conversion.link_id.in_(ids),
        )
        rows = session.execute(query.group_by(Conversion.link_id))
        found.update((link_id, at_ms) for link_id, at_ms in rows if link_id is not None)
    return found
