"""The fast lane: plain GET and HEAD requests for links and pixels, answered without gunicorn's request machinery.

A connection begins here. As long as each of its requests arrives whole and asks for something hot, it is parsed in one
pass, decided, spooled and answered, all requests of one turn of the event loop with one write to the spool. Whatever is
not as plain as that (a page, a body, a second request in the same packet, an odd byte) hands the connection, with that
request, to gunicorn's own protocol, which judges it by the book. So nothing is refused here, and nothing is let pass.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from email.utils import formatdate
from functools import partial
from http import HTTPStatus
from typing import Any, NamedTuple

from tracker import customers
from tracker.edge.accesslog import AccessLog, Hit, NoLog
from tracker.edge.core import Edge, match
from tracker.edge.decide import Answer, Headers, Request, opted_out
from tracker.events import Event, Kind, encode

REQUEST_MAX_BYTES = 16_384
NAMES_REMEMBERED_MAX = 1000
NAME_REMEMBERED_MAX_BYTES = 64
BLOCKS_MAX = 256
END = b"\r\n\r\n"
# Where the value of a header goes. All four purpose headers are one to us.
_HOST, _CONNECTION, _FORWARDED, _AGENT, _REFERRER, _LANGUAGE, _PURPOSE, _GPC, _COOKIE, _SLOTS = range(10)
_IGNORED, _NOT_PLAIN = -1, -2
_WANTED = {
    "host": _HOST,
    "connection": _CONNECTION,
    "x-forwarded-for": _FORWARDED,
    "user-agent": _AGENT,
    "referer": _REFERRER,
    "accept-language": _LANGUAGE,
    "sec-purpose": _PURPOSE,
    "purpose": _PURPOSE,
    "x-purpose": _PURPOSE,
    "x-moz": _PURPOSE,
    "sec-gpc": _GPC,
    "cookie": _COOKIE,
    # These make a request more than a plain one.
    "content-length": _NOT_PLAIN,
    "transfer-encoding": _NOT_PLAIN,
    "upgrade": _NOT_PLAIN,
    "expect": _NOT_PLAIN,
    "te": _NOT_PLAIN,
    "trailer": _NOT_PLAIN,
    "http2-settings": _NOT_PLAIN,
}
# No header has a control character, but for the tab and the ends of lines.
_CONTROLS = bytes(set(range(32)) - set(b"\t\r\n")) + b"\x7f"
# Later than any instant: a connection that waits for its answer is not idle.
ANSWER_PENDING = math.inf
log = logging.getLogger(__name__)
_names: dict[str, int] = {}


def _slot_of(name: str) -> int:
    """What is to be done with a header of this name as it was spelled, remembered for the next request's sake."""
    plain = name.replace("-", "a").isalnum() and name.isascii()
    slot = _WANTED.get(name.lower(), _IGNORED) if plain else _NOT_PLAIN
    if len(_names) < NAMES_REMEMBERED_MAX and len(name) <= NAME_REMEMBERED_MAX_BYTES:
        _names[name] = slot
    return slot


class Hot(NamedTuple):
    """A hot request as it came in: what is asked for, and all that is needed to answer it."""

    kind: Kind
    code: str
    request: Request
    closes: bool
    line: str


def parse(data: bytes, peer: str, edge: Edge) -> Hot | None:
    """The hot request in these bytes; `None` for anything that is not exactly one plain request for something hot."""
    if len(data) > REQUEST_MAX_BYTES or data[-4:] != END:
        return None
    lines = data[:-4].decode("latin-1").split("\r\n")
    # Each line feed and each carriage return belongs to a line's end, or somebody is up to something.
    ends = len(lines) + 1
    if data.count(b"\n") != ends or data.count(b"\r") != ends or len(data.translate(None, _CONTROLS)) != len(data):
        return None
    method, _, rest = lines[0].partition(" ")
    target, _, version = rest.partition(" ")
    path, _, query = target.partition("?")
    if version != "HTTP/1.1" or method not in ("GET", "HEAD") or path[:1] != "/" or "%" in path:
        return None
    hot = match(path)
    if hot is None or "#" in target or not target.isascii():
        return None
    values = [""] * _SLOTS
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        slot = _names.get(name)
        if slot is None:
            slot = _slot_of(name)
        if slot == _NOT_PLAIN or not colon:
            return None
        if slot >= 0:
            values[slot] = f"{values[slot]},{value.strip()}" if values[slot] else value.strip()
    host, connection, forwarded, agent, referrer, language, purpose, gpc, cookie = values
    connection = connection.lower()
    if not host or "," in host or connection not in ("", "keep-alive", "close"):
        return None
    address = edge.client_address(peer, forwarded) if forwarded else peer
    own = bool(cookie) and opted_out(cookie)
    request = Request(method == "HEAD", query, address, agent, referrer, language, purpose, gpc == "1", own)
    return Hot(*hot, request, connection == "close", lines[0])


class Turn:
    """What one turn of a worker's event loop has decided: one write to the spool, then the answers go out."""

    def __init__(self, edge: Edge, log: AccessLog | NoLog) -> None:
        self._edge = edge
        self._log = log
        self._lines: list[bytes] = []
        self._answers: list[Answered] = []
        self._date = b""
        self._date_s = 0
        self._blocks: dict[tuple[int, Headers], bytes] = {}

    def add(self, lane: Lane, hot: Hot, answer: Answer, event: Event) -> None:
        if not self._lines:
            asyncio.get_running_loop().call_soon(self._flush)
        self._lines.append(encode(event))
        self._answers.append(Answered(lane, self._wire(answer, hot, event.at_ms), hot, answer))

    def _flush(self) -> None:
        lines, self._lines = self._lines, []
        answers, self._answers = self._answers, []
        self._edge.spool.commit(b"".join(lines), partial(_send, answers, self._log))

    def _wire(self, answer: Answer, hot: Hot, at_ms: int) -> bytes:
        """The answer as HTTP/1.1. What many answers share is written out once, the date once a second."""
        if at_ms // 1000 != self._date_s:
            self._date_s = at_ms // 1000
            self._date = b"date: " + formatdate(self._date_s, usegmt=True).encode("ascii") + END
        block = self._blocks.get((answer.status, answer.constant)) or self._block(answer)
        location = b"" if answer.location is None else b"location: " + answer.location + b"\r\n"
        close = b"connection: close\r\n" if hot.closes else b""
        return b"".join((block, location, close, self._date, b"" if hot.request.is_head else answer.body))

    def _block(self, answer: Answer) -> bytes:
        status = b"HTTP/1.1 %d %b\r\n" % (answer.status, _REASONS[answer.status])
        block = status + b"".join([b"%b: %b\r\n" % header for header in answer.constant])
        if len(self._blocks) < BLOCKS_MAX:
            self._blocks[answer.status, answer.constant] = block
        return block


_REASONS = {status.value: status.phrase.encode("ascii") for status in HTTPStatus}


class Answered(NamedTuple):
    """A request with its answer, and that answer as it goes over the wire."""

    lane: Lane
    content: bytes
    hot: Hot
    answer: Answer


def _send(answers: list[Answered], to_log: AccessLog | NoLog) -> None:
    now = time.monotonic()
    for lane, content, hot, _ in answers:
        lane.send(content, hot.closes, now)
    to_log.keep(_hit(hot, answer) for _, _, hot, answer in answers)


def _hit(hot: Hot, answer: Answer) -> Hit:
    request = hot.request
    line = customers.redact(hot.line) if hot.kind == Kind.CONVERSION else hot.line
    return line, answer.status, 0 if request.is_head else len(answer.body), request.referrer, request.agent


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
        self.is_new = True

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
        if not self._worker.alive:
            hot = hot._replace(closes=True)
        self._worker.nr += 1
        self.is_new = False
        self.active_at = ANSWER_PENDING
        decided = self._edge.answer_at_once(hot.kind, hot.code, hot.request)
        if decided is None:
            self._wait_for(hot)
        else:
            self._turn.add(self, hot, *decided)

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
        try:
            decided = await self._edge.answer_later(hot.kind, hot.code, hot.request)
        except Exception:
            # Nobody awaits this task: unanswered, the connection would stay paused for good.
            log.exception("no answer for %s", hot.code)
            if self._transport is not None:
                self._transport.close()
            return
        self._busy = False
        self._turn.add(self, hot, *decided)
        if self._transport is not None:
            self._transport.resume_reading()
            held, self._held = self._held, b""
            if held:
                self.data_received(held)

    def send(self, content: bytes, closes: bool, now: float) -> None:
        if self._transport is None:
            return
        self._transport.write(content)
        self.active_at = now
        if closes or not self._worker.alive:
            self._transport.close()

    def close_if_idle(self, since: float) -> None:
        """Ends a connection on which nothing has happened since an instant of the monotonic clock."""
        if self._transport is not None and self.active_at <= since:
            self._transport.close()

    def pause_writing(self) -> None:
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._transport.resume_reading()
