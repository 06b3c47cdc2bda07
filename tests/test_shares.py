"""Reports shown by secret link: what they show, to whom, for how long, and that they show nothing else."""

from __future__ import annotations

import gzip
import io
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.conftest import PASSWORD, Api
from tests.test_pages import error_of, figure, value_of
from tracker import accounts, campaigns, days, shares
from tracker.campaigning import SharedReport
from tracker.errors import Invalid, NotFound
from tracker.models import Campaign, Link, Workspace
from tracker.shares import ShareDraft

pytestmark = pytest.mark.any_database

MakeLink = Callable[..., Link]
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 40
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture
def campaign(client: FlaskClient, make_link: MakeLink, send: Callable[..., Any], load: Callable[[], int]) -> Campaign:
    """A campaign with three clicks by two links today, one of which bought, beside another that must not show."""
    hero = make_link(code="hero", content="hero")
    make_link(code="side", content="side", source="social")
    make_link(code="other", campaign="secret-launch", source="hush")
    went = [
        client.get(f"/{code}", environ_base={"REMOTE_ADDR": f"192.0.2.{n}"})
        for n, code in enumerate(("hero", "hero", "side", "other"))
    ]
    send(cid=went[0].headers["Location"].partition("cid=")[2][:28], value="49.90", currency="EUR", order="A1")
    load()
    return hero.campaign


@pytest.fixture
def share(session: Session, workspace: Workspace, campaign: Campaign) -> Callable[..., SharedReport]:
    """Shares the campaign, today's figures unless told otherwise."""

    def share(of: Campaign | None = campaign, query: dict[str, str] | None = None, **given: Any) -> SharedReport:
        today = days.now().date().isoformat()
        draft = ShareDraft(query={"from": today, "to": today} | (query or {}), **given)
        return shares.create(session, workspace, of, draft, by="ada@example.org", now=days.now())

    return share


@pytest.fixture
def neighbour(app: Flask, session: Session, workspace: Workspace) -> FlaskClient:
    """The owner of another workspace, signed in."""
    other = Workspace(name="Next door", key="w_nextdoor")
    session.add(other)
    session.commit()
    accounts.create_user(session, other, "bob@example.org", PASSWORD)
    client = app.test_client()
    client.post("/app/login", data={"email": "bob@example.org", "password": PASSWORD})
    return client


def the_share(session: Session) -> SharedReport:
    session.expire_all()
    return session.scalars(select(SharedReport)).one()


# What it shows


def test_a_shared_report_is_compressed_as_the_page_is(client: FlaskClient, share: Callable[..., SharedReport]) -> None:
    address = f"/s/{share().token}"
    plain = client.get(address)
    packed = client.get(address, headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.data) == plain.data
    assert (
        client.get(f"{address}/report.json", headers={"Accept-Encoding": "gzip"}).headers["Content-Encoding"] == "gzip"
    )


def test_a_stranger_with_the_link_reads_the_figures_of_the_campaigns_page(
    client: FlaskClient, owner: FlaskClient, share: Callable[..., SharedReport]
) -> None:
    today = days.now().date().isoformat()
    page = client.get(f"/s/{share().token}")
    own = owner.get(f"/app/campaigns/spring-sale?from={today}&to={today}").text
    for metric in ("impressions", "clicks", "unique_clicks", "conversions", "ctr", "conversion_rate", "revenue"):
        assert figure(page.text, metric) == figure(own, metric)
    assert figure(page.text, "clicks") == "3"
    assert "€49.90" in page.text


def test_nothing_on_it_leads_into_the_application_or_away(
    client: FlaskClient, share: Callable[..., SharedReport]
) -> None:
    token = share(query={"source": "newsletter"}, logo=PNG).token
    page = client.get(f"/s/{token}").text
    addresses = re.findall(r'(?:href|src|action)="([^"]*)"', page)
    assert addresses
    assert [path for path in addresses if not path.startswith(("#", "?open=", "/static/", f"/s/{token}/"))] == []


def test_neither_page_nor_files_tell_of_another_campaign(
    client: FlaskClient, share: Callable[..., SharedReport]
) -> None:
    token = share().token
    for path in ("", "/report.json", "/report.csv", ".json", ".csv"):
        response = client.get(f"/s/{token}{path}")
        assert response.status_code == 200
        assert "hush" not in response.text
        assert "secret" not in response.text


@pytest.mark.parametrize("query", ["source=social", "from=2020-01-01&to=2026-01-01", "all=link", "by=conversion"])
def test_the_address_cannot_ask_for_anything_else(
    client: FlaskClient, share: Callable[..., SharedReport], query: str
) -> None:
    token = share(query={"source": "newsletter"}).token
    plain, asked = (client.get(f"/s/{token}/report.json{extra}").json for extra in ("", f"?{query}"))
    assert plain["totals"]["clicks"] == 2
    assert {**plain, "as_of": "", "lag_s": 0} == {**asked, "as_of": "", "lag_s": 0}
    assert figure(client.get(f"/s/{token}?{query}").text, "clicks") == "2"


def test_whoever_reads_it_opens_its_tables(client: FlaskClient, share: Callable[..., SharedReport]) -> None:
    token = share(query={"source": "newsletter"}).token
    page = client.get(f"/s/{token}").text
    assert 'href="?open=browser#by-browser"' in page
    opened = client.get(f"/s/{token}?open=browser,paths&source=social").text
    assert '<section id="by-browser"' in opened
    assert "by-device" not in opened.replace("#by-device", "")
    assert "by-paths" not in opened
    assert figure(opened, "clicks") == figure(page, "clicks")
    every = client.get(f"/s/{token}?open=all").text
    assert {"channel", "referrer", "country", "language", "device", "os", "browser"} <= set(
        re.findall(r'<section id="by-(\w+)"', every)
    )


def test_without_money_neither_page_nor_files_say_what_came_in(
    client: FlaskClient, share: Callable[..., SharedReport]
) -> None:
    token = share(shows_money=False).token
    page = client.get(f"/s/{token}").text
    assert "49.9" not in page
    assert "Revenue" not in page
    for name in ("json", "csv"):
        text = client.get(f"/s/{token}/report.{name}").text
        assert "49.9" not in text
        assert "revenue" not in text


def test_rolling_days_end_yesterday_in_the_workspaces_zone(session: Session, workspace: Workspace) -> None:
    workspace.timezone = "Pacific/Auckland"  # there it is the 21st already
    made = shares.create(session, workspace, None, ShareDraft(query={"days": "7"}), by="ada", now=NOW)
    assert shares.args(made, workspace, NOW) == {"from": "2026-11-14", "to": "2026-11-20"}
    assert shares.args(made, workspace, NOW + timedelta(days=1)) == {"from": "2026-11-15", "to": "2026-11-21"}


def test_a_whole_workspace_shows_the_table_of_its_campaigns(
    client: FlaskClient, share: Callable[..., SharedReport]
) -> None:
    token = share(None).token
    page = client.get(f"/s/{token}").text
    assert re.findall(r'data-campaign="([^"]*)"', page) == ["spring-sale", "secret-launch"]
    assert "/app/" not in page
    rows = client.get(f"/s/{token}/report.json").json["campaigns"]
    assert [(row["campaign"], row["clicks"], row["conversions"]) for row in rows] == [
        ("spring-sale", 3, 1),
        ("secret-launch", 1, 0),
    ]
    assert client.get(f"/s/{token}/report.csv").text.startswith("campaign,name,impressions,clicks,")


# Who may read it


def test_an_unknown_an_expired_and_a_revoked_link_look_alike(
    client: FlaskClient, session: Session, workspace: Workspace, share: Callable[..., SharedReport]
) -> None:
    expired, revoked = share(), share()
    expired.expires_at = days.now() - timedelta(seconds=1)
    session.commit()
    shares.revoke(session, workspace, revoked.id, days.now())
    pages = {client.get(f"/s/{token}").text for token in ("x" * 32, expired.token, revoked.token)}
    assert len(pages) == 1
    for path in ("", "/report.json", "/report.csv", "/logo"):
        codes = [client.get(f"/s/{token}{path}").status_code for token in ("x" * 32, expired.token, revoked.token)]
        assert codes == [404, 404, 404]


def test_a_link_works_through_its_last_local_day(session: Session, workspace: Workspace) -> None:
    workspace.timezone = "America/New_York"
    draft = ShareDraft(query={"days": "7"}, expires_on="2026-11-20")
    made = shares.create(session, workspace, None, draft, by="ada", now=NOW)
    assert shares.find(session, made.token, datetime(2026, 11, 21, 4, 59, tzinfo=UTC)).id == made.id
    with pytest.raises(NotFound):
        shares.find(session, made.token, datetime(2026, 11, 21, 5, tzinfo=UTC))


def test_a_secret_has_more_than_128_bits(share: Callable[..., SharedReport]) -> None:
    tokens = {share().token for _ in range(5)}
    assert len(tokens) == 5
    assert all(len(token) * 6 > 128 for token in tokens)


@pytest.mark.parametrize("path", ["", "/report.json", "/report.csv", "/logo"])
def test_every_answer_keeps_the_link_to_itself(
    client: FlaskClient, share: Callable[..., SharedReport], path: str
) -> None:
    for token in (share(logo=PNG).token, "x" * 32):
        headers = client.get(f"/s/{token}{path}").headers
        assert headers["X-Robots-Tag"] == "noindex, nofollow"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cache-Control"] == "private, no-store"
        assert "default-src 'self'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "Set-Cookie" not in headers


def test_looking_writes_nothing(client: FlaskClient, session: Session, share: Callable[..., SharedReport]) -> None:
    made = share()
    columns = SharedReport.__table__.columns
    before = session.execute(select(columns)).all()
    session.commit()
    for path in ("", "/report.json", "/report.csv"):
        client.get(f"/s/{made.token}{path}")
    assert session.execute(select(columns)).all() == before


# With a password


def test_a_locked_report_tells_nothing_before_its_password(
    client: FlaskClient, share: Callable[..., SharedReport]
) -> None:
    token = share(password="open sesame", title="Quarterly", logo=PNG).token
    page = client.get(f"/s/{token}")
    assert "asks for a password" in page.text
    assert not {"Quarterly", "spring-sale", "My workspace"} & set(re.split(r"[<>]", page.text))
    assert "/logo" not in page.text
    assert [client.get(f"/s/{token}/{name}").status_code for name in ("report.json", "report.csv", "logo")] == [
        403,
        403,
        404,
    ]
    wrong = client.post(f"/s/{token}", data={"password": "open barley"})
    assert (wrong.status_code, error_of(wrong.text, "password")) == (422, "This is not the password.")
    assert "Set-Cookie" not in wrong.headers


def test_its_password_opens_it_for_this_browser_and_this_report_only(
    app: Flask, client: FlaskClient, session: Session, share: Callable[..., SharedReport]
) -> None:
    made, other = share(password="open sesame"), share(password="open barley")
    answer = client.post(f"/s/{made.token}", data={"password": "open sesame"})
    cookie = answer.headers["Set-Cookie"]
    assert (answer.status_code, answer.location) == (303, f"/s/{made.token}")
    assert f"Path=/s/{made.token};" in cookie + ";"
    assert {"HttpOnly", "SameSite=Lax", "Secure", "Max-Age=28800"} <= set(cookie.split("; "))
    secret = cookie.partition("=")[2].partition(";")[0]

    def opens(token: str, value: str) -> int:
        headers = {"Cookie": f"tracker_share={value}"}
        return app.test_client(use_cookies=False).get(f"/s/{token}/report.json", headers=headers).status_code

    assert opens(made.token, secret) == 200
    assert opens(other.token, secret) == 403
    assert opens(made.token, secret[:-2]) == 403
    made.password_hash = accounts.hash_password("another one")
    session.commit()
    assert opens(made.token, secret) == 403


def test_a_password_is_tried_a_few_times_a_minute(client: FlaskClient, share: Callable[..., SharedReport]) -> None:
    token = share(password="open sesame").token
    codes = [client.post(f"/s/{token}", data={"password": f"guess {n}"}).status_code for n in range(11)]
    assert codes == [422] * 10 + [429]
    refused = client.post(f"/s/{token}", data={"password": "open sesame"})
    assert refused.status_code == 429
    assert 0 < int(refused.headers["Retry-After"]) <= 60
    other = share(password="open sesame").token
    assert client.post(f"/s/{other}", data={"password": "open sesame"}).status_code == 303


# The logo


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 20, "image/jpeg"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "image/webp"),
    ],
)
def test_a_logo_is_served_as_what_it_is(
    client: FlaskClient, share: Callable[..., SharedReport], content: bytes, kind: str
) -> None:
    response = client.get(f"/s/{share(logo=content).token}/logo")
    assert (response.status_code, response.mimetype, response.data) == (200, kind, content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "A logo is a PNG, JPEG or WebP picture."),
        (b"GIF89a", "A logo is a PNG, JPEG or WebP picture."),
        (PNG + b"\0" * shares.LOGO_BYTES_MAX, "A logo has at most 200 kB."),
    ],
)
def test_other_files_are_no_logo(owner: FlaskClient, campaign: Campaign, content: bytes, message: str) -> None:
    data = {"title": "Sale", "days": "14", "logo": (io.BytesIO(content), "logo.png")}
    page = owner.post("/app/campaigns/spring-sale/share", data=data, content_type="multipart/form-data")
    assert page.status_code == 422
    assert error_of(page.text, "logo") == message
    assert value_of(page.text, "title") == "Sale"


# Made and taken back


def test_an_owner_makes_a_link_of_the_page_as_it_is_and_takes_it_back(
    owner: FlaskClient, client: FlaskClient, session: Session, campaign: Campaign
) -> None:
    yesterday = days.now().date() - timedelta(days=1)
    first = yesterday - timedelta(days=6)
    form = owner.get(
        f"/app/campaigns/spring-sale/share?from={first}&to={yesterday}&source=newsletter&by=conversion"
    ).text
    assert [value_of(form, name) for name in ("days", "source", "by")] == ["7", "newsletter", "conversion"]
    data = {"title": "For the client", "days": "7", "source": "newsletter", "by": "conversion", "shows_money": "y"}
    made = owner.post("/app/campaigns/spring-sale/share", data=data)
    share = the_share(session)
    assert (made.status_code, made.location) == (303, f"/app/campaigns/spring-sale/share#share-{share.id}")
    assert share.query == {"days": "7", "source": "newsletter", "by": "conversion"}
    assert (share.created_by, share.shows_money) == ("ada@example.org", True)
    listed = owner.get("/app/shared").text
    assert f"https://go.example/s/{share.token}" in listed
    assert client.get(f"/s/{share.token}").status_code == 200
    assert owner.post(f"/app/shared/{share.id}/revoke").status_code == 303
    assert client.get(f"/s/{share.token}").status_code == 404
    assert share.token not in owner.get("/app/shared").text


def test_days_that_do_not_end_yesterday_stay_as_they_are(owner: FlaskClient, campaign: Campaign) -> None:
    form = owner.get("/app/campaigns/spring-sale/share?from=2026-01-01&to=2026-01-31").text
    assert [value_of(form, name) for name in ("days", "first", "last")] == ["", "2026-01-01", "2026-01-31"]


@pytest.mark.parametrize(
    ("typed", "field"),
    [
        ({"days": "0"}, "days"),
        ({"days": "many"}, "days"),
        ({"first": "2026-02-30", "last": "2026-03-01"}, "first"),
        ({"first": "2026-03-02", "last": "2026-03-01"}, "last"),
        ({"password": "short"}, "password"),
        ({"expires_on": "2020-01-01"}, "expires_on"),
        ({"expires_on": "soon"}, "expires_on"),
        ({"title": "x" * 121}, "title"),
    ],
)
def test_what_cannot_be_used_is_told_at_its_field_and_kept(
    owner: FlaskClient, session: Session, campaign: Campaign, typed: dict[str, str], field: str
) -> None:
    page = owner.post("/app/campaigns/spring-sale/share", data={"title": "Sale", "days": "14"} | typed)
    assert page.status_code == 422
    assert error_of(page.text, field)
    if field != "password":
        assert value_of(page.text, field) == typed[field]
    assert session.scalars(select(SharedReport)).all() == []


def test_a_neighbour_neither_shares_nor_sees_nor_takes_back(
    neighbour: FlaskClient, session: Session, share: Callable[..., SharedReport]
) -> None:
    made = share()
    assert neighbour.get("/app/campaigns/spring-sale/share").status_code == 404
    assert neighbour.post("/app/campaigns/spring-sale/share", data={"days": "7"}).status_code == 404
    assert made.token not in neighbour.get("/app/shared").text
    assert neighbour.post(f"/app/shared/{made.id}/revoke").status_code == 404
    for suffix in ("csv", "json"):
        assert neighbour.get(f"/app/campaigns/spring-sale.{suffix}").status_code == 404
    assert the_share(session).revoked_at is None


@pytest.mark.parametrize(
    "path", ["campaigns/spring-sale/share", "shared", "campaigns/spring-sale.csv", "campaigns/spring-sale.json"]
)
def test_a_stranger_is_asked_to_sign_in(client: FlaskClient, campaign: Campaign, path: str) -> None:
    response = client.get(f"/app/{path}")
    assert (response.status_code, response.location) == (303, f"/app/login?next=/app/{path}")


@pytest.mark.parametrize(
    "path", ["campaigns/spring-sale/share", "shared", "shared/1/revoke", "mails", "mails/1/remove"]
)
def test_a_stranger_changes_nothing(client: FlaskClient, session: Session, campaign: Campaign, path: str) -> None:
    assert client.post(f"/app/{path}", data={"days": "7"}).location == "/app/login"
    assert session.scalars(select(SharedReport)).all() == []


def test_there_are_only_so_many(session: Session, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "SHARES_MAX", 1)
    first = shares.create(session, workspace, None, ShareDraft(query={}), by="ada", now=NOW)
    with pytest.raises(Invalid, match="take one back"):
        shares.create(session, workspace, None, ShareDraft(query={}), by="ada", now=NOW)
    shares.revoke(session, workspace, first.id, NOW)
    shares.create(session, workspace, None, ShareDraft(query={}), by="ada", now=NOW)


def test_a_campaign_of_that_name_is_found_beside_its_files(
    owner: FlaskClient, session: Session, workspace: Workspace
) -> None:
    campaigns.create(session, workspace, "spring.csv")
    assert owner.get("/app/campaigns/spring-csv").status_code == 200


# Over REST


def test_a_program_shares_lists_and_takes_back(
    api: Api, client: FlaskClient, session: Session, campaign: Campaign
) -> None:
    wish = {
        "title": "For the client",
        "days": 7,
        "source": "newsletter",
        "expires_on": "2099-12-31",
        "shows_money": False,
    }
    made = api("POST", "/campaigns/spring-sale/shares", wish)
    assert made.status_code == 201
    assert made.json["query"] == {"days": "7", "source": "newsletter"}
    assert (made.json["expires_on"], made.json["shows_money"], made.json["has_password"]) == (
        "2099-12-31",
        False,
        False,
    )
    path = made.json["url"].removeprefix("https://go.example")
    assert client.get(path).status_code == 200
    assert api("GET", "/campaigns/spring-sale/shares").json == {"items": [made.json]}
    assert api("DELETE", f"/campaigns/secret-launch/shares/{made.json['id']}").status_code == 404
    assert api("DELETE", f"/campaigns/spring-sale/shares/{made.json['id']}").status_code == 204
    assert client.get(path).status_code == 404
    refused = api("POST", "/campaigns/spring-sale/shares", {"days": 0, "password": "short"})
    assert {error["field"] for error in refused.json["errors"]} == {"days", "password"}
