"""Attribution as it is shown: models side by side, paths, time to convert, and days of which more is to come."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from tests.conftest import Api
from tests.crowd import CHROME, Crowd
from tracker import days
from tracker.models import Campaign, Conversion, Link, Workspace
from tracker.reports import maturity
from tracker.reports.maturity import Curve
from tracker.reports.series import Point

pytestmark = pytest.mark.any_database

MakeLink = Callable[..., Link]
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


@pytest.fixture
def sold(crowd: Crowd, make_link: MakeLink, workspace: Workspace, load: Callable[[], int]) -> Callable[..., None]:
    """Somebody clicks these sources in turn, ten seconds apart, and buys."""
    links = {source: make_link(source=source, medium="m") for source in ("newsletter", "google", "podcast")}
    orders = iter(range(1_000))

    def sold(*sources: str, value: str = "100.00", after_s: int = 10) -> None:
        number = next(orders)
        for source in sources:
            crowd.clock.forward(10)
            answer = crowd.get(f"/{links[source].code}", CHROME, f"203.0.113.{number}")
            cid = answer.headers["Location"].partition("cid=")[2][:28]
        crowd.clock.forward(after_s)
        said = {"cid": cid, "order": f"o-{number}", "value": value, "ts": crowd.clock.now_ms // 1000}
        assert crowd._app.test_client().post(f"/c/{workspace.key}", data=said).json["result"] == "recorded"
        load()

    return sold


def test_models_are_compared_over_the_api(sold: Callable[..., None], api: Api) -> None:
    sold("newsletter", "google", "google", "podcast")
    sold("google")
    found = api("GET", "/campaigns/spring-sale/attribution").json
    assert found["model"] == "last_click"
    models = {row.pop("model"): row for row in found["models"]}
    assert models["first_click"] == {
        "conversions": 2.0,
        "millionths": 2_000_000,
        "revenue": [{"currency": "EUR", "amount": "200.00"}],
        "difference": {"conversions": 0.0, "revenue": [{"currency": "EUR", "amount": "0.00"}]},
    }
    links = {row["source"]: row for row in found["links"]}
    assert links["google"]["position_based"] == {
        "conversions": 1.2,
        "millionths": 1_200_000,
        "revenue": [{"currency": "EUR", "amount": "120.00"}],
    }
    assert links["podcast"]["last_click"]["conversions"] == 1.0
    assert found["paths"] == [
        {
            "path": [{"source": source, "medium": "m"} for source in path],
            "left_out": 0,
            "conversions": 1,
            "revenue": [{"currency": "EUR", "amount": "100.00"}],
        }
        for path in (["google"], ["newsletter", "google", "podcast"])
    ]
    assert found["time_to_convert"] == {
        "conversions": 2,
        "lower_quartile_s": 10.0,
        "median_s": 10.0,
        "upper_quartile_s": 10.0,
        "within": {"1h": 1.0, "24h": 1.0, "168h": 1.0, "720h": 1.0},
    }
    assert found["sample"] == {"conversions": 2, "is_whole": True}


def test_the_last_click_models_figures_are_the_headlines(sold: Callable[..., None], api: Api) -> None:
    for path in (("newsletter", "google"), ("google",), ("podcast", "newsletter")):
        sold(*path)
    totals = api("GET", "/campaigns/spring-sale/stats").json["totals"]
    last = api("GET", "/campaigns/spring-sale/attribution").json["models"][0]
    assert (last["conversions"], last["revenue"]) == (totals["conversions"], totals["revenue"])


def test_a_filter_by_link_cuts_credits_down_and_one_by_hit_is_refused_by_name(
    sold: Callable[..., None], api: Api, owner: FlaskClient
) -> None:
    sold("newsletter", "google")
    found = api("GET", "/campaigns/spring-sale/attribution?source=newsletter").json
    assert [row["conversions"] for row in found["models"]] == [0.0, 1.0, 0.5, 0.5, 0.5]
    refused = api("GET", "/campaigns/spring-sale/attribution?country=DE")
    assert (refused.status_code, refused.json["errors"][0]["field"]) == (422, "country")
    assert "Take that filter out" in owner.get("/app/campaigns/spring-sale?country=DE").text


@pytest.mark.parametrize(
    ("table", "first", "cell"),
    [
        ("models", "model", ("last_click", "conversions", "1.0")),
        ("links", "source", ("google", "linear_conversions", "0.5")),
        ("paths", "path", ("newsletter / m → google / m", "conversions", "1")),
    ],
)
def test_each_table_is_a_csv(
    sold: Callable[..., None], api: Api, table: str, first: str, cell: tuple[str, str, str]
) -> None:
    sold("newsletter", "google")
    answer = api("GET", f"/campaigns/spring-sale/attribution.csv?table={table}")
    rows = {row[first]: row for row in csv.DictReader(io.StringIO(answer.text))}
    key, column, value = cell
    assert rows[key][column] == value


def test_the_page_has_models_paths_and_delays(sold: Callable[..., None], owner: FlaskClient) -> None:
    sold("newsletter", "google", after_s=7200)
    page = owner.get("/app/campaigns/spring-sale").text
    assert "Position based" in page
    assert "newsletter / m" in page
    assert "Half of" not in page
    page = owner.get("/app/campaigns/spring-sale?open=paths").text
    assert "Position based" not in page
    assert "newsletter / m" in page
    assert "Half of the conversions came within <strong>2 hours</strong>" in page
    assert "Told from 1 conversion." in page


def test_views_stand_apart(
    crowd: Crowd, make_link: MakeLink, workspace: Workspace, load: Callable[[], int], api: Api, owner: FlaskClient
) -> None:
    crowd.get(f"/i/{make_link().code}.gif")
    crowd.clock.forward(60)
    crowd.get(f"/c/{workspace.key}.gif?order=A-1&value=10.00")
    load()
    found = api("GET", "/campaigns/spring-sale/attribution").json
    assert found["views"] == {"conversions": 1, "revenue": [{"currency": "EUR", "amount": "10.00"}]}
    assert {row["conversions"] for row in found["models"]} == {0.0}
    totals = api("GET", "/campaigns/spring-sale/stats").json["totals"]
    assert (totals["conversions"], totals["revenue"]) == (0, [])
    assert (
        '<strong data-metric="views">1</strong> view-through conversion worth'
        in owner.get("/app/campaigns/spring-sale").text
    )


def test_a_campaign_without_clicks_that_led_anywhere_says_so(make_link: MakeLink, owner: FlaskClient) -> None:
    make_link()
    for opened in ("", "paths"):
        page = owner.get(f"/app/campaigns/spring-sale?open={opened}").text
        assert "No click of these days has led to a conversion yet." in page


def test_model_and_windows_are_chosen_on_a_page(make_link: MakeLink, owner: FlaskClient, api: Api) -> None:
    make_link()
    path = "/app/campaigns/spring-sale/settings"
    assert 'value="30"' in owner.get(path).text
    typed = {"name": "Spring", "attribution_model": "linear", "click_window_days": "7", "view_window_days": "0"}
    assert owner.post(path, data=typed).headers["Location"] == "/app/campaigns/spring-sale"
    found = api("GET", "/campaigns/spring-sale").json
    assert [found[name] for name in typed] == ["Spring", "linear", 7, 0]
    assert owner.get("/app/campaigns/spring-sale").text.count('<tr class="chosen">') == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [("name", " "), ("attribution_model", "best"), ("click_window_days", "366"), ("view_window_days", "x")],
)
def test_a_value_that_will_not_do_is_refused_at_its_field(
    make_link: MakeLink, owner: FlaskClient, api: Api, field: str, value: str
) -> None:
    make_link()
    typed = {"name": "Spring", "attribution_model": "linear", "click_window_days": "7", "view_window_days": "1"}
    answer = owner.post("/app/campaigns/spring-sale/settings", data=typed | {field: value})
    assert answer.status_code == 422
    assert f'id="{field}-error"' in answer.text
    assert api("GET", "/campaigns/spring-sale").json["name"] == "spring-sale"


def test_the_api_changes_model_and_windows(make_link: MakeLink, api: Api) -> None:
    make_link()
    changed = api("PATCH", "/campaigns/spring-sale", {"attribution_model": "time_decay", "click_window_days": 90})
    assert (changed.json["attribution_model"], changed.json["click_window_days"]) == ("time_decay", 90)
    refused = api("PATCH", "/campaigns/spring-sale", {"attribution_model": "best", "view_window_days": -1})
    assert {error["field"] for error in refused.json["errors"]} == {"attribution_model", "view_window_days"}


def test_a_stranger_edits_nothing(make_link: MakeLink, client: FlaskClient) -> None:
    make_link()
    for answer in (
        client.get("/app/campaigns/spring-sale/settings"),
        client.post("/app/campaigns/spring-sale/settings"),
    ):
        assert answer.headers["Location"].startswith("/app/login")


def test_conversions_can_be_dated_by_themselves(
    crowd: Crowd, sold: Callable[..., None], api: Api, owner: FlaskClient
) -> None:
    crowd.clock.forward(-3 * 86_400)
    sold("google", after_s=2 * 86_400)
    by_click, by_conversion = (
        api("GET", f"/campaigns/spring-sale/stats?by={by}&group_by=channel").json for by in ("click", "conversion")
    )

    def days_of(found: Any) -> list[str]:
        return [step["at"] for step in found["series"] if step["conversions"]]

    sold_on, clicked_on = days.from_ms(crowd.clock.now_ms).date(), days.from_ms(crowd.clock.now_ms - 2 * DAY_MS).date()
    assert days_of(by_click) == [clicked_on.isoformat()]
    assert days_of(by_conversion) == [sold_on.isoformat()]
    assert by_conversion["totals"]["conversions"] == by_click["totals"]["conversions"] == 1
    assert sum(group["conversions"] for group in by_conversion["groups"]) == 1
    assert by_conversion["by"] == "conversion"
    page = owner.get("/app/campaigns/spring-sale?by=conversion").text
    assert "Conversions stand on the day they were made" in page
    assert "by=conversion" in page.partition('aria-label="Period"')[2].partition("</nav>")[0]
    assert api("GET", "/campaigns/spring-sale/stats?by=luck").status_code == 422


# Days of which more is to come.


def test_a_curve_tells_what_share_has_come() -> None:
    curve = Curve([HOUR_MS] * 50 + [3 * DAY_MS] * 50)
    assert [curve.share(age) for age in (0, HOUR_MS, DAY_MS, 3 * DAY_MS)] == [0, 0.5, 0.5, 1]
    now_ms = 1_000 * DAY_MS
    assert curve.complete(now_ms - 4 * DAY_MS, now_ms - 3 * DAY_MS, now_ms) == 1
    assert curve.complete(now_ms - 2 * DAY_MS, now_ms - DAY_MS, now_ms) == 0.5
    # Of today's clicks those of the last hour have brought nothing yet.
    assert curve.complete(now_ms - 12 * HOUR_MS, now_ms + 12 * HOUR_MS, now_ms) == pytest.approx(0.5 * 11 / 12)
    assert curve.complete(now_ms, now_ms + DAY_MS, now_ms) == 1


@pytest.fixture
def observed(session: Session, workspace: Workspace, make_link: MakeLink) -> Callable[[int], Campaign]:
    """So many conversions of clicks 40 days ago: half came within the hour, half after three days and a half."""

    def observed(n: int) -> Campaign:
        link = make_link()
        clicked = days.to_ms(days.now()) - 40 * DAY_MS
        for number in range(n):
            delay = HOUR_MS // 2 if number % 2 else 3 * DAY_MS + 12 * HOUR_MS
            row: dict[str, Any] = {"workspace_id": workspace.id, "campaign_id": link.campaign_id, "link_id": link.id}
            row |= {"goal": "purchase", "dedup_key": f"o:{number}", "click_id": "x", "click_nonce": number}
            at = {"click_at_ms": clicked - number, "converted_at_ms": clicked - number + delay}
            session.add(Conversion(**row, **at, status="approved", click_settled=True, path_settled=True))
        session.commit()
        return link.campaign

    return observed


def test_recent_days_are_marked_as_not_complete(
    observed: Callable[[int], Campaign], api: Api, owner: FlaskClient
) -> None:
    observed(60)
    series = api("GET", "/campaigns/spring-sale/stats").json["series"]
    complete = [step["complete"] for step in series]
    assert complete[:9] == [1.0] * 9
    assert complete[-1] == complete[-2] == 0.5
    first, last = (step["at"][:10] for step in (series[0], series[-1]))  # else a campaign of today shows its hours
    page = owner.get(f"/app/campaigns/spring-sale?metric=conversions&from={first}&to={last}").text
    assert "about 50 % in" in page
    assert 'fill="url(#partial-wide)"' in page
    assert "are not complete" in page


def test_with_few_observations_nothing_is_marked(
    observed: Callable[[int], Campaign], api: Api, owner: FlaskClient
) -> None:
    observed(49)
    assert not any("complete" in step for step in api("GET", "/campaigns/spring-sale/stats").json["series"])
    assert "not complete" not in owner.get("/app/campaigns/spring-sale?metric=conversions").text


def test_only_clicks_whose_window_is_over_are_observed(observed: Callable[[int], Campaign], session: Session) -> None:
    campaign = observed(60)
    now = days.now()
    assert maturity.curve(session, campaign, now - timedelta(days=11)) is None
    assert maturity.curve(session, campaign, now) is not None
    campaign.click_window_days = 90
    assert maturity.curve(session, campaign, now) is None


def test_each_step_has_its_own_age() -> None:
    curve, zone, now = Curve([HOUR_MS, 30 * HOUR_MS]), ZoneInfo("Europe/Berlin"), days.now()
    today = days.today(zone, now)
    points = [Point(today - timedelta(days=back)) for back in (3, 2, 1)]
    shares = [point.complete for point in maturity.marked(points, curve, points[-1].at, zone, now)]  # type: ignore[arg-type]
    assert shares[0] == 1
    assert shares == sorted(shares, reverse=True)  # type: ignore[type-var]
