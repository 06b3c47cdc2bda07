"""The recent events, each with its verdict and the reason: to see at once whether a link or a pixel works."""

from __future__ import annotations

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from tracker import days, links
from tracker.api.events import events_csv
from tracker.extensions import db
from tracker.models import Workspace
from tracker.services import services
from tracker.web.access import ID_MAX, signed_in

pages = Blueprint("events", __name__)

EVENTS_SHOWN = 50


@pages.get("/events")
@signed_in
def events(workspace: Workspace) -> ResponseReturnValue:
    found = services().store.recent(workspace.id, before=_before(), limit=EVENTS_SHOWN + 1)
    shown = found[:EVENTS_SHOWN]
    return render_template(
        "events/index.html",
        events=shown,
        codes=links.codes_of(db.session(), (event.link_id for event in shown if event.link_id)),
        before=f"{shown[-1].at_ms}-{shown[-1].nonce}" if len(found) > EVENTS_SHOWN else None,
        lag_s=services().lag_s(days.to_ms(days.now())),
    )


@pages.get("/events.csv")
@signed_in
def export(workspace: Workspace) -> ResponseReturnValue:
    return events_csv(workspace)


def _before() -> tuple[int, int] | None:
    """The cursor: the id of the last event shown, as `at_ms-nonce`."""
    at_ms, mark, nonce = request.args.get("before", "").partition("-")
    if not mark or not all(part.isascii() and part.isdecimal() and len(part) <= 19 for part in (at_ms, nonce)):
        return None
    cursor = int(at_ms), int(nonce)
    return cursor if max(cursor) <= ID_MAX else None
