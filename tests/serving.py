"""A real server for tests: `tracker serve` in a process of its own, on a free port, with a folder of its own."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from tests import commands, databases

START_WITHIN_S = 40
STOP_WITHIN_S = 20


class Answer(NamedTuple):
    """One response, read whole."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


class Server:
    """Started on entering, ended by SIGTERM on leaving."""

    COMMAND = str(Path(sys.executable).with_name("tracker"))

    def __init__(
        self, data_dir: Path, *, port: int | None = None, within: tuple[str, ...] = (), **environ: str
    ) -> None:
        """`within` comes before the command: a program that runs it in surroundings of its own."""
        self._within = within
        self.data_dir = data_dir
        self.port = port or free_port()
        self.said = ""
        self.environ = os.environ | {
            "PORT": str(self.port),
            "TRACKER_WORKERS": "2",
            "TRACKER_DESTINATION_CHECKS": "0",
            **databases.of(data_dir).environ,
            **environ,
        }
        self._token = ""

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    def __enter__(self) -> Server:
        self._log = (self.data_dir.parent / f"log-{self.port}").open("w+")
        command = [*self._within, self.COMMAND, "serve"]
        self._process = subprocess.Popen(
            command, env=self.environ, stdout=self._log, stderr=self._log, start_new_session=True
        )
        deadline = time.monotonic() + START_WITHIN_S
        while True:
            assert self._process.poll() is None, self._read_log()
            assert time.monotonic() < deadline, self._read_log()
            try:
                if self.request("GET", "/healthz").status == 200:
                    break
            except OSError:
                time.sleep(0.05)
        self.said = self._read_log()
        self._token = self.run("token", "create", "tests").strip()
        return self

    @property
    def pid(self) -> int:
        return self._process.pid

    def stop(self) -> float:
        """Ends it by SIGTERM; answers how many seconds it was until the last of its processes was gone."""
        began = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(STOP_WITHIN_S)
        while self._group():
            assert time.monotonic() < began + STOP_WITHIN_S, self._group()
            time.sleep(0.01)
        return time.monotonic() - began

    def workers(self) -> set[int]:
        """The edge's processes."""
        loader = self.loader_pid()
        try:
            arbiter = parent_of(loader)
        except (FileNotFoundError, ProcessLookupError):  # a reload has just replaced it
            return self.workers()
        return set(self._group()) - {self.pid, loader, arbiter}

    def kill_everything(self) -> None:
        """The arbiter and all that it started, at once, without a word."""
        for pid in self._group():
            os.kill(pid, signal.SIGKILL)
        self._process.wait()
        while self._group():
            time.sleep(0.01)

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_WITHIN_S)
        finally:
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
            self._log.close()

    def _read_log(self) -> str:
        return Path(self._log.name).read_text()

    def run(self, *arguments: str, typed: str = "") -> str:
        found = commands.run(*arguments, environ=self.environ, typed=typed)
        assert found.returncode == 0, found.stderr
        return found.stdout

    def request(
        self, method: str, path: str, headers: dict[str, str] | None = None, body: bytes | None = None
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def raw(self, content: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            connection.sendall(content)
            received = b""
            while part := connection.recv(65536):
                received += part
            return received

    def api(self, method: str, path: str, content: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        body = None if content is None else json.dumps(content).encode()
        answer = self.request(method, f"/api/v1{path}", headers, body)
        assert answer.status < 300, answer.body
        return json.loads(answer.body)

    def today(self, slug: str) -> Any:
        """The totals of a campaign, today in UTC."""
        day = datetime.now(UTC).date()
        return self.api("GET", f"/campaigns/{slug}/stats?from={day}&to={day}")["totals"]

    def hits(self, slug: str) -> int:
        """Impressions and clicks of a campaign today, whatever their verdict: a test asks more often than people do."""
        today = self.today(slug)
        return int(today["impressions"] + today["clicks"] + sum(today["filtered"].values()))

    def _group(self) -> list[int]:
        """Living processes of the server's session."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue
                if int(fields[3]) == self._process.pid and fields[0] != "Z":
                    found.append(int(entry.name))
        return found

    def left_over(self) -> list[int]:
        return self._group()

    def loader_pid(self) -> int:
        """The process that holds the spool's loader lock."""
        lock = self.data_dir / "spool" / "loader.lock"
        for _ in range(200):
            inode = lock.stat().st_ino
            for line in Path("/proc/locks").read_text().splitlines():
                fields = line.split()
                if "->" not in fields and fields[5].endswith(f":{inode}") and fields[1] == "FLOCK":
                    return int(fields[4])
            time.sleep(0.05)
        raise AssertionError("no loader holds the lock")
