"""The event store in SQL: raw events and rollups, one transaction a batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, TypeVar, cast

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Executable,
    Select,
    Table,
    and_,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.exc import IntegrityError

from tracker import days
from tracker.days import BUCKET_MS, Span
from tracker.events import Kind, Verdict
from tracker.extensions import insert_into
from tracker.models import EventRow, InternedText, LoadedBatch, Rollup, RollupDay, RollupStep, VisitorDay
from tracker.stores.contract import Batch, Cell, StaleBatch, Step, StoredEvent

T = TypeVar("T")
TEXTS_REMEMBERED_MAX = 50_000
IN_MAX = 500
DAY_MS = 86_400_000
DAY = DAY_MS // BUCKET_MS  # in buckets

events = cast(Table, EventRow.__table__)
texts = cast(Table, InternedText.__table__)
rollups = cast(Table, Rollup.__table__)
rollup_days = cast(Table, RollupDay.__table__)
rollup_steps = cast(Table, RollupStep.__table__)
visitor_days = cast(Table, VisitorDay.__table__)
ledger = cast(Table, LoadedBatch.__table__)


class SqlStore:
    """See EventStore. Safe for use from several threads, each call with a connection of its own."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._dialect = engine.dialect.name
        self._text_ids: dict[str, int] = {}

    # What the loader writes.

    def position(self, segment: str) -> int:
        with self._engine.connect() as connection:
            return connection.scalar(select(ledger.c.end).where(ledger.c.segment == segment)) or 0

    def forget_segment(self, segment: str) -> None:
        with self._engine.begin() as connection:
            connection.execute(delete(ledger).where(ledger.c.segment == segment))

    def append(self, batch: Batch) -> None:
        try:
            self._append(batch, batch.events)
        except IntegrityError:
            # An id is stored already, or twice in this batch: the ledger makes that all but impossible, and it must
            # not hold up what comes behind.
            self._append(batch, self._unseen(batch.events))

    def _append(self, batch: Batch, rows: Sequence[StoredEvent]) -> None:
        with self._engine.begin() as connection:
            self._advance(connection, batch)
            ids = self._intern(connection, rows)
            first = self._first_clicks(connection, rows)
            if rows:
                self._execute_many(
                    connection, insert(events), _EVENT_COLUMNS, [_row(row, ids, row in first) for row in rows]
                )
            self._add_to_rollups(connection, ((row, 1, int(row in first)) for row in rows))
        if len(self._text_ids) + len(ids) > TEXTS_REMEMBERED_MAX:
            self._text_ids.clear()
        self._text_ids.update(ids)

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
        if batch.start == 0:
            new = insert_into(self._dialect, ledger).values(segment=batch.segment, end=batch.end, loaded_at=now)
            moved = connection.execute(new.on_conflict_do_nothing())
        else:
            here = and_(ledger.c.segment == batch.segment, ledger.c.end == batch.start)
            moved = connection.execute(update(ledger).where(here).values(end=batch.end, loaded_at=now))
        if not moved.rowcount:
            raise StaleBatch(f"{batch.segment} from {batch.start}")

    def _intern(self, connection: Connection, rows: Iterable[StoredEvent]) -> dict[str, int]:
        wanted = {text for row in rows for text in (row.agent, row.referrer_host, row.detail) if text is not None}
        ids = {text: self._text_ids[text] for text in wanted if text in self._text_ids}
        missing = sorted(wanted.difference(ids))
        for chunk in _chunks(missing):
            new = insert_into(self._dialect, texts).on_conflict_do_nothing()
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
            insert_into(self._dialect, visitor_days)
            .on_conflict_do_nothing()
            .returning(visitor_days.c.day, visitor_days.c.campaign_id, visitor_days.c.visitor)
        )
        values = [{"day": day, "campaign_id": campaign, "visitor": visitor} for day, campaign, visitor in earliest]
        return {earliest[day, campaign, visitor] for day, campaign, visitor in connection.execute(new, values)}

    def _add_to_rollups(self, connection: Connection, changes: Iterable[tuple[StoredEvent, int, int]]) -> None:
        """Adds to the rollups: for each event, how many more there are of its kind and how many more are unique."""
        sums: dict[Table, dict[tuple[int, ...], list[int]]] = {rollups: {}, rollup_days: {}, rollup_steps: {}}
        for row, more, more_unique in changes:
            if row.campaign_id is None or row.link_id is None:
                continue
            bucket = row.at_ms // BUCKET_MS
            rest = (row.link_id, row.kind, row.verdict)
            keys: list[tuple[Table, tuple[int, ...]]] = [
                (rollups, (row.campaign_id, bucket, *rest)),
                (rollup_days, (row.campaign_id, bucket // DAY, *rest)),
            ]
            if row.verdict == Verdict.COUNTED:
                keys.append((rollup_steps, (row.campaign_id, bucket, row.kind)))
            for table, key in keys:
                both = sums[table].setdefault(key, [0, 0])
                both[0] += more
                both[1] += more_unique
        for table, found in sums.items():
            if found:
                self._upsert(connection, table, found)

    def _upsert(self, connection: Connection, table: Table, sums: dict[tuple[int, ...], list[int]]) -> None:
        """Adds sums to the rows of their keys, in the order of the keys."""
        new = insert_into(self._dialect, table)
        names = [column.name for column in table.primary_key]
        added = [column.name for column in table.columns if not column.primary_key]
        more = {name: table.c[name] + new.excluded[name] for name in added}
        upsert = new.on_conflict_do_update(index_elements=list(table.primary_key.columns), set_=more)
        rows = [(*key, *sums[key][: len(added)]) for key in sorted(sums)]
        self._execute_many(connection, upsert, (*names, *added), rows)

    def _execute_many(
        self, connection: Connection, statement: Executable, names: tuple[str, ...], rows: Sequence[tuple[Any, ...]]
    ) -> None:
        """Hands rows straight to the driver: SQLAlchemy's way with parameters costs more than their insertion."""
        compiled = cast(Any, statement).compile(dialect=self._engine.dialect, column_keys=names)
        if not compiled.positional:
            connection.exec_driver_sql(str(compiled), [dict(zip(names, row, strict=True)) for row in rows])
            return
        order = [names.index(name) for name in compiled.positiontup]
        straight = order == list(range(len(names)))
        connection.exec_driver_sql(
            str(compiled), list(rows) if straight else [tuple(row[i] for i in order) for row in rows]
        )

    def revise(self, at_ms: int, nonce: int, verdict: int) -> bool:
        here = and_(events.c.at_ms == at_ms, events.c.nonce == nonce)
        with self._engine.begin() as connection:
            old = connection.execute(
                _stored().add_columns(events.c.first_of_day).where(here, events.c.verdict != verdict).with_for_update()
            ).first()
            if old is None:
                return False
            was, was_first = StoredEvent(*old[:-1]), bool(old[-1])
            now = was._replace(verdict=verdict)
            # Compare-and-set: of two revisions at once only one finds the verdict that was read.
            claimed = update(events).where(here, events.c.verdict == was.verdict).values(verdict=verdict)
            if not connection.execute(claimed).rowcount:
                return False
            first = now in self._first_clicks(connection, (now,))
            connection.execute(update(events).where(here).values(first_of_day=first))
            self._add_to_rollups(connection, ((was, -1, -int(was_first)), (now, 1, int(first))))
        return True

    def prune(self, before: datetime) -> int:
        before_ms = days.to_ms(before)
        with self._engine.begin() as connection:
            return connection.execute(delete(events).where(events.c.at_ms < before_ms)).rowcount

    def forget_visitors(self, before_day: int) -> None:
        """Drops the visitors of days (counted from 1970, UTC) whose salt is gone."""
        with self._engine.begin() as connection:
            connection.execute(delete(visitor_days).where(visitor_days.c.day < before_day))

    # What reports read.

    def totals(self, campaign_id: int, start: int, end: int) -> list[Cell]:
        first_day, last_day = -(-start // DAY), end // DAY
        if first_day < last_day:
            parts = [
                _part(rollups, rollups.c.bucket, campaign_id, start, first_day * DAY),
                _part(rollup_days, rollup_days.c.day, campaign_id, first_day, last_day),
                _part(rollups, rollups.c.bucket, campaign_id, last_day * DAY, end),
            ]
        else:
            parts = [_part(rollups, rollups.c.bucket, campaign_id, start, end)]
        both = union_all(*parts).subquery()
        keys = (both.c.link_id, both.c.kind, both.c.verdict)
        query = select(*keys, func.sum(both.c.n), func.sum(both.c.unique_n)).group_by(*keys)
        with self._engine.connect() as connection:
            found = connection.execute(query)
            return [Cell(link, kind, verdict, int(n), int(unique)) for link, kind, verdict, n, unique in found]

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


def _part(table: Table, by: Column[int], campaign_id: int, start: int, end: int) -> Select[Any]:
    """The rows of a rollup table from `start` to before `end` of the column that cuts it."""
    columns = (table.c.link_id, table.c.kind, table.c.verdict, table.c.n, table.c.unique_n)
    return select(*columns).where(table.c.campaign_id == campaign_id, by >= start, by < end)


def _may_be_first(row: StoredEvent) -> bool:
    return row.kind == Kind.CLICK and row.verdict == Verdict.COUNTED


_EVENT_COLUMNS = (*StoredEvent._fields[:8], "agent_id", "referrer_id", "detail_id", "first_of_day")


def _row(row: StoredEvent, ids: dict[str, int], first: bool) -> tuple[Any, ...]:
    """The values of _EVENT_COLUMNS: texts by their ids."""
    return (*row[:8], *(None if text is None else ids[text] for text in row[8:]), first)


def _stored() -> Any:
    agent, referrer, detail = texts.alias(), texts.alias(), texts.alias()
    columns = [events.c[name] for name in StoredEvent._fields[:8]]
    return (
        select(*columns, agent.c.text, referrer.c.text, detail.c.text)
        .outerjoin(agent, agent.c.id == events.c.agent_id)
        .outerjoin(referrer, referrer.c.id == events.c.referrer_id)
        .outerjoin(detail, detail.c.id == events.c.detail_id)
    )


def _chunks(items: list[T]) -> Iterable[list[T]]:
    for start in range(0, len(items), IN_MAX):
        yield items[start : start + IN_MAX]
