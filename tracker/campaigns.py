"""Campaigns: found or made by their `utm_campaign`, edited, listed."""

from __future__ import annotations

from itertools import count

from slugify import slugify
from sqlalchemy import select
from sqlalchemy.orm import Session

from tracker import days
from tracker.destinations import text_refusal
from tracker.errors import Invalid, NotFound, Taken
from tracker.extensions import insert_into
from tracker.models import NAME_MAX, Campaign, Workspace

WINDOW_DAYS_MAX = 365


def slug_of(text: str) -> str:
    return slugify(text, max_length=NAME_MAX - 8) or "campaign"


def ensure(session: Session, workspace: Workspace, utm_campaign: str) -> Campaign:
    """The campaign of this exact `utm_campaign` value, made when it is new. The caller commits."""
    return _of_value(session, workspace, utm_campaign) or _make(session, workspace, utm_campaign, utm_campaign)[0]


def _of_value(session: Session, workspace: Workspace, utm_campaign: str) -> Campaign | None:
    query = select(Campaign).where(Campaign.workspace_id == workspace.id, Campaign.utm_campaign == utm_campaign)
    return session.scalar(query)


def _make(session: Session, workspace: Workspace, utm_campaign: str, name: str) -> tuple[Campaign, bool]:
    """A campaign under the first free slug, and whether it is new.

    The insertion decides, not a look beforehand: of two requests for one value, or for one slug, the later finds the
    row of the earlier and takes it, or the next slug.
    """
    slug = slug_of(utm_campaign)
    for number in count(1):
        new = (
            insert_into(session.get_bind().dialect.name, Campaign)
            .values(
                workspace_id=workspace.id,
                slug=slug if number == 1 else f"{slug}-{number}",
                name=name,
                utm_campaign=utm_campaign,
                created_at=days.now(),
            )
            .on_conflict_do_nothing()
            .returning(Campaign.id)
        )
        made = session.scalar(new)
        if made is not None:
            return session.get_one(Campaign, made), True
        if known := _of_value(session, workspace, utm_campaign):
            return known, False
    raise AssertionError("unreachable: numbers do not end")


def create(session: Session, workspace: Workspace, utm_campaign: str, name: str | None = None) -> Campaign:
    """Stores a campaign and commits. Raises Invalid, or Taken where the value has one already."""
    utm_campaign, name = utm_campaign.strip(), (name or "").strip() or utm_campaign.strip()
    found = {
        "campaign": text_refusal("A campaign", utm_campaign, needed=True),
        "name": text_refusal("A name", name, needed=False),
    }
    if errors := {field: message for field, message in found.items() if message}:
        raise Invalid(errors)
    campaign, is_new = _make(session, workspace, utm_campaign, name)
    session.commit()
    if not is_new:
        raise Taken({"campaign": f"There is a campaign “{utm_campaign}” already."})
    return campaign


def edit(
    session: Session,
    campaign: Campaign,
    *,
    name: str | None = None,
    click_window_days: int | None = None,
    view_window_days: int | None = None,
) -> Campaign:
    """Changes what is given of a campaign and commits; its slug and its `utm_campaign` stay. Raises Invalid.

    A window holds for conversions that are recorded, or dated back, from now on: what was reported keeps its figures.
    """
    name = campaign.name if name is None else name.strip()
    windows = {"click_window_days": click_window_days, "view_window_days": view_window_days}
    errors = {}
    if message := text_refusal("A name", name, needed=True):
        errors["name"] = message
    for field, window in windows.items():
        if window is not None and not 0 <= window <= WINDOW_DAYS_MAX:
            errors[field] = f"A window is a whole number of days from 0 to {WINDOW_DAYS_MAX}."
    if errors:
        raise Invalid(errors)
    campaign.name = name
    for field, window in windows.items():
        if window is not None:
            setattr(campaign, field, window)
    session.commit()
    return campaign


def find(session: Session, workspace: Workspace, slug: str) -> Campaign:
    campaign = session.scalar(select(Campaign).where(Campaign.workspace_id == workspace.id, Campaign.slug == slug))
    if campaign is None:
        raise NotFound(f"There is no campaign “{slug}”.")
    return campaign


def oldest(session: Session, workspace: Workspace, limit: int) -> list[Campaign]:
    query = select(Campaign).where(Campaign.workspace_id == workspace.id).order_by(Campaign.id).limit(limit)
    return list(session.scalars(query))


def listed(session: Session, workspace: Workspace, *, before_id: int | None, limit: int) -> list[Campaign]:
    """Campaigns, newest first, `limit` at most, older than `before_id` where one is given."""
    query = select(Campaign).where(Campaign.workspace_id == workspace.id).order_by(Campaign.id.desc()).limit(limit)
    return list(session.scalars(query if before_id is None else query.where(Campaign.id < before_id)))
