"""How often somebody may have something costly done: so many times a minute, over all processes of a machine."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path

WINDOW_MS = 60_000
FILE_BYTES_MAX = 1_000_000


def take(path: Path, who: int, times_max: int, now_ms: int) -> int:
    """Takes one of `times_max` turns within a minute. Returns 0, or the milliseconds until there is one again.

    The file holds when turns were taken, and by whom: of the last minute, so it stays small. A damaged one is
    begun anew.
    """
    with path.open("a+", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        turns = _recent(file.read(FILE_BYTES_MAX), now_ms)
        own = turns.setdefault(str(who), [])
        if len(own) >= times_max:
            return own[-times_max] + WINDOW_MS - now_ms
        own.append(now_ms)
        file.truncate(0)
        json.dump(turns, file)
        return 0


def _recent(text: str, now_ms: int) -> dict[str, list[int]]:
    """The turns of the last minute. One that lies ahead is of a clock that was put back, and forgotten."""
    try:
        known = json.loads(text or "{}")
        recent = {
            str(who): sorted(int(at) for at in instants if now_ms - WINDOW_MS < at <= now_ms)
            for who, instants in known.items()
        }
        return {who: instants for who, instants in recent.items() if instants}
    except (ValueError, TypeError, AttributeError):
        return {}
