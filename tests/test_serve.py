"""The whole process tree for real: gunicorn, its workers, the loader, as `tracker serve` starts them."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import commands, databases
from tests.conftest import BROWSER
from tests.serving import Server

pytestmark = pytest.mark.any_database

SPRING = {"destination": "https://shop.example/", "campaign": "spring", "source": "news", "medium": "email"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("serve") / "data") as server:
        yield server


def eventually(look: Callable[[], Any], expected: Any, within_s: float = 20.0) -> None:
    """Looks until it sees what it expects. The limit is far above what is promised: a busy machine proves nothing."""
    deadline = time.monotonic() + within_s
    while (found := look()) != expected:
        assert time.monotonic() < deadline, f"{found} is not {expected}"
        time.sleep(0.05)


def test_it_says_where_to_go_and_makes_private_files(server: Server) -> None:
    assert re.search(rf"http://localhost:{server.port}/app/setup/[\w-]+ \(works once\)", server.said)
    assert server.request("GET", "/healthz").status == 200
    assert oct(server.data_dir.stat().st_mode)[-3:] == "700"
    private = [server.data_dir / "secrets.json", *server.data_dir.glob("tracker.sqlite3*")]
    assert {oct(file.stat().st_mode)[-3:] for file in private} == {"600"}


def test_a_click_is_reported_soon(server: Server) -> None:
    link = server.api("POST", "/links", SPRING)
    for _ in range(10):
        answer = server.request("GET", f"/{link['code']}", {"User-Agent": BROWSER})
        assert (answer.status, answer.headers["Content-Length"], answer.body) == (302, "0", b"")
    pixel = server.request("GET", f"/i/{link['code']}.gif", {"User-Agent": BROWSER})
    assert (pixel.status, len(pixel.body), pixel.headers["Content-Length"]) == (200, 43, "43")
    today = server.api("GET", "/events")["items"]
    eventually(lambda: server.hits("spring"), 11)
    assert server.today("spring")["impressions"] == 1
    assert server.today("spring")["unique_clicks"] == 1
    assert today is not None


def test_a_request_in_absolute_form_is_a_click(server: Server) -> None:
    link = server.api("POST", "/links", SPRING | {"campaign": "absolute"})
    request = f"GET http://localhost:{server.port}/{link['code']}?a=1 HTTP/1.1\r\nHost: x\r\n"
    answer = server.raw(f"{request}User-Agent: {BROWSER}\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 302 ")
    assert b"&a=1&cid=" in answer


def test_commands_know_the_servers_port(server: Server) -> None:
    environ = {name: value for name, value in server.environ.items() if name != "PORT"}
    tags = ("--campaign", "c", "--source", "s", "--medium", "m")
    made = commands.run("link", "add", "https://shop.example/", *tags, environ=environ, check=True)
    assert made.stdout.startswith(f"http://localhost:{server.port}/")


def test_head_and_long_and_odd_requests_are_answered(server: Server) -> None:
    link = server.api("POST", "/links", SPRING | {"campaign": "odd"})
    head = server.request("HEAD", f"/{link['code']}")
    assert (head.status, head.body) == (302, b"")
    long = server.request("GET", f"/{link['code']}?x=" + "a" * 20_000, {"User-Agent": BROWSER})
    assert "x=" + "a" * 20_000 in long.headers["Location"]
    raw = server.raw(f"GET /{link['code']}?q=".encode() + b"\xc3\xbc HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b"q=%C3%BC" in raw or raw.startswith(b"HTTP/1.1 400")
    assert server.request("GET", "/app/login?q=%FF").status == 200


def test_a_chunked_callback_keeps_its_body(server: Server) -> None:
    link = server.api("POST", "/links", SPRING | {"campaign": "chunks"})
    cid = server.request("GET", f"/{link['code']}", {"User-Agent": BROWSER}).headers["Location"].partition("cid=")[2]
    key = server.api("GET", "/workspace")["key"]
    body = json.dumps({"cid": cid, "order": "c-1", "value": 12.5}).encode()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request(
        "POST",
        f"/c/{key}",
        body=iter([body[:10], body[10:]]),
        headers={"Content-Type": "application/json"},
        encode_chunked=True,
    )
    answer = connection.getresponse()
    assert json.loads(answer.read())["result"] == "recorded"
    connection.close()
    eventually(lambda: server.today("chunks")["conversions"], 1)


def test_an_edit_is_in_force_in_every_worker_soon(server: Server) -> None:
    link = server.api("POST", "/links", SPRING)

    def hosts() -> set[str]:
        answers = [server.request("GET", f"/{link['code']}") for _ in range(20)]
        return {answer.headers["Location"].split("/")[2] for answer in answers}

    assert hosts() == {"shop.example"}
    server.api("PATCH", f"/links/{link['code']}", {"destination": "https://other.example/"})
    eventually(hosts, {"other.example"})


def test_a_killed_loader_comes_back_and_nothing_is_lost(server: Server) -> None:
    link = server.api("POST", "/links", SPRING | {"campaign": "killed"})
    for round_ in range(3):
        os.kill(server.loader_pid(), signal.SIGKILL)
        for _ in range(10):
            server.request("GET", f"/{link['code']}", {"User-Agent": BROWSER})
        eventually(lambda: server.hits("killed"), 10 * (round_ + 1))


def test_a_loader_ends_with_its_arbiter_and_another_takes_over(server: Server) -> None:
    link = server.api("POST", "/links", SPRING | {"campaign": "orphan"})
    loader = server.loader_pid()
    arbiter = int(Path(f"/proc/{loader}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(arbiter, signal.SIGKILL)
    eventually(lambda: Path(f"/proc/{loader}").exists(), False)
    server.request("GET", f"/{link['code']}", {"User-Agent": BROWSER})
    eventually(lambda: server.hits("orphan"), 1)


def test_a_stopped_database_leaves_redirects_alone(server: Server) -> None:
    link = server.api("POST", "/links", SPRING | {"campaign": "stopped"})
    for _ in range(20):
        server.request("GET", f"/{link['code']}", {"User-Agent": BROWSER})
    database = databases.of(server.data_dir)
    database.stop()
    try:
        answers = [server.request("GET", f"/{link['code']}", {"User-Agent": BROWSER}) for _ in range(20)]
        assert {answer.status for answer in answers} == {302}
        unknown = server.request("GET", "/unseen7")
        assert (unknown.status, unknown.headers.get("Retry-After")) in ((503, "2"), (404, None))
        assert server.request("GET", "/i/unseen7.gif").status == 200
    finally:
        database.start()
    eventually(lambda: server.hits("stopped"), 40)


def test_addresses_are_nowhere_once_events_are_loaded(server: Server) -> None:
    link = server.api("POST", "/links", SPRING | {"campaign": "private"})
    server.request("GET", f"/{link['code']}", {"User-Agent": BROWSER})
    eventually(lambda: server.hits("private"), 1)
    for file in databases.of(server.data_dir).files():
        # PostgreSQL's own settings name the address of every machine itself.
        assert file.suffix == ".conf" or b"127.0.0.1" not in file.read_bytes()


def test_it_stops_cleanly_and_starts_again_with_everything_there(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        link = server.api("POST", "/links", SPRING)
        for _ in range(50):
            server.request("GET", f"/{link['code']}", {"User-Agent": BROWSER})
        first_said = server.said
    assert server.left_over() == []
    with Server(tmp_path / "data") as again:
        assert re.findall(r"setup/[\w-]+", again.said) == re.findall(r"setup/[\w-]+", first_said)
        eventually(lambda: again.hits("spring"), 50)
        eventually(lambda: again.request("GET", "/readyz").status, 200)


def test_two_installations_on_one_machine_leave_each_other_alone(server: Server, tmp_path: Path) -> None:
    before = server.loader_pid()
    with Server(tmp_path / "data") as other:
        assert other.loader_pid() != before
        link = other.api("POST", "/links", SPRING)
        other.request("GET", f"/{link['code']}", {"User-Agent": BROWSER})
        eventually(lambda: other.hits("spring"), 1)
    assert server.loader_pid() == before


def test_a_folder_that_cannot_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    environ = os.environ | {"TRACKER_DATA_DIR": str(tmp_path / "file" / "data")}
    stopped = subprocess.run([Server.COMMAND, "serve"], env=environ, capture_output=True, text=True, timeout=60)
    assert (stopped.returncode, stopped.stderr.count("\n")) == (1, 1)
    assert "TRACKER_DATA_DIR" in stopped.stderr


def test_a_port_in_use_is_told_and_nothing_is_left_running(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        environ = os.environ | {"PORT": str(taken.getsockname()[1]), "TRACKER_DATA_DIR": str(tmp_path)}
        stopped = subprocess.run(
            [Server.COMMAND, "serve"], env=environ, capture_output=True, text=True, timeout=60, start_new_session=True
        )
    assert stopped.returncode != 0
    assert "in use" in stopped.stderr
