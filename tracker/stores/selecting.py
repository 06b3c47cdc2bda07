"""Sums of selected hits: all that a report wants of them, counted in one pass over packs and raw events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Select, literal, select

from tracker.days import BUCKET_MS, Span
from tracker.events import Verdict
from tracker.extensions import in_list
from tracker.stores import packs
from tracker.stores.bits import FLAG, KIND, VERDICT, joined, parted
from tracker.stores.dialects import Dialect
from tracker.stores.packs import Asked, Counted
from tracker.stores.rollups import VALUE_COLUMNS, events
from tracker.stores.rows import texts, texts_by_id
from tracker.stores.values import Cell, Dimension, Part, Selected, Selection, Step


def tally(
    connection: Connection,
    dialect: Dialect,
    campaign_id: int,
    spans: Sequence[Span],
    step: int,
    selection: Selection,
    dimensions: Sequence[Dimension],
) -> Selected:
    """See EventStore.select. All that the connection reads is to be of one instant."""
    values = _ids(connection, selection)
    if values is None or (selection.links is not None and not selection.links):
        return Selected([], [], {dimension: [] for dimension in dimensions})
    period = spans[0].start, spans[-1].end
    packed = packs.find(connection, campaign_id, *period)
    asked = Asked(selection.links, values, dimensions, selection.of_link)
    counted: Counted = [Counter() for _ in range(2 + len(dimensions))]
    if packed.runs:
        _add(counted, packs.count(connection, campaign_id, packed.runs, asked, period))
    for run in packs.left(packed, *period):
        _add(counted, dialect.tally(connection, _events(campaign_id, run, asked)))
    cells, buckets, *parts = counted
    return Selected(
        _cells(cells),
        _steps(buckets, spans, step),
        {dimension: _parts(connection, found) for dimension, found in zip(dimensions, parts, strict=True)},
    )


def _add(counted: Counted, more: Counted) -> None:
    for counter, other in zip(counted, more, strict=True):
        counter.update(other)


def _events(campaign_id: int, run: packs.Run, asked: Asked) -> Select[Any]:
    """What is counted of each raw event, a column for each thing that it is counted by."""
    e = events.c
    kind_and_verdict = (e.kind, KIND), (e.verdict, VERDICT)
    first = e.first_on_link if asked.of_link else e.first_of_day
    columns = [
        joined(e.link_id, *kind_and_verdict, (e.first_of_day, FLAG), (e.first_on_link, FLAG)),
        joined(e.at_ms // literal(BUCKET_MS, literal_execute=True), *kind_and_verdict),
        *(joined(VALUE_COLUMNS[each], *kind_and_verdict, (first, FLAG)) for each in asked.dimensions),
    ]
    labels: list[Any] = [column.label(f"c{place}") for place, column in enumerate(columns)]
    query = select(*labels).where(packs.hits(run), e.campaign_id == campaign_id)
    query = query.where(*(VALUE_COLUMNS[dimension] == value for dimension, value in asked.values.items()))
    return query if asked.links is None else query.where(in_list(e.link_id, asked.links))


def _ids(connection: Connection, selection: Selection) -> dict[Dimension, int | None] | None:
    """The ids of the selection's values; `None` where there is one that no event has."""
    wanted = {value for value in selection.values.values() if value is not None}
    query = select(texts.c.text, texts.c.id).where(texts.c.text.in_(wanted))
    known: dict[str | None, int | None] = {None: None}
    known.update((text, text_id) for text, text_id in connection.execute(query))
    if not wanted <= known.keys():
        return None
    return {dimension: known[value] for dimension, value in selection.values.items()}


def _cells(counted: Mapping[int | None, int]) -> list[Cell]:
    sums: dict[tuple[int, int, int], list[int]] = {}
    for joint, n in counted.items():
        if joint is not None:
            link, kind, verdict, first, on_link = parted(joint, KIND, VERDICT, FLAG, FLAG)
            cell = sums.setdefault((link, kind, verdict), [0, 0, 0])
            for place, more in enumerate((n, n * first, n * on_link)):
                cell[place] += more
    return [Cell(*key, *three) for key, three in sums.items()]


def _steps(counted: Mapping[int | None, int], spans: Sequence[Span], step: int) -> list[Step]:
    sums: dict[tuple[int, int, int], int] = {}
    for joint, n in counted.items():
        if joint is not None:
            bucket, kind, verdict = parted(joint, KIND, VERDICT)
            offset = next(span.offset for span in spans if span.start <= bucket < span.end)
            if verdict == Verdict.COUNTED:
                key = (offset, (bucket + offset) // step, kind)
                sums[key] = sums.get(key, 0) + n
    return [Step(*key, n) for key, n in sums.items()]


def _parts(connection: Connection, counted: Mapping[int | None, int]) -> list[Part]:
    sums: dict[tuple[int, int], list[int]] = {}
    for joint, n in counted.items():
        if joint is not None:
            value, kind, verdict, first = parted(joint, KIND, VERDICT, FLAG)
            if verdict == Verdict.COUNTED:
                part = sums.setdefault((value, kind), [0, 0])
                part[0] += n
                part[1] += n * first
    names = texts_by_id(connection, (value for value, _ in sums))
    return [Part(names[value], kind, *two) for (value, kind), two in sums.items()]
