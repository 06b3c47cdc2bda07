"""The clicks that led to each conversion, put together once the spool holds none of them any more."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from tracker import clickid, credited, days, paths
from tracker.claims import PIXEL
from tracker.config import Keys
from tracker.credited import Step
from tracker.days import DAY_MS
from tracker.events import Kind, Verdict
from tracker.matching import CLICK, CUSTOMER, HAND
from tracker.models import Campaign, Conversion, Report
from tracker.paths import TOUCHES_MAX
from tracker.salesums import VIEW
from tracker.settling import SETTLE_WITHIN
from tracker.stores import EventId, EventStore, StoredEvent

AT_ONCE = 100  # conversions; whoever reports one of them meanwhile waits
WITHIN_S = 0.3  # then events have their turn
AGAIN_S = 60.0  # until a conversion is looked at again whose click is in no spool of this machine
REMEMBERED_MAX = 100_000
REPORTS_MAX = 1_000  # of all conversions that are looked at together
IDS_MAX = 10  # click ids in one report's `touches`, as many as t.js keeps
SAME_CUSTOMER_MAX = 50  # other conversions of one customer, the latest


class Trace(NamedTuple):
    """A click that may have led to a conversion, and how it is known."""

    id: EventId
    via: str


class Paths:
    """Finds paths for conversions, some at a time, and again after each further report."""

    def __init__(self, engine: Engine, store: EventStore, keys: Keys) -> None:
        self._engine = engine
        self._store = store
        self._keys = keys
        self._upto = 0
        self._again_at: dict[int, float] = {}

    def go_on(self, ripe_ms: Callable[[], int]) -> None:
        """Looks at conversions that came before the instant up to which everything is stored; not for long."""
        until = time.monotonic() + WITHIN_S
        while self._next(ripe_ms) and time.monotonic() < until:
            pass

    def _next(self, ripe_ms: Callable[[], int]) -> bool:
        """Looks at some; answers whether more may be left before all have had their turn."""
        now = time.monotonic()
        with Session(self._engine) as session:
            found = paths.waiting(session, self._upto)
        if not found:
            self._upto = 0
            return False
        ripe = days.from_ms(ripe_ms())
        due = [each for each, made in found if made <= ripe and self._again_at.get(each, 0) <= now][:AT_ONCE]
        last = due[-1] if len(due) == AT_ONCE else found[-1][0]
        self._upto = last if len(found) == paths.WAITING_MAX or len(due) == AT_ONCE else 0
        if due:
            self._look(due, ripe, now)
        return self._upto > 0

    def _look(self, ids: Sequence[int], ripe: datetime, now: float) -> None:
        with Session(self._engine) as session:
            waiting = paths.held(session, ids, ripe)
            found = _Search(session, self._store, self._keys, waiting)
            paths.rewrite(session, {each.id: found.path(each) for each in waiting}, waiting)
            too_old = days.now() - SETTLE_WITHIN
            if len(self._again_at) > REMEMBERED_MAX:
                self._again_at.clear()
            for conversion in waiting:
                if found.is_whole(conversion) or conversion.created_at < too_old:
                    conversion.path_settled = True
                    self._again_at.pop(conversion.id, None)
                else:
                    self._again_at[conversion.id] = now + AGAIN_S
            session.commit()


class _Search:
    """Everything that is known of some conversions' touches, asked for together."""

    def __init__(self, session: Session, store: EventStore, keys: Keys, conversions: Sequence[Conversion]) -> None:
        self._store = store
        self._stored = credited.paths_of(session, [each.id for each in conversions])
        self._own = {each.id: (each.click_at_ms, each.click_nonce) for each in conversions}
        follow = [each for each in conversions if _may_be_followed(each) and not self._is_forgotten(each)]
        self._script = _of_scripts(session, keys, follow)
        self._customers = _of_customers(session, follow)
        self._pixels = _pixels(session, follow)
        self._followed = {each.id for each in follow}
        ids = {*self._own.values(), *(each.id for each in self._traces())}
        ids.update(pixel for pixels in self._pixels.values() for pixel in pixels)
        self._events = store.find_events(sorted(ids))
        self._raw_since_ms = store.raw_since_ms()
        self._windows = _windows(session, conversions)

    def _traces(self) -> Iterable[Trace]:
        for found in (self._script, self._customers):
            for traces in found.values():
                yield from traces

    def _is_forgotten(self, conversion: Conversion) -> bool:
        return any(step.via == paths.FORGOTTEN for step in self._stored.get(conversion.id, ()))

    def is_whole(self, conversion: Conversion) -> bool:
        """Whether every click that a report named has been stored, or is not there any more."""
        named = [] if conversion.matched_by == VIEW or conversion.click_id is None else [self._own[conversion.id]]
        named += [trace.id for trace in self._script.get(conversion.id, ())]
        return all(each in self._events or each[0] < self._raw_since_ms for each in named)

    def path(self, conversion: Conversion) -> list[Step]:
        """Its touches, the earliest first. The click that the report named is the last: a later one led elsewhere.

        What was found once stays, though raw events and reports go with their time.
        """
        if self._is_forgotten(conversion):
            return self._stored[conversion.id]
        own = self._own_step(conversion)
        if own is None:
            return []
        steps = {(own.at_ms, own.nonce): own}
        if conversion.id in self._followed:
            for step in self._stored.get(conversion.id, ()):
                if step.kind == Kind.CLICK and self._leads(conversion, step):
                    steps.setdefault((step.at_ms, step.nonce), step)
            for step in self._found(conversion):
                if self._leads(conversion, step):
                    steps.setdefault((step.at_ms, step.nonce), step)
        path = [steps[each] for each in sorted(steps)]
        return [path[0], *path[1:][-(TOUCHES_MAX - 1) :]] if len(path) > TOUCHES_MAX else path

    def _own_step(self, conversion: Conversion) -> Step | None:
        if conversion.link_id is None:
            return None
        at_ms, nonce = self._own[conversion.id]
        kind = Kind.IMPRESSION if conversion.matched_by == VIEW else Kind.CLICK
        via = {CUSTOMER: paths.CUSTOMER, VIEW: paths.VISITOR}.get(conversion.matched_by, paths.REPORT)
        return Step(at_ms, nonce, int(kind), conversion.campaign_id, conversion.link_id, via)

    def _leads(self, conversion: Conversion, step: Step) -> bool:
        """Whether a click came before the conversion's own and no longer before it than its campaign's window."""
        window_ms = self._windows.get(step.campaign_id, 0) * DAY_MS
        is_before = (step.at_ms, step.nonce) < self._own[conversion.id]
        return is_before and conversion.converted_at_ms - step.at_ms <= window_ms

    def _found(self, conversion: Conversion) -> Iterable[Step]:
        for traces, needs_verdict in ((self._script, True), (self._customers, False)):
            for trace in traces.get(conversion.id, ()):
                event = self._events.get(trace.id)
                if event is not None and (event.verdict == Verdict.COUNTED or not needs_verdict):
                    yield from _steps(conversion, [event], trace.via)
        clicks = self._of_visitor(conversion)
        yield from _steps(conversion, clicks, paths.VISITOR)

    def _of_visitor(self, conversion: Conversion) -> list[StoredEvent]:
        """Counted clicks of whoever clicked, and of whoever's browser sent the pixel, on that day."""
        own = self._own[conversion.id]
        clicks: list[StoredEvent] = []
        asked = set()
        for each in (own, *self._pixels.get(conversion.id, ())):
            event = self._events.get(each)
            if event is not None and event.visitor is not None and event.visitor not in asked:
                asked.add(event.visitor)
                clicks += self._store.clicks_of(event.visitor, each, TOUCHES_MAX)
        event = self._events.get(own)
        if event is not None and event.verdict == Verdict.DOUBLE_CLICK:
            # The first of the pair is the same click.
            same = [click for click in clicks if click.link_id == event.link_id and click[:2] < own]
            clicks = [click for click in clicks if not same or click[:2] != max(same)[:2]]
        return clicks


def _may_be_followed(conversion: Conversion) -> bool:
    """A sale under GPC is not joined to anything; one of a view or of a campaign alone has no click to begin with."""
    return not conversion.gpc and conversion.click_id is not None and conversion.matched_by in (CLICK, CUSTOMER, HAND)


def _steps(conversion: Conversion, clicks: Iterable[StoredEvent], via: str) -> Iterable[Step]:
    for click in clicks:
        is_ours = click.workspace_id == conversion.workspace_id and click.kind == Kind.CLICK
        if is_ours and click.campaign_id is not None and click.link_id is not None:
            yield Step(click.at_ms, click.nonce, click.kind, click.campaign_id, click.link_id, via)


def _of_scripts(session: Session, keys: Keys, conversions: Sequence[Conversion]) -> dict[int, list[Trace]]:
    """The clicks that t.js has kept on the way, as reports name them; an id that is not genuine is nobody's."""
    said = Report.params["touches"].as_string()
    query = select(Report.conversion_id, said).where(
        Report.conversion_id.in_([each.id for each in conversions]), said.is_not(None)
    )
    found: dict[int, list[Trace]] = {}
    for conversion_id, text in session.execute(query.order_by(Report.id).limit(REPORTS_MAX)):
        for word in str(text).split(".")[-IDS_MAX:]:
            if (click := clickid.read(word, keys.click)) is not None:
                found.setdefault(conversion_id, []).append(Trace((click.at_ms, click.nonce), paths.SCRIPT))
    return found


def _of_customers(session: Session, conversions: Sequence[Conversion]) -> dict[int, list[Trace]]:
    """The clicks from which other conversions of the same customers came."""
    by_customer: dict[tuple[int, str], list[int]] = {}
    for each in conversions:
        if each.customer is not None:
            by_customer.setdefault((each.workspace_id, each.customer), []).append(each.id)
    found: dict[int, list[Trace]] = {}
    for (workspace_id, customer), ids in by_customer.items():
        query = select(Conversion.click_at_ms, Conversion.click_nonce).where(
            Conversion.workspace_id == workspace_id,
            Conversion.customer == customer,
            Conversion.click_id.is_not(None),
            Conversion.is_test.is_(False),
        )
        clicks = session.execute(query.order_by(Conversion.id.desc()).limit(SAME_CUSTOMER_MAX)).all()
        for conversion_id in ids:
            found[conversion_id] = [Trace((at_ms, nonce), paths.CUSTOMER) for at_ms, nonce in clicks]
    return found


def _pixels(session: Session, conversions: Sequence[Conversion]) -> dict[int, list[EventId]]:
    """The events of the pixels that reported these conversions: their visitor is the customer's browser."""
    query = select(Report.conversion_id, Report.at_ms, Report.nonce).where(
        Report.conversion_id.in_([each.id for each in conversions]), Report.via == PIXEL, Report.gpc.is_(False)
    )
    found: dict[int, list[EventId]] = {}
    for conversion_id, at_ms, nonce in session.execute(query.order_by(Report.id).limit(REPORTS_MAX)):
        if conversion_id is not None:
            found.setdefault(conversion_id, []).append((at_ms, nonce))
    return found


def _windows(session: Session, conversions: Sequence[Conversion]) -> Mapping[int, int]:
    """The click windows, in days, of all campaigns of these conversions' workspaces."""
    workspaces = {each.workspace_id for each in conversions}
    query = select(Campaign.id, Campaign.click_window_days).where(Campaign.workspace_id.in_(workspaces))
    return {row[0]: row[1] for row in session.execute(query)}
