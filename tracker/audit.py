"""Every sum that reports read, held day by day against what it is a sum of: raw events, and conversions."""

from __future__ import annotations

from sqlalchemy import Engine

from tracker import saleaudit
from tracker.stores import Drift, EventStore


class Audit:
    """Days are of UTC, counted from 1970. Of events only those days can be judged that retention has left whole."""

    def __init__(self, engine: Engine, store: EventStore) -> None:
        self._engine = engine
        self._store = store
        self._of_events = frozenset(store.whole_days())
        self._of_sales = frozenset(saleaudit.days(engine))

    @property
    def days(self) -> list[int]:
        return sorted(self._of_events | self._of_sales)

    def drifts(self, day: int) -> list[Drift]:
        """Where sums of a day are not what they should be; empty when all is well."""
        return self._drifts_of_events(day) + self._drifts_of_sales(day)

    def repair(self, day: int) -> list[Drift]:
        """Makes the sums of a day anew where they differ, while others may go on writing; answers where that was."""
        if of_events := self._drifts_of_events(day):
            self._store.repair(day)
        if of_sales := self._drifts_of_sales(day):
            saleaudit.repair(self._engine, day)
        return of_events + of_sales

    def _drifts_of_events(self, day: int) -> list[Drift]:
        return self._store.drifts(day) if day in self._of_events else []

    def _drifts_of_sales(self, day: int) -> list[Drift]:
        return saleaudit.drifts(self._engine, day) if day in self._of_sales else []
