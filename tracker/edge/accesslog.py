"""An access log in Apache's combined format: one line for each answered request, one write for each turn of the loop.

All workers append to one file, each line whole. A line holds no address: addresses are stored nowhere. What the log
cannot take is dropped, counted and told of once a minute; no answer waits for it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
import stat
import time
from collections.abc import Callable, Iterable
from pathlib import Path

STANDARD_OUTPUT = "-"
# A line cropped to them is no longer than what a pipe takes whole.
REQUEST_MAX = 2000
REFERRER_MAX = 1000
AGENT_MAX = 800
LINE_MAX_BYTES = 4096
WAITING_MAX_BYTES = 4 * 1024 * 1024
LOOK_S = 1.0
TELL_S = 60.0
_ESCAPES = {code: f"\\x{code:02x}" for code in range(256) if not 32 <= code < 127 or chr(code) in '"\\'}
_PLAIN = bytes(set(range(256)) - set(_ESCAPES))
# What is left of a line without its plain characters.
_FRAME = b'""""""\n'
log = logging.getLogger(__name__)
# One answered request: its first line, as it came in (Latin-1); the answer's status and the bytes of its body; the
# referrer and the agent.
Hit = tuple[str, int, int, str, str]


def escape(text: str, length_max: int) -> str:
    """A field in which nothing can end the field or its line."""
    escaped = text[:length_max].translate(_ESCAPES)
    # Cut before it is escaped: half an escape would swallow the quote behind it.
    return escaped if len(escaped) <= length_max else text[: length_max // 4].translate(_ESCAPES)


def lines(hits: list[Hit], at: str) -> bytes:
    """Their lines. They are nearly always plain, which one look at all of them together tells."""
    content = _framed(hits, at)
    is_plain = content.translate(None, _PLAIN) == _FRAME * len(hits)
    if is_plain and (len(content) <= LINE_MAX_BYTES or max(map(len, content.split(b"\n"))) < LINE_MAX_BYTES):
        return content
    return _framed([_escaped(*hit) for hit in hits], at)


def _framed(hits: list[Hit], at: str) -> bytes:
    framed = [
        f'- - - [{at}] "{request}" {status} {size or "-"} "{referrer or "-"}" "{agent or "-"}"\n'
        for request, status, size, referrer, agent in hits
    ]
    return "".join(framed).encode("latin-1")


def _escaped(request: str, status: int, size: int, referrer: str, agent: str) -> Hit:
    return escape(request, REQUEST_MAX), status, size, escape(referrer, REFERRER_MAX), escape(agent, AGENT_MAX)


class NoLog:
    """Where no access log is wanted."""

    def keep(self, hits: Iterable[Hit]) -> None:
        """Does not even look at them."""

    def close(self) -> None:
        """There is nothing to write."""


class AccessLog:
    """One per worker, for its event loop only."""

    def __init__(
        self,
        path: str,
        *,
        clock_s: Callable[[], float] = time.time,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._clock_s = clock_s
        self._monotonic_s = monotonic_s
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._at = ""
        self._at_s = 0
        self._fd = -1
        self._file = (0, 0)
        self._cut = False
        self._mixes = False
        self._looked_at = 0.0
        self._lost = 0
        self._told_at = -TELL_S

    def keep(self, hits: Iterable[Hit]) -> None:
        """Has them written once this turn of the event loop is over."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self.write)
        content = lines(list(hits), self._now())
        if self._waiting_bytes + len(content) > WAITING_MAX_BYTES:
            self._lose(content.count(b"\n"), "too many requests in one turn")
            return
        self._waiting.append(content)
        self._waiting_bytes += len(content)

    def write(self) -> None:
        """Writes what waits; what cannot be written now is lost."""
        content = b"".join(self._waiting)
        self._waiting, self._waiting_bytes = [], 0
        if not content:
            return
        try:
            self._open_if_due()
            for piece in self._pieces(content):
                self._append(piece)
        except OSError as error:
            self._lose(content.count(b"\n"), error)

    def close(self) -> None:
        self.write()
        self._close()

    def _now(self) -> str:
        now_s = int(self._clock_s())
        if now_s != self._at_s:
            self._at_s = now_s
            self._at = time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(now_s))
        return self._at

    def _open_if_due(self) -> None:
        """Opens the file, and once a second looks whether its name has come to mean another: logrotate renames it."""
        now = self._monotonic_s()
        if self._fd >= 0 and (self._path == STANDARD_OUTPUT or now - self._looked_at < LOOK_S):
            return
        self._looked_at = now
        if self._fd >= 0:
            try:
                found = Path(self._path).stat()
                if (found.st_dev, found.st_ino) == self._file:
                    return
            except FileNotFoundError:
                pass
            self._close()
        self._fd = self._open()
        found = os.fstat(self._fd)
        self._file = (found.st_dev, found.st_ino)
        # Appends to a file never mix, however long they are; writes to a pipe may, beyond this length.
        self._mixes = not stat.S_ISREG(found.st_mode)

    def _open(self) -> int:
        # Not to wait where it is a pipe that nobody reads.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK
        if self._path != STANDARD_OUTPUT:
            return os.open(self._path, flags | os.O_CREAT, 0o600)
        try:
            # Opened anew, for the flags of the old one are shared with whoever started us.
            return os.open("/dev/stdout", flags)
        except OSError:
            # A socket, as systemd's journal is, cannot be.
            return os.dup(1)

    def _pieces(self, content: bytes) -> list[bytes]:
        if not self._mixes or len(content) <= select.PIPE_BUF:
            return [content]
        pieces = [b""]
        for each in content.splitlines(keepends=True):
            if len(pieces[-1]) + len(each) > select.PIPE_BUF:
                pieces.append(b"")
            pieces[-1] += each
        return pieces

    def _append(self, content: bytes) -> None:
        if self._cut:
            content = b"\n" + content
        if self._mixes:
            poller = select.poll()
            poller.register(self._fd, select.POLLOUT)
            if not poller.poll(0):
                raise BlockingIOError("nobody reads it")
        written = os.write(self._fd, content)
        # A disk that has just filled up takes a part. The rest is lost, and the next line begins on a line of its own.
        self._cut = written < len(content) and not content[:written].endswith(b"\n")
        if written < len(content):
            raise OSError("the disk took a part")

    def _lose(self, n: int, why: object) -> None:
        self._lost += n
        now = self._monotonic_s()
        if now - self._told_at >= TELL_S:
            self._told_at = now
            log.error("access log %s: about %d lines lost so far: %s", self._path, self._lost, why)

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd, self._cut = -1, False
