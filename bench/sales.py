"""Sales for a bench: one counted click of twenty has one, so that pages have them to add up."""

from __future__ import annotations

from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from tracker import credited, saleaudit
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

# Each by one click, or by two: then the other was ten minutes before, on the next link.
TOUCHES = """
INSERT OR IGNORE INTO touches (conversion_id, position, at_ms, nonce, kind, campaign_id, link_id, via)
SELECT id, 1, click_at_ms, click_nonce, 2, campaign_id, link_id, 'report' FROM conversions
UNION ALL SELECT conversions.id, 0, click_at_ms - 600000, click_nonce + 1, 2, campaign_id,
    coalesce((SELECT min(links.id) FROM links WHERE links.id > link_id), link_id), 'visitor'
FROM conversions WHERE conversions.id % 3 = 0
"""
CREDITED = """
INSERT OR IGNORE INTO credited (conversion_id, campaign_id, at_ms, minor, currency)
SELECT id, campaign_id, click_at_ms, minor, currency FROM conversions
"""


def make(engine: Engine) -> None:
    """Of all clicks that are stored and have none yet, with their paths and all sums; SQLite only."""
    with engine.begin() as connection:
        for statement in (MAKE, TOUCHES, CREDITED):
            connection.execute(text(statement))
    for day in saleaudit.days(engine):
        saleaudit.repair(engine, day)
    for day in credited.days_held(engine):
        with Session(engine) as session:
            credited.repair(session, day)
