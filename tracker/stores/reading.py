"""What reports and pages read of the event store in SQL: rollups first of all, and single events."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, cast

from sqlalchemy import Connection, Engine, Select, Table, bindparam, func, literal, or_, select

from tracker.days import Span
from tracker.events import Kind, Verdict
from tracker.extensions import in_given, in_list
from tracker.stores import selecting
from tracker.stores.dialects import dialect_of
from tracker.stores.rollups import (
    DAY_MS,
    cost_days,
    cost_quarters,
    events,
    rollup_days,
    rollup_orphan_days,
    rollup_part_days,
    rollup_parts,
    rollup_steps,
    rollups,
)
from tracker.stores.rows import ID, chunks, older, stored, texts_by_id
from tracker.stores.values import (
    CampaignCost,
    CampaignStep,
    Cell,
    ClickCost,
    Dimension,
    EventId,
    Flow,
    LinkSum,
    Orphan,
    Part,
    Selected,
    Selection,
    Step,
    StoredEvent,
)
from tracker.summing import Of, freeze, over, padded
from tracker.sums import StoreMark

PRUNED_BEFORE = "pruned_before_ms"

marks = cast(Table, StoreMark.__table__)
FIRST_BUCKET = select(func.min(rollups.c.bucket)).where(rollups.c.campaign_id == bindparam("campaign"))
SHOWN = (Kind.IMPRESSION, Kind.CLICK)
TEXTS_MAX = 10_000  # kept in memory
VIEWS_MAX = 20_000  # impressions of the visitors looked for, the latest


class SqlReader:
    """The reading half of an EventStore; each call has a connection of its own."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._dialect = dialect_of(engine)
        self._texts: dict[int, str] = {}

    def totals(self, campaign_id: int, start: int, end: int) -> list[Cell]:
        keys = ("link_id", "kind", "verdict")
        found = self._sums(rollups, rollup_days, keys, {"campaign_id": campaign_id}, start, end)
        return [Cell(*row) for row in found]

    def totals_of(self, campaign_ids: Sequence[int], start: int, end: int) -> list[LinkSum]:
        keys, found = ("campaign_id", "link_id", "kind"), []
        for chunk in chunks(sorted(campaign_ids)):
            of: Of = {"campaign_id": padded(chunk), "verdict": int(Verdict.COUNTED), "kind": tuple(map(int, SHOWN))}
            found += [LinkSum(*row[:5]) for row in self._sums(rollups, rollup_days, keys, of, start, end)]
        return found

    def series_of(self, campaign_ids: Sequence[int], spans: Sequence[Span], step: int, kind: int) -> list[CampaignStep]:
        steps, found = rollup_steps.c, []
        with self._engine.connect() as connection:
            for span in spans:
                index = ((steps.bucket + span.offset) // literal(step, literal_execute=True)).label("step")
                for chunk in chunks(sorted(campaign_ids)):
                    query = (
                        select(steps.campaign_id, index, func.sum(steps.n))
                        .where(
                            steps.campaign_id.in_(chunk),
                            steps.bucket >= span.start,
                            steps.bucket < span.end,
                            steps.kind == kind,
                        )
                        .group_by(steps.campaign_id, index)
                    )
                    rows = connection.execute(query).all()
                    found += [CampaignStep(c, span.offset, i, int(n)) for c, i, n in rows]
        return found

    def breakdowns(
        self, campaign_id: int, start: int, end: int, dimensions: Sequence[Dimension]
    ) -> dict[Dimension, list[Part]]:
        of: Of = {"campaign_id": campaign_id, "dimension": tuple(map(int, dimensions))}
        found = self._sums(rollup_parts, rollup_part_days, ("dimension", "value_id", "kind"), of, start, end)
        names = self._names(row[1] for row in found)
        parts: dict[int, list[Part]] = {dimension: [] for dimension in dimensions}
        for dimension, value, kind, n, unique_n in found:
            if n and kind in SHOWN:
                parts[dimension].append(Part(names[value], kind, n, unique_n))
        return {dimension: parts[dimension] for dimension in dimensions}

    def click_costs(self, campaign_id: int, start: int, end: int) -> list[ClickCost]:
        keys = ("link_id", "currency_id")
        found = self._sums(cost_quarters, cost_days, keys, {"campaign_id": campaign_id}, start, end)
        names = self._names(currency for _, currency, *_ in found)
        return [ClickCost(link, names[currency], *sums) for link, currency, *sums in found if any(sums)]

    def click_costs_of(self, campaign_ids: Sequence[int], start: int, end: int) -> list[CampaignCost]:
        keys, found = ("campaign_id", "currency_id"), []
        for chunk in chunks(sorted(campaign_ids)):
            found += self._sums(cost_quarters, cost_days, keys, {"campaign_id": padded(chunk)}, start, end)
        names = self._names(currency for _, currency, *_ in found)
        return [CampaignCost(campaign, names[currency], micros) for campaign, currency, n, micros, _ in found if n]

    def select(
        self,
        campaign_id: int,
        spans: Sequence[Span],
        step: int,
        selection: Selection,
        dimensions: Sequence[Dimension] = (),
    ) -> Selected:
        with self._engine.begin() as connection:
            freeze(connection)
            return selecting.tally(connection, self._dialect, campaign_id, spans, step, selection, dimensions)

    def raw_since_ms(self) -> int:
        with self._engine.connect() as connection:
            return connection.scalar(select(marks.c.value).where(marks.c.name == PRUNED_BEFORE)) or 0

    def _sums(
        self, fine: Table, coarse: Table, keys: tuple[str, ...], of: Of, start: int, end: int
    ) -> list[tuple[int, ...]]:
        """Sums by `keys` over the buckets from `start` to before `end`: whole UTC days from the coarser rollup."""
        query, given = over(fine, coarse, keys, of, start, end)
        with self._engine.connect() as connection:
            # Fetched at once, as all that may be long here: row by row SQLAlchemy takes twice the time of the query.
            return [tuple(map(int, row)) for row in connection.execute(query, given).all()]

    def _names(self, ids: Iterable[int]) -> Mapping[int, str]:
        """Texts by their ids. Neither ever changes, so those that were read are kept, up to TEXTS_MAX."""
        known, wanted = self._texts, set(ids)
        if missing := wanted.difference(known):
            with self._engine.connect() as connection:
                found = texts_by_id(connection, missing)
            # A new one each time, for other threads may be reading this one.
            kept = known if len(known) + len(found) <= TEXTS_MAX else {each: known[each] for each in wanted - missing}
            known = self._texts = {**kept, **found}
        return known

    def series(
        self, campaign_id: int, spans: Sequence[Span], step: int, links: frozenset[int] | None = None
    ) -> list[Step]:
        query, found = _series(step, of_links=links is not None), []
        given: dict[str, Any] = {"campaign": campaign_id} | ({} if links is None else {"links": sorted(links)})
        with self._engine.connect() as connection:
            for span in spans:
                rows = connection.execute(query, given | span._asdict()).all()
                found += [Step(span.offset, i, kind, int(n)) for i, kind, n in rows]
        return found

    def flows(self, campaign_ids: Collection[int], runs: Sequence[tuple[int, int]]) -> list[Flow]:
        ids = ", ".join(map(str, sorted(map(int, campaign_ids))))
        if not ids or not runs:
            return []
        # Grouped by the head of the key, each run by itself: so rows are summed as they are read, without a sort. Whole
        # numbers all, written out: to put such a statement together from its parts would take longer than to run it.
        seen, clicked = (
            f"sum(CASE WHEN kind = {int(kind)} THEN n ELSE 0 END)" for kind in (Kind.IMPRESSION, Kind.CLICK)
        )
        text = " UNION ALL ".join(
            f"SELECT campaign_id, {number}, {seen}, {clicked} FROM {rollup_steps.name} WHERE campaign_id IN ({ids}) "  # noqa: S608
            f"AND bucket >= {int(start)} AND bucket < {int(end)} GROUP BY campaign_id"
            for number, (start, end) in enumerate(runs)
        )
        with self._engine.connect() as connection:
            found = (Flow(*map(int, row)) for row in connection.exec_driver_sql(text).all())
            return [flow for flow in found if flow.impressions or flow.clicks]

    def first_bucket(self, campaign_id: int) -> int | None:
        with self._engine.connect() as connection:
            first: int | None = connection.scalar(FIRST_BUCKET, {"campaign": campaign_id})
            return first

    def recent(self, workspace_id: int, *, before: tuple[int, int] | None, limit: int) -> list[StoredEvent]:
        query = stored().where(events.c.workspace_id == workspace_id, *older(before))
        query = query.order_by(events.c.at_ms.desc(), events.c.nonce.desc()).limit(limit)
        with self._engine.connect() as connection:
            return [StoredEvent(*row) for row in connection.execute(query)]

    def between(
        self, after: tuple[int, int], before: tuple[int, int], limit: int, *, newest: bool = False
    ) -> list[StoredEvent]:
        at_ms, nonce = events.c.at_ms, events.c.nonce
        # The bounds of time stand by themselves, so that the clustered key is used for them.
        query = stored().where(at_ms >= after[0], or_(at_ms > after[0], nonce > after[1]))
        query = query.where(at_ms <= before[0], or_(at_ms < before[0], nonce < before[1]))
        order = (at_ms.desc(), nonce.desc()) if newest else (at_ms, nonce)
        with self._engine.connect() as connection:
            found = [StoredEvent(*row) for row in connection.execute(query.order_by(*order).limit(limit))]
        return found[::-1] if newest else found

    def orphans(self, workspace_id: int, first_day: int, last_day: int, limit: int) -> list[Orphan]:
        table = rollup_orphan_days.c
        n = func.sum(table.n).label("n")
        query = (
            select(table.detail_id, n, func.max(table.day))
            .where(table.workspace_id == workspace_id, table.day >= first_day, table.day <= last_day, table.n > 0)
            .group_by(table.detail_id)
            .order_by(n.desc(), table.detail_id)
            .limit(limit)
        )
        with self._engine.connect() as connection:
            found = connection.execute(query).all()
            names = texts_by_id(connection, (row[0] for row in found))
        return [Orphan(names[detail], int(count), last) for detail, count, last in found]

    def find_click(self, at_ms: int, nonce: int) -> StoredEvent | None:
        query = stored().where(events.c.at_ms == at_ms, events.c.nonce == nonce, events.c.kind == Kind.CLICK)
        with self._engine.connect() as connection:
            row = connection.execute(query).first()
        return StoredEvent(*row) if row else None

    def find_clicks(self, ids: Sequence[tuple[int, int]]) -> dict[tuple[int, int], StoredEvent]:
        found = self.find_events(ids)
        return {row_id: row for row_id, row in found.items() if row.kind == Kind.CLICK}

    def find_events(self, ids: Sequence[EventId]) -> dict[EventId, StoredEvent]:
        with self._engine.connect() as connection:
            return _by_id(connection, ids)

    def clicks_of(self, visitor: int, until: EventId, limit: int) -> list[StoredEvent]:
        at_ms, nonce = events.c.at_ms, events.c.nonce
        # Written out and not bound: only then is it plain that the index of visitors' clicks holds them all.
        is_click = events.c.kind == literal(int(Kind.CLICK), literal_execute=True)
        query = stored().where(
            is_click,
            events.c.visitor == visitor,
            events.c.verdict == Verdict.COUNTED,
            at_ms >= until[0] // DAY_MS * DAY_MS,
            at_ms <= until[0],
            or_(at_ms < until[0], nonce <= until[1]),
        )
        with self._engine.connect() as connection:
            found = connection.execute(query.order_by(at_ms.desc(), nonce.desc()).limit(limit))
            return [StoredEvent(*row) for row in found][::-1]

    def views_of(self, visitors: Collection[int], since_ms: int, until_ms: int) -> list[StoredEvent]:
        at_ms, nonce = events.c.at_ms, events.c.nonce
        query = stored().where(
            at_ms >= since_ms,
            at_ms <= until_ms,
            events.c.kind == Kind.IMPRESSION,
            events.c.verdict == Verdict.COUNTED,
            events.c.detail_id.is_(None),
            events.c.link_id.is_not(None),
            in_list(events.c.visitor, visitors),
        )
        with self._engine.connect() as connection:
            found = connection.execute(query.order_by(at_ms.desc(), nonce.desc()).limit(VIEWS_MAX))
            return [StoredEvent(*row) for row in found]


@lru_cache(maxsize=64)
def _series(step: int, *, of_links: bool) -> Select[Any]:
    """Put together once for all campaigns and periods, which takes longer than to run it."""
    # Those of all links are summed already.
    steps = rollups.c if of_links else rollup_steps.c
    index = ((steps.bucket + bindparam("offset")) // literal(step, literal_execute=True)).label("step")
    query = select(index, steps.kind, func.sum(steps.n)).where(
        steps.campaign_id == bindparam("campaign"),
        steps.bucket >= bindparam("start"),
        steps.bucket < bindparam("end"),
        steps.kind.in_(SHOWN),
    )
    if of_links:
        query = query.where(in_given(steps.link_id, "links"), steps.verdict == Verdict.COUNTED)
    return query.group_by(index, steps.kind)


def _by_id(connection: Connection, ids: Sequence[EventId]) -> dict[EventId, StoredEvent]:
    found: dict[EventId, StoredEvent] = {}
    for chunk in chunks(ids):
        rows = (StoredEvent(*row) for row in connection.execute(stored().where(ID.in_(chunk))))
        found.update(((row.at_ms, row.nonce), row) for row in rows)
    return found
