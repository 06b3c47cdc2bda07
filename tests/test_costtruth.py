"""Hundreds of paid clicks of people and machines: what is summed is what the clicks of people cost."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from tests.crowd import BROWSER, CHROME, IPHONE, Crowd
from tracker.audit import Audit
from tracker.models import Link, Workspace
from tracker.pipeline.reclassify import Reclassification
from tracker.stores import EventStore

STEPS = 150
AGENTS = (BROWSER, CHROME, IPHONE)
DOUBTFUL = f"{CHROME} AcmeApp/1"
# A network's own way of writing; what it means is known here by itself.
SAID = {
    "0.45": 450_000,
    "0,45": 450_000,
    "1%2e25": 1_250_000,
    "0.000001": 1,
    "12": 12_000_000,
    "{cost}": None,
    "%7Bcost%7D": None,
    "-3": None,
    "1e9": None,
}
Sums = dict[tuple[int, str], list[int]]


class Paid(NamedTuple):
    """A click that people made, and what it cost; `None` where it said what could not be read."""

    link: Link
    currency: str
    micros: int | None
    doubtful: bool


def summed(clicks: list[Paid]) -> Sums:
    """How many said their cost, what that is, and how many said what cannot be read, by link and currency."""
    sums: Sums = {}
    for click in clicks:
        row = sums.setdefault((click.link.id, click.currency), [0, 0, 0])
        if click.micros is None:
            row[2] += 1
        else:
            row[0] += 1
            row[1] += click.micros
    return sums


class Traffic:
    """Plays hits at random, each visitor with an address of their own, and keeps those that ought to be counted."""

    def __init__(self, crowd: Crowd, made: list[tuple[Link, str]], seed: int) -> None:
        self._crowd = crowd
        self._links = made
        self._chance = random.Random(seed)
        self._visitors = 0
        self.counted: list[Paid] = []

    def play(self) -> None:
        for _ in range(STEPS):
            self._visitors += 1
            self._crowd.clock.forward(self._chance.choice((1, 30, 400)))
            self._chance.choice((self._person, self._person, self._machine, self._sweep))()

    def _hit(self, agent: str, link: Link, said: str, **more: str) -> None:
        noise = self._chance.choice(("", "&a=1", "&cost=7", "&gclid=x"))
        # The first is the one that counts.
        query = f"?cost={said}{noise}" if said else noise.replace("&cost=7", "").replace("&", "?", 1)
        address = f"100.{self._visitors >> 8}.{self._visitors & 255}.1"
        self._crowd.get(f"/{link.code}{query}", agent, address, **more)

    def _said(self) -> str:
        return self._chance.choice((*SAID, ""))

    def _person(self) -> None:
        chance = self._chance
        agent = chance.choice((*AGENTS, DOUBTFUL))
        link, currency = chance.choice(self._links)
        said, gpc = self._said(), chance.random() < 0.2
        more = {"Sec_GPC": "1"} if gpc else {}
        if chance.random() < 0.3:
            self._hit(agent, link, said, Sec_Purpose="prefetch")
        self._hit(agent, link, said, **more)
        if said:
            self.counted.append(Paid(link, currency, SAID[said], agent == DOUBTFUL))
        if not gpc and chance.random() < 0.4:
            # Once more in the same second: a double click, whatever it says.
            self._hit(agent, link, self._said())

    def _machine(self) -> None:
        link, _ = self._chance.choice(self._links)
        if self._chance.random() < 0.5:
            self._hit("curl/8.1", link, self._said())
        else:
            self._hit(CHROME, link, self._said(), method="HEAD")

    def _sweep(self) -> None:
        """All links at once, as a mail scanner follows them; the first two are taken back when the third comes."""
        for link, _ in self._links:
            self._hit(CHROME, link, self._said())


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [1, 2])
def test_what_is_summed_is_what_the_clicks_of_people_cost(
    crowd: Crowd,
    make_link: Callable[..., Link],
    session: Session,
    workspace: Workspace,
    load: Callable[[], int],
    store: EventStore,
    engine: Engine,
    owner: FlaskClient,
    seed: int,
) -> None:
    made = [
        (make_link(code=f"paid-{n}", campaign=f"c{n % 2}", cost_param="cost", cost_currency=own), own or "EUR")
        for n, own in enumerate((None, "USD", "JPY", "USD"))
    ]
    traffic = Traffic(crowd, made, seed)

    def found() -> Sums:
        campaigns = {link.campaign_id for link, _ in made}
        costs = [cost for campaign in campaigns for cost in store.click_costs(campaign, 0, 1 << 30)]
        return {cost[:2]: list(cost[2:]) for cost in costs}

    def agents_become(blocked: list[str]) -> None:
        workspace.blocked_agents = blocked
        session.commit()
        since_ms, now_ms = 0, crowd.clock.now_ms + 1
        Reclassification(engine, store, since_ms, None, now_ms=now_ms, dry_run=False).run()

    began_ms = crowd.clock.now_ms
    # In several batches, so that sweeps take back what is stored already.
    for _ in range(3):
        traffic.play()
        load()
    people = summed(traffic.counted)
    assert found() == people
    certain = summed([click for click in traffic.counted if not click.doubtful])
    assert certain != people
    agents_become(["AcmeApp"])
    assert found() == certain
    agents_become([])
    assert found() == people
    # The store forgets who clicked, and not what it cost.
    for event in random.Random(seed).sample(store.between((began_ms, 0), (2**62, 0), 10_000), 20):
        store.forget_visitor(event.at_ms, event.nonce)
    assert found() == people
    audit = Audit(engine, store)
    assert [drift for day in audit.days for drift in audit.drifts(day)] == []
    by_event = Counter(event.cost_currency for event in store.between((0, 0), (2**62, 0), 10_000))
    assert {"EUR", "USD", "JPY", None} == set(by_event)
