"""A visitor forgotten: nothing of an event tells any more who made it, and every count stays as it is."""

from __future__ import annotations

import secrets
from typing import cast

from sqlalchemy import Connection, Table, and_, delete, or_, update

from tracker.reported import ViewWait
from tracker.stores import firsts
from tracker.stores.rollups import DAY_MS, VALUE_COLUMNS, Change, events
from tracker.stores.rows import OF_CHANGE, change_of, stored
from tracker.stores.searching import same_visitor

# What an event says of whoever made it. `detail` and `rule` tell why it counts or not, and many share them.
TEXTS = ("agent", *(dimension.word for dimension in VALUE_COLUMNS))
NOTHING = (None,) * len(VALUE_COLUMNS)


def forget(connection: Connection, at_ms: int, nonce: int) -> list[Change]:
    """Erases the visitor of an event from all of that visitor's events of the day; answers what rollups change by.

    A random number takes the place of the hash: who is the first of a day stays, as does how many there were.
    """
    here = same_visitor(connection, at_ms, nonce)
    if here is None:
        return []
    changes: list[Change] = []
    visitor: int | None = None
    for row in connection.execute(stored().add_columns(*OF_CHANGE).where(here).with_for_update(of=events)):
        was, detail, values, currency, first, on_link = change_of(row)
        visitor = was.visitor
        changes.append((was, detail, values, currency, -1, -first, -on_link))
        changes.append((was, detail, NOTHING, currency, 1, first, on_link))
    nobody = None if visitor is None else secrets.randbits(63)
    erased: dict[str, int | None] = {f"{name}_id": None for name in TEXTS}
    connection.execute(update(events).where(here).values(erased | {"visitor": nobody}))
    if visitor is not None:
        for scope in firsts.SCOPES:
            seen = scope.seen.c
            is_theirs = and_(seen.day == at_ms // DAY_MS, seen.visitor == visitor)
            connection.execute(update(scope.seen).where(is_theirs).values(visitor=nobody))
        waits = cast(Table, ViewWait.__table__)
        connection.execute(delete(waits).where(or_(waits.c.visitor == visitor, waits.c.visitor_before == visitor)))
    return changes
