"""Processes killed at random instants under load: each answered hit is stored once, and rollups equal raw events."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import func, select

from tests import databases
from tests.serving import Server, free_port
from tracker import clickid
from tracker.config import Settings
from tracker.extensions import open_engine
from tracker.models import EventRow, Link, Rollup, RollupDay, RollupStep

GENERATOR = Path(__file__).with_name("generator.py")
CONNECTIONS = 8
# `make crash` sets more.
ROUNDS = int(os.environ.get("TRACKER_CRASH_ROUNDS", "2"))
LINK = {"destination": "https://shop.example/", "campaign": "crash", "source": "s", "medium": "m", "code": "crash"}


@contextmanager
def load(port: int, seen: Path) -> Iterator[None]:
    command = [sys.executable, str(GENERATOR), str(port), "crash", str(seen), str(CONNECTIONS)]
    generator = subprocess.Popen(command)
    try:
        yield
    finally:
        generator.terminate()
        generator.wait()


def answered(seen: Path) -> list[str]:
    """Click ids of the answers that came in whole; the last line of a file may have been cut by the generator's end."""
    lines = [line for file in seen.parent.glob(f"{seen.name}.*") for line in file.read_text().split("\n")]
    return [line for line in lines if len(line) == clickid.LENGTH]


def settle(server: Server) -> None:
    """Waits until everything that is in the spool is stored."""
    deadline = time.monotonic() + 60
    while server.api("GET", "/campaigns/crash/stats")["lag_s"] > 0:
        assert time.monotonic() < deadline, "the loader does not catch up"
        time.sleep(0.2)


def check(data_dir: Path, cids: list[str]) -> None:
    settings = Settings.from_env(databases.of(data_dir).environ)
    clicks = [clickid.read(cid, settings.secrets.click_keys) for cid in cids]
    answered_ids = [(click.at_ms, click.nonce) for click in clicks if click is not None]
    assert len(answered_ids) == len(cids) == len(set(cids))
    engine = open_engine(settings.database_url)
    with engine.connect() as connection:
        link_id = connection.scalar(select(Link.id).where(Link.code == "crash"))
        rows = connection.execute(select(EventRow).where(EventRow.link_id == link_id)).all()
        stored = Counter((row.at_ms, row.nonce) for row in rows)
        lost = set(answered_ids) - set(stored)
        assert lost == set(), f"{len(lost)} of {len(answered_ids)} answered hits are not stored"
        assert set(stored.values()) <= {1}
        unique = sum(row.first_of_day for row in rows)
        for table in (Rollup, RollupDay):
            sums = connection.execute(
                select(func.sum(table.n), func.sum(table.unique_n)).where(table.link_id == link_id)
            )
            assert tuple(sums.one()) == (len(rows), unique)
        steps = connection.scalar(select(func.sum(RollupStep.n)))
        assert steps == sum(row.verdict == 0 for row in rows)
    engine.dispose()


def children(pid: int) -> list[int]:
    found = subprocess.run(["ps", "--ppid", str(pid), "-o", "pid="], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]


@pytest.mark.timeout(300 + 60 * ROUNDS)
def test_killing_one_process_at_a_time_loses_and_doubles_nothing(tmp_path: Path) -> None:
    chance = random.Random()
    with Server(tmp_path / "data") as server:
        server.api("POST", "/links", LINK)
        with load(server.port, tmp_path / "seen"):
            for _ in range(ROUNDS):
                for whom in ("worker", "loader", "arbiter"):
                    time.sleep(0.5 + chance.random())
                    loader = server.loader_pid()
                    arbiter = int(Path(f"/proc/{loader}/stat").read_text().rpartition(")")[2].split()[1])
                    workers = [pid for pid in children(server.pid) if pid != arbiter]
                    pid = {"worker": chance.choice(workers), "loader": loader, "arbiter": arbiter}[whom]
                    os.kill(pid, signal.SIGKILL)
            time.sleep(1.5)
        settle(server)
    cids = answered(tmp_path / "seen")
    assert len(cids) > 100
    check(tmp_path / "data", cids)


@pytest.mark.timeout(300 + 60 * ROUNDS)
def test_killing_everything_loses_and_doubles_nothing(tmp_path: Path) -> None:
    chance, port = random.Random(), free_port()
    for number in range(ROUNDS):
        with Server(tmp_path / "data", port=port) as server:
            if not number:
                server.api("POST", "/links", LINK)
            with load(port, tmp_path / f"seen{number}"):
                time.sleep(1 + chance.random())
                server.kill_everything()
    with Server(tmp_path / "data", port=port) as server:
        settle(server)
    cids = [cid for number in range(ROUNDS) for cid in answered(tmp_path / f"seen{number}")]
    assert len(cids) > 100
    check(tmp_path / "data", cids)
