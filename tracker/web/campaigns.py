"""The list of campaigns and the page of one: what happened, where it breaks, when, which link, and what is left out."""

from __future__ import annotations

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from tracker import campaigns, days
from tracker.extensions import db
from tracker.models import Workspace
from tracker.reports import campaign as campaign_report
from tracker.services import services
from tracker.web import exports, reportpage, responses, summaries
from tracker.web.access import PAGE_SIZE, id_from_query, signed_in
from tracker.web.kept import until_changed

pages = Blueprint("campaigns", __name__)
responses.add_not_found(pages)


@pages.get("/campaigns")
@signed_in
@until_changed
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
@until_changed
def report(workspace: Workspace, slug: str) -> ResponseReturnValue:
    campaign = campaigns.find(db.session(), workspace, slug)
    shown = reportpage.context(workspace, campaign, request.args, days.now())
    page = render_template("campaigns/report.html", **shown, export=exports.menu(slug, shown["choice"].query()))
    return page, 422 if shown["choice"].errors or shown["refused"] else 200
