"""Pages are fetched from public addresses only, to the end or to a limit, whatever the other side does."""

from __future__ import annotations

import gzip
import itertools
import socket
import ssl
import threading
import zlib
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from typing import Any

import pytest

from tests import peers
from tests.peers import CERTIFICATE, Peer, answer, redirect
from tracker.answers import Limits
from tracker.errors import Busy, Unfetchable
from tracker.fetching import Fetcher, Journey, read_url

pytestmark = pytest.mark.any_database

LOOPBACK = ip_network("127.0.0.1/32")
NAMES = {
    "shop.example": ["127.0.0.1"],
    "other.example": ["127.0.0.1"],
    "inside.example": ["10.0.0.5"],
    "metadata.example": ["169.254.169.254"],
    "mixed.example": ["127.0.0.1", "10.0.0.5"],
    "wrapped.example": ["::ffff:10.0.0.5"],
    "zoned.example": ["fe80::1%eth0"],
    "strange.example": ["not an address"],
    "many.example": [f"8.8.8.{n}" for n in range(30)],
}


@pytest.fixture
def shop() -> Iterator[Peer]:
    with peers.peer() as found:
        yield found


def fetcher(peer: Peer | None = None, **given: Any) -> Fetcher:
    """One that takes loopback for public, names as above, and the peer's port for one of the web's."""
    options: dict[str, Any] = {"resolve": lambda host: NAMES.get(host, []), "ports": {80, 443}}
    if peer is not None:
        options["ports"] = {80, 443, peer.port}
    return Fetcher([LOOPBACK], **options | given)


def nothing_known(url: str) -> None:
    return None


def follow(fetcher: Fetcher, url: str) -> Journey:
    return fetcher.follow(url, nothing_known)


def problem(fetcher: Fetcher, url: str) -> str:
    journey = follow(fetcher, url)
    assert journey.page is None
    assert journey.problem is not None
    return journey.problem.name


def test_a_page_comes_back_with_its_headers(shop: Peer) -> None:
    shop.pages["/a"] = answer(b"<p>Hello</p>", content_security_policy="default-src 'self'")
    journey = follow(fetcher(shop), shop.url("/a?b=c#d"))
    assert journey.problem is None
    assert journey.page is not None
    assert (journey.page.status, journey.page.body, journey.page.is_cut) == (200, b"<p>Hello</p>", False)
    assert journey.page.header("content-security-policy") == ["default-src 'self'"]
    assert [(hop.status, hop.location) for hop in journey.hops] == [(200, None)]


def test_a_request_says_who_asks_and_brings_nothing_else(shop: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    shop.pages["/a"] = answer(status="302 Found", location="/b", set_cookie="session=1; path=/")
    shop.pages["/b"] = answer(b"ok")
    assert follow(fetcher(shop), shop.url("/a")).page is not None
    for request in shop.requests:
        lines = dict(line.split(": ", 1) for line in request.strip().split("\r\n")[1:])
        assert lines["Host"] == f"shop.example:{shop.port}"
        assert lines["User-Agent"].startswith("tracker/")
        assert set(lines) == {"Host", "User-Agent", "Accept", "Accept-Encoding", "Connection"}


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("", "address_malformed"),
        ("shop.example", "address_malformed"),
        ("file:///etc/passwd", "address_malformed"),
        ("gopher://shop.example/", "address_malformed"),
        ("javascript:alert(1)", "address_malformed"),
        ("http://", "address_malformed"),
        ("http://[::1", "address_malformed"),
        ("http://1.2.3.4.5/", "address_malformed"),
        ("http://256.0.0.1/", "address_malformed"),
        ("http://shop.example:99999/", "address_malformed"),
        ("http://shop.example/" + "a" * 8192, "address_malformed"),
        ("http://user@shop.example/", "address_credentials"),
        ("http://user:password@127.0.0.1/", "address_credentials"),
        ("http://shop.example@10.0.0.1/", "address_credentials"),
        ("http://shop.example:22/", "address_port"),
        ("http://shop.example:6379/", "address_port"),
        ("https://shop.example:8443/", "address_port"),
        ("http://localhost/", "address_private"),
        ("http://LOCALHOST./", "address_private"),
        ("http://a.localhost/", "address_private"),
        ("http://10.0.0.1/", "address_private"),
        ("http://127.0.0.2/", "address_private"),
        ("http://127.2/", "address_private"),
        ("http://2130706434/", "address_private"),
        ("http://0x7f000002/", "address_private"),
        ("http://0x7f.0.0.2/", "address_private"),
        ("http://0177.0.0.2/", "address_private"),
        ("http://017700000002/", "address_private"),
        ("http://%31%32%37.0.0.2/", "address_private"),
        ("http://①②⑦.0.0.2/", "address_private"),
        ("http://127。0。0。2/", "address_private"),
        ("http://127.0.0.2./", "address_private"),
        ("http://0/", "address_private"),
        ("http://169.254.169.254/latest/meta-data/", "address_private"),
        ("http://[::1]/", "address_private"),
        ("http://[::]/", "address_private"),
        ("http://[::ffff:10.0.0.1]/", "address_private"),
        ("http://[::ffff:7f00:2]/", "address_private"),
        ("http://[fe80::1]/", "address_private"),
        ("http://[fd00:ec2::254]/", "address_private"),
        ("http://[64:ff9b::a00:1]/", "address_private"),
        ("http://[2002:a00:1::]/", "address_private"),
        ("http:\\\\10.0.0.1\\", "address_private"),
        ("http://10.0.0.1#@shop.example/", "address_private"),
        ("http://10.0.0.1?@shop.example/", "address_private"),
        ("http://inside.example/", "address_private"),
        ("http://metadata.example/", "address_private"),
        ("http://mixed.example/", "address_private"),
        ("http://wrapped.example/", "address_private"),
        ("http://zoned.example/", "address_private"),
        ("http://strange.example/", "address_private"),
        ("http://many.example/", "name_unknown"),
        ("http://nowhere.example/", "name_unknown"),
    ],
)
def test_an_address_that_must_not_be_asked_is_refused_by_name(
    url: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket.socket, "connect", lambda *args: pytest.fail("a connection was made"))
    assert problem(fetcher(), url) == name


def test_without_a_setting_loopback_is_closed_whatever_a_name_says(shop: Peer) -> None:
    closed = Fetcher(resolve=lambda host: ["127.0.0.1"], ports={shop.port})
    assert problem(closed, shop.url("/")) == "address_private"
    assert problem(closed, shop.url("/", "127.0.0.1")) == "address_private"
    assert shop.requests == []


def test_a_name_is_resolved_once_and_connected_to_there(shop: Peer) -> None:
    """A name that is harmless when it is checked and private when it is connected to gains nothing."""
    answers = iter([["127.0.0.1"], ["10.0.0.5"]])
    asked = []

    def rebinding(host: str) -> list[str]:
        asked.append(host)
        return next(answers)

    shop.pages["/"] = answer(b"ok")
    shop.pages["/again"] = redirect("/")
    assert follow(fetcher(shop, resolve=rebinding), shop.url("/")).page is not None
    assert asked == ["shop.example"]
    # The next hop resolves anew, and is judged anew.
    answers = iter([["127.0.0.1"], ["10.0.0.5"]])
    assert problem(fetcher(shop, resolve=rebinding), shop.url("/again")) == "address_private"


@pytest.mark.parametrize(
    ("location", "name"),
    [
        ("http://10.0.0.1/", "address_private"),
        ("http://inside.example/", "address_private"),
        ("//metadata.example/latest", "address_private"),
        ("http://[::ffff:169.254.169.254]/", "address_private"),
        ("http://2130706434/", "address_private"),
        ("http://user@shop.example/", "address_credentials"),
        ("http://shop.example:6379/", "address_port"),
        ("file:///etc/passwd", "address_malformed"),
        ("ftp://shop.example/", "address_malformed"),
        ("http://[", "redirect_malformed"),
    ],
)
def test_each_hop_is_held_to_the_same_rules(shop: Peer, location: str, name: str) -> None:
    shop.pages["/go"] = redirect(location)
    assert problem(fetcher(shop), shop.url("/go")) == name


def test_redirects_are_followed_as_browsers_do(shop: Peer) -> None:
    shop.pages["/a"] = redirect("b/c?d=e", "301 Moved Permanently")
    shop.pages["/b/c"] = redirect(f"//other.example:{shop.port}/ü?q", "307 Temporary Redirect")
    shop.pages["/%C3%BC"] = answer(b"there", "404 Not Found")
    journey = follow(fetcher(shop), shop.url("/a#top"))
    assert [(hop.status, hop.location) for hop in journey.hops] == [
        (301, shop.url("/b/c?d=e#top")),
        (307, f"http://other.example:{shop.port}/%C3%BC?q#top"),
        (404, None),
    ]
    assert journey.page is not None
    assert journey.page.body == b"there"


def test_redirects_without_end_come_to_one(shop: Peer) -> None:
    shop.pages["/a"] = redirect("/a")
    journey = follow(fetcher(shop), shop.url("/a"))
    assert journey.problem is not None
    assert journey.problem.name == "redirects_endless"
    assert len(shop.requests) == len(journey.hops) == 6


def test_five_redirects_are_followed(shop: Peer) -> None:
    for n in range(5):
        shop.pages[f"/{n}"] = redirect(f"/{n + 1}")
    shop.pages["/5"] = answer(b"there")
    assert follow(fetcher(shop), shop.url("/0")).page is not None


def test_a_known_redirect_is_not_asked_for(shop: Peer) -> None:
    """A short link of ours would record the checker as a bot."""
    shop.pages["/a"] = redirect("https://go.example/teapot")
    shop.pages["/shop"] = answer(b"there")
    known = {"https://go.example/teapot": shop.url("/shop")}
    journey = fetcher(shop).follow(shop.url("/a"), known.get)
    assert [(hop.url, hop.is_ours) for hop in journey.hops] == [
        (shop.url("/a"), False),
        ("https://go.example/teapot", True),
        (shop.url("/shop"), False),
    ]


def test_a_steady_drip_ends_at_the_limit_of_the_whole(shop: Peer) -> None:
    """Each byte comes in time; all of them do not."""
    ticking = itertools.count()
    over = threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n\r\n")
        while not over.is_set():
            connection.sendall(b"x")

    shop.pages["/"] = drip
    slow = fetcher(shop, clock=lambda: float(next(ticking)), limits=Limits(total_s=20, body_bytes=2**40))
    assert problem(slow, shop.url("/")) == "too_slow"
    over.set()


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 200 OK\r\n", answer(b"x", content_length="100")])
def test_silence_ends_at_the_limit(shop: Peer, begun: bytes) -> None:
    over = threading.Event()

    def silent(connection: socket.socket) -> None:
        connection.sendall(begun)
        over.wait(10)

    shop.pages["/"] = silent
    assert problem(fetcher(shop, limits=Limits(total_s=0.2)), shop.url("/")) == "too_slow"
    over.set()


def test_a_resolver_that_hangs_holds_nobody_up() -> None:
    over = threading.Event()

    def hanging(host: str) -> list[str]:
        over.wait(10)
        return ["127.0.0.1"]

    waiting = fetcher(resolve=hanging, limits=Limits(total_s=0.05))
    for _ in range(6):  # more than may hang at once
        assert problem(waiting, "http://shop.example/") == "too_slow"
    over.set()


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress], ids=["gzip", "deflate"])
def test_a_bomb_is_unpacked_to_the_limit_and_no_further(shop: Peer, pack: Callable[[bytes], bytes]) -> None:
    bomb = pack(b"\0" * 50_000_000)
    assert len(bomb) < 60_000
    coding = "gzip" if pack is gzip.compress else "deflate"
    shop.pages["/"] = answer(bomb, content_encoding=coding)
    page = follow(fetcher(shop), shop.url("/")).page
    assert page is not None
    assert (len(page.body), page.is_cut) == (Limits().body_bytes, True)


def test_a_packed_page_is_unpacked(shop: Peer) -> None:
    shop.pages["/"] = answer(gzip.compress(b"<p>Hello</p>") + b"rubbish behind it" * 1000, content_encoding="gzip")
    page = follow(fetcher(shop), shop.url("/")).page
    assert page is not None
    assert page.body == b"<p>Hello</p>"


def test_a_page_without_end_is_cut(shop: Peer) -> None:
    def endless(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            connection.sendall(b"1000\r\n" + b"x" * 4096 + b"\r\n")

    shop.pages["/"] = endless
    page = follow(fetcher(shop, limits=Limits(body_bytes=100_000)), shop.url("/")).page
    assert page is not None
    assert (len(page.body), page.is_cut) == (100_000, True)


def test_a_page_that_breaks_off_is_told_as_cut(shop: Peer) -> None:
    shop.pages["/"] = answer(b"<p>half", content_length="100")
    page = follow(fetcher(shop), shop.url("/")).page
    assert page is not None
    assert (page.body, page.is_cut) == (b"<p>half", True)


def endless_header(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nx: ")
    while True:
        connection.sendall(b"x" * 4096)


def endless_hints(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"HTTP/1.1 103 Early Hints\r\n\r\n")


@pytest.mark.parametrize(
    ("page", "name"),
    [
        (endless_header, "headers_too_large"),
        (endless_hints, "answer_malformed"),
        (b"", "answer_malformed"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "answer_malformed"),
        (b"HTTP/1.1 200 OK\r\n\0: x\r\n\r\n", "answer_malformed"),
        (answer(b"x", transfer_encoding="gzip"), "answer_malformed"),
        (answer(b"not gzip", content_encoding="gzip"), "answer_malformed"),
        (answer(b"x", content_encoding="br"), "answer_malformed"),
        (answer(b"GIF89a", content_type="image/gif"), "not_html"),
        (answer(b"{}", content_type="application/json; charset=utf-8"), "not_html"),
    ],
    ids=range(10),
)
def test_an_answer_that_is_no_page_is_named(shop: Peer, page: peers.Answer, name: str) -> None:
    shop.pages["/"] = page
    assert problem(fetcher(shop), shop.url("/")) == name


def test_nobody_listening_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert problem(fetcher(ports={port}), f"http://shop.example:{port}/") == "unreachable"


def test_a_literal_address_of_ipv6_is_connected_to_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[tuple[socket.AddressFamily, Any]] = []

    def connect(self: socket.socket, place: Any) -> None:
        tried.append((self.family, place))
        raise ConnectionRefusedError

    monkeypatch.setattr(socket.socket, "connect", connect)
    assert problem(fetcher(), "http://[2606:4700:0::1111]/") == "unreachable"
    assert read_url("http://[2606:4700:0::1111]:80/").authority == "[2606:4700::1111]"
    assert tried in ([], [(socket.AF_INET6, ("2606:4700::1111", 80))])


def test_several_checks_at_once_are_refused_and_not_queued(shop: Peer) -> None:
    arrived = threading.Semaphore(0)
    go_on = threading.Event()

    def resolve(host: str) -> list[str]:
        arrived.release()
        go_on.wait(10)
        return ["127.0.0.1"]

    shop.pages["/"] = answer(b"ok")
    busy = fetcher(shop, resolve=resolve)
    others = [threading.Thread(target=follow, args=(busy, shop.url("/"))) for _ in range(2)]
    for thread in others:
        thread.start()
        assert arrived.acquire(timeout=10)
    with pytest.raises(Busy):
        follow(busy, shop.url("/"))
    go_on.set()
    for thread in others:
        thread.join()
    assert follow(busy, shop.url("/")).page is not None


def trusting() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(CERTIFICATE))


def test_a_certificate_has_to_be_of_the_hosts_own_name() -> None:
    with peers.peer(secure=True) as shop:
        shop.pages["/"] = answer(b"secure")
        shop.pages["/away"] = redirect(shop.url("/", "other.example"))
        page = follow(fetcher(shop, trust=trusting()), shop.url("/")).page
        assert page is not None
        assert page.body == b"secure"
        assert problem(fetcher(shop, trust=trusting()), shop.url("/", "other.example")) == "certificate"
        assert problem(fetcher(shop, trust=trusting()), shop.url("/away")) == "certificate"
        assert problem(fetcher(shop, trust=trusting()), shop.url("/", "127.0.0.1")) == "certificate"


def test_a_certificate_that_nobody_vouches_for_is_refused() -> None:
    with peers.peer(secure=True) as shop:
        assert problem(fetcher(shop), shop.url("/")) == "certificate"
        assert shop.requests == []


def test_a_server_without_tls_on_an_address_of_https_is_told(shop: Peer) -> None:
    assert problem(fetcher(shop, trust=trusting()), f"https://shop.example:{shop.port}/") == "unreachable"


def test_a_refusal_has_a_name_and_a_sentence() -> None:
    with pytest.raises(Unfetchable, match="address of a page") as caught:
        read_url("shop.example")
    assert caught.value.name == "address_malformed"
