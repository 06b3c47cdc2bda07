"""Campaigns: found or made by their `utm_campaign`, renamed, listed."""

from __future__ import annotations

from collections.abc import Iterable

from slugify import slugify
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from tracker.destinations import text_refusal
from tracker.errors import Invalid, NotFound, Taken
from tracker.models import NAME_MAX, Campaign, Workspace


def slug_of(text: str) -> str:
    return slugify(text, max_length=NAME_MAX - 8) or "campaign"


def ensure(session: Session, workspace: Workspace, utm_campaign: str) -> Campaign:
    """The campaign of this exact `utm_campaign` value, made when it is new. The caller commits."""
    known = session.scalar(
        select(Campaign).where(Campaign.workspace_id == workspace.id, Campaign.utm_campaign == utm_campaign)
    )
    return known or _new_campaign(session, workspace, utm_campaign, name=utm_campaign)


def _new_campaign(session: Session, workspace: Workspace, utm_campaign: str, name: str) -> Campaign:
    slug = slug_of(utm_campaign)
    taken = set(
        session.scalars(
            select(Campaign.slug).where(Campaign.workspace_id == workspace.id, Campaign.slug.startswith(slug))
        )
    )
    choices: Iterable[str] = (slug, *(f"{slug}-{n}" for n in range(2, len(taken) + 3)))
    campaign = Campaign(
        workspace_id=workspace.id,
        slug=next(choice for choice in choices if choice not in taken),
        name=name,
        utm_campaign=utm_campaign,
    )
    session.add(campaign)
    session.flush()
    return campaign


def create(session: Session, workspace: Workspace, utm_campaign: str, name: str | None = None) -> Campaign:
    """Stores a campaign and commits. Raises Invalid, or Taken where the value has one already."""
    utm_campaign, name = utm_campaign.strip(), (name or "").strip() or utm_campaign.strip()
    found = {
        "campaign": text_refusal("A campaign", utm_campaign, needed=True),
        "name": text_refusal("A name", name, needed=False),
    }
    if errors := {field: message for field, message in found.items() if message}:
        raise Invalid(errors)
    taken = Taken({"campaign": f"There is a campaign “{utm_campaign}” already."})
    if session.scalar(
        select(Campaign.id).where(Campaign.workspace_id == workspace.id, Campaign.utm_campaign == utm_campaign)
    ):
        raise taken
    try:
        campaign = _new_campaign(session, workspace, utm_campaign, name)
        session.commit()
    except IntegrityError:
        session.rollback()
        raise taken from None
    return campaign


def rename(session: Session, campaign: Campaign, name: str) -> Campaign:
    """Renames a campaign and commits; its slug and its `utm_campaign` stay. Raises Invalid."""
    name = name.strip()
    if message := text_refusal("A name", name, needed=True):
        raise Invalid({"name": message})
    campaign.name = name
    session.commit()
    return campaign


def find(session: Session, workspace: Workspace, slug: str) -> Campaign:
    campaign = session.scalar(select(Campaign).where(Campaign.workspace_id == workspace.id, Campaign.slug == slug))
    if campaign is None:
        raise NotFound(f"There is no campaign “{slug}”.")
    return campaign


def listed(session: Session, workspace: Workspace, *, before_id: int | None, limit: int) -> list[Campaign]:
    """Campaigns, newest first, `limit` at most, older than `before_id` where one is given."""
    query = select(Campaign).where(Campaign.workspace_id == workspace.id).order_by(Campaign.id.desc()).limit(limit)
    return list(session.scalars(query if before_id is None else query.where(Campaign.id < before_id)))
