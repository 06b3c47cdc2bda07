"""Fetches a page whose address a user typed, without becoming a way into the network the tracker stands in.

Each hop is taken the same way: the address is read as browsers read it, its host is resolved once, every address that
comes back has to be allowed, and the connection goes to exactly that address, so a name that resolves differently a
second time gains nothing. Nothing is sent but a GET: no cookie, no credential, and the environment's proxies are not
asked. Time, redirects, headers and the decompressed page have their limits.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from ada_url import URL

from tracker import addresses
from tracker.addresses import Address, Network
from tracker.answers import AGENT, Answer, Deadline, Limits, Page, Place, next_url, too_slow
from tracker.errors import Busy, Unfetchable

URL_MAX = 8192
PORTS = frozenset({80, 443})
Shortcut = Callable[[str], str | None]
ADDRESSES_MAX = 20  # of one name; all are looked at
ADDRESSES_TRIED_MAX = 3
AT_ONCE_MAX = 2  # checks in one process, which has ten threads for all its pages
LOOKUPS_AT_ONCE_MAX = 4
LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Hop:
    """One address on the way. `location` is where it led, as a whole URL; `is_ours`: resolved here, not fetched."""

    url: str
    status: int
    location: str | None = None
    is_ours: bool = False


@dataclass(frozen=True, slots=True)
class Journey:
    """The hops that were taken, and how it ended at `url`: with a page or with what kept us from one."""

    hops: tuple[Hop, ...]
    url: str
    page: Page | None
    problem: Unfetchable | None = None


def read_url(text: str, ports: Collection[int] = PORTS) -> Place:
    """A URL that may be asked for. Raises Unfetchable. Numbers in any spelling become addresses (WHATWG URL, 3.5)."""
    if len(text) > URL_MAX:
        raise Unfetchable("address_malformed", f"An address has at most {URL_MAX:,} characters.")
    try:
        url = URL(text)
    except ValueError:
        raise Unfetchable("address_malformed", "This is no address of a page, like https://shop.example/.") from None
    if url.protocol not in ("http:", "https:"):
        raise Unfetchable("address_malformed", "A page’s address starts with http:// or https://.")
    if url.username or url.password:
        raise Unfetchable("address_credentials", "An address with a user name or password is not fetched.")
    host = url.hostname.strip("[]").removesuffix(".")
    if host == "localhost" or host.endswith(".localhost"):
        raise Unfetchable("address_private", "That address is private: it leads to this very machine.")
    port = int(url.port) if url.port else (443 if url.protocol == "https:" else 80)
    if port not in ports:
        allowed = " and ".join(map(str, sorted(ports)))
        raise Unfetchable("address_port", f"Pages are fetched from ports {allowed} only, not from {port}.")
    target = (url.pathname + url.search).encode("ascii")
    return Place(url.href, url.protocol == "https:", host, port, target, url.host)


def lookup(host: str) -> list[str]:
    """The addresses of a name, by this machine's resolver. Raises OSError or UnicodeError."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]


class Fetcher:
    """One a process. `networks` are open besides what is public; what stands behind `*` is replaced by tests only."""

    def __init__(
        self,
        networks: Collection[Network] = (),
        *,
        resolve: Callable[[str], list[str]] = lookup,
        ports: Collection[int] = PORTS,
        trust: ssl.SSLContext | None = None,
        limits: Limits = LIMITS,
        agent: str = AGENT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._networks = networks
        self._resolve = resolve
        self._ports = ports
        self._trust = trust
        self._limits = limits
        self._agent = agent
        self._clock = clock
        self._free = threading.BoundedSemaphore(AT_ONCE_MAX)
        self._lookups = threading.BoundedSemaphore(LOOKUPS_AT_ONCE_MAX)

    def follow(self, url: str, shortcut: Shortcut) -> Journey:
        """Fetches a page, redirects and all. Raises Busy while others are fetching, and nothing else.

        Where `shortcut` knows an address's redirect, that address is not asked; it may raise Unfetchable.
        """
        with self._turn():
            hops: list[Hop] = []
            until = Deadline(self._clock, self._limits.total_s)
            try:
                while True:
                    url, page = self._hop(url, shortcut, until, hops)
                    if page is not None:
                        return Journey(tuple(hops), url, page)
                    if len(hops) > self._limits.redirects:
                        sentence = f"It redirects more than {self._limits.redirects} times."
                        raise Unfetchable("redirects_endless", sentence)
            except Unfetchable as problem:
                return Journey(tuple(hops), url, None, problem)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        # Waiting for a turn would keep a thread from showing pages.
        if not self._free.acquire(blocking=False):
            raise Busy("Other pages are being checked at this moment. Try again in a few seconds.")
        try:
            yield
        finally:
            self._free.release()

    def _hop(self, url: str, shortcut: Shortcut, until: Deadline, hops: list[Hop]) -> tuple[str, Page | None]:
        """Takes one hop, and notes it: where it leads, or the page that it is."""
        known = shortcut(url)
        if known is not None:
            hops.append(Hop(url, 302, known, is_ours=True))
            return known, None
        place = read_url(url, self._ports)
        with self._connected(place, until) as connection:
            answer = Answer(connection, until, self._limits, self._agent)
            page = answer.read(place)
        href = next_url(place.href, page)
        hops.append(Hop(place.href, page.status, href))
        if href is not None:
            return href, None
        return place.href, page

    def allowed_addresses(self, host: str, until: Deadline) -> list[Address]:
        """What a name resolves to, if all of it is allowed. Raises Unfetchable."""
        literal = addresses.read_address(host)
        texts = [host] if literal is not None else self._looked_up(host, until)
        found = [addresses.read_address(text) for text in dict.fromkeys(texts)]
        if not found or len(found) > ADDRESSES_MAX:
            raise Unfetchable("name_unknown", f"{host} has no address, or too many of them.")
        allowed = [a for a in found if a is not None and addresses.is_allowed(a, self._networks)]
        # One that is not allowed condemns all: names with both kinds are made to get by a check of the first.
        if len(allowed) < len(found):
            raise Unfetchable("address_private", f"That address is private: {host} lies in a network of its own.")
        return allowed

    def _looked_up(self, host: str, until: Deadline) -> list[str]:
        """A look-up in a thread of its own, for the system's cannot be given a limit of time."""
        if not self._lookups.acquire(blocking=False):
            raise Unfetchable("too_slow", "Names are resolved too slowly at this moment. Try again in a minute.")
        answer: SimpleQueue[list[str]] = SimpleQueue()

        def ask() -> None:
            try:
                answer.put(self._resolve(host))
            except (OSError, UnicodeError):
                answer.put([])
            finally:
                self._lookups.release()

        threading.Thread(target=ask, name="checker look-up", daemon=True).start()
        try:
            found = answer.get(timeout=until.left_s())
        except Empty:
            raise too_slow() from None
        if not found:
            raise Unfetchable("name_unknown", f"There is no host {host}, or its name does not resolve.")
        return found

    @contextmanager
    def _connected(self, place: Place, until: Deadline) -> Iterator[socket.socket]:
        connection = self._reached(place, until)
        try:
            if place.is_secure:
                connection.settimeout(until.left_s())
                connection = self._context().wrap_socket(connection, server_hostname=place.host)
            yield connection
        except ssl.SSLCertVerificationError as error:
            raise Unfetchable(
                "certificate", f"{place.host} has no valid certificate: {error.verify_message}."
            ) from None
        except TimeoutError:
            raise too_slow() from None
        except (OSError, ValueError):
            raise Unfetchable("unreachable", f"{place.host} broke the connection off.") from None
        finally:
            connection.close()

    def _reached(self, place: Place, until: Deadline) -> socket.socket:
        for address in self.allowed_addresses(place.host, until)[:ADDRESSES_TRIED_MAX]:
            family = socket.AF_INET if address.version == 4 else socket.AF_INET6
            try:
                connection = socket.socket(family, socket.SOCK_STREAM)
            except OSError:
                continue  # this machine knows no IPv6
            try:
                connection.settimeout(min(self._limits.connect_s, until.left_s()))
                connection.connect((str(address), place.port))
            except OSError:
                connection.close()
            except BaseException:
                connection.close()
                raise
            else:
                return connection
        raise Unfetchable("unreachable", f"{place.host} does not answer on port {place.port}.")

    def _context(self) -> ssl.SSLContext:
        if self._trust is None:
            self._trust = ssl.create_default_context()
            self._trust.set_alpn_protocols(["http/1.1"])
        return self._trust
