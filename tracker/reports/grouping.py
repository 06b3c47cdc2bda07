"""A report's groups: links by a field of theirs, hits by what is known of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar, overload

from tracker.events import Kind
from tracker.models import Link
from tracker.reports import metrics
from tracker.reports.facts import NO_LINK, Facts
from tracker.reports.filters import DIMENSIONS, LINK_FIELDS
from tracker.stores import Cell

T = TypeVar("T")
NOTHING = metrics.Sales()
Hits = tuple[int, int, int]  # impressions, clicks and unique clicks


@dataclass(frozen=True, slots=True)
class Group:
    """The metrics of the links, or of the hits, that share one value; `key` is None for those without one.

    `links` is empty where hits are grouped.
    """

    key: str | None
    totals: metrics.Totals
    links: list[Link]


class Later(Mapping[str, T]):
    """What there is by each name, put together when it is asked for: a page shows a few of a report's groups."""

    def __init__(self, names: Iterable[str], make: Callable[[str], T]) -> None:
        self._names, self._make, self._made = tuple(names), make, dict[str, T]()

    def __getitem__(self, name: str) -> T:
        if name not in self._names:
            raise KeyError(name)
        if name not in self._made:
            self._made[name] = self._make(name)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


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


class HitGroups(Sequence[Group]):
    """Hits by a value of theirs, the busiest first, those without a value last: each put together when it is asked for.

    A dimension may have hundreds of values, of which a page shows ten.
    """

    def __init__(self, hits: Sequence[tuple[str | None, Hits, metrics.Sales]], *, comparable: bool) -> None:
        self._hits, self._comparable = hits, comparable

    def __len__(self) -> int:
        return len(self._hits)

    @overload
    def __getitem__(self, at: int) -> Group: ...
    @overload
    def __getitem__(self, at: slice) -> list[Group]: ...
    def __getitem__(self, at: int | slice) -> Group | list[Group]:
        if isinstance(at, slice):
            return [self._group(*of) for of in self._hits[at]]
        return self._group(*self._hits[at])

    def _group(self, key: str | None, hits: Hits, sales: metrics.Sales) -> Group:
        return Group(key, metrics.of_hits(*hits, sales, comparable=self._comparable), [])


def by_dimension(facts: Facts, totals: metrics.Totals, name: str) -> HitGroups:
    """Hits by a value of theirs. Those without one make the last group, so that all groups add up to the totals."""
    parts, sales = facts.parts[DIMENSIONS[name]], facts.sales_of[DIMENSIONS[name]]
    sums: dict[str, list[int]] = {value: [0, 0, 0] for value in sales if value is not None}
    for value, kind, n, unique_n in parts:
        three = sums.setdefault(value, [0, 0, 0])
        if kind == Kind.IMPRESSION:
            three[0] += n
        elif kind == Kind.CLICK:
            three[1] += n
            three[2] += unique_n
    hits: list[tuple[str | None, Hits, metrics.Sales]] = [
        (value, (seen, clicked, unique), sales.get(value, NOTHING)) for value, (seen, clicked, unique) in sums.items()
    ]
    hits.sort(key=lambda of: (-of[1][1], -of[1][0], of[0]))
    left = _left(totals, [of for _, of, _ in hits])
    if None in sales or any(left):
        hits.append((None, left, sales.get(None, NOTHING)))
    return HitGroups(hits, comparable=totals.ctr.hits == totals.clicks)


def _left(totals: metrics.Totals, grouped: Iterable[Hits]) -> Hits:
    """The hits of the totals that are in no group. Never fewer than none: totals were read a moment before."""
    seen, clicked, unique = (sum(column) for column in zip((0, 0, 0), *grouped, strict=True))
    return (
        max(totals.impressions - seen, 0),
        max(totals.clicks - clicked, 0),
        max(totals.unique_clicks - unique, 0),
    )


def _by_traffic(groups: list[Group]) -> list[Group]:
    return sorted(groups, key=lambda group: (-group.totals.clicks, -group.totals.impressions, group.key or ""))
