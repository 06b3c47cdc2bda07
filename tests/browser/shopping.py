"""A shop on an origin of its own, and what became of its sales at the tracker's end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.serving import Server
from tests.test_serve import eventually

PERSON = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36"
CAMPAIGN = "teapots"


class Shop:
    """Pages of a shop at 127.0.0.1; the tracker is at localhost, which to a browser is another site."""

    def __init__(self, server: Server, url: str) -> None:
        self.server = server
        self.url = url
        self.key = str(server.api("GET", "/workspace")["key"])
        self.seen: list[str] = []
        self.posted: list[bytes] = []
        self.pages: dict[str, tuple[str, dict[str, str]]] = {}

    def tag(self, attributes: str = "defer", file: str = "t.js") -> str:
        return f'<script src="{self.server.url}/{file}" data-key="{self.key}" {attributes}></script>'

    def page(self, path: str, html: str = "", *, tag: str | None = None, **headers: str) -> str:
        """Puts a page at a path, with the script unless `tag` says otherwise; answers its URL."""
        head = self.tag() if tag is None else tag
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.pages[path] = (f"<!doctype html><title>Shop</title>{head}{html}", named)
        return self.url + path

    def click(self, path: str = "/") -> str:
        """Follows a short link that leads to a path; answers where a browser would have gone, click id and all."""
        code = "to" + path.replace("/", "-").replace(".", "-")
        link = {"destination": self.url + path, "campaign": CAMPAIGN, "source": "s", "medium": "m", "code": code}
        known = {item["code"] for item in self.server.api("GET", "/links")["items"]}
        if code not in known:
            self.server.api("POST", "/links", link)
        answer = self.server.request("GET", f"/{code}", {"User-Agent": PERSON})
        return str(answer.headers["Location"])

    def settle(self) -> None:
        """Waits until everything that the tracker has been sent is stored."""
        eventually(lambda: self.server.api("GET", f"/campaigns/{CAMPAIGN}/stats")["lag_s"], 0)

    def reports(self, **named: str) -> list[Any]:
        """Every report that came in with these parameters, the newest first."""
        self.settle()
        rows = self.server.api("GET", "/conversions/reports")["items"]
        return [row for row in rows if named.items() <= row["params"].items()]

    def await_sale(self, order: str) -> Any:
        """The conversion of an order as the tracker keeps it, as soon as it does."""

        def found() -> list[Any]:
            return [row for row in self.server.api("GET", "/conversions")["items"] if row["order"] == order]

        eventually(lambda: len(found()), 1)
        return found()[0]

    def await_reports(self, n: int, **named: str) -> list[Any]:
        """The reports with these parameters, when there are as many as that and no more are under way."""
        eventually(lambda: len(self.reports(**named)), n)
        return self.reports(**named)


def click_id(url: str) -> str:
    return parse_qs(urlsplit(url).query)["cid"][0]


@contextmanager
def open_shop(server: Server) -> Iterator[Shop]:
    """A shop that is served until the block ends; paths that it does not have are empty pages."""

    class Door(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            shop.seen.append(self.path)
            html, headers = shop.pages.get(urlsplit(self.path).path, ("<!doctype html><title>Empty</title>", {}))
            body = html.encode()
            self.send_response(200)
            for name, value in {"Content-Type": "text/html; charset=utf-8", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            shop.posted.append(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    shop = Shop(server, f"http://127.0.0.1:{httpd.server_port}")
    thread = Thread(target=httpd.serve_forever)
    thread.start()
    yield shop
    httpd.shutdown()
    thread.join()
    httpd.server_close()
