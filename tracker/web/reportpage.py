"""Everything a campaign's page is made of: for the page itself, for a shared one, and for what is exported of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from tracker import conversions, days
from tracker.errors import Invalid
from tracker.extensions import db
from tracker.models import Campaign, Workspace
from tracker.reports import attribution as credits_report
from tracker.reports import budgetuse, filtered, filters, journeys
from tracker.reports import campaign as campaign_report
from tracker.reports.campaign import CampaignReport
from tracker.reports.filters import Filters
from tracker.reports.grouping import Group, Later
from tracker.reports.metrics import Totals
from tracker.services import services
from tracker.web import attribution, breakdowns, changelog, changes, drawing, heat, periods, standing, variants
from tracker.web import opened as opening
from tracker.web.opened import Opened
from tracker.web.periods import Choice


def context(
    workspace: Workspace,
    campaign: Campaign,
    args: Mapping[str, str],
    now: datetime,
    *,
    is_shared: bool = False,
    hides_money: bool = False,
) -> dict[str, Any]:
    """What `campaigns/report.html` and its partials need, for what `args` (a page's query) ask.

    Where something of it cannot be used, `choice.errors` or `refused` say so, and the rest is shown without it.
    `is_shared`: for eyes outside, so nothing of the workspace beside this campaign is in it. `hides_money`: nor what
    was earned and spent, so that no part of the page can tell.
    """
    store = services().store
    began_today = campaign_report.began_today(store, campaign, workspace, now)
    (wanted, refused), whole, opened = _filters(args), breakdowns.whole(args), opening.opened(args)
    by = "conversion" if args.get("by") == "conversion" else None
    own = {breakdowns.ALL: whole, opening.OPEN: opened.query, "by": by}
    kept = {**wanted.given, **{name: value for name, value in own.items() if value}}
    choice = periods.choose(workspace, args, now, began_today=began_today, kept=kept)
    of, axis = (db.session(), store, workspace, campaign), campaign_report.AXES[by or "click"]
    names = (whole,) if whole else (*breakdowns.FIELDS, *opened.dimensions)
    compare, rates = choice.comparison or False, choice.metric == "ctr"
    found = campaign_report.build(
        *of,
        choice.period,
        now=now,
        compare=compare,
        group_by=names,
        interval=choice.interval,
        filters=wanted,
        axis=axis,
        week=not whole,
        rates=rates,
        money_of_hits=False,  # the tables do not show it, and there may be hundreds of groups
    )
    if hides_money:
        found = without_money(found)
    zone = ZoneInfo(workspace.timezone)
    raw_missing = campaign_report.raw_missing_before(store, campaign, choice.period, zone) if wanted.given else None
    inside = dict(INSIDE_NOTHING)
    if not is_shared:
        inside |= _inside(workspace, campaign, found, opened, now)
        if choice.shows_today:
            today = campaign_report.today(workspace, now)
            inside["today"] = campaign_report.counts(*of, today, filters=wanted, axis=axis)
    return {
        "report": found,
        "choice": choice,
        "by": by,
        "refused": refused,
        "is_shared": is_shared,
        "hides_money": hides_money,
        "chips": breakdowns.chips(wanted),
        "raw_missing_before": raw_missing,
        "changes": _changes(found),
        "bands": drawing.bands(found),
        **_tables(found, choice, whole, opened, is_shared=is_shared),
        "week": heat.draw(found.week, choice.metric) if found.week else None,
        "charts": drawing.charts(found, choice.metric, inside["markers"]),
        "variants": None if whole else variants.summary(found, with_link=not is_shared),
        "left_out": filtered.build(store, workspace, [campaign.id], choice.period, with_hits=False),
        "lag_s": services().lag_s(days.to_ms(now)),
        **inside,
    }


def _tables(
    found: CampaignReport, choice: Choice, whole: str | None, opened: Opened, *, is_shared: bool
) -> dict[str, Any]:
    """The tables; `asked` is this page's address with others of them open, on a shared page with nothing beside."""

    def asked(text: str | None) -> str:
        alone = f"?{opening.OPEN}={text}" if text else "?"
        return alone if is_shared else choice.href(**{opening.OPEN: text})

    shown = breakdowns.ROWS_MAX if whole else drawing.GROUPS_SHOWN
    return {
        "groups": {"link": drawing.groups(found.groups["link"], shown)} if "link" in found.groups else {},
        "breakdowns": breakdowns.tables(found, whole, opened),
        "opened": opened,
        "suggested": {} if is_shared else breakdowns.suggested(found),
        "asked": asked,
        "whole": whole,
    }


# What a shared page tells nothing of: other campaigns, which paths lead through and benchmarks are made of; what was
# changed and why; what the workspace has to look after.
INSIDE_NOTHING: Mapping[str, Any] = {
    "today": None,
    "attribution": None,
    "benchmark": None,
    "markers": [],
    "unmatched": 0,
    "used": None,
}


def _inside(
    workspace: Workspace, campaign: Campaign, found: CampaignReport, opened: Opened, now: datetime
) -> dict[str, Any]:
    session, zone = db.session(), ZoneInfo(workspace.timezone)
    return {
        "attribution": _attribution(campaign, found, opened, zone),
        "benchmark": _standing(workspace, campaign, found, now),
        "markers": changelog.markers(session, campaign, found.period, zone),
        "unmatched": conversions.unmatched_count(session, workspace),
        "used": budgetuse.used(session, services().store, workspace, campaign, now),
    }


def without_money(report: CampaignReport) -> CampaignReport:
    """The same report of which nobody can tell what was earned and spent."""
    groups = report.groups

    def told(name: str) -> list[Group]:
        return [replace(group, totals=moneyless(group.totals)) for group in groups[name]]

    return replace(
        report,
        totals=moneyless(report.totals),
        previous=moneyless(report.previous) if report.previous else None,
        groups=Later(groups, told),
        views=replace(report.views, minor={}),
        not_assigned={},
    )


def moneyless(totals: Totals) -> Totals:
    return replace(
        totals,
        revenue=[],
        cost=None,
        cost_total=None,
        revenue_total=None,
        cost_without_rate=[],
        revenue_without_rate=[],
    )


def _attribution(campaign: Campaign, found: CampaignReport, opened: Opened, zone: ZoneInfo) -> attribution.Shown | None:
    """`None` where the page is cut down by what only hits tell: credits are kept by link."""
    if found.filters.by_hit:
        return None
    spans, session = found.period.spans(zone), db.session()
    links = campaign_report.links_of(session, campaign, found.filters)
    of = (session, campaign.id, spans, links)
    return attribution.Shown(
        opened.tabs(opening.ATTRIBUTION),
        attribution.models(credits_report.build(*of), found.views, campaign.attribution_model)
        if opened.shows("models")
        else None,
        attribution.paths(journeys.build(*of)) if opened.shows("paths") else None,
    )


def _standing(
    workspace: Workspace, campaign: Campaign, found: CampaignReport, now: datetime
) -> standing.Standing | None:
    """`None` where the page is cut down: others are known as a whole."""
    groups = found.groups.get("medium")
    if not groups or found.filters.given:
        return None
    return standing.said(services().benchmark(db.session(), workspace, campaign, groups, now))


def _filters(args: Mapping[str, str]) -> tuple[Filters, Mapping[str, str]]:
    """The filters asked for, and why they are none where they cannot be used."""
    try:
        return filters.read(args), {}
    except Invalid as refusal:
        return filters.EVERYTHING, refusal.errors


def _changes(report: CampaignReport) -> dict[str, changes.Change | None]:
    """The change of each tile; nothing where there is nothing to compare with."""
    before = report.previous
    if before is None or not (before.impressions or before.clicks or before.conversions):
        return {}
    rates = report.changes or {}
    found: dict[str, changes.Change | None] = {
        name: changes.of_count(getattr(report.totals, name), getattr(before, name))
        for name in ("impressions", "clicks", "conversions")
    }
    found |= {
        name: changes.of_rate(rates.get(name), getattr(report.totals, name), getattr(before, name))
        for name in ("ctr", "conversion_rate")
    }
    found |= changes.of_finances(report.totals, before)
    return found | {money.currency: changes.of_money(money, before.revenue) for money in report.totals.revenue}
