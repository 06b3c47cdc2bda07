"""Audiences as they are kept: a name and the texts of their rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tracker import days
from tracker.audiences import rules
from tracker.audiences.rules import Rule
from tracker.errors import Invalid, NotFound
from tracker.models import ID_MAX, NAME_MAX, Campaign, Workspace
from tracker.reported import Audience

AUDIENCES_MAX = 200  # of a workspace
Rows = Sequence[Mapping[str, str]]


def all_of(session: Session, workspace: Workspace) -> list[Audience]:
    """Every audience, by name."""
    query = select(Audience).where(Audience.workspace_id == workspace.id).order_by(Audience.name, Audience.id)
    return list(session.scalars(query.limit(AUDIENCES_MAX)))


def get(session: Session, workspace: Workspace, audience_id: int) -> Audience:
    """Raises NotFound for one that does not exist or is somebody else's."""
    found = session.get(Audience, audience_id) if audience_id <= ID_MAX else None
    if found is None or found.workspace_id != workspace.id:
        raise NotFound("There is no such audience.")
    return found


def read(session: Session, workspace: Workspace, rows: Rows) -> list[Rule]:
    """Rules from their texts. Raises Invalid, each error by the name of its text and the number of its row."""
    named = {int(row["campaign"]) for row in rows if _is_id(row.get("campaign", ""))}
    own = select(Campaign.id).where(Campaign.workspace_id == workspace.id, Campaign.id.in_(sorted(named)))
    return rules.read(rows, set(session.scalars(own)))


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 10


def create(session: Session, workspace: Workspace, name: str, rows: Rows) -> Audience:
    """Makes an audience; commits. Raises Invalid, naming each field."""
    name = _check(session, workspace, name, rows)
    if session.scalar(select(func.count(Audience.id)).where(Audience.workspace_id == workspace.id)) == AUDIENCES_MAX:
        raise Invalid({"name": f"There are {AUDIENCES_MAX} audiences: delete one first."})
    audience = Audience(workspace_id=workspace.id, name=name, rules=rules.stored(rows))
    session.add(audience)
    session.commit()
    return audience


def edit(session: Session, workspace: Workspace, audience: Audience, name: str, rows: Rows) -> None:
    """Gives an audience another name and other rules; commits. Raises Invalid, naming each field."""
    audience.name = _check(session, workspace, name, rows)
    audience.rules, audience.updated_at = rules.stored(rows), days.now()
    session.commit()


def delete(session: Session, audience: Audience) -> None:
    """Takes an audience away; its customers stay. Commits."""
    session.delete(audience)
    session.commit()


def _check(session: Session, workspace: Workspace, name: str, rows: Rows) -> str:
    errors: dict[str, str] = {}
    name = " ".join(name.split())
    if not 1 <= len(name) <= NAME_MAX or not name.isprintable():
        errors["name"] = f"A name has 1 to {NAME_MAX} characters."
    try:
        read(session, workspace, rows)
    except Invalid as refusal:
        errors |= refusal.errors
    if errors:
        raise Invalid(errors)
    return name
