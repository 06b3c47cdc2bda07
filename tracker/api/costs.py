"""Costs and exchange rates over REST."""

from __future__ import annotations

from functools import partial
from typing import Any

from flask import Response

from tracker import campaigns, costs, days, rates
from tracker.api import shapes
from tracker.api.access import protected, workspace
from tracker.api.openapi import operation
from tracker.api.problems import answer
from tracker.api.schemas import BULK_MAX, CostsNew, PageQuery, RatesNew, RatesQuery, read_body, read_query
from tracker.api.tables import csv_answer, page_by_id, wants_csv
from tracker.campaigning import Cost
from tracker.costs import Entry, Typed
from tracker.errors import Invalid
from tracker.extensions import db
from tracker.models import Campaign
from tracker.rates import Rate

blueprint = protected("api_costs", __name__)

# What fields of an entry are called here.
NAMES = {"first_on": "from", "last_on": "to", "from_on": "from"}


@blueprint.put("/campaigns/<slug>/costs")
@operation(
    f"Store up to {BULK_MAX:,} costs, all or none, each in the place of one of the same days, source and link",
    body=CostsNew,
    answers={200: "How many were new, changed, or there already", 422: "Fields are refused, none was stored"},
)
def put(slug: str) -> Response:
    campaign = campaigns.find(db.session(), workspace(), slug)
    entries, errors = [], dict[str, str]()
    for number, content in enumerate(read_body(CostsNew)["costs"]):
        try:
            entries.append(_entry(campaign, content))
        except Invalid as refusal:
            errors |= {f"costs[{number}].{NAMES.get(field, field)}": text for field, text in refusal.errors.items()}
    if errors:
        raise Invalid(errors)
    stored = costs.put(db.session(), workspace(), entries, origin="api", now=days.now())
    return answer(200, stored._asdict())


def _entry(campaign: Campaign, content: dict[str, Any]) -> Entry:
    typed = Typed(
        first_on=content["from_"],
        last_on=content.get("to") or "",
        amount=content["amount"],
        currency=content.get("currency") or "",
        source=content.get("source") or "",
        link=content.get("link") or "",
        impressions=_text(content.get("impressions")),
        clicks=_text(content.get("clicks")),
    )
    return costs.check(db.session(), workspace(), campaign, typed)


def _text(n: int | None) -> str:
    return "" if n is None else str(n)


@blueprint.get("/campaigns/<slug>/costs")
@blueprint.get("/campaigns/<slug>/costs.csv")
@operation("List what was spent on a campaign, what was stored last first", query=PageQuery)
def listed(slug: str) -> Response:
    campaign = campaigns.find(db.session(), workspace(), slug)
    codes: dict[int, str] = {}

    def fetch(**page: Any) -> list[Cost]:
        found = costs.listed(db.session(), campaign, **page)
        codes.update(costs.codes(db.session(), found))
        return found

    return page_by_id(fetch, partial(shapes.cost, codes=codes))


@blueprint.delete("/campaigns/<slug>/costs/<int:cost_id>")
@operation("Take a cost away", answers={204: "It is gone"})
def remove(slug: str, cost_id: int) -> Response:
    campaign = campaigns.find(db.session(), workspace(), slug)
    costs.remove(db.session(), workspace(), costs.find(db.session(), campaign, cost_id))
    return Response(status=204)


@blueprint.get("/rates")
@blueprint.get("/rates.csv")
@operation("List exchange rates into the workspace's currency, the newest of each first", query=RatesQuery)
def list_rates() -> Response:
    wanted = read_query(RatesQuery)["currency"]
    rows = [shapes.rate_of(rate) for rate in rates.listed(db.session(), workspace(), wanted and wanted.upper())]
    return csv_answer(rows) if wants_csv() else answer(200, {"currency": workspace().currency, "rates": rows})


@blueprint.put("/rates")
@operation(
    "Store exchange rates, all or none, each in the place of one of the same currency and day",
    body=RatesNew,
    answers={204: "Stored", 422: "Fields are refused, none was stored"},
)
def put_rates() -> Response:
    given: dict[tuple[str, Any], Rate] = {}
    gone, errors = [], dict[str, str]()
    for number, content in enumerate(read_body(RatesNew)["rates"]):
        try:
            found = rates.check(workspace(), content["currency"], content["from_"], content["rate"] or "1")
        except Invalid as refusal:
            errors |= {f"rates[{number}].{NAMES.get(field, field)}": text for field, text in refusal.errors.items()}
            continue
        if content["rate"] is None:
            gone.append(found[:2])
        else:
            given[found[:2]] = found
    if errors:
        raise Invalid(errors)
    rates.put(db.session(), workspace(), list(given.values()), gone)
    return Response(status=204)
