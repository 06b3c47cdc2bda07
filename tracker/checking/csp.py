"""Content Security Policy as far as it decides about a script, a request and a picture (W3C CSP 3, 6.7 and 6.8)."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

POLICIES_MAX = 20
POLICY_MAX = 16_384  # characters
DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
# What a directive falls back on, first to last (6.8.3).
FALLBACKS = {
    "script-src-elem": ("script-src-elem", "script-src", "default-src"),
    "connect-src": ("connect-src", "default-src"),
    "img-src": ("img-src", "default-src"),
}
_HOST_SOURCE = re.compile(
    r"(?:(?P<scheme>[a-z][a-z0-9+.-]*)://)?(?P<host>\*|(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])"
    r"(?::(?P<port>\d{1,5}|\*))?(?P<path>/[^?#]*)?",
    re.IGNORECASE,
)
_SCHEME_SOURCE = re.compile(r"([a-z][a-z0-9+.-]*):", re.IGNORECASE)
_NONCE = re.compile(r"'nonce-([A-Za-z0-9+/_-]+={0,2})'", re.IGNORECASE)
_HASH = re.compile(r"'(sha256|sha384|sha512)-([A-Za-z0-9+/_-]+={0,2})'", re.IGNORECASE)
_INTEGRITY = re.compile(r"(sha256|sha384|sha512)-([A-Za-z0-9+/_-]+={0,2})")

Policy = dict[str, tuple[str, ...]]


class Script(NamedTuple):
    """A script of a page's HTML, as a policy sees it."""

    nonce: str = ""
    integrity: str = ""


class Blocked(NamedTuple):
    """The directive that blocks something, as written, and its sources."""

    directive: str
    sources: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join((self.directive, *self.sources))


def parse(texts: Iterable[str]) -> list[Policy]:
    """The policies of header or meta values; one value may hold several, parted by commas."""
    found = []
    for text in texts:
        for one in text[:POLICY_MAX].split(","):
            policy: Policy = {}
            for directive in one.split(";"):
                words = directive.split()
                # Of two directives with one name, the first holds (2.2.1).
                if words:
                    policy.setdefault(words[0].lower(), tuple(words[1:]))
            if policy:
                found.append(policy)
    return found[:POLICIES_MAX]


def script_refusal(policies: Iterable[Policy], url: str, script: Script, page: str) -> Blocked | None:
    """What keeps a page from loading a script that stands in its HTML, if anything does."""
    for policy in policies:
        if blocked := _sandboxed(policy):
            return blocked
        sources = _sources(policy, "script-src-elem")
        if sources is not None and not _script_allowed(sources.sources, url, script, page):
            return sources
    return None


def inline_refusal(policies: Iterable[Policy], text: str, nonce: str) -> Blocked | None:
    """What keeps a script within the HTML from running, if anything does (6.7.3.3)."""
    for policy in policies:
        if blocked := _sandboxed(policy):
            return blocked
        sources = _sources(policy, "script-src-elem")
        if sources is not None and not _inline_allowed(sources.sources, text, nonce):
            return sources
    return None


def request_refusal(policies: Iterable[Policy], directive: str, url: str, page: str) -> Blocked | None:
    """What keeps a page from a request, `directive` being `connect-src` or `img-src`."""
    for policy in policies:
        sources = _sources(policy, directive)
        if sources is not None and not _matches_any(sources.sources, url, page):
            return sources
    return None


def upgrades(policies: Iterable[Policy]) -> bool:
    """Whether a page has its http:// addresses asked for over https:// (W3C Upgrade Insecure Requests)."""
    return any("upgrade-insecure-requests" in policy for policy in policies)


def _sandboxed(policy: Policy) -> Blocked | None:
    words = policy.get("sandbox")
    if words is None or "allow-scripts" in map(str.lower, words):
        return None
    return Blocked("sandbox", words)


def _sources(policy: Policy, directive: str) -> Blocked | None:
    for name in FALLBACKS[directive]:
        if name in policy:
            return Blocked(name, policy[name])
    return None


def _script_allowed(sources: tuple[str, ...], url: str, script: Script, page: str) -> bool:
    if _nonce_matches(sources, script.nonce) or _integrity_matches(sources, script.integrity):
        return True
    # Then only scripts that a trusted one adds are let in, and this one stands in the HTML (6.7.1.1).
    if _has(sources, "'strict-dynamic'"):
        return False
    return _matches_any(sources, url, page)


def _inline_allowed(sources: tuple[str, ...], text: str, nonce: str) -> bool:
    if _nonce_matches(sources, nonce):
        return True
    hashes = [match for source in sources if (match := _HASH.fullmatch(source))]
    if any(_digest(match[1], text) == _plain(match[2]) for match in hashes):
        return True
    # A nonce or a hash takes 'unsafe-inline' its force, so that old browsers may still have it (6.7.3.2).
    distrusted = bool(hashes) or any(map(_NONCE.fullmatch, sources)) or _has(sources, "'strict-dynamic'")
    return _has(sources, "'unsafe-inline'") and not distrusted


def _has(sources: Iterable[str], keyword: str) -> bool:
    return any(source.lower() == keyword for source in sources)


def _nonce_matches(sources: Iterable[str], nonce: str) -> bool:
    return bool(nonce) and any(match[1] == nonce for source in sources if (match := _NONCE.fullmatch(source)))


def _integrity_matches(sources: Iterable[str], integrity: str) -> bool:
    """Every hash that the script's integrity names has to be among the sources (6.7.2.3)."""
    own = {(algorithm, _plain(value)) for algorithm, value in _INTEGRITY.findall(integrity)}
    listed = {(m[1].lower(), _plain(m[2])) for source in sources if (m := _HASH.fullmatch(source))}
    return bool(own) and own <= listed


def _plain(value: str) -> str:
    """Base64 in one spelling: policies may use either alphabet."""
    return value.replace("-", "+").replace("_", "/").rstrip("=")


def _digest(algorithm: str, text: str) -> str:
    digest = hashlib.new(algorithm.lower(), text.encode("utf-8", errors="replace")).digest()
    return base64.b64encode(digest).decode("ascii").rstrip("=")


def _matches_any(sources: tuple[str, ...], url: str, page: str) -> bool:
    """Whether a list of sources holds a URL. An empty list and 'none' hold nothing (6.7.2.7)."""
    asked, own = urlsplit(url), urlsplit(page)
    return any(_matches(source, asked, own) for source in sources)


def _matches(source: str, url: SplitResult, page: SplitResult) -> bool:
    if source == "*":
        return url.scheme in DEFAULT_PORTS or url.scheme == page.scheme
    if scheme := _SCHEME_SOURCE.fullmatch(source):
        return _scheme_matches(scheme[1].lower(), url.scheme)
    if source.lower() == "'self'":
        return _is_self(url, page)
    host = _HOST_SOURCE.fullmatch(source)
    if host is None or not url.hostname:
        return False
    return (
        _scheme_matches((host["scheme"] or page.scheme).lower(), url.scheme)
        and _host_matches(host["host"].lower(), url.hostname)
        and _port_matches(host["port"] or "", url)
        and _path_matches(host["path"] or "", url.path)
    )


def _scheme_matches(source: str, scheme: str) -> bool:
    """A source is also good for its secure form, never the other way round (6.7.2.9)."""
    return source == scheme or scheme in {"http": ("https",), "ws": ("wss", "http", "https"), "wss": ("https",)}.get(
        source, ()
    )


def _host_matches(pattern: str, host: str) -> bool:
    """`*.example` holds every name below, and not `example` itself (6.7.2.10)."""
    pattern = pattern.strip("[]")
    if pattern == "*":
        return True
    return host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern


def _port_matches(source: str, url: SplitResult) -> bool:
    port = url.port or DEFAULT_PORTS.get(url.scheme)
    if source == "*":
        return True
    if not source:
        return port == DEFAULT_PORTS.get(url.scheme)
    return int(source) == port or (source == "80" and port == 443)


def _path_matches(source: str, path: str) -> bool:
    """A path that ends in a slash holds everything below, another only itself (6.7.2.12)."""
    if source in ("", "/"):
        return True
    pattern, path = unquote(source), unquote(path)
    return path.startswith(pattern) if pattern.endswith("/") else path == pattern


def _is_self(url: SplitResult, page: SplitResult) -> bool:
    """The page's own origin, or its secure form at the usual ports (6.7.2.8)."""
    if url.hostname != page.hostname or not url.hostname:
        return False
    ports = [(part.port or DEFAULT_PORTS.get(part.scheme)) for part in (url, page)]
    usual = all(port == DEFAULT_PORTS.get(part.scheme) for part, port in zip((url, page), ports, strict=True))
    if url.scheme == page.scheme:
        return ports[0] == ports[1]
    return _scheme_matches(page.scheme, url.scheme) and (usual or ports[0] == ports[1])
