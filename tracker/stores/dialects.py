"""What SQLite and PostgreSQL want done differently: how a batch goes in fastest, and how old events go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

from sqlalchemy import Connection, Engine, Select, delete, func, insert, select, text, tuple_
from sqlalchemy.exc import IntegrityError, OperationalError

from tracker.extensions import hold
from tracker.stores.rollups import events
from tracker.summing import Rows, execute_many

if TYPE_CHECKING:
    import psycopg

PRUNED_AT_ONCE = 20_000
READ_AT_ONCE = 5_000
PACKER_WAITS_MS = 1_000
PARTITION_MS = 7 * 86_400_000
PARTITION_PREFIX = "events_w"


class Dialect(Protocol):
    """One of the two, chosen by `dialect_of`."""

    def make_room(self, engine: Engine, instants_ms: Iterable[int]) -> None:
        """Sees to it that events of these instants can be stored."""
        ...

    def insert_events(self, connection: Connection, names: Sequence[str], rows: Rows) -> None:
        """Raises IntegrityError where an id is stored already."""
        ...

    def begin_changes(self, connection: Connection) -> None:
        """Comes first in a transaction that reads what it is going to change."""
        ...

    def keep_writers_out(self, connection: Connection) -> None:
        """Until the transaction ends nobody else adds to a rollup, and all that was added before can be seen."""
        ...

    def keep_changers_out(self, connection: Connection) -> None:
        """Until the transaction ends nobody else drops a pack; what those had changed who did so before can be seen."""
        ...

    def tally(self, connection: Connection, query: Select[Any]) -> list[Counter[int | None]]:
        """How often each value of each column comes in the rows of a query, which is read once."""
        ...

    def keep_visitors(self, connection: Connection) -> None:
        """Until the transaction ends nobody else changes who has been seen, and all that was stored before can be seen.

        Comes before any event is held: a batch that is being stored looks at visitors first, too.
        """
        ...

    def prune(self, engine: Engine, before_ms: int) -> int:
        """Deletes older events, so that no writer waits long; answers how many."""
        ...


class Sqlite:
    """One writer, so each transaction is kept short; statements go straight to the driver."""

    def make_room(self, _engine: Engine, _instants_ms: Iterable[int]) -> None:
        """A table has room for every instant."""

    def insert_events(self, connection: Connection, names: Sequence[str], rows: Rows) -> None:
        execute_many(connection, insert(events), names, rows)

    def begin_changes(self, connection: Connection) -> None:
        # Else the right to write would be asked for after reading, and refused where somebody wrote in between.
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    def keep_writers_out(self, connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    def keep_changers_out(self, connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    def tally(self, connection: Connection, query: Select[Any]) -> list[Counter[int | None]]:
        # SQLite groups by sorting, once for each column: counting here is several times as quick.
        compiled = query.compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True})
        counted: list[Counter[int | None]] = [Counter() for _ in query.selected_columns]
        cursor = connection.connection.cursor()
        try:
            cursor.execute(str(compiled))
            while rows := cursor.fetchmany(READ_AT_ONCE):
                for counter, column in zip(counted, zip(*rows, strict=True), strict=True):
                    counter.update(column)
        finally:
            cursor.close()
        return counted

    def keep_visitors(self, _connection: Connection) -> None:
        """Whoever has begun changes is alone."""

    def prune(self, engine: Engine, before_ms: int) -> int:
        return _prune_rows(engine, before_ms)


def _prune_rows(engine: Engine, before_ms: int) -> int:
    pruned = 0
    while True:
        with engine.begin() as connection:
            first = select(events.c.at_ms).where(events.c.at_ms < before_ms).order_by(events.c.at_ms)
            bound = connection.scalar(first.offset(PRUNED_AT_ONCE).limit(1))
            upto = before_ms if bound is None else bound + 1
            pruned += connection.execute(delete(events).where(events.c.at_ms < upto)).rowcount
        if bound is None:
            return pruned


class Postgres:
    """Many writers: COPY for events, an array for each column of a sum, a table for each week."""

    def __init__(self) -> None:
        self._weeks: set[int] = set()

    def make_room(self, engine: Engine, instants_ms: Iterable[int]) -> None:
        missing = {at_ms // PARTITION_MS for at_ms in instants_ms} - self._weeks
        if not missing:
            return
        with engine.begin() as connection:
            hold(connection, "event_partitions")
            there = set(_weeks(connection))
            for week in sorted(missing - there):
                name = f"{PARTITION_PREFIX}{week}"
                start, end = week * PARTITION_MS, (week + 1) * PARTITION_MS
                # Made apart and attached: CREATE TABLE … PARTITION OF would wait for every reader, and hold up all.
                connection.execute(text(f"CREATE TABLE {name} (LIKE events INCLUDING DEFAULTS INCLUDING CONSTRAINTS)"))
                span = f"FROM ({start}) TO ({end})"
                connection.execute(text(f"ALTER TABLE events ATTACH PARTITION {name} FOR VALUES {span}"))
            self._weeks = there | missing

    def insert_events(self, connection: Connection, names: Sequence[str], rows: Rows) -> None:
        import psycopg  # costs every process a sixth of a second, and most have SQLite

        copy = f"COPY events ({', '.join(names)}) FROM STDIN"
        cursor = cast("psycopg.Cursor[Any]", connection.connection.cursor())
        try:
            with cursor.copy(copy.encode()) as into:
                for row in rows:
                    into.write_row(row)
        except psycopg.errors.CheckViolation as error:
            # Another machine's retention has dropped a week that still gets events: it is made again at the next try.
            self._weeks.clear()
            raise OperationalError(copy, None, error) from error
        except psycopg.IntegrityError as error:
            raise IntegrityError(copy, None, error) from error

    def begin_changes(self, _connection: Connection) -> None:
        """Rows are held one by one, by whoever reads them."""

    def keep_changers_out(self, connection: Connection) -> None:
        # Whoever comes after us waits for us, too: so we give up before that is felt.
        connection.execute(text(f"SET LOCAL lock_timeout = {PACKER_WAITS_MS}"))
        connection.execute(text("LOCK TABLE event_packs IN SHARE ROW EXCLUSIVE MODE"))

    def keep_writers_out(self, connection: Connection) -> None:
        self.keep_visitors(connection)
        connection.execute(text("LOCK TABLE rollups, rollup_orphan_days IN SHARE ROW EXCLUSIVE MODE"))

    def tally(self, connection: Connection, query: Select[Any]) -> list[Counter[int | None]]:
        rows = query.subquery()
        sets = func.grouping_sets(*(tuple_(column) for column in rows.c))
        places = select(func.grouping(*rows.c), *rows.c, func.count()).group_by(sets)
        counted: list[Counter[int | None]] = [Counter() for _ in rows.c]
        # GROUPING has a bit for each column, the first one's highest; that of the one grouped by is not set.
        of_mask = {(1 << len(counted)) - 1 - (1 << place): -1 - place for place in range(len(counted))}
        for mask, *values, n in connection.execute(places):
            place = of_mask[mask]
            counted[place][values[place]] = n
        return counted

    def keep_visitors(self, connection: Connection) -> None:
        connection.execute(text("LOCK TABLE visitor_days, visitor_link_days IN SHARE ROW EXCLUSIVE MODE"))

    def prune(self, engine: Engine, before_ms: int) -> int:
        pruned = 0
        with engine.begin() as connection:
            hold(connection, "event_partitions")
            for week in _weeks(connection):
                if (week + 1) * PARTITION_MS <= before_ms:
                    old = text(f"SELECT count(*) FROM {PARTITION_PREFIX}{week}")  # noqa: S608
                    pruned += connection.scalar(old) or 0
                    connection.execute(text(f"DROP TABLE {PARTITION_PREFIX}{week}"))
                    self._weeks.discard(week)
        return pruned + _prune_rows(engine, before_ms)


def _weeks(connection: Connection) -> list[int]:
    """The weeks, counted from 1970, that have a table."""
    query = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'events'::regclass"
    return sorted(int(name.removeprefix(PARTITION_PREFIX)) for name in connection.scalars(text(query)))


def dialect_of(engine: Engine) -> Dialect:
    return Postgres() if engine.dialect.name == "postgresql" else Sqlite()
