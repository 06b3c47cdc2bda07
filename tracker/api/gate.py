"""What this process remembers of callers: a workspace's rules, for when the database is away, and how many came."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from tracker.callers import Rules
from tracker.errors import TooMany

WORKSPACES_MAX = 10_000
REFUSED_KEPT_PER_MIN = 60  # reports from whoever may not send any; more are answered and not kept
MINUTE_S = 60


class _Bucket:
    """Holds a minute's worth of tokens and fills up evenly."""

    def __init__(self, per_min: int, now: float) -> None:
        self._per_min = per_min
        self._tokens = float(per_min)
        self._at = now

    def take(self, per_min: int, now: float) -> float:
        """Takes a token and answers 0, or how many seconds it is until there is one."""
        if per_min != self._per_min:
            self._per_min, self._tokens = per_min, float(per_min)
        self._tokens = min(per_min, self._tokens + max(0.0, now - self._at) * per_min / MINUTE_S)
        self._at = now
        if self._tokens >= 1:
            self._tokens -= 1
            return 0
        return (1 - self._tokens) * MINUTE_S / per_min


class Gate:
    """One per process: each counts by itself, so several let in as many times more."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._rules: OrderedDict[str, Rules] = OrderedDict()
        self._admitted: OrderedDict[str, _Bucket] = OrderedDict()
        self._refused: OrderedDict[str, _Bucket] = OrderedDict()

    def learn(self, key: str, rules: Rules) -> None:
        """Remembers a workspace's rules by its key."""
        self._rules[key] = rules
        _bound(self._rules)

    def remembered(self, key: str) -> Rules | None:
        return self._rules.get(key)

    def count(self, key: str, rules: Rules) -> None:
        """Counts a caller who may report. Raises TooMany, which tells when to come again."""
        if not rules.per_min:
            return
        if wait_s := self._bucket(self._admitted, key, rules.per_min).take(rules.per_min, self._clock_s()):
            raise TooMany({"key": f"At most {rules.per_min:,} reports a minute are taken here."}, wait_s)

    def keeps_refused(self, key: str) -> bool:
        """Whether one more report from somebody who may not send any is written down."""
        bucket = self._bucket(self._refused, key, REFUSED_KEPT_PER_MIN)
        return not bucket.take(REFUSED_KEPT_PER_MIN, self._clock_s())

    def _bucket(self, buckets: OrderedDict[str, _Bucket], key: str, per_min: int) -> _Bucket:
        found = buckets.get(key)
        if found is None:
            found = buckets[key] = _Bucket(per_min, self._clock_s())
            _bound(buckets)
        return found


def _bound(remembered: OrderedDict[str, object] | OrderedDict[str, _Bucket] | OrderedDict[str, Rules]) -> None:
    while len(remembered) > WORKSPACES_MAX:
        try:
            remembered.popitem(last=False)
        except KeyError:  # another thread was faster
            return
