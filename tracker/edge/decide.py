"""What a public endpoint answers, and what is written down of it. Pure: no clock, no file, no database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, urlsplit

from tracker import clickcost, clickid, customers, utm
from tracker.agents import describe
from tracker.events import (
    AGENT_MAX,
    CODE_MAX,
    LANGUAGE_MAX,
    NO_TEST,
    PARAMS_MAX,
    REFERRER_MAX,
    TEST_PARAM,
    Event,
    Kind,
    Verdict,
    is_test_code,
)

GIF = bytes.fromhex("47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b")
ROBOTS = (b"x-robots-tag", b"noindex, nofollow")
NO_STORE = (b"cache-control", b"private, no-store")
EMPTY = (b"content-length", b"0")
PIXEL_HEADERS = (
    (b"content-type", b"image/gif"),
    (b"content-length", b"43"),
    (b"cache-control", b"no-store, no-cache, must-revalidate, max-age=0, private"),
    (b"pragma", b"no-cache"),
    (b"expires", b"Thu, 01 Jan 1970 00:00:00 GMT"),
    (b"cross-origin-resource-policy", b"cross-origin"),
    (b"access-control-allow-origin", b"*"),
    (b"referrer-policy", b"no-referrer"),
    ROBOTS,
)
SPECULATIVE = frozenset({"prefetch", "prerender", "preview"})
RETRY_AFTER = (b"retry-after", b"2")
# A cookie of the short domain: hits of a browser that has it are internal.
OPT_OUT_COOKIE = "tracker_optout"
OPT_OUT = f"{OPT_OUT_COOKIE}=1"
# In the query of a link or an impression pixel: a test, to be seen in the debugger and counted nowhere.
TEST_MARK = f"{TEST_PARAM}="


class Request(NamedTuple):
    """What the edge reads of a request: cropped text, an address already freed of untrusted proxies' claims."""

    is_head: bool
    query: str
    address: str
    agent: str
    referrer: str
    language: str
    purpose: str
    gpc: bool
    opted_out: bool = False


class Moment(NamedTuple):
    """The id of the event to be: milliseconds since 1970 and 40 bits that no other event of that millisecond has."""

    at_ms: int
    nonce: int


Headers = tuple[tuple[bytes, bytes], ...]


class Answer(NamedTuple):
    """Status, headers (lower-case names) and body, ready for any adapter. `location` comes before the other headers,
    which are the same for many answers: whoever writes them out can do so once.
    """

    status: int
    constant: Headers
    body: bytes = b""
    location: bytes | None = None

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        own = [] if self.location is None else [(b"location", self.location)]
        return [*own, *self.constant]


PIXEL = Answer(200, PIXEL_HEADERS, GIF)


class Pages(NamedTuple):
    """What a person sees who follows a link that leads nowhere."""

    not_found: bytes
    gone: bytes


class Orphan(NamedTuple):
    """A code that no link has; `fallback_url` is the workspace's, where it set one."""

    fallback_url: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A link as the edge keeps it: all that an answer needs, worked out once when the link is read."""

    link_id: int
    code: str
    status: int
    query_mode: str
    click_id_param: str
    referrer_policy: bytes
    base: str
    query: str | None
    fragment: str | None
    own_names: frozenset[str]
    macros: dict[str, str] | None
    wants_agent: bool
    wants_country: bool
    # The parameter of its query that says what a click cost; empty where none does.
    cost_param: str
    # What stands before and after the click id where nothing else has to be filled in or merged.
    before_id: str | None
    after_id: str
    expires_at_ms: int | None
    archived: bool
    fallback_url: str | None

    def is_active(self, at_ms: int) -> bool:
        return not self.archived and (self.expires_at_ms is None or at_ms < self.expires_at_ms)


def header_safe(text: str) -> str:
    """A URL in the characters a header may carry: anything but printable ASCII is percent-encoded as UTF-8."""
    if text.isascii() and text.isprintable() and " " not in text:
        return text
    return "".join(c if "!" <= c <= "~" else quote(c, safe="") for c in text)


def raw_query(query: bytes) -> str:
    """A request's query as it came. Of what no valid one has, stray bytes are percent-encoded and `#` ends it."""
    if b"#" in query:
        query = query.partition(b"#")[0]
    try:
        return query.decode("ascii")
    except UnicodeDecodeError:
        return "".join(chr(byte) if byte < 128 else f"%{byte:02X}" for byte in query)


def speculation(purpose: str) -> str:
    """Those of the tokens that a purpose header holds, in any case, as `prefetch;prerender` or `prefetch, x`."""
    words = purpose.lower().replace(";", " ").replace(",", " ").replace("=", " ").split()
    return ", ".join(sorted(SPECULATIVE.intersection(words)))


def opted_out(cookies: str) -> bool:
    """Whether a Cookie header, or several joined by commas, says that this browser is not to be counted."""
    return OPT_OUT in cookies and OPT_OUT in (part.strip() for part in cookies.replace(",", ";").split(";"))


def test_of(query: str) -> str | None:
    """The code of a test in a raw query: empty where what stands there can be none, `None` for no test at all."""
    for pair in query.split("&"):
        if pair.startswith(TEST_MARK) and (code := pair[len(TEST_MARK) :]).lower() not in NO_TEST:
            return code if is_test_code(code) else ""
    return None


CountryOf = Callable[[str], str | None]


def click(
    request: Request,
    code: str,
    target: Target | Orphan,
    moment: Moment,
    key: clickid.Key,
    pages: Pages,
    country_of: CountryOf,
) -> tuple[Answer, Event]:
    """A short link was followed. `country_of` is asked for an address where the destination wants its country."""
    if isinstance(target, Orphan):
        event = _event(Kind.CLICK, request, moment, Verdict.UNKNOWN_CODE, 0, code)
        return _elsewhere(target.fallback_url, 404, pages.not_found), event
    cost = ""
    if target.cost_param and request.query:
        query, cost = clickcost.take(request.query, target.cost_param)
        request = request._replace(query=query)
    verdict = _verdict(request)
    if not target.is_active(moment.at_ms):
        event = _event(Kind.CLICK, request, moment, _out_of_use(verdict), target.link_id, code, cost)
        return _elsewhere(target.fallback_url, 410, pages.gone), event
    event = _event(Kind.CLICK, request, moment, verdict, target.link_id, code, cost)
    if verdict == Verdict.PREFETCH:
        return NOT_NOW, event
    click_id = "" if request.gpc else clickid.make(key, target.link_id, moment.at_ms, moment.nonce)
    location = _location(target, request, click_id, moment, country_of)
    return _redirect(target.status, location, target.referrer_policy), event


def impression(request: Request, code: str, target: Target | Orphan, moment: Moment) -> tuple[Answer, Event]:
    """An impression pixel was fetched; the answer is the GIF, whatever the verdict."""
    if isinstance(target, Orphan):
        return PIXEL, _event(Kind.IMPRESSION, request, moment, Verdict.UNKNOWN_CODE, 0, code)
    verdict = _verdict(request)
    if not target.is_active(moment.at_ms):
        verdict = _out_of_use(verdict)
    return PIXEL, _event(Kind.IMPRESSION, request, moment, verdict, target.link_id, code)


def conversion(request: Request, key: str, moment: Moment, customer_key: bytes | None) -> tuple[Answer, Event]:
    """A conversion pixel was fetched: the loader finds the workspace and the click. A sale counts, whoever buys.

    The customer is hashed before it is written anywhere; whoever sends Global Privacy Control is nobody's customer.
    """
    verdict = _verdict(request)
    # A report says `test` for itself.
    verdict = Verdict.COUNTED if verdict in (Verdict.INTERNAL, Verdict.TEST) else verdict
    event = _event(Kind.CONVERSION, request, moment, verdict, 0, key)
    query = customers.seal(request.query, None if request.gpc else customer_key)
    return PIXEL, event._replace(params=query[:PARAMS_MAX])


def honeypot(request: Request, code: str, target: Target | Orphan, moment: Moment) -> tuple[Answer, Event]:
    """Nobody sees this link: whoever follows it is a mail scanner."""
    if isinstance(target, Orphan):
        return NOTHING_HERE, _event(Kind.HONEYPOT, request, moment, Verdict.UNKNOWN_CODE, 0, code)
    verdict = _verdict(request) or Verdict.SCANNER
    return NOTHING_HERE, _event(Kind.HONEYPOT, request, moment, verdict, target.link_id, code)


def unavailable(kind: Kind, request: Request, code: str, moment: Moment) -> tuple[Answer, Event]:
    """The database is away and the code is not in the cache. A pixel is answered and resolved later by the loader."""
    event = _event(kind, request, moment, _verdict(request), 0, code)
    return (PIXEL, event) if kind == Kind.IMPRESSION else (TRY_AGAIN, event._replace(verdict=int(Verdict.UNKNOWN_CODE)))


def _verdict(request: Request) -> Verdict:
    if request.is_head:
        return Verdict.HEAD
    if request.purpose and speculation(request.purpose):
        return Verdict.PREFETCH
    # One look tells of nearly all. Whoever tests wants to see the hit, in a browser that is left out as well.
    if TEST_MARK in request.query and test_of(request.query) is not None:
        return Verdict.TEST
    return Verdict.INTERNAL if request.opted_out else Verdict.COUNTED


def _out_of_use(verdict: Verdict) -> Verdict:
    """What a hit on a link is that is archived or has expired: a test finds it out like anybody else."""
    return Verdict.INACTIVE if verdict in (Verdict.COUNTED, Verdict.TEST) else verdict


def _said(request: Request, verdict: Verdict) -> str:
    """What an event keeps of its request besides: a prefetch's purpose, a test's code."""
    if verdict == Verdict.PREFETCH:
        return speculation(request.purpose)
    return (test_of(request.query) or "") if verdict == Verdict.TEST else ""


def _event(
    kind: Kind, request: Request, moment: Moment, verdict: Verdict, link_id: int, code: str, cost: str = ""
) -> Event:
    # By position, in the order of Event's fields: names cost a microsecond here.
    return Event(
        int(kind),
        moment.at_ms,
        moment.nonce,
        int(verdict),
        link_id,
        code[:CODE_MAX],
        request.address,
        request.agent[:AGENT_MAX],
        request.referrer[:REFERRER_MAX],
        request.language[:LANGUAGE_MAX],
        request.gpc,
        _said(request, verdict) if verdict else "",
        False,
        cost,
    )


def _location(target: Target, request: Request, click_id: str, moment: Moment, country_of: CountryOf) -> str:
    if target.before_id is not None and click_id and not request.query:
        return target.before_id + click_id + target.after_id
    base, query, fragment, has_id = target.base, target.query, target.fragment, False
    if target.macros is not None:
        values = _macro_values(target, request, click_id, moment)
        if target.wants_country:
            values["country"] = country_of(request.address) or ""
        has_id = any("{clickid}" in part for part in (base, query or "", fragment or ""))
        base = fill(base, values)
        query = None if query is None else fill(query, values)
        fragment = None if fragment is None else fill(fragment, values)
    if request.query and target.query_mode != "drop":
        query = _merged(target, query, request.query)
    elif TEST_MARK in request.query and target.click_id_param and (code := test_of(request.query)):
        # The landing page tells of the same test; only a URL that bears no parameter of ours stays as it is.
        query = utm.append(query, f"{TEST_MARK}{code}")
    if click_id and target.click_id_param and not has_id:
        query = utm.append(query, f"{target.click_id_param}={click_id}")
    return utm.Parts(base, query, fragment).join()


def _merged(target: Target, query: str | None, visitor: str) -> str | None:
    """The visitor's query brought in, less whatever bears our click id's name: it would be another click's."""
    dropped = set() if target.query_mode == "visitor_wins" else set(target.own_names)
    if target.click_id_param:
        dropped.add(target.click_id_param)
    left = utm.without(visitor, dropped)
    if not left:
        return query
    return utm.visitor_wins(query, left) if target.query_mode == "visitor_wins" else utm.append(query, left)


MACROS = (
    "clickid",
    "campaign",
    "source",
    "medium",
    "term",
    "content",
    "link",
    "variant",
    "ts",
    "country",
    "device",
    "os",
    "browser",
    "referrer_host",
    "gclid",
    "fbclid",
)


def fill(text: str, values: dict[str, str]) -> str:
    """Puts percent-encoded values in the places of the macros we know; other braces stay as they are."""
    for name, value in values.items():
        mark = "{" + name + "}"
        if mark in text:
            text = text.replace(mark, utm.encode(value))
    return text


def _macro_values(target: Target, request: Request, click_id: str, moment: Moment) -> dict[str, str]:
    values = dict.fromkeys(MACROS, "")
    values.update(target.macros or {})
    if target.wants_agent:
        values.update(describe(request.agent)._asdict())
    values["clickid"] = click_id
    values["ts"] = str(moment.at_ms // 1000)
    values["referrer_host"] = host_of(request.referrer)
    for name, value in parse_qsl(request.query):
        if name in ("gclid", "fbclid"):
            values[name] = values[name] or value
    return values


def host_of(url: str) -> str:
    """The host of a referrer, in lower case; empty where there is none."""
    try:
        return (urlsplit(url).hostname or "")[:255]
    except ValueError:
        return ""


def _redirect(status: int, location: str, referrer_policy: bytes) -> Answer:
    constant = (NO_STORE, (b"referrer-policy", referrer_policy), ROBOTS, EMPTY)
    return Answer(status, constant, b"", location.encode("ascii"))


def _elsewhere(fallback_url: str | None, status: int, page: bytes) -> Answer:
    """Where a visitor goes whose link leads nowhere: the fallback URL, or a page that says so."""
    if fallback_url:
        return _redirect(302, fallback_url, b"no-referrer")
    headers = (
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-length", b"%d" % len(page)),
        NO_STORE,
        (b"x-content-type-options", b"nosniff"),
        (b"content-security-policy", b"default-src 'none'; style-src 'self'"),
        ROBOTS,
    )
    return Answer(status, headers, page)


# To a speculative fetch: the browser drops it and asks again when the person really clicks.
NOT_NOW = Answer(503, (NO_STORE, ROBOTS, EMPTY))
TRY_AGAIN = Answer(503, (NO_STORE, RETRY_AFTER, ROBOTS, EMPTY))
WRONG_METHOD = Answer(405, ((b"allow", b"GET, HEAD"), NO_STORE, ROBOTS, EMPTY))
NOTHING_HERE = Answer(204, (NO_STORE, ROBOTS))
