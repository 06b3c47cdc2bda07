"""The loader's rate on one core, the size of what it stores, and the campaign page over much and over little of it."""

from __future__ import annotations

import random
import sqlite3
import tempfile
import time
from contextlib import closing
from statistics import median

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from bench import sales
from bench.table import Row
from tests.conftest import OWNER, PASSWORD
from tracker import accounts, days, links, schema
from tracker.app import create_app
from tracker.config import Settings
from tracker.demo import BOTS, BROWSERS, DAY_MS, REFERRERS
from tracker.destinations import OwnDomain
from tracker.edge.spool import Spool
from tracker.events import Event, Kind, Verdict, encode
from tracker.extensions import open_engine
from tracker.links import LinkDraft
from tracker.models import Link
from tracker.pipeline.loader import Loader, collect_rarely
from tracker.stores import open_store

LINKS = 20
DAYS = 60
LOOKS = 15
BATCH = 20_000
RATED = 100_000
# First bytes of public addresses all over the world: each hit has a country, of some fifty.
NETWORKS = (8, 24, 41, 62, 78, 80, 84, 90, 101, 133, 177, 189, 200)
RATED_MS = 30_000


def run(few: int, many: int, edge_per_core: float) -> list[Row]:
    """Loads `few` events, looks at the page, loads up to `many`, looks again."""
    collect_rarely()  # as the loader's own process does
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.from_env({"TRACKER_DATA_DIR": folder})
        schema.upgrade(settings)
        engine = open_engine(settings.database_url)
        with Session(engine) as session:
            workspace = accounts.ensure_workspace(session)
            accounts.create_user(session, workspace, OWNER, PASSWORD)
            own = OwnDomain(())
            made = [links.create(session, workspace, draft(number), own) for number in range(LINKS)]
            session.commit()
            chance = random.Random(1)
            _load(settings, engine, made, few, chance)
            sales.make(engine)
            page_few = page_s(settings)
            _load(settings, engine, made, many - few, chance)
            sales.make(engine)
            page_many, page_kept = page_s(settings), page_s(settings, is_kept=True)
            size = size_of(settings) / many
            # As it comes in under load, which is what the edge's rate is: some thousand hits a second.
            rate = _load(settings, engine, made, RATED, chance, within_ms=RATED_MS)
        engine.dispose()
    wanted = f"≤ 60 ms, ≤ 1.3 × at {few:,}"
    measured = f"{page_many * 1000:.0f} ms against {page_few * 1000:.0f} ms; {page_kept * 1000:.0f} ms where it is kept"
    growth = page_many / page_few
    loader = rate / edge_per_core
    return [
        Row(
            "loader, one core", "≥ 1.5 × the edge's rate a core", f"{rate:,.0f} events a second", loader, loader >= 1.5
        ),
        Row(f"campaign page, {many:,} events", wanted, measured, growth, page_many <= 0.060 and growth <= 1.3),
        Row("stored, rollups included", "≤ 120 bytes an event", f"{size:.0f} bytes", size / 120, size <= 120),
    ]


def size_of(settings: Settings) -> int:
    """Bytes of the database, with nothing left in its journal."""
    with closing(sqlite3.connect(settings.data_dir / "tracker.sqlite3")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return (settings.data_dir / "tracker.sqlite3").stat().st_size


def draft(number: int) -> LinkDraft:
    content = f"variant-{number}"
    return LinkDraft(destination="https://shop.example/", campaign="bench", source="s", medium="m", content=content)


def _load(
    settings: Settings,
    engine: Engine,
    made: list[Link],
    n: int,
    chance: random.Random,
    within_ms: int = DAYS * DAY_MS,
) -> float:
    """Spools events of a time that ends now, in its order, and answers how many a second of CPU the loader stored."""
    spool = Spool(settings.spool_dir, durable=False, segment_bytes=settings.spool_segment_bytes, bytes_max=1 << 40)
    now_ms = days.to_ms(days.now())
    places = [(link.id, link.code) for link in made]
    spent = 0.0
    loader = Loader(settings, engine, open_store(engine))
    for start in range(0, n, BATCH):
        count = min(BATCH, n - start)
        first = now_ms - within_ms + start * within_ms // n
        instants = sorted(first + chance.randrange(count * within_ms // n + 1) for _ in range(count))
        spool.append(b"".join(encode(_event(places, at_ms, chance)) for at_ms in instants))
        started = time.process_time()
        loader.drain()
        spent += time.process_time() - started
    spool.close()
    return n / spent


def _event(places: list[tuple[int, str]], at_ms: int, chance: random.Random) -> Event:
    link_id, code = chance.choice(places)
    return Event(
        kind=int(Kind.IMPRESSION if chance.random() < 0.9 else Kind.CLICK),
        at_ms=at_ms,
        nonce=chance.getrandbits(40),
        verdict=int(Verdict.COUNTED),
        link_id=link_id,
        code=code,
        address=f"{chance.choice(NETWORKS)}.{chance.randrange(256)}.{chance.randrange(256)}.{chance.randrange(256)}",
        agent=chance.choice(BOTS if chance.random() < 0.05 else BROWSERS),
        referrer=chance.choice(REFERRERS),
        language="en",
        gpc=False,
    )


def page_s(settings: Settings, query: str = "", *, is_kept: bool = False, looks: int = LOOKS) -> float:
    """The median time that the campaign's page takes in the server, a signed-in owner looking.

    It is put together anew each time, unless `is_kept`: then nothing was stored since somebody looked before.
    """
    app = create_app(settings)
    app.config["WTF_CSRF_ENABLED"] = False
    client = app.test_client()
    client.post("/app/login", data={"email": OWNER, "password": PASSWORD})
    spent = []
    for _ in range(looks):
        if not is_kept:
            app.extensions["tracker_kept"].clear()
        started = time.perf_counter()
        response = client.get("/app/campaigns/bench", query_string=query)
        spent.append(time.perf_counter() - started)
        assert response.status_code == 200
    return median(spent)
