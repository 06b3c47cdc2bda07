"""Who a visitor is: the same to every machine on one UTC day, a household by its /64, and nobody two days later."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine

from tracker import days, jobs
from tracker.config import Settings
from tracker.events import Event, Kind, Verdict
from tracker.extensions import open_engine
from tracker.pipeline.enrich import Visitors
from tracker.stores import EventStore

pytestmark = pytest.mark.any_database

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def hit(address: str, at: datetime = NOON, agent: str = "Firefox", *, gpc: bool = False) -> Event:
    return Event(Kind.CLICK, days.to_ms(at), 1, Verdict.COUNTED, 1, "x", address, agent, "", "", gpc)


def test_every_machine_knows_a_visitor_by_the_same_number(engine: Engine, settings: Settings) -> None:
    other = open_engine(settings.database_url)
    assert Visitors(engine).hash(1, hit("192.0.2.1")) == Visitors(other).hash(1, hit("192.0.2.1"))
    other.dispose()


@pytest.mark.parametrize(
    ("one", "other", "are_one"),
    [
        (hit("2001:db8:1:2::1"), hit("2001:db8:1:2:ffff::9"), True),
        (hit("2001:db8:1:2::1"), hit("2001:db8:1:3::1"), False),
        (hit("192.0.2.1"), hit("::ffff:192.0.2.1"), True),
        (hit("192.0.2.1"), hit("192.0.2.2"), False),
        (hit("192.0.2.1"), hit("192.0.2.1", agent="Chrome"), False),
        (hit("192.0.2.1"), hit("192.0.2.1", NOON + timedelta(hours=11, minutes=59)), True),
        (hit("192.0.2.1"), hit("192.0.2.1", NOON + timedelta(hours=12)), False),
    ],
)
def test_a_visitor_is_a_network_and_an_agent_for_one_day(
    engine: Engine, one: Event, other: Event, are_one: bool
) -> None:
    visitors = Visitors(engine)
    assert (visitors.hash(1, one) == visitors.hash(1, other)) is are_one
    assert visitors.hash(1, one) != visitors.hash(2, one), "a visitor of another workspace is another one"
    assert visitors.hash(1, one._replace(gpc=True)) is None


def test_once_the_salt_is_destroyed_nobody_can_make_the_number_again(
    engine: Engine, settings: Settings, store: EventStore
) -> None:
    loader, on = Visitors(engine), jobs.Installation(settings, engine, store)
    known = loader.hash(1, hit("192.0.2.1"))
    a_day_later = NOON + timedelta(days=1)
    jobs.destroy_salts(on, a_day_later)
    loader.forget_before(jobs.oldest_salt(a_day_later))
    assert loader.hash(1, hit("192.0.2.1")) == known, "a hit that comes late is still the same visitor's"
    in_time = NOON.replace(hour=0) + timedelta(hours=48)
    jobs.destroy_salts(on, in_time)
    loader.forget_before(jobs.oldest_salt(in_time))
    assert loader.hash(1, hit("192.0.2.1")) != known
    assert Visitors(engine).hash(1, hit("192.0.2.1")) != known
