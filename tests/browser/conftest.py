"""Real browsers: Debian's Chromium and Firefox, headless, with a person's user agent."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, sync_playwright

from tests.browser.shopping import PERSON, Shop, open_shop
from tests.serving import Server

__all__ = ["PERSON"]
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--test-third-party-cookie-phaseout",
]
# Cookies of other sites are refused, as a careful visitor has it.
FIREFOX_SETTINGS: dict[str, str | float | bool] = {"network.cookie.cookieBehavior": 1}
OWNER = "ada@example.org"
PASSWORD = "correct horse battery"


@pytest.fixture(scope="package")
def playwright() -> Iterator[Playwright]:
    """Ended with the last of these tests: its event loop runs until then, and others want one of their own."""
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="package")
def browser(playwright: Playwright) -> Iterator[Browser]:
    executable = shutil.which("chromium")
    assert executable, "`make test` installs Debian's chromium"
    browser = playwright.chromium.launch(
        executable_path=executable, args=FLAGS, ignore_default_args=["--disable-back-forward-cache"]
    )
    yield browser
    browser.close()


@pytest.fixture(scope="package")
def firefox(playwright: Playwright) -> Iterator[Browser]:
    browser = firefox_for(playwright)
    yield browser
    browser.close()


def firefox_for(playwright: Playwright, settings: Mapping[str, bool] = MappingProxyType({})) -> Browser:
    """Driven by WebDriver BiDi, as Debian builds it; Playwright's own patched build is not needed."""
    executable = shutil.which("firefox-esr") or shutil.which("firefox")
    assert executable, "`make test` installs Debian's firefox-esr"
    preferences = FIREFOX_SETTINGS | settings
    return playwright.firefox.launch(executable_path=executable, channel="moz-firefox", firefox_user_prefs=preferences)


@pytest.fixture(params=["chromium", pytest.param("firefox", marks=pytest.mark.thorough)])
def shopper(request: pytest.FixtureRequest, browser: Browser) -> Iterator[BrowserContext]:
    """A person's browser, one after the other of each kind, that knows nothing of the tracker yet."""
    # Firefox is started for those tests only that ask for it.
    kind = browser if request.param == "chromium" else request.getfixturevalue("firefox")
    context = kind.new_context(user_agent=PERSON) if request.param == "chromium" else kind.new_context()
    yield context
    context.close()


@pytest.fixture(scope="module")
def shop(server: Server) -> Iterator[Shop]:
    with open_shop(server) as shop:
        yield shop


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("browser") / "data") as server:
        yield server


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(user_agent=PERSON, viewport={"width": 1440, "height": 900})
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A page on which no script may fail and no policy may be broken."""
    page = context.new_page()
    trouble: list[str] = []
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("console", lambda message: trouble.append(message.text) if message.type == "error" else None)
    yield page
    assert trouble == []


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Callable[[str, str], str]]:
    """Puts a page on a web site of its own and answers its address."""
    folder = tmp_path / "site"
    folder.mkdir()
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()

    def publish(name: str, html: str) -> str:
        (folder / name).write_text(html, encoding="utf-8")
        return f"http://127.0.0.1:{httpd.server_port}/{name}"

    yield publish
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def sign_in(page: Page, server: Server) -> None:
    page.goto(f"{server.url}/app/login")
    page.get_by_label("E-mail").fill(OWNER)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/app/")


def picture_folder() -> Path:
    """Where pictures go: among the build's remains. `make pictures` takes the README's from there."""
    folder = Path(__file__).parent.parent.parent / "build" / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
