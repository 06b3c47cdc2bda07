"""What is known of hits, from the request to the page, the API and the terminal: tables, and filters by a click."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from mmdb_writer import MMDBWriter
from netaddr import IPSet
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.conftest import BROWSER, Api
from tests.databases import Database
from tests.test_pages import figure
from tracker import days
from tracker.config import Settings
from tracker.models import Conversion, Link, Workspace
from tracker.pipeline.loader import Loader
from tracker.reports.filters import DIMENSIONS, LINK_FIELDS, NAMES
from tracker.stores import EventStore

pytestmark = pytest.mark.any_database

MakeLink = Callable[..., Link]
PHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/18.5 Mobile/15E148 Safari/604.1"
)
GERMAN, AMERICAN = "2003:e0::1", "8.8.8.8"
# What is known of one visitor and of another; and of a third nothing at all.
PHONE_IN_GERMANY = {
    "country": "DE",
    "device": "mobile",
    "os": "iOS",
    "browser": "Mobile Safari",
    "language": "de",
    "referrer": "www.facebook.com",
    "channel": "social",
}
DESK_IN_AMERICA = {
    "country": "US",
    "device": "desktop",
    "os": "Linux",
    "browser": "Firefox",
    "language": "en",
    "referrer": "chatgpt.com",
    "channel": "ai",
}
SHOWN = {
    "country": "Germany",
    "device": "Mobile",
    "os": "iOS",
    "browser": "Mobile Safari",
    "language": "German",
    "referrer": "www.facebook.com",
    "channel": "Social media",
}


def hit(client: FlaskClient, path: str, agent: str, address: str, language: str, referrer: str) -> str:
    headers = {"User-Agent": agent, "Accept-Language": language, "Referer": referrer}
    response = client.get(path, headers=headers, environ_base={"REMOTE_ADDR": address})
    return response.headers.get("Location", "")


@pytest.fixture
def lived(client: FlaskClient, make_link: MakeLink, workspace: Workspace, load: Callable[[], int]) -> dict[str, Link]:
    """Two links: each seen and clicked from a phone in Germany and a desk in America, one also from nowhere known.

    The phone's click on the first bought for 49.90, the desk's on the second for 10.
    """
    made = {
        name: make_link(code=name, content=name, source=f"from-{name}", medium="podcast") for name in ("one", "two")
    }
    sold = {}
    for name in made:
        for path in (f"/i/{name}.gif", f"/{name}"):
            sold[f"{name}-phone"] = hit(client, path, PHONE, GERMAN, "de-DE,de;q=0.9", "https://www.facebook.com/x")
            sold[f"{name}-desk"] = hit(client, path, BROWSER, AMERICAN, "en-US", "https://chatgpt.com/")
    hit(client, "/one", "Mozilla/5.0 (X) Gecko Thing", "127.0.0.1", "", "")
    client.get("/one", headers={"User-Agent": "curl/8.0"})
    for which, value in (("one-phone", "49.90"), ("two-desk", "10")):
        cid = sold[which].rpartition("cid=")[2].partition("#")[0]
        client.post(f"/c/{workspace.key}", data={"cid": cid, "order": which, "value": value, "currency": "EUR"})
    load()
    return made


def stats(api: Api, **query: str) -> Any:
    response = api("GET", "/campaigns/spring-sale/stats", query_string={"from": str(days.now().date())} | query)
    assert response.status_code == 200, response.text
    return response.json


def page_of(owner: FlaskClient, **query: str) -> str:
    response = owner.get("/app/campaigns/spring-sale", query_string=query)
    assert response.status_code == 200
    return html.unescape(response.text)


def section(page: str, name: str) -> str:
    found = re.search(rf'<section id="by-{name}".*?</section>', page, re.DOTALL)
    assert found, name
    return found[0]


# Tables


@pytest.mark.parametrize("name", sorted(DIMENSIONS))
def test_hits_and_conversions_are_grouped_by_what_is_known_of_them(api: Api, lived: dict[str, Link], name: str) -> None:
    found = stats(api, group_by=name)
    groups = {group["key"]: group for group in found["groups"]}
    phone = groups[PHONE_IN_GERMANY[name]]
    assert (phone["impressions"], phone["clicks"], phone["unique_clicks"], phone["conversions"]) == (2, 2, 1, 1)
    assert phone["conversion_rate"]["value"] == 0.5
    assert phone["conversion_rate"]["low"] < 0.5 < phone["conversion_rate"]["high"]
    assert phone["revenue"] == [{"currency": "EUR", "amount": "49.90"}]
    assert phone["ctr"]["value"] == 1
    assert groups[DESK_IN_AMERICA[name]]["revenue"] == [{"currency": "EUR", "amount": "10.00"}]
    rest = groups["direct" if name == "channel" else None]
    assert (rest["impressions"], rest["clicks"], rest["conversions"]) == (0, 1, 0)
    for metric in ("impressions", "clicks", "unique_clicks", "conversions"):
        assert sum(group[metric] for group in found["groups"]) == found["totals"][metric], metric
    assert phone.keys() == stats(api, group_by="content")["groups"][0].keys()
    assert found["totals"]["filtered"] == {"bot": 1}
    assert phone["filtered"] is None


@pytest.mark.parametrize("name", sorted(DIMENSIONS))
def test_the_page_has_a_table_whose_values_filter_it(owner: FlaskClient, lived: dict[str, Link], name: str) -> None:
    table = section(page_of(owner, open=name), name)
    link = re.search(rf'<a class="filter" href="\?([^"]*)">{SHOWN[name]}</a>', table)
    assert link
    figures = re.findall(r'<td class="number">([^<]*)', table[link.end() : table.index("</tr>", link.end())])
    assert figures == ["2", "2", "1", "100.0 %", "1", "50.0 %"]
    page = html.unescape(owner.get(f"/app/campaigns/spring-sale?{link[1]}").text)
    assert [figure(page, metric) for metric in ("impressions", "clicks", "unique_clicks", "conversions")] == list(
        "2211"
    )
    assert figure(page, "revenue") == "€49.90"
    assert f"<strong>{SHOWN[name]}</strong>" in page
    assert re.search(r'<a [^>]*href="\?(open=\w+)?"', page)  # the way back
    assert "Read from raw events" in page


def test_codes_of_countries_and_languages_stand_beside_their_names(owner: FlaskClient, lived: dict[str, Link]) -> None:
    assert 'Germany</a> <span class="muted">DE</span>' in section(page_of(owner), "country")
    assert 'German</a> <span class="muted">de</span>' in section(page_of(owner, open="language"), "language")


def test_what_is_not_known_has_a_row_of_its_own_that_filters_too(
    owner: FlaskClient, api: Api, lived: dict[str, Link]
) -> None:
    page = page_of(owner, open="all")
    for name in ("country", "device", "os", "language"):
        assert re.search(rf'href="\?open=all&{name}=%28none%29">not known<', section(page, name)), name
    assert 'href="?open=all&referrer=%28none%29">no referrer<' in section(page, "referrer")
    assert stats(api, country="(none)")["totals"]["clicks"] == 1


def test_without_impressions_on_every_link_there_is_no_ctr_by_device(
    owner: FlaskClient, api: Api, client: FlaskClient, make_link: MakeLink, lived: dict[str, Link], load: Any
) -> None:
    make_link(code="advert")
    hit(client, "/advert", PHONE, "2003:e1::1", "de", "")
    load()
    assert {group["ctr"]["value"] for group in stats(api, group_by="device")["groups"]} == {None}
    page = page_of(owner)
    assert "where there is no CTR it would mix both" in page
    assert "Click-through rate" not in section(page, "device")
    assert "Click-through rate" in section(page, "source")


def test_the_busiest_ten_are_shown_and_all_on_request(
    owner: FlaskClient, client: FlaskClient, make_link: MakeLink, load: Callable[[], int]
) -> None:
    make_link(code="many")
    for number in range(13):
        hit(client, "/many", BROWSER, f"2003:e0:{number + 1:x}::1", "de", f"https://site-{number:02}.example/")
    hit(client, "/many", BROWSER, GERMAN, "de", "")
    load()
    table = section(page_of(owner, open="referrer"), "referrer")
    assert table.count('scope="row"') == 11
    assert "no referrer" in table
    more = re.search(r'href="\?([^"]*)">All 14<', table)
    assert more
    page = html.unescape(owner.get(f"/app/campaigns/spring-sale?{more[1].partition('#')[0]}").text)
    assert section(page, "referrer").count('scope="row"') == 14
    assert 'id="by-device"' not in page
    assert "All tables" in page
    assert "All tables" not in page_of(owner, all="nonsense")


# Filters


def test_filters_hold_for_everything_on_the_page(owner: FlaskClient, api: Api, lived: dict[str, Link]) -> None:
    found = stats(api, country="DE", content="one", group_by="link", compare="previous", interval="hour")
    assert found["filters"] == {"content": "one", "country": "DE"}
    totals = found["totals"]
    assert (totals["impressions"], totals["clicks"], totals["conversions"]) == (1, 1, 1)
    assert totals["filtered"] == {}
    assert [group["key"] for group in found["groups"]] == ["one"]
    for metric in ("impressions", "clicks", "conversions"):
        assert sum(step[metric] for step in found["series"]) == 1
    assert found["previous"]["clicks"] == 0
    page = page_of(owner, country="DE", content="one")
    assert 'href="/app/links/two"' not in section(page, "link")
    assert section(page, "country").count('scope="row"') == 1
    assert "live.js" not in page


@pytest.mark.parametrize(("name", "value"), [("link", "one"), ("content", "one"), ("source", "from-one")])
def test_a_filter_by_a_link_s_field_holds_for_hits_and_sales(
    owner: FlaskClient, api: Api, lived: dict[str, Link], name: str, value: str
) -> None:
    found = stats(api, **{name: value}, group_by="device")
    totals = found["totals"]
    assert (totals["impressions"], totals["clicks"], totals["unique_clicks"], totals["conversions"]) == (2, 3, 3, 1)
    assert totals["filtered"] == {"bot": 1}
    assert sum(step["clicks"] for step in found["series"]) == 3
    devices = {group["key"]: (group["clicks"], group["conversions"]) for group in found["groups"]}
    assert devices == {"mobile": (1, 1), "desktop": (1, 0), None: (1, 0)}
    assert "all else from sums" in page_of(owner, **{name: value})


def test_unique_clicks_of_one_link_are_those_of_its_row(api: Api, lived: dict[str, Link]) -> None:
    rows = {group["key"]: group["unique_clicks"] for group in stats(api, group_by="link")["groups"]}
    assert rows == {"one": 3, "two": 2}
    assert stats(api, link="two")["totals"]["unique_clicks"] == 2
    assert stats(api, link="two", country="DE")["totals"]["unique_clicks"] == 1
    by_device = stats(api, link="two", group_by="device")["groups"]
    assert {group["key"]: group["unique_clicks"] for group in by_device} == {"mobile": 1, "desktop": 1}
    assert stats(api, content="two")["totals"]["unique_clicks"] == 0


def test_a_link_that_moved_to_another_campaign_is_still_found_here(
    api: Api, session: Session, lived: dict[str, Link]
) -> None:
    assert api("PATCH", "/links/one", {"campaign": "elsewhere"}).status_code == 200
    assert stats(api, link="one")["totals"]["clicks"] == 3
    assert stats(api, content="one", device="mobile")["totals"]["clicks"] == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_value_that_nothing_has_gives_an_empty_report(
    owner: FlaskClient, api: Api, lived: dict[str, Link], name: str
) -> None:
    totals = stats(api, **{name: "Ünheard/of"}, group_by="device")["totals"]
    assert (totals["impressions"], totals["clicks"], totals["conversions"]) == (0, 0, 0)
    page = page_of(owner, **{name: "Ünheard/of"})
    assert figure(page, "clicks") == "0"
    assert figure(page, "ctr") == "–"
    assert "Nothing was seen or clicked" in page


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", ["x" * 256, "a\0b", "line\nbreak"])
def test_a_value_that_cannot_be_one_is_refused_by_name(
    owner: FlaskClient, api: Api, make_link: MakeLink, name: str, value: str
) -> None:
    make_link()
    refused = api("GET", "/campaigns/spring-sale/stats", query_string={name: value})
    assert (refused.status_code, [error["field"] for error in refused.json["errors"]]) == (422, [name])
    page = owner.get("/app/campaigns/spring-sale", query_string={name: value})
    assert page.status_code == 422
    assert f"<strong>{name}</strong>" in page.text


def test_an_unknown_filter_is_refused_by_name(api: Api, make_link: MakeLink) -> None:
    make_link()
    refused = api("GET", "/campaigns/spring-sale/stats?colour=red")
    assert (refused.status_code, refused.json["errors"][0]["field"]) == (422, "colour")


def test_filters_are_kept_when_the_period_or_the_chart_changes(owner: FlaskClient, lived: dict[str, Link]) -> None:
    page = page_of(owner, country="DE", device="mobile", metric="impressions")
    ways = re.findall(r'href="(/app/campaigns/spring-sale\?[^"]*)"', page)
    assert len(ways) >= 6
    assert all("country=DE" in way and "device=mobile" in way for way in ways)
    form = page[page.index('<form class="dates"') : page.index("</form>", page.index('<form class="dates"'))]
    for name, value in (("country", "DE"), ("device", "mobile")):
        assert f'<input type="hidden" name="{name}" value="{value}">' in form
    assert 'href="?device=mobile&metric=impressions"' in page or 'href="?metric=impressions&device=mobile"' in page
    assert 'href="?metric=impressions">Take out all' in page


def test_what_is_typed_into_a_filter_is_shown_and_never_run(owner: FlaskClient, make_link: MakeLink) -> None:
    make_link()
    page = owner.get("/app/campaigns/spring-sale", query_string={"referrer": '"><script>alert(1)</script>'}).text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_a_country_may_be_asked_for_in_small_letters(api: Api, lived: dict[str, Link]) -> None:
    assert stats(api, country="de")["totals"]["clicks"] == 2


def test_deleted_raw_events_are_told_of_and_conversions_stay(
    owner: FlaskClient, api: Api, store: EventStore, lived: dict[str, Link]
) -> None:
    soon = days.now() + timedelta(seconds=1)
    store.prune(soon)
    page = page_of(owner, country="DE")
    assert "their impressions and clicks are missing here" in page
    assert (figure(page, "clicks"), figure(page, "conversions")) == ("0", "1")
    by_link = page_of(owner, content="one")
    assert "their hits stand under “not known” there" in by_link
    assert figure(by_link, "clicks") == "3"
    assert "are deleted" not in page_of(owner)
    assert {group["key"]: group["conversions"] for group in stats(api, group_by="country")["groups"]} == {
        "DE": 1,
        "US": 1,
        None: 0,
    }


def test_a_table_of_groups_comes_as_csv(api: Api, lived: dict[str, Link]) -> None:
    answer = api("GET", "/campaigns/spring-sale/stats.csv?group_by=country&device=mobile&from=2026-01-01")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(row["key"], row["clicks"], row["conversions"], row["filtered"]) for row in rows] == [("DE", "2", "1", "")]


# What they are made of


def test_a_conversion_keeps_what_was_known_of_its_click(session: Session, lived: dict[str, Link]) -> None:
    found = {row.order_id: row for row in session.scalars(select(Conversion)).unique()}
    phone = {name: getattr(found["one-phone"], f"click_{name}") for name in DIMENSIONS}
    assert phone == PHONE_IN_GERMANY


def test_events_show_country_and_channel(api: Api, lived: dict[str, Link]) -> None:
    items = api("GET", "/events").json["items"]
    assert {(item["country"], item["channel"]) for item in items if item["kind"] in ("click", "impression")} == {
        ("DE", "social"),
        ("US", "ai"),
        (None, "direct"),
    }


def test_a_sale_reported_before_its_click_was_loaded_is_described_all_the_same(
    client: FlaskClient, make_link: MakeLink, workspace: Workspace, session: Session, load: Callable[[], int]
) -> None:
    make_link(code="quick")
    cid = hit(client, "/quick", PHONE, GERMAN, "de", "").rpartition("cid=")[2].partition("#")[0]
    client.post(f"/c/{workspace.key}", data={"cid": cid, "order": "1"})
    assert session.scalars(select(Conversion.click_device)).one() is None
    load()
    session.rollback()
    assert session.scalars(select(Conversion.click_device)).one() == "mobile"


def test_countries_come_from_the_users_file_where_one_is_set(
    tmp_path: Path, database: Database, client: FlaskClient, make_link: MakeLink, store: EventStore, engine: Any
) -> None:
    writer = MMDBWriter(ip_version=6, ipv4_compatible=True, database_type="Own")
    writer.insert_network(IPSet(["8.8.8.0/24"]), {"country": {"iso_code": "NZ"}})
    writer.to_db_file(str(tmp_path / "own.mmdb"))
    environ = database.environ | {"TRACKER_GEO_DB": str(tmp_path / "own.mmdb")}
    make_link(code="far")
    hit(client, "/far", BROWSER, AMERICAN, "en", "")
    Loader(Settings.from_env(environ), engine, store).drain()
    assert [event.country for event in store.recent(1, before=None, limit=5)] == ["NZ"]


def test_a_destination_may_ask_for_the_country(client: FlaskClient, make_link: MakeLink) -> None:
    make_link(code="asks", destination="https://shop.example/{country}/")
    assert hit(client, "/asks", BROWSER, GERMAN, "", "").startswith("https://shop.example/DE/")
    assert hit(client, "/asks", BROWSER, "127.0.0.1", "", "").startswith("https://shop.example//")


def test_where_countries_come_from_is_told(owner: FlaskClient, client: FlaskClient) -> None:
    assert "Regional Internet Registries" in owner.get("/app/settings").text
    assert "Regional Internet Registries" in client.get("/readyz").json["countries"]


def test_every_name_can_be_grouped_and_filtered_by(api: Api, make_link: MakeLink) -> None:
    make_link()
    assert {*LINK_FIELDS, *DIMENSIONS} == set(NAMES)
    for name in NAMES:
        assert stats(api, group_by=name, **{name: "(none)"})["totals"]["clicks"] == 0
