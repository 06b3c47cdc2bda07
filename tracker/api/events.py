"""Recent events, conversions and the workspace over REST."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from flask import Blueprint, Response, current_app

from tracker import conversions, links
from tracker.api import shapes
from tracker.api.access import protected, workspace
from tracker.api.openapi import document, operation
from tracker.api.problems import answer
from tracker.api.schemas import PageQuery, read_query
from tracker.api.tables import csv_stream, page_answer, page_by_id
from tracker.errors import Invalid
from tracker.extensions import db
from tracker.models import Workspace
from tracker.services import services

EXPORTED_AT_ONCE = 500
blueprint = protected("api_events", __name__)
public = Blueprint("api_public", __name__)


def _event_cursor(cursor: str | None) -> tuple[int, int] | None:
    if cursor is None:
        return None
    at_ms, _, nonce = cursor.partition("-")
    if not (at_ms.isdecimal() and nonce.isdecimal() and len(cursor) < 40 and cursor.isascii()):
        raise Invalid({"cursor": "Take the cursor from the page before."})
    return int(at_ms), int(nonce)


@blueprint.get("/events")
@blueprint.get("/events.csv")
@operation("Recent events with their verdicts, newest first", query=PageQuery)
def events() -> Response:
    query = read_query(PageQuery)
    found = services().store.recent(workspace().id, before=_event_cursor(query["cursor"]), limit=query["limit"])
    codes = links.codes_of(db.session(), (event.link_id for event in found if event.link_id))
    rows = [shapes.event(event, codes) for event in found]
    return page_answer(rows, rows[-1]["id"] if len(rows) == query["limit"] else None)


@blueprint.get("/events/export.csv")
@operation("All stored events, newest first, as one CSV that is sent while it is read")
def export() -> Response:
    return events_csv(workspace())


def events_csv(own: Workspace) -> Response:
    """Every stored event of a workspace, less those under Global Privacy Control, which reach no export."""
    return csv_stream(_pages(own.id), "events.csv")


def _pages(workspace_id: int) -> Iterator[list[dict[str, Any]]]:
    before = None
    while found := services().store.recent(workspace_id, before=before, limit=EXPORTED_AT_ONCE):
        before = found[-1].at_ms, found[-1].nonce
        # Nobody is a visitor who asked not to be one.
        shown = [event for event in found if event.visitor is not None]
        codes = links.codes_of(db.session(), (event.link_id for event in shown if event.link_id))
        db.session.rollback()  # nothing is held while the reader takes its time
        yield [shapes.event(event, codes) for event in shown]


@blueprint.get("/conversions")
@blueprint.get("/conversions.csv")
@operation("Conversions, newest first", query=PageQuery)
def recorded() -> Response:
    return page_by_id(partial(conversions.recent, db.session(), workspace()), shapes.conversion)


@blueprint.get("/conversions/reports")
@operation("Every conversion report as it came in, with what became of it", query=PageQuery)
def reported() -> Response:
    return page_by_id(partial(conversions.recent_reports, db.session(), workspace()), shapes.report)


@blueprint.get("/workspace")
@operation("The workspace of the token, with its public key")
def show_workspace() -> Response:
    own = workspace()
    return answer(200, {"name": own.name, "key": own.key, "timezone": own.timezone, "currency": own.currency})


@public.get("/openapi.json")
@operation("This document")
def openapi() -> Response:
    return answer(200, document(current_app))
