"""What of the spool could not be stored: kept in files of its own, for as long as it may be.

A record that can be read is set aside without its visitor's address. What cannot be read may hold one: it is emptied
after a day, and its empty file goes on saying that something was lost.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from tracker.events import BadRecord, decode, encode

FOLDER = "aside"
READABLE = ".refused"
DAY_MS = 86_400_000
# No address outlives 48 hours: a day, and time enough for a machine that was off over night.
UNREADABLE_KEPT_MS = DAY_MS
READABLE_KEPT_MS = 30 * DAY_MS


def keep(spool: Path, name: str, content: bytes) -> None:
    """Keeps bytes under a name, once however often it is called."""
    (spool / FOLDER).mkdir(exist_ok=True)
    (spool / FOLDER / name).write_bytes(content)


def keep_record(spool: Path, name: str, line: bytes) -> None:
    """Keeps a whole line, without the address where it can be read."""
    try:
        keep(spool, name + READABLE, encode(decode(line)._replace(address="")))
    except BadRecord:
        keep(spool, name + ".bad", line)


def count(spool: Path) -> int:
    """How many records and torn tails could not be stored; those that were emptied since among them."""
    try:
        return len(os.listdir(spool / FOLDER))
    except FileNotFoundError:
        return 0


def tidy(spool: Path, now_ms: int) -> None:
    """Empties what has been kept for its time."""
    try:
        found = sorted((spool / FOLDER).iterdir())
    except FileNotFoundError:
        return
    for path in found:
        kept_ms = READABLE_KEPT_MS if path.suffix == READABLE else UNREADABLE_KEPT_MS
        with suppress(FileNotFoundError):  # somebody has looked at it and taken it away
            is_old = path.stat().st_mtime_ns // 1_000_000 <= now_ms - kept_ms
            if is_old and path.stat().st_size:
                os.truncate(path, 0)
