"""The overview: all campaigns at a glance, what of them needs attention, and what to do next where there are none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from tracker import campaigns, days
from tracker.extensions import db
from tracker.models import Campaign, Workspace
from tracker.reports import campaign as campaign_report
from tracker.reports import overview as overview_report
from tracker.reports.overview import Line
from tracker.services import services
from tracker.web import changes, charts, periods, responses
from tracker.web.access import signed_in
from tracker.web.changes import Change
from tracker.web.kept import until_changed

pages = Blueprint("dashboard", __name__)
responses.add_not_found(pages)

ROWS = 25  # a page
LOOKED_AT_MAX = 20  # campaigns, for whether anything happened before today
ASKED = ("q", "sort", "order")


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table: its figures, how they changed, and its clicks by day as the points of a small line."""

    line: Line
    changes: Mapping[str, Change | None]
    spark: str

    @property
    def campaign(self) -> Campaign | None:
        return self.line.campaign


@dataclass(frozen=True, slots=True)
class Order:
    """How the table is sorted."""

    sort: str
    descending: bool

    def toggled(self, name: str) -> dict[str, str]:
        """What the query says to sort by a column: numbers from the highest, and the other way round the next time."""
        first = name == overview_report.NAME
        descending = not self.descending if name == self.sort else not first
        return {"sort": name, "order": "desc" if descending else "asc"}

    def aria(self, name: str) -> str | None:
        return None if name != self.sort else "descending" if self.descending else "ascending"


@pages.get("/")
@signed_in
@until_changed
def overview(workspace: Workspace) -> ResponseReturnValue:
    now, store, session = days.now(), services().store, db.session()
    oldest = campaigns.oldest(session, workspace, LOOKED_AT_MAX)
    began_today = bool(oldest) and all(campaign_report.began_today(store, each, workspace, now) for each in oldest)
    order = _order(request.args)
    sought = request.args.get("q", "").strip()[: overview_report.SEARCH_MAX]
    kept = {name: request.args[name] for name in ASKED if request.args.get(name)}
    choice = periods.choose(workspace, request.args, now, began_today=began_today, kept=kept)
    found = overview_report.build(
        session,
        store,
        workspace,
        choice.period,
        choice.comparison,
        sought=sought,
        sort=order.sort,
        descending=order.descending,
    )
    pages_n = max(-(-len(found.lines) // ROWS), 1)
    page = _page(request.args.get("page", ""), pages_n)
    shown = found.lines[(page - 1) * ROWS : page * ROWS]
    listed = [line.campaign for line in shown if line.campaign]
    clicks = overview_report.clicks_by_day(store, listed, choice.period, ZoneInfo(workspace.timezone))
    html = render_template(
        "dashboard/overview.html",
        found=found,
        all=row(found.all, []),
        rows=[row(line, clicks.get(line.campaign.id, []) if line.campaign else []) for line in shown],
        choice=choice,
        order=order,
        sought=sought,
        page=page,
        pages_n=pages_n,
        has_campaigns=bool(oldest),
        needs=services().needs(session, workspace, now),
        lag_s=services().lag_s(days.to_ms(now)),
    )
    return html, 422 if choice.errors else 200


def _order(args: Mapping[str, str]) -> Order:
    sort = args.get("sort", "")
    sort = sort if sort in overview_report.SORTED_BY else "clicks"
    order = args.get("order", "")
    return Order(sort, order == "desc" if order in ("asc", "desc") else sort != overview_report.NAME)


def _page(text: str, last: int) -> int:
    """A page's number within what there is; whatever is none is the first."""
    return min(max(int(text), 1), last) if text.isascii() and text.isdecimal() and len(text) < 6 else 1


def row(line: Line, clicks: list[int]) -> Row:
    """A line with what the table says of it beside its figures; `clicks` by day."""
    now, before = line.totals, line.before
    found: dict[str, Change | None] = {}
    if before is not None and (before.impressions or before.clicks or before.conversions):
        found = {
            name: changes.of_count(getattr(now, name), getattr(before, name))
            for name in ("impressions", "clicks", "conversions")
        }
        for name, change in line.changes.items():
            shortly = changes.of_rate_shortly(change)
            in_full = changes.of_rate(change, getattr(now, name), getattr(before, name))
            found[name] = shortly if line.campaign else in_full
        found |= changes.of_finances(now, before)
        found |= {money.currency: changes.of_money(money, before.revenue) for money in now.revenue}
    return Row(line, found, charts.sparkline(clicks))
