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
from tests.serving import Server, free_port, parent_of


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
                    arbiter = parent_of(loader)
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


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for_end(pid: int) -> None:
    deadline = time.monotonic() + 10
    while is_alive(pid):
        assert time.monotonic() < deadline, "a process goes on without its parent"
        time.sleep(0.02)


def next_child(pid: int, known: set[int]) -> int:
    """A child that a process has made just now. Asked of the kernel, for there is no time to start a program."""
    for _ in range(20_000):
        born = set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())) - known
        if born:
            return born.pop()
        time.sleep(0.0005)
    raise AssertionError(f"process {pid} makes no child")


def test_a_loader_whose_arbiter_dies_while_it_starts_ends_too(tmp_path: Path) -> None:
    """It would go on, unknown to anybody, and load beside its successor after the server has ended."""
    with Server(tmp_path / "data") as server:
        for _ in range(3):
            loaded_so_far = server.loader_pid()
            known = set(children(server.pid))
            arbiter = parent_of(loaded_so_far)
            assert arbiter in known
            os.kill(arbiter, signal.SIGKILL)
            arbiter = next_child(server.pid, known)
            loader = next_child(arbiter, set())
            os.kill(loader, signal.SIGSTOP)
            os.kill(arbiter, signal.SIGKILL)
            wait_for_end(arbiter)
            os.kill(loader, signal.SIGCONT)
            wait_for_end(loader)
            wait_for_end(loaded_so_far)
