"""Codes that no link has come from strangers, as many as they like: so many of a day are told apart, and no more."""

from __future__ import annotations

from tracker import codes
from tracker.days import DAY_MS
from tracker.events import Verdict
from tracker.stores import StoredEvent

# A mistyped link, an old poster, a retired campaign: a few dozen codes. A scan of random ones: without end, and each
# would be a text and a row of a sum for good.
CODES_A_DAY_MAX = 1000
# Beyond those a code is told apart when it comes again, which a random one does not.
REPEATED_A_DAY_MAX = 1000
ONCE_MAX = 50_000


class UnknownCodes:
    """The unknown codes of the newest UTC day a loader has seen; one that restarts begins anew."""

    def __init__(self) -> None:
        self._day = 0
        self._known: set[str] = set()
        self._once: set[str] = set()

    def bound(self, row: StoredEvent) -> StoredEvent:
        """The event as it is, or one of very many codes: it is counted then, and its own code is not kept."""
        if row.verdict != Verdict.UNKNOWN_CODE or row.detail is None:
            return row
        day = row.at_ms // DAY_MS
        if day > self._day:
            self._day, self._known, self._once = day, set(), set()
        if row.detail not in self._known:
            if len(self._known) >= CODES_A_DAY_MAX and not self._comes_again(row.detail):
                return row._replace(detail=codes.OTHERS)
            self._known.add(row.detail)
        return row

    def _comes_again(self, code: str) -> bool:
        if code in self._once:
            return len(self._known) < CODES_A_DAY_MAX + REPEATED_A_DAY_MAX
        if len(self._once) < ONCE_MAX:
            self._once.add(code)
        return False
