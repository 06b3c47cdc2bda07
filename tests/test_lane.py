"""The fast lane: what it takes, what it leaves to gunicorn, and that nobody can tell the two apart."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import BROWSER
from tests.serving import Server
from tests.test_core import edge
from tracker.edge.accesslog import NoLog
from tracker.edge.lane import Lane, Turn, parse
from tracker.events import Kind

pytestmark = pytest.mark.any_database

PLAIN = f"GET /abc?x=1 HTTP/1.1\r\nHost: go.example\r\nUser-Agent: {BROWSER}\r\n\r\n"


def request(line: str = "GET /abc HTTP/1.1", *headers: str) -> bytes:
    return "\r\n".join([line, "Host: go.example", *headers, "", ""]).encode("latin-1")


def test_a_plain_request_is_read_in_one_pass(tmp_path: Path) -> None:
    purposes = (
        "Sec-Purpose: prefetch;prerender",
        "X-Moz: prefetch",
        "Sec-GPC: 1",
        "Referer: https://a.example/?q=\xfc",
    )
    hot = parse(request("HEAD /abc?x=1&y HTTP/1.1", f"USER-AGENT:  {BROWSER} ", *purposes), "192.0.2.1", edge(tmp_path))
    assert hot is not None
    assert (hot.kind, hot.code, hot.closes) == (Kind.CLICK, "abc", False)
    found = hot.request
    assert (found.is_head, found.query, found.address, found.agent) == (True, "x=1&y", "192.0.2.1", BROWSER)
    assert (found.purpose, found.gpc) == ("prefetch;prerender,prefetch", True)
    assert found.referrer == "https://a.example/?q=\xfc"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        PLAIN.encode()[:-1],
        PLAIN.encode() * 2,
        PLAIN.encode() + b"x",
        request("POST /abc HTTP/1.1"),
        request("GET /abc HTTP/1.0"),
        request("GET /abc HTTP/1.1 "),
        request("GET  /abc HTTP/1.1"),
        request("GET /app/ HTTP/1.1"),
        request("GET /%61bc HTTP/1.1"),
        request("GET /abc?x=\xfc HTTP/1.1"),
        request("GET /abc#x HTTP/1.1"),
        request("GET http://go.example/abc HTTP/1.1"),
        request("GET /abc HTTP/1.1", "Content-Length: 0"),
        request("GET /abc HTTP/1.1", "Transfer-Encoding: chunked"),
        request("GET /abc HTTP/1.1", "Transfer-Encoding : chunked"),
        request("GET /abc HTTP/1.1", "Content_Length: 5"),
        request("GET /abc HTTP/1.1", " folded: yes"),
        request("GET /abc HTTP/1.1", "no colon"),
        request("GET /abc HTTP/1.1", "Expect: 100-continue"),
        request("GET /abc HTTP/1.1", "Upgrade: websocket", "Connection: upgrade"),
        request("GET /abc HTTP/1.1", "Host: two.example"),
        request("GET /abc HTTP/1.1", "X: a\nY: b"),
        request("GET /abc HTTP/1.1", "X: a\rY: b"),
        request("GET /abc HTTP/1.1", "X: a\x00b"),
        request("GET /abc HTTP/1.1", "X: a\x01b"),
        b"GET /abc HTTP/1.1\r\nUser-Agent: x\r\n\r\n",
        b"GET /abc HTTP/1.1\nHost: x\n\n",
        request("GET /abc HTTP/1.1", "X: " + "a" * 20_000),
    ],
)
def test_anything_else_is_left_to_gunicorn(tmp_path: Path, data: bytes) -> None:
    assert parse(data, "192.0.2.1", edge(tmp_path)) is None


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("lane") / "data") as server:
        for code in ("abc", "cold1", "cold2", "agent"):
            destination = "https://shop.example/{device}" if code == "agent" else "https://shop.example/"
            link = {"destination": destination, "campaign": "lane", "source": "s", "medium": "m", "code": code}
            server.api("POST", "/links", link)
        yield server


HEAD_OF_ANSWER = re.compile(rb"HTTP/1.1 (\d+) .*?\r\n\r\n", re.DOTALL)


def talk(server: Server, *packets: bytes, at_once: bool = False) -> list[str]:
    """Sends packets on one connection, each when the one before is answered, the last asking to close it.

    Answers the status of each answer, and whether gunicorn's protocol wrote it. `at_once` does not wait for answers.
    """
    received = b""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        for number, packet in enumerate(packets):
            connection.sendall(packet)
            while not at_once and number < len(packets) - 1 and len(HEAD_OF_ANSWER.findall(received)) <= number:
                received += connection.recv(65536)
        while part := connection.recv(65536):
            received += part
    heads = HEAD_OF_ANSWER.finditer(received)
    return [head[1].decode() + (" gunicorn" if b"gunicorn" in head[0] else "") for head in heads]


def agent(line: str, *headers: str) -> bytes:
    return request(line, f"User-Agent: {BROWSER}", *headers)


def test_a_plain_connection_never_reaches_gunicorns_protocol(server: Server) -> None:
    click, pixel = agent("GET /abc HTTP/1.1"), agent("GET /i/abc.gif HTTP/1.1")
    assert talk(server, click, pixel, click, agent("HEAD /abc HTTP/1.1", "Connection: close")) == [
        "302",
        "200",
        "302",
        "302",
    ]


def test_a_connection_is_handed_over_with_the_first_request_that_is_not_plain(server: Server) -> None:
    click, closing = agent("GET /abc HTTP/1.1"), agent("GET /abc HTTP/1.1", "Connection: close")
    assert talk(server, click, agent("GET /healthz HTTP/1.1"), click, closing) == [
        "302",
        "200 gunicorn",
        "302 gunicorn",
        "302 gunicorn",
    ]
    assert talk(server, click + click + closing) == ["302 gunicorn"] * 3


def test_a_request_in_pieces_is_answered_once(server: Server) -> None:
    whole = agent("GET /abc HTTP/1.1", "Connection: close")
    for cut in (1, 10, len(whole) - 3):
        assert talk(server, whole[:cut], whole[cut:], at_once=True) in (["302 gunicorn"], ["302"])


def test_answers_keep_the_order_of_requests_while_a_link_is_looked_up(server: Server) -> None:
    cold, page = agent("GET /cold1 HTTP/1.1"), agent("GET /healthz HTTP/1.1", "Connection: close")
    assert talk(server, cold, page, at_once=True) in (["302", "200 gunicorn"], ["302 gunicorn", "200 gunicorn"])
    closing = agent("GET /nobody1 HTTP/1.1", "Connection: close")
    assert talk(server, agent("GET /cold2 HTTP/1.1"), closing) == ["302", "404"]
    assert talk(server, agent("GET /agent HTTP/1.1", "Connection: close")) == ["302"]


@pytest.mark.parametrize(
    "packet",
    [
        request("GET /abc HTTP/1.1", "Content-Length: 5", "Transfer-Encoding: chunked"),
        request("GET /abc HTTP/1.1", "Content-Length: 5", "Content-Length: 6"),
        request("GET /abc HTTP/1.1", "X: a\rb"),
        request("GET /abc HTTP/1.1", "X: a\x00b"),
        request("GET /abc HTTP/1.1", "Transfer-Encoding : chunked"),
    ],
)
def test_smuggling_is_refused_on_a_connection_that_was_plain(server: Server, packet: bytes) -> None:
    assert talk(server, agent("GET /abc HTTP/1.1"), packet)[1:] in (["400 gunicorn"], ["400"])


def test_every_hit_on_either_way_is_stored_once(server: Server) -> None:
    link = {
        "destination": "https://shop.example/",
        "campaign": "either",
        "source": "s",
        "medium": "m",
        "code": "either",
    }
    server.api("POST", "/links", link)
    click, page = agent("GET /either HTTP/1.1"), agent("GET /healthz HTTP/1.1")
    closing = agent("GET /either HTTP/1.1", "Connection: close")
    answered = sum(
        status.startswith("302") for _ in range(10) for status in talk(server, click, click, page, click, closing)
    )
    assert answered == 40
    deadline = time.monotonic() + 10
    while server.hits("either") < 40 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert server.hits("either") == 40


def test_idle_connections_are_ended_by_a_stop(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        idle = [socket.create_connection(("127.0.0.1", server.port), timeout=10) for _ in range(5)]
        for connection in idle[:3]:
            connection.sendall(agent("GET /nobody HTTP/1.1"))
            assert connection.recv(65536).startswith(b"HTTP/1.1 404")
    for connection in idle:
        with connection:
            assert connection.recv(1) == b""


def test_an_answer_that_fails_ends_its_connection(tmp_path: Path) -> None:
    """Nobody waits for the look-up's task, so its failure must not leave the connection paused."""
    own = edge(tmp_path)

    def fail(_code: str) -> None:
        raise RuntimeError("not to be expected")

    class Transport:
        closed = False

        def get_extra_info(self, _name: str) -> tuple[str, int]:
            return ("192.0.2.1", 5)

        def pause_reading(self) -> None:
            pass

        def close(self) -> None:
            self.closed = True

    class Worker:
        nr = 0
        alive = True

        def open_lane(self, _lane: Lane) -> None:
            pass

    async def hit() -> tuple[Transport, Lane]:
        own.cache.load = fail  # type: ignore[method-assign, assignment]
        transport, lane = Transport(), Lane(Turn(own, NoLog()), own, Worker(), lambda: None)
        lane.connection_made(transport)  # type: ignore[arg-type]
        lane.data_received(request())
        lane.close_if_idle(time.monotonic())
        assert not transport.closed, "a connection that waits for its answer is not idle"
        await asyncio.wait_for(asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()}), 10)
        return transport, lane

    transport, _ = asyncio.run(hit())
    assert transport.closed
