"""Variants of a campaign compared, and the planner, over REST."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

from flask import Response

from tracker import campaigns, days
from tracker.api import shapes
from tracker.api.access import protected, workspace
from tracker.api.openapi import operation
from tracker.api.problems import answer
from tracker.api.schemas import PlannerQuery, VariantsQuery, read_query
from tracker.api.tables import csv_answer, wants_csv
from tracker.extensions import db
from tracker.models import Campaign
from tracker.reports import campaign as reports
from tracker.reports import experiment, planner
from tracker.reports.experiment import METRICS, Comparison, Variant, Wish
from tracker.reports.planner import Needed
from tracker.reports.trial import Pair, SampleRatio, Trial
from tracker.services import services

blueprint = protected("api_variants", __name__)

PLACES = 6


@blueprint.get("/campaigns/<slug>/variants")
@blueprint.get("/campaigns/<slug>/variants.csv")
@operation("Links of a campaign that differ in one thing, compared", query=VariantsQuery)
def show(slug: str) -> Response:
    """Without dates, all days since the campaign began. CSV holds a row for each variant and metric."""
    query = read_query(VariantsQuery)
    campaign, now = campaigns.find(db.session(), workspace(), slug), days.now()
    period = (
        reports.read_period(workspace(), query["from_"], query["to"], now)
        if query["from_"] or query["to"]
        else experiment.whole_period(services().store, campaign, workspace(), now)
    )
    codes = tuple(code for part in query["links"].split(",") if (code := part.strip()))
    wish = Wish(codes, query["control"], experiment.read_split(query["split"]))
    zone = ZoneInfo(workspace().timezone)
    found = experiment.read(
        db.session(),
        services().store,
        campaign,
        period.spans(zone),
        experiment.Days(period.first, period.last, zone),
        wish,
    )
    if wants_csv():
        return csv_answer([row for number, each in enumerate(found.comparisons, 1) for row in _rows(number, each)])
    content: dict[str, Any] = {
        "campaign": campaign.slug,
        "from": period.first.isoformat(),
        "to": period.last.isoformat(),
        "timezone": workspace().timezone,
        "as_of": shapes.instant(now),
        "lag_s": round(services().lag_s(days.to_ms(now)), 3),
        "comparisons": [_comparison(each) for each in found.comparisons],
        "more": found.left,
        "near": [{"links": [link.code for link in each.links], "differs": list(each.differs)} for each in found.near],
    }
    return answer(200, content)


@blueprint.get("/planner")
@operation("How much traffic an experiment takes", query=PlannerQuery)
def plan() -> Response:
    """Rates and shares go in in percent, as on the page, and come out as fractions."""
    query = read_query(PlannerQuery)
    typed: dict[str, str | None] = {name: value for name, value in query.items() if value}
    campaign: Campaign | None = None
    if query["campaign"]:
        campaign = campaigns.find(db.session(), workspace(), query["campaign"])
        known = planner.of_campaign(db.session(), services().store, workspace(), campaign, query["metric"], days.now())
        typed = {**known, **typed}
    found = planner.plan(typed)
    return answer(
        200,
        {
            "campaign": campaign.slug if campaign else None,
            "baseline": round(found.baseline, PLACES),
            "expected": round(found.expected, PLACES),
            "power": round(found.power, PLACES),
            "significance": round(found.significance, PLACES),
            "level": round(found.level, PLACES),
            "variants": found.variants,
            "daily": found.daily,
            "at_end": _needed(found.at_end),
            "any_time": _needed(found.any_time) if found.any_time else None,
        },
    )


def _needed(found: Needed) -> dict[str, Any]:
    return {
        "per_variant": found.per_variant,
        "total": found.total,
        "days": found.days,
        "weeks": found.weeks,
        "too_long": found.is_long,
    }


def _comparison(found: Comparison) -> dict[str, Any]:
    return {
        "differs": list(found.differs),
        "same": dict(found.same),
        "control": found.variants[found.control].links[0].code,
        "begins": found.begins.isoformat(),
        "holds_at_every_look": found.is_whole,
        "some_are_younger": found.is_uneven,
        "destination_changed": {code: day.isoformat() for code, day in found.moved.items()},
        "variants": [_variant(each) for each in found.variants],
        "left_out": found.left,
        "metrics": {metric: _trial(found, trial) for metric, trial in found.trials.items()},
        "sample_ratio": _ratio(found.ratio, found.by) if found.ratio else None,
    }


def _variant(found: Variant) -> dict[str, Any]:
    return {
        "key": found.key,
        "links": [link.code for link in found.links],
        "impressions": found.impressions,
        "unique_clicks": found.unique_clicks,
        "conversions": found.orders,
        "converted_clicks": found.converted,
        "converted_clicks_estimated": found.is_estimated,
        "ctr": shapes.rate(found.ctr),
        "conversion_rate": shapes.rate(found.conversion_rate),
    }


def _trial(found: Comparison, trial: Trial | None) -> dict[str, Any] | None:
    if trial is None:
        return None
    codes = [variant.links[0].code for variant in found.variants]
    return {
        "verdict": str(trial.outcome),
        "leader": codes[trial.leader],
        "chance_to_be_best": {codes[place]: round(chance, 4) for place, chance in trial.chances.items()},
        "pairs": [_pair(pair, codes) for pair in trial.pairs],
    }


def _pair(pair: Pair, codes: list[str]) -> dict[str, Any]:
    return {
        "link": codes[pair.first],
        "against": codes[pair.second],
        "difference": _limits(pair.difference, pair.low, pair.high),
        "lift": _limits(*pair.lift) if pair.lift else None,
        "level": round(pair.level, PLACES),
        "p": round(pair.p, PLACES),
        "settled": pair.is_settled,
        "too_early": pair.is_early,
        "more_trials": None if pair.is_settled else pair.more,
    }


def _limits(value: float, low: float | None, high: float | None) -> dict[str, float | None]:
    return {
        "value": round(value, PLACES),
        "low": None if low is None else round(low, PLACES),
        "high": None if high is None else round(high, PLACES),
    }


def _ratio(found: SampleRatio, by: str) -> dict[str, Any]:
    return {
        "by": by,
        "observed": found.observed,
        "shares": [round(share, PLACES) for share in found.shares],
        "chi_square": round(found.chi_square, PLACES),
        "p": round(found.p, 9),
        "mismatch": found.is_off,
    }


def _rows(number: int, found: Comparison) -> list[dict[str, Any]]:
    """Each variant by each metric, held against the control."""
    rows = []
    for metric in METRICS:
        trial = found.trials[metric]
        for place, variant in enumerate(found.variants):
            rate = getattr(variant, metric)
            pair = trial.between(place, found.control) if trial and place != found.control else None
            led_elsewhere = max(
                (found.moved[link.code] for link in variant.links if link.code in found.moved), default=None
            )
            rows.append(
                {
                    "comparison": number,
                    "differs": " ".join(found.differs),
                    "key": variant.key,
                    "link": variant.links[0].code,
                    "metric": metric,
                    "hits": rate.hits,
                    "trials": rate.trials,
                    "rate": shapes.rate(rate),
                    "control": place == found.control,
                    "difference": _limits(pair.difference, pair.low, pair.high) if pair else _limits_of_none(),
                    "p": round(pair.p, PLACES) if pair else None,
                    "settled": pair.is_settled if pair else None,
                    "chance_to_be_best": round(chance, 4)
                    if trial and (chance := trial.chances.get(place)) is not None
                    else None,
                    "destination_changed": led_elsewhere and led_elsewhere.isoformat(),
                }
            )
    return rows


def _limits_of_none() -> dict[str, float | None]:
    return {"value": None, "low": None, "high": None}
