"""The inbox of conversions: what was reported, what became of each report and why, and the conversions themselves."""

from __future__ import annotations

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from tracker import conversions
from tracker.extensions import db
from tracker.models import Workspace
from tracker.web.access import PAGE_SIZE, id_from_query, signed_in

pages = Blueprint("conversions", __name__)


@pages.get("/conversions")
@signed_in
def inbox(workspace: Workspace) -> ResponseReturnValue:
    session, size = db.session(), PAGE_SIZE + 1
    reports = conversions.recent_reports(session, workspace, before_id=id_from_query("reports_before"), limit=size)
    known = conversions.recent(session, workspace, before_id=id_from_query("before"), limit=size)
    return render_template(
        "conversions/inbox.html",
        reports=reports[:PAGE_SIZE],
        reports_before=reports[PAGE_SIZE - 1].id if len(reports) > PAGE_SIZE else None,
        conversions=known[:PAGE_SIZE],
        before=known[PAGE_SIZE - 1].id if len(known) > PAGE_SIZE else None,
        unmatched=conversions.unmatched_count(session, workspace),
    )
