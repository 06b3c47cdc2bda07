"""How much of a campaign's budget is spent: by what was entered until today, and by what clicks said they cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import date, datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import and_, case, func, select
from sqlalchemy.orm import Session

from tracker import costs, days
from tracker.campaigning import Cost
from tracker.models import Campaign, Workspace
from tracker.money import Money
from tracker.rates import micros
from tracker.stores import EventStore

NEARLY = 90  # per cent
CAMPAIGNS_MAX = 100  # with a budget, the newest
FIRST_DAY = date(1970, 1, 1)


class Spent(NamedTuple):
    """A budget that is nearly or wholly spent. Money in other currencies is not in `spent`: it is at least so much."""

    slug: str
    name: str
    budget: Money
    spent: Money

    @property
    def is_over(self) -> bool:
        return self.spent.minor >= self.budget.minor


def nearly_spent(session: Session, store: EventStore, workspace: Workspace, now: datetime) -> Iterator[Spent]:
    """Campaigns that have spent NEARLY per cent of their budget, or more."""
    query = select(Campaign).where(
        Campaign.workspace_id == workspace.id, Campaign.archived_at.is_(None), Campaign.budget_minor.is_not(None)
    )
    campaigns = list(session.scalars(query.order_by(Campaign.id.desc()).limit(CAMPAIGNS_MAX)))
    if not campaigns:
        return
    entered = _entered(session, campaigns, days.today(ZoneInfo(workspace.timezone), now))
    for campaign in campaigns:
        if campaign.budget is None:
            continue
        currency = campaign.budget.currency
        one = micros(1, currency)
        said = sum(
            cost.micros
            for cost in store.click_costs(campaign.id, 0, days.bucket_of(now) + 1)
            if cost.currency == currency
        )
        spent = entered[campaign.id] + said // one
        if spent * 100 >= campaign.budget.minor * NEARLY:
            yield Spent(campaign.slug, campaign.name, campaign.budget, Money(spent, currency))


def _entered(session: Session, campaigns: list[Campaign], today: date) -> dict[int, int]:
    """Minor units that were entered for days until today, in the currency of each budget."""
    # Of an entry that reaches beyond today a part counts; the others are added up in the database.
    is_over = Cost.last_on <= today
    query = (
        select(
            Cost.campaign_id,
            func.min(Cost.first_on).label("first_on"),
            func.max(Cost.last_on).label("last_on"),
            func.sum(Cost.minor).label("minor"),
        )
        .join(Campaign, and_(Campaign.id == Cost.campaign_id, Campaign.budget_currency == Cost.currency))
        .where(Cost.campaign_id.in_([campaign.id for campaign in campaigns]), Cost.first_on <= today)
        .group_by(Cost.campaign_id, case((is_over, 0), else_=Cost.id))
    )
    found: dict[int, int] = defaultdict(int)
    for row in session.execute(query):
        minor = int(row.minor)
        if row.last_on > today:
            minor = costs.part(minor, row.first_on, row.last_on, FIRST_DAY, today)
        found[row.campaign_id] += minor
    return found
