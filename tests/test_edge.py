"""Redirects and pixels as a browser, a mail client and a bot see them, and what is counted of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from tests.conftest import BROWSER
from tracker import clickid, days, links
from tracker.config import Settings
from tracker.destinations import OwnDomain
from tracker.events import Kind, Verdict
from tracker.models import Link, Workspace
from tracker.stores import EventStore, StoredEvent

pytestmark = pytest.mark.any_database

MakeLink = Callable[..., Link]
Load = Callable[[], int]

PIXEL_HEADERS = {
    "Content-Type": "image/gif",
    "Content-Length": "43",
    "Cache-Control": "no-store, no-cache, must-revalidate, max-age=0, private",
    "Pragma": "no-cache",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Access-Control-Allow-Origin": "*",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex, nofollow",
}


@pytest.fixture
def stored(load: Load, store: EventStore, workspace: Workspace) -> Callable[[], list[StoredEvent]]:
    def stored() -> list[StoredEvent]:
        load()
        return store.recent(workspace.id, before=None, limit=100)

    return stored


def cid_of(location: str) -> str:
    return location.partition("cid=")[2].partition("#")[0].partition("&")[0]


def test_a_click_is_redirected_to_the_tagged_url_and_counted(
    client: FlaskClient, make_link: MakeLink, stored: Callable[[], list[StoredEvent]], settings: Settings
) -> None:
    link = make_link(content="hero b")
    response = client.get(f"/{link.code}")
    assert response.status_code == 302
    assert response.data == b""
    location = response.headers["Location"]
    click = clickid.read(cid_of(location), settings.secrets.click_keys)
    assert click is not None
    assert click.link_id == link.id
    assert location == (
        "https://shop.example/sale?ref=1&utm_source=newsletter&utm_medium=email&utm_campaign=spring-sale"
        f"&utm_content=hero%20b&cid={cid_of(location)}#top"
    )
    assert response.headers["Cache-Control"] == "private, no-store"
    assert response.headers["Referrer-Policy"] == "unsafe-url"
    assert response.headers["X-Robots-Tag"] == "noindex, nofollow"
    (event,) = stored()
    assert (event.at_ms, event.nonce, event.kind) == (click.at_ms, click.nonce, Kind.CLICK)
    assert (event.verdict, event.link_id, event.campaign_id) == (Verdict.COUNTED, link.id, link.campaign_id)
    assert event.visitor is not None


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_link_chooses_its_status(client: FlaskClient, make_link: MakeLink, status: int) -> None:
    assert client.get(f"/{make_link(redirect_code=status).code}").status_code == status


def test_pixels_answer_exactly_the_gif_and_are_never_cached(
    client: FlaskClient, make_link: MakeLink, workspace: Workspace, stored: Callable[[], list[StoredEvent]]
) -> None:
    link = make_link()
    for path in (
        f"/i/{link.code}.gif",
        f"/c/{workspace.key}.gif?order=1",
        "/i/nobody.gif",
        "/c/nobody.gif",
        "/i/a/b.gif",
    ):
        response = client.get(path)
        assert response.status_code == 200
        assert response.data[:6] == b"GIF89a"
        assert len(response.data) == 43
        for name, value in PIXEL_HEADERS.items():
            assert response.headers[name] == value
        assert response.headers["Expires"].endswith("1970 00:00:00 GMT")
        assert not {"ETag", "Last-Modified", "Set-Cookie"} & set(response.headers.keys())
    verdicts = sorted((event.kind, event.verdict) for event in stored())
    assert verdicts == [
        (Kind.IMPRESSION, Verdict.COUNTED),
        (Kind.IMPRESSION, Verdict.UNKNOWN_CODE),
        (Kind.IMPRESSION, Verdict.UNKNOWN_CODE),
        (Kind.CONVERSION, Verdict.COUNTED),
        (Kind.CONVERSION, Verdict.UNKNOWN_CODE),
    ]


def test_head_is_answered_like_get_and_never_counts(
    client: FlaskClient, make_link: MakeLink, stored: Callable[[], list[StoredEvent]]
) -> None:
    link = make_link()
    response = client.head(f"/{link.code}")
    assert response.status_code == 302
    assert response.headers["Location"].startswith("https://shop.example/")
    pixel = client.head(f"/i/{link.code}.gif")
    assert pixel.headers["Content-Length"] == "43"
    assert pixel.data == b""
    assert {event.verdict for event in stored()} == {Verdict.HEAD}


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Sec-Purpose", "prefetch"),
        ("Sec-Purpose", "prefetch;prerender"),
        ("Sec-Purpose", "PreFetch; anonymous-client-ip"),
        ("Purpose", "prefetch"),
        ("X-Purpose", "preview"),
        ("X-Moz", "prefetch"),
    ],
)
def test_a_speculative_fetch_is_put_off_and_not_counted(
    client: FlaskClient, make_link: MakeLink, stored: Callable[[], list[StoredEvent]], header: str, value: str
) -> None:
    link = make_link()
    response = client.get(f"/{link.code}", headers={header: value})
    assert response.status_code == 503
    assert "no-store" in response.headers["Cache-Control"]
    assert "Location" not in response.headers
    assert client.get(f"/i/{link.code}.gif", headers={header: value}).status_code == 200
    assert [event.verdict for event in stored()] == [Verdict.PREFETCH, Verdict.PREFETCH]


def test_a_purpose_that_only_resembles_prefetch_counts(
    client: FlaskClient, make_link: MakeLink, stored: Callable[[], list[StoredEvent]]
) -> None:
    assert client.get(f"/{make_link().code}", headers={"Purpose": "noprefetching"}).status_code == 302
    assert [event.verdict for event in stored()] == [Verdict.COUNTED]


@pytest.mark.parametrize(
    ("agent", "label"),
    [
        ("Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)", "Slack preview"),
        ("curl/8.5.0", "curl"),
        ("python-requests/2.32.5", "python-requests"),
        ("", "no user agent"),
        ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "Googlebot"),
    ],
)
def test_bots_are_redirected_and_kept_with_their_name(
    client: FlaskClient, make_link: MakeLink, stored: Callable[[], list[StoredEvent]], agent: str, label: str
) -> None:
    assert client.get(f"/{make_link().code}", headers={"User-Agent": agent}).status_code == 302
    (event,) = stored()
    assert (event.verdict, event.detail) == (Verdict.BOT, label)


def test_an_unknown_code_is_a_plain_404_and_kept_as_an_orphan(
    client: FlaskClient, stored: Callable[[], list[StoredEvent]]
) -> None:
    response = client.get("/NoSuch1")
    assert response.status_code == 404
    assert b"no such link" in response.data
    assert response.headers["X-Robots-Tag"] == "noindex, nofollow"
    (event,) = stored()
    assert (event.verdict, event.detail, event.link_id) == (Verdict.UNKNOWN_CODE, "NoSuch1", None)


def test_a_code_that_no_database_takes_holds_nothing_up(
    client: FlaskClient, stored: Callable[[], list[StoredEvent]]
) -> None:
    """PostgreSQL refuses a NUL even in a question, and what cannot be stored must not stand before what can."""
    client.get("/i/a%00b.gif")
    client.get("/c/a%00b.gif")
    assert client.post("/c/a%00b", data={"order": "7"}).status_code == 404
    assert [event.detail for event in stored()] == ["a\N{REPLACEMENT CHARACTER}b"] * 3


def test_an_unknown_code_goes_to_the_workspaces_fallback(
    client: FlaskClient, session: Session, workspace: Workspace
) -> None:
    workspace.fallback_url = "https://example.org/süß"
    session.commit()
    assert client.get("/NoSuch2").headers["Location"] == "https://example.org/s%C3%BC%C3%9F"


def test_an_archived_or_expired_link_is_gone_or_falls_back(
    client: FlaskClient, make_link: MakeLink, session: Session, stored: Callable[[], list[StoredEvent]]
) -> None:
    archived = make_link()
    assert client.get(f"/{archived.code}").status_code == 302
    links.set_archived(session, archived, True)
    assert client.get(f"/{archived.code}").status_code == 410
    expired = make_link(expires_at=days.from_ms(10**12), fallback_url="https://shop.example/over")
    assert client.get(f"/{expired.code}").headers["Location"] == "https://shop.example/over"
    links.set_archived(session, archived, False)
    assert client.get(f"/{archived.code}", environ_base={"REMOTE_ADDR": "192.0.2.9"}).status_code == 302
    assert sorted(event.verdict for event in stored()) == [Verdict.COUNTED] * 2 + [Verdict.INACTIVE] * 2


def test_an_edit_is_in_force_at_the_next_poll(
    client: FlaskClient, make_link: MakeLink, session: Session, workspace: Workspace
) -> None:
    link = make_link()
    client.get(f"/{link.code}")
    links.edit(session, workspace, link, {"destination": "https://other.example/"}, OwnDomain(()))
    assert client.get(f"/{link.code}").headers["Location"].startswith("https://other.example/?utm_source=")


@pytest.mark.parametrize(
    ("mode", "query", "expected"),
    [
        ("link_wins", "utm_source=evil&x=1&x=2&&b=+&=v&n", "?ref=1&{utm}&x=1&x=2&&b=+&=v&n"),
        ("link_wins", "utm%5Fsource=evil&utm_term=t", "?ref=1&{utm}&utm_term=t"),
        (
            "visitor_wins",
            "utm_source=mine&x=%20",
            "?ref=1&utm_source=mine&utm_medium=email&utm_campaign=spring-sale&x=%20",
        ),
        ("drop", "x=1", "?ref=1&{utm}"),
        ("link_wins", "cid=someone-elses&gclid=G", "?ref=1&{utm}&gclid=G"),
    ],
)
def test_a_visitors_query_is_merged_as_the_link_says(
    client: FlaskClient, make_link: MakeLink, mode: str, query: str, expected: str
) -> None:
    link = make_link(query_mode=mode)
    location = client.get(f"/{link.code}?{query}").headers["Location"]
    own = "utm_source=newsletter&utm_medium=email&utm_campaign=spring-sale"
    cid = cid_of(location)
    assert location == f"https://shop.example/sale{expected.format(utm=own)}&cid={cid}#top"


def test_macros_are_filled_and_a_click_id_macro_replaces_the_parameter(
    client: FlaskClient, make_link: MakeLink
) -> None:
    link = make_link(
        destination="https://shop.example/{link}/p?click={clickid}&g={gclid}&r={referrer_host}&u={unknown}"
    )
    location = client.get(f"/{link.code}?gclid=a%26b", headers={"Referer": "https://Mail.Example/x"}).headers[
        "Location"
    ]
    assert location.startswith(f"https://shop.example/{link.code}/p?click=")
    assert "&g=a%26b&r=mail.example&u={unknown}&utm_source=newsletter" in location
    assert "cid=" not in location


def test_a_link_may_name_its_click_id_or_go_without(client: FlaskClient, make_link: MakeLink) -> None:
    assert "&sub1=" in client.get(f"/{make_link(click_id_param='sub1').code}").headers["Location"]
    bare = client.get(f"/{make_link(click_id_param='').code}").headers["Location"]
    assert bare.endswith("utm_campaign=spring-sale#top")


def test_privacy_control_leaves_no_click_id_and_no_visitor(
    client: FlaskClient, make_link: MakeLink, stored: Callable[[], list[StoredEvent]]
) -> None:
    response = client.get(f"/{make_link().code}", headers={"Sec-GPC": "1"})
    assert "cid=" not in response.headers["Location"]
    (event,) = stored()
    assert (event.verdict, event.visitor) == (Verdict.COUNTED, None)


def test_an_international_url_fits_into_a_header_without_changing_its_meaning(
    client: FlaskClient, make_link: MakeLink
) -> None:
    link = make_link(destination="https://münchen.example/straße?q=über uns&e=%C3%BC#größe", click_id_param="")
    assert client.get(f"/{link.code}").headers["Location"] == (
        "https://xn--mnchen-3ya.example/stra%C3%9Fe?q=%C3%BCber%20uns&e=%C3%BC"
        "&utm_source=newsletter&utm_medium=email&utm_campaign=spring-sale#gr%C3%B6%C3%9Fe"
    )


def test_the_honeypot_tells_a_scanner(
    client: FlaskClient, make_link: MakeLink, stored: Callable[[], list[StoredEvent]]
) -> None:
    assert client.get(f"/h/{make_link().code}").status_code == 204
    assert [(event.kind, event.verdict) for event in stored()] == [(Kind.HONEYPOT, Verdict.SCANNER)]


def test_the_fallback_is_set_on_the_settings_page_and_in_force_at_once(client: FlaskClient, owner: FlaskClient) -> None:
    assert client.get("/NoSuch3").status_code == 404
    settings = {"workspace": "W", "timezone": "UTC", "currency": "EUR", "fallback_url": "https://example.org/"}
    assert owner.post("/app/settings", data=settings).status_code == 303
    assert client.get("/NoSuch3").headers["Location"] == "https://example.org/"
    refused = owner.post("/app/settings", data=settings | {"fallback_url": "example.org"})
    assert refused.status_code == 422
    assert 'id="fallback_url-error"' in refused.text
    assert 'value="example.org"' in refused.text


@pytest.mark.parametrize(
    ("agent", "verdict", "detail"),
    [
        ("Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)", 0, "via_proxy"),
        ("YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html", 0, "via_proxy"),
        ("Mozilla/5.0", Verdict.MACHINE_OPEN, "Apple Mail Privacy Protection"),
    ],
)
def test_mail_providers_pictures_are_told_from_bots(
    client: FlaskClient,
    make_link: MakeLink,
    stored: Callable[[], list[StoredEvent]],
    agent: str,
    verdict: int,
    detail: str,
) -> None:
    link = make_link()
    client.get(f"/i/{link.code}.gif", headers={"User-Agent": agent})
    client.get(f"/{link.code}", headers={"User-Agent": agent})
    click, opened = stored()
    assert (opened.verdict, opened.detail) == (verdict, detail)
    assert click.verdict == Verdict.BOT


def test_head_on_the_honeypot_is_a_head(
    client: FlaskClient, make_link: MakeLink, stored: Callable[[], list[StoredEvent]]
) -> None:
    client.head(f"/h/{make_link().code}")
    assert [event.verdict for event in stored()] == [Verdict.HEAD]


def test_other_methods_are_refused_with_the_allowed_ones(client: FlaskClient, make_link: MakeLink) -> None:
    link = make_link()
    for path in (f"/{link.code}", f"/i/{link.code}.gif", "/c/w_x.gif", f"/h/{link.code}"):
        response = client.post(path)
        assert (response.status_code, response.headers["Allow"]) == (405, "GET, HEAD")
        assert response.headers["X-Robots-Tag"] == "noindex, nofollow"


@pytest.mark.parametrize("path", ["/abc/", "/" + "x" * 65, "/s/x", "/t.js/x", "/"])
def test_whatever_is_answered_stays_out_of_search_engines(client: FlaskClient, path: str) -> None:
    response = client.get(path)
    assert response.headers["X-Robots-Tag"] == "noindex, nofollow"
    assert response.status_code in (302, 303, 308, 404)


@pytest.mark.parametrize(
    ("agent", "expected"),
    [
        (BROWSER, "desktop/Linux/Firefox"),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
            "Version/18.5 Mobile/15E148 Safari/604.1",
            "mobile/iOS/Mobile%20Safari",
        ),
        (
            "Mozilla/5.0 (Linux; Android 15; SM-X710) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 "
            "Safari/537.36",
            "tablet/Android/Chrome",
        ),
        ("", "//"),
    ],
)
def test_a_destination_may_ask_for_device_system_and_browser(
    client: FlaskClient, make_link: MakeLink, agent: str, expected: str
) -> None:
    link = make_link(destination="https://shop.example/{device}/{os}/{browser}?c={country}")
    location = client.get(f"/{link.code}", headers={"User-Agent": agent}).headers["Location"]
    assert location.startswith(f"https://shop.example/{expected}?c=&utm_source=")
