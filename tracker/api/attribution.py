"""What models of attribution credit to a campaign, by which paths its conversions came, and how long they took."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

from flask import Response

from tracker import campaigns, days
from tracker.api import shapes
from tracker.api.access import protected, workspace
from tracker.api.openapi import operation
from tracker.api.problems import answer
from tracker.api.schemas import AttributionQuery, read_query
from tracker.api.tables import csv_answer, wants_csv
from tracker.credits import WHOLE, Model
from tracker.errors import Invalid
from tracker.extensions import db
from tracker.reports import attribution, filters, journeys
from tracker.reports import campaign as reports
from tracker.reports.attribution import Compared, Credit
from tracker.reports.journeys import Delay, Way
from tracker.services import services

blueprint = protected("api_attribution", __name__)

LINKS_MAX = 1_000
PATHS_MAX = 100
SHARE_PLACES = 4


@blueprint.get("/campaigns/<slug>/attribution")
@blueprint.get("/campaigns/<slug>/attribution.csv")
@operation("What each model of attribution credits to a campaign", query=AttributionQuery)
def show(slug: str) -> Response:
    """Credits are by the day of each touch. CSV holds one of the tables, whichever `table` names."""
    query = read_query(AttributionQuery)
    campaign = campaigns.find(db.session(), workspace(), slug)
    now = days.now()
    period = reports.read_period(workspace(), query["from_"], query["to"], now)
    wanted = filters.read(query)
    if wanted.by_hit:
        name = next(name for name in wanted.given if name in filters.DIMENSIONS)
        raise Invalid({name: "Credits are kept by link and not by what is known of a hit."})
    spans = period.spans(ZoneInfo(workspace().timezone))
    links = reports.links_of(db.session(), campaign, wanted)
    found = attribution.build(db.session(), campaign.id, spans, links)
    viewed = attribution.views(db.session(), campaign.id, spans, links)
    seen = journeys.build(db.session(), campaign.id, spans, links)
    tables = {
        "models": [_model(found.total, model) for model in Model],
        "links": [_link(each) for each in found.by_link[:LINKS_MAX]],
        "paths": [_path(way) for way in seen.paths[:PATHS_MAX]],
    }
    if wants_csv():
        return csv_answer(_csv_rows(query["table"], tables))
    content: dict[str, Any] = {
        "campaign": campaign.slug,
        "from": period.first.isoformat(),
        "to": period.last.isoformat(),
        "timezone": workspace().timezone,
        "as_of": shapes.instant(now),
        "lag_s": round(services().lag_s(days.to_ms(now)), 3),
        "filters": dict(wanted.given),
        "model": campaign.attribution_model,
        **tables,
        "views": {
            "conversions": viewed.millionths // WHOLE,
            "revenue": [shapes.money(each) for each in viewed.revenue],
        },
        "time_to_convert": _delay(seen.delay),
        "sample": {"conversions": seen.looked_at, "is_whole": not seen.is_sample},
    }
    return answer(200, content)


def _credit(credit: Credit) -> dict[str, Any]:
    return {
        "conversions": float(credit.conversions),
        "millionths": credit.millionths,
        "revenue": [shapes.money(each) for each in credit.revenue],
    }


def _model(compared: Compared, model: Model) -> dict[str, Any]:
    credit = compared.of[model]
    difference = credit.less(compared.base)
    return {
        "model": model.word,
        **_credit(credit),
        "difference": {
            "conversions": float(difference.conversions),
            "revenue": [shapes.money(each) for each in difference.revenue],
        },
    }


def _link(compared: Compared) -> dict[str, Any]:
    link = compared.links[0]
    named = {"link": link.code, "source": link.source, "medium": link.medium, "content": link.content}
    return named | {model.word: _credit(compared.of[model]) for model in Model}


def _path(way: Way) -> dict[str, Any]:
    return {
        "path": [{"source": source, "medium": medium} for source, medium in way.placements],
        "left_out": way.left_out,
        "conversions": way.n,
        "revenue": [shapes.money(each) for each in way.revenue],
    }


def _csv_rows(table: str, tables: Mapping[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The same without depth: a path is one text, a link's credits are columns named by their model."""
    if table == "paths":
        steps = ([f"{step['source']} / {step['medium']}" for step in row["path"]] for row in tables[table])
        return [row | {"path": " → ".join(texts)} for row, texts in zip(tables[table], steps, strict=True)]
    if table == "models":
        return [
            {name: value for name, value in row.items() if name != "difference"}
            | {f"difference_{name}": value for name, value in row["difference"].items()}
            for row in tables[table]
        ]
    return [
        {name: value for name, value in row.items() if not isinstance(value, dict)}
        | {f"{model.word}_{name}": value for model in Model for name, value in row[model.word].items()}
        for row in tables[table]
    ]


def _delay(delay: Delay | None) -> dict[str, Any] | None:
    if delay is None:
        return None
    return {
        "conversions": delay.n,
        "lower_quartile_s": round(delay.lower_s, 3),
        "median_s": round(delay.median_s, 3),
        "upper_quartile_s": round(delay.upper_s, 3),
        "within": {f"{hours}h": round(share, SHARE_PLACES) for hours, share in delay.within.items()},
    }
