"""The recent events, each with its verdict and the reason: to see at once whether a link or a pixel works."""

from __future__ import annotations

from collections.abc import Mapping
from zoneinfo import ZoneInfo

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from tracker import days, links
from tracker.api.events import events_csv, read_id, wanted_of, write_id
from tracker.api.schemas import TEXT_MAX, EventsQuery, load
from tracker.errors import Invalid, NotFound
from tracker.extensions import db
from tracker.models import Workspace
from tracker.reports import campaign as campaign_report
from tracker.reports.filters import NAMES
from tracker.services import services
from tracker.stores import EventId, Search, Wanted
from tracker.web.access import signed_in

pages = Blueprint("events", __name__)

EVENTS_SHOWN = 50
NONE = Search([], None)
CHOOSE = "Choose one of the list, or any."
REFUSED = {"verdict": CHOOSE, "kind": CHOOSE}
NO_TEXT = f"At most {TEXT_MAX} characters, none of them a control character."
# What there is a field for at any time, and what a report's page hands over.
FILTERS = ("verdict", "kind", "code", "label", "campaign", *NAMES, "from", "to")


@pages.get("/events")
@signed_in
def events(workspace: Workspace) -> ResponseReturnValue:
    """What the query leaves of the events. A search that ended before it had a page full says so, and goes on."""
    asked = {name: text for name in FILTERS if (text := request.args.get(name, "").strip())}
    before = read_id(request.args.get("before", ""))
    is_first = before is None
    errors: Mapping[str, str] = {}
    try:
        wanted, until = _wanted(workspace, asked)
        before = before or until
        found = services().store.search(workspace.id, wanted, before=before, limit=EVENTS_SHOWN)
    except Invalid as refusal:
        errors, found = {name: REFUSED.get(name) or _said(name, text) for name, text in refusal.errors.items()}, NONE
    except NotFound as error:
        errors, found = {"campaign": str(error)}, NONE
    page = render_template(
        "events/index.html",
        events=found.events,
        codes=links.codes_of(db.session(), (event.link_id for event in found.events if event.link_id)),
        asked=asked,
        errors=errors,
        before=write_id(found.go_on),
        is_first=is_first,
        is_cut=found.go_on is not None and len(found.events) < EVENTS_SHOWN,
        lag_s=services().lag_s(days.to_ms(days.now())),
    )
    return page, 422 if errors else 200


def _wanted(workspace: Workspace, asked: Mapping[str, str]) -> tuple[Wanted, EventId | None]:
    """What is looked for, and before which id where days say so. Raises Invalid and NotFound."""
    named = {name: text for name, text in asked.items() if name not in ("from", "to")}
    wanted = wanted_of(db.session(), workspace, load(EventsQuery, named))
    if "from" not in asked and "to" not in asked:
        return wanted, None
    period = campaign_report.read_period(workspace, asked.get("from"), asked.get("to"), days.now())
    spans = period.spans(ZoneInfo(workspace.timezone))
    since_ms, until_ms = spans[0].start * days.BUCKET_MS, spans[-1].end * days.BUCKET_MS
    return wanted._replace(since_ms=since_ms), (until_ms, 0)


def _said(name: str, text: str) -> str:
    return text if name in ("from", "to") else NO_TEXT


@pages.get("/events.csv")
@signed_in
def export(workspace: Workspace) -> ResponseReturnValue:
    return events_csv(workspace)
