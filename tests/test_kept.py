"""Pages that are kept until anything is stored: nobody sees an old figure, another's page, or a message twice."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from tests.conftest import OWNER, PASSWORD
from tests.test_pages import figure
from tracker import accounts, days, shares
from tracker.models import Link, Workspace
from tracker.shares import ShareDraft
from tracker.web import kept, reportpage

pytestmark = pytest.mark.any_database

MakeLink = Callable[..., Link]
MATE = "mate@example.org"


@pytest.fixture
def page(make_link: MakeLink, client: FlaskClient, load: Callable[[], int]) -> str:
    """The page of a campaign with one click, which is told of today."""
    link = make_link(code="hero")
    client.get("/hero")
    load()
    return f"/app/campaigns/{link.campaign.slug}"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The campaigns that a report was put together for."""
    found: list[str] = []
    context = reportpage.context

    def counted(workspace: Workspace, campaign: Any, *args: Any, **given: Any) -> Any:
        found.append(campaign.slug)
        return context(workspace, campaign, *args, **given)

    monkeypatch.setattr(reportpage, "context", counted)
    return found


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """Stands still, unless a test moves it: a page is made again after some seconds."""
    at = [days.now()]
    monkeypatch.setattr(days, "now", lambda: at[0])
    return at


def test_a_page_is_made_once_while_nothing_is_stored(owner: FlaskClient, page: str, made: list[str]) -> None:
    first, second = owner.get(page), owner.get(page)
    assert len(made) == 1
    assert first.data == second.data
    assert first.headers["ETag"] == second.headers["ETag"]
    assert second.headers["Cache-Control"] == "private, no-store"
    assert second.headers["Content-Security-Policy"]


def test_who_has_the_page_is_told_that_it_is_still_the_same(owner: FlaskClient, page: str) -> None:
    tag = owner.get(page).headers["ETag"]
    again = owner.get(page, headers={"If-None-Match": tag})
    assert (again.status_code, again.data) == (304, b"")
    assert owner.get(page, headers={"If-None-Match": 'W/"another"'}).status_code == 200


@pytest.mark.parametrize("path", ["/app/", "/app/campaigns", "/app/campaigns/spring-sale/variants"])
def test_so_are_the_other_pages_that_only_read(owner: FlaskClient, make_link: MakeLink, page: str, path: str) -> None:
    tag = owner.get(path).headers["ETag"]
    assert owner.get(path, headers={"If-None-Match": tag}).status_code == 304
    make_link(code="other", campaign="elsewhere", content="other")
    assert owner.get(path, headers={"If-None-Match": tag}).status_code == (304 if "spring-sale" in path else 200)


def test_a_stored_click_is_on_the_page_at_once(
    owner: FlaskClient, client: FlaskClient, page: str, load: Callable[[], int]
) -> None:
    before = owner.get(page)
    assert figure(before.text, "clicks") == "1"
    client.get("/hero", environ_base={"REMOTE_ADDR": "192.0.2.7"})
    load()
    after = owner.get(page, headers={"If-None-Match": before.headers["ETag"]})
    assert after.status_code == 200
    assert figure(after.text, "clicks") == "2"


def test_what_was_stored_elsewhere_makes_no_other_page(
    owner: FlaskClient, make_link: MakeLink, page: str, made: list[str]
) -> None:
    """The database knows that something was stored, the tag knows that the page says the same."""
    tag = owner.get(page).headers["ETag"]
    make_link(code="other", campaign="elsewhere")
    again = owner.get(page, headers={"If-None-Match": tag})
    assert again.status_code == 304
    assert len(made) == 2


def test_an_edit_of_ones_own_is_seen_at_once(owner: FlaskClient, page: str) -> None:
    slug = page.rpartition("/")[2]
    assert "A new landing page" not in owner.get(page).text
    now = days.now().strftime("%Y-%m-%dT%H:%M")
    answer = owner.post(f"/app/campaigns/{slug}/notes", data={"note": "A new landing page", "at": now})
    assert answer.status_code == 303, answer.text
    owner.get("/app/settings")  # the message that it is kept
    assert "A new landing page" in owner.get(page).text


def test_a_message_is_shown_once(owner: FlaskClient, page: str) -> None:
    owner.get(page)
    with owner.session_transaction() as session:
        session["_flashes"] = [("message", "The budget is kept.")]
    assert "The budget is kept." in owner.get(page).text
    assert "The budget is kept." not in owner.get(page).text
    assert "The budget is kept." not in owner.get(page).text


def test_others_get_a_page_of_their_own(
    app: Flask, owner: FlaskClient, session: Session, workspace: Workspace, page: str
) -> None:
    accounts.create_user(session, workspace, MATE, PASSWORD)
    mate = app.test_client()
    mate.post("/app/login", data={"email": MATE, "password": PASSWORD})
    assert OWNER in owner.get(page).text
    theirs = mate.get(page).text
    assert MATE in theirs
    assert OWNER not in theirs


def test_a_page_asked_for_in_another_language_is_another(owner: FlaskClient, page: str) -> None:
    english = owner.get(page, headers={"Accept-Language": "en"})
    german = owner.get(page, headers={"Accept-Language": "de", "If-None-Match": english.headers["ETag"]})
    assert german.status_code == 200


def test_forms_of_a_kept_page_can_be_sent(app: Flask, owner: FlaskClient, page: str) -> None:
    """Signed in twice, each browser has a token of its own in its page."""
    app.config["WTF_CSRF_ENABLED"] = True
    other = app.test_client()
    app.config["WTF_CSRF_CHECK_DEFAULT"] = False
    other.post("/app/login", data={"email": OWNER, "password": PASSWORD})
    app.config["WTF_CSRF_CHECK_DEFAULT"] = True
    for browser in (owner, other):
        for _ in range(2):
            shown = browser.get(page).text
        token = re.search(r'name="csrf_token" value="([^"]+)"', shown)
        assert token
        assert browser.post("/app/logout", data={"csrf_token": token[1]}).status_code == 303


def test_the_tag_does_not_tell_one_token_from_another(
    owner: FlaskClient, page: str, clock: list[datetime], made: list[str]
) -> None:
    """Tokens are signed with the time: a page made again says the same with another one."""
    tag = owner.get(page).headers["ETag"]
    clock[0] += timedelta(milliseconds=kept.KEPT_MS)
    assert owner.get(page, headers={"If-None-Match": tag}).status_code == 304
    assert len(made) == 2


def test_a_page_that_cannot_be_as_asked_is_not_kept(owner: FlaskClient, page: str, made: list[str]) -> None:
    for _ in range(2):
        answer = owner.get(f"{page}?from=never")
        assert answer.status_code == 422
        assert "ETag" not in answer.headers
    assert len(made) == 2


def test_a_stranger_gets_no_kept_page(owner: FlaskClient, client: FlaskClient, page: str) -> None:
    tag = owner.get(page).headers["ETag"]
    assert client.get(page, headers={"If-None-Match": tag}).status_code == 303


def test_a_shared_report_is_kept_and_leaves_no_cookie(
    client: FlaskClient, session: Session, workspace: Workspace, page: str, made: list[str], load: Callable[[], int]
) -> None:
    link = session.query(Link).filter_by(code="hero").one()
    today = days.now().date().isoformat()
    share = shares.create(
        *(session, workspace, link.campaign, ShareDraft(query={"from": today, "to": today})), by=OWNER, now=days.now()
    )
    first, second = client.get(f"/s/{share.token}"), client.get(f"/s/{share.token}")
    assert first.status_code == 200
    assert len(made) == 1
    assert "Set-Cookie" not in second.headers
    client.get("/hero", environ_base={"REMOTE_ADDR": "192.0.2.8"})
    load()
    assert figure(client.get(f"/s/{share.token}").text, "clicks") == "2"


def test_a_shared_report_ends_though_it_is_kept(
    client: FlaskClient, session: Session, workspace: Workspace, page: str
) -> None:
    share = shares.create(session, workspace, None, ShareDraft(query={}), by=OWNER, now=days.now())
    assert client.get(f"/s/{share.token}").status_code == 200
    shares.revoke(session, workspace, share.id, days.now())
    assert client.get(f"/s/{share.token}").status_code == 404


def test_no_more_is_kept_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "BYTES_MAX", 100)
    pages = kept.KeptPages()
    for number in range(5):
        pages.keep(number, kept._Kept("1", b"x" * 40, "tag"))
    assert [number for number in range(5) if pages.find(number, "1")] == [3, 4]
    pages.keep(5, kept._Kept("1", b"x" * 101, "tag"))
    assert pages.find(4, "1")
    assert pages.find(5, "1") is None
    assert pages.find(4, "2") is None
