"""Visitors who note every answer and every failure: kept-alive connections and fresh ones, in threads."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle

from tests.conftest import BROWSER

PATIENCE_S = 15


@dataclass
class Seen:
    """`refused` are new connections that ended before an answer began, `cut` are answers that broke off."""

    cids: list[str] = field(default_factory=list)
    answers: int = 0
    refused: list[str] = field(default_factory=list)
    cut: list[str] = field(default_factory=list)


class Visitor(threading.Thread):
    """Asks for one path after another until it is told to stop."""

    def __init__(self, port: int, paths: list[str], seen: Seen, ended: threading.Event, *, keeps: bool) -> None:
        super().__init__(daemon=True)
        self._port, self._paths, self._seen, self._ended = port, paths, seen, ended
        self._keeps = keeps

    def run(self) -> None:
        connection = self._connection()
        is_fresh = True
        for path in cycle(self._paths):
            if self._ended.is_set():
                break
            is_fresh = not self._ask(connection, path, is_fresh=is_fresh)
            if is_fresh:
                connection.close()
                connection = self._connection()
        connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_S)

    def _ask(self, connection: http.client.HTTPConnection, path: str, *, is_fresh: bool) -> bool:
        """Whether the connection can be used again."""
        headers = {"User-Agent": BROWSER} if self._keeps else {"User-Agent": BROWSER, "Connection": "close"}
        try:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            # A server may end a connection between two requests; one asks again then (RFC 9112, 9.3.1).
            if is_fresh:
                self._seen.refused.append(f"{path}: {error!r}")
                self._ended.wait(0.01)
            return False
        try:
            answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._seen.cut.append(f"{path}: {error!r}")
            return False
        self._seen.answers += 1
        if answer.status == 302:
            self._seen.cids.append(answer.headers["Location"].rpartition("cid=")[2])
        return not answer.will_close


@contextmanager
def visitors(port: int, *paths: str, each: int = 3) -> Iterator[Seen]:
    """As many visitors who keep their connection as such who do not."""
    seen, ended = Seen(), threading.Event()
    people = [Visitor(port, list(paths), seen, ended, keeps=keeps) for keeps in (True, False) for _ in range(each)]
    for person in people:
        person.start()
    try:
        yield seen
    finally:
        ended.set()
        for person in people:
            person.join()
