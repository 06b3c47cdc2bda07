"""Sums kept in tables: how they are added to, and how a period is read off a finer and a coarser one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from sqlalchemy import Column, Connection, Executable, Select, Table, func, select, text, union_all

from tracker.days import BUCKET_MS
from tracker.extensions import insert_into

DAY_MS = 86_400_000
DAY = DAY_MS // BUCKET_MS  # in buckets

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
    names = [column.name for column in table.columns]
    arrays = ", ".join(f"%s::{column.type.compile(connection.dialect)}[]" for column in table.columns)
    added = ", ".join(f"{name} = {table.name}.{name} + excluded.{name}" for name in added_columns(table))
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


def over(fine: Table, coarse: Table, keys: Sequence[str], of: Of, start: int, end: int) -> Select[Any]:
    """Sums by `keys` over the buckets from `start` to before `end`: whole UTC days from the coarser table."""
    first_day, last_day = -(-start // DAY), end // DAY
    names = (*keys, *added_columns(fine))
    if first_day < last_day:
        parts = [
            _part(fine, fine.c.bucket, names, of, start, first_day * DAY),
            _part(coarse, coarse.c.day, names, of, first_day, last_day),
            _part(fine, fine.c.bucket, names, of, last_day * DAY, end),
        ]
    else:
        parts = [_part(fine, fine.c.bucket, names, of, start, end)]
    both = union_all(*parts).subquery()
    by = [both.c[name] for name in keys]
    return select(*by, *(func.sum(both.c[name]) for name in added_columns(fine))).group_by(*by)


def _part(table: Table, by: Column[int], names: Sequence[str], of: Of, start: int, end: int) -> Select[Any]:
    """The rows of a table from `start` to before `end` of the column that cuts it."""
    columns = [table.c[name] for name in names]
    held = (table.c[name].in_(v if isinstance(v, tuple) else (v,)) for name, v in of.items())
    return select(*columns).where(*held, by >= start, by < end)
