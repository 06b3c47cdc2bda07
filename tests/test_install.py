"""What shops paste: the same on the page and in the documentation, filled in with the workspace's own key."""

from __future__ import annotations

from html import unescape
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace
from typing import cast

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tracker import snippets
from tracker.models import Workspace
from tracker.services import services
from tracker.web import install

pytestmark = pytest.mark.any_database

DOCUMENT = Path(__file__).parent.parent / "docs" / "installing.md"
EXAMPLE = snippets.Site("https://go.example", "w_yourkey", "EUR", "cid")


def recipes(app: Flask, site: snippets.Site) -> dict[str, str]:
    with app.test_request_context():
        return install.recipes(site)


def test_the_documentation_has_every_recipe_as_the_page_has_it(app: Flask) -> None:
    written = DOCUMENT.read_text()
    known = cast(Workspace, SimpleNamespace(key=EXAMPLE.key, currency=EXAMPLE.currency))
    pasted = snippets.of_workspace(known, EXAMPLE.url, EXAMPLE.param)
    own = [pasted.script_html, pasted.script_pinned_html, pasted.conversion_pixel_html, pasted.callback_curl]
    missing = [text for text in [*recipes(app, EXAMPLE).values(), *own] if f"\n{text}\n```" not in written]
    assert missing == []


def test_the_page_has_every_recipe_with_the_workspaces_own_key(
    app: Flask, owner: FlaskClient, workspace: Workspace
) -> None:
    page = unescape(owner.get("/app/install").text)
    with app.app_context():
        site = snippets.Site(services().public_url, workspace.key, workspace.currency, "cid")
    missing = [name for name, text in recipes(app, site).items() if text not in page]
    assert missing == []
    assert snippets.RELEASED[snippets.SCRIPT_VERSION] in page
    assert "w_yourkey" not in page


def test_each_recipe_is_told_of_another_name_of_the_click_id(app: Flask) -> None:
    other = snippets.Site("https://go.example", "w_yourkey", "EUR", "ref")
    texts = recipes(app, other)
    for name in ("strict", "consent", "shopify-theme"):
        assert 'data-key="w_yourkey" data-param="ref"' in texts[name]
    assert 't.js?key=w_yourkey&param=ref"' in texts["tagmanager"]
    assert "t.js?key=w_yourkey&param=ref';" in texts["woocommerce"]
    assert 'args.get("ref"' in texts["flask"]
    assert "$_GET['ref']" in texts["php"]
    assert "$arg_ref" in texts["nginx"]


def test_the_flask_recipe_sets_a_durable_cookie_and_keeps_out_what_is_no_click_id(app: Flask, tmp_path: Path) -> None:
    path = tmp_path / "shop.py"
    path.write_text(recipes(app, EXAMPLE)["flask"])
    names = run_path(str(path))
    shop: Flask = names["app"]
    shop.add_url_rule("/", view_func=lambda: "A shop")
    shop.add_url_rule("/buy", view_func=lambda: names["click_id"](), methods=["POST"], endpoint="buy")
    cid = "BaH_-JYUAAAAAWDnsUO_L6cF2UlZ"
    visitor = shop.test_client()
    landing = visitor.get(f"/?cid={cid}", base_url="https://shop.example")
    cookie = landing.headers["Set-Cookie"]
    assert cookie.startswith(f"tracker_cid={cid};")
    assert {"Secure", "Max-Age=2592000", "Path=/", "SameSite=Lax"} <= set(cookie.split("; "))
    assert landing.headers["Cache-Control"] == "private, no-store"
    assert visitor.post("/buy", base_url="https://shop.example").text == cid
    assert visitor.post("/buy", base_url="https://shop.example", headers={"Sec-GPC": "1"}).text == ""
    for query in ("", "?cid=", "?cid=short", f"?cid={cid}x", f"?cid={cid}%0d%0aSet-Cookie:x=y"):
        assert "Set-Cookie" not in shop.test_client().get(f"/{query}").headers
    assert "Set-Cookie" not in shop.test_client().get(f"/?cid={cid}", headers={"Sec-GPC": "1"}).headers
