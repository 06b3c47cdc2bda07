"""From an event to what it belongs to: a link, its campaign, its workspace; and conversions to their clicks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from tracker import callers, claims, conversions, days, settling
from tracker.config import Keys, Secrets
from tracker.errors import NotAllowed, Unverified
from tracker.events import Event, Kind, Verdict
from tracker.filters import DOUBLE_CLICK_S_MAX
from tracker.models import Conversion, Link, Workspace
from tracker.pipeline.issued import IssuedCodes
from tracker.pipeline.views import Views
from tracker.salesums import SaleSums
from tracker.stores import EventStore, Revision, StoredEvent

IN_MAX = 500
REVISABLE = (Verdict.BOT, Verdict.SCANNER, Verdict.FLOOD)
PAIR_MAX_MS = DOUBLE_CLICK_S_MAX * 1000
DAYS_EVENTS_MAX = 1_000  # of one visitor that are looked through for the first of a double click
CONVERTED = "the click converted"


class Place(NamedTuple):
    """What an event belongs to; only the workspace is known of a conversion without a click."""

    workspace_id: int
    campaign_id: int | None = None
    link_id: int | None = None
    medium: str = ""
    currency: str | None = None  # of what its clicks cost


class Places:
    """Looks up where the events of one batch belong, with a query for each five hundred links."""

    def __init__(self, session: Session, batch: Iterable[Event]) -> None:
        self._by_id: dict[int, Place] = {}
        self._by_code: dict[str, Place] = {}
        self._session = session
        self._workspaces: dict[str, Workspace | None] = {}
        batch = list(batch)
        self.issued = IssuedCodes(session, batch)
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
        currency = func.coalesce(Link.cost_currency, Workspace.currency)
        query = select(Link.code, Link.workspace_id, Link.campaign_id, Link.id, Link.medium, currency)
        query = query.join(Workspace, Workspace.id == Link.workspace_id).where(condition)  # type: ignore[arg-type]
        for code, *columns in session.execute(query):
            place = Place._make(columns)
            self._by_id[place.link_id or 0] = self._by_code[code] = place

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
    if event.kind == Kind.CALLBACK:
        outcome = _record_queued(session, workspace, event, secrets.keys, sums)
    else:
        sighting = claims.Sighting(event.at_ms, event.nonce, claims.PIXEL, event.gpc, event.agent)
        params = claims.read_pixel(event.params)
        outcome = conversions.record(session, workspace, params, sighting, secrets.keys, sums)
        if outcome.reason == "no_click_id":
            views.take(session, workspace.id, event, params)
    if outcome.conversion_id is None:
        return Place(workspace.id)
    conversion = session.get_one(Conversion, outcome.conversion_id)
    return Place(workspace.id, conversion.campaign_id, conversion.link_id)


def _record_queued(
    session: Session, workspace: Workspace, event: Event, keys: Keys, sums: SaleSums
) -> conversions.Outcome:
    """Records a callback that came while the database was away, and looks at its sender where nobody could then."""
    queued = callers.Queued.decode(event.params)
    sighting = claims.Sighting(event.at_ms, event.nonce, claims.CALLBACK, event.gpc, event.agent)
    signature = queued.signature
    if queued.call is not None:
        try:
            signature = callers.check(callers.rules_of(session, workspace), queued.call)
        except (Unverified, NotAllowed) as error:
            return conversions.refuse(session, workspace, queued.params, sighting, keys, error)
    sighting = sighting._replace(signed=signature is not None, signature=signature)
    return conversions.record(session, workspace, queued.params, sighting, keys, sums)


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
            clicks = {event_id: self._first_of(click) for event_id, click in clicks.items()}
            # Each once, also where several sales came of it.
            revisable = {(click.at_ms, click.nonce): click for click in clicks.values() if click.verdict in REVISABLE}
            counted = Verdict.COUNTED
            self._store.revise(
                [Revision(click.at_ms, click.nonce, counted, None, CONVERTED) for click in revisable.values()]
            )
            found = ((each.id, clicks.get((each.click_at_ms, each.click_nonce))) for each in waiting)
            if settled := {conversion_id: click for conversion_id, click in found if click is not None}:
                named = {each.id: (each.click_at_ms, each.click_nonce) for each in waiting}
                settling.settle(session, settled, named)

    def _first_of(self, click: StoredEvent) -> StoredEvent:
        """The click that a double click repeats; itself where it is none, or where the first is not to be found."""
        if click.verdict != Verdict.DOUBLE_CLICK:
            return click
        day = self._store.of_visitor(click.at_ms, click.nonce, DAYS_EVENTS_MAX)
        before = [
            each
            for each in day
            if each.kind == Kind.CLICK
            and each.link_id == click.link_id
            and each.verdict not in (Verdict.DOUBLE_CLICK, Verdict.TEST)
            and click.at_ms - PAIR_MAX_MS <= each.at_ms <= click.at_ms
        ]
        return before[-1] if before else click
