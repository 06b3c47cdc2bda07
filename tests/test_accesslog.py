"""The access log: one whole line for each answered request, whoever answers it, and no answer that suffers from it."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import BROWSER
from tests.serving import Server
from tests.test_core import edge
from tests.test_serve import SPRING, eventually
from tracker.edge import accesslog
from tracker.edge.accesslog import AccessLog, Hit, NoLog, escape, lines
from tracker.edge.app import LoggedEdge

pytestmark = pytest.mark.any_database

LINE = re.compile(
    r'- - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000\] "([A-Z]+ [!#-~]+ HTTP/1\.\d)" (\d{3}) (\d+|-) '
    r'"([^"]*)" "([^"]*)"'
)
HIT: Hit = ("GET /abc HTTP/1.1", 302, 0, "", BROWSER)
AT = "22/Nov/2026:09:30:05 +0000"
CLICKS, PIXELS, PAGES, AT_ONCE = 200, 100, 40, 8


def test_a_line_is_in_the_combined_format_without_an_address() -> None:
    page = ("GET /app/ HTTP/1.1", 200, 512, "https://a.example/", "")
    assert lines([HIT, page], AT).decode().splitlines() == [
        f'- - - [{AT}] "GET /abc HTTP/1.1" 302 - "-" "{BROWSER}"',
        f'- - - [{AT}] "GET /app/ HTTP/1.1" 200 512 "https://a.example/" "-"',
    ]


def test_no_field_can_end_its_line_or_be_too_long() -> None:
    forged = 'GET /a"b\\c\r\n- - - x\x00\x7f\xfc HTTP/1.1'
    assert escape(forged, 100) == r"GET /a\x22b\x5cc\x0d\x0a- - - x\x00\x7f\xfc HTTP/1.1"
    assert escape("a" * 11, 10) == "a" * 10
    assert escape("\\" * 11, 10) == r"\x5c\x5c"


@pytest.mark.parametrize("stuff", ['"', "\\", "\n", "\r", "\x00", "\x7f", "\x85", "\xff", "a", '"\n"'])
@pytest.mark.parametrize("n", [1, 5000])
def test_a_line_stays_one_line_of_three_fields_whatever_is_in_it(stuff: str, n: int) -> None:
    for number in range(3):
        fields = [stuff * n if number == each else "x" for each in range(3)]
        found = lines([HIT, (fields[0], 200, 2**40, *fields[1:]), HIT], AT).split(b"\n")  # type: ignore[list-item]
        assert found[0] == found[2] == lines([HIT], AT).rstrip()
        assert (len(found), found[1].count(b'"'), found[3]) == (4, 6, b"")
        assert len(found[1]) < accesslog.LINE_MAX_BYTES
        assert found[1].isascii()
        assert found[1].decode().isprintable()


class Clock:
    """Seconds that pass when they are told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def kept(log: AccessLog, *hits: Hit) -> None:
    log.keep(hits)
    await asyncio.sleep(0)


def test_a_turn_is_written_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[int] = []
    write = os.write

    def counted(fd: int, content: bytes) -> int:
        writes.append(content.count(b"\n"))
        return write(fd, content)

    log = AccessLog(str(tmp_path / "log"))

    async def turns() -> None:
        monkeypatch.setattr(os, "write", counted)
        for _ in range(3):
            log.keep([HIT, HIT])
        await kept(log, HIT)
        await kept(log, HIT)

    asyncio.run(turns())
    log.close()
    monkeypatch.undo()
    assert writes == [7, 1]
    assert (tmp_path / "log").read_text().count("\n") == 8
    assert oct((tmp_path / "log").stat().st_mode)[-3:] == "600"


def test_a_renamed_file_is_left_within_a_second_and_nothing_is_lost(tmp_path: Path) -> None:
    path, clock = tmp_path / "log", Clock()
    log = AccessLog(str(path), monotonic_s=clock)

    async def rotate() -> None:
        await kept(log, HIT)
        path.rename(tmp_path / "log.1")
        await kept(log, HIT)
        assert not path.exists()
        clock.now += accesslog.LOOK_S
        await kept(log, HIT)
        path.rename(tmp_path / "log.2")
        path.touch()
        clock.now += accesslog.LOOK_S
        await kept(log, HIT, HIT)

    asyncio.run(rotate())
    log.close()
    assert [(tmp_path / name).read_text().count("\n") for name in ("log.1", "log.2", "log")] == [2, 1, 2]


@pytest.mark.parametrize("path", ["/dev/full", "gone/log"])
def test_a_log_that_cannot_be_written_is_told_once_a_minute(
    path: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    log = AccessLog(str(tmp_path / path), monotonic_s=clock)

    async def lose() -> None:
        for _ in range(5):
            await kept(log, HIT)
        clock.now += accesslog.TELL_S
        await kept(log, HIT)

    with caplog.at_level(logging.ERROR):
        asyncio.run(lose())
    log.close()
    assert [record.args[1] for record in caplog.records] == [1, 6]  # type: ignore[index]


def test_a_line_cut_by_a_full_disk_does_not_run_into_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = AccessLog(str(tmp_path / "log"))
    write = os.write

    async def fill_up() -> None:
        monkeypatch.setattr(os, "write", lambda fd, content: write(fd, content[:20]))
        await kept(log, HIT)
        monkeypatch.undo()
        await kept(log, HIT)

    asyncio.run(fill_up())
    log.close()
    first, second = (tmp_path / "log").read_text().splitlines()
    assert len(first) == 20
    assert LINE.fullmatch(second)


def test_a_pipe_that_nobody_reads_holds_nothing_up(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    log = AccessLog(str(pipe))

    async def flood() -> None:
        for _ in range(100):
            await kept(log, *[HIT] * 100)

    asyncio.run(flood())
    received = b""
    log.close()
    while part := os.read(reader, 1 << 20):
        received += part
    os.close(reader)
    lines = received.decode().splitlines()
    assert 0 < len(lines) < 10_000
    assert all(LINE.fullmatch(each) for each in lines)


def test_what_a_turn_may_hold_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accesslog, "WAITING_MAX_BYTES", 4 * len(lines([HIT], AT)))
    log = AccessLog(str(tmp_path / "log"))

    async def flood() -> None:
        for _ in range(3):
            log.keep([HIT, HIT])
        await kept(log)
        await kept(log, HIT)

    asyncio.run(flood())
    log.close()
    assert (tmp_path / "log").read_text().count("\n") == 5


def test_an_application_that_fails_is_logged_as_the_server_answers_it(tmp_path: Path) -> None:
    async def fails(_scope: Any, _receive: Any, _send: Any) -> None:
        raise RuntimeError("not to be expected")

    async def ask() -> None:
        log = AccessLog(str(tmp_path / "log"))
        asked = LoggedEdge(edge(tmp_path), fails, log)
        scope = {"type": "http", "method": "GET", "path": "/app/", "query_string": b'a="', "headers": []}
        with pytest.raises(RuntimeError):
            await asked(scope | {"http_version": "1.1"}, None, None)  # type: ignore[arg-type]
        log.close()

    asyncio.run(ask())
    assert '"GET /app/?a=\\x22 HTTP/1.1" 500 - "-" "-"\n' in (tmp_path / "log").read_text()


def test_without_a_log_nothing_is_looked_at() -> None:
    NoLog().keep(pytest.fail("looked at") for _ in range(1))  # type: ignore[misc]
    NoLog().close()


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("access") / "access.log"


@pytest.fixture(scope="module")
def server(log: Path) -> Iterator[Server]:
    with Server(log.parent / "data", TRACKER_ACCESS_LOG=str(log)) as server:
        server.api("POST", "/links", SPRING | {"code": "logged"})
        yield server


def written(log: Path) -> list[tuple[str, ...]]:
    """Every line of the file and of those it was renamed to, which all have to be whole."""
    found = []
    for file in log.parent.glob("access.log*"):
        for each in file.read_text().splitlines():
            read = LINE.fullmatch(each)
            assert read, each
            found.append(read.groups())
    return found


def test_each_request_leaves_one_whole_line_whichever_way_it_went(server: Server, log: Path) -> None:
    def ask(path: str) -> None:
        server.request("GET", path, {"User-Agent": BROWSER, "Referer": "https://mail.example/"})

    paths = ["/logged?n"] * CLICKS + ["/i/logged.gif?n"] * PIXELS + ["/healthz?n"] * PAGES
    with ThreadPoolExecutor(AT_ONCE) as people:
        for number, _ in enumerate(people.map(ask, paths)):
            if number % 50 == 10 and log.exists():
                log.rename(f"{log}.{number}")
    expected = Counter(
        {
            ("GET /logged?n HTTP/1.1", "302", "-", "https://mail.example/", BROWSER): CLICKS,
            ("GET /i/logged.gif?n HTTP/1.1", "200", "43", "https://mail.example/", BROWSER): PIXELS,
            ("GET /healthz?n HTTP/1.1", "200", "-", "https://mail.example/", BROWSER): PAGES,
        }
    )
    size = str(len(server.request("GET", "/healthz").body))

    def seen() -> Counter[tuple[str, ...]]:
        found = Counter((*each[:2], each[2].replace(size, "-"), *each[3:]) for each in written(log))
        return Counter({each: n for each, n in found.items() if "?n " in each[0]})

    eventually(seen, expected)
    assert list(log.parent.glob("access.log.*")), "it was renamed under load"


def test_a_handed_over_connection_is_logged_as_well(server: Server, log: Path) -> None:
    requests = (
        b"GET /healthz?first HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /logged?second HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /logged?third HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
        b"HEAD /i/logged.gif?fourth HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http://x/logged?fifth HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(b"".join(requests))
        while connection.recv(65536):
            pass

    def seen() -> set[tuple[str, ...]]:
        return {each[:2] for each in written(log) if re.search(r"\?(first|second|third|fourth|fifth) ", each[0])}

    expected = {
        ("GET /healthz?first HTTP/1.1", "200"),
        ("GET /logged?second HTTP/1.1", "302"),
        ("POST /logged?third HTTP/1.1", "405"),
        ("HEAD /i/logged.gif?fourth HTTP/1.1", "200"),
        ("GET http://x/logged?fifth HTTP/1.1", "302"),
    }
    eventually(seen, expected)


def test_a_forged_line_stays_inside_its_own(server: Server, log: Path) -> None:
    forged = b'" 200 1 "-" "x" \\" - - - [22/Nov/2026:09:30:05 +0000] "GET /forged'
    agent = forged + b"\xff\t"
    plain = b"GET /logged?forged HTTP/1.1\r\nHost: x\r\nConnection: close\r\nUser-Agent: " + agent + b"\r\n\r\n"
    server.raw(plain)
    server.raw(plain.replace(b"/logged", b"/healthz"))
    server.raw(b'GET /logged?forged"\\ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')

    def seen() -> set[str]:
        return {f"{each[0]} {each[4]}" for each in written(log) if "?forged" in each[0]}

    inside = forged.decode().replace("\\", r"\x5c").replace('"', r"\x22") + r"\xff"
    expected = {
        f"GET /logged?forged HTTP/1.1 {inside}",
        f"GET /healthz?forged HTTP/1.1 {inside}",
        r"GET /logged?forged\x22\x5c HTTP/1.1 -",
    }
    eventually(seen, expected)


def test_a_full_disk_leaves_answers_alone(tmp_path: Path) -> None:
    with Server(tmp_path / "data", TRACKER_ACCESS_LOG="/dev/full") as server:
        for _ in range(20):
            assert server.request("GET", "/nobody").status == 404
            assert server.request("GET", "/healthz").status == 200


def test_the_log_may_be_standard_output(tmp_path: Path) -> None:
    with Server(tmp_path / "data", TRACKER_ACCESS_LOG="-") as server:
        server.request("GET", "/nobody?here")
    assert '"GET /nobody?here HTTP/1.1" 404' in (tmp_path / f"log-{server.port}").read_text()
