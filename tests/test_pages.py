"""The pages over HTTP, as a stranger, the owner, and the owner of another workspace see them."""

from __future__ import annotations

import gzip
import html
import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta

import pytest
from babel import localedata
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from tests.conftest import BROWSER, OWNER, PASSWORD
from tracker import accounts, days
from tracker.events import Kind, Verdict
from tracker.models import Link, Workspace
from tracker.money import Money
from tracker.reports.campaign import Period
from tracker.stores import Batch, EventStore, StoredEvent
from tracker.web import formats
from tracker.web.periods import BARS_MAX

pytestmark = pytest.mark.any_database

LINK = {
    "destination": "https://shop.example/sale?ref=1#top",
    "campaign": "spring-sale",
    "source": "newsletter",
    "medium": "email",
}
PAGES = ("", "campaigns", "links", "links/new", "links/preview", "conversions", "events", "install", "settings")
PAGES += ("filtered", "orphans", "debugger/check")
POSTS = (
    "links/new",
    "links/{code}/edit",
    "links/{code}/archive",
    "links/{code}/unarchive",
    "settings",
    "settings/tokens",
    "debugger/check",
)


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


@pytest.fixture
def checked(app: Flask, owner: FlaskClient) -> Iterator[FlaskClient]:
    """The owner, where forms need their token."""
    app.config["WTF_CSRF_ENABLED"] = True
    yield owner
    app.config["WTF_CSRF_ENABLED"] = False


def figure(page: str, metric: str, hook: str = "data-metric") -> str:
    found = re.search(rf'{hook}="{metric}">([^<]*)<', page)
    assert found, f"{metric} is not on the page"
    return found[1]


def value_of(page: str, name: str) -> str:
    """What stands in an input."""
    found = re.search(rf'<input[^>]* name="{name}"[^>]*>', page)
    assert found, f"no field {name}"
    value = re.search(r' value="([^"]*)"', found[0])
    return html.unescape(value[1]) if value else ""


def error_of(page: str, name: str) -> str | None:
    found = re.search(rf'id="{name}-error">([^<]*)<', page)
    return html.unescape(found[1]) if found else None


# Who may see what


@pytest.mark.parametrize(
    "page", [*PAGES, "campaigns/spring-sale", "campaigns/spring-sale/filtered", "links/abc1234", "links/abc1234/edit"]
)
def test_a_stranger_is_asked_to_sign_in_and_comes_back(client: FlaskClient, page: str) -> None:
    response = client.get(f"/app/{page}")
    assert response.status_code == 303
    assert response.location.startswith("/app/login?next=/app/")


@pytest.mark.parametrize("path", [*POSTS, "settings/tokens/1/revoke"])
def test_a_stranger_changes_nothing(client: FlaskClient, path: str) -> None:
    response = client.post(f"/app/{path.format(code='abc1234')}", data=LINK)
    assert (response.status_code, response.location) == (303, "/app/login")


def test_the_owner_sees_every_page(owner: FlaskClient, make_link: Callable[..., Link]) -> None:
    make_link()
    assert {page: owner.get(f"/app/{page}").status_code for page in PAGES} == dict.fromkeys(PAGES, 200)


@pytest.mark.parametrize(
    "page", ["links/{code}", "links/{code}/edit", "campaigns/spring-sale", "campaigns/spring-sale/filtered"]
)
def test_the_neighbour_sees_nothing_of_it(
    neighbour: FlaskClient, owner: FlaskClient, make_link: Callable[..., Link], page: str
) -> None:
    path = f"/app/{page.format(code=make_link().code)}"
    assert owner.get(path).status_code == 200
    assert neighbour.get(path).status_code == 404


@pytest.mark.parametrize("path", ["links/{code}/edit", "links/{code}/archive", "links/{code}/unarchive"])
def test_the_neighbour_changes_nothing_of_it(
    neighbour: FlaskClient, session: Session, make_link: Callable[..., Link], path: str
) -> None:
    link = make_link()
    assert neighbour.post(f"/app/{path.format(code=link.code)}", data=LINK | {"source": "x"}).status_code == 404
    session.refresh(link)
    assert (link.source, link.archived_at) == ("newsletter", None)


def test_the_neighbour_cannot_revoke_a_token(neighbour: FlaskClient, session: Session, workspace: Workspace) -> None:
    accounts.create_token(session, workspace, "ours")
    token = accounts.tokens(session, workspace)[0]
    neighbour.post(f"/app/settings/tokens/{token.id}/revoke")
    assert [token.name for token in accounts.tokens(session, workspace)] == ["ours"]


def test_lists_hold_one_s_own_things_only(neighbour: FlaskClient, make_link: Callable[..., Link]) -> None:
    link = make_link(title="Ours alone")
    for page in ("", "campaigns", "links", "links/new", "links/new?made=" + link.code):
        text = neighbour.get(f"/app/{page}").text
        assert "Ours alone" not in text
        assert "spring-sale" not in text


@pytest.mark.parametrize("path", ["logout", "links/abc1234/archive", "settings/tokens/1/revoke"])
def test_nothing_is_changed_by_get(owner: FlaskClient, path: str) -> None:
    assert owner.get(f"/app/{path}").status_code == 405


# Signing in


def test_a_wrong_password_is_told_and_the_address_is_kept(client: FlaskClient, owner: FlaskClient) -> None:
    response = client.post("/app/login", data={"email": OWNER, "password": "not it at all"})
    assert response.status_code == 422
    assert value_of(response.text, "email") == OWNER
    assert error_of(response.text, "password")
    assert "not it at all" not in response.text


ELSEWHERE = [
    "https://evil.example/",
    "//evil.example/app/",
    "///evil.example/app/",
    "/\\evil.example",
    "/app//evil.example",
    "/app\n/x",
    "http:/app/",
    "javascript:alert(1)",
    "/elsewhere",
    "/application",
]


def test_signing_in_never_leads_elsewhere(app: Flask, owner: FlaskClient) -> None:
    for target in ELSEWHERE:
        response = app.test_client().post(
            "/app/login", query_string={"next": target}, data={"email": OWNER, "password": PASSWORD}
        )
        assert (response.status_code, response.location) == (303, "/app/"), target


def test_signing_in_leads_back(client: FlaskClient, owner: FlaskClient) -> None:
    back = "/app/campaigns/spring-sale?from=2026-11-01"
    response = client.post("/app/login", query_string={"next": back}, data={"email": OWNER, "password": PASSWORD})
    assert response.location == back
    assert client.get("/app/login").location == "/app/"


def test_signing_out_ends_the_session(owner: FlaskClient) -> None:
    assert owner.post("/app/logout").status_code == 303
    assert owner.get("/app/").status_code == 303


SET_UP = {
    "email": "grace@example.org",
    "password": PASSWORD,
    "workspace": "Compilers",
    "timezone": "Asia/Kathmandu",
    "currency": "usd",
}


def test_the_set_up_link_makes_the_first_account_once(client: FlaskClient, session: Session) -> None:
    path = f"/app/setup/{accounts.setup_token(session)}"
    assert client.get(path).status_code == 200
    assert client.post(path, data=SET_UP).location == "/app/"
    assert "Compilers" in client.get("/app/").text
    assert client.get(path).status_code == 404
    assert client.post(path, data=SET_UP | {"email": "eve@example.org"}).status_code == 404


def test_set_up_tells_each_mistake_and_keeps_the_rest(client: FlaskClient, session: Session) -> None:
    path = f"/app/setup/{accounts.setup_token(session)}"
    response = client.post(path, data=SET_UP | {"password": "short", "timezone": "Mars/Base", "currency": "xxy"})
    assert response.status_code == 422
    assert all(error_of(response.text, name) for name in ("password", "timezone", "currency"))
    assert value_of(response.text, "workspace") == "Compilers"
    assert "short" not in re.findall(r'value="([^"]*)"', response.text)


# Links


def test_a_link_is_made_and_its_page_shows_what_to_paste(owner: FlaskClient) -> None:
    response = owner.post("/app/links/new", data=LINK | {"code": "spring"})
    assert (response.status_code, response.location) == (303, "/app/links/spring")
    page = html.unescape(owner.get(response.location).text)
    assert "https://go.example/spring" in page
    assert '<img src="https://go.example/i/spring.gif"' in page
    assert "https://go.example/h/spring" in page
    assert '<mark class="added">&utm_source=newsletter&utm_medium=email&utm_campaign=spring-sale</mark>#top' in page


def test_another_link_starts_with_what_this_one_had(owner: FlaskClient) -> None:
    response = owner.post("/app/links/new", data=LINK | {"code": "first", "content": "hero-a", "another": "1"})
    assert response.status_code == 303
    page = owner.get(response.location).text
    assert value_of(page, "destination") == LINK["destination"]
    assert value_of(page, "source") == "newsletter"
    assert value_of(page, "content") == value_of(page, "code") == ""
    assert "https://go.example/first" in page


def test_a_refused_link_keeps_what_was_typed(owner: FlaskClient) -> None:
    typed = LINK | {"destination": "shop.example/<b>", "source": "", "title": "Kept & shown"}
    response = owner.post("/app/links/new", data=typed)
    assert response.status_code == 422
    assert error_of(response.text, "destination") == "A destination starts with http:// or https://."
    assert error_of(response.text, "source") == "A source is needed."
    assert 'href="#destination"' in response.text
    assert value_of(response.text, "destination") == "shop.example/<b>"
    assert value_of(response.text, "title") == "Kept & shown"
    assert "<b>" not in response.text


def test_a_taken_code_is_told_at_its_field_which_is_unfolded(
    owner: FlaskClient, make_link: Callable[..., Link]
) -> None:
    link = make_link()
    response = owner.post("/app/links/new", data=LINK | {"code": link.code})
    assert response.status_code == 409
    assert "is taken" in str(error_of(response.text, "code"))
    assert re.search(r"<details open>\s*<summary>Short code", response.text)


@pytest.mark.parametrize("field", ["redirect_code", "query_mode", "referrer_policy", "expires_at"])
def test_a_made_up_choice_is_refused_and_not_a_crash(owner: FlaskClient, field: str) -> None:
    response = owner.post("/app/links/new", data=LINK | {field: "nonsense"})
    assert response.status_code == 422
    assert error_of(response.text, field)


def test_an_edit_changes_what_was_changed_and_nothing_else(
    owner: FlaskClient, session: Session, make_link: Callable[..., Link]
) -> None:
    expires = datetime(2027, 1, 31, 22, 15, tzinfo=UTC)
    link = make_link(content="hero-a", tags=("a", "b"), click_id_param="", expires_at=expires, redirect_code=307)
    page = owner.get(f"/app/links/{link.code}/edit").text
    form = {name: value_of(page, name) for name in [*LINK, "content", "tags", "expires_at", "click_id_param", "title"]}
    for name in ("click_id", "redirect_code", "query_mode", "referrer_policy"):
        found = re.search(rf'<select[^>]*name="{name}".*?<option selected value="([^"]*)"', page, re.DOTALL)
        assert found, name
        form[name] = found[1]
    response = owner.post(f"/app/links/{link.code}/edit", data=form | {"content": "hero-b"})
    assert response.status_code == 303
    session.refresh(link)
    assert (link.content, link.tags, link.click_id_param, link.redirect_code) == ("hero-b", ["a", "b"], "", 307)
    assert (link.expires_at, link.destination) == (expires, LINK["destination"])


def test_a_refused_edit_keeps_what_was_typed(owner: FlaskClient, make_link: Callable[..., Link]) -> None:
    link = make_link()
    response = owner.post(f"/app/links/{link.code}/edit", data=LINK | {"destination": "ftp://shop.example"})
    assert response.status_code == 422
    assert value_of(response.text, "destination") == "ftp://shop.example"


def test_archiving_and_taking_back(owner: FlaskClient, session: Session, make_link: Callable[..., Link]) -> None:
    link = make_link()
    assert owner.post(f"/app/links/{link.code}/archive").status_code == 303
    session.refresh(link)
    assert link.archived_at is not None
    assert "Take back into use" in owner.get(f"/app/links/{link.code}").text
    owner.post(f"/app/links/{link.code}/unarchive")
    session.refresh(link)
    assert link.archived_at is None


def test_the_preview_is_the_url_that_will_be_stored(owner: FlaskClient) -> None:
    typed = LINK | {"destination": "https://shop.example/?a=1&&b=+x&a=1#frag?&", "content": "ä/b"}
    preview = owner.get("/app/links/preview", query_string=typed).text
    shown = re.search(r'<pre class="url" id="tagged-url">(.*?)</pre>', preview, re.DOTALL)
    assert shown
    location = owner.post("/app/links/new", data=typed | {"code": "same"}).location
    stored = re.search(r'<pre class="url" id="tagged-url">(.*?)</pre>', owner.get(location).text, re.DOTALL)
    assert stored
    assert shown[1] == stored[1]


CHECKS: list[tuple[dict[str, str], str]] = [
    ({"medium": "E-Mail"}, "Capitals in “E-Mail” (medium)"),
    ({"source": "my list"}, "Spaces in “my list” (source)"),
    ({"destination": "https://shop.example/?u=ada%40example.org"}, "holds an e-mail address"),
    ({"destination": "https://shop.example/?cid=7"}, "has “cid” already"),
    ({"destination": "https://shop.example/?utm_source=x"}, "has utm_source already"),
    ({"destination": "https://shop.example/{clickid}"}, "takes the place of {clickid}"),
    ({"click_id": "off"}, "No click id will be added"),
    ({"click_id": "named", "click_id_param": "sub"}, "will be added as sub"),
    ({"cost_param": "bid"}, "is read from ?bid=…"),
    ({"cost_param": "cid"}, "“cid” is the click id's name"),
    ({}, "will be added as cid"),
    ({}, "Lower case, no spaces."),
    ({"destination": "https://go.example/x"}, "own short domain"),
]


def test_the_checks_name_what_will_spoil_a_report(owner: FlaskClient) -> None:
    for changed, said in CHECKS:
        assert said in html.unescape(owner.get("/app/links/preview", query_string=LINK | changed).text), changed


def test_lists_are_paged(owner: FlaskClient, make_link: Callable[..., Link]) -> None:
    for index in range(27):
        make_link(title=f"Link no. {index}", campaign=f"campaign-{index}")
    for path, name in (("links", "Link no. {}<"), ("campaigns", ">campaign-{}<")):
        first = owner.get(f"/app/{path}").text
        assert name.format(26) in first
        assert name.format(0) not in first
        older = re.search(rf'href="(/app/{path}\?before=\d+)"', first)
        assert older
        assert name.format(0) in owner.get(older[1]).text


def test_a_made_up_cursor_is_ignored(owner: FlaskClient) -> None:
    for page in ("links", "campaigns", "events", "conversions"):
        for cursor in ("x", "-1", "0", "9" * 30, "1-", "1-²", f"{2**63}-1"):
            asked = {"before": cursor, "reports_before": cursor}
            assert owner.get(f"/app/{page}", query_string=asked).status_code == 200, (page, cursor)


# The campaign


def visit(client: FlaskClient, link: Link, clicks: int = 1) -> None:
    assert client.get(f"/i/{link.code}.gif").status_code == 200
    for number in range(clicks):
        headers = {"User-Agent": f"{BROWSER} {number}"}
        assert client.get(f"/{link.code}", headers=headers).status_code == 302


def test_a_campaign_that_began_today_shows_today(
    owner: FlaskClient, client: FlaskClient, make_link: Callable[..., Link], load: Callable[[], int]
) -> None:
    link = make_link(content="hero-a")
    visit(client, link)
    client.get(f"/{link.code}", headers={"User-Agent": "Slackbot-LinkExpanding 1.0"})
    load()
    page = owner.get("/app/campaigns/spring-sale").text
    assert "This campaign began today" in page
    assert [figure(page, name) for name in ("impressions", "clicks", "unique_clicks", "conversions")] == [
        "1",
        "1",
        "1",
        "0",
    ]
    assert figure(page, "ctr") == "100.0 %"
    assert figure(page, "conversion_rate") == "0.0 %"
    assert figure(page, "bot", "data-filtered") == "1"
    assert "hero-a" in page


def test_whole_days_come_with_today_so_far(
    owner: FlaskClient, client: FlaskClient, make_link: Callable[..., Link], load: Callable[[], int]
) -> None:
    visit(client, make_link())
    load()
    yesterday = days.now().date() - timedelta(days=1)
    page = owner.get("/app/campaigns/spring-sale", query_string={"from": yesterday, "to": yesterday}).text
    assert (figure(page, "clicks"), figure(page, "ctr")) == ("0", "–")
    assert (figure(page, "clicks", "data-today"), figure(page, "ctr", "data-today")) == ("1", "100.0 %")


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"from": "7 Nov"}, "from"),
        ({"to": "2026-02-30"}, "to"),
        ({"from": "2026-11-20", "to": "2026-11-01"}, "to"),
        ({"from": "1066-01-01", "to": "2026-11-01"}, "from"),
    ],
)
def test_days_that_cannot_be_shown_are_told_at_their_field(
    owner: FlaskClient, make_link: Callable[..., Link], asked: dict[str, str], field: str
) -> None:
    make_link()
    response = owner.get("/app/campaigns/spring-sale", query_string=asked)
    assert response.status_code == 422
    assert error_of(response.text, field)
    assert all(value_of(response.text, name) == value for name, value in asked.items())


@pytest.mark.any_database
def test_a_chart_never_has_more_bars_than_can_be_told_apart(owner: FlaskClient, make_link: Callable[..., Link]) -> None:
    make_link()
    last = days.now().date()
    for length in (1, 2, 5, 31, 120, 121, 1100):
        for interval in ("", "hour", "day", "week", "month", "nonsense"):
            asked = {"from": last - timedelta(days=length - 1), "to": last, "interval": interval}
            answer = owner.get("/app/campaigns/spring-sale", query_string=asked, headers={"Accept-Encoding": "gzip"})
            page = gzip.decompress(answer.data).decode()
            drawing = page[page.index('<svg class="chart wide"') : page.index('<svg class="chart narrow"')]
            assert 1 <= drawing.count('<rect class="bar"') <= BARS_MAX + 2, asked
            assert len(answer.data) < 30_000, asked


def test_numbers_follow_the_browser_s_language(
    owner: FlaskClient, client: FlaskClient, make_link: Callable[..., Link], load: Callable[[], int]
) -> None:
    visit(client, make_link())
    load()
    page = owner.get("/app/campaigns/spring-sale", headers={"Accept-Language": "de-DE,de;q=0.9,en;q=0.5"}).text
    assert figure(page, "ctr") == "100,0 %"
    for odd in ("*", "xx-YY-zz", "en_US", "a" * 500, ",,;q=", "ar-EG", "en-150"):
        assert owner.get("/app/campaigns/spring-sale", headers={"Accept-Language": odd}).status_code == 200


# Conversions and events


def test_the_inbox_tells_why_a_report_found_no_click(
    owner: FlaskClient, client: FlaskClient, workspace: Workspace
) -> None:
    client.get(f"/c/{workspace.key}?cid=%7Bclickid%7D&order=%3Cscript%3E")
    page = owner.get("/app/conversions").text
    assert "placeholder not replaced" in page
    assert "still a placeholder" in html.unescape(page)
    assert "<script>" not in page.replace('<script type="module"', "")


def test_a_conversion_is_listed_with_its_money(
    owner: FlaskClient,
    client: FlaskClient,
    make_link: Callable[..., Link],
    workspace: Workspace,
    load: Callable[[], int],
) -> None:
    location = client.get(f"/{make_link().code}").location
    cid = re.search(r"cid=([\w-]{28})", location)
    assert cid
    client.post(f"/c/{workspace.key}", data={"cid": cid[1], "order": "A-1", "value": "49.90", "currency": "EUR"})
    load()
    page = owner.get("/app/conversions/recorded").text
    assert "A-1" in page
    assert "€49.90" in page
    campaign = owner.get("/app/campaigns/spring-sale").text
    assert (figure(campaign, "conversions"), figure(campaign, "revenue")) == ("1", "€49.90")


def test_events_come_with_their_verdict_and_its_reason(
    owner: FlaskClient, client: FlaskClient, make_link: Callable[..., Link], load: Callable[[], int]
) -> None:
    link = make_link()
    client.get(f"/{link.code}", headers={"User-Agent": "<b>curl/8</b>"})
    client.head(f"/{link.code}")
    load()
    page = owner.get("/app/events").text
    assert link.code in page
    assert "HEAD" in page
    assert "<b>curl" not in page


# Settings


def test_settings_are_saved(owner: FlaskClient, session: Session, workspace: Workspace) -> None:
    response = owner.post("/app/settings", data={"workspace": "Ours", "timezone": "Asia/Kathmandu", "currency": "chf"})
    assert response.status_code == 303
    session.refresh(workspace)
    assert (workspace.name, workspace.timezone, workspace.currency) == ("Ours", "Asia/Kathmandu", "CHF")


def test_refused_settings_keep_what_was_typed(owner: FlaskClient, session: Session, workspace: Workspace) -> None:
    response = owner.post("/app/settings", data={"workspace": "", "timezone": "Mars/Base", "currency": "EURO"})
    assert response.status_code == 422
    assert all(error_of(response.text, name) for name in ("workspace", "timezone", "currency"))
    assert value_of(response.text, "currency") == "EURO"
    session.refresh(workspace)
    assert workspace.timezone == "UTC"


def test_a_token_is_shown_once_and_works_until_it_is_revoked(
    app: Flask, owner: FlaskClient, session: Session, workspace: Workspace
) -> None:
    page = owner.post("/app/settings/tokens", data={"name": "nightly"}).text
    secret = re.search(r"trk_[\w-]+", page)
    assert secret
    headers = {"Authorization": f"Bearer {secret[0]}"}
    assert app.test_client().get("/api/v1/links", headers=headers).status_code == 200
    assert secret[0] not in owner.get("/app/settings").text
    token = accounts.tokens(session, workspace)[0]
    owner.post(f"/app/settings/tokens/{token.id}/revoke")
    assert app.test_client().get("/api/v1/links", headers=headers).status_code == 401


def test_a_token_needs_a_name(owner: FlaskClient) -> None:
    response = owner.post("/app/settings/tokens", data={"name": " "})
    assert response.status_code == 422
    assert error_of(response.text, "name")


# What holds for every page


def test_a_form_without_its_token_is_refused_with_a_page(checked: FlaskClient, make_link: Callable[..., Link]) -> None:
    link = make_link()
    for path in [*POSTS, "logout"]:
        response = checked.post(f"/app/{path.format(code=link.code)}", data=LINK)
        assert response.status_code == 400, path
        assert "out of date" in response.text


def test_every_form_carries_its_token(checked: FlaskClient, make_link: Callable[..., Link]) -> None:
    link = make_link()
    for page in (*PAGES, f"links/{link.code}", f"links/{link.code}/edit", "campaigns/spring-sale/filtered"):
        text = checked.get(f"/app/{page}").text
        for form in re.findall(r'<form[^>]*method="post".*?</form>', text, re.DOTALL):
            assert 'name="csrf_token"' in form, page


def test_pages_are_sealed_and_hold_nothing_inline(owner: FlaskClient, make_link: Callable[..., Link]) -> None:
    make_link()
    for page in (*PAGES, "campaigns/spring-sale", "campaigns/spring-sale/filtered", "nothing"):
        response = owner.get(f"/app/{page}")
        policy = response.headers["Content-Security-Policy"]
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Cache-Control"] == "private, no-store"
        assert response.headers["Referrer-Policy"] == "same-origin"
        assert not re.search(r"<style|<[^>]+ style=|<script(?! type=\"module\" src=)|<[^>]+ on\w+=", response.text), (
            page
        )
        assert not re.search(r'(?:src|href)="(?:https?:)?//(?!go\.example)', response.text), page


def test_every_field_has_a_label(owner: FlaskClient, make_link: Callable[..., Link]) -> None:
    link = make_link()
    pages = ("links/new", f"links/{link.code}/edit", "settings", "campaigns/spring-sale", "filtered", "events?code=x")
    for page in pages:
        text = owner.get(f"/app/{page}").text
        for field in re.findall(r"<(?:input|select)[^>]*>", text):
            if 'type="hidden"' not in field:
                name = re.search(r' id="([^"]+)"', field)
                assert name, field
                assert f'for="{name[1]}"' in text, field


def test_what_is_not_there_has_a_page_of_its_own(owner: FlaskClient) -> None:
    response = owner.get("/app/links/nobody")
    assert response.status_code == 404
    assert "There is no link “nobody”" in response.text
    assert owner.get("/app/nothing/at/all").status_code == 404


def test_the_api_keeps_its_own_way_of_saying_no(owner: FlaskClient) -> None:
    response = owner.get("/api/v1/nothing")
    assert response.status_code == 404
    assert response.mimetype == "application/problem+json"


def test_an_empty_workspace_says_what_to_do(owner: FlaskClient) -> None:
    page = owner.get("/app/").text
    assert "Make your first link" in page
    assert "tracker demo" in page
    assert "Follow one of your short links" in owner.get("/app/events").text
    assert "No conversion has been reported yet" in owner.get("/app/conversions").text


@pytest.mark.any_database
def test_numbers_and_dates_can_be_written_in_every_language(app: Flask) -> None:
    for tag in localedata.locale_identifiers():
        with app.test_request_context(headers={"Accept-Language": tag.replace("_", "-")}):
            assert formats.percent(0.04).endswith(" %")
            assert formats.number(12_000)
            assert "2020" in formats.period(Period(date(2020, 2, 3), date(2020, 3, 4)))
            assert formats.money(Money(-123_450, "KWD"))


# Every word there is


@pytest.mark.parametrize("number", list(Kind))
def test_every_kind_and_verdict_of_event_has_its_words(
    owner: FlaskClient, store: EventStore, workspace: Workspace, number: Kind
) -> None:
    rows = [
        StoredEvent(1_763_700_000_000, verdict, number, verdict, workspace.id, None, None, None, *[None] * 10)
        for verdict in Verdict
    ]
    store.append(Batch("words", 0, 1, rows))
    shown = owner.get("/app/events")
    assert shown.status_code == 200
    assert shown.text.count("<time") == len(Verdict)


@pytest.mark.parametrize("path", ["/app/../abc", "/app/%2e%2e/abc", "/app/./x", "/app/x/../../abc"])
def test_signing_in_leads_to_no_path_with_dots(app: Flask, owner: FlaskClient, path: str) -> None:
    client = app.test_client()
    form = {"email": OWNER, "password": PASSWORD}
    assert client.post("/app/login", query_string={"next": path}, data=form).headers["Location"] == "/app/"
