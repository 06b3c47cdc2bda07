"""The fast lane: plain GET and HEAD requests for links and pixels, answered without gunicorn's request machinery.

A connection begins here. As long as each of its requests arrives whole and asks for something hot, it is parsed in one
pass, decided, spooled and answered, all requests of one turn of the event loop with one write to the spool. Whatever is
not as plain as that (a page, a body, a second request in the same packet, an odd byte) hands the connection, with that
request, to gunicorn's own protocol, which judges it by the book. So nothing is refused here, and nothing is let pass.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus
from typing import Any

from tracker.edge.agents import describe
from tracker.edge.core import Edge, match
from tracker.edge.decide import PIXEL, Answer, Orphan, Request, Target
from tracker.edge.linkcache import DatabaseAway
from tracker.events import Event, Kind, encode

REQUEST_MAX_BYTES = 16_384
END = b"\r\n\r\n"
# Headers that make a request more than a plain one.
_NOT_PLAIN = frozenset({"content-length", "transfer-encoding", "upgrade", "expect", "te", "trailer", "http2-settings"})
# No header has a control character, but for the tab and the ends of lines.
_CONTROLS = bytes(set(range(32)) - set(b"\t\r\n")) + b"\x7f"
_NOWHERE = Orphan(None)


class Hot:
    """A hot request as it came in: what is asked for, and all that is needed to answer it."""

    __slots__ = ("closes", "code", "kind", "request")

    def __init__(self, kind: Kind, code: str, request: Request, closes: bool) -> None:
        self.kind = kind
        self.code = code
        self.request = request
        self.closes = closes


def parse(data: bytes, peer: str, edge: Edge) -> Hot | None:
    """The hot request in these bytes; `None` for anything that is not exactly one plain request for something hot."""
    if len(data) > REQUEST_MAX_BYTES or not data.endswith(END) or not data.startswith((b"GET /", b"HEAD /")):
        return None
    lines = data[:-4].decode("latin-1").split("\r\n")
    # Each line feed and each carriage return belongs to a line's end, or somebody is up to something.
    ends = len(lines) + 1
    if data.count(b"\n") != ends or data.count(b"\r") != ends or len(data.translate(None, _CONTROLS)) != len(data):
        return None
    method, _, rest = lines[0].partition(" ")
    target, _, version = rest.partition(" ")
    if version != "HTTP/1.1" or "%" in target.partition("?")[0] or "#" in target or not target.isascii():
        return None
    path, _, query = target.partition("?")
    hot = match(path)
    if hot is None:
        return None
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not name.replace("-", "a").isalnum() or not name.isascii():
            return None
        name = name.lower()
        if name in _NOT_PLAIN or (name in headers and name == "host"):
            return None
        headers[name] = f"{headers[name]},{value.strip()}" if name in headers else value.strip()
    connection = headers.get("connection", "").lower()
    if "host" not in headers or connection not in ("", "keep-alive", "close"):
        return None
    return Hot(*hot, _request(headers, method, query, peer, edge), connection == "close")


def _request(headers: dict[str, str], method: str, query: str, peer: str, edge: Edge) -> Request:
    get = headers.get
    return Request(
        is_head=method == "HEAD",
        query=query,
        address=edge.client_address(peer, get("x-forwarded-for", "")),
        agent=get("user-agent", ""),
        referrer=get("referer", ""),
        language=get("accept-language", ""),
        purpose=" ".join(filter(None, (get("sec-purpose"), get("purpose"), get("x-purpose"), get("x-moz")))),
        gpc=get("sec-gpc") == "1",
    )


class Turn:
    """What one turn of a worker's event loop has decided: one write to the spool, then the answers go out."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self._lines: list[bytes] = []
        self._answers: list[tuple[Lane, bytes, bool]] = []
        self._date = b""
        self._date_s = 0
        self._pixel = b""

    def add(self, lane: Lane, hot: Hot, answer: Answer, event: Event) -> None:
        if not self._lines:
            asyncio.get_running_loop().call_soon(self._flush)
        self._lines.append(encode(event))
        self._answers.append((lane, self._wire(answer, hot), hot.closes))

    def _flush(self) -> None:
        lines, self._lines = self._lines, []
        answers, self._answers = self._answers, []
        self._edge.spool.append(b"".join(lines))
        for lane, content, closes in answers:
            lane.send(content, closes)

    def _wire(self, answer: Answer, hot: Hot) -> bytes:
        """The answer as HTTP/1.1. The date is made once a second, the pixel's answer with it."""
        now_s = int(time.time())
        if now_s != self._date_s:
            self._date_s = now_s
            self._date = b"date: " + formatdate(now_s, usegmt=True).encode("ascii") + END
            self._pixel = self._head(PIXEL) + self._date + PIXEL.body
        if answer is PIXEL and not hot.closes and not hot.request.is_head:
            return self._pixel
        close = b"connection: close\r\n" if hot.closes else b""
        return self._head(answer) + close + self._date + (b"" if hot.request.is_head else answer.body)

    def _head(self, answer: Answer) -> bytes:
        status = b"HTTP/1.1 %d %b\r\n" % (answer.status, _REASONS[answer.status])
        return status + b"".join([b"%b: %b\r\n" % header for header in answer.headers])


_REASONS = {status.value: status.phrase.encode("ascii") for status in HTTPStatus}


class Lane(asyncio.Protocol):
    """One connection, for as long as it is plain."""

    def __init__(self, turn: Turn, edge: Edge, worker: Any, hand_over: Callable[[], Any]) -> None:
        self._turn = turn
        self._edge = edge
        self._worker = worker
        self._hand_over = hand_over
        self._transport: Any = None
        self._peer = ""
        self._busy = False
        self._held = b""
        self.active_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        peer = transport.get_extra_info("peername")
        self._peer = peer[0] if isinstance(peer, tuple) else ""
        self._worker.open_lane(self)
        self.active_at = time.monotonic()

    def connection_lost(self, _exc: Exception | None) -> None:
        self._worker.close_lane(self)
        self._transport = None

    def data_received(self, data: bytes) -> None:
        if self._busy:
            # Reading was paused, but this was on its way: it has its turn after the answer before it.
            self._held += data
            return
        hot = parse(data, self._peer, self._edge)
        if hot is None:
            self._leave(data)
            return
        self._worker.nr += 1
        target = _NOWHERE if hot.kind == Kind.CONVERSION else self._edge.cache.get(hot.code)
        if target is None or (isinstance(target, Target) and target.wants_agent):
            self._wait_for(hot)
            return
        self._turn.add(self, hot, *self._edge.answer(hot.kind, hot.code, hot.request, target))

    def _leave(self, data: bytes) -> None:
        """The rest of this connection is gunicorn's. What is still to be answered here goes out first, in this turn."""
        transport = self._transport
        self._worker.close_lane(self)
        successor = self._hand_over()
        transport.set_protocol(successor)
        successor.connection_made(transport)
        successor.data_received(data)

    def _wait_for(self, hot: Hot) -> None:
        """The link has to be looked up, or the agent read, off the event loop; nothing more is read meanwhile."""
        self._busy = True
        self._transport.pause_reading()
        self._waiting = asyncio.get_running_loop().create_task(self._answer_later(hot))

    async def _answer_later(self, hot: Hot) -> None:
        loop, edge = asyncio.get_running_loop(), self._edge
        try:
            target = edge.cache.get(hot.code)
            if target is None:
                target = await loop.run_in_executor(None, edge.cache.load, hot.code)
            if isinstance(target, Target) and target.wants_agent:
                await loop.run_in_executor(None, describe, hot.request.agent)
            decided = edge.answer(hot.kind, hot.code, hot.request, target)
        except DatabaseAway:
            decided = edge.answer_unavailable(hot.kind, hot.code, hot.request)
        self._busy = False
        self._turn.add(self, hot, *decided)
        if self._transport is not None:
            self._transport.resume_reading()
            held, self._held = self._held, b""
            if held:
                self.data_received(held)

    def send(self, content: bytes, closes: bool) -> None:
        if self._transport is None:
            return
        self._transport.write(content)
        self.active_at = time.monotonic()
        if closes or not self._worker.alive:
            self._transport.close()

    def close_if_idle(self, since: float) -> None:
        """Ends a connection on which nothing has happened since an instant of the monotonic clock."""
        if self._transport is not None and not self._busy and self.active_at <= since:
            self._transport.close()

    def pause_writing(self) -> None:
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._transport.resume_reading()
