"""All campaigns of a workspace over the same days, each beside the period before: for a shared page and its files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from tracker import days
from tracker.api import shapes
from tracker.errors import Invalid
from tracker.extensions import db
from tracker.models import Workspace
from tracker.reports import campaign as campaign_report
from tracker.reports import overview as overview_report
from tracker.reports.campaign import Period
from tracker.reports.overview import Line
from tracker.services import services
from tracker.web import dashboard
from tracker.web.exports import without_money
from tracker.web.periods import NO_COMPARISON
from tracker.web.reportpage import moneyless

ROWS_MAX = 100


def context(
    workspace: Workspace, args: Mapping[str, str], now: datetime, *, hides_money: bool = False
) -> dict[str, Any]:
    """What `shared/overall.html` needs: the campaigns with anything in these days, the most clicked first."""
    session, store = db.session(), services().store
    period = campaign_report.read_period(workspace, args.get("from"), args.get("to"), now)
    found = overview_report.build(session, store, workspace, period, _before(period, args))
    lines = [line for line in found.lines if _has_any(line)]
    if hides_money:
        lines = [_moneyless(line) for line in lines]
    shown = lines[:ROWS_MAX]
    listed = [line.campaign for line in shown if line.campaign]
    clicks = overview_report.clicks_by_day(store, listed, period, ZoneInfo(workspace.timezone))
    return {
        "all": dashboard.row(_moneyless(found.all) if hides_money else found.all, []),
        "rows": [dashboard.row(line, clicks.get(line.campaign.id, []) if line.campaign else []) for line in shown],
        "lines": lines,
        "left": len(lines) - len(shown),
        "period": period,
        "before": found.before,
        "as_of": now,
        "timezone": workspace.timezone,
        "lag_s": services().lag_s(days.to_ms(now)),
    }


def _before(period: Period, args: Mapping[str, str]) -> Period | None:
    how = args.get("compare") or campaign_report.COMPARISONS[0]
    try:
        return None if how == NO_COMPARISON else campaign_report.read_comparison(period, how, args.get("compare_from"))
    except Invalid:
        return period.before


def _has_any(line: Line) -> bool:
    return bool(line.totals.impressions or line.totals.clicks or line.totals.conversions)


def _moneyless(line: Line) -> Line:
    return replace(line, totals=moneyless(line.totals), before=moneyless(line.before) if line.before else None)


def content(shown: Mapping[str, Any], *, hides_money: bool = False) -> dict[str, Any]:
    """The same for programs, in the API's shapes: all campaigns together, and a row for each."""
    period, before = shown["period"], shown["before"]
    found = {
        "from": period.first.isoformat(),
        "to": period.last.isoformat(),
        "previous_from": before.first.isoformat() if before else None,
        "previous_to": before.last.isoformat() if before else None,
        "timezone": shown["timezone"],
        "as_of": shapes.instant(shown["as_of"]),
        "lag_s": round(shown["lag_s"], 3),
        "totals": _shape(shown["all"].line),
        "campaigns": [
            {"campaign": line.campaign.slug, "name": line.campaign.name} | _shape(line) for line in shown["lines"]
        ],
    }
    return without_money(found) if hides_money else found


def _shape(line: Line) -> dict[str, Any]:
    shape = shapes.totals(line.totals)
    del shape["filtered"]  # not read for lists
    if line.before:
        shape |= {f"previous_{name}": getattr(line.before, name) for name in ("impressions", "clicks", "conversions")}
    return shape
