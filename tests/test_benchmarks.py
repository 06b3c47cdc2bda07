"""A campaign beside the workspace's others of its medium."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count

import pytest
from flask.testing import FlaskClient

from tests.conftest import Api
from tests.contract.test_store import append, event
from tracker import days
from tracker.events import Kind
from tracker.models import Link
from tracker.reports.benchmarks import Benchmark, Standing
from tracker.reports.metrics import Rate
from tracker.stores import EventStore

pytestmark = pytest.mark.any_database

MakeLink = Callable[..., Link]
Bring = Callable[..., None]


@pytest.fixture
def bring(store: EventStore, make_link: MakeLink) -> Bring:
    """Makes a campaign of one link that was seen and clicked so often a few days ago."""
    nonces = count()

    def make(campaign: str, seen: int, clicked: int, medium: str = "email") -> None:
        link = make_link(campaign=campaign, medium=medium)
        noon = days.to_ms(datetime.now(UTC).replace(hour=12)) - 3 * days.DAY_MS
        kinds = [Kind.IMPRESSION] * seen + [Kind.CLICK] * clicked
        rows = [
            event(next(nonces), at_ms=noon, kind=kind, campaign_id=link.campaign_id, link_id=link.id, visitor=number)
            for number, kind in enumerate(kinds)
        ]
        append(store, *rows, segment=campaign)

    return make


def test_a_campaign_is_told_what_its_others_of_the_medium_have(api: Api, owner: FlaskClient, bring: Bring) -> None:
    for name, clicked in (("one", 20), ("two", 24), ("three", 50)):
        bring(name, 1000, clicked)
    bring("ads", 1000, 900, medium="cpc")
    bring("mine", 2000, 8)
    found = api("GET", "/campaigns/mine/benchmark").json
    assert found["medium"] == "email"
    assert found["ctr"]["median"] == 0.024
    assert found["ctr"]["campaigns"] == 3
    assert found["ctr"]["verdict"] == "below"
    assert found["ctr"]["own"]["value"] == 0.004
    # Nobody bought anything anywhere: a rate of none is one, of too few clicks is not.
    assert found["conversion_rate"] is None
    assert found["weakest"] == "ctr"
    page = owner.get("/app/campaigns/mine").text
    assert "impression → click (theirs: 2.4 %)" in page
    assert "Your other e-mail campaigns, in the middle of 3: CTR 2.4 %." in page
    filtered = owner.get("/app/campaigns/mine?medium=email").text
    assert "Your other" not in filtered


def test_too_few_others_say_nothing(api: Api, owner: FlaskClient, bring: Bring) -> None:
    bring("one", 1000, 20)
    bring("two", 1000, 30)
    bring("seldom", 60, 30)
    bring("mine", 1000, 5)
    assert api("GET", "/campaigns/mine/benchmark").json["medium"] is None
    assert "Your other" not in owner.get("/app/campaigns/mine").text


def test_only_what_is_more_than_chance_is_called_below() -> None:
    far, near = Standing(Rate(10, 1000), 0.05, 4), Standing(Rate(48, 1000), 0.05, 4)
    assert (far.verdict, near.verdict) == ("below", "alike")
    assert Standing(Rate(90, 1000), 0.05, 4).verdict == "above"
    assert Standing(Rate(9, 5), 0.05, 4).verdict == "alike"
    assert Benchmark("email", near, far).weakest == "conversion_rate"
    assert Benchmark("email", far, Standing(Rate(1, 1000), 0.05, 4)).weakest == "conversion_rate"
    assert Benchmark("email", near, None).weakest is None
