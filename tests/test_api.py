"""The REST API by its contract: shapes, statuses, errors that name fields."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable

import pytest
from flask.testing import FlaskClient
from openapi_spec_validator import validate

from tests.conftest import BASE_URL, Api
from tracker.models import Link, Workspace
from tracker.stores import Batch, EventStore, StoredEvent

pytestmark = pytest.mark.any_database

MakeLink = Callable[..., Link]
SPRING = {
    "destination": "https://shop.example/sale?ref=1#top",
    "campaign": "Spring Sale",
    "source": "newsletter",
    "medium": "email",
}


def test_a_long_answer_is_compressed_for_who_asks_for_that(api: Api) -> None:
    plain = api("GET", "/openapi.json")
    packed = api("GET", "/openapi.json", headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.data) == plain.data


def test_a_link_is_made_with_everything_to_paste(api: Api) -> None:
    response = api("POST", "/links", SPRING | {"content": "hero-b", "code": "spring", "tags": ["a"], "title": "T"})
    assert response.status_code == 201
    assert response.json | {"created_at": "", "updated_at": ""} == {
        "code": "spring",
        "short_url": f"{BASE_URL}/spring",
        "cost_url": None,
        "destination": SPRING["destination"],
        "tagged_url": "https://shop.example/sale?ref=1&utm_source=newsletter&utm_medium=email"
        "&utm_campaign=Spring%20Sale&utm_content=hero-b#top",
        "impression_pixel_url": f"{BASE_URL}/i/spring.gif",
        "impression_pixel_html": f'<img src="{BASE_URL}/i/spring.gif" width="1" height="1" alt="" border="0">',
        "honeypot_html": f'<a href="{BASE_URL}/h/spring" rel="nofollow" tabindex="-1" aria-hidden="true"'
        ' style="display:none"></a>',
        "campaign": {"slug": "spring-sale", "name": "Spring Sale"},
        "source": "newsletter",
        "medium": "email",
        "term": None,
        "content": "hero-b",
        "id": None,
        "title": "T",
        "tags": ["a"],
        "redirect_code": 302,
        "query_mode": "link_wins",
        "click_id_param": None,
        "referrer_policy": "unsafe-url",
        "fallback_url": None,
        "cost_param": None,
        "cost_currency": None,
        "created_at": "",
        "updated_at": "",
        "expires_at": None,
        "archived_at": None,
    }
    assert api("GET", "/links/spring").json == response.json


@pytest.mark.parametrize(
    ("change", "status", "fields"),
    [
        ({"destination": "ftp://x"}, 422, {"destination"}),
        ({"destination": None}, 422, {"destination"}),
        ({"destination": 5}, 422, {"destination"}),
        ({"campaign": "", "source": ""}, 422, {"campaign", "source"}),
        ({"colour": "red"}, 422, {"colour"}),
        ({"expires_at": "tomorrow"}, 422, {"expires_at"}),
        ({"expires_at": "2026-01-01T00:00:00"}, 422, {"expires_at"}),
        ({"tags": [1]}, 422, {"tags.0"}),
        ({"redirect_code": 303}, 422, {"redirect_code"}),
        ({"destination": f"{BASE_URL}/x"}, 422, {"destination"}),
        ({"code": "app"}, 422, {"code"}),
        ({"code": "taken"}, 409, {"code"}),
    ],
)
def test_refusals_are_problem_details_that_name_each_field(
    api: Api, make_link: MakeLink, change: dict[str, object], status: int, fields: set[str]
) -> None:
    make_link(code="taken")
    response = api("POST", "/links", SPRING | change)
    assert response.status_code == status
    assert response.mimetype == "application/problem+json"
    assert {error["field"] for error in response.json["errors"]} == fields
    assert all(error["message"] for error in response.json["errors"])


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_object_is_400(api: Api, body: bytes) -> None:
    response = api("POST", "/links", data=body)
    assert (response.status_code, response.mimetype) == (400, "application/problem+json")


@pytest.mark.parametrize(
    "path",
    [
        *("/links", "/links/x", "/campaigns", "/campaigns/x/stats", "/events", "/conversions", "/workspace"),
        *("/filtered", "/campaigns/x/filtered", "/orphans", "/orphans.csv"),
    ],
)
@pytest.mark.parametrize("header", [None, "Bearer wrong", "Basic abc", "Bearer"])
def test_without_a_valid_token_nothing_is_shown(client: FlaskClient, path: str, header: str | None) -> None:
    response = client.get(f"/api/v1{path}", headers={"Authorization": header} if header else {})
    assert response.status_code == 401
    assert response.mimetype == "application/problem+json"
    assert response.headers["WWW-Authenticate"] == "Bearer"


def test_a_signed_in_owner_still_needs_a_token(owner: FlaskClient) -> None:
    assert owner.get("/api/v1/links").status_code == 401


def test_links_are_listed_edited_and_archived(api: Api, client: FlaskClient) -> None:
    codes = [api("POST", "/links", SPRING).json["code"] for _ in range(3)]
    first = api("GET", "/links?limit=2").json
    assert [row["code"] for row in first["items"]] == codes[:0:-1]
    rest = api("GET", f"/links?limit=2&cursor={first['next_cursor']}").json
    assert [row["code"] for row in rest["items"]] == codes[:1]
    assert rest["next_cursor"] is None
    edited = api("PATCH", f"/links/{codes[0]}", {"destination": "https://new.example/", "term": "t"})
    assert edited.json["tagged_url"].startswith("https://new.example/?utm_source=newsletter")
    assert api("PATCH", f"/links/{codes[0]}", {"destination": "x"}).status_code == 422
    assert api("DELETE", f"/links/{codes[0]}").status_code == 204
    assert api("DELETE", f"/links/{codes[0]}").status_code == 204
    assert api("GET", f"/links/{codes[0]}").json["archived_at"]
    assert client.get(f"/{codes[0]}").status_code == 410
    assert api("PATCH", f"/links/{codes[0]}", {"archived": False}).json["archived_at"] is None
    assert api("GET", "/links/nobody").status_code == 404
    assert api("GET", "/links?limit=0").status_code == 422
    assert api("GET", "/links?cursor=x").status_code == 422


def test_many_links_are_made_at_once_in_the_shape_of_one(api: Api) -> None:
    made = api(
        "POST", "/links/bulk", {"links": [SPRING | {"code": "b"}, SPRING, SPRING | {"code": "a", "tags": ["x"]}]}
    )
    assert made.status_code == 201
    first, second, third = made.json["links"]
    assert (first["code"], len(second["code"]), third["code"]) == ("b", 7, "a")
    assert [api("GET", f"/links/{link['code']}").json for link in made.json["links"]] == made.json["links"]
    assert set(first) == set(api("POST", "/links", SPRING).json)


@pytest.mark.parametrize(
    ("changes", "status", "fields"),
    [
        ([{}, {"source": ""}, {"destination": "x", "medium": ""}], 422, ["1.source", "2.destination", "2.medium"]),
        ([{}, {"colour": "red"}, {"tags": [1]}], 422, ["1.colour", "2.tags.0"]),
        ([{}, {"code": "taken"}], 409, ["1.code"]),
        ([{"code": "twice"}, {"code": "twice"}, {"code": "taken"}], 422, ["1.code", "2.code"]),
    ],
)
def test_of_many_links_none_is_made_where_one_is_refused(
    api: Api, make_link: MakeLink, changes: list[dict[str, object]], status: int, fields: list[str]
) -> None:
    make_link(code="taken")
    response = api("POST", "/links/bulk", {"links": [SPRING | change for change in changes]})
    assert (response.status_code, response.mimetype) == (status, "application/problem+json")
    named = [error["field"] for error in response.json["errors"]]
    assert named == ["links[{}].{}".format(*field.split(".", 1)) for field in fields]
    assert [row["code"] for row in api("GET", "/links").json["items"]] == ["taken"]
    assert [row["slug"] for row in api("GET", "/campaigns").json["items"]] == ["spring-sale"]


@pytest.mark.parametrize("links", [None, [], {}, [1], [SPRING] * 1001])
def test_a_list_of_links_has_one_to_a_thousand(api: Api, links: object) -> None:
    response = api("POST", "/links/bulk", {"links": links})
    assert response.status_code == 422
    assert {error["field"] for error in response.json["errors"]} <= {"links", "links[0]"}
    assert api("GET", "/links").json["items"] == []


def test_campaigns_are_made_found_and_renamed(api: Api) -> None:
    made = api("POST", "/campaigns", {"campaign": "Winter", "name": "Winter 2026"})
    assert (made.status_code, made.json["slug"]) == (201, "winter")
    assert api("POST", "/campaigns", {"campaign": "Winter"}).status_code == 409
    assert api("PATCH", "/campaigns/winter", {"name": "Cold"}).json["name"] == "Cold"
    assert api("POST", "/links", SPRING | {"campaign": "Winter"}).json["campaign"] == {"slug": "winter", "name": "Cold"}
    assert [row["slug"] for row in api("GET", "/campaigns").json["items"]] == ["winter"]


def test_stats_have_the_documented_shape(
    api: Api, client: FlaskClient, make_link: MakeLink, workspace: Workspace, load: Callable[[], int]
) -> None:
    hero, text = make_link(content="hero"), make_link(content="text")
    for _ in range(4):
        client.get(f"/i/{hero.code}.gif")
    cid = client.get(f"/{hero.code}").headers["Location"].partition("cid=")[2][:28]
    client.get(f"/{text.code}")
    client.get(f"/{text.code}", headers={"User-Agent": "curl/8"})
    client.post(f"/c/{workspace.key}", data={"cid": cid, "value": "49.90", "order": "1"})
    load()
    today = api("GET", "/events").json["items"][0]["at"][:10]
    found = api("GET", f"/campaigns/spring-sale/stats?from={today}&to={today}&compare=previous&group_by=content").json
    assert (found["campaign"], found["from"], found["to"], found["timezone"]) == ("spring-sale", today, today, "UTC")
    assert found["lag_s"] == 0
    assert found["totals"] == {
        "impressions": 4,
        "clicks": 2,
        "unique_clicks": 1,
        "conversions": 1,
        "approved": 1,
        "ctr": {"value": 0.25, "low": 0.045587, "high": 0.699358},
        "conversion_rate": {"value": 0.5, "low": 0.094531, "high": 0.905469},
        "revenue": [{"currency": "EUR", "amount": "49.90"}],
        "cost": [],
        "currency": "EUR",
        "cost_total": None,
        "revenue_total": "49.90",
        "cpc": None,
        "cpm": None,
        "cpa": None,
        "epc": "24.9500",
        "aov": "49.9000",
        "roas": None,
        "roi": None,
        "cost_without_rate": [],
        "revenue_without_rate": [],
        "filtered": {"bot": 1},
    }
    assert found["previous"]["clicks"] == 0
    assert found["changes"] == {"ctr": None, "conversion_rate": None}
    assert found["series"] == [{"at": today, "impressions": 4, "clicks": 2, "conversions": 1}]
    assert [(group["key"], group["clicks"], group["conversions"]) for group in found["groups"]] == [
        ("hero", 1, 1),
        ("text", 1, 0),
    ]
    assert found["groups"][1]["ctr"] == {"value": None, "low": None, "high": None}
    hours = api("GET", f"/campaigns/spring-sale/stats?from={today}&to={today}&interval=hour").json["series"]
    assert len(hours) == 24
    assert sum(hour["clicks"] for hour in hours) == 2


def test_the_default_range_is_the_last_fourteen_whole_days(api: Api, make_link: MakeLink) -> None:
    make_link()
    found = api("GET", "/campaigns/spring-sale/stats").json
    assert len(found["series"]) == 14
    assert found["to"] < found["as_of"][:10]
    assert "previous" not in found
    assert "groups" not in found


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("from=x", "from"),
        ("from=2026-02-02&to=2026-02-01", "to"),
        ("from=1990-01-01", "from"),
        ("interval=year", "interval"),
        ("interval=hour&from=2026-01-01&to=2026-03-01", "interval"),
        ("group_by=colour", "group_by"),
        ("compare=x", "compare"),
        ("from=1979-12-31&to=1980-02-01", "from"),
        ("from=0001-01-01", "from"),
        ("to=0001-01-02", "to"),
        ("to=9999-12-31", "to"),
        ("from=20261121", "from"),
        ("from=2026-W47-6", "from"),
    ],
)
def test_a_bad_range_names_its_field(api: Api, make_link: MakeLink, query: str, field: str) -> None:
    make_link()
    response = api("GET", f"/campaigns/spring-sale/stats?{query}")
    assert response.status_code == 422
    assert [error["field"] for error in response.json["errors"]] == [field]


def test_tables_come_as_csv_and_formulas_are_harmless(api: Api) -> None:
    api("POST", "/links", SPRING | {"title": "=1+1"})
    for response in (api("GET", "/links.csv"), api("GET", "/links", headers={"Accept": "text/csv"})):
        assert response.mimetype == "text/csv"
        (row,) = csv.DictReader(io.StringIO(response.text))
        assert row["title"] == "'=1+1"


def test_statistics_come_as_csv_with_a_column_for_each_figure(api: Api, make_link: MakeLink) -> None:
    make_link(content="hero")
    response = api("GET", "/campaigns/spring-sale/stats.csv?group_by=content")
    (row,) = csv.DictReader(io.StringIO(response.text))
    assert (row["key"], row["clicks"], row["ctr"], row["ctr_low"], row["filtered"]) == ("hero", "0", "", "", "")
    series = list(csv.DictReader(io.StringIO(api("GET", "/campaigns/spring-sale/stats.csv").text)))
    assert len(series) == 14
    assert set(series[0]) == {"at", "impressions", "clicks", "conversions"}


def test_the_openapi_document_is_valid_and_names_every_route(client: FlaskClient) -> None:
    document = client.get("/api/v1/openapi.json").json
    validate(document)
    own = [rule.rule for rule in client.application.url_map.iter_rules() if rule.rule.startswith("/api/v1/")]
    rules = {rule.replace("<int:", "<") for rule in own}
    assert set(document["paths"]["/c/{key}"]) == {"get", "post"}
    assert document["paths"].pop("/c/{key}")["post"]["servers"] == [{"url": "/"}]
    named = {f"/api/v1{path}".replace("{", "<").replace("}", ">") for path in document["paths"]}
    assert rules == named


def test_unknown_paths_and_methods_of_the_api_are_problem_details(client: FlaskClient) -> None:
    for method, path, status in (("GET", "/api/v1/nothing", 404), ("PUT", "/api/v1/links", 405)):
        response = client.open(path, method=method)
        assert (response.status_code, response.mimetype) == (status, "application/problem+json")


def test_the_expected_files_are_there(client: FlaskClient) -> None:
    assert client.get("/healthz").json == {"status": "ok"}
    assert client.get("/readyz").json["status"] == "ready"
    assert "Disallow: /" in client.get("/robots.txt").text
    assert client.get("/.well-known/gpc.json").json["gpc"] is True
    for path, mimetype in (("/favicon.ico", "image/svg+xml"), ("/t.js", "text/javascript")):
        with client.get(path) as response:
            assert (response.status_code, response.mimetype) == (200, mimetype)


def test_every_event_is_exported_but_those_under_global_privacy_control(
    client: FlaskClient, owner: FlaskClient, api: Api, make_link: Callable[..., Link], load: Callable[[], int]
) -> None:
    code = make_link().code
    for number in range(3):
        address = {"REMOTE_ADDR": f"192.0.2.{number}"}
        client.get(f"/{code}", headers={"Referer": "https://mail.example/x"}, environ_base=address)
    client.get(f"/{code}", headers={"Sec-GPC": "1"})
    load()
    exported = api("GET", "/events/export.csv")
    rows = list(csv.DictReader(io.StringIO(exported.text)))
    assert exported.headers["Content-Disposition"] == 'attachment; filename="events.csv"'
    assert [(row["code"], row["verdict"], row["referrer_host"], row["browser"]) for row in rows] == [
        (code, "counted", "mail.example", "Firefox")
    ] * 3
    assert owner.get("/app/events.csv").text == exported.text
    assert 'href="/app/events.csv"' in owner.get("/app/events").text


def test_an_export_goes_on_beyond_one_page(
    api: Api, store: EventStore, workspace: Workspace, make_link: Callable[..., Link]
) -> None:
    link = make_link()
    own = (workspace.id, link.campaign_id, link.id)
    rows = [StoredEvent(10**12 + n // 2, n, 2, 0, *own, 7, *[None] * 10) for n in range(1203)]
    store.append(Batch("s", 0, 1, rows))
    exported = list(csv.DictReader(io.StringIO(api("GET", "/events/export.csv").text)))
    assert [row["id"] for row in exported] == [f"{row.at_ms}-{row.nonce}" for row in reversed(rows)]
