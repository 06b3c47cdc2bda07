"""A page that lets the browser fetch a short link ahead, and a person who then follows it: one click."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import PERSON
from tests.serving import Server
from tests.test_serve import eventually

pytestmark = pytest.mark.any_database


@pytest.fixture
def landing() -> Iterator[str]:
    """The page that the link leads to; prefetches are asked for nothing here, for they never come this far."""

    class Landing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b"<!doctype html><title>Shop</title><h1>Teapots</h1>"
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Landing)
    thread = Thread(target=httpd.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}/"
    httpd.shutdown()
    thread.join()
    httpd.server_close()


@pytest.mark.parametrize("how", ["prefetch", "prerender"])
def test_a_link_that_was_fetched_ahead_is_one_click(
    browser: Browser, server: Server, site: Callable[[str, str], str], landing: str, how: str
) -> None:
    link = {"destination": landing, "campaign": how, "source": "s", "medium": "m", "code": how + "ed"}
    short_url = server.api("POST", "/links", link)["short_url"]
    rules = json.dumps({how: [{"source": "list", "urls": [short_url], "eagerness": "immediate"}]})
    page_url = site(
        f"{how}.html",
        f'<!doctype html><title>Page</title><script type="speculationrules">{rules}</script>'
        f'<a href="{short_url}">Look at it</a>',
    )
    context = browser.new_context(user_agent=PERSON)
    reader = context.new_page()
    reader.goto(page_url)
    # Without it this would prove nothing.
    eventually(lambda: bool(server.today(how)["filtered"].get("prefetch")), True)
    assert server.today(how)["clicks"] == 0
    reader.get_by_role("link", name="Look at it").click()
    expect(reader.get_by_role("heading")).to_have_text("Teapots")
    assert re.search(r"[?&]cid=[\w-]{28}$", reader.url)
    eventually(lambda: server.today(how)["clicks"] > 0, True)
    eventually(lambda: server.api("GET", f"/campaigns/{how}/stats")["lag_s"], 0)
    today = server.today(how)
    assert (today["clicks"], set(today["filtered"])) == (1, {"prefetch"})
    context.close()
