"""From a mail to a sale, in a real browser: seen, clicked, bought, reported twice, counted once."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import OWNER, PASSWORD, PERSON
from tests.serving import Server, free_port

SHOP = Path(__file__).parent.parent.parent / "examples" / "shop" / "shop.py"


@pytest.fixture
def shop(server: Server) -> Iterator[Callable[[str], str]]:
    """Opens the example shop for a workspace's key; answers its address."""
    processes: list[subprocess.Popen[str]] = []

    def open_shop(key: str) -> str:
        command = [sys.executable, str(SHOP), "--tracker", server.url, "--key", key, "--port", str(free_port())]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found
        return found.group()

    yield open_shop
    for process in processes:
        process.terminate()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def set_up(page: Page, server: Server) -> None:
    """Makes the first account by the one-time link that the server printed."""
    page.goto(next(word for word in server.said.split() if "/app/setup/" in word))
    page.get_by_label("E-mail").fill(OWNER)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_label("Workspace").fill("Teapots")
    page.get_by_role("button", name="Make the account").click()
    page.wait_for_url("**/app/")


def make_link(page: Page, server: Server, destination: str) -> None:
    page.goto(f"{server.url}/app/links/new")
    page.get_by_label("Destination").fill(destination)
    page.get_by_label("Campaign", exact=True).fill("teapots")
    page.get_by_label("Source").fill("newsletter")
    page.get_by_label("Medium").fill("email")
    page.get_by_label("Content").fill("hero")
    expect(page.locator("#preview")).to_contain_text("utm_source=newsletter&utm_medium=email&utm_campaign=teapots")
    page.get_by_role("button", name="Create link", exact=True).click()
    page.wait_for_url(re.compile(r"/app/links/[^/]+$"))


def buy(browser: Browser, mail: str) -> None:
    """What the reader of the mail does, in a browser that knows nothing of the tracker's owner."""
    context = browser.new_context(user_agent=PERSON)
    reader = context.new_page()
    with reader.expect_response(re.compile(r"/i/.*\.gif")):
        reader.goto(mail)
    reader.get_by_role("link", name="Look at it").click()
    expect(reader.get_by_role("heading")).to_have_text("One teapot, 49.90 €")
    assert re.search(r"[?&]utm_campaign=teapots&utm_content=hero&cid=[\w-]{28}$", reader.url)
    expect(reader.locator("input[name=cid]")).to_have_value(re.compile(r"^[\w-]{28}$"))
    with reader.expect_response(re.compile(r"/c/.*\.gif\?cid=[\w-]{28}&order=")):
        reader.get_by_role("button", name="Buy it").click()
    expect(reader.get_by_role("heading")).to_contain_text("Thank you for order")
    cookies = {cookie["name"]: cookie for cookie in context.cookies()}
    assert re.fullmatch(r"[\w-]{28}", cookies["tracker_cid"]["value"])
    context.close()


@pytest.mark.any_database
def test_from_a_mail_to_a_sale(
    page: Page, browser: Browser, server: Server, shop: Callable[[str], str], site: Callable[[str, str], str]
) -> None:
    set_up(page, server)
    key = server.api("GET", "/workspace")["key"]
    make_link(page, server, shop(key))
    short_url = page.locator("#short-url").inner_text()
    pixel = page.locator("#impression-pixel").inner_text()
    mail = site("mail.html", f'<!doctype html><title>Mail</title><a href="{short_url}">Look at it</a>{pixel}')
    buy(browser, mail)
    page.goto(f"{server.url}/app/campaigns/teapots")
    for metric, text in {
        "impressions": "1",
        "clicks": "1",
        "unique_clicks": "1",
        "conversions": "1",
        "ctr": "100.0 %",
        "conversion_rate": "100.0 %",
        "revenue": "€49.90",
    }.items():
        expect(page.locator(f'[data-metric="{metric}"]')).to_have_text(re.compile(rf"^\s*{re.escape(text)}\s*$"))
    results = [row["result"] for row in server.api("GET", "/conversions/reports")["items"]]
    assert sorted(results) == ["duplicate", "recorded"]
