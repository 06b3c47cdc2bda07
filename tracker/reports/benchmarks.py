"""A campaign beside the workspace's others of its medium: the median of their rates, and which step loses most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import median
from typing import NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from tracker import days
from tracker.events import Verdict
from tracker.models import Campaign, Link, Workspace
from tracker.reports import sold
from tracker.reports.campaign import Period
from tracker.reports.grouping import Group
from tracker.reports.metrics import Rate, Sales, totals
from tracker.stores import Cell, EventStore

OVER_DAYS = 90  # whole ones, up to yesterday
CAMPAIGNS_MAX = 300  # the newest
CAMPAIGNS_MIN = 3  # others of the medium: a median of fewer says nothing
TRIALS_MIN = 100  # impressions, or clicks: a rate of fewer says nothing either
KEPT_FOR = timedelta(minutes=10)
KEPT_MAX = 200  # workspaces
RATES = ("ctr", "conversion_rate")


class OfCampaign(NamedTuple):
    """One campaign's rates by one medium; None where they have too few trials to be compared."""

    campaign_id: int
    medium: str
    ctr: float | None
    conversion_rate: float | None


@dataclass(frozen=True, slots=True)
class Standing:
    """A campaign's own rate and the median of so many others'."""

    own: Rate
    median: float
    campaigns: int

    @property
    def verdict(self) -> str:
        """`below` or `above` where the median lies outside the rate's 95 % interval, else `alike`."""
        if self.own.interval is None:
            return "alike"
        low, high = self.own.interval
        return "below" if high < self.median else "above" if low > self.median else "alike"

    @property
    def shortfall(self) -> float:
        """By which factor the rate misses the median: 0.25 is a quarter below it; 0 where it does not."""
        value = self.own.value
        return max(1 - value / self.median, 0.0) if value is not None and self.median else 0.0


@dataclass(frozen=True, slots=True)
class Benchmark:
    """How a campaign's links of one medium stand beside those of other campaigns; a rate without others is None."""

    medium: str
    ctr: Standing | None
    conversion_rate: Standing | None

    @property
    def weakest(self) -> str | None:
        """The rate that is below the median, of two that are the one that misses it by more."""
        below = [name for name in RATES if (found := getattr(self, name)) and found.verdict == "below"]
        return max(below, key=lambda name: getattr(self, name).shortfall, default=None)


@dataclass(slots=True)
class Benchmarks:
    """What is known of all campaigns of each workspace, read anew every KEPT_FOR."""

    _known: dict[int, tuple[datetime, list[OfCampaign]]] = field(default_factory=dict)

    def of(
        self,
        session: Session,
        store: EventStore,
        workspace: Workspace,
        campaign: Campaign,
        by_medium: Sequence[Group],
        now: datetime,
    ) -> Benchmark | None:
        """The campaign's main medium, by clicks, beside the same medium of others; None where nothing can be said.

        `by_medium` are the groups of the campaign's report.
        """
        known = [group for group in by_medium if group.key is not None and group.totals.clicks]
        if not known:
            return None
        main = max(known, key=lambda group: group.totals.clicks)
        others = [
            each
            for each in self._of_workspace(session, store, workspace, now)
            if each.campaign_id != campaign.id and each.medium == main.key
        ]
        ctr = _standing(main.totals.ctr, [each.ctr for each in others])
        conversion_rate = _standing(main.totals.conversion_rate, [each.conversion_rate for each in others])
        return Benchmark(main.key or "", ctr, conversion_rate) if ctr or conversion_rate else None

    def _of_workspace(
        self, session: Session, store: EventStore, workspace: Workspace, now: datetime
    ) -> list[OfCampaign]:
        kept = self._known.get(workspace.id)
        if kept is None or not kept[0] <= now < kept[0] + KEPT_FOR:
            if len(self._known) >= KEPT_MAX:
                self._known.clear()
            kept = self._known[workspace.id] = now, read(session, store, workspace, now)
        return kept[1]


def _standing(own: Rate, others: Sequence[float | None]) -> Standing | None:
    known = [rate for rate in others if rate is not None]
    if own.value is None or len(known) < CAMPAIGNS_MIN:
        return None
    return Standing(own, median(known), len(known))


def read(session: Session, store: EventStore, workspace: Workspace, now: datetime) -> list[OfCampaign]:
    """The rates of the workspace's newest campaigns over the last whole days, by medium."""
    newest = select(Campaign.id).where(Campaign.workspace_id == workspace.id).order_by(Campaign.id.desc())
    ids = list(session.scalars(newest.limit(CAMPAIGNS_MAX)))
    zone = ZoneInfo(workspace.timezone)
    yesterday = days.today(zone, now) - timedelta(days=1)
    spans = Period(yesterday - timedelta(days=OVER_DAYS - 1), yesterday).spans(zone)
    start, end = spans[0].start, spans[-1].end
    cells: dict[tuple[int, int], list[Cell]] = {}
    for row in store.totals_of(ids, start, end):
        cell = Cell(row.link_id, row.kind, Verdict.COUNTED, row.n, row.unique_n, 0)
        cells.setdefault((row.campaign_id, row.link_id), []).append(cell)
    mediums = _mediums(session, ids)
    sales = sold.by_link_of(session, ids, start, end)
    together: dict[tuple[int, str], tuple[list[Cell], dict[int, Sales]]] = {}
    for (campaign_id, link_id), own in cells.items():
        if link_id in mediums:
            found, sold_there = together.setdefault((campaign_id, mediums[link_id]), ([], {}))
            found += own
            sold_there[link_id] = Sales(sales.get((campaign_id, link_id), 0))
    return [_rates(*key, *found) for key, found in together.items()]


def _rates(campaign_id: int, medium: str, cells: Sequence[Cell], sales: Mapping[int, Sales]) -> OfCampaign:
    found = totals(cells, sales)
    rates = (rate.value if rate.trials >= TRIALS_MIN else None for rate in (found.ctr, found.conversion_rate))
    return OfCampaign(campaign_id, medium, *rates)


def _mediums(session: Session, campaign_ids: Sequence[int]) -> dict[int, str]:
    query = select(Link.id, Link.medium).where(Link.campaign_id.in_(campaign_ids))
    return {row.id: row.medium for row in session.execute(query)}
