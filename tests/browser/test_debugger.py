"""A whole test of an installation in a real browser: link, landing page, thank-you page, and the list that follows."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import PERSON
from tests.browser.test_journey import set_up
from tests.serving import Server

pytestmark = pytest.mark.any_database

PAGE = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
    '<link rel="icon" href="data:,">{body}</html>'
)


def test_a_test_is_followed_from_the_short_link_to_the_matched_sale_without_a_reload(
    page: Page, browser: Browser, server: Server, site: Callable[[str, str], str]
) -> None:
    set_up(page, server)
    key = server.api("GET", "/workspace")["key"]
    script = f'<script src="{server.url}/t.js" data-key="{key}"></script>'
    sale = '<script>tracker.convert({order: "T-1", value: "49.90", currency: "EUR"})</script>'
    site("thanks.html", PAGE.format(title="Thanks", body=f"{script}<h1>Thank you</h1>{sale}"))
    landing = site("pots.html", PAGE.format(title="Pots", body=f'{script}<a href="thanks.html">Buy</a>'))
    link = {"destination": landing, "campaign": "pots", "source": "mail", "medium": "email", "code": "pots"}
    server.api("POST", "/links", link)

    page.goto(f"{server.url}/app/debugger")
    page.get_by_role("button", name="Start a test").click()
    page.wait_for_url(re.compile(r"/app/debugger/tests/\w{8}"))
    expect(page.locator("#seen")).to_contain_text("Nothing yet.")
    expect(page.locator("#steps")).to_contain_text("No click yet")
    page.evaluate("window.unreloaded = true")

    reader = browser.new_context(user_agent=PERSON)
    tab = reader.new_page()
    tab.goto(page.locator("#test-impression").inner_text())
    tab.goto(page.locator("#test-link").inner_text())
    tab.wait_for_url(re.compile(r"pots\.html\?.*tracker_test=\w{8}&cid=[\w-]{28}"))
    with tab.expect_response(re.compile(r"/c/.*\.gif\?.*test=\w{8}")):
        tab.get_by_role("link", name="Buy").click()
    expect(tab.get_by_role("heading")).to_have_text("Thank you")

    lines = page.locator("#seen li[id]")
    expect(lines).to_have_count(3)
    report, click, impression = (lines.nth(number) for number in range(3))
    expect(impression).to_contain_text("Impression")
    expect(click).to_contain_text("otherwise counted")
    expect(report).to_contain_text("would be a new conversion")
    expect(report).to_contain_text("€49.90")
    expect(report).to_contain_text("Matched by its click id to the click")
    expect(report).not_to_contain_text("not a click of this test")
    expect(page.locator("#steps")).to_contain_text("It found its click.")

    with tab.expect_response(re.compile(r"/c/.*\.gif\?.*test=\w{8}")):
        tab.reload()
    expect(lines).to_have_count(4)
    expect(lines.first).to_contain_text("duplicate of the conversion pixel at")
    assert page.evaluate("window.unreloaded")
    reader.close()

    page.goto(f"{server.url}/app/campaigns/pots")
    expect(page.locator("main")).not_to_contain_text("€49.90")
    assert server.api("GET", "/conversions")["items"] == []
