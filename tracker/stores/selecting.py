"""Sums of selected raw events: all that a report wants of them, counted in one pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, Integer, cast, literal, select

from tracker.days import BUCKET_MS, Span
from tracker.events import Kind, Verdict
from tracker.extensions import in_list
from tracker.stores.contract import Cell, Dimension, Part, Selected, Selection, Step
from tracker.stores.dialects import Dialect
from tracker.stores.rollups import VALUE_COLUMNS, events
from tracker.stores.rows import texts, texts_by_id

SHOWN = (Kind.IMPRESSION, Kind.CLICK)
# Several small numbers in one column: what is counted then is one number a column, which is quickest. In bits:
_FLAG, _KIND, _VERDICT = 1, 3, 4


def tally(
    connection: Connection,
    dialect: Dialect,
    campaign_id: int,
    spans: Sequence[Span],
    step: int,
    selection: Selection,
    dimensions: Sequence[Dimension],
) -> Selected:
    """See EventStore.select."""
    value_ids = _ids(connection, selection)
    if value_ids is None or (selection.links is not None and not selection.links):
        return Selected([], [], {dimension: [] for dimension in dimensions})
    e = events.c
    kind_and_verdict = (e.kind, _KIND), (e.verdict, _VERDICT)
    first = e.first_on_link if selection.of_link else e.first_of_day
    columns = [
        _packed(e.link_id, *kind_and_verdict, (e.first_of_day, _FLAG), (e.first_on_link, _FLAG)),
        _packed(e.at_ms // literal(BUCKET_MS, literal_execute=True), *kind_and_verdict),
        *(_packed(VALUE_COLUMNS[each], *kind_and_verdict, (first, _FLAG)) for each in dimensions),
    ]
    labels: list[Any] = [column.label(f"c{place}") for place, column in enumerate(columns)]
    query = select(*labels).where(
        e.at_ms >= spans[0].start * BUCKET_MS,
        e.at_ms < spans[-1].end * BUCKET_MS,
        e.campaign_id == campaign_id,
        e.link_id.is_not(None),
        e.kind.in_(SHOWN),
        e.verdict != Verdict.TEST,
        *(VALUE_COLUMNS[dimension] == value_id for dimension, value_id in value_ids.items()),
    )
    if selection.links is not None:
        query = query.where(in_list(e.link_id, selection.links))
    cells, buckets, *values = dialect.tally(connection, query)
    return Selected(
        _cells(cells),
        _steps(buckets, spans, step),
        {dimension: _parts(connection, found) for dimension, found in zip(dimensions, values, strict=True)},
    )


def _ids(connection: Connection, selection: Selection) -> dict[Dimension, int | None] | None:
    """The ids of the selection's values; `None` where there is one that no event has."""
    wanted = {value for value in selection.values.values() if value is not None}
    query = select(texts.c.text, texts.c.id).where(texts.c.text.in_(wanted))
    known: dict[str | None, int | None] = {None: None}
    known.update((text, text_id) for text, text_id in connection.execute(query))
    if not wanted <= known.keys():
        return None
    return {dimension: known[value] for dimension, value in selection.values.items()}


def _packed(column: Any, *more: tuple[Any, int]) -> ColumnElement[int]:
    """A number with smaller ones below it, each in so many bits; nothing where the first is nothing."""
    packed: Any = cast(column, BigInteger)
    for each, bits in more:
        number = cast(each, Integer) if bits == _FLAG else each
        packed = packed * literal(1 << bits, literal_execute=True) + number
    found: ColumnElement[int] = packed
    return found


def _unpacked(packed: int, *bits: int) -> tuple[int, ...]:
    """What was packed: the first number, then those of so many bits."""
    found = []
    for width in reversed(bits):
        found.append(packed & (1 << width) - 1)
        packed >>= width
    return (packed, *reversed(found))


def _cells(counted: Mapping[int | None, int]) -> list[Cell]:
    sums: dict[tuple[int, int, int], list[int]] = {}
    for packed, n in counted.items():
        if packed is not None:
            link, kind, verdict, first, on_link = _unpacked(packed, _KIND, _VERDICT, _FLAG, _FLAG)
            cell = sums.setdefault((link, kind, verdict), [0, 0, 0])
            for place, more in enumerate((n, n * first, n * on_link)):
                cell[place] += more
    return [Cell(*key, *three) for key, three in sums.items()]


def _steps(counted: Mapping[int | None, int], spans: Sequence[Span], step: int) -> list[Step]:
    sums: dict[tuple[int, int, int], int] = {}
    for packed, n in counted.items():
        if packed is not None:
            bucket, kind, verdict = _unpacked(packed, _KIND, _VERDICT)
            offset = next(span.offset for span in spans if span.start <= bucket < span.end)
            if verdict == Verdict.COUNTED:
                key = (offset, (bucket + offset) // step, kind)
                sums[key] = sums.get(key, 0) + n
    return [Step(*key, n) for key, n in sums.items()]


def _parts(connection: Connection, counted: Mapping[int | None, int]) -> list[Part]:
    sums: dict[tuple[int, int], list[int]] = {}
    for packed, n in counted.items():
        if packed is not None:
            value, kind, verdict, first = _unpacked(packed, _KIND, _VERDICT, _FLAG)
            if verdict == Verdict.COUNTED:
                part = sums.setdefault((value, kind), [0, 0])
                part[0] += n
                part[1] += n * first
    names = texts_by_id(connection, (value for value, _ in sums))
    return [Part(names[value], kind, *two) for (value, kind), two in sums.items()]
