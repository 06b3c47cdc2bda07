"""Links of a campaign as an experiment: which of them differ in one thing only, and which of these does better.

Rates are of people. Click-through is unique clicks on the link over impressions; conversion is unique clicks that led
to any conversion over unique clicks: a visitor's second click that day and a click's second order are in neither.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Select, bindparam, func, select
from sqlalchemy.orm import Session

from tracker import changelog, days
from tracker.days import BUCKET_MS, Span
from tracker.errors import Invalid
from tracker.events import Verdict
from tracker.extensions import in_given
from tracker.links import by_ids
from tracker.models import Campaign, Link, Workspace
from tracker.reports import trial
from tracker.reports.campaign import DAYS_MAX, Period
from tracker.reports.comparable import FIELDS, Found, Near, asked_for, differing_in_one, has_traffic, near, size
from tracker.reports.facts import Facts, gather
from tracker.reports.grouping import Group, by_field
from tracker.reports.metrics import Rate
from tracker.reports.trial import SampleRatio, Trial
from tracker.salesums import COUNTS, WITHIN, conversions
from tracker.stores import ALL, EventStore

LINKS_MAX = 200  # the busiest links of a campaign that are looked at
VARIANTS_MAX = 8  # of one comparison
COMPARISONS_MAX = 8
CHOICES_MAX = 24  # links to choose from
# How many of the links' conversions are of different clicks is counted up to here; of more, told by the newest.
CONVERSIONS_READ_MAX, CONVERSIONS_SAMPLED = 2_000, 500
METRICS = ("ctr", "conversion_rate")


@dataclass(frozen=True, slots=True)
class Variant:
    """The links with one value, mostly one, and what people did on them. `key` is that value, None for those without.

    `orders` are conversions; `converted` the unique clicks that led to any, an estimate where `is_estimated`.
    """

    key: str | None
    links: list[Link]
    impressions: int
    unique_clicks: int
    orders: int
    converted: int
    is_estimated: bool
    ctr: Rate

    @property
    def conversion_rate(self) -> Rate:
        return Rate(self.converted, self.unique_clicks)

    @property
    def since(self) -> datetime:
        return min(link.created_at for link in self.links)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Variants beside each other. `differs` names the fields they differ in, `same` the values of the others.

    `control` is the place of the variant that others are held against. `left` more variants had too little traffic to
    be among them. `moved` holds the links that were led elsewhere within these days, by their codes, and on which day
    the last time: their rates are of more than one page. `begins` is the local day since when all of them exist;
    `is_whole`: the period holds all days since, so that its beginning was not moved while looking; `is_uneven`: it
    also holds days before, when some did not.
    """

    differs: tuple[str, ...]
    same: Mapping[str, str | None]
    variants: list[Variant]
    control: int
    trials: Mapping[str, Trial | None]
    begins: date
    is_whole: bool
    is_uneven: bool
    left: int = 0
    ratio: SampleRatio | None = None
    moved: Mapping[str, date] = field(default_factory=dict)

    @property
    def by(self) -> str:
        """`impressions` where all have some, else `unique_clicks`: what a split of the traffic is checked by."""
        return "impressions" if all(variant.impressions for variant in self.variants) else "unique_clicks"

    @property
    def main(self) -> str | None:
        """The metric that says more: clicks come before conversions. None where no metric has two proportions."""
        return next((metric for metric in METRICS if self.trials[metric]), None)


@dataclass(frozen=True, slots=True)
class Experiment:
    """All comparisons, the busiest first; `left` more are not shown. `links` are the busiest, to choose from."""

    comparisons: list[Comparison]
    near: list[Near]
    left: int
    links: list[Link]


@dataclass(frozen=True, slots=True)
class Days:
    """The days compared, in their zone."""

    first: date
    last: date
    zone: ZoneInfo

    def day_of(self, at: datetime) -> date:
        return at.astimezone(self.zone).date()


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for: these links by their codes and nothing else, another control, the split that was meant."""

    links: tuple[str, ...] = ()
    control: str | None = None
    split: tuple[float, ...] = ()


NOTHING_ASKED = Wish()


def read(
    session: Session,
    store: EventStore,
    campaign: Campaign,
    spans: Sequence[Span],
    shown: Days,
    wish: Wish = NOTHING_ASKED,
) -> Experiment:
    """Reads what the comparisons need, and compares. Raises Invalid where what is wished for cannot be."""
    facts = gather(session, store, campaign.id, spans, selection=ALL)
    links = _busiest(session, facts)
    if wish.links:
        chosen = _chosen(session, campaign, facts.links, wish.links)
        links = list({link.id: link for link in (*chosen, *links)}.values())
    return compare(session, campaign, by_field(links, facts, "link"), spans, shown, wish)


def compare(
    session: Session,
    campaign: Campaign,
    groups: Iterable[Group],
    spans: Sequence[Span],
    shown: Days,
    wish: Wish = NOTHING_ASKED,
) -> Experiment:
    """The same from a report's groups by link, the busiest first; of conversions it still reads who made them."""
    of_links = [group for group in groups if group.links]
    busiest = [group for group in of_links if has_traffic(group)][:LINKS_MAX]
    found = asked_for(of_links, wish.links) if wish.links else differing_in_one(busiest)
    kept = sorted(found, key=lambda each: -each.traffic)[:COMPARISONS_MAX]
    _check(kept, wish)
    people, moved = _People(session, campaign.id, spans, kept), _moved(session, spans, kept)
    return Experiment(
        comparisons=[_comparison(each, people, moved, shown, wish) for each in kept],
        near=[] if wish.links else near(busiest, found),
        left=len(found) - len(kept),
        links=[group.links[0] for group in busiest[:CHOICES_MAX]],
    )


def whole_period(store: EventStore, campaign: Campaign, workspace: Workspace, now: datetime) -> Period:
    """All days since anything happened in a campaign, today with them; as many of the newest as a report can have."""
    zone = ZoneInfo(workspace.timezone)
    today, first = days.today(zone, now), store.first_bucket(campaign.id)
    began = today if first is None else days.from_ms(first * BUCKET_MS).astimezone(zone).date()
    return Period(max(min(began, today), today - timedelta(days=DAYS_MAX - 1)), today)


def read_split(typed: str) -> tuple[float, ...]:
    """The shares of a split from a text like `50, 50` or `2:1`. Raises Invalid."""
    try:
        shares = tuple(float(part) for part in typed.replace(":", ",").replace("/", ",").split(",")) if typed else ()
    except ValueError:
        shares = (0.0,)
    if any(not 0 < share <= 10**6 for share in shares):
        raise Invalid({"split": "A split is written like 50, 50 or 2:1, with a number above 0 for each variant."})
    return shares


# What is read.


def _busiest(session: Session, facts: Facts) -> list[Link]:
    """Links that anything happened on, the campaign's own or not by now: LINKS_MAX of them."""
    traffic = Counter[int]()
    for cell in facts.cells:
        if cell.verdict == Verdict.COUNTED:
            traffic[cell.link_id] += cell.n
    ids = [link_id for link_id, _ in traffic.most_common(LINKS_MAX)]
    return list(by_ids(session, ids).values())


def _chosen(session: Session, campaign: Campaign, seen: set[int], codes: Sequence[str]) -> list[Link]:
    """The campaign's links with these codes. Raises Invalid, naming what is none."""
    if not 2 <= len(set(codes)) == len(codes) <= VARIANTS_MAX:
        raise Invalid({"links": f"Choose from 2 to {VARIANTS_MAX} different links."})
    query = select(Link).where(Link.workspace_id == campaign.workspace_id, Link.code.in_(codes))
    found = [link for link in session.scalars(query) if link.campaign_id == campaign.id or link.id in seen]
    if missing := set(codes) - {link.code for link in found}:
        raise Invalid({"links": f"This campaign has no link “{min(missing)}”."})
    return found


def _check(kept: Sequence[Found], wish: Wish) -> None:
    """Raises Invalid where a control or a split fits no comparison."""
    errors = {}
    codes = {group.links[0].code for each in kept for group in _groups(each)}
    if wish.control is not None and wish.control not in codes:
        errors["control"] = f"“{wish.control}” is not among the links compared."
    sizes = {min(len(each.variants), VARIANTS_MAX) for each in kept}
    if wish.split and len(wish.split) not in sizes:
        errors["split"] = "A split has one number for each variant."
    if errors:
        raise Invalid(errors)


# What is known of them.


class _People:
    """How many unique clicks of a link led to a conversion, told by the newest conversions of all links compared."""

    def __init__(self, session: Session, campaign_id: int, spans: Sequence[Span], kept: Sequence[Found]) -> None:
        own = {group.links[0].id: group.totals.conversions for each in kept for group in _groups(each)}
        limit = CONVERSIONS_SAMPLED if sum(own.values()) > CONVERSIONS_READ_MAX else CONVERSIONS_READ_MAX
        given: dict[str, Any] = {"start_ms": spans[0].start * BUCKET_MS, "end_ms": spans[-1].end * BUCKET_MS}
        given |= {"campaign": campaign_id, "links": sorted(own)}
        found = session.execute(_newest(limit), given).all() if own else ()
        self._read = {link_id: (n, clicks) for link_id, n, clicks in found}

    def of(self, found: Found) -> tuple[dict[int, int], bool]:
        """By link id, and whether these are estimates: where not all were read, the share of repeats among those read
        is taken for all variants alike. A share of each, from so few, would make differences where there are none.
        """
        groups = _groups(found)
        read = {group.links[0].id: self._read.get(group.links[0].id, (0, 0)) for group in groups}
        estimated = any(read[group.links[0].id][0] < group.totals.conversions for group in groups)
        n, clicks = (sum(each[index] for each in read.values()) for index in (0, 1))
        share = clicks / n if n else 1.0
        converted = {}
        for group in groups:
            link_id, totals = group.links[0].id, group.totals
            people = round(totals.conversions * share) if estimated else read[link_id][1]
            converted[link_id] = min(people, totals.unique_clicks)
        return converted, estimated


@cache
def _newest(limit: int) -> Select[Any]:
    """By link: how many of the newest conversions, and of how many clicks they are. Put together once."""
    newest = (
        select(conversions.c.link_id, conversions.c.click_id)
        .where(
            conversions.c.campaign_id == bindparam("campaign"),
            conversions.c.click_at_ms >= bindparam("start_ms"),
            conversions.c.click_at_ms < bindparam("end_ms"),
            in_given(conversions.c.link_id, "links"),
            COUNTS,
            WITHIN,
        )
        .order_by(conversions.c.click_at_ms.desc())
        .limit(limit)
        .subquery()
    )
    query = select(newest.c.link_id, func.count(), func.count(newest.c.click_id.distinct()))
    return query.group_by(newest.c.link_id)


def _groups(found: Found) -> list[Group]:
    return [group for members in found.variants.values() for group in members]


def _moved(session: Session, spans: Sequence[Span], kept: Sequence[Found]) -> dict[int, datetime]:
    ids = {group.links[0].id for each in kept for group in _groups(each)}
    since_ms, until_ms = spans[0].start * BUCKET_MS, spans[-1].end * BUCKET_MS
    return changelog.destinations_changed(session, ids, since_ms, until_ms) if ids else {}


def _comparison(found: Found, people: _People, moved: Mapping[int, datetime], shown: Days, wish: Wish) -> Comparison:
    by_traffic = sorted(found.variants.items(), key=lambda item: -size(item[1]))[:VARIANTS_MAX]
    converted, estimated = people.of(found)
    variants = [_variant(key, groups, converted, estimated) for key, groups in by_traffic]
    if wish.links:
        variants.sort(key=lambda variant: wish.links.index(str(variant.key)))
    else:
        variants.sort(key=lambda variant: (variant.since, variant.links[0].id))
    first = variants[0].links[0]
    begins = shown.day_of(max(variant.since for variant in variants))
    comparison = Comparison(
        differs=found.differs,
        same={name: value(first) for name, value in FIELDS.items() if name not in found.differs},
        variants=variants,
        control=_control(variants, wish.control),
        trials={metric: trial.run([getattr(variant, metric) for variant in variants]) for metric in METRICS},
        begins=begins,
        is_whole=shown.first <= begins,
        is_uneven=shown.first < begins and shown.day_of(min(variant.since for variant in variants)) < begins,
        left=len(found.variants) - len(variants),
        moved={
            link.code: shown.day_of(moved[link.id])
            for variant in variants
            for link in variant.links
            if link.id in moved
        },
    )
    if len(wish.split) != len(variants):
        return comparison
    observed = [getattr(variant, comparison.by) for variant in variants]
    return replace(comparison, ratio=trial.sample_ratio(observed, wish.split))


def _variant(key: str | None, groups: Sequence[Group], converted: Mapping[int, int], estimated: bool) -> Variant:
    seen = [group.totals for group in groups if group.totals.impressions]
    return Variant(
        key=key,
        links=[group.links[0] for group in groups],
        impressions=sum(group.totals.impressions for group in groups),
        unique_clicks=sum(group.totals.unique_clicks for group in groups),
        orders=sum(group.totals.conversions for group in groups),
        converted=sum(converted[group.links[0].id] for group in groups),
        is_estimated=estimated,
        ctr=Rate(sum(totals.unique_clicks for totals in seen), sum(totals.impressions for totals in seen)),
    )


def _control(variants: Sequence[Variant], code: str | None) -> int:
    """The place of the variant that has this link, else of the oldest one."""
    for place, variant in enumerate(variants):
        if any(link.code == code for link in variant.links):
            return place
    return min(range(len(variants)), key=lambda place: (variants[place].since, variants[place].links[0].id))
