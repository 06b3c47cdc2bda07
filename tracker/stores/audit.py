"""Holds the rollups of a day against its raw events, and makes them anew where they differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from sqlalchemy import ColumnElement, Connection, Select, Table, and_, delete, func, literal, select, tuple_, update

from tracker.events import Kind, Verdict
from tracker.models import VisitorDay
from tracker.stores.contract import Drift
from tracker.stores.rollups import DAY_MS, DECLARED, Declared, counted, events, of_day

visitor_days = cast(Table, VisitorDay.__table__)


def kept(declared: Declared, day: int) -> ColumnElement[bool]:
    """The rows that a rollup has for a day."""
    step = declared.table.c[declared.step]
    steps = DAY_MS // declared.step_ms
    return and_(step >= day * steps, step < (day + 1) * steps)


def drifts(connection: Connection, day: int) -> list[Drift]:
    """Where the rollups of a day differ from its raw events, both read as of one instant."""
    found = _wrong_firsts(connection, day)
    for declared in DECLARED:
        size = len(declared.table.primary_key.columns)
        has = _rows(connection, select(declared.table).where(kept(declared, day)), size)
        should = _rows(connection, counted(declared, day), size)
        for key in sorted(has.keys() | should.keys()):
            if (have := has.get(key, (0, 0))) != (want := should.get(key, (0, 0))):
                found.append(Drift(declared.table.name, key, have, want))
    return found


def _rows(connection: Connection, query: Select[Any], size: int) -> Mapping[tuple[int, ...], tuple[int, int]]:
    """Rows by their key, those of nothing left out: a revised verdict leaves a sum of zero behind."""
    found = {}
    for row in connection.execute(query):
        n, unique_n = (*map(int, row[size:]), 0)[:2]
        if n or unique_n:
            found[tuple(row[:size])] = (n, unique_n)
    return found


def first_candidates(day: int) -> Any:
    """The clicks of a UTC day, counted from 1970, that may be a visitor's first."""
    counted_click = and_(events.c.kind == Kind.CLICK, events.c.verdict == Verdict.COUNTED)
    return and_(of_day(day), counted_click, events.c.visitor.is_not(None))


def _wrong_firsts(connection: Connection, day: int) -> list[Drift]:
    """Campaigns of a day that have more or fewer first clicks than visitors who clicked."""
    visitors = func.count(events.c.visitor.distinct())
    query = select(events.c.campaign_id, visitors).where(first_candidates(day)).group_by(events.c.campaign_id)
    should = _by_campaign(connection, query)
    firsts = select(events.c.campaign_id, func.count()).where(of_day(day), events.c.first_of_day)
    has = _by_campaign(connection, firsts.group_by(events.c.campaign_id))
    return [
        Drift("events.first_of_day", (campaign, day), (0, has.get(campaign, 0)), (0, should.get(campaign, 0)))
        for campaign in sorted(should.keys() | has.keys())
        if should.get(campaign, 0) != has.get(campaign, 0)
    ]


def _by_campaign(connection: Connection, query: Select[Any]) -> dict[int, int]:
    return {row[0]: row[1] for row in connection.execute(query)}


def repair(connection: Connection, day: int) -> None:
    """Makes the rollups of a day anew. The caller keeps writers out meanwhile."""
    if _wrong_firsts(connection, day):
        _find_firsts(connection, day)
    for declared in DECLARED:
        connection.execute(delete(declared.table).where(kept(declared, day)))
        columns = [column.name for column in declared.table.columns]
        connection.execute(declared.table.insert().from_select(columns, counted(declared, day)))


def _find_firsts(connection: Connection, day: int) -> None:
    """Looks anew for each visitor's first counted click of a day on each campaign."""
    clicks = first_candidates(day)
    connection.execute(update(events).where(of_day(day)).values(first_of_day=False))
    order = func.row_number().over(
        partition_by=(events.c.campaign_id, events.c.visitor), order_by=(events.c.at_ms, events.c.nonce)
    )
    ranked = select(events.c.at_ms, events.c.nonce, order.label("place")).where(clicks).subquery()
    firsts = select(ranked.c.at_ms, ranked.c.nonce).where(ranked.c.place == 1)
    first = tuple_(events.c.at_ms, events.c.nonce).in_(firsts)
    connection.execute(update(events).where(of_day(day), first).values(first_of_day=True))
    connection.execute(delete(visitor_days).where(visitor_days.c.day == day))
    seen = select(literal(day), events.c.campaign_id, events.c.visitor).where(clicks).distinct()
    connection.execute(visitor_days.insert().from_select(["day", "campaign_id", "visitor"], seen))
