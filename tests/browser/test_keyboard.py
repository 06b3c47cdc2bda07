"""The report by keyboard alone: everything that can be clicked is reached in order, shows it, and lets go again."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser

from tests.browser.conftest import OWNER, PASSWORD, PERSON, sign_in
from tests.serving import Server

pytestmark = pytest.mark.any_database

PATHS = ("/app/", "/app/campaigns/demo-spring-sale", "/app/campaigns/demo-spring-sale/variants")
# Everything of a page that a pointer could use, as far as it is shown.
USABLE = """[...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, summary, [tabindex='0']")]
  .filter(it => it.checkVisibility() && !it.disabled && !it.closest("svg")).length"""
FOCUSED = """(() => {
  const it = document.activeElement;
  if (it === document.body || it === null) return null;
  window.seen = window.seen || new Set();
  window.seen.add(it);
  const style = getComputedStyle(it);
  return style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
})()"""
TABS_MAX = 600


@pytest.fixture(scope="module")
def lived_in(server: Server) -> Server:
    server.run("demo")
    server.run("user", "create", OWNER, "--password-stdin", typed=PASSWORD + "\n")
    return server


def test_everything_is_reached_by_tabulator_and_shows_that_it_is(browser: Browser, lived_in: Server) -> None:
    context = browser.new_context(user_agent=PERSON)
    page = context.new_page()
    sign_in(page, lived_in)
    for path in PATHS:
        page.goto(f"{lived_in.url}{path}")
        usable = page.evaluate(USABLE)
        for _ in range(TABS_MAX):
            page.keyboard.press("Tab")
            shown = page.evaluate(FOCUSED)
            if shown is None:  # beyond the last one
                break
            assert shown, f"{path}: {page.evaluate('document.activeElement.outerHTML.slice(0, 120)')}"
        else:
            raise AssertionError(f"{path}: no end after {TABS_MAX} steps")
        assert page.evaluate("window.seen.size") >= usable, path
    context.close()


def test_a_period_and_a_filter_are_chosen_without_a_pointer(browser: Browser, lived_in: Server) -> None:
    context = browser.new_context(user_agent=PERSON)
    page = context.new_page()
    sign_in(page, lived_in)
    page.goto(f"{lived_in.url}/app/campaigns/demo-spring-sale")
    page.locator("#add-filter > summary").focus()
    page.keyboard.press("Enter")
    page.locator("#filter-country").focus()
    page.keyboard.type("DE")
    page.keyboard.press("Enter")
    page.wait_for_url("**country=DE**")
    assert "Country: Germany" in page.locator("#filters").inner_text()
    page.locator("nav[aria-label=Period] a", has_text="30 d").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**from=**")
    assert page.locator("nav[aria-label=Period] a[aria-current]").inner_text() == "30 d"
    context.close()
