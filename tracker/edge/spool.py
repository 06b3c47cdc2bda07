"""The spool's writing end: an event has reached the kernel before its answer goes out.

Each process writes a segment of its own and holds an exclusive flock on it for as long as it may still append; the
kernel lets go of the lock when the process dies, however it dies. So the loader knows when a segment is complete.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from tracker import losses

SUFFIX = ".spool"
# What is loaded goes with its segment, and with it the last copy of an address: a segment that is written to is given
# up after a minute, and one that is not within seconds.
SEGMENT_AGE_S = 60
SEGMENT_IDLE_S = 5
SEGMENT_MIN_BYTES = 65_536
SEGMENTS_IN_ROOM = 16

log = logging.getLogger(__name__)
Done = Callable[[], None]


class Spool:
    """Appends lines to this process's segment. Threads and an event loop may use one together."""

    def __init__(self, folder: Path, *, durable: bool, segment_bytes: int, bytes_max: int) -> None:
        self._folder = folder
        self._durable = durable
        self._segment_bytes = segment_bytes
        self._rotate_at = segment_bytes
        self._bytes_max = bytes_max
        self._is_full = False
        self._fd = -1
        self._pid = 0
        self._size = 0
        self._opened_at = 0.0
        self._written_at = 0.0
        self._lock = threading.Lock()
        self._note: losses.Note | None = None
        self._turn: list[bytes] = []
        self._flushed: asyncio.Future[None] | None = None
        self._unsynced: list[tuple[int, Done]] = []
        self._syncs: ThreadPoolExecutor | None = None
        self._is_syncing = False

    @property
    def lost(self) -> int:
        """How many events this process could not keep."""
        return self._note.losses.n if self._note else 0

    def append(self, lines: bytes) -> bool:
        """Writes whole lines now, and syncs them where that is asked for. False when the disk refuses: the loss is
        counted and told, the hit is answered.
        """
        with self._lock:
            return self._keep(lines, sync=self._durable)

    def commit(self, lines: bytes, done: Done) -> None:
        """Writes whole lines now, and calls `done` once they are kept as safely as is asked for. For an event loop.

        Where that means a sync, it happens on a thread, one at a time: all lines that are written while one is under
        way share the next.
        """
        with self._lock:
            kept = self._keep(lines, sync=False)
        if not kept or not self._durable:
            done()
            return
        self._unsynced.append((lines.count(b"\n"), done))
        if not self._is_syncing:
            self._sync_soon()

    def _sync_soon(self) -> None:
        waiting, self._unsynced = self._unsynced, []
        if self._syncs is None:
            self._syncs = ThreadPoolExecutor(1, thread_name_prefix="spool")
        with self._lock:
            # A copy: the segment may be closed before the thread comes to it. Closing one syncs it, too.
            fd = os.dup(self._fd) if self._fd >= 0 else -1
        self._is_syncing = True
        synced = asyncio.get_running_loop().run_in_executor(self._syncs, _sync_and_close, fd)
        synced.add_done_callback(partial(self._synced, waiting))

    def _synced(self, waiting: list[tuple[int, Done]], synced: asyncio.Future[None]) -> None:
        self._is_syncing = False
        error = synced.exception()
        if error is not None:
            self._lose(sum(n for n, _ in waiting), error)
        for _, done in waiting:
            done()
        if self._unsynced and not self._is_syncing:
            self._sync_soon()

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
        if flushed is not None:
            self.commit(b"".join(lines), partial(_finish, flushed))

    def look_at_room(self) -> None:
        """Compares the spool with its bound and the disk. To be called a few times a second, off the event loop."""
        self._give_up_if_idle()
        used = size_of(self._folder)
        self._is_full = used >= self._bytes_max
        # A segment can go only when it is complete: where room is short, what is loaded must not lie in a long one.
        room = min(self._bytes_max - used, _free_bytes(self._folder))
        self._rotate_at = min(self._segment_bytes, max(room // SEGMENTS_IN_ROOM, SEGMENT_MIN_BYTES))

    def _give_up_if_idle(self) -> None:
        with self._lock:
            since = max(self._written_at, self._opened_at)
            is_mine = self._fd >= 0 and self._pid == os.getpid()
            if is_mine and self._size and time.monotonic() - since > SEGMENT_IDLE_S:
                # Without another sync: all that was answered has had its own, and this must not wait for a disk.
                os.close(self._fd)
                self._fd = -1

    def _keep(self, lines: bytes, *, sync: bool) -> bool:
        try:
            self._write(lines, sync=sync)
        except OSError as error:
            self._lose(lines.count(b"\n"), error)
            return False
        return True

    def _lose(self, n: int, error: BaseException) -> None:
        if self._note is None:
            self._note = losses.Note(self._folder)
        self._note.add(n, time.time_ns() // 1_000_000)
        log.error("spool: %d events lost so far: %s", self.lost, error)

    def _write(self, lines: bytes, *, sync: bool) -> None:
        # A fork shares the parent's file and its lock: the child lets go of its copy and starts a segment of its own.
        if self._pid != os.getpid():
            self._close()
            self._pid, self._note = os.getpid(), None
        if self._is_full:
            self._close()
            raise OSError(errno.ENOSPC, "the spool is as large as it may become (TRACKER_SPOOL_MAX_MB)")
        if self._fd < 0 or self._size >= self._rotate_at or time.monotonic() - self._opened_at > SEGMENT_AGE_S:
            self._rotate()
        written = 0
        try:
            while written < len(lines):
                written += os.write(self._fd, lines[written:] if written else lines)
            if sync:
                os.fdatasync(self._fd)
        except OSError:
            # Nothing half-written stays: what could not be kept whole is lost. A segment that holds anything is handed
            # over, so that the loader can delete it and make room; an empty one is kept for the next try.
            os.ftruncate(self._fd, self._size)
            if self._size:
                self._close()
            raise
        self._size += written
        self._written_at = time.monotonic()

    def _rotate(self) -> None:
        self._close()
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._note is None:
            self._note = losses.Note(self._folder)
        # Sorted by name is sorted by age; the random part keeps names apart across processes and machines for ever.
        path = self._folder / f"{time.time_ns() // 1000:016d}-{secrets.token_hex(8)}{SUFFIX}"
        draft = path.with_suffix(".new")
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        # Locked before it has its name: the loader never sees a segment without its writer.
        fcntl.flock(fd, fcntl.LOCK_EX)
        draft.rename(path)
        if self._durable:
            self._sync_folder()
        self._fd, self._size, self._opened_at = fd, 0, time.monotonic()

    def _sync_folder(self) -> None:
        """A file's name outlasts a power cut only once its folder has been synced."""
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _close(self) -> None:
        if self._fd >= 0:
            if self._durable and self._pid == os.getpid():
                os.fdatasync(self._fd)
            os.close(self._fd)
            self._fd = -1

    def close(self) -> None:
        """Writes and syncs what waits, and hands the segment over."""
        if self._turn:
            self._flush()
        with self._lock:
            if self._pid == os.getpid():
                self._close()
                if self._note is not None:
                    self._note.close()
        waiting, self._unsynced = self._unsynced, []
        for _, done in waiting:
            done()
        if self._syncs is not None:
            self._syncs.shutdown()


def size_of(folder: Path) -> int:
    """Bytes in all segments of a spool."""
    try:
        with os.scandir(folder) as entries:
            return sum(entry.stat().st_size for entry in entries if entry.name.endswith(SUFFIX))
    except OSError:
        # The folder is still to be made, or a segment went while it was looked at: the next look will tell.
        return 0


def _free_bytes(folder: Path) -> int:
    try:
        found = os.statvfs(folder)
    except OSError:
        return 0
    return found.f_bavail * found.f_frsize


def _sync_and_close(fd: int) -> None:
    if fd < 0:
        return
    try:
        os.fdatasync(fd)
    finally:
        os.close(fd)


def _finish(flushed: asyncio.Future[None]) -> None:
    # Whoever waited may have been cancelled with its connection.
    if not flushed.done():
        flushed.set_result(None)
