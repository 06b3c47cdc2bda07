"""The page checker over HTTP: what it refuses, what it finds on a real server, and that nothing is counted by it."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_network

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

from tests import peers
from tests.conftest import BASE_URL
from tests.peers import Peer, answer, redirect
from tracker import clickid, links
from tracker.config import Settings
from tracker.errors import Busy
from tracker.fetching import Fetcher
from tracker.models import Link, Workspace
from tracker.snippets import of_workspace
from tracker.web import checker

pytestmark = pytest.mark.any_database

PATH = "/app/debugger/check"


@pytest.fixture
def shop(app: Flask) -> Iterator[Peer]:
    """A shop on loopback, which the checker is let fetch from, under every name that ends in .example."""
    with peers.peer() as found:

        def resolve(host: str) -> list[str]:
            return ["10.0.0.5"] if host == "inside.example" else ["127.0.0.1"]

        fetcher = Fetcher([ip_network("127.0.0.1/32")], resolve=resolve, ports={80, 443, found.port})
        app.extensions["tracker"] = replace(app.extensions["tracker"], fetcher=fetcher)
        yield found


def run(client: FlaskClient, address: str, kind: str = "landing") -> TestResponse:
    return client.post(PATH, data={"address": address, "kind": kind})


def found(response: TestResponse) -> set[str]:
    assert response.status_code == 200, response.text
    return set(re.findall(r"<code>([a-z_]+)</code></p>", response.text))


def said(response: TestResponse) -> str:
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.text)))


@pytest.fixture
def snippet(workspace: Workspace) -> str:
    return of_workspace(workspace, BASE_URL, "cid").script_html


def test_a_stranger_is_sent_to_the_login(client: FlaskClient, shop: Peer) -> None:
    response = client.get(PATH + "?address=https://shop.example/")
    assert (response.status_code, response.location.partition("?")[0]) == (303, "/app/login")
    response = run(client, shop.url("/"))
    assert (response.status_code, response.location) == (303, "/app/login")
    assert shop.requests == []


def test_the_form_brings_along_what_a_link_to_it_names_and_fetches_nothing(owner: FlaskClient, shop: Peer) -> None:
    response = owner.get(PATH, query_string={"address": shop.url('/"x'), "kind": "thank_you"})
    assert html.escape(shop.url('/"x'), quote=True).replace("&quot;", "&#34;") in response.text
    assert re.search(r"<option selected value=\"thank_you\"", response.text)
    assert "What is looked for" in response.text
    assert shop.requests == []


def test_the_form_needs_its_token(app: Flask, owner: FlaskClient, shop: Peer) -> None:
    app.config["WTF_CSRF_ENABLED"] = True
    response = run(owner, shop.url("/"))
    app.config["WTF_CSRF_ENABLED"] = False
    assert response.status_code == 400
    assert shop.requests == []


def test_a_page_that_is_well_says_so(owner: FlaskClient, shop: Peer, snippet: str) -> None:
    shop.pages["/sale"] = answer(snippet.encode())
    response = run(owner, shop.url("/sale?cid=old&a=b#top"))
    assert found(response) == {"click_id_kept", "snippet_found"}
    assert "2 well" in said(response)
    request = shop.requests[0].split(" ")[1]
    assert re.fullmatch(r"/sale\?a=b&cid=[\w-]{28}", request)


def test_the_click_id_sent_along_verifies(owner: FlaskClient, shop: Peer, settings: Settings) -> None:
    run(owner, shop.url("/sale"))
    click_id = shop.requests[0].split(" ")[1].partition("cid=")[2]
    assert clickid.read(click_id, settings.secrets.click_keys) is not None


def test_faults_are_told_by_name_with_what_to_do(owner: FlaskClient, shop: Peer, snippet: str) -> None:
    shop.pages["/sale"] = answer((snippet + snippet.replace("w_", "v_")).encode())
    response = run(owner, shop.url("/sale"))
    assert found(response) == {"wrong_key", "snippet_twice", "click_id_kept", "snippet_found"}
    assert "Error: Another key" in said(response)
    assert "1 to mend · 1 to look at · 2 well" in said(response)
    assert 'value="' + html.escape(shop.url("/sale")) in response.text


def test_the_hop_that_drops_the_click_id_is_shown(owner: FlaskClient, shop: Peer, snippet: str) -> None:
    shop.pages["/old"] = redirect("/new")
    shop.pages["/new"] = answer(snippet.encode())
    response = run(owner, shop.url("/old"))
    assert found(response) == {"click_id_lost", "snippet_found"}
    assert "Hop 1" in said(response)
    hops = response.text.partition('<ol class="hops">')[2].partition("</ol>")[0].split("</li>")
    assert ["no click id" in hop for hop in hops[:-1]] == [False, True]


def test_a_thank_you_page_is_asked_for_as_it_was_typed(owner: FlaskClient, shop: Peer, workspace: Workspace) -> None:
    pixel = f'<img src="{BASE_URL}/c/{workspace.key}.gif?cid={{{{cid}}}}&order=1&value=1.234,56&currency=EURO">'
    shop.pages["/thanks"] = answer(pixel.encode())
    response = run(owner, shop.url("/thanks?a=b"), "thank_you")
    assert found(response) == {"macro_left", "currency_invalid", "value_invalid", "pixel_found"}
    assert shop.requests[0].split(" ")[1] == "/thanks?a=b"


@pytest.mark.parametrize("given", ["{code}", f"{BASE_URL}/{{code}}", f"{BASE_URL}/{{code}}?x=1#y", "go.example/{code}"])
def test_a_short_link_is_followed_without_a_click(
    owner: FlaskClient, shop: Peer, snippet: str, make_link: Callable[..., Link], load: Callable[[], int], given: str
) -> None:
    shop.pages["/sale"] = answer(snippet.encode())
    link = make_link(destination=shop.url("/sale?ref=1#top"))
    response = run(owner, given.format(code=link.code))
    assert found(response) == {"click_id_kept", "snippet_found"}
    assert "short link, looked up and not counted" in said(response)
    assert re.fullmatch(
        r"/sale\?ref=1&utm_source=newsletter&utm_medium=email&utm_campaign=spring-sale&cid=[\w-]{28}",
        shop.requests[0].split(" ")[1],
    )
    assert load() == 0


def test_a_short_link_behind_another_shortener_is_not_clicked_either(
    owner: FlaskClient, shop: Peer, snippet: str, make_link: Callable[..., Link], load: Callable[[], int]
) -> None:
    link = make_link(destination=shop.url("/sale"))
    shop.pages["/bit"] = redirect(f"{BASE_URL}/{link.code}")
    shop.pages["/sale"] = answer(snippet.encode())
    response = run(owner, shop.url("/bit", "bit.example"))
    assert found(response) == {"click_id_kept", "snippet_found"}
    assert load() == 0


def test_a_link_that_adds_no_click_id_is_told_of(
    owner: FlaskClient, shop: Peer, snippet: str, make_link: Callable[..., Link]
) -> None:
    shop.pages["/sale"] = answer(snippet.encode())
    response = run(owner, make_link(destination=shop.url("/sale"), click_id_param="").code)
    assert found(response) == {"click_id_off", "snippet_found"}


def test_a_link_with_a_name_of_its_own_for_the_click_id_needs_a_script_that_knows_it(
    owner: FlaskClient, shop: Peer, snippet: str, make_link: Callable[..., Link]
) -> None:
    shop.pages["/sale"] = answer(snippet.encode())
    response = run(owner, make_link(destination=shop.url("/sale"), click_id_param="xid").code)
    assert found(response) == {"click_id_name", "snippet_found"}


def test_a_link_that_leads_nowhere_is_refused(
    owner: FlaskClient, shop: Peer, session: Session, make_link: Callable[..., Link]
) -> None:
    link = make_link(destination=shop.url("/sale"), expires_at=datetime(2030, 1, 1, tzinfo=UTC))
    links.set_archived(session, link, True)
    response = run(owner, link.code)
    assert response.status_code == 422
    assert f"The link {link.code} is archived or has expired." in said(response)


def test_a_link_of_another_workspace_has_no_code_here(
    owner: FlaskClient, shop: Peer, session: Session, make_link: Callable[..., Link]
) -> None:
    link = make_link(destination=shop.url("/sale"))
    other = Workspace(name="Next door", key="w_nextdoor")
    session.add(other)
    session.flush()
    session.merge(link).workspace_id = other.id
    session.commit()
    response = run(owner, link.code)
    assert response.status_code == 422
    assert "No link has the code" in said(response)


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("", "Give the address of a page"),
        ("https://", "no address of a page"),
        ("http://[", "no address of a page"),
        ("ftp://shop.example/", "starts with http:// or https://"),
        ("nosuchcode", "No link has the code “nosuchcode”"),
        ("http://10.0.0.1/", "That address is private"),
        ("http://167772161/", "That address is private"),
        ("http://[::1]/", "That address is private"),
        ("http://localhost/", "That address is private"),
        ("inside.example", "That address is private"),
        ("http://user@shop.example/", "user name or password"),
        ("http://shop.example:6379/", "not from 6379"),
        (f"{BASE_URL}/app/login", "no short link"),
        (f"{BASE_URL}/nosuchcode", "no short link"),
        (f"{BASE_URL}/", "no short link"),
        (BASE_URL, "no short link"),
        ("https://shop.example/" + "a" * 9000, "at most 8,192 characters"),
    ],
)
def test_what_cannot_be_fetched_is_refused_at_the_field_and_stays_there(
    owner: FlaskClient, shop: Peer, load: Callable[[], int], address: str, sentence: str
) -> None:
    response = run(owner, address)
    assert response.status_code == 422
    error = re.search(r'<p class="error" id="address-error">(.*?)</p>', response.text)
    assert error is not None
    assert sentence in html.unescape(error[1])
    assert f'value="{html.escape(address)}"' in response.text
    assert 'aria-invalid="true"' in response.text
    assert shop.requests == []
    assert load() == 0


def test_a_kind_that_nobody_offers_is_refused_at_its_field(owner: FlaskClient, shop: Peer) -> None:
    response = run(owner, shop.url("/"), "other")
    assert response.status_code == 422
    assert 'id="kind-error"' in response.text


def test_a_redirect_to_a_private_address_ends_there_with_the_way_shown(owner: FlaskClient, shop: Peer) -> None:
    shop.pages["/go"] = redirect("http://inside.example/admin?cid=x")
    response = run(owner, shop.url("/go"))
    assert found(response) == {"address_private", "click_id_lost"}
    assert 'id="hops"' in response.text


def test_what_a_page_says_is_shown_as_text(owner: FlaskClient, shop: Peer, workspace: Workspace) -> None:
    hostile = f'<img src="{BASE_URL}/c/{workspace.key}.gif?order=<script>alert(1)</script>&value=<b>">'
    shop.pages["/thanks"] = answer(hostile.encode())
    response = run(owner, shop.url("/thanks?<i>"), "thank_you")
    assert "<script>alert" not in response.text
    assert "<b>" not in response.text
    assert "<i>" not in response.text


def test_so_many_checks_a_minute_and_typing_errors_are_free(owner: FlaskClient, shop: Peer) -> None:
    for _ in range(checker.CHECKS_PER_MIN + 1):
        assert run(owner, "").status_code == 422
    for _ in range(checker.CHECKS_PER_MIN):
        assert run(owner, shop.url("/")).status_code == 200
    response = run(owner, shop.url("/kept"))
    assert response.status_code == 429
    assert 0 < int(response.headers["Retry-After"]) <= 60
    assert "10 pages a minute" in said(response)
    assert shop.url("/kept") in response.text


def test_while_others_are_checked_the_page_says_so(app: Flask, owner: FlaskClient) -> None:
    class Taken(Fetcher):
        def follow(self, url: str, shortcut: object) -> None:  # type: ignore[override]
            raise Busy("Other pages are being checked at this moment.")

    app.extensions["tracker"] = replace(app.extensions["tracker"], fetcher=Taken())
    response = run(owner, "https://shop.example/kept")
    assert response.status_code == 503
    assert response.headers["Retry-After"]
    assert "Other pages are being checked" in said(response)
    assert "https://shop.example/kept" in response.text


def test_as_installed_nothing_but_what_is_public_is_fetched(owner: FlaskClient) -> None:
    with peers.peer() as inside:
        response = run(owner, f"http://127.0.0.1:{inside.port}/")
        assert response.status_code == 422
        response = run(owner, "http://127.0.0.1/")
        assert response.status_code == 422
        assert "That address is private" in said(response)
        assert inside.requests == []
