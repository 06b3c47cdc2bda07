"""All campaigns of a workspace over the same days, each beside the period before: for a shared page and its files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tracker import campaigns, days
from tracker.api import shapes
from tracker.extensions import db
from tracker.models import Campaign, Workspace
from tracker.reports import campaign as campaign_report
from tracker.reports import comparison
from tracker.reports.metrics import Totals
from tracker.services import services
from tracker.web import changes
from tracker.web.changes import Change
from tracker.web.exports import without_money

CAMPAIGNS_MAX = 100


@dataclass(frozen=True, slots=True)
class Row:
    """A campaign with its totals, and what became of them since the period before."""

    campaign: Campaign
    totals: Totals
    previous: Totals
    changes: Mapping[str, Change | None]


def context(workspace: Workspace, args: Mapping[str, str], now: datetime) -> dict[str, Any]:
    """What `shared/overall.html` needs: the newest campaigns with anything in these days, the most clicked first."""
    session, store = db.session(), services().store
    period = campaign_report.read_period(workspace, args.get("from"), args.get("to"), now)
    found = []
    for campaign in campaigns.listed(session, workspace, before_id=None, limit=CAMPAIGNS_MAX):
        totals = campaign_report.totals(session, store, workspace, campaign, period)
        previous = campaign_report.totals(session, store, workspace, campaign, period.before)
        if totals.impressions or totals.clicks or totals.conversions:
            found.append(Row(campaign, totals, previous, _changes(totals, previous)))
    found.sort(key=lambda row: (-row.totals.clicks, -row.totals.impressions, row.campaign.id))
    return {
        "rows": found,
        "period": period,
        "as_of": now,
        "timezone": workspace.timezone,
        "lag_s": services().lag_s(days.to_ms(now)),
    }


def _changes(totals: Totals, previous: Totals) -> dict[str, Change | None]:
    if not (previous.impressions or previous.clicks or previous.conversions):
        return {}
    found: dict[str, Change | None] = {
        name: changes.of_count(getattr(totals, name), getattr(previous, name))
        for name in ("impressions", "clicks", "conversions")
    }
    rates = comparison.changes(totals, previous)
    return found | {
        name: changes.of_rate(rate, getattr(totals, name), getattr(previous, name)) for name, rate in rates.items()
    }


def content(shown: Mapping[str, Any], *, hides_money: bool = False) -> dict[str, Any]:
    """The same for programs: a row for each campaign, in the API's shapes."""
    period = shown["period"]
    found = {
        "from": period.first.isoformat(),
        "to": period.last.isoformat(),
        "previous_from": period.before.first.isoformat(),
        "previous_to": period.before.last.isoformat(),
        "timezone": shown["timezone"],
        "as_of": shapes.instant(shown["as_of"]),
        "lag_s": round(shown["lag_s"], 3),
        "campaigns": [
            {"campaign": row.campaign.slug, "name": row.campaign.name}
            | shapes.totals(row.totals)
            | {f"previous_{name}": getattr(row.previous, name) for name in ("impressions", "clicks", "conversions")}
            for row in shown["rows"]
        ],
    }
    return without_money(found) if hides_money else found
