"""A campaign's hits by what is known of them, as tables, and the filters that a page is cut down by, as chips."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice

from tracker.reports.campaign import CampaignReport
from tracker.reports.filters import DIMENSIONS, LINK_FIELDS, NONE, Filters
from tracker.reports.grouping import Group
from tracker.web import formats, words
from tracker.web.opened import BREAKDOWNS, CARDS, Opened, Tab

ROWS_SHOWN = 10
ROWS_MAX = 100
ALL = "all"
SUGGESTED_MAX = 12
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

    `has_ctr`: whether there is a click-through rate by these values. `tabs`: the tables of the same card.
    """

    name: str
    title: str
    first: str
    rows: list[Row]
    values: int
    has_ctr: bool
    tabs: list[Tab]

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


def tables(report: CampaignReport, only: str | None, opened: Opened) -> list[Breakdown]:
    """The report's groups as tables, of each card the open one; of the one asked for in whole, many more rows.

    Links have a table of their own, and a field that none of them has says nothing.
    """
    if only:
        return [_table(report, only, ROWS_MAX, [])] if only != "link" else []
    found = []
    for card in BREAKDOWNS:
        names = [name for name in CARDS[card] if name in DIMENSIONS or _has_values(report, name)]
        shown = names if opened.is_all else [opened.of(card, names)] if names else []
        found += [_table(report, name, ROWS_SHOWN, opened.tabs(card, names)) for name in shown]
    return found


def _has_values(report: CampaignReport, field: str) -> bool:
    value_of = LINK_FIELDS[field]
    if any(value_of(link) is not None for group in report.groups["link"] for link in group.links):
        return True
    # What was spent on a source is shown with it, though no link has it.
    return field == "source" and any(group.key is not None for group in report.groups[field])


def _table(report: CampaignReport, name: str, shown: int, tabs: list[Tab]) -> Breakdown:
    """The busiest stand first; hits without a value stand last, links without one anywhere."""
    groups = report.groups[name]
    known = [group for group in groups[: shown + 1] if group.key is not None][:shown]
    unknown = [group for group in (groups[-1:] if name in DIMENSIONS else groups) if group.key is None]
    top = max((group.totals.clicks for group in (*known[:1], *unknown)), default=0)
    rows = [_row(name, group, top) for group in (*known, *unknown)]
    title, first = words.DIMENSIONS.get(name) or (words.FIELD_TITLES[name], words.FIELDS[name])
    has_ctr = name in LINK_FIELDS or report.totals.ctr.hits == report.totals.clicks
    return Breakdown(name, title, first, rows, len(groups), has_ctr, tabs)


def _row(name: str, group: Group, top: int) -> Row:
    text = formats.value(name, group.key)
    code = group.key if name in ("country", "language") and text != group.key else None
    wanted = NONE if group.key is None else group.key
    return Row(text, code, wanted, group, round(group.totals.clicks * BAR / top) if top else 0)


def suggested(report: CampaignReport) -> dict[str, list[tuple[str, str]]]:
    """What may be typed into a filter, and what that is called, the busiest first: by the names of the filters.

    Of what hits are not grouped by nothing is known here; a script asks for all of it when the form is opened.
    """
    found: dict[str, list[str | None]] = {
        name: [group.key for group in report.groups[name][:SUGGESTED_MAX]]
        for name in report.groups
        if name in DIMENSIONS
    }
    links = [link for group in report.groups.get("link", ()) for link in group.links]
    for name, value_of in LINK_FIELDS.items() if links else ():
        found[name] = list(islice(dict.fromkeys(map(value_of, links)), SUGGESTED_MAX))
    return {
        name: [(NONE if key is None else key, formats.value(name, key)) for key in keys]
        for name, keys in found.items()
        if keys
    }


def chips(filters: Filters) -> list[Chip]:
    return [
        Chip(name, words.FIELDS[name] if name in LINK_FIELDS else words.DIMENSIONS[name][1], formats.value(name, key))
        for name, value in filters.given.items()
        for key in (None if value == NONE else value,)
    ]
