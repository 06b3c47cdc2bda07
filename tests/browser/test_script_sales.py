"""How `t.js` reports a sale, in real browsers: offline, under a policy, by a tag manager, in a hurry."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Page, Route

from tests.browser.shopping import Shop, click_id

# The script that pages load is released: its bytes are held to a hash by a quicker test.
pytestmark = [pytest.mark.any_database, pytest.mark.thorough]

SOLD = '<script>(window.tracker = window.tracker || []).push(["convert", {order: "%s"}])</script>'
WAITING = "JSON.parse(localStorage.tracker_sales || '[]').map(sale => new URLSearchParams(sale[0]).get('order'))"


@pytest.fixture
def kind(shopper: BrowserContext) -> str:
    """Which browser it is: orders are named by it."""
    assert shopper.browser
    return shopper.browser.browser_type.name


@pytest.fixture
def page(shopper: BrowserContext) -> Page:
    return shopper.new_page()


def waiting(page: Page) -> list[str]:
    """Orders of sales that are kept in the browser until they have arrived."""
    return list(page.evaluate(WAITING))


def until_refused(page: Page, n: int = 1) -> None:
    """Waits until as many sales are kept that may be sent again."""
    page.wait_for_function(
        "n => JSON.parse(localStorage.tracker_sales || '[]').filter(sale => !sale[2]).length === n", arg=n
    )


def until_none_waits(page: Page) -> None:
    page.wait_for_function("(localStorage.tracker_sales || '[]') === '[]'")


@pytest.mark.parametrize("sent", ["when the network is back", "by the next page"])
def test_a_sale_made_offline_is_sent_once_later(
    shopper: BrowserContext, page: Page, shop: Shop, kind: str, sent: str
) -> None:
    order = f"offline-{kind}-{sent}"
    shop.page("/")
    url = shop.click()
    page.goto(url)
    shopper.set_offline(True)
    page.evaluate("order => { tracker.convert({order}) }", order)
    until_refused(page)
    assert shop.reports(order=order) == []
    if sent == "by the next page":
        page.evaluate("addEventListener('online', event => event.stopImmediatePropagation(), true)")
        page.goto("about:blank")
    shopper.set_offline(False)
    if sent == "by the next page":
        page.goto(shop.url + "/")
    assert shop.await_sale(order)["click_id"] == click_id(url)
    until_none_waits(page)
    page.goto(shop.url + "/")
    page.evaluate("dispatchEvent(new Event('online'))")
    assert len(shop.reports(order=order)) == 1


def test_a_sale_that_the_tracker_could_not_take_is_sent_again_under_the_same_id(
    shopper: BrowserContext, page: Page, shop: Shop, kind: str
) -> None:
    refused: list[str] = []

    def refuse(route: Route) -> None:
        refused.append(route.request.url)
        route.fulfill(status=503, body="")

    shopper.route("**/c/**", refuse)
    page.goto(shop.page("/"))
    page.evaluate("order => { tracker.convert({order}) }", f"busy-{kind}")
    until_refused(page)
    shopper.unroute("**/c/**")
    page.goto(shop.url + "/")
    (report,) = shop.await_reports(1, order=f"busy-{kind}")
    assert report["params"]["event_id"] in refused[0]


def test_no_more_than_twenty_sales_wait_and_none_for_longer_than_a_week(
    shopper: BrowserContext, page: Page, shop: Shop, kind: str
) -> None:
    page.goto(shop.page("/"))
    shopper.set_offline(True)
    page.evaluate("kind => { for (let n = 0; n < 23; n++) tracker.convert({order: `many-${kind}-${n}`}) }", kind)
    assert waiting(page) == [f"many-{kind}-{n}" for n in range(3, 23)]
    until_refused(page, 20)
    page.evaluate(
        "localStorage.tracker_sales = JSON.stringify(JSON.parse(localStorage.tracker_sales)"
        ".map((sale, n) => n < 10 ? [sale[0], sale[1] - 7 * 86400e3, sale[2]] : sale))"
    )
    shopper.set_offline(False)
    until_none_waits(page)
    assert len([row for row in shop.reports() if row["params"].get("order", "").startswith(f"many-{kind}-")]) == 10


def test_a_sale_on_a_page_that_is_left_at_once_arrives_once(page: Page, shop: Shop, kind: str) -> None:
    """Several times: how far a request has come when its page goes is chance."""
    shop.page("/next")
    orders = [f"hurry-{kind}-{n}" for n in range(8)]
    for order in orders:
        shop.page("/hurry", SOLD % order + "<script type=module>location.href = '/next'</script>")
        page.goto(shop.click("/hurry"), wait_until="commit")
        page.wait_for_url("**/next")
    for order in orders:
        shop.await_sale(order)
    assert [len(shop.reports(order=order)) for order in orders] == [1] * len(orders)


POLICIES = {
    "script-src only": "default-src 'none'; script-src {tracker}",
    "no fetch": "default-src 'none'; script-src {tracker}; img-src {tracker}",
    "no pictures": "default-src 'none'; script-src {tracker}; connect-src {tracker}",
    "a nonce": "default-src 'none'; script-src 'nonce-abc123'",
    "strict-dynamic": "default-src 'none'; script-src 'nonce-abc123' 'strict-dynamic'",
}


@pytest.mark.parametrize("policy", POLICIES)
def test_under_a_strict_policy_a_sale_is_told_by_the_tag_alone(page: Page, shop: Shop, kind: str, policy: str) -> None:
    """No script of the page's own may run there, so the tag carries the sale. What may be used for sending differs."""
    order = f"policy-{kind}-{policy}"
    tag = shop.tag(f'nonce="abc123" data-order="{order}" data-value="12.50" data-currency="EUR" defer')
    allowed = POLICIES[policy].format(tracker=shop.server.url)
    shop.page("/strict", "<script>document.title = 'not strict'</script>", tag=tag, Content_Security_Policy=allowed)
    url = shop.click("/strict")
    page.goto(url)
    found = shop.await_sale(order)
    assert (found["click_id"], found["value"]) == (click_id(url), "12.50")
    until_none_waits(page)
    page.goto(shop.page("/"))
    assert (page.title(), len(shop.reports(order=order))) == ("Shop", 1)


def test_a_policy_that_hinders_only_the_way_does_not_lose_a_sale_made_offline(
    shopper: BrowserContext, page: Page, shop: Shop, kind: str
) -> None:
    order = f"strict-offline-{kind}"
    policy = f"default-src 'none'; script-src 'unsafe-eval' 'unsafe-inline' {shop.server.url}"
    page.goto(shop.page("/strict-offline", Content_Security_Policy=policy))
    shopper.set_offline(True)
    page.evaluate("order => { tracker.convert({order}) }", order)
    until_refused(page)
    shopper.set_offline(False)
    shop.await_reports(1, order=order)
    until_none_waits(page)


def test_twice_on_one_page_the_second_does_nothing(page: Page, shop: Shop, kind: str) -> None:
    order = f"twice-{kind}"
    tag = shop.tag(f'data-order="{order}" defer')
    shop.page("/twice", FIELDS, tag=tag + shop.tag(f'data-order="{order}" defer') + shop.tag("async"))
    page.goto(shop.click("/twice"))
    shop.await_sale(order)
    page.evaluate("history.pushState({}, '', '/twice/2'); dispatchEvent(new Event('online'))")
    assert len(shop.reports(order=order)) == 1


FIELDS = '<input type="hidden" name="cid">'

INJECTED = "<script>const s = document.createElement('script'); s.src = '%s'; %s; document.head.append(s)</script>"
WAYS: dict[str, Callable[[Shop], str]] = {
    "async": lambda shop: shop.tag("async"),
    "as a module": lambda shop: shop.tag('type="module" crossorigin'),
    "by a released version": lambda shop: shop.tag("defer", "t.1.js"),
    "injected": lambda shop: INJECTED % (f"{shop.server.url}/t.js", f"s.dataset.key = '{shop.key}'"),
    "injected without data": lambda shop: INJECTED % (f"{shop.server.url}/t.js?key={shop.key}", "0"),
    "a module without data": lambda shop: INJECTED % (f"{shop.server.url}/t.1.js?key={shop.key}", "s.type = 'module'"),
}


@pytest.mark.parametrize("way", WAYS)
def test_however_it_is_loaded_it_knows_its_key_and_what_was_told_before(
    page: Page, shop: Shop, kind: str, way: str
) -> None:
    order = f"way-{kind}-{way}"
    shop.page("/way", WAYS[way](shop), tag=SOLD % order)
    url = shop.click("/way")
    page.goto(url)
    assert shop.await_sale(order)["click_id"] == click_id(url)
    page.evaluate("order => { tracker.push(['convert', {order}]) }", order + " later")
    assert shop.await_sale(order + " later")["click_id"] == click_id(url)


def test_options_may_stand_in_the_address_of_the_script(page: Page, shop: Shop, kind: str) -> None:
    address = f"{shop.server.url}/t.js?key={shop.key}&param=ref&days=7&consent=wait"
    page.goto(shop.page("/options", tag=f'<script src="{address}"></script>'))
    cid = click_id(shop.click("/options"))
    page.goto(f"{shop.url}/options?ref={cid}")
    assert page.evaluate("tracker.cid()") == ""
    page.evaluate("tracker.consent(true)")
    assert page.evaluate("tracker.cid()") == cid
    (cookie,) = page.context.cookies()
    assert 6.9 < (cookie["expires"] - page.evaluate("Date.now() / 1000")) / 86400 < 7.1


def test_the_hash_of_a_released_version_can_be_named(page: Page, shop: Shop, kind: str) -> None:
    content = shop.server.request("GET", "/t.1.js").body
    right = "sha384-" + base64.b64encode(hashlib.sha384(content).digest()).decode()
    for integrity, loaded in ((right, True), ("sha384-" + "A" * 64, False)):
        tag = shop.tag(f'integrity="{integrity}" crossorigin="anonymous" defer', "t.1.js")
        page.goto(shop.page("/integrity", tag=tag))
        assert page.evaluate("'tracker' in window") is loaded


def test_a_test_code_stays_for_the_visit_and_goes_with_the_sale(page: Page, shop: Shop, kind: str) -> None:
    order = f"test-{kind}"
    shop.page("/")
    url = shop.click()
    page.goto(url + "&tracker_test=Abc123xyz")
    page.goto(shop.url + "/")
    page.evaluate("order => { tracker.convert({order}) }", order)
    (report,) = shop.await_reports(1, order=order)
    assert report["params"]["test"] == "Abc123xyz"
    other = page.context.new_page()
    other.goto(shop.url + "/?tracker_test=no")
    other.evaluate("order => { tracker.convert({order}) }", order + " other visit")
    shop.await_sale(order + " other visit")
    assert "test" not in shop.reports(order=order + " other visit")[0]["params"]


def test_a_sale_without_a_click_and_a_free_one_are_reported(page: Page, shop: Shop, kind: str) -> None:
    page.goto(shop.page("/"))
    page.evaluate("order => { tracker.convert({order, value: 0, currency: null, goal: undefined}) }", f"free-{kind}")
    (report,) = shop.await_reports(1, order=f"free-{kind}")
    assert set(report["params"]) == {"event_id", "order", "value"}
    assert (report["params"]["value"], report["result"]) == ("0", "unmatched")


def test_each_sale_has_an_id_of_its_own(page: Page, shop: Shop, kind: str) -> None:
    page.goto(shop.page("/"))
    page.evaluate("kind => { for (const n of [1, 2, 3]) tracker.convert({order: `own-${kind}-${n}`}) }", kind)
    found = [shop.await_reports(1, order=f"own-{kind}-{n}")[0]["params"]["event_id"] for n in (1, 2, 3)]
    assert len(set(found)) == 3
