"""A NUL, which PostgreSQL takes in no text: wherever it is typed it is refused or finds nothing, and nothing breaks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.conftest import Api
from tracker.models import Link

pytestmark = pytest.mark.any_database

NUL = "a%00b"
TYPED = "a\0b"
CAMPAIGN = "/campaigns/spring-sale"
PAGES = (
    *("/?q=", "/?sort=", "/events?code=", "/events?campaign=", "/changes?kind=", "/changes?link="),
    *(
        "/debugger?q=",
        "/planner?campaign=",
        "/planner?baseline=",
        f"{CAMPAIGN}?content=",
        f"{CAMPAIGN}?link=",
        f"{CAMPAIGN}?country=",
        f"{CAMPAIGN}?from=",
    ),
    *(f"{CAMPAIGN}/variants?links=", f"{CAMPAIGN}/variants?control="),
)
QUESTIONS = (
    *("/events?code=", "/links?q=", "/links?campaign=", "/conversions?order=", "/conversions?customer="),
    *("/planner?campaign=", f"{CAMPAIGN}/stats?content=", f"{CAMPAIGN}/stats?group_by="),
    *(f"{CAMPAIGN}/variants?links=", f"{CAMPAIGN}/changes?link=", f"{CAMPAIGN}/costs?source="),
)
FORMS: dict[str, dict[str, str]] = {
    "/login": {"email": TYPED, "password": TYPED},
    "/changes/notes": {"note": TYPED, "at": "2026-11-30T01:00"},
    f"{CAMPAIGN}/costs": {"amount": "5", "currency": TYPED, "first_on": TYPED, "source": TYPED, "note": TYPED},
    f"{CAMPAIGN}/settings": {"budget": TYPED, "budget_currency": TYPED, "name": TYPED},
    "/settings/rates": {"currency": TYPED, "rate": TYPED, "from": TYPED},
    "/links/new": {"destination": f"https://shop.example/{TYPED}", "campaign": TYPED, "source": TYPED, "medium": TYPED},
}


@pytest.fixture(autouse=True)
def link(make_link: Callable[..., Link]) -> Link:
    return make_link(code="hero")


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_asked_for_it(owner: FlaskClient, path: str) -> None:
    assert owner.get(f"/app{path}{NUL}").status_code in (200, 404, 422)


@pytest.mark.parametrize("path", QUESTIONS)
def test_the_api_is_asked_for_it(api: Api, path: str) -> None:
    assert api("GET", f"{path}{NUL}").status_code in (200, 404, 422)


@pytest.mark.parametrize("path", FORMS)
def test_a_form_is_sent_with_it(owner: FlaskClient, path: str) -> None:
    assert owner.post(f"/app{path}", data=FORMS[path]).status_code == 422


@pytest.mark.parametrize(
    ("path", "content"),
    [
        (f"{CAMPAIGN}/notes", {"note": TYPED}),
        (f"{CAMPAIGN}/shares", {"title": TYPED}),
        ("/links", {"destination": "https://x.example/", "campaign": TYPED, "source": TYPED, "medium": TYPED}),
    ],
)
def test_it_is_sent_to_the_api(api: Api, path: str, content: dict[str, Any]) -> None:
    assert api("POST", path, content).status_code == 422
