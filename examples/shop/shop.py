"""A shop of one teapot: shows what a landing page, a thank-you page and a shop's server have to do."""

from __future__ import annotations

import argparse
import secrets
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from string import Template
from urllib.parse import parse_qs, urlencode, urlsplit
from urllib.request import urlopen

HERE = Path(__file__).parent
FORM_MAX_BYTES = 4096


class Shop(BaseHTTPRequestHandler):
    """GET / is the landing page, POST /buy the sale, GET /thanks the thank-you page."""

    tracker = ""
    key = ""

    def do_GET(self) -> None:
        path = urlsplit(self.path)
        if path.path == "/":
            self._page("landing.html")
        elif path.path == "/thanks":
            query = parse_qs(path.query)
            self._page("thanks.html", order=query.get("order", [""])[0], cid=query.get("cid", [""])[0])
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        length = min(int(self.headers.get("Content-Length") or 0), FORM_MAX_BYTES)
        form = parse_qs(self.rfile.read(length).decode())
        order, cid = secrets.token_hex(4), form.get("cid", [""])[0]
        self._report(order, cid)
        self.send_response(303)
        self.send_header("Location", "/thanks?" + urlencode({"order": order, "cid": cid}))
        self.end_headers()

    def _report(self, order: str, cid: str) -> None:
        """Server to server: this is what counts when the buyer's browser blocks the pixel."""
        sale = urlencode({"cid": cid, "order": order, "value": "49.90", "currency": "EUR"}).encode()
        with urlopen(f"{self.tracker}/c/{self.key}", data=sale, timeout=5) as answer:
            print("callback:", answer.read().decode(), flush=True)

    def _page(self, name: str, **values: str) -> None:
        safe = {field: escape(value) for field, value in values.items()}
        page = Template((HERE / name).read_text(encoding="utf-8"))
        body = page.substitute(tracker=self.tracker, key=self.key, **safe).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet: the callback's answer is what there is to see."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tracker", default="http://localhost:8000")
    parser.add_argument("--key", required=True)
    parser.add_argument("--port", type=int, default=9100)
    given = parser.parse_args()
    Shop.tracker, Shop.key = given.tracker.rstrip("/"), given.key
    server = ThreadingHTTPServer(("127.0.0.1", given.port), Shop)
    print(f"The shop is open at http://127.0.0.1:{server.server_port}/", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
