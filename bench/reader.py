"""Somebody at the pages, from a process of its own: one report after the other, and all events as CSV at the same time.

    python -m bench.reader PORT COOKIE PATH EXPORT

Runs until it is ended; then it prints how many reports it was answered.
"""

from __future__ import annotations

import http.client
import signal
import sys
import threading
from collections.abc import Callable
from itertools import count


def read(port: int, cookie: str, path: str, answered: Callable[[], object]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    while True:
        connection.request("GET", path, headers={"Cookie": cookie})
        answer = connection.getresponse()
        while answer.read(65536):
            pass
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status}")
        answered()


if __name__ == "__main__":
    port, cookie, path, export = int(sys.argv[1]), *sys.argv[2:5]
    reports = count()
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    for where, told in ((path, lambda: next(reports)), (export, lambda: None)):
        threading.Thread(target=read, args=(port, cookie, where, told), daemon=True).start()
    ended.wait()
    print(next(reports))
