"""A shared report in a real browser: for a stranger, on a phone and a desk, behind a password, and on paper."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Response, expect

from tests.browser.conftest import PERSON, picture_folder
from tests.browser.test_look import OUTSIDE, WEIGHT_MAX_BYTES, WITH_PICTURES
from tests.serving import Server

pytestmark = pytest.mark.any_database

SHARES = "/campaigns/demo-spring-sale/shares"
# What is on paper wider than its page.
TOO_WIDE = (
    "[...document.querySelectorAll('table, svg, section')].filter(it => it.getBoundingClientRect().right > innerWidth)"
)


@pytest.fixture(scope="module")
def lived_in(server: Server) -> Server:
    server.run("demo")
    return server


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1440, "light")])
def test_a_stranger_reads_it_on_any_screen_and_asks_nobody_else(
    browser: Browser, lived_in: Server, width: int, scheme: str
) -> None:
    shared = lived_in.api("POST", SHARES, {"title": "For the client", "days": 14})
    context = browser.new_context(user_agent=PERSON, viewport={"width": width, "height": 844}, color_scheme=scheme)
    page, trouble, answers = context.new_page(), list[str](), list[Response]()
    page.on("console", lambda said: trouble.append(said.text) if said.type == "error" else None)
    page.on("response", lambda answer: answers.append(answer))
    page.goto(shared["url"])
    expect(page.get_by_role("heading", name="For the client")).to_be_visible()
    stats = lived_in.api("GET", "/campaigns/demo-spring-sale/stats")
    assert page.locator("[data-metric=clicks]").inner_text().replace(",", "") == str(stats["totals"]["clicks"])
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate(OUTSIDE) == []
    assert trouble == []
    assert {urlsplit(answer.url).netloc for answer in answers} == {urlsplit(shared["url"]).netloc}
    assert sum(len(answer.body()) for answer in answers) < WEIGHT_MAX_BYTES
    assert not any(answer.request.headers.get("referer") for answer in answers)
    assert context.cookies() == []
    if WITH_PICTURES:
        page.screenshot(path=picture_folder() / f"shared-report-{width}-{scheme}.png", full_page=True)
    context.close()


def test_a_password_opens_it_by_keyboard_and_the_files_too(browser: Browser, lived_in: Server) -> None:
    shared = lived_in.api("POST", SHARES, {"days": 7, "password": "open sesame"})
    context = browser.new_context(user_agent=PERSON)
    page = context.new_page()
    page.goto(shared["url"])
    page.get_by_label("Password").press("Tab")
    page.get_by_label("Password").fill("open barley")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("This is not the password.")
    expect(page.get_by_label("Password")).to_be_focused()
    page.keyboard.type("open sesame")
    page.keyboard.press("Enter")
    expect(page.locator("[data-metric=clicks]")).to_be_visible()
    page.get_by_text("Export").press("Enter")
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").press("Enter")
    assert download.value.path().read_text().startswith("table,key,impressions,clicks,")
    context.close()


def test_on_paper_it_is_what_is_read_and_nothing_to_press(browser: Browser, lived_in: Server) -> None:
    shared = lived_in.api("POST", SHARES, {"title": "On paper", "days": 14})
    context = browser.new_context(user_agent=PERSON, viewport={"width": 718, "height": 1000}, color_scheme="dark")
    page = context.new_page()
    page.goto(shared["url"])
    page.emulate_media(media="print")
    expect(page.get_by_text("Export")).to_be_hidden()
    expect(page.get_by_text("As a table")).to_be_hidden()
    expect(page.locator("[data-metric=clicks]")).to_be_visible()
    expect(page.locator(".chart.wide")).to_be_visible()
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(27, 31, 34)"
    assert page.evaluate(f"{TOO_WIDE}.length") == 0
    paper = page.pdf(prefer_css_page_size=True)
    assert paper.startswith(b"%PDF")
    assert 2 <= len(re.findall(rb"/Type /Page\b", paper)) <= 6
    assert set(re.findall(rb"/MediaBox \[0 0 (\d+)[.\d]* (\d+)", paper)) <= {
        (b"594", b"841"),
        (b"595", b"842"),
        (b"595", b"841"),
        (b"594", b"842"),
    }
    context.close()
