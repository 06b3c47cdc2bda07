"""The rollups, declared as data: what each sums up, of a batch as it is stored and of the raw events afterwards."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Any, NamedTuple, cast

from sqlalchemy import ColumnElement, Select, Table, and_, case, func, literal, or_, select, union_all

from tracker.days import BUCKET_MS
from tracker.days import DAY_MS as DAY_MS
from tracker.events import Kind, Verdict
from tracker.models import EventRow
from tracker.stores.values import Dimension, StoredEvent
from tracker.summing import DAY as DAY
from tracker.sums import (
    CostDay,
    CostQuarter,
    Rollup,
    RollupDay,
    RollupOrphanDay,
    RollupPart,
    RollupPartDay,
    RollupReason,
    RollupReasonDay,
    RollupStep,
)

TEST = int(Verdict.TEST)

events = cast(Table, EventRow.__table__)
rollups = cast(Table, Rollup.__table__)
rollup_days = cast(Table, RollupDay.__table__)
rollup_steps = cast(Table, RollupStep.__table__)
rollup_parts = cast(Table, RollupPart.__table__)
rollup_part_days = cast(Table, RollupPartDay.__table__)
rollup_reasons = cast(Table, RollupReason.__table__)
rollup_reason_days = cast(Table, RollupReasonDay.__table__)
rollup_orphan_days = cast(Table, RollupOrphanDay.__table__)
cost_quarters = cast(Table, CostQuarter.__table__)
cost_days = cast(Table, CostDay.__table__)

# Where an event's value of a dimension is kept.
VALUE_COLUMNS = {dimension: events.c[f"{dimension.word}_id"] for dimension in Dimension}


class Of(Enum):
    """Which events a rollup holds. A test is in none: no report is to know of it."""

    LINKS = "all of a link but tests"
    COUNTED = "those of a link that count"
    NOTED = "those of a link, but tests, that do not count, or count with a remark"
    ORPHANS = "hits on a code that no link has"
    COSTS = "clicks that count and said what they cost"


class Declared(NamedTuple):
    """A rollup: which events, by which of their columns besides the time, in steps of how long."""

    table: Table
    step: str
    step_ms: int
    of: Of
    by: tuple[str, ...]
    has_parts: bool = False


# What asks for a link's code; a conversion asks for a workspace's key.
HITS = (Kind.IMPRESSION, Kind.CLICK, Kind.HONEYPOT)
LINKS = ("campaign_id", "link_id", "kind", "verdict")
KINDS = ("campaign_id", "kind")
REASONS = ("campaign_id", "kind", "verdict", "detail_id")
COSTS = ("campaign_id", "link_id", "currency_id")
DECLARED = (
    Declared(rollups, "bucket", BUCKET_MS, Of.LINKS, LINKS),
    Declared(rollup_days, "day", DAY_MS, Of.LINKS, LINKS),
    Declared(rollup_steps, "bucket", BUCKET_MS, Of.COUNTED, KINDS),
    Declared(rollup_parts, "bucket", BUCKET_MS, Of.COUNTED, KINDS, has_parts=True),
    Declared(rollup_part_days, "day", DAY_MS, Of.COUNTED, KINDS, has_parts=True),
    Declared(rollup_reasons, "bucket", BUCKET_MS, Of.NOTED, REASONS),
    Declared(rollup_reason_days, "day", DAY_MS, Of.NOTED, REASONS),
    Declared(rollup_orphan_days, "day", DAY_MS, Of.ORPHANS, ("workspace_id", "detail_id")),
    Declared(cost_quarters, "bucket", BUCKET_MS, Of.COSTS, COSTS),
    Declared(cost_days, "day", DAY_MS, Of.COSTS, COSTS),
)

Sums = dict[tuple[int, ...], list[int]]
# An event with the ids of its detail, of its values and of its currency; how many more of it there are, how many more
# are their visitor's first on the campaign, and how many on the link.
Change = tuple[StoredEvent, int | None, tuple[int | None, ...], int | None, int, int, int]


# What a batch adds.


def sums_of(changes: Iterable[Change]) -> dict[Table, Sums]:
    """What events add to each rollup.

    Events that are alike are counted first, then summed in quarters, then in days: each step has less to do.
    """
    alike: dict[tuple[Any, ...], list[int]] = {}
    orphans: Sums = {}
    costs: Sums = {}
    for row, detail, values, currency, n, first, on_link in changes:
        if row.verdict == TEST:
            continue
        if row.campaign_id is not None and row.link_id is not None:
            key = (row.campaign_id, row.at_ms // BUCKET_MS, row.link_id, row.kind, row.verdict, detail, values)
            sums = alike.get(key)
            if sums is None:
                alike[key] = [n, first, on_link]
            else:
                sums[0] += n
                sums[1] += first
                sums[2] += on_link
            if currency is not None and row.verdict == Verdict.COUNTED and row.kind == Kind.CLICK:
                _add(costs, (row.campaign_id, row.at_ms // BUCKET_MS, row.link_id, currency), _cost_of(row, n))
        elif _is_orphan(row) and row.workspace_id is not None and detail is not None:
            _add(orphans, (row.workspace_id, row.at_ms // DAY_MS, detail), (n,))
    costs_by_day: Sums = {}
    for (campaign, bucket, *rest), cost in costs.items():
        _add(costs_by_day, (campaign, bucket // DAY, *rest), cost)
    return _of_alike(alike) | {rollup_orphan_days: orphans, cost_quarters: costs, cost_days: costs_by_day}


def _cost_of(row: StoredEvent, n: int) -> tuple[int, int, int]:
    """What so many more of a click add to `n`, `micros` and `unread_n`."""
    return (0, 0, n) if row.cost_micros is None else (n, row.cost_micros * n, 0)


def _is_orphan(row: StoredEvent) -> bool:
    return row.verdict == Verdict.UNKNOWN_CODE and row.kind in HITS


def _of_alike(alike: dict[tuple[Any, ...], list[int]]) -> dict[Table, Sums]:
    quarters: Sums = {}
    parts: Sums = {}
    reasons: Sums = {}
    for (campaign, bucket, link, kind, verdict, detail, values), sums in alike.items():
        _add(quarters, (campaign, bucket, link, kind, verdict), sums)
        if verdict != Verdict.COUNTED or detail is not None:
            _add(reasons, (campaign, bucket, kind, verdict, detail or 0), sums[:1])
        if verdict == Verdict.COUNTED:
            for dimension, value in zip(_DIMENSIONS, values, strict=True):
                if value is not None:
                    _add(parts, (campaign, dimension, bucket, value, kind), sums[:2])
    by_day: Sums = {}
    steps: Sums = {}
    for (campaign, bucket, link, kind, verdict), sums in quarters.items():
        _add(by_day, (campaign, bucket // DAY, link, kind, verdict), sums)
        if verdict == Verdict.COUNTED:
            _add(steps, (campaign, bucket, kind), sums[:1])
    parts_by_day: Sums = {}
    for (campaign, dimension, bucket, value, kind), sums in parts.items():
        _add(parts_by_day, (campaign, dimension, bucket // DAY, value, kind), sums)
    reasons_by_day: Sums = {}
    for (campaign, bucket, *rest), sums in reasons.items():
        _add(reasons_by_day, (campaign, bucket // DAY, *rest), sums)
    return {
        rollups: quarters,
        rollup_days: by_day,
        rollup_steps: steps,
        rollup_parts: parts,
        rollup_part_days: parts_by_day,
        rollup_reasons: reasons,
        rollup_reason_days: reasons_by_day,
    }


_DIMENSIONS = tuple(int(dimension) for dimension in Dimension)


def _add(sums: Sums, key: tuple[int, ...], more: Iterable[int]) -> None:
    kept = sums.get(key)
    if kept is None:
        sums[key] = list(more)
    else:
        for place, n in enumerate(more):
            kept[place] += n


# What the raw events add up to.


def of_day(day: int) -> ColumnElement[bool]:
    at_ms = events.c.at_ms
    return and_(at_ms >= day * DAY_MS, at_ms < (day + 1) * DAY_MS)


_OF_LINKS = and_(events.c.campaign_id.is_not(None), events.c.link_id.is_not(None), events.c.verdict != TEST)
_HELD = {
    Of.LINKS: _OF_LINKS,
    Of.COUNTED: and_(_OF_LINKS, events.c.verdict == Verdict.COUNTED),
    Of.NOTED: and_(_OF_LINKS, or_(events.c.verdict != Verdict.COUNTED, events.c.detail_id.is_not(None))),
    Of.ORPHANS: and_(
        or_(events.c.campaign_id.is_(None), events.c.link_id.is_(None)),
        events.c.workspace_id.is_not(None),
        events.c.detail_id.is_not(None),
        events.c.verdict == Verdict.UNKNOWN_CODE,
        events.c.kind.in_(HITS),
    ),
    Of.COSTS: and_(
        _OF_LINKS,
        events.c.verdict == Verdict.COUNTED,
        events.c.kind == Kind.CLICK,
        events.c.cost_currency_id.is_not(None),
    ),
}


def counted(declared: Declared, day: int) -> Select[Any]:
    """The rows that a rollup should have for a day, in the order of its columns."""
    if not declared.has_parts:
        return _counted(declared, day, None)
    every = union_all(*(_counted(declared, day, dimension) for dimension in Dimension)).subquery()
    return select(*(every.c[column.name] for column in declared.table.columns))


def _counted(declared: Declared, day: int, dimension: Dimension | None) -> Select[Any]:
    # Written out and not bound: PostgreSQL takes no two parameters for the same expression.
    step = (events.c.at_ms // literal(declared.step_ms, literal_execute=True)).label(declared.step)
    own = {"currency_id": events.c.cost_currency_id}
    keys: dict[str, Any] = {declared.step: step} | {n: own[n] if n in own else events.c[n] for n in declared.by}
    if declared.of == Of.NOTED:
        keys["detail_id"] = func.coalesce(events.c.detail_id, literal(0, literal_execute=True))
    sums = {
        "n": func.count(),
        "unique_n": func.sum(case((events.c.first_of_day, 1), else_=0)),
        "unique_on_link_n": func.sum(case((events.c.first_on_link, 1), else_=0)),
        "micros": func.coalesce(func.sum(events.c.cost_micros), 0),
        "unread_n": func.sum(case((events.c.cost_micros.is_(None), 1), else_=0)),
    }
    if declared.of == Of.COSTS:
        sums["n"] = func.count(events.c.cost_micros)
    query = and_(of_day(day), _HELD[declared.of])
    grouped = list(keys.values())
    if dimension is not None:
        value = VALUE_COLUMNS[dimension]
        query = and_(query, value.is_not(None))
        grouped.append(value)
        keys |= {"dimension": literal(int(dimension), literal_execute=True), "value_id": value}
    columns = keys | sums
    wanted = (columns[column.name].label(column.name) for column in declared.table.columns)
    return select(*wanted).where(query).group_by(*grouped)
