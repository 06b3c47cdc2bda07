"""What needs somebody, over REST: the list of the overview, for whoever is told by another way."""

from __future__ import annotations

from flask import Response

from tracker import days
from tracker.api import shapes
from tracker.api.access import protected, workspace
from tracker.api.openapi import operation
from tracker.api.problems import answer
from tracker.extensions import db
from tracker.services import services

blueprint = protected("api_attention", __name__)


@blueprint.get("/attention")
@operation("What needs somebody, the worst first: of campaigns, destinations, conversions and the machine")
def listed() -> Response:
    """`more` are needs that were left off the list."""
    found = services().needs(db.session(), workspace(), days.now())
    return answer(200, {"items": [shapes.need(each) for each in found.shown], "more": found.more})
