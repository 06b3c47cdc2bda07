"""Campaigns: found or made by their `utm_campaign`, edited, listed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from itertools import count
from typing import NamedTuple

from slugify import slugify
from sqlalchemy import Select, bindparam, select
from sqlalchemy.orm import Session

from tracker import changelog, credits, days, money
from tracker.destinations import text_refusal
from tracker.errors import Invalid, NotFound, Taken
from tracker.extensions import insert_into
from tracker.models import NAME_MAX, Campaign, Workspace
from tracker.money import Money

WINDOW_DAYS_MAX = 365


class Budget(NamedTuple):
    """What may be spent on a campaign in all, as somebody typed it; without an amount there is no limit."""

    amount: str
    currency: str

    def read(self) -> tuple[Money | None, dict[str, str]]:
        """The money, and what is wrong with it by field."""
        if not self.amount:
            return None, {}
        if not money.is_currency(self.currency):
            return None, {"budget_currency": "Give a currency as its ISO 4217 code, like EUR."}
        try:
            found = money.parse(self.amount, self.currency)
        except ValueError as error:
            return None, {"budget": str(error)}
        return (found, {}) if found.minor > 0 else (None, {"budget": "A budget is more than 0; leave it out for none."})


NO_BUDGET = Budget("", "")


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
            fields = [("campaign", None, utm_campaign)]
            if name != utm_campaign:
                fields.append(("name", None, name))
            changelog.record(session, workspace_id=workspace.id, kind="campaign", campaign_id=made, fields=fields)
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
    attribution_model: str | None = None,
    budget: Budget | None = None,
) -> Campaign:
    """Changes what is given of a campaign and commits; its slug and its `utm_campaign` stay. Raises Invalid.

    A window holds for conversions that are recorded, or dated back, from now on: what was reported keeps its figures.
    """
    name = None if name is None else name.strip()
    windows = {"click_window_days": click_window_days, "view_window_days": view_window_days}
    allowed, errors = (budget or NO_BUDGET).read()
    if name is not None and (message := text_refusal("A name", name, needed=True)):
        errors["name"] = message
    if attribution_model is not None and attribution_model not in credits.MODELS:
        errors["attribution_model"] = f"A model is one of {', '.join(credits.MODELS)}."
    for field, window in windows.items():
        if window is not None and not 0 <= window <= WINDOW_DAYS_MAX:
            errors[field] = f"A window is a whole number of days from 0 to {WINDOW_DAYS_MAX}."
    if errors:
        raise Invalid(errors)
    changelog.hold_row(session, campaign)
    given = {"name": name, "attribution_model": attribution_model, **windows}
    values = {field: value for field, value in given.items() if value is not None}
    _change(session, campaign, values)
    if budget is not None:
        _set_budget(session, campaign, allowed)
    session.commit()
    return campaign


def _change(session: Session, campaign: Campaign, values: Mapping[str, object]) -> None:
    was = {field: getattr(campaign, field) for field in values}
    for field, value in values.items():
        setattr(campaign, field, value)
    _record(session, campaign, "campaign", changelog.differences(was, values))


def _set_budget(session: Session, campaign: Campaign, budget: Money | None) -> None:
    was = campaign.budget
    campaign.budget_minor, campaign.budget_currency = budget or (None, None)
    fields = changelog.differences({"budget": _written(was)}, {"budget": _written(budget)})
    _record(session, campaign, "budget", fields)


def _written(amount: Money | None) -> str | None:
    return None if amount is None else f"{amount.amount} {amount.currency}"


def _record(session: Session, campaign: Campaign, kind: str, fields: Iterable[changelog.Field]) -> None:
    changelog.record(session, workspace_id=campaign.workspace_id, kind=kind, campaign_id=campaign.id, fields=fields)


def find(session: Session, workspace: Workspace, slug: str) -> Campaign:
    # PostgreSQL refuses a NUL even in a question.
    given = {"workspace": workspace.id, "slug": slug}
    campaign = None if "\0" in slug else session.scalar(_by_slug(), given)
    if campaign is None:
        raise NotFound(f"There is no campaign “{slug}”.")
    return campaign


@cache
def _by_slug() -> Select[Campaign]:
    return select(Campaign).where(Campaign.workspace_id == bindparam("workspace"), Campaign.slug == bindparam("slug"))


def oldest(session: Session, workspace: Workspace, limit: int) -> list[Campaign]:
    query = select(Campaign).where(Campaign.workspace_id == workspace.id).order_by(Campaign.id).limit(limit)
    return list(session.scalars(query))


def listed(session: Session, workspace: Workspace, *, before_id: int | None, limit: int) -> list[Campaign]:
    """Campaigns, newest first, `limit` at most, older than `before_id` where one is given."""
    query = select(Campaign).where(Campaign.workspace_id == workspace.id).order_by(Campaign.id.desc()).limit(limit)
    return list(session.scalars(query if before_id is None else query.where(Campaign.id < before_id)))
