"""What a report page shows, for programs: one JSON object, or one CSV table of all its tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from flask import Blueprint, Response, request, url_for
from flask.typing import ResponseReturnValue

from tracker import campaigns, days
from tracker.api import shapes
from tracker.api.problems import answer
from tracker.api.tables import csv_answer
from tracker.errors import Invalid
from tracker.extensions import db
from tracker.models import Workspace
from tracker.reports.campaign import CampaignReport
from tracker.web import reportpage, responses
from tracker.web.access import signed_in
from tracker.web.opened import EVERY, OPEN

pages = Blueprint("exports", __name__)
responses.add_not_found(pages)

# Left out where money is not to be seen, however deep it stands.
MONEY = frozenset(
    {
        *("revenue", "revenue_total", "revenue_without_rate", "cost", "cost_total", "cost_without_rate", "currency"),
        *("cost_not_assigned", "cpc", "cpm", "cpa", "epc", "aov", "roas", "roi"),
    }
)


@pages.get("/campaigns/<slug>.json")
@signed_in
def as_json(workspace: Workspace, slug: str) -> ResponseReturnValue:
    return json_file(_of_page(workspace, slug), slug)


@pages.get("/campaigns/<slug>.csv")
@signed_in
def as_csv(workspace: Workspace, slug: str) -> ResponseReturnValue:
    return csv_file(rows(_of_page(workspace, slug)), slug)


def _of_page(workspace: Workspace, slug: str) -> dict[str, Any]:
    """By the same query as the page. Raises Invalid where the page would show something else than it was asked for."""
    campaign = campaigns.find(db.session(), workspace, slug)
    shown = reportpage.context(workspace, campaign, {**request.args, OPEN: EVERY}, days.now())
    if errors := {**shown["choice"].errors, **shown["refused"]}:
        raise Invalid(errors)
    return content(shown)


def menu(slug: str, query: Mapping[str, str]) -> dict[str, str]:
    """Where a campaign's page as it is can be had for programs, and where it can be shared: `export` of the menu."""
    asked: dict[str, Any] = dict(query)
    return {
        "csv": url_for("exports.as_csv", slug=slug, **asked),
        "json": url_for("exports.as_json", slug=slug, **asked),
        "share": url_for("sharing.of_campaign", slug=slug, **asked),
    }


def content(shown: Mapping[str, Any], *, hides_money: bool = False) -> dict[str, Any]:
    """The figures of a campaign's page, in the API's shapes: `groups` by name, each table with all of its rows."""
    report: CampaignReport = shown["report"]
    found = shapes.stats(report, shown["lag_s"], None)
    found["interval"] = shown["choice"].interval
    if report.previous_period:
        found["previous_from"] = report.previous_period.first.isoformat()
        found["previous_to"] = report.previous_period.last.isoformat()
        found["previous_series"] = [shapes.point(step) for step in report.previous_series or []]
    found["groups"] = {name: [shapes.group(each) for each in groups] for name, groups in report.groups.items()}
    return without_money(found) if hides_money else found


def without_money(found: Any) -> Any:
    """The same without what is worth or costs anything."""
    if isinstance(found, Mapping):
        return {name: without_money(value) for name, value in found.items() if name not in MONEY}
    return [without_money(each) for each in found] if isinstance(found, list) else found


def rows(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One table of all: `table` says which a row belongs to, `key` which of its rows it is."""
    named = list(_named(found))
    columns = dict.fromkeys(name for row in named for name in row)
    blanks = {name: _blank(name, found["totals"]) for name in columns}
    return [blanks | row for row in named]


def _named(found: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    yield {"table": "totals", "key": f"{found['from']}/{found['to']}"} | found["totals"]
    if "previous" in found:
        yield {"table": "previous", "key": f"{found['previous_from']}/{found['previous_to']}"} | found["previous"]
    for table in ("series", "previous_series"):
        for point in found.get(table, []):
            yield {"table": table, "key": point["at"]} | {name: n for name, n in point.items() if name != "at"}
    for name, groups in found.get("groups", {}).items():
        for group in groups:
            yield {"table": name} | group


def _blank(name: str, totals: Mapping[str, Any]) -> Any:
    """What stands where a row has no such figure, in the depth of those that have one: a CSV has a column for each."""
    value = totals.get(name)
    return dict.fromkeys(value) if isinstance(value, Mapping) and name != "filtered" else None


def json_file(found: Mapping[str, Any], name: str) -> Response:
    return _file(answer(200, found), f"{name}.json")


def csv_file(found: Sequence[Mapping[str, Any]], name: str) -> Response:
    return _file(csv_answer(found), f"{name}.csv")


def _file(response: Response, name: str) -> Response:
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    response.headers["Cache-Control"] = "private, no-store"
    return response


@pages.errorhandler(Invalid)
def _refused(error: Invalid) -> ResponseReturnValue:
    return responses.problem_page(422, error.title, " ".join(error.errors.values()))
