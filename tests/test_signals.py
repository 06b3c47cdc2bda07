"""Reload and stop with people on the line: nobody loses an answer, no hit is lost, and a stop is soon over."""

from __future__ import annotations

import http.client
import os
import signal
import socket
from pathlib import Path

import pytest
from sqlalchemy import select

from tests import databases
from tests.serving import Server
from tests.test_serve import SPRING, eventually
from tests.visitors import visitors
from tracker import clickid
from tracker.config import Settings
from tracker.extensions import open_engine
from tracker.models import EventRow

pytestmark = pytest.mark.any_database

LINK = SPRING | {"code": "spring"}
PATHS = ("/spring", "/spring?more", "/i/spring.gif", "/healthz", "/app/login")
RELOADS = 3
LINKS = 400


def settle(server: Server) -> None:
    """Waits until everything that is in the spool is stored."""
    eventually(lambda: server.api("GET", "/campaigns/spring/stats")["lag_s"], 0, within_s=60)


def check(data_dir: Path, cids: list[str]) -> None:
    """Each answered click is stored once."""
    settings = Settings.from_env(databases.of(data_dir).environ)
    clicks = [clickid.read(cid, settings.secrets.click_keys) for cid in cids]
    answered = [(click.at_ms, click.nonce) for click in clicks if click is not None]
    engine = open_engine(settings.database_url)
    with engine.connect() as connection:
        stored = [tuple(row) for row in connection.execute(select(EventRow.at_ms, EventRow.nonce))]
    engine.dispose()
    assert len(answered) == len(cids) > 100
    assert len(stored) == len(set(stored))
    assert set(answered) - set(stored) == set()


def test_a_reload_drops_no_request_and_loses_no_hit(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        server.api("POST", "/links", LINK)
        with visitors(server.port, *PATHS) as seen:
            for _ in range(RELOADS):
                before, answers = server.workers(), seen.answers
                os.kill(server.pid, signal.SIGHUP)
                eventually(lambda before=before: (len(server.workers()), server.workers() & before), (2, set()))
                eventually(lambda answers=answers: seen.answers > answers + 100, True)
        assert (seen.refused, seen.cut) == ([], [])
        settle(server)
        assert server.request("GET", "/spring").status == 302
        assert server.loader_pid() in server.left_over()
    check(tmp_path / "data", seen.cids)


def test_a_stop_under_load_cuts_no_answer_and_loses_no_hit(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        server.api("POST", "/links", LINK)
        with visitors(server.port, *PATHS) as seen:
            eventually(lambda: seen.answers > 500, True)
            print(f"gone {server.stop():.2f} s after SIGTERM, under load")
        assert seen.cut == []
    with Server(tmp_path / "data") as again:
        settle(again)
    check(tmp_path / "data", seen.cids)


def test_a_stop_waits_for_no_idle_connection(tmp_path: Path) -> None:
    """Where it did, the arbiter would kill the workers before they have said that they go."""
    with Server(tmp_path / "data", GUNICORN_CMD_ARGS="--log-level info") as server:
        people = [http.client.HTTPConnection("127.0.0.1", server.port, timeout=20) for _ in range(8)]
        for number, person in enumerate(people):
            person.request("GET", ("/nobody", "/healthz")[number % 2])
            person.getresponse().read()
        silent = socket.create_connection(("127.0.0.1", server.port), timeout=20)
        workers = server.workers()
        print(f"gone {server.stop():.2f} s after SIGTERM, idle")
        for person in people:
            person.close()
        silent.close()
    said = (tmp_path / f"log-{server.port}").read_text()
    assert all(f"Worker exiting (pid: {pid})" in said for pid in workers), said


def test_a_stop_does_not_wait_for_a_slow_reader(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        tagged = {name: LINK[name] for name in ("campaign", "source", "medium")}
        many = [tagged | {"destination": "https://shop.example/" + "a" * 4000} for _ in range(LINKS)]
        server.api("POST", "/links/bulk", {"links": many})
        token = server.run("token", "create", "slow").strip()
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect(("127.0.0.1", server.port))
            path = f"/api/v1/links?limit={LINKS}"
            slow.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
            assert slow.recv(64).startswith(b"HTTP/1.1 200")
            print(f"gone {server.stop():.2f} s after SIGTERM, with a slow reader")
