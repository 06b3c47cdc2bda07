"""Costs and rates over REST: put again and again, all or none, listed and taken away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from tests.conftest import Api
from tracker import accounts
from tracker.models import Link, Workspace

pytestmark = pytest.mark.any_database

MakeLink = Callable[..., Link]
PATH = "/campaigns/spring-sale/costs"


def put(api: Api, *costs: dict[str, Any]) -> Any:
    return api("PUT", PATH, {"costs": costs})


def test_the_same_costs_put_again_change_nothing(api: Api, make_link: MakeLink) -> None:
    link = make_link(content="hero")
    costs = (
        {"from": "2026-11-01", "to": "2026-11-07", "amount": "310.00", "currency": "EUR"},
        {"from": "2026-11-01", "amount": "12.5", "currency": "usd", "source": "google", "clicks": 40},
        {"from": "2026-11-01", "amount": "7", "link": link.code, "impressions": 1000, "to": None},
    )
    assert put(api, *costs).json == {"added": 3, "replaced": 0, "unchanged": 0}
    assert put(api, *costs).json == {"added": 0, "replaced": 0, "unchanged": 3}
    assert put(api, costs[0] | {"amount": "1"}).json == {"added": 0, "replaced": 1, "unchanged": 0}
    found = api("GET", PATH).json
    assert found["next_cursor"] is None
    assert [(cost["amount"], cost["currency"], cost["source"], cost["link"]) for cost in found["items"]] == [
        ("7.00", "EUR", None, link.code),
        ("12.50", "USD", "google", None),
        ("1.00", "EUR", None, None),
    ]
    assert found["items"][1]["clicks"] == 40
    assert (found["items"][0]["from"], found["items"][0]["to"]) == ("2026-11-01", "2026-11-01")
    gone = api("DELETE", f"{PATH}/{found['items'][0]['id']}")
    assert gone.status_code == 204
    assert len(api("GET", PATH).json["items"]) == 2
    assert api("DELETE", f"{PATH}/{found['items'][0]['id']}").status_code == 404


def test_one_bad_cost_keeps_all_from_being_stored(api: Api, make_link: MakeLink) -> None:
    make_link()
    refused = put(
        api,
        {"from": "2026-11-01", "amount": "1"},
        {"from": "2026-11-31", "amount": "1,5", "link": "nope"},
    )
    assert refused.status_code == 422
    assert {error["field"] for error in refused.json["errors"]} == {"costs[1].from", "costs[1].amount", "costs[1].link"}
    assert put(api, {"from": "2026-11-01", "amount": 1.5}).json["errors"][0]["field"] == "costs[0].amount"
    twice = {"from": "2026-11-01", "amount": "1"}
    assert put(api, twice, twice).status_code == 422
    assert put(api).status_code == 422
    assert api("GET", PATH).json["items"] == []


def test_statistics_tell_the_cost_and_what_follows_from_it(
    api: Api, client: FlaskClient, make_link: MakeLink, workspace: Workspace, load: Callable[[], int]
) -> None:
    link = make_link(content="hero")
    client.get(f"/i/{link.code}.gif")
    cid = client.get(f"/{link.code}").headers["Location"].partition("cid=")[2][:28]
    client.post(f"/c/{workspace.key}", data={"cid": cid, "value": "49.90", "order": "1"})
    load()
    today = api("GET", "/events").json["items"][0]["at"][:10]
    put(api, {"from": today, "amount": "20.00"}, {"from": today, "amount": "4.95", "link": link.code})
    found = api("GET", f"/campaigns/spring-sale/stats?from={today}&to={today}&compare=previous&group_by=content").json
    wanted = {
        "cost": [{"currency": "EUR", "amount": "24.95"}],
        "cost_total": "24.95",
        "cpc": "24.9500",
        "cpm": "24950.0000",
        "cpa": "24.9500",
        "epc": "49.9000",
        "aov": "49.9000",
        "roas": 2.0,
        "roi": 1.0,
    }
    assert {name: found["totals"][name] for name in wanted} == wanted
    assert (found["previous"]["cost"], found["previous"]["roas"]) == ([], None)
    assert found["groups"][0]["cost_total"] == "4.95"
    assert found["cost_not_assigned"] == [{"currency": "EUR", "amount": "20.00"}]
    table = api("GET", f"/campaigns/spring-sale/stats.csv?from={today}&to={today}&group_by=content").text
    header, row = table.splitlines()[:2]
    cells = dict(zip(header.split(","), row.split(","), strict=True))
    assert (cells["cost_total"], cells["currency"], cells["cpc"]) == ("4.95", "EUR", "4.9500")


def test_a_source_that_looks_like_a_formula_is_harmless_in_a_table(api: Api, make_link: MakeLink) -> None:
    make_link()
    put(api, {"from": "2026-11-01", "amount": "1", "source": "=HYPERLINK(1)"})
    assert "'=HYPERLINK(1)" in api("GET", f"{PATH}.csv").text


def test_rates_are_put_replaced_and_taken_away(api: Api, workspace: Workspace) -> None:
    rates = [
        {"currency": "usd", "from": "2026-11-01", "rate": "0.9215"},
        {"currency": "USD", "from": "2026-11-08", "rate": "0.93"},
        {"currency": "JPY", "from": "2026-11-01", "rate": "0.0061"},
    ]
    assert api("PUT", "/rates", {"rates": rates}).status_code == 204
    changed = [rates[0] | {"rate": "0.9"}, rates[2] | {"rate": None}]
    assert api("PUT", "/rates", {"rates": changed}).status_code == 204
    assert api("GET", "/rates").json == {
        "currency": "EUR",
        "rates": [
            {"currency": "USD", "from": "2026-11-08", "rate": "0.93"},
            {"currency": "USD", "from": "2026-11-01", "rate": "0.9"},
        ],
    }
    assert api("GET", "/rates?currency=jpy").json["rates"] == []
    assert api("GET", "/rates.csv").text.splitlines()[1] == "USD,2026-11-08,0.93"


@pytest.mark.parametrize(
    ("rate", "field"),
    [
        ({"currency": "EUR", "from": "2026-11-01", "rate": "1"}, "rates[1].currency"),
        ({"currency": "XXX", "from": "2026-11-01", "rate": "1"}, "rates[1].currency"),
        ({"currency": "USD", "from": "1.11.2026", "rate": "1"}, "rates[1].from"),
        ({"currency": "USD", "from": "2026-11-01", "rate": "0"}, "rates[1].rate"),
        ({"currency": "USD", "from": "2026-11-01", "rate": "0,9"}, "rates[1].rate"),
        ({"currency": "USD", "from": "2026-11-01", "rate": "-1"}, "rates[1].rate"),
        ({"currency": "USD", "from": "2026-11-01", "rate": "NaN"}, "rates[1].rate"),
        ({"currency": "USD", "from": "2026-11-01", "rate": 0.9}, "rates[1].rate"),
    ],
)
def test_what_is_no_rate_is_refused_and_nothing_is_stored(api: Api, rate: dict[str, Any], field: str) -> None:
    good = {"currency": "USD", "from": "2026-11-01", "rate": "1"}
    refused = api("PUT", "/rates", {"rates": [good, rate]})
    assert refused.status_code == 422
    assert [error["field"] for error in refused.json["errors"]] == [field]
    assert api("GET", "/rates").json["rates"] == []


def test_costs_of_another_workspace_are_nobody_elses(api: Api, app: Any, session: Session, make_link: MakeLink) -> None:
    make_link()
    put(api, {"from": "2026-11-01", "amount": "1"})
    number = api("GET", PATH).json["items"][0]["id"]
    other = Workspace(name="Other", timezone="UTC", currency="USD", key="other-key-000000000000")
    session.add(other)
    session.commit()
    theirs = Api(app.test_client(), accounts.create_token(session, other, "theirs"))
    assert theirs("GET", PATH).status_code == 404
    assert theirs("DELETE", f"{PATH}/{number}").status_code == 404
    assert theirs("GET", "/rates").json == {"currency": "USD", "rates": []}
