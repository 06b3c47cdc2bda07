"""People and machines that ask for links and pixels, with a clock that is moved by hand."""

from __future__ import annotations

from typing import Any

from flask import Flask

from tracker import days
from tracker.events import Verdict
from tracker.stores import StoredEvent

BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0"
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/18.5 Mobile/15E148 Safari/604.1"
)
CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36"
)


class Clock:
    """The edge's clock: it stands until it is moved."""

    def __init__(self) -> None:
        # Some minutes ago and far from midnight's change of salts: what is played happens within one UTC day.
        self.now_ms = days.to_ms(days.now()) // 86_400_000 * 86_400_000 - 43_200_000

    def __call__(self) -> int:
        return self.now_ms

    def forward(self, s: float) -> None:
        self.now_ms += int(s * 1000)


class Crowd:
    """People and machines, each with an agent and an address, asking for links and pixels."""

    def __init__(self, app: Flask, clock: Clock) -> None:
        self._app = app
        self.clock = clock

    def get(
        self, path: str, agent: str = BROWSER, address: str = "192.0.2.1", *, method: str = "GET", **headers: str
    ) -> Any:
        named = {name.replace("_", "-"): value for name, value in headers.items()} | {"User-Agent": agent}
        client = self._app.test_client(use_cookies=False)
        return client.open(path, method=method, headers=named, environ_base={"REMOTE_ADDR": address})


def words(events: list[StoredEvent]) -> list[str]:
    return [Verdict(event.verdict).word for event in events]
