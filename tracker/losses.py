"""Hits that were answered and could not be kept: how many, and when. Told by a disk that may be full.

Each writer makes its note while there is still room for one, and rewrites it in its place: that takes no new block of
the disk. A note is three numbers of 64 bits: how many hits, and the instants of the first and the last, in
milliseconds since 1970.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import struct
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

FOLDER = "lost"
KEPT_MS = 30 * 86_400_000
_NOTE = struct.Struct("<QQQ")


class Losses(NamedTuple):
    """What all notes say together. The instants are 0 where nothing is lost."""

    n: int = 0
    first_ms: int = 0
    last_ms: int = 0

    def with_more(self, other: Losses) -> Losses:
        if not (self.n and other.n):
            return self if self.n else other
        return Losses(self.n + other.n, min(self.first_ms, other.first_ms), max(self.last_ms, other.last_ms))


class Note:
    """One writer's note, locked for as long as the writer lives. Where none could be made, losses are counted only."""

    def __init__(self, spool: Path) -> None:
        self.losses = Losses()
        self._path = spool / FOLDER / secrets.token_hex(8)
        self._fd = -1
        with suppress(OSError):
            self._path.parent.mkdir(exist_ok=True)
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            os.pwrite(self._fd, _NOTE.pack(*self.losses), 0)

    def add(self, n: int, now_ms: int) -> None:
        self.losses = self.losses.with_more(Losses(n, now_ms, now_ms))
        if self._fd >= 0:
            with suppress(OSError):
                os.pwrite(self._fd, _NOTE.pack(*self.losses), 0)

    def close(self) -> None:
        """Leaves the note behind where it says anything."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            if not self.losses.n:
                self._path.unlink(missing_ok=True)


def read(spool: Path) -> Losses:
    """What has been lost on this machine, by writers that live and by those that are gone."""
    found = Losses()
    for path in _notes(spool):
        found = found.with_more(_read(path))
    return found


def tidy(spool: Path, now_ms: int) -> None:
    """Removes notes whose writer is gone and that say nothing, or nothing new."""
    for path in _notes(spool):
        if _read(path).last_ms < now_ms - KEPT_MS:
            with suppress(OSError), path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()


def _notes(spool: Path) -> list[Path]:
    try:
        return sorted((spool / FOLDER).iterdir())
    except FileNotFoundError:
        return []


def _read(path: Path) -> Losses:
    try:
        return Losses(*_NOTE.unpack(path.read_bytes()))
    except (OSError, struct.error):
        return Losses()
