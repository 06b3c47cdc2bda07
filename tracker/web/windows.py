"""What can be set of a campaign: its name, its budget, and how long after a click or a view a conversion is its own."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Blueprint, flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from tracker import campaigns, days
from tracker.errors import Invalid
from tracker.extensions import db
from tracker.models import Campaign, Workspace
from tracker.reports import budgetuse
from tracker.services import services
from tracker.web import responses
from tracker.web.access import signed_in
from tracker.web.forms import CampaignForm

pages = Blueprint("windows", __name__)
responses.add_not_found(pages)


@pages.get("/campaigns/<slug>/settings")
@signed_in
def show(workspace: Workspace, slug: str) -> ResponseReturnValue:
    campaign = campaigns.find(db.session(), workspace, slug)
    form = CampaignForm(formdata=None)
    form.show(campaign, workspace.currency)
    return _page(workspace, campaign, form)


@pages.post("/campaigns/<slug>/settings")
@signed_in
def save(workspace: Workspace, slug: str) -> ResponseReturnValue:
    campaign = campaigns.find(db.session(), workspace, slug)
    form = CampaignForm()
    try:
        campaigns.edit(db.session(), campaign, **form.values())
    except Invalid as refusal:
        return _page(workspace, campaign, form, refusal.errors), refusal.status
    flash("The campaign is saved.")
    return redirect(url_for("campaigns.report", slug=slug), code=303)


def _page(workspace: Workspace, campaign: Campaign, form: CampaignForm, errors: Mapping[str, str] | None = None) -> str:
    return render_template(
        "campaigns/settings.html",
        campaign=campaign,
        form=form,
        errors=errors or {},
        used=budgetuse.used(db.session(), services().store, workspace, campaign, days.now()),
    )
