"""All campaigns of a workspace over one period, beside another: read together, so that a list costs a few queries."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from zoneinfo import ZoneInfo

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from tracker import days
from tracker.events import Kind, Verdict
from tracker.models import Campaign, Workspace
from tracker.money import Money
from tracker.reports import comparison, cost, metrics, sold
from tracker.reports.campaign import Period
from tracker.reports.metrics import Sales, Totals
from tracker.stores import Cell, EventStore
from tracker.summing import DAY

CAMPAIGNS_MAX = 5_000  # the newest: a list is sorted as a whole
SEARCH_MAX = 100  # characters
Number = float | int | Decimal


@dataclass(frozen=True, slots=True)
class Line:
    """A campaign, or all of them, over the period and over the one before; `campaign` is None for all."""

    campaign: Campaign | None
    totals: Totals
    before: Totals | None

    @property
    def changes(self) -> dict[str, comparison.Difference | None]:
        return comparison.changes(self.totals, self.before) if self.before else {}


@dataclass(frozen=True, slots=True)
class Overview:
    """`lines` in the order asked for, `is_cut` where there are more than CAMPAIGNS_MAX campaigns."""

    period: Period
    before: Period | None
    all: Line
    lines: list[Line]
    is_cut: bool


def _minor(total: Money | None) -> int | None:
    return total.minor if total else None


# What a list can be sorted by; what has no value comes last either way.
SORTS: Mapping[str, Callable[[Line], Number | None]] = {
    "impressions": lambda line: line.totals.impressions,
    "clicks": lambda line: line.totals.clicks,
    "ctr": lambda line: line.totals.ctr.value,
    "conversions": lambda line: line.totals.conversions,
    "conversion_rate": lambda line: line.totals.conversion_rate.value,
    "revenue": lambda line: _minor(line.totals.revenue_total) if line.totals.revenue else None,
    "cost": lambda line: _minor(line.totals.cost_total) if line.totals.cost else None,
    "roas": lambda line: line.totals.roas,
}
NAME = "name"
SORTED_BY = (NAME, *SORTS)


def build(
    session: Session,
    store: EventStore,
    workspace: Workspace,
    period: Period,
    before: Period | None = None,
    *,
    sought: str = "",
    sort: str = "clicks",
    descending: bool = True,
) -> Overview:
    """`sought` leaves campaigns with this text in their name or `utm_campaign`, in any case. `sort`: see SORTED_BY."""
    found = _campaigns(session, workspace, sought)
    campaigns = found[:CAMPAIGNS_MAX]
    ids = [campaign.id for campaign in campaigns]
    now = _totals(session, store, workspace, ids, period)
    earlier = _totals(session, store, workspace, ids, before) if before else {}
    lines = [Line(campaign, now[campaign.id], earlier.get(campaign.id)) for campaign in campaigns]
    return Overview(
        period=period,
        before=before,
        all=Line(None, now[None], earlier.get(None)),
        lines=_sorted(lines, sort, descending),
        is_cut=len(found) > CAMPAIGNS_MAX,
    )


def _campaigns(session: Session, workspace: Workspace, sought: str) -> list[Campaign]:
    query = select(Campaign).where(Campaign.workspace_id == workspace.id)
    if "\0" in sought:  # PostgreSQL refuses it even in a question
        return []
    if sought:
        fields = (Campaign.name, Campaign.utm_campaign)
        query = query.where(or_(*(field.icontains(sought, autoescape=True) for field in fields)))
    return list(session.scalars(query.order_by(Campaign.id.desc()).limit(CAMPAIGNS_MAX + 1)))


def _totals(
    session: Session, store: EventStore, workspace: Workspace, ids: Sequence[int], period: Period
) -> dict[int | None, Totals]:
    """The totals of each campaign, and those of all under None."""
    spans = period.spans(ZoneInfo(workspace.timezone))
    start, end = spans[0].start, spans[-1].end
    cells: dict[int, list[Cell]] = {campaign_id: [] for campaign_id in ids}
    for row in store.totals_of(ids, start, end):
        cells[row.campaign_id].append(Cell(row.link_id, row.kind, Verdict.COUNTED, row.n, row.unique_n, 0))
    sales = sold.of_campaigns(session, ids, start, end)
    found: dict[int | None, Totals] = {
        campaign_id: metrics.totals(cells[campaign_id], _own(sales, campaign_id)) for campaign_id in ids
    }
    found[None] = metrics.totals((cell for own in cells.values() for cell in own), sales)
    finances = cost.of_campaigns(session, store, workspace, ids, spans, sales)
    return {key: finances[key].of_totals(totals) for key, totals in found.items()}


def _own(sales: Mapping[int, Sales], campaign_id: int) -> dict[int, Sales]:
    return {campaign_id: sales[campaign_id]} if campaign_id in sales else {}


def _sorted(lines: list[Line], sort: str, descending: bool) -> list[Line]:
    """By name, or by figures; ties in the order of names."""
    lines = sorted(lines, key=lambda line: line.campaign.name.lower() if line.campaign else "")
    if sort == NAME:
        return lines[::-1] if descending else lines
    of = SORTS[sort]
    sign = -1 if descending else 1
    values = {id(line): of(line) for line in lines}

    def place(line: Line) -> tuple[bool, Number]:
        value = values[id(line)]
        return value is None, 0 if value is None else sign * value

    return sorted(lines, key=place)


def clicks_by_day(
    store: EventStore, campaigns: Sequence[Campaign], period: Period, zone: ZoneInfo
) -> dict[int, list[int]]:
    """Counted clicks of each local day of a period, by campaign."""
    found = {campaign.id: [0] * period.length for campaign in campaigns}
    if not found:
        return {}
    first = (period.first - days.local_day(0)).days
    for step in store.series_of(list(found), period.spans(zone), DAY, Kind.CLICK):
        found[step.campaign_id][step.number - first] += step.n
    return found
