"""When something last happened on a link: the newest day of its sums, that day's newest quarter, the hit in it.

Days and quarters are looked up one by one by the whole of a key, so that the work does not grow with what a campaign
has had: at most so many keys for each link, however long it has been silent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast

from sqlalchemy import Connection, Table, and_, func, literal, or_, select

from tracker.days import BUCKET_MS
from tracker.events import Kind, Verdict
from tracker.extensions import in_list
from tracker.stores.rollups import DAY, events, rollup_days, rollups
from tracker.stores.values import LAST_DAYS_MAX, Last
from tracker.sums import SaleDay, SaleQuarter

# Days back, in spans: most links that live at all have been seen in the first. It begins with tomorrow, for another
# machine's clock may be fast at midnight.
_SPANS = ((-1, 2), (2, 32), (32, LAST_DAYS_MAX))
_CONVERTED = 1  # the axis of sale sums whose time is that of the conversion

# A link's id and the kind of what happened.
Key = tuple[int, int]


class _Sums(NamedTuple):
    """Two sums of the same kinds of happenings: in quarters and in days."""

    quarters: Table
    days: Table
    kinds: tuple[int, ...]


_HITS = _Sums(rollups, rollup_days, (Kind.IMPRESSION, Kind.CLICK))
_SALES = _Sums(cast(Table, SaleQuarter.__table__), cast(Table, SaleDay.__table__), (Kind.CONVERSION,))


def last_of(
    connection: Connection, campaign_id: int, link_ids: Sequence[int], today: int, looked_at_max: int
) -> list[Last]:
    """See EventStore.last_seen."""
    buckets = _buckets(connection, _HITS, campaign_id, link_ids, today)
    exact = _instants(connection, buckets, looked_at_max)
    sold = _buckets(connection, _SALES, campaign_id, link_ids, today)
    return [Last(link, kind, bucket, exact.get((link, kind))) for (link, kind), bucket in (buckets | sold).items()]


def _buckets(
    connection: Connection, sums: _Sums, campaign_id: int, link_ids: Sequence[int], today: int
) -> dict[Key, int]:
    """The newest quarter in which something counted, by link and kind."""
    wanted = {(link_id, int(kind)) for link_id in link_ids for kind in sums.kinds}
    day_of: dict[Key, int] = {}
    for first, end in _SPANS:
        missing = wanted - day_of.keys()
        span = range(today - end + 1, today - first + 1)
        day_of |= _newest(connection, sums.days, "day", campaign_id, missing, span)
    buckets: dict[Key, int] = {}
    for day in sorted(set(day_of.values())):
        here = {key for key, found in day_of.items() if found == day}
        span = range(day * DAY, (day + 1) * DAY)
        buckets |= _newest(connection, sums.quarters, "bucket", campaign_id, here, span)
    return buckets


def _newest(
    connection: Connection, table: Table, step: str, campaign_id: int, keys: Iterable[Key], span: range
) -> dict[Key, int]:
    """The newest of these steps in which a sum holds anything, by link and kind."""
    keys = set(keys)
    if not keys:
        return {}
    column, link, links = table.c[step], table.c.link_id, {link for link, _ in keys}
    here = [table.c.campaign_id == campaign_id, in_list(column, span), in_list(link, links)]
    if "kind" in table.c:
        kind: Any = table.c.kind
        by: tuple[Any, ...] = (link, kind)
        here += [in_list(kind, {kind for _, kind in keys}), table.c.verdict == int(Verdict.COUNTED), table.c.n > 0]
    else:
        kind, by = literal(int(Kind.CONVERSION), literal_execute=True), (link,)
        here += [table.c.axis == _CONVERTED, or_(table.c.n > 0, table.c.outside_n > 0, table.c.view_n > 0)]
    query = select(link, func.max(kind), func.max(column)).where(*here).group_by(*by)
    found = (tuple(row) for row in connection.execute(query))
    return {(link, kind): at for link, kind, at in found if (link, kind) in keys}


def _instants(connection: Connection, buckets: Mapping[Key, int], looked_at_max: int) -> dict[Key, int]:
    """The instants of the newest hits, as far as they are among the last of their quarter that are still stored."""
    found: dict[Key, int] = {}
    for bucket in sorted(set(buckets.values())):
        keys = [key for key, at in buckets.items() if at == bucket]
        e = events.c
        within = and_(e.at_ms >= bucket * BUCKET_MS, e.at_ms < (bucket + 1) * BUCKET_MS)
        newest = select(e.at_ms, e.link_id, e.kind, e.verdict).where(within)
        last = newest.order_by(e.at_ms.desc(), e.nonce.desc()).limit(looked_at_max).subquery().c
        query = select(last.link_id, last.kind, func.max(last.at_ms)).where(
            in_list(last.link_id, {link for link, _ in keys}), last.verdict == int(Verdict.COUNTED)
        )
        rows = connection.execute(query.group_by(last.link_id, last.kind)).all()
        found.update(((link, kind), at_ms) for link, kind, at_ms in rows if (link, kind) in keys)
    return found
