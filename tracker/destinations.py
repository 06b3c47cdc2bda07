"""What may be a destination, and what text a field takes: the checks that links, campaigns and settings share."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address

from ada_url import URL

DESTINATION_MAX = 8192
TEXT_MAX = 255
HOSTS_REMEMBERED_MAX = 1_000
_WEB_PORTS = ("80", "443")
_AUTHORITY_END = re.compile(r"[/?#]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class OwnDomain:
    """The addresses this tracker answers at: no link may lead back to them."""

    origins: tuple[str, ...]

    def holds(self, host: str, port: str) -> bool:
        return (host, port) in _places(self.origins)

    def is_at(self, url: str) -> bool:
        """Whether a whole URL leads here."""
        try:
            return self.holds(*_place(URL(url).href))
        except ValueError:
            return False


@lru_cache(maxsize=16)
def _places(origins: tuple[str, ...]) -> frozenset[tuple[str, str]]:
    """Hosts and ports that lead to one of these origins, worked out once: many links are held against the same few."""
    found = {_place(URL(origin).href) for origin in origins}
    return frozenset(found | {(host, other) for host, port in found if port in _WEB_PORTS for other in _WEB_PORTS})


def _place(href: str) -> tuple[str, str]:
    """Host and port of a URL as the parser writes it: in lower case, without its default port, with a path."""
    scheme, _, authority, _ = href.split("/", 3)
    host, colon, port = authority.rpartition(":")
    if not colon or port.endswith("]"):
        host, port = authority, ""
    return _host(host), port or ("443" if scheme == "https:" else "80")


def _host(name: str) -> str:
    """A host name to compare by: all that leads to this very machine is called `localhost`."""
    name = name.rstrip(".").lower()
    # The parser has written every kind of address as `[…]` or as four decimal numbers; asking costs more than parsing.
    if name[:1] != "[" and not name[-1:].isdecimal():
        return name
    try:
        address = ip_address(name.strip("[]"))
    except ValueError:
        return name
    inner = getattr(address, "ipv4_mapped", None) or address
    return "localhost" if inner.is_loopback or inner.is_unspecified else name


def destination_refusal(text: str, own: OwnDomain) -> str | None:
    """Why a URL cannot be a destination, as a sentence; `None` when it can. Parsed as browsers do (WHATWG URL)."""
    if not text:
        return "A destination is needed."
    if len(text) > DESTINATION_MAX:
        return f"A destination has at most {DESTINATION_MAX:,} characters; this one has {len(text):,}."
    if not (text.isascii() and text.isprintable()):
        if _CONTROL.search(text):
            return "The destination contains a line break or another control character."
        if not _encodable(text):
            return "The destination contains half a character (a lone surrogate); copy it again."
    scheme, mark, rest = text.partition("://")
    if not mark or scheme.lower() not in ("http", "https"):
        return "A destination starts with http:// or https://."
    return _host_refusal(scheme.lower(), _AUTHORITY_END.split(rest.rstrip(" "), maxsplit=1)[0], own)


@lru_cache(maxsize=HOSTS_REMEMBERED_MAX)
def _host_refusal(scheme: str, authority: str, own: OwnDomain) -> str | None:
    """Why nothing at this place can be a destination. What follows it cannot make a URL invalid (WHATWG URL, 4.4).

    Remembered, for the links of an import lead to few places and the parser is the dearest part of their check.
    """
    if "@" in authority:
        return "A destination carries no user name or password."
    if not authority or "\\" in authority or "{" in authority or authority[0] == ":":
        return "The destination has no valid host after http:// or https://."
    try:
        href = URL(f"{scheme}://{authority}/").href
    except ValueError:
        return "The destination is not a valid URL; check its host and port."
    if "@" in href.split("/", 3)[2]:
        return "A destination carries no user name or password."
    host, port = _place(href)
    if not host:
        return "The destination has no host."
    if own.holds(host, port):
        return "The destination leads back to this tracker's own short domain."
    return None


def text_refusal(label: str, text: str | None, *, needed: bool, size_max: int = TEXT_MAX) -> str | None:
    """Why a text cannot stay as it is, as a sentence beginning with its label; `None` when it can."""
    if not text:
        return f"{label} is needed." if needed else None
    if len(text) > size_max:
        return f"{label} has at most {size_max} characters; this has {len(text)}."
    # Printable ASCII, as most texts are, needs no search.
    if not (text.isascii() and text.isprintable()) and (_CONTROL.search(text) or not _encodable(text)):
        return f"{label} contains a line break or another control character."
    return None


def _encodable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
