"""The rows of a list of campaigns: each with its default period and with today so far."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from tracker.models import Campaign, Workspace
from tracker.reports import campaign as campaign_report
from tracker.reports.campaign import Period
from tracker.reports.metrics import Totals
from tracker.stores import EventStore


@dataclass(frozen=True, slots=True)
class Row:
    """A campaign with the totals of the last whole days, and those of today."""

    campaign: Campaign
    totals: Totals
    today: Totals


def rows(
    session: Session, store: EventStore, workspace: Workspace, campaigns: list[Campaign], now: datetime
) -> list[Row]:
    period = campaign_report.default_period(workspace, now)
    today = campaign_report.today(workspace, now)

    def totals(campaign: Campaign, shown: Period) -> Totals:
        return campaign_report.totals(session, store, workspace, campaign, shown)

    return [Row(found, totals(found, period), totals(found, today)) for found in campaigns]
