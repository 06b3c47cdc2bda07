"""What redirects feel of the pages beside them: their p99 while reports are read and all events are exported as CSV."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from urllib.parse import urlencode

from bench.table import Row
from bench.yardsticks import load
from tests.conftest import OWNER, PASSWORD
from tests.serving import Server

CONNECTIONS = (32, 4)  # as for the other rows; and few, where waiting for a page would show most
TIMES_MAX = 3
LINK = {"destination": "https://shop.example/", "campaign": "bench", "source": "s", "medium": "m", "code": "bench"}


def run(rounds: int, seconds: int) -> list[Row]:
    """Idle and busy in turns, medians of the rounds; the reports are of a month of demonstration traffic."""
    with tempfile.TemporaryDirectory() as folder, Server(Path(folder) / "data", TRACKER_WORKERS="2") as server:
        server.api("POST", "/links", LINK)
        report = "/app/campaigns/" + server.run("demo").split("/")[-1].strip()
        server.run("user", "create", OWNER, "--password-stdin", typed=PASSWORD + "\n")
        cookie = sign_in(server)
        return [_row(server, cookie, report, connections, rounds, seconds) for connections in CONNECTIONS]


def _row(server: Server, cookie: str, report: str, connections: int, rounds: int, seconds: int) -> Row:
    url = f"http://127.0.0.1:{server.port}/bench"
    idle, busy, read = [], [], []
    for _ in range(rounds):
        idle.append(load(url, connections=connections, seconds=seconds).p99_ms)
        with reader(server, cookie, report) as answered:
            busy.append(load(url, connections=connections, seconds=seconds).p99_ms)
        read.append(answered[0] / seconds)
    ratio = median(busy) / median(idle)
    what = f"redirect, p99 at {connections} connections while reports are read and exported"
    measured = f"{median(busy):.1f} against {median(idle):.1f} ms; {median(read):.1f} reports a second"
    return Row(what, f"≤ {TIMES_MAX} × idle", measured, ratio, ratio <= TIMES_MAX)


def sign_in(server: Server) -> str:
    """The cookie of the owner's session."""
    form = server.request("GET", "/app/login")
    cookie = form.headers["Set-Cookie"].partition(";")[0]
    csrf = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', form.body.decode())
    assert csrf
    body = urlencode({"email": OWNER, "password": PASSWORD, "csrf_token": csrf[1]}).encode()
    headers = {"Cookie": cookie, "Content-Type": "application/x-www-form-urlencoded"}
    answer = server.request("POST", "/app/login", headers, body)
    assert answer.status == 303, answer.body
    return str(answer.headers["Set-Cookie"]).partition(";")[0]


@contextmanager
def reader(server: Server, cookie: str, report: str) -> Iterator[list[int]]:
    """Reports read and events exported meanwhile; afterwards the list holds how many reports were answered."""
    command = [sys.executable, "-m", "bench.reader", str(server.port), cookie, report, "/app/events.csv"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    answered: list[int] = []
    try:
        yield answered
    finally:
        process.terminate()
        said, _ = process.communicate()
        answered.append(int(said))
