"""The planner: how many people an experiment takes, before it starts."""

from __future__ import annotations

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from tracker import campaigns, days
from tracker.errors import Invalid
from tracker.extensions import db
from tracker.models import Workspace
from tracker.reports import planner
from tracker.reports.experiment import METRICS, VARIANTS_MAX
from tracker.reports.planner import Plan
from tracker.services import services
from tracker.web import responses, trialwords
from tracker.web.access import PAGE_SIZE, signed_in

pages = Blueprint("planner", __name__)
responses.add_not_found(pages)


@pages.get("/planner")
@signed_in
def show(workspace: Workspace) -> ResponseReturnValue:
    """Every field is in the address; what a chosen campaign knows fills those that are empty."""
    session, slug = db.session(), request.args.get("campaign") or None
    metric = request.args["metric"] if request.args.get("metric") in METRICS else METRICS[-1]
    known: dict[str, str] = {}
    if slug:
        campaign = campaigns.find(session, workspace, slug)
        known = planner.of_campaign(session, services().store, workspace, campaign, metric, days.now())
    typed = planner.DEFAULTS | known | {name: value for name, value in request.args.items() if value}
    plan: Plan | None = None
    errors: dict[str, str] = {}
    if typed.get("baseline"):
        try:
            plan = planner.plan(typed)
        except Invalid as refusal:
            errors = dict(refusal.errors)
    page = render_template(
        "variants/planner.html",
        typed=typed,
        plan=plan,
        errors=errors,
        metric=metric,
        metrics=trialwords.METRICS,
        slug=slug,
        is_known="baseline" in known,
        campaigns=campaigns.listed(session, workspace, before_id=None, limit=PAGE_SIZE),
        variants_max=VARIANTS_MAX,
        long_weeks=planner.LONG_DAYS // 7,
    )
    return page, 422 if errors else 200
