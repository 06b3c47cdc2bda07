"""The recent events, each with its verdict and the reason: to see at once whether a link or a pixel works."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from tracker import days, links
from tracker.api.events import events_csv, read_id, wanted_of, write_id
from tracker.api.schemas import TEXT_MAX, EventsQuery, load
from tracker.errors import Invalid, NotFound
from tracker.extensions import db
from tracker.models import Workspace
from tracker.services import services
from tracker.stores import Search
from tracker.web.access import signed_in

pages = Blueprint("events", __name__)

EVENTS_SHOWN = 50
CHOOSE = "Choose one of the list, or any."
REFUSED = {"verdict": CHOOSE, "kind": CHOOSE}
NO_TEXT = f"At most {TEXT_MAX} characters, none of them a control character."
FILTERS = ("verdict", "kind", "code", "label", "campaign")


@pages.get("/events")
@signed_in
def events(workspace: Workspace) -> ResponseReturnValue:
    """What the query leaves of the events. A search that ended before it had a page full says so, and goes on."""
    asked = {name: text for name in FILTERS if (text := request.args.get(name, "").strip())}
    before = read_id(request.args.get("before", ""))
    errors: Mapping[str, str] = {}
    try:
        wanted = wanted_of(db.session(), workspace, load(EventsQuery, asked))
        found = services().store.search(workspace.id, wanted, before=before, limit=EVENTS_SHOWN)
    except Invalid as refusal:
        errors, found = {name: REFUSED.get(name, NO_TEXT) for name in refusal.errors}, Search([], None)
    except NotFound as error:
        errors, found = {"campaign": str(error)}, Search([], None)
    page = render_template(
        "events/index.html",
        events=found.events,
        codes=links.codes_of(db.session(), (event.link_id for event in found.events if event.link_id)),
        asked=asked,
        errors=errors,
        before=write_id(found.go_on),
        is_first=before is None,
        is_cut=found.go_on is not None and len(found.events) < EVENTS_SHOWN,
        lag_s=services().lag_s(days.to_ms(days.now())),
    )
    return page, 422 if errors else 200


@pages.get("/events.csv")
@signed_in
def export(workspace: Workspace) -> ResponseReturnValue:
    return events_csv(workspace)
