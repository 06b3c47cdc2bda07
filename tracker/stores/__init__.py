"""Where events are kept. `EventStore` is all that the loader and the reports know of it."""

from __future__ import annotations

from sqlalchemy import Engine

from tracker.stores.contract import EventStore
from tracker.stores.sql import SqlStore
from tracker.stores.values import (
    ALL,
    LAST_DAYS_MAX,
    SEARCHED_MAX,
    Batch,
    CampaignCost,
    CampaignStep,
    Cell,
    ClickCost,
    Dimension,
    Drift,
    EventId,
    Flow,
    Hits,
    Last,
    LinkSum,
    Orphan,
    Part,
    Reason,
    Revision,
    Search,
    Selected,
    Selection,
    StaleBatch,
    Step,
    StoredEvent,
    Wanted,
)

__all__ = [
    "ALL",
    "LAST_DAYS_MAX",
    "SEARCHED_MAX",
    "Batch",
    "CampaignCost",
    "CampaignStep",
    "Cell",
    "ClickCost",
    "Dimension",
    "Drift",
    "EventId",
    "EventStore",
    "Flow",
    "Hits",
    "Last",
    "LinkSum",
    "Orphan",
    "Part",
    "Reason",
    "Revision",
    "Search",
    "Selected",
    "Selection",
    "StaleBatch",
    "Step",
    "StoredEvent",
    "Wanted",
    "open_store",
]


def open_store(engine: Engine) -> EventStore:
    """The store that lives in this database."""
    return SqlStore(engine)
