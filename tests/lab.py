"""An experiment with people of whom it is known what they did: they see a link, some click it, some of these buy."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from typing import Any

from flask.testing import FlaskClient

from tests.crowd import Crowd

PATH = "/campaigns/spring-sale/variants"


class Lab:
    """Each person is at an address of their own; `load` takes in what they did."""

    def __init__(self, crowd: Crowd, key: str, load: Callable[[], int]) -> None:
        self._crowd, self._key, self.load = crowd, key, load
        self._people = self._orders = 0

    def play(self, code: str, seen: int, clicked: int, bought: int = 0, *, with_pixel: bool = True) -> None:
        """Of the people who see the link the first ones click, and of these the first ones buy."""
        for number in range(seen):
            self._people += 1
            address = f"198.51.{self._people >> 8}.{self._people & 255}"
            if with_pixel:
                self._crowd.get(f"/i/{code}.gif", address=address)
            if number < clicked:
                cid = self.click(code, address)
                if number < bought:
                    self.buy(cid)

    def click(self, code: str, address: str) -> str:
        """Later than the same person's click before would be a double click; answers the click id."""
        self._crowd.clock.forward(3)
        location = self._crowd.get(f"/{code}", address=address).headers["Location"]
        return str(location.partition("cid=")[2][:28])

    def buy(self, cid: str) -> None:
        self._orders += 1
        self._crowd.get(f"/c/{self._key}?cid={cid}&order=o-{self._orders}&value=10.00")


def compared(api: Any, **query: str) -> Any:
    response = api("GET", PATH, query_string=query)
    assert response.status_code == 200, response.text
    return response.json


def page_of(owner: FlaskClient, **query: Any) -> str:
    response = owner.get(f"/app{PATH}", query_string=query)
    assert response.status_code == 200, response.text
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", response.text)).split()).replace(" .", ".")
