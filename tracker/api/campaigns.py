"""Campaigns and their figures over REST."""

from __future__ import annotations

from functools import partial

from flask import Response

from tracker import campaigns, days
from tracker.api import shapes
from tracker.api.access import protected, workspace
from tracker.api.openapi import operation
from tracker.api.problems import answer
from tracker.api.schemas import CampaignEdit, CampaignNew, PageQuery, StatsQuery, read_body, read_query
from tracker.api.tables import csv_answer, page_by_id, wants_csv
from tracker.campaigns import Budget
from tracker.errors import Invalid
from tracker.extensions import db
from tracker.reports import campaign as reports
from tracker.reports import filters
from tracker.services import services

blueprint = protected("api_campaigns", __name__)
WEEKHOUR = "weekhour"
BUDGET_FIELDS = {"budget": "budget.amount", "budget_currency": "budget.currency"}


@blueprint.get("/campaigns")
@blueprint.get("/campaigns.csv")
@operation("List campaigns, newest first", query=PageQuery)
def listed() -> Response:
    return page_by_id(partial(campaigns.listed, db.session(), workspace()), shapes.campaign)


@blueprint.post("/campaigns")
@operation("Make a campaign", body=CampaignNew, answers={201: "The campaign", 409: "It exists"})
def create() -> Response:
    content = read_body(CampaignNew)
    campaign = campaigns.create(db.session(), workspace(), content["campaign"], content.get("name"))
    return answer(201, shapes.campaign(campaign))


@blueprint.get("/campaigns/<slug>")
@operation("Show a campaign")
def show(slug: str) -> Response:
    return answer(200, shapes.campaign(campaigns.find(db.session(), workspace(), slug)))


@blueprint.patch("/campaigns/<slug>")
@operation("Change a campaign's name, windows, model of attribution and budget", body=CampaignEdit)
def edit(slug: str) -> Response:
    content = read_body(CampaignEdit)
    if "budget" in content:
        given = content["budget"]
        content["budget"] = Budget(given["amount"], given["currency"]) if given else campaigns.NO_BUDGET
    campaign = campaigns.find(db.session(), workspace(), slug)
    try:
        return answer(200, shapes.campaign(campaigns.edit(db.session(), campaign, **content)))
    except Invalid as refusal:
        raise Invalid({BUDGET_FIELDS.get(name, name): text for name, text in refusal.errors.items()}) from None


@blueprint.get("/campaigns/<slug>/stats")
@blueprint.get("/campaigns/<slug>/stats.csv")
@operation("What a campaign brought", query=StatsQuery)
def stats(slug: str) -> Response:
    """CSV holds the groups where there are any, else the series."""
    query = read_query(StatsQuery)
    group_by, interval = query["group_by"], query["interval"]
    campaign = campaigns.find(db.session(), workspace(), slug)
    now = days.now()
    period = reports.read_period(workspace(), query["from_"], query["to"], now)
    if errors := _refusals(group_by, interval, period):
        raise Invalid(errors)
    if group_by == WEEKHOUR and period.length > reports.HEAT_DAYS_MAX:
        raise Invalid({"group_by": f"By the hour of the week, a report covers at most {reports.HEAT_DAYS_MAX} days."})
    wanted = filters.read(query)
    found = reports.build(
        db.session(),
        services().store,
        workspace(),
        campaign,
        period,
        now=now,
        compare=reports.read_comparison(period, query["compare"], query["compare_from"]) or False,
        group_by=[group_by] if group_by and group_by != WEEKHOUR else [],
        week=group_by == WEEKHOUR,
        interval=interval,
        filters=wanted,
        axis=reports.AXES[query["by"]],
    )
    content = shapes.stats(found, services().lag_s(days.to_ms(now)), group_by)
    return csv_answer(content.get("groups", content["series"])) if wants_csv() else answer(200, content)


@blueprint.get("/campaigns/<slug>/benchmark")
@operation("A campaign beside the workspace's others of its main medium, over the last 90 whole days of theirs")
def benchmark(slug: str) -> Response:
    """The campaign's own rates are those of the default period."""
    campaign, session, now = campaigns.find(db.session(), workspace(), slug), db.session(), days.now()
    period = reports.default_period(workspace(), now)
    found = reports.build(session, services().store, workspace(), campaign, period, now=now, group_by=["medium"])
    standing = services().benchmark(session, workspace(), campaign, found.groups["medium"], now)
    return answer(200, shapes.benchmark(period, standing))


def _refusals(group_by: str | None, interval: str, period: reports.Period) -> dict[str, str]:
    errors = {}
    if group_by is not None and group_by not in (*reports.GROUPS, WEEKHOUR):
        errors["group_by"] = f"Group by one of {', '.join((*reports.GROUPS, WEEKHOUR))}."
    if interval not in reports.INTERVALS:
        errors["interval"] = f"An interval is one of {', '.join(reports.INTERVALS)}."
    elif interval == "hour" and period.length > reports.HOURLY_DAYS_MAX:
        errors["interval"] = f"By the hour, a report covers at most {reports.HOURLY_DAYS_MAX} days."
    return errors
