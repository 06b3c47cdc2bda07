"""The event store in SQL: raw events and rollups, one transaction a batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from sqlalchemy import (
    Connection,
    Engine,
    Table,
    and_,
    bindparam,
    case,
    delete,
    func,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from tracker import days, summing
from tracker.events import Kind
from tracker.extensions import insert_into
from tracker.models import LoadedBatch
from tracker.stores import audit, firsts, forgetting, packing, packs
from tracker.stores.reading import PRUNED_BEFORE, marks
from tracker.stores.rollups import (
    DAY_MS,
    Change,
    events,
    rollup_days,
    rollup_orphan_days,
    rollups,
    sums_of,
)
from tracker.stores.rows import (
    CURRENCY,
    DETAIL,
    DIMENSIONS,
    EVENT_COLUMNS,
    FLAGS,
    ID,
    OF_CHANGE,
    change_of,
    chunks,
    intern,
    stored,
    texts_of,
    values_of,
)
from tracker.stores.searching import SqlSearcher
from tracker.stores.values import (
    Batch,
    Drift,
    Revision,
    StaleBatch,
    StoredEvent,
)

TEXTS_REMEMBERED_MAX = 50_000
VISITORS_BEFORE = "visitors_before_day"
SHOWN = (Kind.IMPRESSION, Kind.CLICK)

ledger = cast(Table, LoadedBatch.__table__)


class SqlStore(SqlSearcher):
    """See EventStore. Safe for use from several threads, each call with a connection of its own."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._text_ids: dict[str, int] = {}
        self._packer = packing.Packer(engine, self._dialect)

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
        ids = intern(connection, {text for row in rows for text in texts_of(row)}, self._text_ids)
        on_campaign, on_link = (firsts.take(connection, scope, rows) for scope in firsts.SCOPES)
        if rows:
            of_text: dict[str | None, int | None] = {None: None}
            of_text.update(ids)
            values = []
            for row in rows:
                row_id = row[:2]
                values.append(values_of(row, of_text, (row_id in on_campaign, row_id in on_link)))
            self._dialect.insert_events(connection, EVENT_COLUMNS, values)
            ones = (
                (row, value[DETAIL], value[DIMENSIONS], value[CURRENCY], 1, int(value[-2]), int(value[-1]))
                for row, value in zip(rows, values, strict=True)
            )
            self._add_to_rollups(connection, ones)
        return ids

    def _unseen(self, rows: Sequence[StoredEvent]) -> list[StoredEvent]:
        distinct = {(row.at_ms, row.nonce): row for row in rows}
        stored: set[tuple[int, int]] = set()
        with self._engine.connect() as connection:
            for chunk in chunks(list(distinct)):
                found = connection.execute(select(events.c.at_ms, events.c.nonce).where(ID.in_(chunk)))
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

    def _add_to_rollups(self, connection: Connection, changes: Iterable[Change]) -> None:
        """Adds to the rollups, in the order of their keys: so two loaders at once wait for each other at most once."""
        of_table = sums_of(changes)
        for table, sums in of_table.items():
            if sums:
                summing.add(connection, table, [(*key, *sums[key]) for key in sorted(sums)])
        # After the rollups, as when those are made anew: so two that change the same wait in one order.
        packs.drop(connection, {(campaign, bucket) for campaign, bucket, *_ in of_table[rollups]})

    def revise(self, revisions: Sequence[Revision]) -> int:
        if not revisions:
            return 0
        with self._engine.begin() as connection:
            self._dialect.begin_changes(connection)
            # Texts, visitors, events, rollups: whoever stores a batch takes them in this order, too.
            ids: dict[str | None, int | None] = {None: None}
            ids.update(intern(connection, {text for revision in revisions for text in revision[3:]}, {}))
            self._dialect.keep_visitors(connection)
            changed = self._changed(connection, revisions)
            if changed:
                self._revise(connection, changed, ids)
        return len(changed)

    def _changed(self, connection: Connection, revisions: Sequence[Revision]) -> list[tuple[Change, StoredEvent]]:
        """What is stored of the events that are to be otherwise, to be taken back, and how each is to be.

        The rows are held: of two revisions at once the second sees what the first has made of it.
        """
        wanted = {(revision.at_ms, revision.nonce): revision for revision in revisions}
        found = []
        for chunk in chunks(sorted(wanted)):
            query = stored().add_columns(*OF_CHANGE).where(ID.in_(chunk)).with_for_update(of=events)
            for row in connection.execute(query):
                was, detail, values, currency, first, on_link = change_of(row)
                verdict, reason, rule = wanted[was.at_ms, was.nonce][2:]
                now = was._replace(verdict=verdict, detail=reason, rule=rule)
                if now != was:
                    found.append(((was, detail, values, currency, -1, -first, -on_link), now))
        return found

    def _revise(
        self,
        connection: Connection,
        changed: Sequence[tuple[Change, StoredEvent]],
        ids: Mapping[str | None, int | None],
    ) -> None:
        stays = [
            tuple(bool(had and scope.key_of(now)) for scope, had in zip(firsts.SCOPES, change[-2:], strict=True))
            for change, now in changed
        ]
        values = [
            {"of_ms": now.at_ms, "of_nonce": now.nonce, "verdict": now.verdict}
            | {"detail_id": ids[now.detail], "rule_id": ids[now.rule]}
            | dict(zip(FLAGS, flags, strict=True))
            for (_, now), flags in zip(changed, stays, strict=True)
        ]
        here = and_(events.c.at_ms == bindparam("of_ms"), events.c.nonce == bindparam("of_nonce"))
        names = ("verdict", "detail_id", "rule_id", *FLAGS)
        connection.execute(update(events).where(here).values({name: bindparam(name) for name in names}), values)
        gained = self._move_firsts(connection, changed)
        moves = [change for change, _ in changed]
        for (change, now), flags in zip(changed, stays, strict=True):
            more = gained.pop((now.at_ms, now.nonce), (0, 0))
            first, on_link = (int(flag) + n for flag, n in zip(flags, more, strict=True))
            moves.append((now, ids[now.detail], *change[2:4], 1, first, on_link))
        self._add_to_rollups(connection, moves + self._heirs(connection, gained))

    def _move_firsts(
        self, connection: Connection, changed: Sequence[tuple[Change, StoredEvent]]
    ) -> dict[tuple[int, int], tuple[int, ...]]:
        """Finds and flags the clicks that are a visitor's first now and were not before: on which of SCOPES."""
        of = select(marks.c.value).where(marks.c.name == bindparam("name"))
        forgotten, pruned = (connection.scalar(of, {"name": name}) or 0 for name in (VISITORS_BEFORE, PRUNED_BEFORE))
        gained: dict[tuple[int, int], tuple[int, ...]] = {}
        for place, scope in enumerate(firsts.SCOPES):
            lost, new = set(), []
            for (was, _, _, _, _, *had), now in changed:
                before, after = scope.key_of(was), scope.key_of(now)
                if before is not None and after is None and had[place]:
                    lost.add(before)
                elif before is None and after is not None:
                    new.append(now)
            found = firsts.pass_on(connection, scope, lost, forgotten)
            self._flag(connection, scope.flag, found)
            known = [now for now in new if now.at_ms // DAY_MS >= forgotten]
            # Of a day that retention has cut nobody knows who was there before: it has its firsts.
            others = [now for now in new if now.at_ms // DAY_MS < forgotten and now.at_ms // DAY_MS * DAY_MS >= pruned]
            later = [*firsts.take(connection, scope, known), *firsts.first_where_forgotten(connection, scope, others)]
            self._flag(connection, scope.flag, later)
            for row_id in (*found, *later):
                flags = gained.get(row_id, (0, 0))
                gained[row_id] = (*flags[:place], 1, *flags[place + 1 :])
        return gained

    def _flag(self, connection: Connection, flag: str, ids: Sequence[tuple[int, int]]) -> None:
        for chunk in chunks(ids):
            connection.execute(update(events).where(ID.in_(chunk)).values({flag: True}))

    def _heirs(self, connection: Connection, gained: dict[tuple[int, int], tuple[int, ...]]) -> list[Change]:
        """What those add whose verdict stays and who are their visitor's first now."""
        heirs: list[Change] = []
        for chunk in chunks(sorted(gained)):
            for row in connection.execute(stored().add_columns(*OF_CHANGE).where(ID.in_(chunk))):
                heir, detail, values, currency, *_ = change_of(row)
                first, on_link = gained[heir.at_ms, heir.nonce]
                heirs.append((heir, detail, values, currency, 0, first, on_link))
        return heirs

    def prune(self, before: datetime) -> int:
        before_ms = days.to_ms(before)
        # Marked first: from then on nobody holds rollups against days of which a part may be gone.
        with self._engine.begin() as connection:
            self._mark(connection, PRUNED_BEFORE, before_ms)
            packs.drop_before(connection, before_ms)
        return self._dialect.prune(self._engine, before_ms)

    def forget_visitors(self, before_day: int) -> None:
        """Drops the visitors of days (counted from 1970, UTC) whose salt is gone."""
        with self._engine.begin() as connection:
            self._mark(connection, VISITORS_BEFORE, before_day)
            for scope in firsts.SCOPES:
                connection.execute(delete(scope.seen).where(scope.seen.c.day < before_day))

    def forget_visitor(self, at_ms: int, nonce: int) -> int:
        with self._engine.begin() as connection:
            self._dialect.begin_changes(connection)
            # Whoever stores a click of the same visitor meanwhile has looked whether it is the first, or looks later.
            self._dialect.keep_visitors(connection)
            changes = forgetting.forget(connection, at_ms, nonce)
            self._add_to_rollups(connection, changes)
        return len(changes) // 2

    def forget_orphans(self, before_day: int) -> None:
        with self._engine.begin() as connection:
            self._mark(connection, audit.ORPHANS_BEFORE, before_day)
            connection.execute(delete(rollup_orphan_days).where(rollup_orphan_days.c.day < before_day))

    def _mark(self, connection: Connection, name: str, value: int) -> None:
        """Remembers the highest value there has been."""
        new = insert_into(self._engine.dialect.name, marks)
        later = case((marks.c.value > new.excluded.value, marks.c.value), else_=new.excluded.value)
        mark = new.values(name=name, value=value)
        connection.execute(mark.on_conflict_do_update(index_elements=[marks.c.name], set_={"value": later}))

    def mark(self, name: str) -> int | None:
        with self._engine.connect() as connection:
            return connection.scalar(select(marks.c.value).where(marks.c.name == name))

    def set_marks(self, numbers: Mapping[str, int | None]) -> None:
        kept = [{"name": name, "value": value} for name, value in numbers.items() if value is not None]
        with self._engine.begin() as connection:
            connection.execute(delete(marks).where(marks.c.name.in_(numbers)))
            if kept:
                connection.execute(marks.insert(), kept)

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
            summing.freeze(connection)
            return audit.drifts(connection, day) + packing.drifts(connection, day)

    def repair(self, day: int) -> None:
        with self._engine.begin() as connection:
            self._dialect.keep_writers_out(connection)
            audit.repair(connection, day)
            packs.drop_all(connection, day)

    def pack(self, now: datetime, within_s: float) -> int:
        return self._packer.pack(days.to_ms(now), within_s)
