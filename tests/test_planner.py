"""The planner: the published sample size, days, and what is typed kept and refused at its field."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.conftest import Api
from tests.crowd import Crowd
from tests.lab import Lab
from tracker.models import Link, Workspace
from tracker.reports import planner

pytestmark = pytest.mark.any_database


def planned(api: Api, **query: str) -> Any:
    response = api("GET", "/planner", query_string=query)
    assert response.status_code == 200, response.text
    return response.json


def page_of(owner: FlaskClient, status: int = 200, **query: str) -> str:
    response = owner.get("/app/planner", query_string=query)
    assert response.status_code == status
    return html.unescape(response.text)


def text_of(page: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def test_the_published_sample_size_comes_out_with_its_days(api: Api, owner: FlaskClient) -> None:
    found = planned(api, baseline="20", lift="5", unit="points", daily="100")
    assert (found["baseline"], found["expected"], found["power"], found["significance"]) == (0.2, 0.25, 0.8, 0.05)
    assert found["at_end"] == {"per_variant": 1030, "total": 2060, "days": 21, "weeks": 3, "too_long": False}
    assert found["any_time"]["per_variant"] > 1030
    assert planned(api, baseline="20", lift="25", daily="100")["at_end"] == found["at_end"]
    page = text_of(page_of(owner, baseline="20", lift="5", unit="points", daily="100"))
    assert "From 20.0 % to 25.0 %: 1,030 unique clicks for each variant , 21 days, if you look once" in page
    assert "8 weeks" not in page


def test_more_than_eight_weeks_are_warned_of(api: Api, owner: FlaskClient) -> None:
    query = {"baseline": "2", "lift": "10", "daily": "300"}
    found = planned(api, **query)
    assert found["at_end"]["days"] > planner.LONG_DAYS
    assert found["at_end"]["too_long"]
    assert "That is more than 8 weeks." in page_of(owner, **query)
    by_looking = page_of(owner, baseline="20", lift="25", daily="60")
    assert "Looking at any time may take more than 8 weeks." in by_looking


def test_all_pairs_of_many_variants_share_the_significance(api: Api, owner: FlaskClient) -> None:
    two, four = (planned(api, baseline="5", variants=n) for n in ("2", "4"))
    assert (two["level"], four["level"]) == (0.05, pytest.approx(0.05 / 6, abs=1e-6))
    assert four["at_end"]["per_variant"] > two["at_end"]["per_variant"]
    assert four["at_end"]["total"] == 4 * four["at_end"]["per_variant"]
    assert "4 variants are 6 pairs" in page_of(owner, baseline="5", variants="4")


def test_without_daily_traffic_there_are_no_days(api: Api, owner: FlaskClient) -> None:
    found = planned(api, baseline="2,5")
    assert (found["baseline"], found["at_end"]["days"], found["at_end"]["weeks"]) == (0.025, None, None)
    assert "if you look once" in page_of(owner, baseline="2.5")


@pytest.mark.parametrize(
    ("field", "value"),
    [("baseline", value) for value in ("0", "100", "-3", "nan", "inf", "much", "1" * 30, "٣")]
    + [("lift", value) for value in ("0", "-5", "x", "2000")]
    + [("unit", "miles"), ("power", "50"), ("power", "100"), ("significance", "0"), ("significance", "50")]
    + [("variants", value) for value in ("1", "9", "2.5", "x")]
    + [("daily", "0"), ("daily", "-1"), ("daily", "1e12")],
)
def test_what_cannot_be_is_refused_at_its_field_and_kept(api: Api, owner: FlaskClient, field: str, value: str) -> None:
    query = {"baseline": "20", field: value}
    refused = api("GET", "/planner", query_string=query)
    assert (refused.status_code, [error["field"] for error in refused.json["errors"]]) == (422, [field])
    page = page_of(owner, 422, **query)
    assert f'id="{field}-error"' in page
    assert f'href="#{field}"' in page
    assert field == "unit" or f'name="{field}" value="{value}"' in page


def test_an_empty_planner_asks_and_refuses_nothing(owner: FlaskClient, api: Api) -> None:
    page = page_of(owner)
    assert "What it takes" not in page
    assert "another look" not in page
    assert api("GET", "/planner").status_code == 422


def test_baseline_and_traffic_come_from_a_campaign(
    api: Api,
    owner: FlaskClient,
    crowd: Crowd,
    workspace: Workspace,
    load: Callable[[], int],
    make_link: Callable[..., Link],
) -> None:
    lab = Lab(crowd, workspace.key, load)
    make_link(code="one")
    lab.play("one", 20, 10, 2)
    make_link(code="unseen", content="unseen")
    lab.play("unseen", 10, 10, with_pixel=False)
    lab.load()
    found = planned(api, campaign="spring-sale")
    assert (found["campaign"], found["baseline"], found["daily"]) == ("spring-sale", 0.1, 20)
    assert planned(api, campaign="spring-sale", metric="ctr")["baseline"] == 0.5
    assert planned(api, campaign="spring-sale", baseline="3")["baseline"] == 0.03
    page = page_of(owner, campaign="spring-sale", metric="ctr")
    assert 'name="baseline" value="50"' in page
    assert 'name="daily" value="20"' in page
    assert "Impressions a day" in page
    assert api("GET", "/planner?campaign=none").status_code == 404
    page_of(owner, 404, campaign="none")


def test_a_campaign_without_traffic_fills_nothing_in(owner: FlaskClient, make_link: Callable[..., Link]) -> None:
    make_link()
    assert 'name="baseline" value=""' in page_of(owner, campaign="spring-sale")
