"""Links in great number: made by the command from a CSV file, and looked up by an edge that does not know them."""

from __future__ import annotations

import csv
import multiprocessing
import os
import random
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

from sqlalchemy import insert
from sqlalchemy.orm import Session

from bench.table import Row
from tests.serving import Server
from tracker import accounts, campaigns, codes, links, schema
from tracker.config import Settings
from tracker.edge.linkcache import ENTRIES_MAX, LinkCache
from tracker.extensions import open_engine
from tracker.links import LinkDraft
from tracker.models import Link

IMPORTED = 100_000
LOOKUPS = 5_000
CHUNK = 10_000
IMPORT_S = 20
LOOKUP_MS = 1
OVER = 1.1  # of the cache's bound: how many codes are asked for


def run(stored: int) -> list[Row]:
    """The command on a fresh installation; then look-ups among `stored` links."""
    imported = min(IMPORTED, stored)
    took = _import_s(imported)
    what = f"bulk creation of {imported:,} links from CSV"
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.from_env({"TRACKER_DATA_DIR": folder})
        made = _store(settings, stored)
        # In a process of its own: nothing but the cache grows in it.
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            seen = pool.apply(_look_up, (settings.database_url, made))
    budget = f"≤ {ENTRIES_MAX:,} remembered, ≤ {LOOKUP_MS} ms"
    measured = f"{seen.entries:,} in {seen.megabytes:.0f} MB, {seen.median_ms:.2f} ms, p99 {seen.p99_ms:.2f} ms"
    met = seen.median_ms <= LOOKUP_MS and seen.entries <= ENTRIES_MAX
    return [
        Row(what, f"≤ {IMPORT_S} s", f"{took:.1f} s", took / IMPORT_S, took <= IMPORT_S),
        Row(f"{stored:,} links: worker's memory, cold look-up", budget, measured, seen.median_ms / LOOKUP_MS, met),
    ]


def _import_s(count: int) -> float:
    """How long `tracker link import` takes, from its start to its end."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "links.csv"
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("destination", "campaign", "source", "medium", "content", "title", "tags"))
            for n in range(count):
                url = f"https://shop{n % 50}.example/products/{n}?ref=mail&x=1#top"
                writer.writerow((url, f"campaign-{n % 20}", "newsletter", "email", f"content-{n}", f"Title {n}", "a|b"))
        server = Server(Path(folder) / "data")
        started = time.perf_counter()
        said = server.run("link", "import", str(path))
        took = time.perf_counter() - started
    assert said.count("\n") == count + 1
    return took


def _store(settings: Settings, count: int) -> list[str]:
    """As many links, written straight into the table; their codes."""
    schema.upgrade(settings)
    engine = open_engine(settings.database_url)
    draft = LinkDraft(destination="https://shop.example/teapots?x=1", campaign="bench", source="s", medium="m")
    made = list({codes.generate() for _ in range(count)})
    with Session(engine) as session:
        workspace = accounts.ensure_workspace(session)
        owners = {"workspace_id": workspace.id, "campaign_id": campaigns.ensure(session, workspace, "bench").id}
        shared = links.columns_of(draft) | owners
        for start in range(0, count, CHUNK):
            rows = [shared | {"code": code} for code in made[start : start + CHUNK]]
            session.execute(insert(Link.metadata.tables["links"]), rows)
            session.commit()
    engine.dispose()
    return made


def _resident_bytes() -> int:
    """As it is, and not at its highest: what came and went before would hide what stays."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Seen(NamedTuple):
    """What one worker's cache did: look-ups with nothing in it, then what it grew by under more codes than it keeps."""

    median_ms: float
    p99_ms: float
    entries: int
    megabytes: float


def _look_up(database_url: str, made: list[str]) -> Seen:
    """A new process: its cache and SQLite's are empty, while the system still has the file in memory."""
    chance = random.Random(1)
    cache = LinkCache(open_engine(database_url), "cid")
    cache.load(made[0])
    spent = []
    for code in chance.sample(made, min(LOOKUPS, len(made) - 1)):
        started = time.perf_counter()
        cache.load(code)
        spent.append((time.perf_counter() - started) * 1000)
    cache.close()
    before = _resident_bytes()
    cache = LinkCache(open_engine(database_url), "cid")
    for code in chance.sample(made, min(len(made), int(ENTRIES_MAX * OVER))):
        cache.load(code)
    megabytes = (_resident_bytes() - before) / 1024**2
    cache.close()
    return Seen(median(spent), quantiles(spent, n=100)[98], len(cache), megabytes)
