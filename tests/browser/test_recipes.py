"""Recipes as the page Install gives them, run: in a tag manager's and a platform's way, and in a shop's own server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from runpy import run_path
from threading import Thread
from typing import Any

import pytest
from flask import Flask, request
from flask.templating import render_template_string
from playwright.sync_api import BrowserContext
from werkzeug.serving import make_server

from tests.browser.shopping import Shop, click_id
from tracker import snippets

# The script that pages load is released: its bytes are held to a hash by a quicker test.
pytestmark = [pytest.mark.any_database, pytest.mark.thorough]

RECIPES = Path(__file__).parent.parent.parent / "templates" / "install" / "recipes"
# What Shopify gives a custom pixel, as far as ours asks for it.
SANDBOX = """const heard = {};
const analytics = {subscribe: (name, listener) => { heard[name] = listener; }};
const browser = {cookie: {get: async () => "%s"}};
"""


def recipe(shop: Shop, name: str) -> str:
    site = snippets.Site(shop.server.url, shop.key, "EUR", "cid")
    with Flask(__name__).app_context():
        return render_template_string((RECIPES / f"{name}.txt").read_text(), site=site)


def test_the_tag_managers_two_tags_tell_of_a_sale(shopper: BrowserContext, shop: Shop) -> None:
    """The tag manager puts a custom tag into the page, its own variables filled in."""
    assert shopper.browser
    order = f"tags-{shopper.browser.browser_type.name}"
    data = {"ecommerce.transaction_id": order, "ecommerce.value": 49.9, "ecommerce.currency": "EUR"}
    sale = recipe(shop, "tagmanager-sale")
    for name, value in data.items():
        sale = sale.replace("{{" + name + "}}", json.dumps(value))
    shop.page("/tags", sale + recipe(shop, "tagmanager"), tag="")
    url = shop.click("/tags")
    shopper.new_page().goto(url)
    found = shop.await_sale(order)
    assert (found["click_id"], found["value"]) == (click_id(url), "49.90")


@pytest.mark.parametrize("via", ["the cart", "the cookie"])
def test_the_platforms_cart_and_pixel_tell_of_a_sale(shopper: BrowserContext, shop: Shop, via: str) -> None:
    assert shopper.browser
    order = f"platform-{shopper.browser.browser_type.name}-{via}"
    shop.page("/theme", tag=recipe(shop, "shopify-theme"))
    url = shop.click("/theme")
    page = shopper.new_page()
    with page.expect_response("**/cart/update.js"):
        page.goto(url)
    cart = json.loads(shop.posted[-1])
    attributes = [{"key": name, "value": value} for name, value in cart["attributes"].items()]
    checkout = {
        "attributes": attributes if via == "the cart" else [],
        "order": {"id": order},
        "totalPrice": {"amount": 49.9, "currencyCode": "EUR"},
        "currencyCode": "EUR",
    }
    event = json.dumps({"id": "sh-1", "data": {"checkout": checkout}})
    cookie = "" if via == "the cart" else click_id(url)
    pixel = recipe(shop, "shopify-pixel") + f"\nheard.checkout_completed({event});"
    page.goto(shop.page("/checkout", f"<script>{SANDBOX % cookie}{pixel}</script>", tag=""))
    found = shop.await_sale(order)
    assert (found["click_id"], found["value"]) == (click_id(url), "49.90")
    assert shop.reports(order=order)[0]["params"]["event_id"] == "sh-1"


@contextmanager
def served(app: Flask) -> Iterator[str]:
    """A Flask shop on a port of its own; answers its URL."""
    httpd = make_server("127.0.0.1", 0, app)
    thread = Thread(target=httpd.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def test_the_flask_recipe_keeps_the_click_with_the_order_and_reports_it(
    shopper: BrowserContext, shop: Shop, tmp_path: Path
) -> None:
    """Even where the browser runs no script at all; a refund later takes the money back."""
    assert shopper.browser
    order = f"flask-{shopper.browser.browser_type.name}"
    path = tmp_path / "own.py"
    path.write_text(recipe(shop, "flask"))
    names: dict[str, Any] = run_path(str(path))
    own: Flask = names["app"]

    @own.get("/")
    def landing() -> str:
        return '<!doctype html><title>Own</title><form method="post" action="/buy"><button>Buy</button></form>'

    @own.post("/buy")
    def buy() -> str:
        assert request.form.get("cid") is None
        return str(names["report"](order, names["click_id"](), "49.90").decode())

    with served(own) as url:
        cid = click_id(shop.click())
        page = shopper.new_page()
        page.goto(f"{url}/?cid={cid}")
        page.get_by_role("button", name="Buy").click()
        page.wait_for_url("**/buy")
        assert '"result":"recorded"' in page.content()
    assert shop.await_sale(order)["click_id"] == cid
    names["report"](order, cid, "49.90", "refunded")
    assert shop.await_sale(order)["status"] == "refunded"
