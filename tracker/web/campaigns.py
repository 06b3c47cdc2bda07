"""The list of campaigns and the page of one: what happened, where it breaks, when, which link, and what is left out."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from tracker import campaigns, conversions, days
from tracker.extensions import db
from tracker.models import Workspace
from tracker.reports import campaign as campaign_report
from tracker.reports import filtered
from tracker.reports.campaign import CampaignReport, Period
from tracker.services import services
from tracker.web import changes, drawing, periods, responses, summaries
from tracker.web.access import PAGE_SIZE, id_from_query, signed_in

pages = Blueprint("campaigns", __name__)
responses.add_not_found(pages)

GROUPED_BY = ("link", "content")


@pages.get("/campaigns")
@signed_in
def index(workspace: Workspace) -> ResponseReturnValue:
    found = campaigns.listed(db.session(), workspace, before_id=id_from_query("before"), limit=PAGE_SIZE + 1)
    now = days.now()
    return render_template(
        "campaigns/index.html",
        rows=summaries.rows(db.session(), services().store, workspace, found[:PAGE_SIZE], now),
        period=campaign_report.default_period(workspace, now),
        next_before=found[PAGE_SIZE - 1].id if len(found) > PAGE_SIZE else None,
    )


@pages.get("/campaigns/<slug>")
@signed_in
def report(workspace: Workspace, slug: str) -> ResponseReturnValue:
    campaign = campaigns.find(db.session(), workspace, slug)
    now, store = days.now(), services().store
    began_today = campaign_report.began_today(store, campaign, workspace, now)
    choice = periods.choose(workspace, request.args, now, began_today=began_today)
    found = campaign_report.build(
        db.session(),
        store,
        workspace,
        campaign,
        choice.period,
        now=now,
        compare=True,
        group_by=GROUPED_BY,
        interval=choice.interval,
    )
    today = Period(*[days.today(ZoneInfo(workspace.timezone), now)] * 2)
    page = render_template(
        "campaigns/report.html",
        report=found,
        choice=choice,
        today=campaign_report.build(db.session(), store, workspace, campaign, today, now=now).totals
        if choice.shows_today
        else None,
        changes=_changes(found),
        bands=drawing.bands(found),
        groups={name: drawing.groups(members) for name, members in found.groups.items()},
        charts=drawing.charts(found, choice.metric),
        left_out=filtered.build(store, workspace, [campaign.id], choice.period, with_hits=False),
        unmatched=conversions.unmatched_count(db.session(), workspace),
        lag_s=_lag_s(now),
    )
    return page, 422 if choice.errors else 200


def _lag_s(now: datetime) -> float:
    return services().lag_s(days.to_ms(now))


def _changes(report: CampaignReport) -> dict[str, changes.Change | None]:
    """The change of each tile; nothing where there is nothing to compare with."""
    before = report.previous
    if before is None or not (before.impressions or before.clicks or before.conversions):
        return {}
    rates = report.changes or {}
    found: dict[str, changes.Change | None] = {
        name: changes.of_count(getattr(report.totals, name), getattr(before, name))
        for name in ("impressions", "clicks", "conversions")
    }
    found |= {name: changes.of_rate(rates.get(name)) for name in ("ctr", "conversion_rate")}
    return found | {money.currency: changes.of_money(money, before.revenue) for money in report.totals.revenue}
