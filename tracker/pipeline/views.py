"""Conversions that no click led to, held against the impressions that their visitor saw."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from sqlalchemy import Engine, delete, select
from sqlalchemy.orm import Session

from tracker import conversions
from tracker.config import Keys
from tracker.days import DAY_MS
from tracker.errors import Invalid
from tracker.events import Event, Kind
from tracker.extensions import insert_into
from tracker.models import Campaign, Report
from tracker.pipeline.enrich import Visitors
from tracker.reported import ViewWait
from tracker.stores import EventStore, StoredEvent

AT_ONCE = 1_000
QUICK_S = 0.05  # a search that costs no more may follow on the last
REST = 20  # times what a search took, from its beginning to the next one's


class Views:
    """A report waits until every impression before it is stored; its visitor is known as long as the salts live.

    So an impression is found on the day of the report and on the day before, whatever longer window a campaign has.
    """

    def __init__(self, engine: Engine, store: EventStore, visitors: Visitors, keys: Keys) -> None:
        self._engine = engine
        self._store = store
        self._visitors = visitors
        self._keys = keys
        self._rest_until = 0.0

    def take(self, session: Session, workspace_id: int, event: Event, params: Mapping[str, str]) -> None:
        """Has an unmatched report wait. A callback comes from nobody's browser, and GPC asks not to be followed.

        Without an order or an event id nothing would tell a page that is loaded again from another sale.
        """
        visitor = self._visitors.hash(workspace_id, event)
        if event.kind != Kind.CONVERSION or visitor is None or not (params.get("order") or params.get("event_id")):
            return
        before = self._visitors.hash_before(workspace_id, event) or 0
        new = insert_into(self._engine.dialect.name, ViewWait).on_conflict_do_nothing()
        session.execute(
            new.values(at_ms=event.at_ms, nonce=event.nonce, visitor=visitor, visitor_before=before),
        )

    def go_on(self, ripe_ms: Callable[[], int]) -> None:
        """Looks at the next reports before the instant up to which everything is stored, all of them by one search.

        The search reads what two days brought. It is not begun again before it has cost a twentieth of the time, which
        on a quiet site is at once: there an index over all impressions would cost more, with each of them.
        """
        if time.monotonic() < self._rest_until:
            return
        with Session(self._engine) as session:
            query = select(ViewWait).order_by(ViewWait.at_ms, ViewWait.nonce).limit(AT_ONCE)
            waiting = list(session.scalars(query))
        upto_ms = ripe_ms() if waiting else 0
        ripe = [wait for wait in waiting if wait.at_ms <= upto_ms]
        if not ripe:
            return
        began = time.monotonic()
        views = self._views(ripe)
        took = time.monotonic() - began
        self._rest_until = began + took * REST if took > QUICK_S else 0.0
        for wait in ripe:
            found = [*views.get(wait.visitor, ()), *views.get(wait.visitor_before, ())]
            self._look(wait, [view for view in found if view.at_ms <= wait.at_ms])

    def _look(self, wait: ViewWait, views: Sequence[StoredEvent]) -> None:
        with Session(self._engine) as session:
            query = select(Report).where(Report.at_ms == wait.at_ms, Report.nonce == wait.nonce)
            report = session.scalar(query) if views else None
            view = next((each for each in views if report and _fits(session, report, each)), None)
            if report is not None and view is not None:
                try:
                    conversions.credit_view(session, report, self._keys, view)
                except Invalid:
                    session.rollback()
            here = ViewWait.at_ms == wait.at_ms, ViewWait.nonce == wait.nonce
            session.execute(delete(ViewWait).where(*here))
            session.commit()

    def _views(self, ripe: Sequence[ViewWait]) -> dict[int, list[StoredEvent]]:
        """Counted impressions by visitor, the latest first; each visitor is one of one day."""
        since_ms = (ripe[0].at_ms // DAY_MS - 1) * DAY_MS
        visitors = {visitor for wait in ripe for visitor in (wait.visitor, wait.visitor_before) if visitor}
        found: dict[int, list[StoredEvent]] = {}
        for view in self._store.views_of(visitors, since_ms, ripe[-1].at_ms):
            if view.visitor is not None:
                found.setdefault(view.visitor, []).append(view)
        return found


def _fits(session: Session, report: Report, view: StoredEvent) -> bool:
    """Whether an impression lies in its campaign's window before a report of the same workspace."""
    campaign = session.get(Campaign, view.campaign_id) if view.campaign_id and view.link_id else None
    if campaign is None or campaign.workspace_id != report.workspace_id:
        return False
    return report.at_ms - view.at_ms <= campaign.view_window_days * DAY_MS
