"""Sales for a bench: one counted click of twenty has one, so that pages have them to add up."""

from __future__ import annotations

from sqlalchemy import Engine, text

from tracker import saleaudit
from tracker.stores import Dimension

WORDS = [dimension.word for dimension in Dimension]
MAKE = f"""
INSERT OR IGNORE INTO conversions (workspace_id, campaign_id, link_id, goal, dedup_key, click_id, click_at_ms,
    click_nonce, status, minor, currency, outside_window, click_settled, path_settled,
    converted_at_ms, matched_by, is_test, gpc, created_at,
    {", ".join(f"click_{name}" for name in WORDS)})
SELECT workspace_id, campaign_id, link_id, 'purchase', 'o:' || nonce, printf('%028d', nonce), at_ms, nonce, 'approved',
    4990, 'EUR', 0, 1, 1, at_ms + 3600000, 'click', 0, 0, '2026-01-01 00:00:00',
    {", ".join(f"(SELECT text FROM texts WHERE id = {name}_id)" for name in WORDS)}
FROM events WHERE kind = 2 AND verdict = 0 AND nonce % 20 = 0
"""


def make(engine: Engine) -> None:
    """Of all clicks that are stored and have none yet, with their sums; SQLite only."""
    with engine.begin() as connection:
        connection.execute(text(MAKE))
    for day in saleaudit.days(engine):
        saleaudit.repair(engine, day)
