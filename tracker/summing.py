"""Sums kept in tables: how they are added to, and how a period is read off a finer and a coarser one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, cast

from sqlalchemy import Connection, Executable, Select, Table, bindparam, func, select, text, union_all

from tracker.days import BUCKET_MS, DAY_MS
from tracker.extensions import insert_into

DAY = DAY_MS // BUCKET_MS  # in buckets
# How many campaigns a statement is put together for, rather than one for each number of them.
SIZES = (1, 8, 64, 512)
STATEMENTS_MAX = 256  # kept, of those that read sums

Rows = Sequence[tuple[Any, ...]]
# Whose rows: the value of a column, or one of several.
Of = Mapping[str, int | tuple[int, ...]]


def added_columns(table: Table) -> list[str]:
    """The columns of a table of sums that are sums; the others are its key."""
    return [column.name for column in table.columns if not column.primary_key]


def add(connection: Connection, table: Table, rows: Rows) -> None:
    """Adds to sums; `rows` have all columns of their table, and are in the order of its keys.

    By that order two that add at once wait for each other at most once, and never both.
    """
    if connection.dialect.name == "postgresql":
        _add_arrays(connection, table, rows)
        return
    new = insert_into("sqlite", table)
    added = {name: table.c[name] + new.excluded[name] for name in added_columns(table)}
    upsert = new.on_conflict_do_update(index_elements=list(table.primary_key.columns), set_=added)
    execute_many(connection, upsert, [column.name for column in table.columns], rows)


def _add_arrays(connection: Connection, table: Table, rows: Rows) -> None:
    """One statement, with an array for each column: PostgreSQL takes a row a statement several times as slowly."""
    added = ", ".join(f"{name} = {table.name}.{name} + excluded.{name}" for name in added_columns(table))
    names = [column.name for column in table.columns]
    arrays = ", ".join(f"%s::{column.type.compile(connection.dialect)}[]" for column in table.columns)
    connection.exec_driver_sql(
        f"INSERT INTO {table.name} ({', '.join(names)}) SELECT * FROM unnest({arrays}) "  # noqa: S608
        f"ON CONFLICT ({', '.join(column.name for column in table.primary_key)}) DO UPDATE SET {added}",
        tuple(list(column) for column in zip(*rows, strict=True)),
    )


def execute_many(connection: Connection, statement: Executable, names: Sequence[str], rows: Rows) -> None:
    """Hands rows straight to SQLite's driver: SQLAlchemy's way with parameters costs more than their insertion."""
    compiled = cast(Any, statement).compile(dialect=connection.dialect, column_keys=names)
    order = [list(names).index(name) for name in compiled.positiontup]
    straight = order == list(range(len(names)))
    connection.exec_driver_sql(
        str(compiled), list(rows) if straight else [tuple(row[i] for i in order) for row in rows]
    )


def freeze(connection: Connection) -> None:
    """Lets all that this transaction reads be of one instant. Comes first in it."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
    else:
        # Python's driver begins none for a SELECT, and each would see what was committed before it.
        connection.exec_driver_sql("BEGIN")


def over(
    fine: Table, coarse: Table, keys: tuple[str, ...], of: Of, start: int, end: int
) -> tuple[Select[Any], dict[str, int]]:
    """Sums by `keys` over the buckets from `start` to before `end`: whole UTC days from the coarser table.

    A statement and its parameters: one statement serves all periods, for to put it together costs more than to run it.
    """
    first_day, last_day = -(-start // DAY), end // DAY
    values = {name: value if isinstance(value, tuple) else (value,) for name, value in of.items()}
    given = {f"{name}_{i}": each for name, several in values.items() for i, each in enumerate(several)}
    shape = tuple((name, len(several)) for name, several in values.items())
    if first_day >= last_day:
        cuts = [(fine, start, end)]
    else:
        # Where local days are UTC's, nothing is left on either side.
        sides = (fine, start, first_day * DAY), (fine, last_day * DAY, end)
        cuts = [(coarse, first_day, last_day), *(side for side in sides if side[1] < side[2])]
    bounds = {f"from_{i}": cut[1] for i, cut in enumerate(cuts)} | {f"to_{i}": cut[2] for i, cut in enumerate(cuts)}
    return _over(tuple(cut[0] for cut in cuts), keys, shape), given | bounds


def padded(ids: Sequence[int]) -> tuple[int, ...]:
    """Ids, the last of them repeated up to the next of SIZES, so that few statements serve any number of them."""
    size = next(size for size in SIZES if size >= len(ids))
    return (*ids, *(ids[-1] for _ in range(size - len(ids))))


@lru_cache(maxsize=STATEMENTS_MAX)
def _over(tables: tuple[Table, ...], keys: tuple[str, ...], shape: tuple[tuple[str, int], ...]) -> Select[Any]:
    """Of rows of each table between bounds of its own; `shape` names the columns that tell whose, with how many values.

    The sums that the first table has are those of all.
    """
    added = added_columns(tables[0])
    parts = [_part(table, (*keys, *added), shape, number) for number, table in enumerate(tables)]
    rows = (parts[0] if len(parts) == 1 else union_all(*parts)).subquery()
    by = [rows.c[name] for name in keys]
    return select(*by, *(func.sum(rows.c[name]) for name in added)).group_by(*by)


def _part(table: Table, names: Sequence[str], shape: tuple[tuple[str, int], ...], number: int) -> Select[Any]:
    """The rows of a table in the part of a period that has this number."""
    by = table.c.day if "day" in table.c else table.c.bucket
    held = (table.c[name].in_([bindparam(f"{name}_{i}") for i in range(count)]) for name, count in shape)
    columns = [table.c[name] for name in names]
    return select(*columns).where(*held, by >= bindparam(f"from_{number}"), by < bindparam(f"to_{number}"))
