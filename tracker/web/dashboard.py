"""The overview: the campaigns at a glance, and what to do next where there are none."""

from __future__ import annotations

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from tracker import campaigns, days
from tracker.extensions import db
from tracker.models import Workspace
from tracker.reports import campaign as campaign_report
from tracker.services import services
from tracker.web import summaries
from tracker.web.access import signed_in

pages = Blueprint("dashboard", __name__)

SHOWN_MAX = 12


@pages.get("/")
@signed_in
def overview(workspace: Workspace) -> ResponseReturnValue:
    found = campaigns.listed(db.session(), workspace, before_id=None, limit=SHOWN_MAX + 1)
    now = days.now()
    return render_template(
        "dashboard/overview.html",
        rows=summaries.rows(db.session(), services().store, workspace, found[:SHOWN_MAX], now),
        period=campaign_report.default_period(workspace, now),
        has_more=len(found) > SHOWN_MAX,
        needs=services().needs(db.session(), workspace, now),
        has_campaigns=bool(found),
    )
