"""Which paths are hot, whose address is believed, which ids are made."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from tracker import clickid
from tracker.edge import core
from tracker.edge.app import AsgiEdge
from tracker.edge.core import Edge, match, origin_form
from tracker.edge.decide import Orphan, Pages, Request, Target, raw_query
from tracker.edge.linkcache import DatabaseAway, LinkCache
from tracker.edge.spool import Spool
from tracker.events import Kind
from tracker.extensions import open_engine

pytestmark = pytest.mark.any_database


def edge(tmp_path: Path, proxies: int = 0) -> Edge:
    cache = LinkCache(open_engine("sqlite://"), "cid")
    spool = Spool(tmp_path, durable=False, segment_bytes=1, bytes_max=1 << 30)
    key = clickid.Key(1, b"k" * 32)
    return Edge(cache, spool, key, Pages(b"", b""), trusted_proxies=proxies, clock_ms=lambda: 5)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/abc", (Kind.CLICK, "abc")),
        ("/A-b_9", (Kind.CLICK, "A-b_9")),
        ("/" + "x" * 64, (Kind.CLICK, "x" * 64)),
        ("/" + "x" * 65, None),
        ("/i/abc.gif", (Kind.IMPRESSION, "abc")),
        ("/i/.gif", (Kind.IMPRESSION, "")),
        ("/i/a\0b.gif", (Kind.IMPRESSION, "a\N{REPLACEMENT CHARACTER}b")),
        ("/i/abc", None),
        ("/c/w_key.gif", (Kind.CONVERSION, "w_key")),
        ("/c/w_key", None),
        ("/h/abc", (Kind.HONEYPOT, "abc")),
        ("/h/a.b", None),
        ("/", None),
        ("//abc", None),
        ("/abc/", None),
        ("/app", None),
        ("/App", None),
        ("/healthz", None),
        ("/t.js", None),
        ("/favicon.ico", None),
        ("/ü", None),
        ("", None),
    ],
)
def test_a_hot_path_is_a_code_or_a_pixel(path: str, expected: tuple[Kind, str] | None) -> None:
    assert match(path) == expected


@pytest.mark.parametrize(
    ("proxies", "forwarded", "expected"),
    [
        (0, "203.0.113.9", "192.0.2.1"),
        (1, "", "192.0.2.1"),
        (1, "203.0.113.9", "203.0.113.9"),
        (1, "6.6.6.6, 203.0.113.9", "203.0.113.9"),
        (2, "6.6.6.6, 203.0.113.9, 198.51.100.1", "203.0.113.9"),
        (2, "203.0.113.9", "192.0.2.1"),
        (1, "203.0.113.9:5555", "203.0.113.9"),
        (1, "2001:db8::1", "2001:db8::1"),
        (1, "[2001:db8::1]", "2001:db8::1"),
        (1, "[2001:db8::1]:443", "2001:db8::1"),
    ],
)
def test_an_address_is_believed_as_far_as_proxies_are_trusted(
    tmp_path: Path, proxies: int, forwarded: str, expected: str
) -> None:
    assert edge(tmp_path, proxies).client_address("192.0.2.1", forwarded) == expected


def test_ids_of_one_process_never_repeat_and_a_fork_starts_elsewhere(tmp_path: Path) -> None:
    own = edge(tmp_path)
    moments = [own.moment() for _ in range(10_000)]
    assert len(set(moments)) == len(moments)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, str(own.moment().nonce).encode())
        os._exit(0)
    os.waitpid(child, 0)
    childs = int(os.read(read, 100))
    os.close(read)
    os.close(write)
    assert abs(childs - own.moment().nonce) > 1000


class SlowCache(LinkCache):
    """A cache whose database answers when it is told to."""

    def __init__(self) -> None:
        super().__init__(open_engine("sqlite://"), "cid")
        self.may_answer = threading.Event()
        self.asked: list[str] = []
        self.error: Exception | None = None

    def load(self, code: str) -> Target | Orphan:
        self.asked.append(code)
        assert self.may_answer.wait(60)
        if self.error:
            raise self.error
        self._keep(code, Orphan(None))
        return Orphan(None)


REQUEST = Request(False, "", "192.0.2.1", "Mozilla/5.0", "", "", "", False)


def slow_edge(tmp_path: Path) -> tuple[Edge, SlowCache]:
    own, cache = edge(tmp_path), SlowCache()
    own.cache = cache
    return own, cache


async def ask(own: Edge, code: str, times: int, cache: SlowCache, give_up: bool = False) -> list[int | BaseException]:
    """Statuses of as many requests for a code at once; the database answers when all of them wait."""
    tasks = [asyncio.create_task(own.answer_later(Kind.CLICK, code, REQUEST)) for _ in range(times)]
    await asyncio.sleep(0)
    if give_up:
        tasks[0].cancel()
    cache.may_answer.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    return [each if isinstance(each, BaseException) else each[0].status for each in found]


def test_requests_for_one_cold_link_share_one_look_up(tmp_path: Path) -> None:
    own, cache = slow_edge(tmp_path)
    assert asyncio.run(ask(own, "abc", 1000, cache)) == [404] * 1000
    assert cache.asked == ["abc"]
    assert own._lookups == {}


def test_a_request_that_is_given_up_ends_the_look_up_for_nobody_else(tmp_path: Path) -> None:
    own, cache = slow_edge(tmp_path)
    found = asyncio.run(ask(own, "abc", 3, cache, True))
    assert isinstance(found[0], asyncio.CancelledError)
    assert found[1:] == [404, 404]
    assert cache.asked == ["abc"]


@pytest.mark.parametrize(("error", "expected"), [(DatabaseAway(), 503), (ValueError("broken"), ValueError)])
def test_a_look_up_that_fails_fails_for_all_and_is_tried_again(
    tmp_path: Path, error: Exception, expected: int | type[Exception]
) -> None:
    own, cache = slow_edge(tmp_path)
    cache.error = error
    found = asyncio.run(ask(own, "abc", 3, cache))
    assert [each if isinstance(each, int) else type(each) for each in found] == [expected] * 3
    cache.error = None
    assert asyncio.run(ask(own, "abc", 1, cache)) == [404]
    assert cache.asked == ["abc", "abc"]
    assert own._lookups == {}


def test_with_a_database_that_hangs_nobody_waits_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, cache = slow_edge(tmp_path)

    async def hang_then_answer() -> list[int]:
        monkeypatch.setattr(core, "LOOKUP_WITHIN_S", 0)
        monkeypatch.setattr(core, "LOOKUPS_MAX", 2)
        codes = ("abc", "abc", "other", "third")
        hanging = [(await own.answer_later(Kind.CLICK, code, REQUEST))[0].status for code in codes]
        monkeypatch.undo()
        cache.may_answer.set()
        return [*hanging, *[(await own.answer_later(Kind.CLICK, code, REQUEST))[0].status for code in codes[1:3]]]

    assert asyncio.run(hang_then_answer()) == [503, 503, 503, 503, 404, 404]
    assert sorted(cache.asked) == ["abc", "other"]


def test_stray_bytes_of_a_query_are_percent_encoded() -> None:
    assert raw_query(b"a=%C3%BC&b=+") == "a=%C3%BC&b=+"
    assert raw_query("a=ü".encode()) == "a=%C3%BC"
    assert raw_query(b"\xff") == "%FF"
    assert raw_query(b"a=1#fragment") == "a=1"


def test_a_target_in_absolute_form_has_a_path_too() -> None:
    assert origin_form("http://go.example/abc") == "/abc"
    assert origin_form("http://go.example") == "/"
    assert origin_form("*") == "*"


def test_a_look_that_fails_is_not_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []

    def poll(self: Edge) -> None:
        looks.append(1)
        if len(looks) == 1:
            raise OSError("the disk")

    async def behind(*_: object) -> None:
        """Nothing is asked for."""

    async def wait() -> None:
        application = AsgiEdge(edge(tmp_path), behind)
        application.edge.cache.poll_s = 0
        application.start_polling()
        async with asyncio.timeout(10):
            while len(looks) < 2:
                await asyncio.sleep(0)

    monkeypatch.setattr(Edge, "poll", poll)
    asyncio.run(wait())
