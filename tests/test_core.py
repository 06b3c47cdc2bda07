"""Which paths are hot, whose address is believed, which ids are made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tracker import clickid
from tracker.edge.core import Edge, match, origin_form
from tracker.edge.decide import Pages, raw_query
from tracker.edge.linkcache import LinkCache
from tracker.edge.spool import Spool
from tracker.events import Kind
from tracker.extensions import open_engine


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


def test_stray_bytes_of_a_query_are_percent_encoded() -> None:
    assert raw_query(b"a=%C3%BC&b=+") == "a=%C3%BC&b=+"
    assert raw_query("a=ü".encode()) == "a=%C3%BC"
    assert raw_query(b"\xff") == "%FF"
    assert raw_query(b"a=1#fragment") == "a=1"


def test_a_target_in_absolute_form_has_a_path_too() -> None:
    assert origin_form("http://go.example/abc") == "/abc"
    assert origin_form("http://go.example") == "/"
    assert origin_form("*") == "*"
