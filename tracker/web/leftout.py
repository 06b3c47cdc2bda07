"""What is in no figure: hits left out, with the reason of each, and codes that no link has."""

from __future__ import annotations

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from tracker import campaigns, codes, days, links
from tracker.api.filtered import ORPHAN_DAYS, ORPHANS_MAX, known_orphans
from tracker.extensions import db
from tracker.models import Campaign, Workspace
from tracker.reports import campaign as campaign_report
from tracker.reports import filtered
from tracker.services import services
from tracker.web import periods, responses
from tracker.web.access import signed_in

pages = Blueprint("leftout", __name__)
responses.add_not_found(pages)

LOOKED_AT_MAX = 20  # campaigns, for whether anything happened before today


@pages.get("/filtered")
@signed_in
def of_workspace(workspace: Workspace) -> ResponseReturnValue:
    now, store = days.now(), services().store
    oldest = campaigns.oldest(db.session(), workspace, LOOKED_AT_MAX)
    began_today = all(campaign_report.began_today(store, each, workspace, now) for each in oldest)
    return _page(workspace, None, began_today=began_today)


@pages.get("/campaigns/<slug>/filtered")
@signed_in
def of_campaign(workspace: Workspace, slug: str) -> ResponseReturnValue:
    campaign = campaigns.find(db.session(), workspace, slug)
    began_today = campaign_report.began_today(services().store, campaign, workspace, days.now())
    return _page(workspace, campaign, began_today=began_today)


def _page(workspace: Workspace, campaign: Campaign | None, *, began_today: bool) -> ResponseReturnValue:
    now, store = days.now(), services().store
    choice = periods.choose(workspace, request.args, now, began_today=began_today, kept={})
    ids = [campaign.id] if campaign else filtered.campaign_ids(db.session(), workspace)
    found = filtered.build(store, workspace, ids, choice.period)
    filtered.add_samples(store, workspace, found, campaign.id if campaign else None)
    samples = [
        event
        for group in [*found.left_out, *([found.remarked] if found.remarked else [])]
        for label in group.labels
        for event in label.samples
    ]
    page = render_template(
        "events/filtered.html",
        report=found,
        campaign=campaign,
        choice=choice,
        codes=links.codes_of(db.session(), (event.link_id for event in samples if event.link_id)),
        lag_s=services().lag_s(days.to_ms(now)),
    )
    return page, 422 if choice.errors else 200


@pages.get("/orphans")
@signed_in
def orphans(workspace: Workspace) -> ResponseReturnValue:
    found = known_orphans(workspace.id)
    return render_template(
        "events/orphans.html",
        orphans=[orphan for orphan in found if orphan.code != codes.OTHERS],
        others=next((orphan for orphan in found if orphan.code == codes.OTHERS), None),
        links=links.of_codes(db.session(), [orphan.code for orphan in found]),
        refusal=codes.refusal,
        local_day=days.local_day,
        days=ORPHAN_DAYS,
        is_cut=len(found) == ORPHANS_MAX,
        lag_s=services().lag_s(days.to_ms(days.now())),
    )
