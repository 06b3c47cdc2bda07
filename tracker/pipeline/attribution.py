"""From an event to what it belongs to: a link, its campaign, its workspace; and conversions to their clicks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import orjson
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from tracker import claims, conversions, days
from tracker.config import Secrets
from tracker.events import Event, Kind, Verdict
from tracker.models import Conversion, Link, Workspace
from tracker.stores import EventStore, Revision

IN_MAX = 500
REVISABLE = (Verdict.BOT, Verdict.SCANNER, Verdict.FLOOD)
CONVERTED = "the click converted"


class Place(NamedTuple):
    """What an event belongs to; only the workspace is known of a conversion without a click."""

    workspace_id: int
    campaign_id: int | None = None
    link_id: int | None = None
    medium: str = ""


class Places:
    """Looks up where the events of one batch belong, with a query for each five hundred links."""

    def __init__(self, session: Session, batch: Iterable[Event]) -> None:
        self._by_id: dict[int, Place] = {}
        self._by_code: dict[str, Place] = {}
        batch = list(batch)
        hits = [event for event in batch if event.kind not in (Kind.CONVERSION, Kind.CALLBACK) or event.link_id]
        ids = sorted({event.link_id for event in hits if event.link_id})
        # Zero and not yet refused: the edge could not ask the database, so it is asked now.
        codes = sorted({e.code for e in hits if not e.link_id and e.verdict != Verdict.UNKNOWN_CODE})
        for start in range(0, len(ids), IN_MAX):
            self._look_up(session, Link.id.in_(ids[start : start + IN_MAX]))
        for start in range(0, len(codes), IN_MAX):
            self._look_up(session, Link.code.in_(codes[start : start + IN_MAX]))
        self.first_workspace = session.scalar(select(Workspace.id).order_by(Workspace.id).limit(1))

    def _look_up(self, session: Session, condition: object) -> None:
        query = select(Link.id, Link.code, Link.workspace_id, Link.campaign_id, Link.medium).where(condition)  # type: ignore[arg-type]
        for link_id, code, workspace_id, campaign_id, medium in session.execute(query):
            self._by_id[link_id] = self._by_code[code] = Place(workspace_id, campaign_id, link_id, medium)

    def of(self, event: Event) -> Place | None:
        return self._by_id.get(event.link_id) if event.link_id else self._by_code.get(event.code)


def workspace_place(session: Session, event: Event) -> Place | None:
    """Where a conversion belongs that has no click: the workspace of its key."""
    workspace_id = session.scalar(select(Workspace.id).where(Workspace.key == event.code))
    return Place(workspace_id) if workspace_id else None


def apply_conversion(session: Session, event: Event, secrets: Secrets) -> Place | None:
    """Records a reported conversion, once however often it is tried; `None` for a key that nobody has."""
    workspace = session.scalar(select(Workspace).where(Workspace.key == event.code))
    if workspace is None:
        return None
    if event.verdict != Verdict.COUNTED:
        return Place(workspace.id)
    callback = event.kind == Kind.CALLBACK
    params = orjson.loads(event.params) if callback else claims.read_pixel(event.params)
    sighting = claims.Sighting(event.at_ms, event.nonce, "callback" if callback else "pixel")
    outcome = conversions.record(session, workspace, params, sighting, secrets.click_keys, secrets.customer_key)
    if outcome.conversion_id is None:
        return Place(workspace.id)
    conversion = session.get_one(Conversion, outcome.conversion_id)
    return Place(workspace.id, conversion.campaign_id, conversion.link_id)


def settle_clicks(engine: Engine, store: EventStore) -> None:
    """A click that converts is never left out: its verdict is revised once both have arrived, in whichever order.

    What is known of the click is then copied to the conversion, which breaks down by it from then on.
    """
    with Session(engine) as session:
        found, revisions = [], []
        for conversion in conversions.unsettled(session, days.now()):
            click = store.find_click(conversion.click_at_ms, conversion.click_nonce)
            if click is None:
                continue
            found.append(conversion)
            conversions.describe(conversion, click)
            if click.verdict in REVISABLE:
                revisions.append(Revision(click.at_ms, click.nonce, Verdict.COUNTED, None, CONVERTED))
        store.revise(revisions)
        if found:
            conversions.settle(session, found)
