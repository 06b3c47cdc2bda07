"""What of a page's HTML matters to a check: scripts, pictures, policies, and whether they stand where they work.

Read with the standard library's parser, piece by piece and against a clock: some texts take it time that grows with the
square of their length, and the page is a stranger's.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urljoin

TAGS_MAX = 2_000  # of a kind
COMMENTS_MAX = 200
COMMENT_MAX = 10_000  # characters
PIECE = 32_768  # characters
PENDING_MAX = 262_144  # characters of one tag or comment
READ_WITHIN_S = 2.0
_REFRESH = re.compile(r"\s*[\d.]+\s*[;,]\s*(?:url\s*=\s*)?[\"']?(?P<url>[^\"'\s]+)", re.IGNORECASE)
# In an attribute, browsers leave `&currency=` as it is; the parser would read `&curren`, as they do in plain text. So
# an ampersand whose name ends without a semicolon is another character while it is parsed, one that nobody writes.
_BARE = re.compile(r"&(?=[A-Za-z][A-Za-z0-9]*+(?!;))")
_STAND_IN = "\ue0e0"
_UTF_16 = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


@dataclass(slots=True)
class Tag:
    """A script or a picture. `position` orders the page's tags; `where` is `noscript` or `template`, else empty."""

    attributes: dict[str, str]
    position: int
    where: str
    text: str = ""

    def get(self, name: str) -> str:
        return self.attributes.get(name, "").strip()


@dataclass(slots=True)
class Markup:
    """`policies` are those of `<meta>`, each with its position; `is_cut`: not all of the page was read."""

    scripts: list[Tag] = field(default_factory=list)
    images: list[Tag] = field(default_factory=list)
    frames: list[Tag] = field(default_factory=list)
    policies: list[tuple[int, str]] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    base: str = ""
    refresh: str = ""
    is_cut: bool = False


def read(body: bytes, clock: Callable[[], float] = time.monotonic) -> Markup:
    """Reads as much of a page as is read within the limits. All that is looked for is ASCII, so UTF-8 will do."""
    text = body.decode(_UTF_16.get(body[:2], "utf-8"), errors="replace")
    text = _BARE.sub(_STAND_IN, text)
    parser = _Parser()
    until = clock() + READ_WITHIN_S
    for start in range(0, len(text), PIECE):
        parser.feed(text[start : start + PIECE])
        # A script's text waits for its end tag, and is cheap to look through again.
        if clock() > until or (len(parser.rawdata) > PENDING_MAX and parser.cdata_elem is None):
            parser.found.is_cut = True
            break
    else:
        parser.close()
    parser.end_script()
    return parser.found


def refresh_url(text: str, page: str) -> str | None:
    """Where a Refresh, of a header or `<meta>`, leads; None where it only reloads."""
    found = _REFRESH.match(text[:COMMENT_MAX])
    return absolute(page, found["url"]) if found else None


def absolute(base: str, url: str) -> str:
    """A URL of a page as a whole one; empty where it is none."""
    try:
        return urljoin(base, url)
    except ValueError:
        return ""


def _restored(text: str) -> str:
    return text.replace(_STAND_IN, "&")


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found = Markup()
        self._position = 0
        self._inert: list[str] = []
        self._script: Tag | None = None
        self._texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._position += 1
        if tag == "body":
            self._inert.clear()  # a noscript of the head ends here at the latest
        if tag in ("noscript", "template"):
            self._inert.append(tag)
            return
        # Of attributes with one name, browsers take the first.
        attributes = {name: _restored(value or "") for name, value in reversed(attrs)}
        made = Tag(attributes, self._position, self._inert[-1] if self._inert else "")
        if tag == "script":
            self.end_script()
            self._script = made
            self._keep(self.found.scripts, made)
        elif tag == "img":
            self._keep(self.found.images, made)
        elif tag == "iframe":
            self._keep(self.found.frames, made)
        elif tag == "base" and not self.found.base and not made.where:
            self.found.base = made.get("href")
        elif tag == "meta" and not made.where:
            self._meta(made)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        # To HTML the slash means nothing: `<script/>` begins a script, as `<script>` does.
        self.handle_starttag(tag, attrs)
        if tag in self.CDATA_CONTENT_ELEMENTS:
            self.set_cdata_mode(tag)

    def _keep(self, tags: list[Tag], tag: Tag) -> None:
        if len(tags) < TAGS_MAX:
            tags.append(tag)
        else:
            self.found.is_cut = True

    def _meta(self, tag: Tag) -> None:
        kind = tag.get("http-equiv").lower()
        if kind == "content-security-policy":
            self.found.policies.append((tag.position, tag.get("content")))
        elif kind == "refresh" and not self.found.refresh:
            self.found.refresh = tag.get("content")

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self.end_script()
        elif self._inert and self._inert[-1] == tag:
            self._inert.pop()

    def end_script(self) -> None:
        if self._script is not None:
            self._script.text = _restored("".join(self._texts))
        self._script = None
        self._texts.clear()

    def handle_data(self, data: str) -> None:
        if self._script is not None:
            self._texts.append(data)

    def handle_comment(self, data: str) -> None:
        if len(self.found.comments) < COMMENTS_MAX:
            self.found.comments.append(_restored(data[:COMMENT_MAX]))
