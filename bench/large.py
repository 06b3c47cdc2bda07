"""The campaign page over more events than one cares to load: written by SQL, summed as `rollups repair` does it.

    python -m bench.large --events 50000000

What is measured is the page and the size on the disk; how events come in is measured elsewhere.
"""

from __future__ import annotations

import argparse
import tempfile
import time

from rich.console import Console
from rich.progress import Progress
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from bench.pipeline import DAYS, LINKS, draft, page_s, size_of
from tests.conftest import OWNER, PASSWORD
from tracker import accounts, days, links, schema
from tracker.config import Settings
from tracker.demo import BOTS, BROWSERS, DAY_MS, REFERRERS
from tracker.destinations import OwnDomain
from tracker.extensions import open_engine
from tracker.models import InternedText
from tracker.stores import open_store

AT_ONCE = 1_000_000
FEW = 100_000
# One event of ten is a click, one of twenty a bot's; a visitor is seen some ten times a day.
FILL = """
INSERT OR IGNORE INTO events (at_ms, nonce, kind, verdict, workspace_id, campaign_id, link_id, visitor, agent_id,
    referrer_id, language_id, device_id, os_id, browser_id, first_of_day)
WITH RECURSIVE number(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM number WHERE i + 1 < :count)
SELECT CAST(:first_ms + i * :step_ms AS INTEGER), abs(random()) % 1099511627776,
    CASE WHEN random() % 10 = 0 THEN 2 ELSE 1 END,
    CASE WHEN random() % 20 = 0 THEN 3 ELSE 0 END, :workspace, :campaign, :link + abs(random()) % :links,
    abs(random()) % :visitors, :text + abs(random()) % :texts, :text + abs(random()) % :texts, :text, :text + 1,
    :text + abs(random()) % 4, :text + abs(random()) % 6, 0
FROM number
"""


def fill(engine: Engine, places: dict[str, int], already: int, upto: int, progress: Progress) -> None:
    """Spreads events over the whole time once more, so that each day holds as many as any other."""
    count = upto - already
    within_ms = DAYS * DAY_MS
    first_ms = days.to_ms(days.now()) - within_ms
    task = progress.add_task("Events", total=count)
    for start in range(0, count, AT_ONCE):
        n = min(AT_ONCE, count - start)
        given = {"count": n, "first_ms": first_ms + start * within_ms // count, "step_ms": within_ms / count}
        with engine.begin() as connection:
            connection.execute(text(FILL), places | given | {"visitors": max(upto // DAYS // 10, 100)})
        progress.advance(task, n)
    store = open_store(engine)
    for day in progress.track(store.whole_days(), description="Days summed"):
        store.repair(day)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.large", description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000)
    wanted = parser.parse_args().events
    console = Console()
    with tempfile.TemporaryDirectory() as folder, Progress(console=console) as progress:
        settings = Settings.from_env({"TRACKER_DATA_DIR": folder})
        schema.upgrade(settings)
        engine = open_engine(settings.database_url)
        with Session(engine) as session:
            workspace = accounts.ensure_workspace(session)
            accounts.create_user(session, workspace, OWNER, PASSWORD)
            made = [links.create(session, workspace, draft(number), OwnDomain(())) for number in range(LINKS)]
            words = [InternedText(text=word) for word in (*BROWSERS, *BOTS, *filter(None, REFERRERS))]
            session.add_all(words)
            session.commit()
            places = {"workspace": workspace.id, "campaign": made[0].campaign_id, "link": made[0].id, "links": LINKS}
            places |= {"text": words[0].id, "texts": len(words)}
        seen = {}
        for already, upto in ((0, FEW), (FEW, wanted)):
            began = time.monotonic()
            fill(engine, places, already, upto, progress)
            seen[upto] = page_s(settings)
            took = time.monotonic() - began
            size = size_of(settings) / upto
            console.print(
                f"{upto:,} events: page {seen[upto] * 1000:.1f} ms, {size:.0f} bytes an event, made in {took:.0f} s"
            )
        console.print(
            f"{seen[wanted] / seen[FEW]:.2f} times the page of {FEW:,} events (wanted: 1.3 at most, and 60 ms)"
        )
        engine.dispose()


if __name__ == "__main__":
    main()
