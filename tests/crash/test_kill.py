"""Processes killed at random instants under load: each answered hit is stored once, and rollups equal raw events."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.crash.accounts import LINK, ROUNDS, check, load, settle
from tests.serving import Server, free_port


def children(pid: int) -> list[int]:
    found = subprocess.run(["ps", "--ppid", str(pid), "-o", "pid="], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]


@pytest.mark.timeout(300 + 60 * ROUNDS)
def test_killing_one_process_at_a_time_loses_and_doubles_nothing(tmp_path: Path) -> None:
    chance = random.Random()
    with Server(tmp_path / "data") as server:
        server.api("POST", "/links", LINK)
        with load(server, tmp_path / "seen"):
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
    check(tmp_path / "data", tmp_path)


@pytest.mark.timeout(300 + 60 * ROUNDS)
def test_killing_everything_loses_and_doubles_nothing(tmp_path: Path) -> None:
    chance, port = random.Random(), free_port()
    for number in range(ROUNDS):
        with Server(tmp_path / "data", port=port) as server:
            if not number:
                server.api("POST", "/links", LINK)
            with load(server, tmp_path / f"seen{number}"):
                time.sleep(1 + chance.random())
                server.kill_everything()
    with Server(tmp_path / "data", port=port) as server:
        settle(server)
    check(tmp_path / "data", tmp_path)
