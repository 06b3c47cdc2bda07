"""Which links of a campaign can be compared: those that differ in one thing only, or that somebody has picked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from tracker.models import Link
from tracker.reports.grouping import Group

NEAR_MAX = 5
NEAR_LINKS_MAX = 40  # the busiest links, whose pairs are looked at
# What variants may differ in, and what must be the same beside it.
COMPARED = ("content", "term", "destination")
FIELDS: dict[str, Callable[[Link], str | None]] = {
    "source": lambda link: link.source,
    "medium": lambda link: link.medium,
    "id": lambda link: link.utm_id,
    "term": lambda link: link.term,
    "content": lambda link: link.content,
    "destination": lambda link: link.destination,
}


@dataclass(frozen=True, slots=True)
class Near:
    """Two links of one source and medium that differ in two things, so that neither is known to have done it."""

    links: tuple[Link, Link]
    differs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """Groups of one link each that are to be compared, by the value they differ in."""

    differs: tuple[str, ...]
    variants: dict[str | None, list[Group]]

    @property
    def traffic(self) -> int:
        return sum(size(members) for members in self.variants.values())


def size(members: Iterable[Group]) -> int:
    return sum(group.totals.impressions + group.totals.clicks for group in members)


def has_traffic(group: Group) -> bool:
    return bool(group.totals.impressions or group.totals.clicks or group.totals.conversions)


def differing_in_one(groups: Sequence[Group]) -> list[Found]:
    """Those whose links are the same in all fields but one."""
    found = []
    for compared in COMPARED:
        alike: dict[tuple[str | None, ...], dict[str | None, list[Group]]] = {}
        for group in groups:
            link = group.links[0]
            same = tuple(read_field(link) for name, read_field in FIELDS.items() if name != compared)
            alike.setdefault(same, {}).setdefault(FIELDS[compared](link), []).append(group)
        found += [
            Found((compared,), variants)
            for variants in alike.values()
            if len(variants) > 1 and not all(group.links[0].archived_at for of in variants.values() for group in of)
        ]
    return found


def asked_for(groups: Sequence[Group], codes: Sequence[str]) -> list[Found]:
    """Links picked by hand, each a variant of its own, in the order they were named in."""
    by_code = {group.links[0].code: group for group in groups}
    chosen: dict[str | None, list[Group]] = {code: [by_code[code]] for code in codes}
    return [Found(differing([members[0].links[0] for members in chosen.values()]), chosen)]


def differing(links: Sequence[Link]) -> tuple[str, ...]:
    """The fields in which these links are not all the same."""
    return tuple(name for name, read_field in FIELDS.items() if len({read_field(link) for link in links}) > 1)


def near(groups: Sequence[Group], found: Sequence[Found]) -> list[Near]:
    """Pairs that would be a comparison if they did not differ in two things; only of links that are in none."""
    compared = {group.links[0].id for each in found for members in each.variants.values() for group in members}
    placements: dict[tuple[str, str], list[Link]] = {}
    for group in groups[:NEAR_LINKS_MAX]:
        link = group.links[0]
        placements.setdefault((link.source, link.medium), []).append(link)
    pairs: list[Near] = []
    for links in placements.values():
        for pair in combinations(links, 2):
            if pair[0].id in compared and pair[1].id in compared:
                continue
            if len(differs := differing(pair)) == 2:
                pairs.append(Near(pair, differs))
                if len(pairs) == NEAR_MAX:
                    return pairs
    return pairs
