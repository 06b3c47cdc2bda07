"""The event store in SQL: raw events and rollups, one transaction a batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar, cast

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Select,
    Table,
    and_,
    case,
    delete,
    func,
    literal,
    or_,
    select,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.exc import IntegrityError

from tracker import days
from tracker.days import Span
from tracker.events import Kind, Verdict
from tracker.extensions import insert_into
from tracker.models import InternedText, LoadedBatch, StoreMark, VisitorDay
from tracker.stores import audit
from tracker.stores.contract import Batch, Cell, Dimension, Drift, Part, StaleBatch, Step, StoredEvent
from tracker.stores.dialects import dialect_of
from tracker.stores.rollups import (
    DAY,
    DAY_MS,
    VALUE_COLUMNS,
    events,
    rollup_days,
    rollup_part_days,
    rollup_parts,
    rollup_steps,
    rollups,
    sums_of,
)

T = TypeVar("T")
TEXTS_REMEMBERED_MAX = 50_000
IN_MAX = 500
PRUNED_BEFORE = "pruned_before_ms"

texts = cast(Table, InternedText.__table__)
visitor_days = cast(Table, VisitorDay.__table__)
ledger = cast(Table, LoadedBatch.__table__)
marks = cast(Table, StoreMark.__table__)


class SqlStore:
    """See EventStore. Safe for use from several threads, each call with a connection of its own."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._dialect = dialect_of(engine)
        self._text_ids: dict[str, int] = {}

    # What the loader writes.

    def position(self, segment: str) -> int:
        with self._engine.connect() as connection:
            return connection.scalar(select(ledger.c.end).where(ledger.c.segment == segment)) or 0

    def forget_segment(self, segment: str) -> None:
        with self._engine.begin() as connection:
            connection.execute(delete(ledger).where(ledger.c.segment == segment))

    def append(self, batch: Batch) -> None:
        self._dialect.make_room(self._engine, (row.at_ms for row in batch.events))
        try:
            self._append(batch, batch.events)
        except IntegrityError:
            # An id is stored already, or twice in this batch: the ledger makes that all but impossible, and it must
            # not hold up what comes behind.
            self._append(batch, self._unseen(batch.events))

    def rehearse(self, batch: Batch) -> None:
        self._dialect.make_room(self._engine, (row.at_ms for row in batch.events))
        with self._engine.connect() as connection:
            self._write(connection, batch, self._unseen(batch.events))
            connection.rollback()

    def _append(self, batch: Batch, rows: Sequence[StoredEvent]) -> None:
        with self._engine.begin() as connection:
            ids = self._write(connection, batch, rows)
        if len(self._text_ids) + len(ids) > TEXTS_REMEMBERED_MAX:
            self._text_ids.clear()
        self._text_ids.update(ids)

    def _write(self, connection: Connection, batch: Batch, rows: Sequence[StoredEvent]) -> dict[str, int]:
        """All that a batch changes; answers the ids of its texts, which hold once the transaction is committed."""
        self._advance(connection, batch)
        ids = self._intern(connection, rows)
        first = self._first_clicks(connection, rows)
        if rows:
            of_text: dict[str | None, int | None] = {None: None}
            of_text.update(ids)
            values = [_values(row, of_text, row in first) for row in rows]
            self._dialect.insert_events(connection, _EVENT_COLUMNS, values)
            ones = ((row, value[_DIMENSIONS], 1, int(value[-1])) for row, value in zip(rows, values, strict=True))
            self._add_to_rollups(connection, ones)
        return ids

    def _unseen(self, rows: Sequence[StoredEvent]) -> list[StoredEvent]:
        distinct = {(row.at_ms, row.nonce): row for row in rows}
        stored: set[tuple[int, int]] = set()
        with self._engine.connect() as connection:
            for chunk in _chunks(list(distinct)):
                key = tuple_(events.c.at_ms, events.c.nonce)
                found = connection.execute(select(events.c.at_ms, events.c.nonce).where(key.in_(chunk)))
                stored.update((at_ms, nonce) for at_ms, nonce in found)
        return [row for key, row in distinct.items() if key not in stored]

    def _advance(self, connection: Connection, batch: Batch) -> None:
        """Compare-and-set on the ledger; first of all, so that the write lock is held before anything is read."""
        now = days.now()
        move: Any
        if batch.start == 0:
            new = insert_into(self._engine.dialect.name, ledger).on_conflict_do_nothing()
            move = new.values(segment=batch.segment, end=batch.end, loaded_at=now)
        else:
            here = and_(ledger.c.segment == batch.segment, ledger.c.end == batch.start)
            move = update(ledger).where(here).values(end=batch.end, loaded_at=now)
        # RETURNING and not the count of rows, which not every driver tells of an insertion.
        if connection.execute(move.returning(ledger.c.segment)).first() is None:
            raise StaleBatch(f"{batch.segment} from {batch.start}")

    def _intern(self, connection: Connection, rows: Iterable[StoredEvent]) -> dict[str, int]:
        wanted: set[str | None] = set()
        for row in rows:
            wanted.update(_texts(row))
        ids = {text: self._text_ids[text] for text in wanted if text is not None and text in self._text_ids}
        missing = sorted(text for text in wanted if text is not None and text not in ids)
        for chunk in _chunks(missing):
            new = insert_into(self._engine.dialect.name, texts).on_conflict_do_nothing()
            connection.execute(new, [{"text": text} for text in chunk])
            found = connection.execute(select(texts.c.text, texts.c.id).where(texts.c.text.in_(chunk)))
            ids.update((text, text_id) for text, text_id in found)
        return ids

    def _first_clicks(self, connection: Connection, rows: Iterable[StoredEvent]) -> set[StoredEvent]:
        """The clicks that are their visitor's first on the campaign that day."""
        earliest: dict[tuple[int, int, int], StoredEvent] = {}
        for row in rows:
            if _may_be_first(row) and row.campaign_id is not None and row.visitor is not None:
                earliest.setdefault((row.at_ms // DAY_MS, row.campaign_id, row.visitor), row)
        if not earliest:
            return set()
        new = (
            insert_into(self._engine.dialect.name, visitor_days)
            .on_conflict_do_nothing()
            .returning(visitor_days.c.day, visitor_days.c.campaign_id, visitor_days.c.visitor)
        )
        values = [dict(zip(("day", "campaign_id", "visitor"), key, strict=True)) for key in sorted(earliest)]
        return {earliest[day, campaign, visitor] for day, campaign, visitor in connection.execute(new, values)}

    def _add_to_rollups(
        self, connection: Connection, changes: Iterable[tuple[StoredEvent, tuple[int | None, ...], int, int]]
    ) -> None:
        """Adds to the rollups, in the order of their keys: so two loaders at once wait for each other at most once."""
        for table, sums in sums_of(changes).items():
            if sums:
                size = len(table.columns) - len(table.primary_key.columns)
                self._dialect.add(connection, table, [(*key, *sums[key][:size]) for key in sorted(sums)])

    def revise(self, at_ms: int, nonce: int, verdict: int) -> bool:
        here = and_(events.c.at_ms == at_ms, events.c.nonce == nonce)
        with self._engine.begin() as connection:
            # An update that changes nothing holds the row in any database: of two revisions at once the second sees
            # what the first has made of it.
            held = update(events).where(here, events.c.verdict != verdict).values(verdict=events.c.verdict)
            if not connection.execute(held).rowcount:
                return False
            *stored, was_first = connection.execute(_stored().add_columns(events.c.first_of_day).where(here)).one()
            values = tuple(connection.execute(select(*VALUE_COLUMNS.values()).where(here)).one())
            was = StoredEvent(*stored)
            now = was._replace(verdict=verdict)
            if was_first:
                self._pass_on_first(connection, was)
            connection.execute(update(events).where(here).values(verdict=verdict))
            first = now in self._first_clicks(connection, (now,))
            connection.execute(update(events).where(here).values(first_of_day=first))
            both = ((was, values, -1, -int(was_first)), (now, values, 1, int(first)))
            self._add_to_rollups(connection, both)
        return True

    def _pass_on_first(self, connection: Connection, was: StoredEvent) -> None:
        """A click that was its visitor's first of the day counts no longer: the next that does is the first now."""
        day = was.at_ms // DAY_MS
        same = and_(events.c.campaign_id == was.campaign_id, events.c.visitor == was.visitor)
        other = or_(events.c.at_ms != was.at_ms, events.c.nonce != was.nonce)
        query = select(events.c.at_ms, events.c.nonce).where(same, other, audit.first_candidates(day))
        found = connection.execute(query.order_by(events.c.at_ms, events.c.nonce).limit(1)).first()
        if found is None:
            seen = visitor_days.c
            here = and_(seen.day == day, seen.campaign_id == was.campaign_id, seen.visitor == was.visitor)
            connection.execute(delete(visitor_days).where(here))
            return
        here = and_(events.c.at_ms == found.at_ms, events.c.nonce == found.nonce)
        connection.execute(update(events).where(here).values(first_of_day=True))
        values = tuple(connection.execute(select(*VALUE_COLUMNS.values()).where(here)).one())
        heir = StoredEvent(*connection.execute(_stored().where(here)).one())
        self._add_to_rollups(connection, ((heir, values, 0, 1),))

    def prune(self, before: datetime) -> int:
        before_ms = days.to_ms(before)
        # Marked first: from then on nobody holds rollups against days of which a part may be gone.
        with self._engine.begin() as connection:
            new = insert_into(self._engine.dialect.name, marks)
            later = case((marks.c.value > new.excluded.value, marks.c.value), else_=new.excluded.value)
            mark = new.values(name=PRUNED_BEFORE, value=before_ms)
            connection.execute(mark.on_conflict_do_update(index_elements=[marks.c.name], set_={"value": later}))
        return self._dialect.prune(self._engine, before_ms)

    def forget_visitors(self, before_day: int) -> None:
        """Drops the visitors of days (counted from 1970, UTC) whose salt is gone."""
        with self._engine.begin() as connection:
            connection.execute(delete(visitor_days).where(visitor_days.c.day < before_day))

    # What holds the rollups against the raw events.

    def whole_days(self) -> list[int]:
        with self._engine.connect() as connection:
            pruned = connection.scalar(select(marks.c.value).where(marks.c.name == PRUNED_BEFORE)) or 0
            found = set(connection.scalars(select(rollup_days.c.day).distinct()))
            # From day to day by the clustered key: no database finds the distinct days of a large table as quickly.
            first = select(func.min(events.c.at_ms))
            at_ms = connection.scalar(first)
            while at_ms is not None:
                found.add(at_ms // DAY_MS)
                at_ms = connection.scalar(first.where(events.c.at_ms >= (at_ms // DAY_MS + 1) * DAY_MS))
        return sorted(day for day in found if day * DAY_MS >= pruned)

    def drifts(self, day: int) -> list[Drift]:
        with self._engine.begin() as connection:
            self._dialect.freeze(connection)
            return audit.drifts(connection, day)

    def repair(self, day: int) -> None:
        with self._engine.begin() as connection:
            self._dialect.keep_writers_out(connection)
            audit.repair(connection, day)

    # What reports read.

    def totals(self, campaign_id: int, start: int, end: int) -> list[Cell]:
        keys = ("link_id", "kind", "verdict")
        found = self._sums(rollups, rollup_days, keys, {"campaign_id": campaign_id}, start, end)
        return [Cell(*row) for row in found]

    def breakdown(self, campaign_id: int, start: int, end: int, dimension: Dimension) -> list[Part]:
        of = {"campaign_id": campaign_id, "dimension": int(dimension)}
        found = self._sums(rollup_parts, rollup_part_days, ("value_id", "kind"), of, start, end)
        names: dict[int, str] = {}
        with self._engine.connect() as connection:
            for chunk in _chunks(sorted({row[0] for row in found})):
                query = select(texts.c.id, texts.c.text).where(texts.c.id.in_(chunk))
                names.update((text_id, text) for text_id, text in connection.execute(query))
        shown = (Kind.IMPRESSION, Kind.CLICK)
        return [Part(names[value], kind, n, unique_n) for value, kind, n, unique_n in found if kind in shown]

    def _sums(
        self, fine: Table, coarse: Table, keys: tuple[str, ...], of: dict[str, int], start: int, end: int
    ) -> list[tuple[int, ...]]:
        """Sums by `keys` over the buckets from `start` to before `end`: whole UTC days from the coarser rollup."""
        first_day, last_day = -(-start // DAY), end // DAY
        if first_day < last_day:
            parts = [
                _part(fine, fine.c.bucket, keys, of, start, first_day * DAY),
                _part(coarse, coarse.c.day, keys, of, first_day, last_day),
                _part(fine, fine.c.bucket, keys, of, last_day * DAY, end),
            ]
        else:
            parts = [_part(fine, fine.c.bucket, keys, of, start, end)]
        both = union_all(*parts).subquery()
        by = [both.c[name] for name in keys]
        query = select(*by, func.sum(both.c.n), func.sum(both.c.unique_n)).group_by(*by)
        with self._engine.connect() as connection:
            return [tuple(int(value) for value in row) for row in connection.execute(query)]

    def series(self, campaign_id: int, spans: Sequence[Span], step: int) -> list[Step]:
        steps, found = rollup_steps.c, []
        with self._engine.connect() as connection:
            for span in spans:
                index = ((steps.bucket + span.offset) // literal(step, literal_execute=True)).label("step")
                query = (
                    select(index, steps.kind, func.sum(steps.n))
                    .where(
                        steps.campaign_id == campaign_id,
                        steps.bucket >= span.start,
                        steps.bucket < span.end,
                        steps.kind.in_((Kind.IMPRESSION, Kind.CLICK)),
                    )
                    .group_by(index, steps.kind)
                )
                found += [Step(span.offset, i, kind, int(n)) for i, kind, n in connection.execute(query)]
        return found

    def first_bucket(self, campaign_id: int) -> int | None:
        with self._engine.connect() as connection:
            query = select(func.min(rollups.c.bucket)).where(rollups.c.campaign_id == campaign_id)
            first: int | None = connection.scalar(query)
            return first

    def recent(self, workspace_id: int, *, before: tuple[int, int] | None, limit: int) -> list[StoredEvent]:
        query = _stored().where(events.c.workspace_id == workspace_id)
        if before is not None:
            at_ms, nonce = before
            query = query.where(or_(events.c.at_ms < at_ms, and_(events.c.at_ms == at_ms, events.c.nonce < nonce)))
        query = query.order_by(events.c.at_ms.desc(), events.c.nonce.desc()).limit(limit)
        with self._engine.connect() as connection:
            return [StoredEvent(*row) for row in connection.execute(query)]

    def orphans(self, workspace_id: int, limit: int) -> list[tuple[str, int]]:
        n = func.count().label("n")
        query = (
            select(texts.c.text, n)
            .join(events, events.c.detail_id == texts.c.id)
            .where(events.c.workspace_id == workspace_id, events.c.verdict == Verdict.UNKNOWN_CODE)
            .group_by(texts.c.text)
            .order_by(n.desc(), texts.c.text)
            .limit(limit)
        )
        with self._engine.connect() as connection:
            return [(text, count) for text, count in connection.execute(query)]

    def find_click(self, at_ms: int, nonce: int) -> StoredEvent | None:
        query = _stored().where(events.c.at_ms == at_ms, events.c.nonce == nonce, events.c.kind == Kind.CLICK)
        with self._engine.connect() as connection:
            row = connection.execute(query).first()
        return StoredEvent(*row) if row else None


def _part(
    table: Table, by: Column[int], keys: tuple[str, ...], of: dict[str, int], start: int, end: int
) -> Select[Any]:
    """The rows of a rollup table from `start` to before `end` of the column that cuts it."""
    columns = [table.c[name] for name in (*keys, "n", "unique_n")]
    return select(*columns).where(*(table.c[name] == value for name, value in of.items()), by >= start, by < end)


def _may_be_first(row: StoredEvent) -> bool:
    return row.kind == Kind.CLICK and row.verdict == Verdict.COUNTED


_NUMBERS = 8  # fields of a StoredEvent before its texts
_TEXTS = slice(_NUMBERS, None)
_TEXT_FIELDS = StoredEvent._fields[_NUMBERS:]
_EVENT_COLUMNS = (*StoredEvent._fields[:_NUMBERS], *(f"{name}_id" for name in _TEXT_FIELDS), "first_of_day")
# Where in the values of those columns the dimensions are.
_DIMENSIONS = slice(_EVENT_COLUMNS.index(f"{Dimension(1).word}_id"), -1)


def _texts(row: StoredEvent) -> tuple[str | None, ...]:
    return cast(tuple[str | None, ...], row[_TEXTS])


def _values(row: StoredEvent, ids: Mapping[str | None, int | None], first: bool) -> tuple[Any, ...]:
    """The values of _EVENT_COLUMNS: texts by their ids."""
    return (*row[:_NUMBERS], *map(ids.__getitem__, _texts(row)), first)


def _stored() -> Any:
    """Everything of a StoredEvent, its texts looked up."""
    query = select(*(events.c[name] for name in StoredEvent._fields[:_NUMBERS])).select_from(events)
    for name in _TEXT_FIELDS:
        own = texts.alias()
        query = query.add_columns(own.c.text).outerjoin(own, own.c.id == events.c[f"{name}_id"])
    return query


def _chunks(items: list[T]) -> Iterable[list[T]]:
    for start in range(0, len(items), IN_MAX):
        yield items[start : start + IN_MAX]
