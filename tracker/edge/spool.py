"""The spool's writing end: an event has reached the kernel before its answer goes out.

Each process writes a segment of its own and holds an exclusive flock on it for as long as it may still append; the
kernel lets go of the lock when the process dies, however it dies. So the loader knows when a segment is complete.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import secrets
import threading
import time
from pathlib import Path

SUFFIX = ".spool"
SEGMENT_AGE_S = 600

log = logging.getLogger(__name__)


class Spool:
    """Appends lines to this process's segment. Threads and an event loop may use one together."""

    def __init__(self, folder: Path, *, durable: bool, segment_bytes: int) -> None:
        self._folder = folder
        self._durable = durable
        self._segment_bytes = segment_bytes
        self._fd = -1
        self._pid = 0
        self._size = 0
        self._opened_at = 0.0
        self._lock = threading.Lock()
        self._turn: list[bytes] = []
        self._flushed: asyncio.Future[None] | None = None
        self.lost = 0

    def append(self, line: bytes) -> bool:
        """Writes whole lines now. False when the disk refuses: the loss is counted and told, the hit is answered."""
        with self._lock:
            try:
                self._write(line)
            except OSError as error:
                self.lost += line.count(b"\n")
                log.error("spool: %d events lost so far: %s", self.lost, error)
                return False
        return True

    def append_soon(self, line: bytes) -> asyncio.Future[None]:
        """Joins this turn of the event loop: one write for all its lines, then the future is done for all of them."""
        self._turn.append(line)
        if self._flushed is None:
            loop = asyncio.get_running_loop()
            self._flushed = loop.create_future()
            loop.call_soon(self._flush)
        return self._flushed

    def _flush(self) -> None:
        lines, self._turn = self._turn, []
        flushed, self._flushed = self._flushed, None
        self.append(b"".join(lines))
        if flushed is not None:
            flushed.set_result(None)

    def _write(self, lines: bytes) -> None:
        # A fork shares the parent's file and its lock: the child lets go of its copy and starts a segment of its own.
        if self._pid != os.getpid():
            self._close()
        if self._fd < 0 or self._size >= self._segment_bytes or time.monotonic() - self._opened_at > SEGMENT_AGE_S:
            self._rotate()
        written = 0
        try:
            while written < len(lines):
                written += os.write(self._fd, lines[written:] if written else lines)
            if self._durable:
                os.fdatasync(self._fd)
        except OSError:
            # Nothing half-written stays: what could not be kept whole is lost, and the next line starts clean.
            os.ftruncate(self._fd, self._size)
            raise
        self._size += written

    def _rotate(self) -> None:
        self._close()
        self._folder.mkdir(parents=True, exist_ok=True)
        # Sorted by name is sorted by age; the random part keeps names apart across processes and machines for ever.
        path = self._folder / f"{time.time_ns() // 1_000_000:013d}-{secrets.token_hex(8)}{SUFFIX}"
        draft = path.with_suffix(".new")
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        # Locked before it has its name: the loader never sees a segment without its writer.
        fcntl.flock(fd, fcntl.LOCK_EX)
        draft.rename(path)
        if self._durable:
            self._sync_folder()
        self._fd, self._pid, self._size, self._opened_at = fd, os.getpid(), 0, time.monotonic()

    def _sync_folder(self) -> None:
        """A file's name outlasts a power cut only once its folder has been synced."""
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def close(self) -> None:
        """Writes what waits and hands the segment over."""
        if self._turn:
            self._flush()
        with self._lock:
            if self._pid == os.getpid():
                self._close()
