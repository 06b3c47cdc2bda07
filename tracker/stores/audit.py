"""Holds the rollups of a day against its raw events, and makes them anew where they differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, delete, select

from tracker.stores import firsts
from tracker.stores.rollups import DAY_MS, DECLARED, Declared, Of, counted
from tracker.stores.values import Drift
from tracker.summing import added_columns
from tracker.sums import StoreMark

ORPHANS_BEFORE = "orphans_before_day"


def kept(declared: Declared, day: int) -> ColumnElement[bool]:
    """The rows that a rollup has for a day."""
    step = declared.table.c[declared.step]
    steps = DAY_MS // declared.step_ms
    return and_(step >= day * steps, step < (day + 1) * steps)


def _held(connection: Connection, day: int) -> list[Declared]:
    """The rollups that are still kept of a day."""
    mark = select(StoreMark.value).where(StoreMark.name == ORPHANS_BEFORE)
    has_orphans = day >= (connection.scalar(mark) or 0)
    return [declared for declared in DECLARED if has_orphans or declared.of is not Of.ORPHANS]


def drifts(connection: Connection, day: int) -> list[Drift]:
    """Where the rollups of a day differ from its raw events, both read as of one instant."""
    found = firsts.wrong(connection, day)
    for declared in _held(connection, day):
        size = len(declared.table.primary_key.columns)
        nothing = (0,) * len(added_columns(declared.table))
        has = _rows(connection, select(declared.table).where(kept(declared, day)), size)
        should = _rows(connection, counted(declared, day), size)
        for key in sorted(has.keys() | should.keys()):
            if (have := has.get(key, nothing)) != (want := should.get(key, nothing)):
                found.append(Drift(declared.table.name, key, have, want))
    return found


def _rows(connection: Connection, query: Select[Any], size: int) -> Mapping[tuple[int, ...], tuple[int, ...]]:
    """Rows by their key, those of nothing left out: a revised verdict leaves a sum of zero behind."""
    found = {}
    for row in connection.execute(query):
        sums = tuple(map(int, row[size:]))
        if any(sums):
            found[tuple(row[:size])] = sums
    return found


def repair(connection: Connection, day: int) -> None:
    """Makes the rollups of a day anew. The caller keeps writers out meanwhile."""
    if firsts.wrong(connection, day):
        firsts.find(connection, day)
    for declared in _held(connection, day):
        connection.execute(delete(declared.table).where(kept(declared, day)))
        columns = [column.name for column in declared.table.columns]
        connection.execute(declared.table.insert().from_select(columns, counted(declared, day)))
