"""How packs are made of raw events, while others go on changing those.

A run of quarters is claimed first, by a token in its row; then its events are read, which takes a while; then, if the
claim still stands, its packs are stored. Whoever changes one of those events drops the claim in the same transaction,
so it stands only if all that was changed could be seen when the events were read:

- Changed before the claim was made: whoever makes one waits for those who are changing, and reads after that.
- Changed after it: the claim is gone when the change can be seen, and whoever stores packs waits for that, too.

Nobody waits for the reading itself.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, Select, and_, delete, func, insert, literal, or_, select, update

from tracker.days import BUCKET_MS
from tracker.extensions import in_list
from tracker.stores.bits import FLAG, VERDICT, joined
from tracker.stores.dialects import Dialect
from tracker.stores.packs import ALL, DONE, Run, hits, packs, within
from tracker.stores.reading import PRUNED_BEFORE, marks
from tracker.stores.rollups import DAY_MS, VALUE_COLUMNS, events
from tracker.stores.values import Dimension, Drift
from tracker.summing import DAY

# What is over for so long changes no more, but for what came late or is judged anew.
SETTLED_MS = 3_600_000
# Packed in one go, which is a few tenths of a second: the loader waits for it.
EVENTS_AT_ONCE = 100_000
CAMPAIGNS_AT_ONCE = 500
# A quarter that holds more stays raw: it would hold up the loader, and cannot be cut.
QUARTER_EVENTS_MAX = 500_000
TOKEN_BYTES = 8


class _Found(NamedTuple):
    """What a run is to have: the packs with their campaigns and sizes, and whether those are all."""

    packs: list[tuple[int, int, bytes]]
    is_all: bool


class Packer:
    """Packs what is long over, the latest first."""

    def __init__(self, engine: Engine, dialect: Dialect) -> None:
        self._engine = engine
        self._dialect = dialect
        self._too_full: set[int] = set()

    def pack(self, now_ms: int, within_s: float) -> int:
        """Packs one run, and more while time is left; answers how many, 0 where nothing is to be packed."""
        began, done = time.monotonic(), 0
        while True:
            empty, run = self._next((now_ms - SETTLED_MS) // BUCKET_MS)
            if run is not None:
                self._pack(run)
                done += 1
            elif empty:
                self._pass_over(empty)
            else:
                return done
            if done and time.monotonic() - began > within_s:
                return done

    def _next(self, over: int) -> tuple[list[Run], Run | None]:
        """What is to be packed next of the time before a quarter; or, if that comes first, what holds nothing."""
        empty: list[Run] = []
        with self._engine.connect() as connection:
            oldest = connection.scalar(select(func.min(events.c.at_ms)))
            if oldest is None:
                return empty, None
            pruned = connection.scalar(select(marks.c.value).where(marks.c.name == PRUNED_BEFORE)) or 0
            # Not of a day that retention has begun to cut: it would be packed anew each hour.
            first = max(oldest // DAY_MS, -(-pruned // DAY_MS)) * DAY
            nothing_since = over
            for start, until in _gaps(connection, first, over):
                if empty and (start < nothing_since or until > empty[-1][0]):
                    break
                if not empty and _nth(connection, start, until, 0) is not None:
                    if (run := self._cut(connection, start, until, over)) is not None:
                        return [], run
                elif until <= over:
                    nothing_since = nothing_since if empty else _last_before(connection, start) + 1
                    empty.append((start, until))
        return empty, None

    def _pass_over(self, runs: Sequence[Run]) -> None:
        """Says that runs that hold nothing, nor does the time between them, are done; if it is still so."""
        start, until = runs[-1][0], runs[0][1]
        of_all = and_(packs.c.start >= start, packs.c.start < until, packs.c.campaign_id == ALL)
        with self._engine.begin() as connection:
            self._dialect.keep_changers_out(connection)
            if _nth(connection, start, until, 0) is None:
                connection.execute(delete(packs).where(of_all, packs.c.columns != DONE))
                there = set(connection.scalars(select(packs.c.start).where(of_all)))
                rows = [_row(ALL, run, 0, DONE) for run in runs if run[0] not in there]
                if rows:
                    connection.execute(insert(packs), rows)

    def _cut(self, connection: Connection, start: int, until: int, over: int) -> Run | None:
        """The first run of a gap: all of it, or as much as is packed in one go. What is not over yet has to wait."""
        while start in self._too_full:
            start += 1
        bound = _nth(connection, start, until, EVENTS_AT_ONCE)
        if bound is None:
            return (start, until) if start < until <= over else None
        cut = bound // BUCKET_MS
        if cut == start:
            cut += 1
            if _nth(connection, start, cut, QUARTER_EVENTS_MAX) is not None:
                self._too_full.add(start)
                return self._cut(connection, start, until, over)
        return (start, cut) if cut <= over else None

    def _pack(self, run: Run) -> None:
        token = secrets.token_bytes(TOKEN_BYTES)
        with self._engine.begin() as connection:
            self._dialect.keep_changers_out(connection)
            if not _claim(connection, run, token):
                return
        with self._engine.connect() as connection:
            found = _read(connection, run)
        with self._engine.begin() as connection:
            self._dialect.keep_changers_out(connection)
            _store(connection, run, token, found)


def _gaps(connection: Connection, first: int, over: int) -> Iterator[Run]:
    """The quarters that are not packed, in runs within a day, the latest day first."""
    c = packs.c
    query = select(c.start, c.until).where(c.campaign_id == ALL, c.columns == DONE, c.until > first)
    of_day: dict[int, list[Run]] = {}
    for start, until in connection.execute(query.order_by(c.start)):
        of_day.setdefault(start // DAY, []).append((start, until))
    for day in range(over // DAY, first // DAY - 1, -1):
        at, end = max(day * DAY, first), (day + 1) * DAY
        for start, until in [*of_day.get(day, ()), (end, end)]:
            if at < start:
                yield at, start
            at = until


def _nth(connection: Connection, start: int, until: int, number: int) -> int | None:
    """The instant of the event that comes after so many others of some quarters."""
    at_ms = events.c.at_ms
    query = select(at_ms).where(at_ms >= start * BUCKET_MS, at_ms < until * BUCKET_MS)
    found: int | None = connection.scalar(query.order_by(at_ms).offset(number).limit(1))
    return found


def _last_before(connection: Connection, start: int) -> int:
    """The quarter of the last event before another."""
    found: int | None = connection.scalar(select(func.max(events.c.at_ms)).where(events.c.at_ms < start * BUCKET_MS))
    return -1 if found is None else found // BUCKET_MS


def _claim(connection: Connection, run: Run, token: bytes) -> bool:
    """Takes a run, from whoever is at it as well; whether it could be had."""
    here = and_(within(*run), packs.c.campaign_id == ALL)
    pruned = connection.scalar(select(marks.c.value).where(marks.c.name == PRUNED_BEFORE)) or 0
    is_done = connection.scalar(select(func.count()).where(here, packs.c.columns == DONE))
    if is_done or run[0] * BUCKET_MS < pruned:
        return False
    connection.execute(delete(packs).where(here))
    connection.execute(insert(packs), [_row(ALL, run, 0, token)])
    return True


def _row(campaign: int, run: Run, n: int, columns: bytes) -> dict[str, Any]:
    return {"campaign_id": campaign, "start": run[0], "until": run[1], "n": n, "columns": columns}


def _read(connection: Connection, run: Run) -> _Found:
    """Makes the packs of a run, of campaigns that have none: some are left where others have changed."""
    from tracker.stores import columns  # brings numpy, which costs a process a tenth of a second

    had = select(packs.c.campaign_id).where(packs.c.start == run[0], packs.c.until == run[1])
    others = select_hits(run).where(~in_list(events.c.campaign_id, connection.scalars(had)))
    found = columns.by_campaign(connection.execute(others))
    made = []
    for campaign, own in islice(found, CAMPAIGNS_AT_ONCE):
        made.append((campaign, len(own), columns.write(own, run[1] - run[0])))
    return _Found(made, next(found, None) is None)


def select_hits(run: Run) -> Select[Any]:
    """The hits of all campaigns over a run of quarters: the campaign, and what columns.write wants of each."""
    e = events.c
    bucket = e.at_ms // literal(BUCKET_MS, literal_execute=True) - literal(run[0], literal_execute=True)
    what = joined(e.kind, (e.verdict, VERDICT), (e.first_of_day, FLAG), (e.first_on_link, FLAG))
    values = (func.coalesce(VALUE_COLUMNS[dimension], 0) for dimension in Dimension)
    chosen = select(e.campaign_id, bucket.label("bucket"), what.label("what"), e.link_id, *values)
    return chosen.where(hits(run), e.campaign_id.is_not(None))


def _store(connection: Connection, run: Run, token: bytes, found: _Found) -> None:
    """Stores the packs of a run whose claim still stands. Whoever has packs of other runs there, loses them."""
    c = packs.c
    claim = and_(c.campaign_id == ALL, c.start == run[0], c.columns == token)
    if connection.scalar(select(func.count()).where(claim)) == 0:
        return
    connection.execute(
        delete(packs).where(within(*run), c.campaign_id != ALL, or_(c.start != run[0], c.until != run[1]))
    )
    if found.packs:
        rows = [_row(campaign, run, n, pack) for campaign, n, pack in found.packs]
        connection.execute(insert(packs), rows)
    if found.is_all:
        size = select(func.sum(c.n)).where(c.start == run[0], c.campaign_id != ALL)
        connection.execute(update(packs).where(claim).values(columns=DONE, n=connection.scalar(size) or 0))
    else:
        connection.execute(delete(packs).where(claim))


def drifts(connection: Connection, day: int) -> list[Drift]:
    """Packs of a day that do not hold what its raw events are: how many hits, and a sum over what they are."""
    c, wrong = packs.c, []
    query = select(c.start, c.until).where(c.campaign_id == ALL, c.columns == DONE, within(day * DAY, (day + 1) * DAY))
    runs = connection.execute(query.order_by(c.start)).all()
    if not runs:
        return []
    from tracker.stores import columns

    for start, until in runs:
        run = start, until
        should = {own: columns.digest(rows) for own, rows in columns.by_campaign(connection.execute(select_hits(run)))}
        kept = select(c.campaign_id, c.columns).where(c.start == start, c.until == until, c.campaign_id != ALL)
        has = {
            own: columns.digest(columns.Columns(pack, until - start).hits()) for own, pack in connection.execute(kept)
        }
        for campaign in sorted(should.keys() | has.keys()):
            have, want = has.get(campaign, (0, 0)), should.get(campaign, (0, 0))
            if have != want:
                wrong.append(Drift(packs.name, (campaign, start), have, want))
    return wrong
