"""What advertising networks match customers by, kept where a workspace asks for it, and whom it must not be kept of.

Who asked not to be sold (Global Privacy Control) is remembered by the customer's keyed hash and nothing more, whether
the workspace keeps the rest or not: else the next sale would bring them back.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, delete, or_, select, tuple_
from sqlalchemy.orm import Session

from tracker import changelog, days
from tracker.extensions import empty_journal, insert_into
from tracker.identities import NOBODY, Match
from tracker.models import Workspace
from tracker.reported import Identity

FRESH = timedelta(days=1)  # how late it may be noted that a customer has been heard of again
ERASED_AT_ONCE = 1_000
_NOTHING = dict.fromkeys(Match._fields)


def keep(session: Session, workspace: Workspace, customer: str | None, match: Match) -> None:
    """Keeps what a customer is matched by if the workspace asks for that and the customer did not say no.

    The caller commits. Most reports of a customer say nothing new: they are read and nothing is written.
    """
    if not workspace.keeps_identities or customer is None or match == NOBODY:
        return
    now, known = days.now(), _find(session, workspace.id, customer)
    if known is not None and (known.opted_out or (_of(known) == match and now - known.updated_at < FRESH)):
        return
    row = insert_into(session.get_bind().dialect.name, Identity).values(
        workspace_id=workspace.id, customer=customer, opted_out=False, updated_at=now, **match._asdict()
    )
    # The condition, and not what was read above, is what keeps somebody out who says no at this moment.
    here = [Identity.workspace_id, Identity.customer]
    news = match._asdict() | {"updated_at": now}
    session.execute(row.on_conflict_do_update(index_elements=here, set_=news, where=Identity.opted_out.is_(False)))


def opt_out(session: Session, workspace_id: int, named: Iterable[str | None]) -> None:
    """Of these customers nothing is kept from now on, and they are in no audience; the caller commits."""
    for customer in sorted(filter(None, set(named))):
        row = insert_into(session.get_bind().dialect.name, Identity).values(
            workspace_id=workspace_id, customer=customer, opted_out=True, updated_at=days.now(), **_NOTHING
        )
        here = [Identity.workspace_id, Identity.customer]
        session.execute(row.on_conflict_do_update(index_elements=here, set_={"opted_out": True} | _NOTHING))


def _find(session: Session, workspace_id: int, customer: str) -> Identity | None:
    return session.get(Identity, (workspace_id, customer), populate_existing=True)


def _of(identity: Identity) -> Match:
    return Match(*(getattr(identity, name) for name in Match._fields))


def of_customers(session: Session, workspace: Workspace, named: Iterable[str]) -> list[Identity]:
    """What is kept of these customers."""
    theirs = Identity.customer.in_(sorted(set(named)))
    query = select(Identity).where(Identity.workspace_id == workspace.id, theirs).order_by(Identity.customer)
    return list(session.scalars(query))


def forget(session: Session, identities: Iterable[Identity]) -> None:
    """Erases what was kept of customers; that somebody said no stays, or it would be forgotten too. No commit."""
    for identity in identities:
        if not identity.opted_out:
            session.delete(identity)
    session.flush()


def set_keeping(session: Session, workspace: Workspace, keeps: bool) -> None:
    """Begins to keep what customers are matched by, or stops and erases all of it; commits."""
    changelog.set_of_workspace(session, workspace, "workspace", {"keeps_identities": keeps})
    session.commit()
    if not keeps:
        erase(session, and_(Identity.workspace_id == workspace.id, Identity.opted_out.is_(False)))


def tidy(session: Session, before: datetime | None) -> None:
    """Erases what was kept of customers not heard of since an instant; commits.

    And all that workspaces no longer keep: a report that was being recorded as they stopped may have come after.
    """
    stopped = Identity.workspace_id.in_(select(Workspace.id).where(Workspace.keeps_identities.is_(False)))
    over = stopped if before is None else or_(stopped, Identity.updated_at < before)
    erase(session, and_(over, Identity.opted_out.is_(False)))


def erase(session: Session, condition: ColumnElement[bool]) -> None:
    """Erases some at a time, so that nobody waits long for the database; commits."""
    key = tuple_(Identity.workspace_id, Identity.customer)
    found = select(Identity.workspace_id, Identity.customer).where(condition).limit(ERASED_AT_ONCE)
    erased = False
    while some := [tuple(row) for row in session.execute(found)]:
        session.execute(delete(Identity).where(key.in_(some), Identity.opted_out.is_(False)))
        session.commit()
        erased = True
    if erased:
        session.rollback()
        empty_journal(session.get_bind().engine)
