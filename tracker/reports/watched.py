"""All campaigns of a workspace looked at together: which have fallen silent, which fell far behind yesterday.

What is read first is little, and of all campaigns in the same few statements; only those that look suspicious by it are
read further. So the work grows with the number of campaigns and not with what they have had.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Select, func, literal, or_, select, union_all
from sqlalchemy.orm import Session

from tracker import days
from tracker.days import Span
from tracker.events import Kind
from tracker.extensions import in_list
from tracker.models import Campaign, Link, Workspace
from tracker.reports import drops, metrics, sold
from tracker.reports.metrics import Rate
from tracker.reports.silence import DAYS, History, may_be_silent, silences
from tracker.salesums import Axis, sale_steps
from tracker.stores import EventStore, Flow

CAMPAIGNS_MAX = 500  # the newest
SUSPECTS_MAX = 10  # whose click-through rate is worked out from their links
DAY = 96  # in buckets
Run = tuple[int, int]  # buckets, from the first to before the second


class Named(NamedTuple):
    """A campaign, as its page is addressed and headed."""

    slug: str
    name: str


@dataclass(frozen=True, slots=True)
class Happened:
    """What happened to a campaign, by the name of its kind; `facts` are the numbers of its sentence."""

    what: str
    since: datetime | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


class Watched(NamedTuple):
    """`is_all_silent`: nothing counted in the last 24 hours, of whatever campaign."""

    found: list[tuple[Named, Happened]]
    is_all_silent: bool


SILENT = {
    Kind.IMPRESSION: "impressions_silent",
    Kind.CLICK: "clicks_silent",
    Kind.CONVERSION: "conversions_silent",
}


class _Came(NamedTuple):
    """What counted of one campaign in one run."""

    impressions: int = 0
    clicks: int = 0
    conversions: int = 0

    @property
    def ctr(self) -> Rate:
        return Rate(self.clicks, self.impressions)

    @property
    def conversion_rate(self) -> Rate:
        """By the day of the conversion: by that of the click a fresh day would always look poor."""
        return Rate(self.conversions, self.clicks)


NOTHING = _Came()
Table = dict[tuple[int, int], _Came]  # by campaign and run


def look_at(session: Session, store: EventStore, workspace: Workspace, until: datetime) -> Watched:
    """What is to be said of campaigns by all that was counted `until` an instant."""
    query = select(Campaign.id, Campaign.slug, Campaign.name)
    query = query.where(Campaign.workspace_id == workspace.id, Campaign.archived_at.is_(None))
    newest = session.execute(query.order_by(Campaign.id.desc()).limit(CAMPAIGNS_MAX))
    names = {row.id: Named(row.slug, row.name) for row in newest}
    zone = ZoneInfo(workspace.timezone)
    yesterday = days.today(zone, until) - timedelta(days=1)
    weekdays = [yesterday - timedelta(weeks=week) for week in range(drops.WEEKS + 1)]
    runs = [days.bucket_range(day, day, zone) for day in weekdays]
    end = days.bucket_of(until) + 1
    came = _read(session, store, names, [(end - DAY, end), *runs[:2]])
    reader = _Reader(session, store, until, end, weekdays, runs, came)
    found = list(reader.silent(names))
    silent = {campaign_id for campaign_id, _ in found}
    found += reader.dropped([each for each in names if each not in silent])
    is_all_silent = not any(run == 0 for _, run in came)
    return Watched([(names[campaign_id], happened) for campaign_id, happened in found], is_all_silent)


def _read(session: Session, store: EventStore, campaign_ids: Collection[int], runs: Sequence[Run]) -> Table:
    """What counted of campaigns in runs; where nothing did, there is nothing."""
    if not campaign_ids:
        return {}
    found: Table = {
        (flow.campaign_id, flow.run): _Came(flow.impressions, flow.clicks) for flow in store.flows(campaign_ids, runs)
    }
    for number, campaign_id, n in session.execute(union_all(*(_sales(campaign_ids, *run) for run in enumerate(runs)))):
        if n:
            key = campaign_id, number
            found[key] = found.get(key, NOTHING)._replace(conversions=int(n))
    return found


def _sales(campaign_ids: Collection[int], number: int, run: Run) -> Select[Any]:
    """Conversions by when they happened, of each campaign in one run."""
    steps = sale_steps.c
    return (
        select(literal(number, literal_execute=True), steps.campaign_id, func.sum(steps.n))
        .where(in_list(steps.campaign_id, campaign_ids), steps.axis == int(Axis.CONVERSION))
        .where(steps.bucket >= run[0], steps.bucket < run[1])
        .group_by(steps.campaign_id)
    )


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads on of those campaigns that look suspicious. `came` is of the last 24 hours, yesterday and a week before."""

    session: Session
    store: EventStore
    until: datetime
    end: int
    weekdays: Sequence[date]
    runs: Sequence[Run]
    came: Table

    # Silence.

    def silent(self, ids: Collection[int]) -> Iterator[tuple[int, Happened]]:
        """What of campaigns has stopped."""
        hits = self._hits_may_be_silent(ids)
        without_sales = {each for each in ids if self._sells_nothing(each)}
        sold_on = self._sold_by_day(hits | without_sales)
        active = self._with_active_links(hits | {each for each in without_sales if may_be_silent(sold_on[each])})
        back = [(self.end - (day + 1) * DAY, self.end - day * DAY) for day in range(DAYS)]
        flows = {(flow.campaign_id, flow.run): flow for flow in self.store.flows(active, back)}
        for campaign_id in active:
            of = [flows.get((campaign_id, day), Flow(campaign_id, day, 0, 0)) for day in range(DAYS)]
            history = History([flow.impressions for flow in of], [flow.clicks for flow in of], sold_on[campaign_id])
            for silence in silences(history):
                since = self._last(campaign_id, silence.kind, back[silence.days])
                if silence.is_all:
                    yield campaign_id, Happened("campaign_silent", since)
                    continue
                beside = history.impressions if silence.kind == Kind.CLICK else history.clicks
                yield campaign_id, Happened(SILENT[silence.kind], since, {"meanwhile": sum(beside[: silence.days])})

    def _hits_may_be_silent(self, ids: Collection[int]) -> set[int]:
        """Those of which nothing of a kind came in the last 24 hours that came yesterday or a week before."""
        found, unclear = set(), set()
        for campaign_id in ids:
            now, *before = (self.came.get((campaign_id, run), NOTHING)[:2] for run in range(3))
            if any(not n and any(earlier) for n, *earlier in zip(now, *before, strict=True)):
                found.add(campaign_id)
            elif not all(now):
                unclear.add(campaign_id)
        # On a Monday yesterday was a Sunday, and so it was a week before: the same hours of that week tell more.
        for flow in self.store.flows(unclear, [(self.end - 8 * DAY, self.end - 7 * DAY)]):
            last = self.came.get((flow.campaign_id, 0), NOTHING)
            if (flow.impressions and not last.impressions) or (flow.clicks and not last.clicks):
                found.add(flow.campaign_id)
        return found

    def _sells_nothing(self, campaign_id: int) -> bool:
        now = self.came.get((campaign_id, 0), NOTHING)
        return now.clicks > 0 and not now.conversions

    def _sold_by_day(self, ids: Collection[int]) -> dict[int, list[int]]:
        """Conversions of each campaign in each of its last DAYS days of 24 hours."""
        counts = {campaign_id: [0] * DAYS for campaign_id in ids}
        steps = sale_steps.c
        day = ((self.end - 1 - steps.bucket) // literal(DAY, literal_execute=True)).label("day")
        query = select(steps.campaign_id, day, func.sum(steps.n)).where(
            in_list(steps.campaign_id, ids),
            steps.axis == int(Axis.CONVERSION),
            steps.bucket >= self.end - DAYS * DAY,
            steps.bucket < self.end,
        )
        for campaign_id, number, n in self.session.execute(query.group_by(steps.campaign_id, day)) if ids else ():
            counts[campaign_id][int(number)] = int(n)
        return counts

    def _with_active_links(self, ids: Collection[int]) -> list[int]:
        """Those that still have a link which leads anywhere: what was put out of use is silent on purpose."""
        alive = or_(Link.expires_at.is_(None), Link.expires_at > self.until)
        query = select(Campaign.id).where(
            in_list(Campaign.id, ids),
            select(Link.id).where(Link.campaign_id == Campaign.id, Link.archived_at.is_(None), alive).exists(),
        )
        return sorted(self.session.scalars(query)) if ids else []

    def _last(self, campaign_id: int, kind: Kind, run: Run) -> datetime:
        """The end of the last quarter of an hour in which anything came."""
        span = Span(*run, 0)
        if kind == Kind.CONVERSION:
            buckets = [at for at, _ in sold.series(self.session, campaign_id, span, 1, axis=Axis.CONVERSION)]
        else:
            steps = self.store.series(campaign_id, [span], 1)
            buckets = [step.number for step in steps if step.kind == kind and step.n]
        return days.from_ms((max(buckets, default=run[1] - 1) + 1) * days.BUCKET_MS)

    # Drops.

    def dropped(self, ids: Iterable[int]) -> Iterator[tuple[int, Happened]]:
        """Campaigns whose yesterday fell far behind, by id."""
        suspects = self._with_active_links([each for each in ids if self._may_have_dropped(*self._first_two(each))])
        table = _read(self.session, self.store, suspects, self.runs[2:])
        worked_out = 0
        for campaign_id in suspects:
            day, week_ago = self._first_two(campaign_id)
            weeks = [week_ago, *(table.get((campaign_id, run), NOTHING) for run in range(drops.WEEKS - 1))]
            clicks = drops.known([week.clicks for week in weeks])
            if drops.has_dropped(day.clicks, clicks):
                yield campaign_id, self._of_day("clicks_dropped", n=day.clicks, low=min(clicks), high=max(clicks))
                continue
            if worked_out < SUSPECTS_MAX and drops.rate_has_dropped(day.ctr, [week.ctr for week in weeks]):
                worked_out += 1
                rate, *before = (self._ctr(campaign_id, run) for run in self.runs)
                if drops.rate_has_dropped(rate, before):
                    yield campaign_id, self._of_rate("ctr_dropped", rate, before)
            # Where sales stay what they were and clicks grew, those have not had the time to convert.
            fewer = day.conversions < min(drops.known([week.conversions for week in weeks]), default=0)
            before = [week.conversion_rate for week in weeks]
            if fewer and drops.rate_has_dropped(day.conversion_rate, before):
                yield campaign_id, self._of_rate("conversion_rate_dropped", day.conversion_rate, before)

    def _first_two(self, campaign_id: int) -> tuple[_Came, _Came]:
        return self.came.get((campaign_id, 1), NOTHING), self.came.get((campaign_id, 2), NOTHING)

    def _may_have_dropped(self, day: _Came, week_ago: _Came) -> bool:
        """By yesterday and a week before alone; the other weeks can only clear a campaign."""
        rates = ((day.ctr, week_ago.ctr), (day.conversion_rate, week_ago.conversion_rate))
        fell = any(drops.may_have_fallen(rate, before) for rate, before in rates)
        return fell or drops.may_have_dropped(day.clicks, week_ago.clicks)

    def _ctr(self, campaign_id: int, run: Run) -> Rate:
        """As reports have it: over links that have impressions."""
        return metrics.totals(self.store.totals(campaign_id, *run), {}).ctr

    def _of_day(self, what: str, **facts: Any) -> Happened:
        return Happened(what, facts={"day": self.weekdays[0], "weeks": drops.WEEKS} | facts)

    def _of_rate(self, what: str, rate: Rate, before: Iterable[Rate]) -> Happened:
        with_trials = [each for each in before if each.trials]
        together = Rate(sum(each.hits for each in with_trials), sum(each.trials for each in with_trials))
        return self._of_day(what, rate=rate, before=together)
