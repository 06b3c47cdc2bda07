"""Recent events and the workspace over REST."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from flask import Blueprint, Response, current_app
from sqlalchemy.orm import Session

from tracker import campaigns, days, links
from tracker.api import shapes
from tracker.api.access import protected, workspace
from tracker.api.openapi import document, operation
from tracker.api.problems import answer
from tracker.api.schemas import EventsQuery, read_query
from tracker.api.tables import csv_stream, page_answer, wants_csv
from tracker.errors import Invalid
from tracker.events import Kind, Verdict
from tracker.extensions import db
from tracker.models import ID_MAX, Workspace
from tracker.reports import filters
from tracker.reports.filters import NONE
from tracker.services import services
from tracker.stores import EventId, StoredEvent, Wanted

EXPORTED_AT_ONCE = 500
# Fields of links that hits can be looked for by; a link itself is looked for by its code.
COLUMNS = ("source", "medium", "term", "content")
blueprint = protected("api_events", __name__)
public = Blueprint("api_public", __name__)


def read_id(text: str) -> EventId | None:
    """An event's id as `write_id` writes it; `None` for anything else."""
    at_ms, _, nonce = text.partition("-")
    if not (text.isascii() and at_ms.isdecimal() and nonce.isdecimal() and len(text) < 40):
        return None
    found = int(at_ms), int(nonce)
    return found if max(found) <= ID_MAX else None


def write_id(event_id: EventId | None) -> str | None:
    return None if event_id is None else "{}-{}".format(*event_id)


def wanted_of(session: Session, own: Workspace, asked: Mapping[str, Any]) -> Wanted:
    """What a query by EventsQuery's names looks for. Raises NotFound for a campaign that is not there."""
    code, slug = asked.get("code") or asked.get("link"), asked.get("campaign")
    since: datetime | None = asked.get("since")
    campaign = campaigns.find(session, own, slug) if slug else None
    given = filters.read(asked)
    fields = {name: None if text == NONE else text for name, text in given.given.items() if name in COLUMNS}
    fitting = links.having(session, own, campaign, fields, filters.LINKS_MAX) if fields else None
    return Wanted(
        kind=Kind[asked["kind"].upper()] if asked.get("kind") else None,
        verdict=Verdict[asked["verdict"].upper()] if asked.get("verdict") else None,
        detail=asked.get("label"),
        link_id=links.id_of(session, own, code) if code else None,
        code=code,
        campaign_id=campaign.id if campaign else None,
        since_ms=days.to_ms(since) if since else None,
        links=None if fitting is None else frozenset(fitting),
        values=tuple(given.values.items()),
    )


def is_visitor(event: StoredEvent) -> bool:
    """Nobody is a visitor who asked not to be one: under Global Privacy Control a hit reaches no export."""
    return event.visitor is not None


@blueprint.get("/events")
@blueprint.get("/events.csv")
@operation("Recent events with their verdicts, newest first", query=EventsQuery)
def events() -> Response:
    """A page may hold fewer than `limit` and still have a next one: a search ends after so many events."""
    query = read_query(EventsQuery)
    before = None if query["cursor"] is None else read_id(query["cursor"])
    if query["cursor"] is not None and before is None:
        raise Invalid({"cursor": "Take the cursor from the page before."})
    if before is None and query["until"] is not None:
        before = days.to_ms(query["until"]), 0
    wanted = wanted_of(db.session(), workspace(), query)
    found, go_on = services().store.search(workspace().id, wanted, before=before, limit=query["limit"])
    codes = links.codes_of(db.session(), (event.link_id for event in found if event.link_id))
    shown = filter(is_visitor, found) if wants_csv() else found
    return page_answer([shapes.event(event, codes) for event in shown], write_id(go_on))


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
        shown = list(filter(is_visitor, found))
        codes = links.codes_of(db.session(), (event.link_id for event in shown if event.link_id))
        db.session.rollback()  # nothing is held while the reader takes its time
        yield [shapes.event(event, codes) for event in shown]


@blueprint.get("/workspace")
@operation("The workspace of the token, with its public key")
def show_workspace() -> Response:
    own = workspace()
    return answer(200, {"name": own.name, "key": own.key, "timezone": own.timezone, "currency": own.currency})


@public.get("/openapi.json")
@operation("This document")
def openapi() -> Response:
    return answer(200, document(current_app))
