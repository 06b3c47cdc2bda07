"""The edge without its server: which requests are hot, how they are read, and the one decision both adapters share."""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count

from tracker import clickid, codes
from tracker.agents import describe
from tracker.countries import CountrySource, NoCountries
from tracker.edge import decide
from tracker.edge.decide import WRONG_METHOD, Answer, Moment, Orphan, Pages, Request, Target
from tracker.edge.linkcache import DatabaseAway, LinkCache
from tracker.edge.spool import Spool
from tracker.events import Event, Kind, storable
from tracker.metering import NO_VERDICT, Meters, Tally

_PIXELS = {"i": Kind.IMPRESSION, "c": Kind.CONVERSION}
GIF_SUFFIX = ".gif"
LOOKUP_WITHIN_S = 2.0
LOOKUPS_MAX = 1_000
LOOKUP_THREADS = 4
_NOWHERE = Orphan(None)


def wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000


def origin_form(target: str) -> str:
    """The path of a request target in absolute form (`http://host/path`), which every server has to take (RFC 9112)."""
    return "/" + target.partition("://")[2].partition("/")[2] if "://" in target else target


def without_port(hop: str) -> str:
    """Some proxies append the port: `192.0.2.1:5555`, `[2001:db8::1]:5555`."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


def match(path: str) -> tuple[Kind, str] | None:
    """The kind and the code or key of a hot path; `None` for everything that Flask answers."""
    head, slash, tail = path[1:].partition("/")
    if not slash:
        return (Kind.CLICK, head) if codes.is_code(head) and head.lower() not in codes.RESERVED else None
    if tail.endswith(GIF_SUFFIX) and head in _PIXELS:
        return _PIXELS[head], storable(tail.removesuffix(GIF_SUFFIX))
    return (Kind.HONEYPOT, tail) if head == "h" and codes.is_code(tail) else None


class Edge:
    """One per process. Turns a hot request into an answer and an event; what waits for what is the adapter's affair."""

    def __init__(
        self,
        cache: LinkCache,
        spool: Spool,
        key: clickid.Key,
        pages: Pages,
        *,
        customer_key: bytes | None = None,
        trusted_proxies: int = 0,
        countries: CountrySource | None = None,
        clock_ms: Callable[[], int] = wall_clock_ms,
    ) -> None:
        """Without a `customer_key` the customers of conversion pixels are left out."""
        self.cache = cache
        self.spool = spool
        self.meters = Meters()
        self.tally = Tally()
        self._key = key
        self._customer_key = customer_key
        self._pages = pages
        self._trusted_proxies = trusted_proxies
        self._countries = countries or NoCountries()
        self._country_of = self._countries.code
        self._clock_ms = clock_ms
        self._poll_lock = threading.Lock()
        self._polled_at = 0.0
        self._lookups: dict[str, asyncio.Future[Target | Orphan]] = {}
        # Apart from the default threads: a database that hangs must not keep agents from being read.
        self._readers = ThreadPoolExecutor(LOOKUP_THREADS, thread_name_prefix="link")
        self._seed()
        # Two processes that count on from one number would make the same ids.
        os.register_at_fork(after_in_child=self._seed)

    def _seed(self) -> None:
        self._nonces = count(random.SystemRandom().getrandbits(40))

    def moment(self) -> Moment:
        return Moment(self._clock_ms(), next(self._nonces) & clickid.NONCE_MAX)

    def client_address(self, peer: str, forwarded_for: str) -> str:
        """The address as the outermost trusted proxy saw it: counted from the right, for the left can be made up."""
        if not self._trusted_proxies or not forwarded_for:
            return peer
        hops = forwarded_for.split(",")
        return without_port(hops[-self._trusted_proxies].strip()[:64]) if len(hops) >= self._trusted_proxies else peer

    def answer(self, kind: Kind, code: str, request: Request, target: Target | Orphan) -> tuple[Answer, Event]:
        """The decision, with a fresh moment, counted. A conversion needs no target: the loader finds its workspace."""
        moment = self.moment()
        try:
            if kind == Kind.CLICK:
                answer, event = decide.click(request, code, target, moment, self._key, self._pages, self._country_of)
            elif kind == Kind.IMPRESSION:
                answer, event = decide.impression(request, code, target, moment)
            elif kind == Kind.HONEYPOT:
                answer, event = decide.honeypot(request, code, target, moment)
            else:
                answer, event = decide.conversion(request, code, moment, self._customer_key)
        except Exception:
            self.tally.exceptions += 1
            raise
        self.tally.requests[event.kind, event.verdict, answer.status] += 1
        return answer, event

    def answer_at_once(self, kind: Kind, code: str, request: Request) -> tuple[Answer, Event] | None:
        """The decision where nothing has to be waited for; `None` where something must be looked up first."""
        target = _NOWHERE if kind == Kind.CONVERSION else self.cache.get(code)
        if target is None or (isinstance(target, Target) and target.wants_agent):
            return None
        return self.answer(kind, code, request, target)

    async def answer_later(self, kind: Kind, code: str, request: Request) -> tuple[Answer, Event]:
        """The decision after looking up, off the event loop, what it needs."""
        try:
            target = self.cache.get(code) or await self._look_up(code)
        except DatabaseAway:
            return self.answer_unavailable(kind, code, request)
        if isinstance(target, Target) and target.wants_agent:
            await asyncio.get_running_loop().run_in_executor(None, describe, request.agent)
        return self.answer(kind, code, request, target)

    async def _look_up(self, code: str) -> Target | Orphan:
        """The link of a code, read once for all who ask meanwhile. Raises DatabaseAway, also where that takes too long.

        Nobody who waits can end the reading for the others; what comes too late for an answer is in the cache all the
        same, for the next.
        """
        reading = self._lookups.get(code)
        if reading is None:
            if len(self._lookups) >= LOOKUPS_MAX:
                raise DatabaseAway
            reading = asyncio.get_running_loop().run_in_executor(self._readers, self.look_up, code)
            self._lookups[code] = reading
            reading.add_done_callback(partial(self._looked_up, code))
        try:
            return await asyncio.wait_for(asyncio.shield(reading), LOOKUP_WITHIN_S)
        except TimeoutError:
            raise DatabaseAway from None

    def _looked_up(self, code: str, reading: asyncio.Future[Target | Orphan]) -> None:
        del self._lookups[code]
        if not reading.cancelled():
            # Asked for, for the case that nobody waits any more: asyncio would complain of an error that nobody saw.
            reading.exception()

    def answer_unavailable(self, kind: Kind, code: str, request: Request) -> tuple[Answer, Event]:
        answer, event = decide.unavailable(kind, request, code, self.moment())
        self.tally.requests[event.kind, event.verdict, answer.status] += 1
        return answer, event

    def answer_wrong_method(self, kind: Kind) -> Answer:
        """Neither GET nor HEAD: refused, and no event."""
        self.tally.requests[kind, NO_VERDICT, WRONG_METHOD.status] += 1
        return WRONG_METHOD

    def look_up(self, code: str) -> Target | Orphan:
        """What the database says, for a code that is not in the cache; off the event loop. Raises DatabaseAway."""
        self.tally.misses += 1
        try:
            return self.cache.load(code)
        except DatabaseAway:
            raise
        except Exception:
            self.tally.exceptions += 1
            raise

    def poll(self) -> None:
        """Brings up to date what the edge remembers of the database and of the disk; off the event loop."""
        self.cache.poll()
        self.spool.look_at_room()
        self._countries.refresh()

    def poll_if_due(self) -> None:
        """For servers without an event loop: whoever comes first after the interval polls."""
        if time.monotonic() - self._polled_at >= self.cache.poll_s and self._poll_lock.acquire(blocking=False):
            try:
                self.poll()
                self._polled_at = time.monotonic()
            finally:
                self._poll_lock.release()

    def carry_over(self) -> None:
        """Hands what was counted to Prometheus' counters."""
        self.meters.carry_over(self.tally, lost=self.spool.lost, entries=len(self.cache))
