"""What `t.js` keeps of a click, in real browsers: from which page to which, for how long, and when not."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from string import Template

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect

from tests.browser.conftest import FLAGS, firefox_for
from tests.browser.shopping import PERSON, Shop, click_id
from tests.test_serve import eventually

# The script that pages load is released: its bytes are held to a hash by a quicker test.
pytestmark = [pytest.mark.any_database, pytest.mark.thorough]

CID = re.compile(r"^[\w-]{28}$")
FIELD = '<form action="/bought"><input type="hidden" name="cid"><button>Buy</button></form>'
KEPT = "[document.cookie, ...Object.keys(localStorage), ...Object.keys(sessionStorage)].filter(Boolean)"


def cookie_of(context: BrowserContext) -> str:
    return "".join(cookie["value"] for cookie in context.cookies() if cookie["name"] == "tracker_cid")


def kept(page: Page) -> list[str]:
    """What the page's site has in the browser, by name."""
    return list(page.evaluate(KEPT))


def sell(page: Page, order: str, **more: str) -> None:
    page.evaluate("sale => { tracker.convert(sale) }", {"order": order, "value": "49.90", **more})


def test_a_click_id_goes_with_the_visitor_to_the_sale(shopper: BrowserContext, shop: Shop) -> None:
    shop.page("/")
    shop.page("/thanks")
    url = shop.click()
    page = shopper.new_page()
    page.goto(url)
    page.goto(shop.url + "/thanks")
    order = f"goes-{shopper.browser.browser_type.name}"
    sell(page, order, currency="EUR", goal="purchase", customer="ada@example.org")
    found = shop.await_sale(order)
    assert (found["click_id"], found["value"], found["currency"]) == (click_id(url), "49.90", "EUR")
    assert cookie_of(shopper) == click_id(url)
    (report,) = shop.reports(order=order)
    assert "ada@example.org" not in json.dumps(report)
    assert re.fullmatch(r"\d+(-\d+){3}", report["params"]["event_id"])


def test_the_short_link_itself_leads_to_a_kept_click_id(shopper: BrowserContext, shop: Shop) -> None:
    shop.page("/", FIELD)
    shop.click()
    page = shopper.new_page()
    page.goto(f"{shop.server.url}/to-")
    expect(page.locator("input[name=cid]")).to_have_value(CID)
    assert cookie_of(shopper) == click_id(page.url)


@pytest.mark.parametrize("lost", ["cookie", "local storage"])
def test_either_of_cookie_and_local_storage_is_enough(shopper: BrowserContext, shop: Shop, lost: str) -> None:
    shop.page("/")
    url = shop.click()
    page = shopper.new_page()
    page.goto(url)
    if lost == "cookie":
        shopper.clear_cookies()
    else:
        page.evaluate("localStorage.clear()")
    page.goto(shop.url + "/")
    assert page.evaluate("tracker.cid()") == click_id(url)
    assert cookie_of(shopper) == click_id(url)
    assert click_id(url) in page.evaluate("localStorage.tracker_cid")


def test_a_newer_click_replaces_the_older_and_going_back_does_not(shopper: BrowserContext, shop: Shop) -> None:
    shop.page("/", FIELD)
    older, newer = shop.click(), shop.click()
    page = shopper.new_page()
    for url in (older, newer, older, shop.url + "/"):
        page.goto(url)
    assert page.evaluate("tracker.cid()") == click_id(newer)
    assert cookie_of(shopper) == click_id(newer)
    expect(page.locator("input[name=cid]")).to_have_value(click_id(newer))


def test_the_last_ten_clicks_are_sent_in_the_order_they_were_seen(shopper: BrowserContext, shop: Shop) -> None:
    shop.page("/")
    page = shopper.new_page()
    ids = []
    for _ in range(12):
        url = shop.click()
        page.goto(url)
        ids.append(click_id(url))
    order = f"touches-{shopper.browser.browser_type.name}"
    with page.expect_request(lambda request: "/c/" in request.url) as sent:
        sell(page, order)
    assert f"&touches={'.'.join(ids[-10:])}&" in sent.value.url
    assert shop.await_sale(order)["click_id"] == ids[-1]
    assert "touches" in shop.reports(order=order)[0]["params"]


def test_one_click_is_sent_without_a_list(shopper: BrowserContext, shop: Shop) -> None:
    shop.page("/")
    page = shopper.new_page()
    page.goto(shop.click())
    order = f"single-{shopper.browser.browser_type.name}"
    sell(page, order)
    shop.await_sale(order)
    assert "touches" not in shop.reports(order=order)[0]["params"]


def test_landing_page_and_checkout_may_be_different_hosts_of_one_domain(shopper: BrowserContext, shop: Shop) -> None:
    shop.page("/hosts", tag=shop.tag('data-domain="shop.localhost" defer'))
    url = shop.click("/hosts")
    page = shopper.new_page()
    page.goto(url.replace("127.0.0.1", "www.shop.localhost"))
    page.goto(shop.url.replace("127.0.0.1", "pay.shop.localhost") + "/hosts")
    assert page.evaluate("tracker.cid()") == click_id(url)
    page.evaluate("tracker.consent(false)")
    assert cookie_of(shopper) == ""


@pytest.mark.parametrize("how", ["pushState", "replaceState"])
def test_a_click_id_in_a_later_url_of_the_same_page_is_noticed(shopper: BrowserContext, shop: Shop, how: str) -> None:
    page = shopper.new_page()
    page.goto(shop.page("/app"))
    url = shop.click("/app")
    page.evaluate("([how, url]) => { history[how]({}, '', url); history[how]({}, '', '/app/basket') }", [how, url])
    order = f"{how}-{shopper.browser.browser_type.name}"
    sell(page, order)
    assert shop.await_sale(order)["click_id"] == click_id(url) == cookie_of(shopper)


def test_going_back_within_a_page_notices_the_click_id_too(shopper: BrowserContext, shop: Shop) -> None:
    url = shop.click("/app")
    page = shopper.new_page()
    page.goto(shop.page("/app"))
    # Before the script's own hand on history, as a frame or another script would.
    page.evaluate("url => History.prototype.pushState.call(history, {}, '', url)", url)
    page.evaluate("History.prototype.pushState.call(history, {}, '', '/app/2')")
    page.evaluate("history.back()")
    page.wait_for_function("document.cookie.includes('tracker_cid')")
    assert cookie_of(shopper) == click_id(url)


def test_a_shop_that_tidies_its_url_before_the_script_comes_loses_nothing(shopper: BrowserContext, shop: Shop) -> None:
    shop.page("/tidy", "<script>history.replaceState({}, '', '/tidy')</script>")
    url = shop.click("/tidy")
    page = shopper.new_page()
    page.goto(url)
    assert page.url == shop.url + "/tidy"
    assert page.evaluate("tracker.cid()") == click_id(url) == cookie_of(shopper)


def test_fields_that_appear_later_are_filled_when_they_are_sent(shopper: BrowserContext, shop: Shop) -> None:
    url = shop.click("/later")
    page = shopper.new_page()
    shop.page("/later")
    page.goto(url)
    page.evaluate("html => document.body.insertAdjacentHTML('beforeend', html)", FIELD)
    page.get_by_role("button", name="Buy").click()
    page.wait_for_url("**/bought?**")
    assert click_id(page.url) == click_id(url)


def test_a_conversion_fills_fields_and_leaves_those_the_shop_filled(shopper: BrowserContext, shop: Shop) -> None:
    url = shop.click("/fields")
    page = shopper.new_page()
    shop.page("/fields", '<input type="hidden" name="cid" value="the shop’s own">')
    page.goto(url)
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<input data-tracker=cid id=mine>')")
    sell(page, f"fields-{shopper.browser.browser_type.name}")
    expect(page.locator("#mine")).to_have_value(click_id(url))
    expect(page.locator("input[name=cid]")).to_have_value("the shop’s own")


def test_a_page_that_comes_back_from_the_cache_is_up_to_date_and_sends_nothing_twice(
    shopper: BrowserContext, shop: Shop
) -> None:
    """Both browsers really restore the page here: what a script had left in it is still there."""
    kind = shopper.browser.browser_type.name
    shop.page("/back", FIELD + f"<script>(window.tracker = []).push(['convert', {{order: 'back-{kind}'}}])</script>")
    shop.page("/other")
    first, second = shop.click("/back"), shop.click("/other")
    page = shopper.new_page()
    page.goto(first)
    expect(page.locator("input[name=cid]")).to_have_value(click_id(first))
    shop.await_sale(f"back-{kind}")
    page.evaluate("window.restored = false; addEventListener('pageshow', e => { restored = e.persisted })")
    page.goto(second)
    page.evaluate("setTimeout(() => history.back())")
    page.wait_for_function("window.restored")
    # Asked for by hand: a restored page loads nothing, and Playwright would wait for Firefox to load it.
    assert page.evaluate("document.querySelector('input[name=cid]').value") == click_id(second)
    assert len(shop.reports(order=f"back-{kind}")) == 1


AHEAD = """<script>
(window.tracker = []).push(["convert", {order: "ahead"}]);
const state = () => `${document.cookie} ${Object.keys(localStorage)}`;
addEventListener("load", () => fetch("/ran?" + new URLSearchParams({ahead: document.prerendering, state: state()})));
</script>"""
# Looks whether it may go on, and then goes where the browser has been already.
LIST = """<script type="speculationrules">{"prerender": [{"urls": ["$url"], "eagerness": "immediate"}]}</script>
<script>const look = async () => {
  if ((await (await fetch("/go")).text()).includes("yes")) location.href = "$url";
  else setTimeout(look, 50);
};
look();</script>"""


def test_a_page_rendered_ahead_keeps_and_sends_nothing_until_it_is_looked_at(shop: Shop, tmp_path: Path) -> None:
    """Chromium alone renders pages ahead, and only while nobody drives it: so this one runs by itself."""
    url = shop.click("/ahead")
    shop.page("/ahead", AHEAD)
    shop.page("/list", Template(LIST).substitute(url=url), tag="")
    executable = shutil.which("chromium")
    assert executable
    command = [executable, *FLAGS, "--headless=new", f"--user-agent={PERSON}", f"--user-data-dir={tmp_path}"]
    process = subprocess.Popen([*command, shop.url + "/list"], stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: [path for path in shop.seen if path.startswith("/ran?")], ["/ran?ahead=true&state=+"])
        assert shop.reports(order="ahead") == []
        shop.page("/go", "yes")
        assert shop.await_sale("ahead")["click_id"] == click_id(url)
        assert len(shop.reports(order="ahead")) == 1
        assert sum(path.startswith("/ahead?") for path in shop.seen) == 1
    finally:
        process.terminate()
        process.wait()


def test_nothing_is_kept_or_sent_before_consent(shopper: BrowserContext, shop: Shop) -> None:
    order = f"consent-{shopper.browser.browser_type.name}"
    url = shop.click("/asks")
    shop.page("/asks", FIELD, tag=shop.tag('data-consent="wait" defer'))
    page = shopper.new_page()
    page.goto(url)
    sell(page, order)
    assert (kept(page), page.evaluate("tracker.cid()"), shop.reports(order=order)) == ([], "", [])
    expect(page.locator("input[name=cid]")).to_have_value("")
    page.evaluate("tracker.consent(true)")
    expect(page.locator("input[name=cid]")).to_have_value(click_id(url))
    assert shop.await_sale(order)["click_id"] == click_id(url)
    page.evaluate("tracker.consent(true)")
    assert len(shop.reports(order=order)) == 1


def test_who_takes_consent_back_is_forgotten(shopper: BrowserContext, shop: Shop) -> None:
    order = f"refused-{shopper.browser.browser_type.name}"
    url = shop.click("/asked")
    shop.page("/asked", FIELD)
    page = shopper.new_page()
    page.goto(url + "&tracker_test=abcd1234")
    assert kept(page)
    page.evaluate("tracker.consent(false)")
    sell(page, order)
    assert (kept(page), page.evaluate("tracker.cid()"), shop.reports(order=order)) == ([], "", [])
    expect(page.locator("input[name=cid]")).to_have_value("")


@pytest.mark.parametrize("kind", ["chromium", "firefox"])
def test_under_global_privacy_control_nobody_is_known(
    playwright: Playwright, browser: Browser, shop: Shop, kind: str
) -> None:
    """Firefox has the setting itself; Chromium gets it from an extension, as here from a script and a header."""
    shop.page("/private", FIELD)
    url = shop.click("/private")
    private = firefox_for(playwright, {"privacy.globalprivacycontrol.enabled": True}) if kind == "firefox" else browser
    context = private.new_context()
    context.add_cookies([{"name": "tracker_cid", "value": click_id(url), "url": shop.url}])
    if kind == "chromium":
        context.set_extra_http_headers({"Sec-GPC": "1"})
        context.add_init_script("Object.defineProperty(Navigator.prototype, 'globalPrivacyControl', {value: true})")
    page = context.new_page()
    page.goto(url)
    assert page.evaluate("navigator.globalPrivacyControl") is True
    assert (kept(page), page.evaluate("tracker.cid()"), cookie_of(context)) == ([], "", "")
    expect(page.locator("input[name=cid]")).to_have_value("")
    with page.expect_request(lambda request: "/c/" in request.url) as sent:
        sell(page, f"private-{kind}", customer="ada@example.org")
    assert "customer" not in sent.value.url
    (report,) = shop.await_reports(1, order=f"private-{kind}")
    assert {"cid", "touches", "customer", "customer_hash"}.isdisjoint(report["params"])
    assert report["result"] == "unmatched"
    context.close()
    if kind == "firefox":
        private.close()


BLOCKED = """
for (const name of ["localStorage", "sessionStorage"])
  Object.defineProperty(window, name, {get() { throw new DOMException("blocked", "SecurityError") }});
Object.defineProperty(Document.prototype, "cookie", {
  get() { throw new DOMException("blocked", "SecurityError") },
  set() { throw new DOMException("blocked", "SecurityError") }});
"""


def test_with_storage_blocked_the_click_id_works_within_its_page(shopper: BrowserContext, shop: Shop) -> None:
    order = f"blocked-{shopper.browser.browser_type.name}"
    url = shop.click("/blocked")
    shop.page("/blocked", FIELD)
    shopper.add_init_script(BLOCKED)
    page = shopper.new_page()
    trouble: list[str] = []
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.goto(url)
    page.evaluate("history.pushState({}, '', '/blocked/2')")
    expect(page.locator("input[name=cid]")).to_have_value(click_id(url))
    sell(page, order)
    assert shop.await_sale(order)["click_id"] == click_id(url)
    assert (len(shop.reports(order=order)), trouble) == (1, [])


def test_a_cookie_that_the_shops_server_set_is_left_as_it_is(shopper: BrowserContext, shop: Shop) -> None:
    """Safari keeps what a server sets for as long as it says, and what a script writes for seven days."""
    url = shop.click("/durable")
    durable = f"tracker_cid={click_id(url)}; Max-Age=7776000; Path=/; SameSite=Lax"
    shop.page("/durable", Set_Cookie=durable)
    page = shopper.new_page()
    page.goto(url)
    assert page.evaluate("tracker.cid()") == click_id(url)
    (cookie,) = [cookie for cookie in shopper.cookies() if cookie["name"] == "tracker_cid"]
    assert cookie["expires"] - page.evaluate("Date.now() / 1000") > 80 * 86400
