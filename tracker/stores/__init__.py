"""Where events are kept. `EventStore` is all that the loader and the reports know of it."""

from __future__ import annotations

from sqlalchemy import Engine

from tracker.stores.contract import (
    ALL,
    Batch,
    Cell,
    Dimension,
    Drift,
    EventStore,
    Orphan,
    Part,
    Reason,
    Revision,
    Selected,
    Selection,
    StaleBatch,
    Step,
    StoredEvent,
)
from tracker.stores.sql import SqlStore

__all__ = [
    "ALL",
    "Batch",
    "Cell",
    "Dimension",
    "Drift",
    "EventStore",
    "Orphan",
    "Part",
    "Reason",
    "Revision",
    "Selected",
    "Selection",
    "StaleBatch",
    "Step",
    "StoredEvent",
    "open_store",
]


def open_store(engine: Engine) -> EventStore:
    """The store that lives in this database."""
    return SqlStore(engine)
