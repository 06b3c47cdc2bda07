"""Holds the sums of conversions against the conversions themselves, and makes them anew where they differ.

They are kept for ever, so every day can be judged, unlike the sums of events.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Engine,
    Select,
    Table,
    and_,
    delete,
    func,
    literal,
    select,
    text,
    union,
    union_all,
)

from tracker import summing
from tracker.days import BUCKET_MS, DAY_MS
from tracker.models import Campaign
from tracker.salesums import (
    ADDED,
    CLICK_COLUMNS,
    COUNTS,
    INSTANTS,
    TABLES,
    WITHIN,
    Axis,
    conversions,
    sale_days,
    sale_part_days,
    sale_parts,
    sale_quarters,
    sale_steps,
)
from tracker.stores import Drift
from tracker.summing import added_columns


class Declared(NamedTuple):
    """A table of sums: in steps of how long, and whether it is by link, or by the values of dimensions."""

    table: Table
    step: str
    step_ms: int
    by_link: bool = False
    by_value: bool = False


DECLARED = (
    Declared(sale_quarters, "bucket", BUCKET_MS, by_link=True),
    Declared(sale_days, "day", DAY_MS, by_link=True),
    Declared(sale_steps, "bucket", BUCKET_MS),
    Declared(sale_parts, "bucket", BUCKET_MS, by_value=True),
    Declared(sale_part_days, "day", DAY_MS, by_value=True),
)


def days(engine: Engine) -> list[int]:
    """The UTC days, counted from 1970, that have sums or should have."""
    of_sales = (
        select((at_ms // literal(DAY_MS, literal_execute=True)).label("day")).where(COUNTS)
        for at_ms in INSTANTS.values()
    )
    with engine.connect() as connection:
        return sorted(connection.scalars(union(select(sale_days.c.day), *of_sales)))


def drifts(engine: Engine, day: int) -> list[Drift]:
    """Where the sums of a UTC day differ from its conversions, by either of their instants; empty when all is well."""
    found = []
    with engine.begin() as connection:
        summing.freeze(connection)
        for declared in DECLARED:
            table = declared.table
            nothing = (0,) * len(added_columns(table))
            has = _rows(connection, table, select(table).where(_kept(declared, day)))
            should = _rows(connection, table, _counted(declared, day))
            for key in sorted(has.keys() | should.keys()):
                if (have := has.get(key, nothing)) != (want := should.get(key, nothing)):
                    found.append(Drift(table.name, key, have, want))
    return found


def repair(engine: Engine, day: int) -> None:
    """Makes the sums of a UTC day anew from its conversions; whoever changes one meanwhile waits."""
    with engine.begin() as connection:
        _keep_writers_out(connection)
        for declared in DECLARED:
            connection.execute(delete(declared.table).where(_kept(declared, day)))
            columns = [column.name for column in declared.table.columns]
            connection.execute(declared.table.insert().from_select(columns, _counted(declared, day)))


def _keep_writers_out(connection: Connection) -> None:
    """Until the transaction ends nobody writes a sum, and of all that was written before the conversions can be seen.

    The tables are locked in the order that they are written in: who has written into the first goes on to the last.
    """
    if connection.dialect.name == "postgresql":
        names = ", ".join(table.name for table in TABLES)
        connection.execute(text(f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE"))
    else:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _kept(declared: Declared, day: int) -> ColumnElement[bool]:
    step, steps = declared.table.c[declared.step], DAY_MS // declared.step_ms
    return and_(step >= day * steps, step < (day + 1) * steps)


def _rows(connection: Connection, table: Table, query: Select[Any]) -> dict[tuple[Any, ...], tuple[int, ...]]:
    """Rows by their key, those of nothing left out: a refunded sale leaves a sum of zero behind."""
    size, found = len(table.primary_key.columns), {}
    for row in connection.execute(query):
        sums = tuple(map(int, row[size:]))
        if any(sums):
            found[tuple(row[:size])] = sums
    return found


def _counted(declared: Declared, day: int) -> Select[Any]:
    """The rows that a table should have for a day, in the order of its columns."""
    one_by_one = union_all(*_shares(declared, day)).subquery()
    keys = [one_by_one.c[column.name] for column in declared.table.primary_key.columns]
    sums = [func.sum(one_by_one.c[name]).label(name) for name in added_columns(declared.table)]
    return select(*keys, *sums).group_by(*keys)


def _shares(declared: Declared, day: int) -> Iterator[Select[Any]]:
    """What each conversion of a day adds to a table: once by each of its instants, or once for each dimension."""
    if declared.by_value:
        for dimension, value in CLICK_COLUMNS.items():
            keys = {"dimension": _number(int(dimension)), "value": func.coalesce(value, "")}
            yield _share(declared, day, INSTANTS[Axis.CLICK], keys | {"currency": _CURRENCY})
        return
    for axis, at_ms in INSTANTS.items():
        keys = {"axis": _number(int(axis))}
        if declared.by_link:
            keys |= {"link_id": func.coalesce(conversions.c.link_id, 0), "currency": _CURRENCY}
        yield _share(declared, day, at_ms, keys)


_CURRENCY = func.coalesce(conversions.c.currency, "")


def _number(number: int) -> ColumnElement[int]:
    return literal(number, literal_execute=True)


def _share(declared: Declared, day: int, at_ms: Column[int], keys: dict[str, Any]) -> Select[Any]:
    step = (at_ms // _number(declared.step_ms)).label(declared.step)
    columns = {"campaign_id": conversions.c.campaign_id, declared.step: step} | keys | ADDED
    query = select(*(columns[column.name].label(column.name) for column in declared.table.columns)).where(
        # By campaign and instant there is an index; by the instant of a conversion alone there is none.
        conversions.c.campaign_id.in_(select(Campaign.id)),
        at_ms >= day * DAY_MS,
        at_ms < (day + 1) * DAY_MS,
        COUNTS,
    )
    return query if declared.by_link else query.where(WITHIN)
