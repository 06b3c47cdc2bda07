"""What is held of one person, shown or forgotten: a customer as a shop names them, or the visitor of a click."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from sqlalchemy import Engine, select, update
from sqlalchemy.orm import Session

from tracker import clickid, credited, customers, matchkeys, paths
from tracker.config import Secrets
from tracker.errors import Invalid, NotFound
from tracker.extensions import empty_journal
from tracker.models import Conversion, Report, Workspace
from tracker.reported import Identity
from tracker.salesums import SaleSums
from tracker.stores import Dimension, EventId, EventStore, StoredEvent

EVENTS_MAX = 10_000  # of one visitor's day; nobody clicks as often
IN_MAX = 500
# Of a conversion's click.
NOTHING_KNOWN: dict[str, None] = {f"click_{dimension.word}": None for dimension in Dimension}


@dataclass(slots=True)
class Held:
    """What there is of a person. `visitors` names each visitor they were by the id of one event."""

    conversions: list[Conversion] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
    events: dict[EventId, StoredEvent] = field(default_factory=dict)
    visitors: list[EventId] = field(default_factory=list)
    identities: list[Identity] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.conversions or self.reports or self.events or self.match_keys)

    @property
    def match_keys(self) -> list[Identity]:
        """Whom networks could match; of the others it is kept that they said no."""
        return [identity for identity in self.identities if not identity.opted_out]

    def add_visitor(self, store: EventStore, at_ms: int, nonce: int) -> None:
        """Everything of the visitor who made an event, on that event's day."""
        if (at_ms, nonce) not in self.events:
            found = store.of_visitor(at_ms, nonce, EVENTS_MAX)
            if found:
                self.visitors.append((at_ms, nonce))
                self.events |= {(event.at_ms, event.nonce): event for event in found}


def of_customer(session: Session, store: EventStore, workspace: Workspace, customer: str, key: bytes) -> Held:
    """What a shop's own name for a customer leads to: conversions, reports, the visitors who clicked and bought."""
    hashed = customers.customer_hash(customer, key)
    conversions = _conversions(session, workspace, Conversion.customer == hashed)
    held = Held(conversions, _reports(session, workspace, conversions, hashed))
    held.identities = matchkeys.of_customers(session, workspace, [hashed])
    return _with_visitors(session, store, held)


def of_visitor(session: Session, store: EventStore, workspace: Workspace, click_id: str, secrets: Secrets) -> Held:
    """What the click of a click id leads to: its visitor's day and what came of it. Raises Invalid or NotFound."""
    click = clickid.read(click_id, secrets.click_keys)
    if click is None:
        raise Invalid({"visitor": "This is no click id of ours: 28 characters, as the landing page gets them."})
    found = store.find_click(click.at_ms, click.nonce)
    if found is None or found.workspace_id != workspace.id:
        raise NotFound("The click is not stored: it is older than the retention, or not loaded yet.")
    held = Held()
    held.add_visitor(store, click.at_ms, click.nonce)
    for start in range(0, len(held.events), IN_MAX):
        ids = sorted(held.events)[start : start + IN_MAX]
        instants = [at_ms for at_ms, _ in ids]
        near = _conversions(session, workspace, Conversion.click_at_ms.in_(instants))
        held.conversions += [each for each in near if (each.click_at_ms, each.click_nonce) in ids]
    held.reports = _reports(session, workspace, held.conversions, None)
    named = {each.customer for each in held.conversions} | {each.params.get(customers.NAME) for each in held.reports}
    held.identities = matchkeys.of_customers(session, workspace, filter(None, named))
    return _with_visitors(session, store, held)


def _conversions(session: Session, workspace: Workspace, condition: object) -> list[Conversion]:
    query = select(Conversion).where(Conversion.workspace_id == workspace.id, condition)  # type: ignore[arg-type]
    return list(session.scalars(query.order_by(Conversion.id)))


def _reports(session: Session, workspace: Workspace, found: Iterable[Conversion], hashed: str | None) -> list[Report]:
    """The reports of conversions, and those of a customer that belong to none."""
    reports: dict[int, Report] = {}
    ids = [conversion.id for conversion in found]
    for start in range(0, len(ids), IN_MAX):
        of_them = select(Report).where(Report.conversion_id.in_(ids[start : start + IN_MAX]))
        reports |= {report.id: report for report in session.scalars(of_them)}
    if hashed is not None:
        named = Report.params[customers.NAME].as_string() == hashed
        theirs = select(Report).where(Report.workspace_id == workspace.id, named)
        reports |= {report.id: report for report in session.scalars(theirs)}
    return [reports[number] for number in sorted(reports)]


def _with_visitors(session: Session, store: EventStore, held: Held) -> Held:
    touches = credited.paths_of(session, [conversion.id for conversion in held.conversions])
    for conversion in held.conversions:
        held.add_visitor(store, conversion.click_at_ms, conversion.click_nonce)
        # Whoever clicked on the way there is the same person, on another day or another device.
        for touch in touches.get(conversion.id, ()):
            held.add_visitor(store, touch.at_ms, touch.nonce)
    for report in held.reports:
        # A callback comes from the shop's server, which is nobody's visitor.
        if report.via == "pixel":
            held.add_visitor(store, report.at_ms, report.nonce)
    return held


def forget(session: Session, store: EventStore, engine: Engine, held: Held) -> None:
    """Erases who it was and commits. Counts, money, order numbers and the ledger stay as they are.

    The visitors come first: should it be interrupted, the customer still leads to all that is left.
    """
    for at_ms, nonce in held.visitors:
        store.forget_visitor(at_ms, nonce)
    theirs = [conversion.id for conversion in held.conversions]
    # Credits before conversions, as the loader and a repair hold them.
    credited.begin(session)
    sums = SaleSums()
    sums.before_all(session, theirs)
    for start in range(0, len(theirs), IN_MAX):
        ids = theirs[start : start + IN_MAX]
        paths.forget(session, ids)
        session.execute(update(Conversion).where(Conversion.id.in_(ids)).values(customer=None, **NOTHING_KNOWN))
    sums.after_all(session, theirs)
    for start in range(0, len(held.reports), IN_MAX):
        ids = [report.id for report in held.reports[start : start + IN_MAX]]
        session.execute(update(Report).where(Report.id.in_(ids)).values(params={}, agent=None))
    matchkeys.forget(session, held.identities)
    sums.write(session)
    session.commit()
    empty_journal(engine)
