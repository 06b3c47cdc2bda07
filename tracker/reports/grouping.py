"""A report's groups: links by a field of theirs, hits by what is known of them."""

from __future__ import annotations

from dataclasses import dataclass

from tracker.events import Kind
from tracker.models import Link
from tracker.reports import metrics
from tracker.reports.facts import NO_LINK, Facts
from tracker.reports.filters import DIMENSIONS, LINK_FIELDS
from tracker.stores import Cell, Part

NOTHING = metrics.Sales()


@dataclass(frozen=True, slots=True)
class Group:
    """The metrics of the links, or of the hits, that share one value; `key` is None for those without one.

    `links` is empty where hits are grouped.
    """

    key: str | None
    totals: metrics.Totals
    links: list[Link]


def by_field(links: list[Link], facts: Facts, name: str) -> list[Group]:
    """Links by their key, the busiest group first. Conversions of no link are with those that have no value."""
    key_of, of_link = LINK_FIELDS[name], name == "link"
    grouped: dict[str | None, list[Link]] = {}
    for link in links:
        grouped.setdefault(key_of(link), []).append(link)
    if facts.sales.get(NO_LINK, NOTHING).conversions:
        grouped.setdefault(None, [])
    # By link, once for all groups: there may be as many groups as links.
    cells: dict[int, list[Cell]] = {}
    for cell in facts.cells:
        cells.setdefault(cell.link_id, []).append(cell)
    groups = []
    for key, members in grouped.items():
        own = (cell for link in members for cell in cells.get(link.id, ()))
        ids = [link.id for link in members] + ([NO_LINK] if key is None else [])
        sales = {link_id: facts.sales[link_id] for link_id in ids if link_id in facts.sales}
        groups.append(Group(key, metrics.totals(own, sales, of_link=of_link), members))
    return _by_traffic(groups)


def by_dimension(facts: Facts, totals: metrics.Totals, name: str) -> list[Group]:
    """Hits by a value of theirs. Those without one make the last group, so that all groups add up to the totals."""
    parts, sales = facts.parts[DIMENSIONS[name]], facts.sales_of[DIMENSIONS[name]]
    comparable = totals.ctr.hits == totals.clicks
    by_value: dict[str, list[Part]] = {value: [] for value in sales if value is not None}
    for part in parts:
        by_value.setdefault(part.value, []).append(part)
    groups = [
        Group(value, metrics.of_parts(members, sales.get(value, metrics.Sales()), comparable=comparable), [])
        for value, members in by_value.items()
    ]
    left = _left(totals, groups)
    groups = _by_traffic(groups)
    if None in sales or any(part.n for part in left):
        rest = metrics.of_parts(left, sales.get(None, metrics.Sales()), comparable=comparable)
        groups.append(Group(None, rest, []))
    return groups


def _left(totals: metrics.Totals, groups: list[Group]) -> list[Part]:
    """The hits of the totals that are in no group. Never fewer than none: totals were read a moment before."""

    def rest(name: str) -> int:
        grouped: int = sum(getattr(group.totals, name) for group in groups)
        return max(int(getattr(totals, name)) - grouped, 0)

    return [
        Part("", int(Kind.IMPRESSION), rest("impressions"), 0),
        Part("", int(Kind.CLICK), rest("clicks"), rest("unique_clicks")),
    ]


def _by_traffic(groups: list[Group]) -> list[Group]:
    return sorted(groups, key=lambda group: (-group.totals.clicks, -group.totals.impressions, group.key or ""))
