"""Single events found by what they are, and sums over several campaigns: what the pages about verdicts read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, literal, or_, select

from tracker.events import Verdict
from tracker.extensions import in_list
from tracker.stores import lastseen
from tracker.stores.reading import SHOWN, SqlReader
from tracker.stores.rollups import (
    DAY_MS,
    VALUE_COLUMNS,
    events,
    of_day,
    rollup_days,
    rollup_reason_days,
    rollup_reasons,
    rollups,
)
from tracker.stores.rows import chunks, older, stored, texts
from tracker.stores.values import SEARCHED_MAX, EventId, Hits, Last, Reason, Search, StoredEvent, Wanted

SEARCHED_AT_ONCE = 10_000
NEWEST_FIRST = (events.c.at_ms.desc(), events.c.nonce.desc())


class SqlSearcher(SqlReader):
    """The part of an EventStore that finds; each call has a connection of its own."""

    def search(self, workspace_id: int, wanted: Wanted, *, before: EventId | None, limit: int) -> Search:
        with self._engine.connect() as connection:
            conditions = _conditions(connection, workspace_id, wanted)
            if conditions is None:
                return Search([], None)
            found: list[StoredEvent] = []
            for _ in range(SEARCHED_MAX // SEARCHED_AT_ONCE):
                span = older(before, wanted.since_ms)
                ids = select(events.c.at_ms, events.c.nonce).where(*span).order_by(*NEWEST_FIRST)
                last = connection.execute(ids.offset(SEARCHED_AT_ONCE - 1).limit(1)).first()
                if last is not None:
                    span.append(_not_older((last.at_ms, last.nonce)))
                query = stored().where(*conditions, *span).order_by(*NEWEST_FIRST).limit(limit - len(found))
                found += [StoredEvent(*row) for row in connection.execute(query)]
                if len(found) >= limit:
                    return Search(found, (found[-1].at_ms, found[-1].nonce))
                before = (last.at_ms, last.nonce) if last is not None else None
                if before is None:
                    break
            return Search(found, before)

    def tests(self, workspace_id: int, code: str | None, *, since_ms: int, limit: int) -> list[StoredEvent]:
        with self._engine.connect() as connection:
            detail = None if code is None else _text_id(connection, code)
            if code is not None and detail is None:
                return []
            # Written out and not bound: only then is it plain that the index of tests holds them all.
            is_test = events.c.verdict == literal(int(Verdict.TEST), literal_execute=True)
            here = events.c.detail_id.is_(None) if detail is None else events.c.detail_id == detail
            query = stored().where(is_test, events.c.workspace_id == workspace_id, here, events.c.at_ms >= since_ms)
            return [StoredEvent(*row) for row in connection.execute(query.order_by(*NEWEST_FIRST).limit(limit))]

    def last_seen(self, campaign_id: int, link_ids: Sequence[int], today: int, *, looked_at_max: int) -> list[Last]:
        with self._engine.connect() as connection:
            return lastseen.last_of(connection, campaign_id, link_ids, today, looked_at_max)

    def of_visitor(self, at_ms: int, nonce: int, limit: int) -> list[StoredEvent]:
        with self._engine.connect() as connection:
            here = same_visitor(connection, at_ms, nonce)
            if here is None:
                return []
            query = stored().where(here).order_by(events.c.at_ms, events.c.nonce).limit(limit)
            return [StoredEvent(*row) for row in connection.execute(query)]

    def reasons_of(self, campaign_ids: Sequence[int], start: int, end: int) -> list[Reason]:
        keys = ("kind", "verdict", "detail_id")
        sums: Counter[tuple[int, int, int]] = Counter()
        for chunk in chunks(campaign_ids):
            of = {"campaign_id": tuple(chunk)}
            for kind, verdict, detail, n in self._sums(rollup_reasons, rollup_reason_days, keys, of, start, end):
                sums[kind, verdict, detail] += n
        names = self._names(detail for _, _, detail in sums)
        return [
            Reason(kind, verdict, names.get(detail), n)
            for (kind, verdict, detail), n in sums.items()
            if n and kind in SHOWN
        ]

    def hits_of(self, campaign_ids: Sequence[int], start: int, end: int) -> list[Hits]:
        sums: Counter[tuple[int, int]] = Counter()
        for chunk in chunks(campaign_ids):
            of = {"campaign_id": tuple(chunk)}
            for kind, verdict, n, *_ in self._sums(rollups, rollup_days, ("kind", "verdict"), of, start, end):
                sums[kind, verdict] += n
        return [Hits(kind, verdict, n) for (kind, verdict), n in sorted(sums.items()) if n and kind in SHOWN]


def _not_older(than: EventId) -> ColumnElement[bool]:
    at_ms, nonce = events.c.at_ms, events.c.nonce
    return and_(at_ms >= than[0], or_(at_ms > than[0], nonce >= than[1]))


def _conditions(connection: Connection, workspace_id: int, wanted: Wanted) -> list[Any] | None:
    """What an event has to fulfil; `None` where none can, for its text is nowhere."""
    found: list[Any] = [events.c.workspace_id == workspace_id]
    for name in ("kind", "verdict", "campaign_id"):
        value = getattr(wanted, name)
        if value is not None:
            found.append(events.c[name] == value)
    if wanted.noted:
        counted_plainly = and_(events.c.verdict == Verdict.COUNTED, events.c.detail_id.is_(None))
        is_test = events.c.verdict == Verdict.TEST
        found += [~counted_plainly, ~is_test, events.c.kind.in_(SHOWN), events.c.link_id.is_not(None)]
    if wanted.detail is not None:
        detail = _text_id(connection, wanted.detail)
        if detail is None:
            return None
        found.append(events.c.detail_id == detail)
    if wanted.links is not None:
        found.append(in_list(events.c.link_id, wanted.links))
    for dimension, text in wanted.values:
        value = None if text is None else _text_id(connection, text)
        if text is not None and value is None:
            return None
        found.append(VALUE_COLUMNS[dimension] == value)
    if wanted.code is not None or wanted.link_id is not None:
        places: list[ColumnElement[bool]] = []
        if wanted.link_id is not None:
            places.append(events.c.link_id == wanted.link_id)
        code = None if wanted.code is None else _text_id(connection, wanted.code)
        if code is not None:
            places.append(and_(events.c.verdict == Verdict.UNKNOWN_CODE, events.c.detail_id == code))
        if not places:
            return None
        found.append(or_(*places))
    return found


def _text_id(connection: Connection, text: str) -> int | None:
    found: int | None = connection.scalar(select(texts.c.id).where(texts.c.text == text))
    return found


def same_visitor(connection: Connection, at_ms: int, nonce: int) -> ColumnElement[bool] | None:
    """The event of an id and, of its UTC day, all others of its visitor; `None` where there is no such event."""
    here = and_(events.c.at_ms == at_ms, events.c.nonce == nonce)
    row = connection.execute(select(events.c.visitor).where(here)).first()
    if row is None:
        return None
    return here if row.visitor is None else and_(of_day(at_ms // DAY_MS), events.c.visitor == row.visitor)
