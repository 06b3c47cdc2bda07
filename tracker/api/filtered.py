"""What was left out and why, and the codes that no link has, over REST."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask import Response

from tracker import campaigns, codes, days
from tracker.api.access import protected, workspace
from tracker.api.openapi import operation
from tracker.api.problems import answer
from tracker.api.schemas import PeriodQuery, read_query
from tracker.api.tables import csv_answer, wants_csv
from tracker.days import DAY_MS, local_day
from tracker.events import Verdict
from tracker.extensions import db
from tracker.reports import campaign as reports
from tracker.reports import filtered
from tracker.reports.filtered import Filtered, Group, Label
from tracker.services import services
from tracker.stores import Orphan

SHARE_PLACES = 6
ORPHAN_DAYS = 30
ORPHANS_MAX = 200
blueprint = protected("api_filtered", __name__)


@blueprint.get("/filtered")
@blueprint.get("/filtered.csv")
@operation("What was left out of all campaigns, by verdict and label", query=PeriodQuery)
def of_workspace() -> Response:
    return _answer(filtered.campaign_ids(db.session(), workspace()))


@blueprint.get("/campaigns/<slug>/filtered")
@blueprint.get("/campaigns/<slug>/filtered.csv")
@operation("What was left out of a campaign, by verdict and label", query=PeriodQuery)
def of_campaign(slug: str) -> Response:
    return _answer([campaigns.find(db.session(), workspace(), slug).id])


def _answer(ids: list[int]) -> Response:
    query = read_query(PeriodQuery)
    period = reports.read_period(workspace(), query["from_"], query["to"], days.now())
    found = filtered.build(services().store, workspace(), ids, period)
    rows = list(_rows(found))
    if wants_csv():
        return csv_answer(rows)
    return answer(
        200,
        {
            "from": period.first.isoformat(),
            "to": period.last.isoformat(),
            "timezone": workspace().timezone,
            "hits": found.hits,
            "left_out": found.left_out_n,
            "items": rows,
        },
    )


def _rows(found: Filtered) -> Iterator[dict[str, Any]]:
    """A row for each label; rarer ones of a verdict are a row together, with their number as the label."""
    for group in [*found.left_out, *([found.remarked] if found.remarked else [])]:
        for label in group.labels:
            yield _row(found, group, label)
        if group.more_n:
            more = Label(f"{group.more_labels} rarer labels", group.more_impressions, group.more_clicks)
            yield _row(found, group, more)


def _row(found: Filtered, group: Group, label: Label) -> dict[str, Any]:
    share = found.share(label.n)
    return {
        "verdict": group.verdict.word,
        "label": label.name,
        "counted": group.verdict == Verdict.COUNTED,
        "impressions": label.impressions,
        "clicks": label.clicks,
        "share": None if share is None else round(share, SHARE_PLACES),
    }


def known_orphans(workspace_id: int) -> list[Orphan]:
    """The unknown codes of the last thirty UTC days, today among them, the most frequent first."""
    last = days.to_ms(days.now()) // DAY_MS
    return services().store.orphans(workspace_id, last - ORPHAN_DAYS + 1, last, ORPHANS_MAX)


@blueprint.get("/orphans")
@blueprint.get("/orphans.csv")
@operation(f"Codes that no link has, asked for in the last {ORPHAN_DAYS} days, the {ORPHANS_MAX} most frequent")
def orphans() -> Response:
    rows = [
        {
            "code": orphan.code,
            "hits": orphan.n,
            "last_on": local_day(orphan.last_day).isoformat(),
            "can_be_a_link": codes.refusal(orphan.code) is None,
        }
        for orphan in known_orphans(workspace().id)
    ]
    return csv_answer(rows) if wants_csv() else answer(200, {"items": rows})
