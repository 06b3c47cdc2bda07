"""Load that writes down what it was answered, and the account afterwards: what is stored, once, and in the sums."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import func, select

from tests import databases
from tests.serving import Server
from tracker import clickid
from tracker.audit import Audit
from tracker.config import Settings
from tracker.extensions import open_engine
from tracker.models import Conversion, EventRow, LedgerEntry, Report
from tracker.stores import open_store

GENERATOR = Path(__file__).with_name("generator.py")
CONNECTIONS = 8
# `make crash` sets more.
ROUNDS = int(os.environ.get("TRACKER_CRASH_ROUNDS", "1"))
LINK = {"destination": "https://shop.example/", "campaign": "crash", "source": "s", "medium": "m", "code": "crash"}
# Between requests of a connection: some are on their way at any time, and the machine is not kept busy. Or it is.
PAUSE_S = 0.01 if ROUNDS == 1 else 0
SETTLE_WITHIN_S = 60 + 10 * ROUNDS


@contextmanager
def load(server: Server, seen: Path) -> Iterator[None]:
    key = server.api("GET", "/workspace")["key"]
    words = (GENERATOR, server.port, LINK["code"], key, seen, CONNECTIONS, PAUSE_S)
    generator = subprocess.Popen([sys.executable, *map(str, words)])
    try:
        yield
    finally:
        generator.terminate()
        generator.wait()


class Seen(NamedTuple):
    """What was answered: click ids of redirects, orders of conversion pixels, and statuses that were no redirect."""

    clicks: list[str]
    sales: list[str]
    refused: list[str]


def answered(folder: Path) -> Seen:
    """Every answer that came in whole; the last line of a file may have been cut by the generator's end."""
    seen = Seen([], [], [])
    for file in folder.glob("seen*"):
        for line in file.read_text().split("\n")[:-1]:
            word, _, rest = line.rpartition(" ")
            {"": seen.clicks, "sale": seen.sales, "refused": seen.refused}[word].append(rest)
    return seen


def settle(server: Server) -> None:
    """Waits until everything that is in the spool is stored."""
    deadline = time.monotonic() + SETTLE_WITHIN_S
    while server.api("GET", "/campaigns/crash/stats")["lag_s"] > 0:
        assert time.monotonic() < deadline, "the loader does not catch up"
        time.sleep(0.2)


def missing(data_dir: Path, seen: Seen) -> int:
    """How many of the answered hits are not stored. What is stored must be there once, and in every sum."""
    settings = Settings.from_env(databases.of(data_dir).environ)
    clicks = [clickid.read(cid, settings.secrets.click_keys) for cid in seen.clicks]
    ids = {(click.at_ms, click.nonce) for click in clicks if click is not None}
    assert len(ids) == len(seen.clicks)
    engine = open_engine(settings.database_url)
    with engine.connect() as connection:
        stored = Counter(tuple(row) for row in connection.execute(select(EventRow.at_ms, EventRow.nonce)))
        orders = Counter(connection.scalars(select(Conversion.order_id)))
        sums = connection.execute(select(func.count(), func.sum(LedgerEntry.minor))).one()
        reports = connection.scalar(select(func.count(Report.id)).where(Report.conversion_id.is_not(None)))
    assert set(stored.values()) | set(orders.values()) <= {1}
    assert tuple(sums) == (len(orders), 100 * len(orders) or None), "a sale is in the ledger once, with its value"
    assert reports == len(orders)
    audit = Audit(engine, open_store(engine))
    drifts = [drift for day in audit.days for drift in audit.drifts(day)]
    assert drifts == [], "rollups are not what the raw events and the conversions add up to"
    engine.dispose()
    return len(ids - set(stored)) + len(set(seen.sales) - set(orders))


def check(data_dir: Path, folder: Path, *, at_least: int = 100) -> None:
    """Each answered hit is stored once."""
    seen = answered(folder)
    assert len(seen.clicks) >= at_least
    assert missing(data_dir, seen) == 0, f"of {len(seen.clicks)} redirects and {len(seen.sales)} sales"
