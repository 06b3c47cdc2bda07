"""Which tables of a campaign's page are open, what opens others, and what filters suggest beside them."""

from __future__ import annotations

import html
import re
from collections.abc import Callable

import pytest
from flask.testing import FlaskClient

from tests.conftest import BROWSER
from tests.test_breakdowns import PHONE, page_of, section
from tracker.models import Link
from tracker.reports.filters import DIMENSIONS

pytestmark = pytest.mark.any_database


@pytest.fixture(autouse=True)
def lived(client: FlaskClient, make_link: Callable[..., Link], load: Callable[[], int]) -> None:
    """Two links, each clicked from a phone and a desk, one also from nowhere known."""
    for name in ("one", "two"):
        make_link(code=name, content=name, source=f"from-{name}", medium="podcast")
        for agent in (PHONE, BROWSER):
            client.get(f"/{name}", headers={"User-Agent": agent})
    client.get("/one", headers={"User-Agent": "Mozilla/5.0 (X) Gecko Thing"})
    load()


def tabs(page: str) -> dict[str, str]:
    """Where the tables that are not open are opened, by what they are called."""
    return {text: query for query, text in re.findall(r'data-stay href="\?([^"#]*)#by-\w+">([^<]*)<', page)}


def test_tables_that_answer_one_question_share_a_card(owner: FlaskClient) -> None:
    page = page_of(owner)
    cards = re.findall(r'<section id="by-(\w+)"', page)
    assert cards == ["link", "source", "channel", "country", "device", "models"]
    assert "Terms" not in tabs(page)  # no link has one
    opened = html.unescape(owner.get(f"/app/campaigns/spring-sale?{tabs(page)['Browsers']}").text)
    assert section(opened, "browser").count('scope="row"') == 3
    assert 'id="by-device"' not in opened
    # The others stay as they are, and the period's links lead to the same tables.
    both = html.unescape(owner.get(f"/app/campaigns/spring-sale?{tabs(opened)['Languages']}").text)
    assert re.findall(r'<section id="by-(\w+)"', both) == ["link", "source", "channel", "language", "browser", "models"]
    assert "open=language%2Cbrowser" in section(both, "channel") or "open=language,browser" in section(both, "channel")
    assert re.search(r'href="/app/campaigns/spring-sale\?[^"]*open=language', both)
    assert tabs(both)["Countries"] == "open=browser"


def test_all_tables_open_at_once_and_close_again(owner: FlaskClient) -> None:
    page = page_of(owner, open="all")
    shown = re.findall(r'<section id="by-(\w+)"', page)
    assert set(shown) == {*DIMENSIONS, "link", "content", "source", "medium", "models", "paths"}
    assert tabs(page) == {}
    assert 'href="?#breakdowns">One table a card' in page
    assert 'href="?open=all#breakdowns">Open all tables' in page_of(owner)


@pytest.mark.parametrize("asked", ["nonsense", "device,,nonsense", "term", "," * 300, "a\0b", "all,os"])
def test_what_is_no_table_opens_none(owner: FlaskClient, asked: str) -> None:
    cards = re.findall(r'<section id="by-(\w+)"', page_of(owner, open=asked))
    assert cards == ["link", "source", "channel", "country", "os" if "os" in asked else "device", "models"]


def offered(page: str, name: str) -> list[str]:
    """What a filter's field suggests."""
    found = re.search(rf'<datalist id="values-{name}">(.*?)</datalist>', page, re.DOTALL)
    assert found, name
    return re.findall(r'<option value="([^"]*)">', found[1])


def test_filters_suggest_what_links_have_and_what_open_tables_show(owner: FlaskClient) -> None:
    page = page_of(owner)
    assert offered(page, "source") == ["from-one", "from-two"]
    assert offered(page, "medium") == ["podcast"]
    assert offered(page, "term") == ["(none)"]
    assert set(offered(page, "device")) == {"mobile", "desktop", "(none)"}
    assert offered(page, "browser") == []
    every = page_of(owner, open="all")
    assert set(offered(every, "browser")) >= {"Mobile Safari", "Firefox"}
