"""Packs: what reports cut down to some hits read in place of raw events, of quarters that are long over.

A pack holds the hits of one campaign over a run of quarters. A run is packed for all campaigns at once, and a row for
ALL says so when it is done: from then on who has no pack there has no hit there. Whoever changes an event drops its
campaign's packs, and that row, in the same transaction; then its quarters are read from raw events until they are
packed anew. See tracker/stores/packing.py for how that stays true while both happen at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, cast

from sqlalchemy import ColumnElement, Connection, Table, and_, delete, or_, select

from tracker.days import BUCKET_MS
from tracker.events import Kind, Verdict
from tracker.extensions import in_list
from tracker.stores.rollups import events
from tracker.stores.values import Dimension
from tracker.summing import DAY
from tracker.sums import EventPack

packs = cast(Table, EventPack.__table__)
ALL = 0  # no campaign's id
DONE = b""  # the columns of a run that is packed; of one that is worked at they are a token
READ_AT_ONCE = 16

SHOWN = (Kind.IMPRESSION, Kind.CLICK)

# From a quarter to before another.
Run = tuple[int, int]
# How often each value comes, of each thing that is counted.
Counted = list[Counter[int | None]]


class Asked(NamedTuple):
    """Which hits are counted, by the ids of their links (`None`: any) and of their values (`None`: none has it).

    They are counted by link, by quarter and by each dimension. `of_link`: the flag of a part is that of a visitor's
    first click on the link.
    """

    links: frozenset[int] | None
    values: Mapping[Dimension, int | None]
    dimensions: Sequence[Dimension]
    of_link: bool


class Packed(NamedTuple):
    """What is packed of a campaign in a period: runs that have a pack, and those that need none."""

    runs: list[Run]
    empty: list[Run]


def hits(run: Run) -> ColumnElement[bool]:
    """The raw events that a pack holds: impressions and clicks on links, but for tests."""
    e = events.c
    at = and_(e.at_ms >= run[0] * BUCKET_MS, e.at_ms < run[1] * BUCKET_MS)
    return and_(at, e.link_id.is_not(None), e.kind.in_(SHOWN), e.verdict != Verdict.TEST)


def within(start: int, until: int) -> ColumnElement[bool]:
    """The packs that have any of these quarters. None is longer than a day, so the index of starts finds them."""
    c = packs.c
    return and_(c.start > start - DAY, c.start < until, c.until > start)


def drop(connection: Connection, changed: Iterable[tuple[int, int]]) -> None:
    """Drops the packs that hold a quarter of a campaign, for each (campaign, quarter) of which an event has changed.

    To be asked even where no pack can be: on PostgreSQL it is what makes whoever packs meanwhile wait or see.
    """
    of_day: dict[int, tuple[set[int], list[int]]] = {}
    for campaign, bucket in changed:
        campaigns, buckets = of_day.setdefault(bucket // DAY, ({ALL}, []))
        campaigns.add(campaign)
        buckets.append(bucket)
    for _, (campaigns, buckets) in sorted(of_day.items()):
        here = within(min(buckets), max(buckets) + 1)
        connection.execute(delete(packs).where(here, in_list(packs.c.campaign_id, campaigns)))


def drop_all(connection: Connection, day: int) -> None:
    """Drops the packs of a UTC day, counted from 1970."""
    connection.execute(delete(packs).where(within(day * DAY, (day + 1) * DAY)))


def drop_before(connection: Connection, at_ms: int) -> None:
    """Drops the packs that begin before an instant, before which events are going to be deleted."""
    connection.execute(delete(packs).where(packs.c.start < -(-at_ms // BUCKET_MS)))


def find(connection: Connection, campaign_id: int, start: int, until: int) -> Packed:
    """What is packed of a campaign, in the order of time. Were a quarter in two packs, only the first would count."""
    c = packs.c
    done = or_(c.campaign_id == campaign_id, c.columns == DONE)
    query = select(c.campaign_id, c.start, c.until).where(within(start, until), done)
    query = query.where(c.campaign_id.in_((ALL, campaign_id))).order_by(c.start)
    runs: list[Run] = []
    empty: list[Run] = []
    for of, first, end in connection.execute(query):
        if of == ALL:
            empty.append((first, end))
        elif not runs or first >= runs[-1][1]:
            runs.append((first, end))
    return Packed(runs, empty)


def left(packed: Packed, start: int, until: int) -> Iterator[Run]:
    """The quarters of a period that only raw events tell of."""
    for first, end in sorted([*packed.runs, *packed.empty, (until, until)]):
        if start < min(first, until):
            yield start, min(first, until)
        start = max(start, end)


def count(connection: Connection, campaign_id: int, runs: Sequence[Run], asked: Asked, period: Run) -> Counted:
    """What the packs of some runs hold of a period, a few read at once: all may be more than is to be held."""
    from tracker.stores.columns import Tally  # brings numpy, which costs a process a tenth of a second

    tally, c = Tally(asked), packs.c
    for place in range(0, len(runs), READ_AT_ONCE):
        starts = [first for first, _ in runs[place : place + READ_AT_ONCE]]
        query = select(c.columns, c.start, c.until).where(c.campaign_id == campaign_id, c.start.in_(starts))
        for columns, first, end in connection.execute(query):
            tally.add(columns, first, end, period)
    return tally.counters()
