"""What may be a destination, and what text a field takes: the checks that links, campaigns and settings share."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from ada_url import URL

DESTINATION_MAX = 8192
TEXT_MAX = 255
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class OwnDomain:
    """The addresses this tracker answers at: no link may lead back to them."""

    origins: tuple[str, ...]

    def holds(self, url: URL) -> bool:
        host = _host(url.hostname)
        port = url.port or _default_port(url.protocol)
        return any(self._same(host, port, urlsplit(origin)) for origin in self.origins)

    @staticmethod
    def _same(host: str, port: str, own: Any) -> bool:
        own_host = _host(URL(own.geturl()).hostname)
        own_port = str(own.port or "") or _default_port(own.scheme + ":")
        return host == own_host and (port == own_port or {port, own_port} == {"80", "443"})


def _host(name: str) -> str:
    """A host name to compare by: all that leads to this very machine is called `localhost`."""
    name = name.rstrip(".").lower()
    try:
        address = ip_address(name.strip("[]"))
    except ValueError:
        return name
    inner = getattr(address, "ipv4_mapped", None) or address
    return "localhost" if inner.is_loopback or inner.is_unspecified else name


def _default_port(protocol: str) -> str:
    return "443" if protocol == "https:" else "80"


def destination_refusal(text: str, own: OwnDomain) -> str | None:
    """Why a URL cannot be a destination, as a sentence; `None` when it can. Parsed as browsers do (WHATWG URL)."""
    if not text:
        return "A destination is needed."
    if len(text) > DESTINATION_MAX:
        return f"A destination has at most {DESTINATION_MAX:,} characters; this one has {len(text):,}."
    if _CONTROL.search(text):
        return "The destination contains a line break or another control character."
    if not _encodable(text):
        return "The destination contains half a character (a lone surrogate); copy it again."
    scheme, mark, rest = text.partition("://")
    if not mark or scheme.lower() not in ("http", "https"):
        return "A destination starts with http:// or https://."
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in authority:
        return "A destination carries no user name or password."
    if not authority or "\\" in authority or "{" in authority or authority[0] == ":":
        return "The destination has no valid host after http:// or https://."
    try:
        url = URL(text)
    except ValueError:
        return "The destination is not a valid URL; check its host and port."
    if url.username or url.password:
        return "A destination carries no user name or password."
    if not url.hostname:
        return "The destination has no host."
    if own.holds(url):
        return "The destination leads back to this tracker's own short domain."
    return None


def text_refusal(label: str, text: str | None, *, needed: bool, size_max: int = TEXT_MAX) -> str | None:
    """Why a text cannot stay as it is, as a sentence beginning with its label; `None` when it can."""
    if not text:
        return f"{label} is needed." if needed else None
    if len(text) > size_max:
        return f"{label} has at most {size_max} characters; this has {len(text)}."
    if _CONTROL.search(text) or not _encodable(text):
        return f"{label} contains a line break or another control character."
    return None


def _encodable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
