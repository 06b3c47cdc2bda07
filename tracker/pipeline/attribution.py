"""From an event to what it belongs to: a link, its campaign, its workspace; and conversions to their clicks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import orjson
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from tracker import claims, conversions, days, settling
from tracker.config import Secrets
from tracker.events import Event, Kind, Verdict
from tracker.models import Conversion, Link, Workspace
from tracker.pipeline.views import Views
from tracker.salesums import SaleSums
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
        self._session = session
        self._workspaces: dict[str, Workspace | None] = {}
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
        self.workspaces = {place.workspace_id for place in self._by_id.values()}

    def _look_up(self, session: Session, condition: object) -> None:
        query = select(Link.id, Link.code, Link.workspace_id, Link.campaign_id, Link.medium).where(condition)  # type: ignore[arg-type]
        for link_id, code, workspace_id, campaign_id, medium in session.execute(query):
            self._by_id[link_id] = self._by_code[code] = Place(workspace_id, campaign_id, link_id, medium)

    def of(self, event: Event) -> Place | None:
        return self._by_id.get(event.link_id) if event.link_id else self._by_code.get(event.code)

    def workspace(self, key: str) -> Workspace | None:
        """The workspace of a key, asked for once a batch."""
        if key not in self._workspaces:
            self._workspaces[key] = self._session.scalar(select(Workspace).where(Workspace.key == key))
        return self._workspaces[key]

    def workspace_of(self, event: Event) -> Place | None:
        """Where a conversion belongs that has no click: the workspace of its key."""
        workspace = self.workspace(event.code)
        return Place(workspace.id) if workspace else None


def apply_conversion(
    session: Session, places: Places, event: Event, secrets: Secrets, sums: SaleSums, views: Views
) -> Place | None:
    """Records a reported conversion, once however often it is tried; `None` for a key that nobody has.

    The caller writes `sums`, and commits.
    """
    workspace = places.workspace(event.code)
    if workspace is None:
        return None
    if event.verdict != Verdict.COUNTED:
        return Place(workspace.id)
    callback = event.kind == Kind.CALLBACK
    params = orjson.loads(event.params) if callback else claims.read_pixel(event.params)
    via = claims.CALLBACK if callback else claims.PIXEL
    sighting = claims.Sighting(event.at_ms, event.nonce, via, event.gpc, event.agent)
    outcome = conversions.record(session, workspace, params, sighting, secrets.keys, sums)
    if outcome.reason == "no_click_id":
        views.take(session, workspace.id, event, params)
    if outcome.conversion_id is None:
        return Place(workspace.id)
    conversion = session.get_one(Conversion, outcome.conversion_id)
    return Place(workspace.id, conversion.campaign_id, conversion.link_id)


def converted(session: Session, ids: Iterable[tuple[int, int]]) -> set[tuple[int, int]]:
    """Those of these clicks' ids from which a conversion came."""
    found: set[tuple[int, int]] = set()
    wanted = sorted(set(ids))
    for start in range(0, len(wanted), IN_MAX):
        some = wanted[start : start + IN_MAX]
        query = select(Conversion.click_at_ms, Conversion.click_nonce)
        query = query.where(Conversion.click_at_ms.in_({at_ms for at_ms, _ in some}))
        found.update((at_ms, nonce) for at_ms, nonce in session.execute(query))
    return found.intersection(wanted)


class Settling:
    """A click that converts is never left out: its verdict is revised once both have arrived, in whichever order."""

    def __init__(self, engine: Engine, store: EventStore) -> None:
        self._engine = engine
        self._store = store
        self._upto = 0

    def go_on(self) -> None:
        """Looks at the next conversions whose click has not been found yet, and after the last begins anew."""
        with Session(self._engine) as session:
            waiting = settling.unsettled(session, days.now(), self._upto)
            self._upto = waiting[-1].id if len(waiting) == settling.SETTLE_MAX else 0
            clicks = self._store.find_clicks([(each.click_at_ms, each.click_nonce) for each in waiting])
            revisable = (click for click in clicks.values() if click.verdict in REVISABLE)
            counted = Verdict.COUNTED
            self._store.revise([Revision(click.at_ms, click.nonce, counted, None, CONVERTED) for click in revisable])
            found = ((each.id, clicks.get((each.click_at_ms, each.click_nonce))) for each in waiting)
            if settled := {conversion_id: click for conversion_id, click in found if click is not None}:
                settling.settle(session, settled)
