"""Shared reports of a campaign over REST."""

from __future__ import annotations

from typing import Any

from flask import Response

from tracker import campaigns, changelog, days, shares
from tracker.api import shapes
from tracker.api.access import protected, workspace
from tracker.api.openapi import operation
from tracker.api.problems import answer
from tracker.api.schemas import ShareNew, read_body
from tracker.campaigning import SharedReport
from tracker.errors import NotFound
from tracker.extensions import db
from tracker.reports.filters import NAMES
from tracker.services import services
from tracker.shares import ShareDraft

blueprint = protected("api_shares", __name__)


@blueprint.get("/campaigns/<slug>/shares")
@operation(f"List a campaign's shared reports, newest first, {shares.SHARES_MAX} at most")
def listed(slug: str) -> Response:
    campaign = campaigns.find(db.session(), workspace(), slug)
    found = shares.listed(db.session(), workspace(), campaign)
    return answer(200, {"items": [_shape(share) for share in found]})


@blueprint.post("/campaigns/<slug>/shares")
@operation("Share a campaign's report by a secret link", body=ShareNew, answers={201: "It, with its link"})
def create(slug: str) -> Response:
    content = read_body(ShareNew)
    campaign = campaigns.find(db.session(), workspace(), slug)
    query = {name: content.get(name) for name in (*NAMES, "to", "interval", "compare", "by")}
    query |= {"from": content.get("from_"), "days": str(content["days"]) if "days" in content else None}
    draft = ShareDraft(
        title=content.get("title") or "",
        query=query,
        shows_money=content["shows_money"],
        password=content.get("password") or "",
        expires_on=content.get("expires_on") or "",
    )
    made = shares.create(db.session(), workspace(), campaign, draft, by=changelog.actor(db.session()), now=days.now())
    return answer(201, _shape(made))


@blueprint.delete("/campaigns/<slug>/shares/<int:share_id>")
@operation("Take a shared report back: its link shows nothing any more", answers={204: "It is taken back"})
def revoke(slug: str, share_id: int) -> Response:
    campaign = campaigns.find(db.session(), workspace(), slug)
    if shares.get(db.session(), workspace(), share_id).campaign_id != campaign.id:
        raise NotFound("There is no such shared report.")
    shares.revoke(db.session(), workspace(), share_id, days.now())
    return Response(status=204)


def _shape(share: SharedReport) -> dict[str, Any]:
    last_day = shares.last_day(share, workspace())
    return {
        "id": share.id,
        "url": f"{services().public_url}/s/{share.token}",
        "title": share.title,
        "query": share.query,
        "shows_money": share.shows_money,
        "has_password": share.password_hash is not None,
        "expires_on": last_day.isoformat() if last_day else None,
        "created_by": share.created_by,
        "created_at": shapes.instant(share.created_at),
    }
