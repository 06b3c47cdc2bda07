"""The campaign page over more events than one cares to load: written by SQL, summed as `rollups repair` does it.

    python -m bench.large --events 50000000

What is measured is the page and the size on the disk; how events come in is measured elsewhere.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from bench import sales
from bench.pipeline import DAYS, LINKS, LOOKS, draft, page_s, size_of
from tests.conftest import OWNER, PASSWORD
from tracker import accounts, days, links, schema
from tracker.config import Settings
from tracker.demo import BROWSERS, DAY_MS
from tracker.destinations import OwnDomain
from tracker.extensions import open_engine
from tracker.models import InternedText
from tracker.pipeline.loader import collect_rarely
from tracker.stores import open_store

AT_ONCE = 1_000_000
FEW = 100_000
# What can be known of a hit: the values of each dimension, as many as make a table long.
WORDS = {
    "referrer": [f"site-{number}.example" for number in range(300)],
    "language": ["en", "de", "fr", "es", "it", "pl", "nl", "ja"],
    "device": ["mobile", "desktop", "tablet"],
    "os": ["iOS", "Android", "Windows", "Mac OS X", "Linux"],
    "browser": ["Chrome", "Safari", "Firefox", "Edge", "Chrome Mobile", "Mobile Safari", "Samsung Internet", "Opera"],
    "country": ["DE", "FR", "GB", "US", "IT", "ES", "PL", "NL", "AT", "CH", "BE", "SE", "JP", "BR", "IN"],
    "channel": ["search", "social", "mail", "direct", "referral", "ai", "paid"],
}
FILTERS = ("device=mobile", "country=DE", "country=DE&device=mobile", "content=variant-3")
# One event of ten is a click, one of twenty a bot's, one counted click of twenty converts; a visitor is seen some ten
# times a day.
FILL = f"""
INSERT OR IGNORE INTO events (at_ms, nonce, kind, verdict, workspace_id, campaign_id, link_id, visitor, agent_id,
    {", ".join(f"{name}_id" for name in WORDS)}, first_of_day, first_on_link)
WITH RECURSIVE number(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM number WHERE i + 1 < :count)
SELECT CAST(:first_ms + i * :step_ms AS INTEGER), abs(random()) % 1099511627776,
    CASE WHEN random() % 10 = 0 THEN 2 ELSE 1 END,
    CASE WHEN random() % 20 = 0 THEN 3 ELSE 0 END, :workspace, :campaign, :link + abs(random()) % :links,
    abs(random()) % :visitors, :agent + abs(random()) % :agents,
    {", ".join(f":{name} + abs(random()) % {len(words)}" for name, words in WORDS.items())}, 0, 0
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
    sales.make(engine)
    store = open_store(engine)
    for day in progress.track(store.whole_days(), description="Days summed"):
        store.repair(day)


def pack(engine: Engine, wanted: int, console: Console) -> None:
    """Packs all that is over as the loader's process does it, which waits for each run."""
    store, longest, began = open_store(engine), 0.0, time.process_time()
    started = time.monotonic()
    while store.pack(days.now(), 0):
        longest, started = max(longest, time.monotonic() - started), time.monotonic()
    spent = (time.process_time() - began) / wanted * 1_000_000
    console.print(
        f"packed: {spent:.1f} s of CPU a million events, {longest:.2f} s for the longest run (wanted: 2 at most)"
    )


def look_filtered(settings: Settings, how: str, console: Console, *, looks: int = LOOKS) -> None:
    for query in FILTERS:
        console.print(f"{how}, only {query}: page {page_s(settings, query, looks=looks) * 1000:.0f} ms")


def _words(session: Session, words: Sequence[str]) -> int:
    """Stores texts one after another; answers the first one's id."""
    rows = [InternedText(text=word) for word in words]
    session.add_all(rows)
    session.flush()
    return rows[0].id


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.large", description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--folder", type=Path, help="kept, to be looked at again with --look")
    parser.add_argument("--look", action="store_true", help="only look at the page over what --folder holds")
    given = parser.parse_args()
    wanted, console = given.events, Console()
    collect_rarely()  # as a server's process does
    if given.look:
        settings = Settings.from_env({"TRACKER_DATA_DIR": str(given.folder)})
        console.print(f"page {page_s(settings) * 1000:.1f} ms, {page_s(settings, is_kept=True) * 1000:.1f} ms if kept")
        look_filtered(settings, "as it is", console)
        return
    with ExitStack() as stack:
        folder = given.folder or stack.enter_context(tempfile.TemporaryDirectory())
        progress = stack.enter_context(Progress(console=console))
        settings = Settings.from_env({"TRACKER_DATA_DIR": str(folder)})
        schema.upgrade(settings)
        engine = open_engine(settings.database_url)
        with Session(engine) as session:
            workspace = accounts.ensure_workspace(session)
            accounts.create_user(session, workspace, OWNER, PASSWORD)
            made = [links.create(session, workspace, draft(number), OwnDomain(())) for number in range(LINKS)]
            places = {"workspace": workspace.id, "campaign": made[0].campaign_id, "link": made[0].id, "links": LINKS}
            places |= {"agents": len(BROWSERS), "agent": _words(session, BROWSERS)}
            places |= {name: _words(session, words) for name, words in WORDS.items()}
            session.commit()
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
        look_filtered(settings, "raw", console, looks=1)  # many seconds each
        pack(engine, wanted, console)
        look_filtered(settings, "packed", console)
        console.print(f"{size_of(settings) / wanted:.0f} bytes an event with packs (wanted: 120 at most)")
        console.print(
            f"{seen[wanted] / seen[FEW]:.2f} times the page of {FEW:,} events (wanted: 1.3 at most, and 60 ms)"
        )
        engine.dispose()


if __name__ == "__main__":
    main()
