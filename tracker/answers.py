"""One HTTP answer, read from a connection within limits of time and size, and not believed."""

from __future__ import annotations

import socket
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import h11
from ada_url import URL

from tracker import __version__
from tracker.errors import Unfetchable

REDIRECTS = frozenset({301, 302, 303, 307, 308})
HTML_TYPES = frozenset({"", "text/html", "application/xhtml+xml"})
READ_BYTES = 16 * 1024
INFORMATIONAL_MAX = 5
AGENT = f"tracker/{__version__} (page checker; a person asked for this one page)"


class Limits(NamedTuple):
    """Of one check, all hops together; `body_bytes` of the page once decompressed.

    With 0 no body is read, and whatever the address answers with will do, be it a page or not.
    """

    total_s: float = 10
    connect_s: float = 4
    redirects: int = 5
    header_bytes: int = 32 * 1024
    body_bytes: int = 2 * 1024 * 1024


class Place(NamedTuple):
    """An http(s) URL taken apart: `host` as names and certificates have it, `href` as a browser would write it."""

    href: str
    is_secure: bool
    host: str
    port: int
    target: bytes
    authority: str


@dataclass(frozen=True, slots=True)
class Page:
    """What the last address answered. `is_cut`: there was more than we read, or it broke off."""

    url: str
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    is_cut: bool = False

    def header(self, name: str) -> list[str]:
        """All values under a lower-case name."""
        return [value for key, value in self.headers if key == name]


class Deadline:
    """When everything has to be over, however steadily bytes come in."""

    def __init__(self, clock: Callable[[], float], total_s: float) -> None:
        self._clock = clock
        self._at = clock() + total_s

    def left_s(self) -> float:
        """Never 0, which a socket would take for not waiting at all. Raises Unfetchable."""
        left = self._at - self._clock()
        if left <= 0:
            raise too_slow()
        return left


def too_slow() -> Unfetchable:
    return Unfetchable("too_slow", "The page took too long to answer.")


class Answer:
    """One request and what comes back on a connection, read within limits."""

    def __init__(self, connection: socket.socket, until: Deadline, limits: Limits, agent: str = AGENT) -> None:
        self._socket = connection
        self._agent = agent
        self._until = until
        self._limits = limits
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=limits.header_bytes)
        self._read_bytes = 0

    def read(self, place: Place) -> Page:
        """Asks and reads. Raises Unfetchable. A redirect's own body is not read."""
        try:
            self._ask(place)
            response = self._response()
            headers = tuple((_text(name).lower(), _text(value)) for name, value in response.headers)
            page = Page(place.href, response.status_code, headers, b"")
            if next_url(place.href, page) is not None:
                return page
            if not self._limits.body_bytes:
                return Page(page.url, page.status, headers, b"", is_cut=True)
            kind = (page.header("content-type") or [""])[0].partition(";")[0].strip().lower()
            if kind not in HTML_TYPES:
                raise Unfetchable("not_html", f"The address answers with {kind[:100]}, not with a page.")
            body, is_cut = self._body(_decoder(page))
        except h11.RemoteProtocolError as error:
            if error.error_status_hint == 431:
                raise Unfetchable("headers_too_large", "The answer’s headers are too large to read.") from None
            raise Unfetchable("answer_malformed", "The answer is no valid HTTP.") from None
        except zlib.error:
            raise Unfetchable("answer_malformed", "The page’s compression is damaged.") from None
        return Page(page.url, page.status, headers, body, is_cut)

    def _ask(self, place: Place) -> None:
        headers = [
            ("Host", place.authority),
            ("User-Agent", self._agent),
            ("Accept", "text/html, application/xhtml+xml;q=0.9, */*;q=0.1"),
            ("Accept-Encoding", "gzip"),
            ("Connection", "close"),
        ]
        request = h11.Request(method="GET", target=place.target, headers=headers)
        self._socket.settimeout(self._until.left_s())
        self._socket.sendall((self._http.send(request) or b"") + (self._http.send(h11.EndOfMessage()) or b""))

    def _event(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._socket.settimeout(self._until.left_s())
            received = self._socket.recv(READ_BYTES)
            self._read_bytes += len(received)
            self._http.receive_data(received)
        return event

    def _response(self) -> h11.Response:
        for _ in range(INFORMATIONAL_MAX):
            event = self._event()
            if isinstance(event, h11.Response):
                return event
        raise Unfetchable("answer_malformed", "The answer never comes to its status.")

    def _body(self, decoded: Callable[[bytes, int], bytes]) -> tuple[bytes, bool]:
        """The body, and whether it is cut: at the limit, or where the connection broke."""
        body = bytearray()
        most = self._limits.body_bytes
        while True:
            try:
                event = self._event()
            except h11.RemoteProtocolError:
                return bytes(body), True
            if not isinstance(event, h11.Data):
                return bytes(body), False
            # One byte more than allowed is enough to know that there is more; a bomb unpacks no further.
            body += decoded(bytes(event.data), most + 1 - len(body))
            if len(body) > most or self._read_bytes > most + self._limits.header_bytes:
                return bytes(body[:most]), True


def _decoder(page: Page) -> Callable[[bytes, int], bytes]:
    """Unpacks a body piece by piece, never into more bytes than asked for. Raises Unfetchable."""
    coding = ",".join(page.header("content-encoding")).strip().lower()
    if coding in ("", "identity"):
        return lambda data, most: data[:most]
    if coding not in ("gzip", "x-gzip", "deflate"):
        raise Unfetchable("answer_malformed", f"The page is packed as {coding[:50]}, which we did not ask for.")
    unpacker = zlib.decompressobj(wbits=47)  # gzip or zlib, by their headers

    def unpacked(data: bytes, most: int) -> bytes:
        # What follows the end would be kept for ever.
        return b"" if unpacker.eof else unpacker.decompress(data, most)

    return unpacked


def next_url(href: str, page: Page) -> str | None:
    """Where a redirect leads, as a browser reads it: relative to where we are, the fragment carried on."""
    location = page.header("location")
    if page.status not in REDIRECTS or not location:
        return None
    try:
        raw = location[0].encode("latin-1").decode("utf-8", errors="replace")
        target = URL(raw, href)
    except ValueError:
        raise Unfetchable("redirect_malformed", "It redirects to something that is no address.") from None
    if not target.hash:
        target.hash = URL(href).hash
    return target.href


def _text(raw: bytes) -> str:
    return bytes(raw).decode("latin-1")
