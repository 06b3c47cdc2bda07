"""What happened in one period, read where it is cheapest: from rollups, or from raw events where only these tell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from sqlalchemy.orm import Session

from tracker.days import Span
from tracker.events import Kind, Verdict
from tracker.reports import sold
from tracker.reports.metrics import Sales
from tracker.salesums import Axis
from tracker.stores import Cell, Dimension, EventStore, Part, Selection, Step

K = TypeVar("K")
NO_LINK = 0  # in sales by link: those that were given to a campaign by hand


@dataclass(frozen=True, slots=True)
class Facts:
    """Sums of a campaign, or of what was selected of it. `parts` and `sales_of` break down by dimensions.

    `sale_steps` are (offset, number of the local step, conversions), as `steps` are of hits, each `step` buckets long.
    `sales` are by link, 0 for those of none; `views` are conversions that only a view stands behind, and nowhere else.
    """

    cells: list[Cell]
    sales: dict[int, Sales]
    outside: int
    views: dict[int, Sales] = field(default_factory=dict)
    step: int = 1
    steps: list[Step] = field(default_factory=list)
    sale_steps: list[tuple[int, int, int]] = field(default_factory=list)
    parts: Mapping[Dimension, list[Part]] = field(default_factory=dict)
    sales_of: Mapping[Dimension, dict[str | None, Sales]] = field(default_factory=dict)

    @property
    def seen_links(self) -> frozenset[int]:
        """The ids of the links that have impressions: a click-through rate is of these alone."""
        return self._counted(Kind.IMPRESSION)

    @property
    def clicked_links(self) -> frozenset[int]:
        return self._counted(Kind.CLICK)

    def _counted(self, kind: Kind) -> frozenset[int]:
        counted = (cell for cell in self.cells if cell.kind == kind and cell.verdict == Verdict.COUNTED)
        return frozenset(cell.link_id for cell in counted if cell.n)

    @property
    def links(self) -> set[int]:
        """The ids of all links that anything happened on."""
        return ({cell.link_id for cell in self.cells} | self.sales.keys()) - {NO_LINK}


def gather(
    session: Session,
    store: EventStore,
    campaign_id: int,
    spans: Sequence[Span],
    *,
    selection: Selection,
    dimensions: Sequence[Dimension] = (),
    step: int | None = None,
    axis: Axis = Axis.CLICK,
) -> Facts:
    """The facts of a period, which is all of `spans`; without a `step` (in buckets) there is no series.

    `axis`: conversions are those whose click lies in the period, or those that themselves do.
    """
    start, end = spans[0].start, spans[-1].end
    sums = sold.sums(session, campaign_id, start, end, selection, axis)
    by_value = sold.breakdowns(session, campaign_id, start, end, dimensions, selection, axis) if dimensions else {}
    is_narrow = selection.links is not None
    if selection.values or (is_narrow and dimensions):
        raw = store.select(campaign_id, spans, step or 1, selection, dimensions)
        cells, steps, parts = raw.cells, raw.steps if step else [], raw.parts
    else:
        cells, steps, parts = [], [], store.breakdowns(campaign_id, start, end, dimensions) if dimensions else {}
    if not selection.values:
        cells = [
            cell
            for cell in store.totals(campaign_id, start, end)
            if selection.links is None or cell.link_id in selection.links
        ]
        steps = store.series(campaign_id, spans, step, selection.links) if step else []
    return Facts(
        cells=cells,
        sales=_with_approved(sums, _sales((row.link_id, row.currency, row.n, row.minor) for row in sums)),
        outside=sum(row.outside for row in sums),
        views=_sales((row.link_id, row.currency, row.views, row.view_minor) for row in sums if row.views),
        step=step or 1,
        steps=steps,
        sale_steps=[
            (span.offset, number, n)
            for span in spans
            for number, n in sold.series(session, campaign_id, span, step, selection, axis)
        ]
        if step
        else [],
        parts=parts,
        sales_of={dimension: _sales(found) for dimension, found in by_value.items()},
    )


def _with_approved(sums: Iterable[sold.Sum], sales: Mapping[int, Sales]) -> dict[int, Sales]:
    approved: dict[int, int] = {}
    for row in sums:
        approved[row.link_id] = approved.get(row.link_id, 0) + row.approved
    return {link_id: replace(sale, approved=approved[link_id]) for link_id, sale in sales.items()}


def _sales(rows: Iterable[tuple[K, str | None, int, int]]) -> dict[K, Sales]:
    """Conversions and their money by key, from rows of a key, a currency, how many and how much."""
    counts: dict[K, int] = {}
    money: dict[K, dict[str, int]] = {}
    for key, currency, n, minor in rows:
        counts[key] = counts.get(key, 0) + n
        sums = money.setdefault(key, {})
        if currency and n:
            sums[currency] = sums.get(currency, 0) + minor
    return {key: Sales(n, money[key]) for key, n in counts.items()}
