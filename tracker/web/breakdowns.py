"""A campaign's hits by what is known of them, as tables, and the filters that a page is cut down by, as chips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tracker.reports.campaign import CampaignReport
from tracker.reports.filters import DIMENSIONS, LINK_FIELDS, NONE, Filters
from tracker.reports.grouping import Group
from tracker.web import formats, words

ROWS_SHOWN = 10
ROWS_MAX = 100
ALL = "all"
FIELDS = tuple(LINK_FIELDS)
BAR = 100  # units of the widest


@dataclass(frozen=True, slots=True)
class Row:
    """One value: what it is called, its code where that says more, and what the page's query has to say to filter.

    `bar` is how its clicks compare with those of the busiest, which has BAR.
    """

    text: str
    code: str | None
    wanted: str
    group: Group
    bar: int


@dataclass(frozen=True, slots=True)
class Breakdown:
    """A table by one dimension: the busiest values; `left` more are not shown, `values` there are in all.

    `has_ctr`: whether there is a click-through rate by these values.
    """

    name: str
    title: str
    first: str
    rows: list[Row]
    values: int
    has_ctr: bool

    @property
    def left(self) -> int:
        return self.values - len(self.rows)


@dataclass(frozen=True, slots=True)
class Chip:
    """A filter in force: what it says, and its name in the query, to take it out."""

    name: str
    title: str
    text: str


def whole(args: Mapping[str, str]) -> str | None:
    """What the page is to show all groups by, where it is asked for that; there is no room for the others then."""
    asked = args.get(ALL)
    return asked if asked in (*FIELDS, *DIMENSIONS) else None


def tables(report: CampaignReport, only: str | None) -> list[Breakdown]:
    """The report's groups as tables; of the one that is asked for in whole, many more rows.

    Links have a table of their own, and a field that none of them has says nothing.
    """
    shown = ROWS_MAX if only else ROWS_SHOWN
    all_seen = report.totals.ctr.hits == report.totals.clicks
    return [
        _table(name, groups, shown, name in LINK_FIELDS or all_seen)
        for name, groups in report.groups.items()
        if name != "link" and (name in DIMENSIONS or only or any(group.key is not None for group in groups))
    ]


def _table(name: str, groups: Sequence[Group], shown: int, has_ctr: bool) -> Breakdown:
    """The busiest stand first; hits without a value stand last, links without one anywhere."""
    known = [group for group in groups[: shown + 1] if group.key is not None][:shown]
    unknown = [group for group in (groups[-1:] if name in DIMENSIONS else groups) if group.key is None]
    top = max((group.totals.clicks for group in (*known[:1], *unknown)), default=0)
    rows = [_row(name, group, top) for group in (*known, *unknown)]
    title, first = words.DIMENSIONS.get(name) or (words.FIELD_TITLES[name], words.FIELDS[name])
    return Breakdown(name, title, first, rows, len(groups), has_ctr)


def _row(name: str, group: Group, top: int) -> Row:
    text = formats.value(name, group.key)
    code = group.key if name in ("country", "language") and text != group.key else None
    wanted = NONE if group.key is None else group.key
    return Row(text, code, wanted, group, round(group.totals.clicks * BAR / top) if top else 0)


def chips(filters: Filters) -> list[Chip]:
    return [
        Chip(name, words.FIELDS[name] if name in LINK_FIELDS else words.DIMENSIONS[name][1], formats.value(name, key))
        for name, value in filters.given.items()
        for key in (None if value == NONE else value,)
    ]
