"""Every page on a phone and on a desk, light and dark: none overflows, is heavy, or loads from elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterator
from urllib.request import urlopen

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, Response, expect

from tests.browser.conftest import OWNER, PASSWORD, PERSON, picture_folder, sign_in
from tests.serving import Server

pytestmark = pytest.mark.any_database

WEIGHT_MAX_BYTES = 100_000
PAGES = {
    "overview": "/app/",
    "campaigns": "/app/campaigns",
    "campaign": "/app/campaigns/demo-spring-sale",
    "variants": "/app/campaigns/demo-spring-sale/variants?split=26,26,18",
    "planner": "/app/planner?campaign=demo-spring-sale",
    "links": "/app/links",
    "builder": "/app/links/new",
    "link": "/app/links/look",
    "edit": "/app/links/look/edit",
    "conversions": "/app/conversions",
    "conversions-recorded": "/app/conversions/recorded",
    "conversion": "/app/conversions/1",
    "report": "/app/conversions/reports/1",
    "import": "/app/conversions/import",
    "audiences": "/app/audiences",
    "audience-builder": "/app/audiences/new?start=clicked-not-converted",
    "events": "/app/events",
    "events-of-a-link": "/app/events?code=look",
    "left-out": "/app/filtered",
    "left-out-of-a-campaign": "/app/campaigns/demo-spring-sale/filtered",
    "unknown-codes": "/app/orphans",
    "privacy": "/privacy",
    "debugger": "/app/debugger",
    "debugger-test": "/app/debugger/tests/{test}",
    "install": "/app/install",
    "settings": "/app/settings",
    "filters": "/app/settings/filters",
    "page-checker": "/app/debugger/check",
    "callback": "/app/settings/callback",
    "share": "/app/campaigns/demo-spring-sale/share",
    "shared": "/app/shared",
    "campaign-settings": "/app/campaigns/demo-spring-sale/settings",
    "costs": "/app/campaigns/demo-spring-sale/costs",
    "cost": "/app/campaigns/demo-spring-sale/costs/1",
    "cost-import": "/app/costs/import",
    "exchange-rates": "/app/settings/rates",
    "rates-over-time": "/app/campaigns/demo-spring-sale?metric=ctr&compare=year",
    "other-tables": "/app/campaigns/demo-spring-sale?open=browser,paths",
    "filtered-campaign": "/app/campaigns/demo-spring-sale?country=DE&device=mobile",
    "changes": "/app/changes",
    "changes-of-a-campaign": "/app/campaigns/demo-spring-sale/changes",
    "before-and-after": "/app/campaigns/demo-spring-sale/changes/{change}",
}
# What reaches beyond its section or its own box, unless it stands in a region that can be scrolled.
OUTSIDE = """[...document.querySelectorAll("section, .tile")].flatMap(room => {
  const edge = room.getBoundingClientRect().right + 1;
  return [...room.querySelectorAll("*")].filter(it => {
    const place = it.getBoundingClientRect();
    const spills = it.matches("button, a, p, h1, h2, h3") && place.width > 1 && it.scrollWidth > it.clientWidth + 1
      && getComputedStyle(it).display !== "inline";
    return place.width > 1 && (place.right > edge || spills) && !it.closest(".scroll, .unseen, [hidden]");
  }).map(it => it.outerHTML.slice(0, 80));
})"""
# How much of the page has moved by itself since it was first painted (web.dev/cls).
SHIFTED = """new Promise(tell => {
  new PerformanceObserver(list => tell(list.getEntries().reduce((sum, it) => sum + it.value, 0)))
    .observe({type: "layout-shift", buffered: true});
  setTimeout(() => tell(0), 50);
})"""
BY_KEYBOARD = ("/app/", "/app/campaigns/demo-spring-sale", "/app/campaigns/demo-spring-sale/variants")
# Everything of a page that a pointer could use, as far as it is shown.
USABLE = """[...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, summary, [tabindex='0']")]
  .filter(it => it.checkVisibility() && !it.disabled && !it.closest("svg")).length"""
# Writes down what the keyboard comes to, and whether one sees that it is there.
FOLLOW = """window.reached = new Map();
document.addEventListener("focusin", ({target}) => {
  const style = getComputedStyle(target);
  window.reached.set(target, style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0);
});"""
UNSEEN = """[...window.reached].filter(([, isSeen]) => !isSeen).map(([it]) => it.outerHTML.slice(0, 120))"""
CALM = {"campaign": "calm", "source": "s", "medium": "m", "code": "calm"}
LIVE_WITHIN_MS = 20_000  # on a machine that has other things to do
TABS_AT_ONCE = 20
TABS_MAX = 600
# Each width and each scheme once; all four where pictures are wanted.
WITH_PICTURES = bool(os.environ.get("TRACKER_PICTURES"))
LOOKS = [(390, "light"), (1440, "dark")]
LOOKS += [(390, "dark"), (1440, "light")] if WITH_PICTURES else []


@pytest.fixture(scope="module")
def lived_in(server: Server) -> Server:
    """A server with a month of traffic and a link of a known code."""
    server.run("demo")
    server.run("user", "create", OWNER, "--password-stdin", typed=PASSWORD + "\n")
    look = {"destination": "https://shop.example/a?b=c#d", "campaign": "look", "source": "s", "medium": "m"}
    server.api("POST", "/links", look | {"code": "look"})
    addresses = server.api("POST", "/tests", {"link": "look"})["addresses"]
    for name in ("impression_pixel_url", "conversion_pixel_url", "conversion_pixel_url"):
        urlopen(addresses[name]).close()
    return server


@pytest.fixture(scope="module")
def state(browser: Browser, lived_in: Server) -> str:
    """The owner's session, to be given to each browser window."""
    context = browser.new_context(user_agent=PERSON)
    sign_in(context.new_page(), lived_in)
    path = lived_in.data_dir.parent / "state.json"
    context.storage_state(path=path)
    context.close()
    return str(path)


@pytest.fixture(params=LOOKS, ids=lambda look: f"{look[0]}-{look[1]}")
def look(request: pytest.FixtureRequest, browser: Browser, state: str) -> Iterator[tuple[BrowserContext, str]]:
    width, scheme = request.param
    height = 844 if width < 800 else 900
    context = browser.new_context(
        user_agent=PERSON, viewport={"width": width, "height": height}, color_scheme=scheme, storage_state=state
    )
    yield context, f"{'phone' if width < 800 else 'desk'}-{scheme}"
    context.close()


def refused_by_axe(page: Page) -> list[str]:
    """What axe finds against WCAG 2.2 AA and its own good practices, each with the first place where it is."""
    page.evaluate(Axe().axe_script)
    # Violations alone: all that was found in order is a good deal more than the page.
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']}).then(({violations}) => violations)")
    return [f"{each['id']}: {each['nodes'][0]['html'][:200]}" for each in found]


def test_every_page_fits_its_window_and_loads_only_from_here(
    look: tuple[BrowserContext, str], lived_in: Server
) -> None:
    context, name = look
    code = lived_in.api("GET", "/tests")["items"][0]["code"]
    change = lived_in.api("GET", "/campaigns/demo-spring-sale/changes?kind=link")["items"][0]["id"]
    trouble: list[str] = []
    answers: list[Response] = []
    page = context.new_page()
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("console", lambda said: trouble.append(said.text) if said.type == "error" else None)
    page.on("response", lambda answer: answers.append(answer))
    for number, (title, pattern) in enumerate(PAGES.items()):
        # Each in one look, and in all four where pictures are wanted.
        if not WITH_PICTURES and (number % 2 == 0) != name.startswith("phone"):
            continue
        path = pattern.format(test=code, change=change)
        answers.clear()
        page.goto(f"{lived_in.url}{path}")
        page.wait_for_load_state("networkidle") if path == "/app/links/new" else None
        assert trouble == [], path
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{path} overflows"
        assert page.evaluate(OUTSIDE) == [], f"{path}: these are cut off"
        assert all(answer.url.startswith(lived_in.url) for answer in answers)
        assert sum(answer.request.sizes()["responseBodySize"] for answer in answers) < WEIGHT_MAX_BYTES, path
        # Lists of what comes in grow while one looks.
        shifted_max = 0.1 if path.startswith("/app/events") else 0.01
        assert page.evaluate(SHIFTED) < shifted_max, f"{path}: something moved after it was shown"
        assert refused_by_axe(page) == [], path
        if WITH_PICTURES:
            page.screenshot(path=picture_folder() / f"{title}-{name}.png", full_page=True)


def test_the_page_shows_what_the_api_says(browser: Browser, state: str, lived_in: Server) -> None:
    context = browser.new_context(user_agent=PERSON, storage_state=state)
    page = context.new_page()
    page.goto(f"{lived_in.url}/app/campaigns/demo-spring-sale")
    totals = lived_in.api("GET", "/campaigns/demo-spring-sale/stats")["totals"]
    for metric in ("impressions", "clicks", "unique_clicks", "conversions"):
        expect(page.locator(f'[data-metric="{metric}"]')).to_have_text(f"{totals[metric]:,}")
    for metric in ("ctr", "conversion_rate"):
        expect(page.locator(f'[data-metric="{metric}"]')).to_have_text(f"{totals[metric]['value'] * 100:.1f} %")
    context.close()


def test_a_click_shows_on_an_open_page(browser: Browser, state: str, lived_in: Server) -> None:
    context = browser.new_context(user_agent=PERSON, storage_state=state)
    page = context.new_page()
    page.goto(f"{lived_in.url}/app/campaigns/look")
    clicks = page.locator('[data-metric="clicks"]')
    expect(clicks).to_have_text("0")
    lived_in.request("GET", "/look", {"User-Agent": PERSON})
    expect(clicks).to_have_text("1", timeout=LIVE_WITHIN_MS)
    lived_in.request("GET", "/look", {"User-Agent": f"{PERSON} (somebody else)"})
    expect(clicks).to_have_text("2", timeout=LIVE_WITHIN_MS)
    context.close()


def test_an_open_page_is_told_that_nothing_changed_until_something_has(
    browser: Browser, state: str, lived_in: Server
) -> None:
    """What was in use when it changed is exchanged later, though nothing was stored since."""
    lived_in.api("POST", "/links", {"destination": "https://shop.example/", **CALM})
    context = browser.new_context(user_agent=PERSON, storage_state=state)
    page = context.new_page()
    page.goto(f"{lived_in.url}/app/campaigns/calm")
    with page.expect_response(lambda answer: answer.status == 304, timeout=LIVE_WITHIN_MS):
        pass
    clicks = page.locator('[data-metric="clicks"]')
    page.evaluate("""() => {
      const tiles = document.querySelector("#tiles");
      tiles.tabIndex = -1;
      tiles.focus();
    }""")
    lived_in.request("GET", "/calm", {"User-Agent": PERSON})
    expect(page.locator("#by-link tbody tr td").nth(1)).to_have_text("1", timeout=LIVE_WITHIN_MS)
    expect(clicks).to_have_text("0")
    page.evaluate("document.activeElement.blur()")
    expect(clicks).to_have_text("1", timeout=LIVE_WITHIN_MS)
    context.close()


def test_another_table_opens_where_one_is_and_everything_else_stays(
    browser: Browser, state: str, lived_in: Server
) -> None:
    context = browser.new_context(user_agent=PERSON, storage_state=state, viewport={"width": 1440, "height": 600})
    page = context.new_page()
    page.goto(f"{lived_in.url}/app/campaigns/demo-spring-sale")
    link = page.get_by_role("link", name="Browsers", exact=True)
    link.scroll_into_view_if_needed()
    place = page.evaluate("scrollY")
    assert place > 0
    link.click()
    expect(page.get_by_role("heading", name="Browsers", exact=True)).to_be_in_viewport()
    assert page.evaluate("scrollY") == place
    # The keyboard goes on in that card, and nothing of it is held back from what comes in live.
    assert page.evaluate("document.activeElement === document.body")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('section').id") == "by-browser"
    page.go_back(wait_until="commit")
    expect(page.get_by_role("heading", name="Devices", exact=True)).to_be_visible()
    context.close()
    plain = browser.new_context(user_agent=PERSON, storage_state=state, java_script_enabled=False)
    page = plain.new_page()
    page.goto(f"{lived_in.url}/app/campaigns/demo-spring-sale")
    page.get_by_role("link", name="Paths and times").click()
    expect(page.get_by_role("heading", name="Paths and times")).to_be_in_viewport()
    plain.close()


def test_the_form_for_filters_suggests_values_of_every_table(browser: Browser, state: str, lived_in: Server) -> None:
    context = browser.new_context(user_agent=PERSON, storage_state=state)
    page = context.new_page()
    page.goto(f"{lived_in.url}/app/campaigns/demo-spring-sale")
    values = page.locator("#values-browser option")
    assert values.count() == 0
    page.get_by_text("Filter", exact=True).first.click()
    expect(page.locator("#values-browser option[value=Firefox]")).to_be_attached()
    context.close()


def test_a_hit_shows_on_the_open_events_of_its_link_with_what_was_made_of_it(
    browser: Browser, state: str, lived_in: Server
) -> None:
    context = browser.new_context(user_agent=PERSON, storage_state=state)
    page = context.new_page()
    page.goto(f"{lived_in.url}/app/events?code=look&verdict=bot")
    rows = page.locator("#events tbody tr")
    expect(page.locator("#events")).to_contain_text("None so far")
    lived_in.request("GET", "/look", {"User-Agent": "curl/8.4.0"})
    lived_in.request("GET", "/look", {"User-Agent": PERSON})
    expect(rows).to_have_count(1, timeout=2000)
    expect(rows).to_contain_text("curl")
    context.close()


def test_a_refused_link_keeps_what_was_typed_and_names_the_field(
    browser: Browser, state: str, lived_in: Server
) -> None:
    context = browser.new_context(user_agent=PERSON, storage_state=state)
    page = context.new_page()
    page.goto(f"{lived_in.url}/app/links/new")
    page.get_by_label("Destination").fill("ftp://nowhere")
    page.get_by_label("Campaign", exact=True).fill("kept")
    page.get_by_label("Source").fill("kept too")
    page.get_by_role("button", name="Create link", exact=True).click()
    expect(page.get_by_label("Destination")).to_have_value("ftp://nowhere")
    expect(page.get_by_label("Source")).to_have_value("kept too")
    for label in ("Destination", "Medium"):
        field = page.get_by_label(label)
        expect(field).to_have_attribute("aria-invalid", "true")
        described = (field.get_attribute("aria-describedby") or "").split()
        told = " ".join(page.locator(f"#{each}").inner_text() for each in described)
        assert ("http" if label == "Destination" else "needed") in told
    context.close()


def test_the_builder_works_without_scripts(browser: Browser, state: str, lived_in: Server) -> None:
    context = browser.new_context(user_agent=PERSON, storage_state=state, java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{lived_in.url}/app/links/new")
    for label, text in {"Destination": "https://shop.example/", "Source": "s", "Medium": "m"}.items():
        page.get_by_label(label).fill(text)
    page.get_by_label("Campaign", exact=True).fill("plain")
    page.get_by_role("button", name="Create link", exact=True).click()
    expect(page.locator("#tagged-url")).to_contain_text(
        "https://shop.example/?utm_source=s&utm_medium=m&utm_campaign=plain"
    )
    context.close()


def test_what_is_to_be_pasted_is_copied_by_a_button(browser: Browser, state: str, lived_in: Server) -> None:
    context = browser.new_context(user_agent=PERSON, storage_state=state)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.goto(f"{lived_in.url}/app/links/look")
    key = lived_in.api("GET", "/workspace")["key"]
    pasted = {
        "short-url": f"{lived_in.url}/look",
        "impression-pixel": f'<img src="{lived_in.url}/i/look.gif" width="1" height="1" alt="" border="0">',
        "callback": f"curl '{lived_in.url}/c/{key}' -d cid=CID -d order=ORDER -d value=49.90 -d currency=EUR",
    }
    for name, text in pasted.items():
        page.locator(f'[data-copy="#{name}"]').click()
        assert page.evaluate("navigator.clipboard.readText()") == text
    context.close()


def test_everything_is_reached_by_tabulator_and_shows_that_it_is(
    browser: Browser, state: str, lived_in: Server
) -> None:
    context = browser.new_context(user_agent=PERSON, storage_state=state)
    page = context.new_page()
    for path in BY_KEYBOARD:
        page.goto(f"{lived_in.url}{path}")
        usable = page.evaluate(USABLE)
        page.evaluate(FOLLOW)
        reached, before = 0, -1
        while reached > before:  # a round of them brings nothing new
            assert reached < TABS_MAX, f"{path}: no end"
            for _ in range(TABS_AT_ONCE):
                page.keyboard.press("Tab")
            before, reached = reached, page.evaluate("window.reached.size")
        assert page.evaluate(UNSEEN) == [], path
        assert reached >= usable, path
    context.close()


def test_a_period_and_a_filter_are_chosen_without_a_pointer(browser: Browser, state: str, lived_in: Server) -> None:
    context = browser.new_context(user_agent=PERSON, storage_state=state)
    page = context.new_page()
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
