"""Visitors' first counted clicks of a UTC day, on a campaign and on a link: what daily uniques are made of."""

from __future__ import annotations

from collections.abc import Iterable, Set
from typing import Any, NamedTuple, cast

from sqlalchemy import ColumnElement, Connection, Row, Table, and_, delete, func, literal, select, tuple_, update

from tracker.events import Kind, Verdict
from tracker.extensions import insert_into
from tracker.stores.rollups import DAY_MS, events, of_day
from tracker.stores.rows import FLAGS, chunks
from tracker.stores.values import Drift, StoredEvent
from tracker.sums import VisitorDay, VisitorLinkDay

# A UTC day counted from 1970, the campaign's or the link's id, the visitor.
Key = tuple[int, int, int]
Id = tuple[int, int]


class Scope(NamedTuple):
    """On what a click is the first: who has been seen there, the column that names it, the flag of such a click."""

    seen: Table
    column: str
    flag: str

    def key_of(self, row: StoredEvent | Row[Any]) -> Key | None:
        """`None` for an event that can be nobody's first click."""
        on = getattr(row, self.column)
        if row.kind != Kind.CLICK or row.verdict != Verdict.COUNTED or on is None or row.visitor is None:
            return None
        return row.at_ms // DAY_MS, on, row.visitor


SCOPES = (
    Scope(cast(Table, VisitorDay.__table__), "campaign_id", FLAGS[0]),
    Scope(cast(Table, VisitorLinkDay.__table__), "link_id", FLAGS[1]),
)


def _candidates(day: int) -> ColumnElement[bool]:
    """The clicks of a day that may be a visitor's first."""
    # Written out and not bound: only then is it plain that the index of visitors' clicks holds them all.
    is_click = events.c.kind == literal(int(Kind.CLICK), literal_execute=True)
    held = and_(events.c.campaign_id.is_not(None), events.c.link_id.is_not(None), events.c.visitor.is_not(None))
    return and_(of_day(day), is_click, events.c.verdict == Verdict.COUNTED, held)


def take(connection: Connection, scope: Scope, rows: Iterable[StoredEvent]) -> set[Id]:
    """The ids of the clicks that are their visitor's first; from now on the visitor has been seen."""
    earliest: dict[Key, StoredEvent] = {}
    for row in rows:
        if row.kind == Kind.CLICK and (key := scope.key_of(row)) is not None:
            earliest.setdefault(key, row)
    if not earliest:
        return set()
    names = ("day", scope.column, "visitor")
    new = (
        insert_into(connection.dialect.name, scope.seen)
        .on_conflict_do_nothing()
        .returning(*(scope.seen.c[name] for name in names))
    )
    # In the order of keys: two loaders at once wait for each other at most once.
    values = [dict(zip(names, key, strict=True)) for key in sorted(earliest)]
    found = (earliest[day, on, visitor] for day, on, visitor in connection.execute(new, values))
    return {(row.at_ms, row.nonce) for row in found}


def pass_on(connection: Connection, scope: Scope, lost: Set[Key], forgotten_before: int) -> list[Id]:
    """For visitors whose first click counts no longer: the ids of the clicks that are the first now.

    Who clicked no other time has not been seen. A click before the lost one may be the heir: it was stored later.
    """
    heirs: dict[Key, Id] = {}
    for day in sorted({key[0] for key in lost}):
        visitors = sorted({key[2] for key in lost if key[0] == day})
        for chunk in chunks(visitors):
            named = events.c[scope.column]
            query = select(events.c.at_ms, events.c.nonce, named, events.c.visitor)
            query = query.where(_candidates(day), events.c.visitor.in_(chunk))
            for at_ms, nonce, on, visitor in connection.execute(query.order_by(events.c.at_ms, events.c.nonce)):
                if (day, on, visitor) in lost:
                    heirs.setdefault((day, on, visitor), (at_ms, nonce))
    here = tuple_(scope.seen.c.day, scope.seen.c[scope.column], scope.seen.c.visitor)
    for keys in chunks(sorted(key for key in lost - heirs.keys() if key[0] >= forgotten_before)):
        connection.execute(delete(scope.seen).where(here.in_(keys)))
    return list(heirs.values())


def first_where_forgotten(connection: Connection, scope: Scope, rows: Iterable[StoredEvent]) -> set[Id]:
    """What `take` answers, for days of which nobody knows any more who was seen: the clicks themselves tell."""
    earliest: dict[Key, StoredEvent] = {}
    for row in rows:
        if (key := scope.key_of(row)) is not None:
            earliest.setdefault(key, row)
    for day in sorted({key[0] for key in earliest}):
        for chunk in chunks(sorted({key[2] for key in earliest if key[0] == day})):
            query = select(events.c[scope.column], events.c.visitor)
            query = query.where(_candidates(day), events.c[scope.flag], events.c.visitor.in_(chunk))
            for on, visitor in connection.execute(query):
                earliest.pop((day, on, visitor), None)
    return {(row.at_ms, row.nonce) for row in earliest.values()}


def wrong(connection: Connection, day: int) -> list[Drift]:
    """Campaigns and links of a day that have more or fewer first clicks than visitors who clicked."""
    found = []
    for scope in SCOPES:
        on = events.c[scope.column]
        visitors = func.count(events.c.visitor.distinct())
        should = _by_first(connection, select(on, visitors).where(_candidates(day)).group_by(on))
        flagged = select(on, func.count()).where(events.c[scope.flag]).group_by(on)
        has = _by_first(connection, flagged.where(of_day(day)))
        # One that counts no longer may stand in for another that should be: both sums are to be right.
        right = _by_first(connection, flagged.where(_candidates(day)))
        for each in sorted(should.keys() | has.keys()):
            kept, counted = (has.get(each, 0), right.get(each, 0)), (should.get(each, 0),) * 2
            if kept != counted:
                found.append(Drift(f"events.{scope.flag}", (each, day), kept, counted))
    return found


def _by_first(connection: Connection, query: Any) -> dict[int, int]:
    return {row[0]: row[1] for row in connection.execute(query)}


def find(connection: Connection, day: int) -> None:
    """Looks anew for each visitor's first counted click of a day."""
    connection.execute(update(events).where(of_day(day)).values({scope.flag: False for scope in SCOPES}))
    for scope in SCOPES:
        on = events.c[scope.column]
        order = func.row_number().over(partition_by=(on, events.c.visitor), order_by=(events.c.at_ms, events.c.nonce))
        ranked = select(events.c.at_ms, events.c.nonce, order.label("place")).where(_candidates(day)).subquery()
        firsts = select(ranked.c.at_ms, ranked.c.nonce).where(ranked.c.place == 1)
        here = tuple_(events.c.at_ms, events.c.nonce).in_(firsts)
        connection.execute(update(events).where(of_day(day), here).values({scope.flag: True}))
        connection.execute(delete(scope.seen).where(scope.seen.c.day == day))
        seen = select(literal(day), on, events.c.visitor).where(_candidates(day)).distinct()
        connection.execute(scope.seen.insert().from_select(["day", scope.column, "visitor"], seen))
