"""Stored events as rows of a table: which columns, in which order, texts by their ids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar, cast

from sqlalchemy import ColumnElement, Connection, Table, or_, select, tuple_

from tracker.extensions import insert_into
from tracker.models import InternedText
from tracker.stores.rollups import VALUE_COLUMNS, events
from tracker.stores.values import Dimension, EventId, StoredEvent

T = TypeVar("T")
IN_MAX = 500
FLAGS = ("first_of_day", "first_on_link")

ID = tuple_(events.c.at_ms, events.c.nonce)
texts = cast(Table, InternedText.__table__)

_NUMBERS = 8  # fields of a StoredEvent before its texts; behind them is what it cost
_TEXTS = slice(_NUMBERS, -1)
_TEXT_FIELDS = StoredEvent._fields[_TEXTS]
EVENT_COLUMNS = (*StoredEvent._fields[:_NUMBERS], *(f"{name}_id" for name in _TEXT_FIELDS), "cost_micros", *FLAGS)
# Where in the values of those columns the detail, the dimensions and the currency are.
DETAIL = EVENT_COLUMNS.index("detail_id")
DIMENSIONS = slice(EVENT_COLUMNS.index(f"{Dimension(1).word}_id"), EVENT_COLUMNS.index(f"{max(Dimension).word}_id") + 1)
CURRENCY = EVENT_COLUMNS.index("cost_currency_id")


def chunks(items: Sequence[T]) -> Iterable[Sequence[T]]:
    for start in range(0, len(items), IN_MAX):
        yield items[start : start + IN_MAX]


def texts_of(row: StoredEvent) -> tuple[str | None, ...]:
    return cast(tuple[str | None, ...], row[_TEXTS])


def values_of(row: StoredEvent, ids: Mapping[str | None, int | None], flags: tuple[bool, ...]) -> tuple[Any, ...]:
    """The values of EVENT_COLUMNS."""
    return (*row[:_NUMBERS], *map(ids.__getitem__, texts_of(row)), row.cost_micros, *flags)


def stored() -> Any:
    """A query for everything of a StoredEvent, its texts looked up."""
    query = select(*(events.c[name] for name in StoredEvent._fields[:_NUMBERS])).select_from(events)
    for name in _TEXT_FIELDS:
        own = texts.alias()
        query = query.add_columns(own.c.text).outerjoin(own, own.c.id == events.c[f"{name}_id"])
    return query.add_columns(events.c.cost_micros)


# What a change of rollups needs to know of a stored event besides.
OF_CHANGE = (
    *(events.c.detail_id, *VALUE_COLUMNS.values(), events.c.cost_currency_id),
    *(events.c[flag] for flag in FLAGS),
)


def change_of(row: Sequence[Any]) -> tuple[StoredEvent, int | None, tuple[int | None, ...], int | None, int, int]:
    """A row of `stored` with OF_CHANGE: the event, its detail, values and currency, and what it is the first on."""
    detail, *values, currency, first, on_link = row[-len(OF_CHANGE) :]
    return StoredEvent(*row[: -len(OF_CHANGE)]), detail, tuple(values), currency, int(first), int(on_link)


def older(before: EventId | None, since_ms: int | None = None) -> list[ColumnElement[bool]]:
    """From an instant to before an id. Its instant stands alone too: by that a part of the table is chosen."""
    at_ms, nonce = events.c.at_ms, events.c.nonce
    found: list[ColumnElement[bool]] = []
    if before is not None:
        found += [at_ms <= before[0], or_(at_ms < before[0], nonce < before[1])]
    if since_ms is not None:
        found.append(at_ms >= since_ms)
    return found


def intern(connection: Connection, wanted: set[str | None], known: Mapping[str, int]) -> dict[str, int]:
    """The ids of texts, those that are new among them."""
    ids = {text: known[text] for text in wanted if text is not None and text in known}
    missing = sorted(text for text in wanted if text is not None and text not in ids)
    for chunk in chunks(missing):
        new = insert_into(connection.dialect.name, texts).on_conflict_do_nothing()
        connection.execute(new, [{"text": text} for text in chunk])
        found = connection.execute(select(texts.c.text, texts.c.id).where(texts.c.text.in_(chunk)))
        ids.update((text, text_id) for text, text_id in found)
    return ids


def texts_by_id(connection: Connection, ids: Iterable[int]) -> dict[int, str]:
    found: dict[int, str] = {}
    for chunk in chunks(sorted(set(ids))):
        query = select(texts.c.id, texts.c.text).where(texts.c.id.in_(chunk))
        found.update((text_id, text) for text_id, text in connection.execute(query))
    return found
