"""The rollups, declared as data: what each sums up, of a batch as it is stored and of the raw events afterwards."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, cast

from sqlalchemy import ColumnElement, Select, Table, and_, case, func, literal, select, union_all

from tracker.days import BUCKET_MS
from tracker.events import Verdict
from tracker.models import EventRow, Rollup, RollupDay, RollupPart, RollupPartDay, RollupStep
from tracker.stores.contract import Dimension, StoredEvent

DAY_MS = 86_400_000
DAY = DAY_MS // BUCKET_MS  # in buckets

events = cast(Table, EventRow.__table__)
rollups = cast(Table, Rollup.__table__)
rollup_days = cast(Table, RollupDay.__table__)
rollup_steps = cast(Table, RollupStep.__table__)
rollup_parts = cast(Table, RollupPart.__table__)
rollup_part_days = cast(Table, RollupPartDay.__table__)

# Where an event's value of a dimension is kept.
VALUE_COLUMNS = {dimension: events.c[f"{dimension.word}_id"] for dimension in Dimension}


class Declared(NamedTuple):
    """A rollup: what it counts, by which columns of an event besides its time, in steps of how long."""

    table: Table
    step: str
    step_ms: int
    by: tuple[str, ...]
    counted_only: bool = False
    has_parts: bool = False


DECLARED = (
    Declared(rollups, "bucket", BUCKET_MS, ("link_id", "kind", "verdict")),
    Declared(rollup_days, "day", DAY_MS, ("link_id", "kind", "verdict")),
    Declared(rollup_steps, "bucket", BUCKET_MS, ("kind",), counted_only=True),
    Declared(rollup_parts, "bucket", BUCKET_MS, ("kind",), counted_only=True, has_parts=True),
    Declared(rollup_part_days, "day", DAY_MS, ("kind",), counted_only=True, has_parts=True),
)

Sums = dict[tuple[int, ...], list[int]]


def added_columns(table: Table) -> list[str]:
    """The columns of a rollup that are sums."""
    return [column.name for column in table.columns if not column.primary_key]


# What a batch adds.


def sums_of(changes: Iterable[tuple[StoredEvent, tuple[int | None, ...], int, int]]) -> dict[Table, Sums]:
    """What events add to each rollup: for each its values' ids, how many more there are and how many more are unique.

    Events that are alike are counted first, then summed in quarters, then in days: each step has less to do.
    """
    alike: dict[tuple[Any, ...], list[int]] = {}
    for row, values, more, more_unique in changes:
        key = (row.campaign_id, row.at_ms // BUCKET_MS, row.link_id, row.kind, row.verdict, values)
        _add(alike, key, more, more_unique)
    quarters: Sums = {}
    parts: Sums = {}
    for (campaign_id, bucket, link_id, kind, verdict, values), (n, unique_n) in alike.items():
        if campaign_id is None or link_id is None:
            continue
        _add(quarters, (campaign_id, bucket, link_id, kind, verdict), n, unique_n)
        if verdict == Verdict.COUNTED:
            for dimension, value_id in zip(_DIMENSIONS, values, strict=True):
                if value_id is not None:
                    _add(parts, (campaign_id, dimension, bucket, value_id, kind), n, unique_n)
    by_day: Sums = {}
    steps: Sums = {}
    for (campaign_id, bucket, link_id, kind, verdict), (n, unique_n) in quarters.items():
        _add(by_day, (campaign_id, bucket // DAY, link_id, kind, verdict), n, unique_n)
        if verdict == Verdict.COUNTED:
            _add(steps, (campaign_id, bucket, kind), n, unique_n)
    parts_by_day: Sums = {}
    for (campaign_id, dimension, bucket, value_id, kind), (n, unique_n) in parts.items():
        _add(parts_by_day, (campaign_id, dimension, bucket // DAY, value_id, kind), n, unique_n)
    return {
        rollups: quarters,
        rollup_days: by_day,
        rollup_steps: steps,
        rollup_parts: parts,
        rollup_part_days: parts_by_day,
    }


_DIMENSIONS = tuple(int(dimension) for dimension in Dimension)


def _add(sums: dict[tuple[Any, ...], list[int]], key: tuple[Any, ...], n: int, unique_n: int) -> None:
    both = sums.get(key)
    if both is None:
        sums[key] = [n, unique_n]
    else:
        both[0] += n
        both[1] += unique_n


# What the raw events add up to.


def of_day(day: int) -> ColumnElement[bool]:
    """The events of a UTC day that rollups hold."""
    at_ms = events.c.at_ms
    within = and_(at_ms >= day * DAY_MS, at_ms < (day + 1) * DAY_MS)
    return and_(within, events.c.campaign_id.is_not(None), events.c.link_id.is_not(None))


def counted(declared: Declared, day: int) -> Select[Any]:
    """The rows that a rollup should have for a day, in the order of its columns."""
    if not declared.has_parts:
        return _counted(declared, day, None)
    every = union_all(*(_counted(declared, day, dimension) for dimension in Dimension)).subquery()
    return select(*(every.c[column.name] for column in declared.table.columns))


def _counted(declared: Declared, day: int, dimension: Dimension | None) -> Select[Any]:
    # Written out and not bound: PostgreSQL takes no two parameters for the same expression.
    step = (events.c.at_ms // literal(declared.step_ms, literal_execute=True)).label(declared.step)
    keys: dict[str, Any] = {"campaign_id": events.c.campaign_id, declared.step: step}
    keys |= {name: events.c[name] for name in declared.by}
    sums = {"n": func.count(), "unique_n": func.sum(case((events.c.first_of_day, 1), else_=0))}
    query = of_day(day)
    if declared.counted_only:
        query = and_(query, events.c.verdict == Verdict.COUNTED)
    grouped = list(keys.values())
    if dimension is not None:
        value = VALUE_COLUMNS[dimension]
        query = and_(query, value.is_not(None))
        grouped.append(value)
        keys |= {"dimension": literal(int(dimension), literal_execute=True), "value_id": value}
    columns = keys | sums
    wanted = (columns[column.name].label(column.name) for column in declared.table.columns)
    return select(*wanted).where(query).group_by(*grouped)
