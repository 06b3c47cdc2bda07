"""How much of its budget a campaign has used, of all that was ever spent on it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tracker import days
from tracker.campaigning import Cost
from tracker.models import Campaign, Workspace
from tracker.money import Money
from tracker.reports import cost
from tracker.stores import EventStore


@dataclass(frozen=True, slots=True)
class Used:
    """What was spent up to today, entries and clicks together, against a budget.

    `spent` is None where it cannot be told in the budget's currency; `amounts` are what was spent, each in its own.
    """

    budget: Money
    spent: Money | None
    amounts: tuple[Money, ...]

    @property
    def share(self) -> float | None:
        return None if self.spent is None else self.spent.minor / self.budget.minor

    @property
    def left(self) -> Money | None:
        """Negative where more was spent than the budget allows."""
        if self.spent is None:
            return None
        return Money(self.budget.minor - self.spent.minor, self.budget.currency)


def used(session: Session, store: EventStore, workspace: Workspace, campaign: Campaign, now: datetime) -> Used | None:
    """None for a campaign without a budget. Costs that lie ahead, or the days of one that do, are not spent yet."""
    budget = campaign.budget
    if budget is None:
        return None
    zone = ZoneInfo(workspace.timezone)
    today = days.today(zone, now)
    first = min(_first_days(session, store, campaign, zone), default=today)
    spans = list(days.spans(*days.bucket_range(min(first, today), today, zone), zone))
    finances = cost.of_campaigns(session, store, workspace, [campaign.id], spans, {})[campaign.id]
    totals = finances.of_totals(cost.NOTHING)
    amounts = tuple(totals.cost or ())
    if not amounts:
        return Used(budget, Money(0, budget.currency), ())
    if [amount.currency for amount in amounts] == [budget.currency]:
        return Used(budget, amounts[0], amounts)
    total = totals.cost_total
    told = total is not None and total.currency == budget.currency and not totals.cost_without_rate
    return Used(budget, total if told else None, amounts)


def _first_days(session: Session, store: EventStore, campaign: Campaign, zone: ZoneInfo) -> list[date]:
    """The first day that has an entry, and the first that has anything else."""
    entered = session.scalar(select(func.min(Cost.first_on)).where(Cost.campaign_id == campaign.id))
    bucket = store.first_bucket(campaign.id)
    happened = None if bucket is None else days.today(zone, days.from_ms(bucket * days.BUCKET_MS))
    return [day for day in (entered, happened) if day is not None]
