"""What people do to reports and conversions by hand: match to a click or a campaign, correct; each foreseen first."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tracker import clickid, conversions, ledger
from tracker.claims import STATUSES
from tracker.config import Keys
from tracker.days import DAY_MS
from tracker.errors import Invalid
from tracker.events import Kind, Verdict
from tracker.links import by_ids
from tracker.models import Campaign, Conversion, LedgerEntry, Link, Report, Workspace
from tracker.money import Money
from tracker.salesums import SaleSums
from tracker.stores import EventStore, StoredEvent, Wanted

CANDIDATES_MAX = 20  # clicks offered to match a report by hand
_CANDIDATE_DAYS = 30


class Candidate(NamedTuple):
    """A click that a report may have come from, with the click id that says so."""

    click: StoredEvent
    link: Link
    click_id: str


def candidates(
    session: Session, store: EventStore, workspace: Workspace, found: Report, key: clickid.Key
) -> list[Candidate]:
    """The last counted clicks before a report came in, the latest first; those under GPC have no click id."""
    wanted = Wanted(kind=Kind.CLICK, verdict=Verdict.COUNTED, since_ms=found.at_ms - _CANDIDATE_DAYS * DAY_MS)
    before = store.search(workspace.id, wanted, before=(found.at_ms, found.nonce), limit=CANDIDATES_MAX)
    clicks = [click for click in before.events if click.link_id is not None and click.visitor is not None]
    known = by_ids(session, (click.link_id for click in clicks if click.link_id is not None))
    return [
        Candidate(click, link, clickid.make(key, link.id, click.at_ms, click.nonce))
        for click in clicks
        if (link := known.get(click.link_id or 0)) is not None
    ]


class Foreseen(NamedTuple):
    """What would become of a report or a conversion: the conversion as it would be, and the ledger's new rows."""

    result: str
    campaign: str
    link: str | None
    clicked_at_ms: int | None
    status: str
    money: Money | None
    outside_window: bool
    rows: list[tuple[str, Money | None]]


def match(
    session: Session, workspace: Workspace, found: Report, keys: Keys, *, click_id: str, campaign: str
) -> conversions.Outcome:
    """Gives a report by hand to a click or to a campaign, by its slug; commits. Raises Invalid naming the field."""
    outcome = _match(session, workspace, found, keys, click_id, campaign)
    session.commit()
    return outcome


def foresee_match(
    session: Session, workspace: Workspace, found: Report, keys: Keys, *, click_id: str, campaign: str
) -> Foreseen:
    """What `match` would do: it is done, looked at and taken back, so that it cannot be anything else."""
    last_id = _last_entry(session)
    try:
        outcome = _match(session, workspace, found, keys, click_id, campaign)
        return _foreseen(session, session.get_one(Conversion, outcome.conversion_id), outcome.result, last_id)
    finally:
        session.rollback()


def _match(
    session: Session, workspace: Workspace, found: Report, keys: Keys, click_id: str, campaign: str
) -> conversions.Outcome:
    if bool(click_id.strip()) == bool(campaign):
        raise Invalid({"click_id": "Give a click id or a campaign, one of them."})
    if click_id.strip():
        return conversions.give(session, found, keys, click_id=click_id)
    chosen = select(Campaign).where(Campaign.workspace_id == workspace.id, Campaign.slug == campaign)
    return conversions.give(session, found, keys, campaign=session.scalar(chosen))


def correct(session: Session, found: Conversion, *, status: str, amount: Money | None) -> bool:
    """Changes status and value by hand, with rows in the ledger; commits. False where that is how it was."""
    changed = _correct(session, found, status, amount)
    session.commit()
    return changed


def foresee_correction(session: Session, found: Conversion, *, status: str, amount: Money | None) -> Foreseen:
    """What `correct` would do, as `foresee_match` finds out."""
    last_id = _last_entry(session)
    try:
        changed = _correct(session, found, status, amount)
        return _foreseen(session, found, "updated" if changed else "duplicate", last_id)
    finally:
        session.rollback()


def _correct(session: Session, found: Conversion, status: str, amount: Money | None) -> bool:
    if status not in STATUSES:
        raise Invalid({"status": f"A status is one of {', '.join(STATUSES)}."})
    sums = SaleSums()
    changed = ledger.correct(session, found, status, amount, sums)
    sums.write(session)
    return changed


def _last_entry(session: Session) -> int:
    return session.scalar(select(func.max(LedgerEntry.id))) or 0


def _foreseen(session: Session, sale: Conversion, result: str, last_id: int) -> Foreseen:
    session.flush()
    of_it = select(LedgerEntry).where(LedgerEntry.conversion_id == sale.id, LedgerEntry.id > last_id)
    rows = [(row.status, row.money) for row in session.scalars(of_it.order_by(LedgerEntry.id))]
    link = session.get(Link, sale.link_id) if sale.link_id is not None else None
    return Foreseen(
        result,
        session.get_one(Campaign, sale.campaign_id).name,
        link.code if link else None,
        sale.click_at_ms if link else None,
        sale.status,
        sale.money,
        sale.outside_window,
        rows,
    )
