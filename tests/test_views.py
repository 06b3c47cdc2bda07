"""Conversions that no click led to: credited to an impression, apart from the others, and taken over by a click."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import UTC, datetime

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tests.crowd import CHROME, IPHONE, Crowd
from tracker import conversions
from tracker.claims import PIXEL, Sighting
from tracker.config import Settings
from tracker.events import Kind, Verdict
from tracker.models import Campaign, Conversion, LedgerEntry, Link, Report, Salt, Workspace
from tracker.reported import Credited, Touch, ViewWait
from tracker.stores import EventStore, StoredEvent
from tracker.stores.reading import SqlReader
from tracker.sums import SaleDay

pytestmark = pytest.mark.any_database

MakeLink = Callable[..., Link]
HOUR_S = 3_600
HOME = "192.0.2.1"


@pytest.fixture
def link(make_link: MakeLink) -> Link:
    return make_link()


@pytest.fixture
def see(crowd: Crowd, link: Link) -> Callable[..., None]:
    def see(*who: str, **headers: str) -> None:
        crowd.clock.forward(10)
        crowd.get(f"/i/{link.code}.gif", *who, **headers)

    return see


@pytest.fixture
def buy(crowd: Crowd, workspace: Workspace) -> Callable[..., None]:
    """The thank-you page is shown, with a pixel that knows no click id."""

    def buy(*who: str, query: str = "order=A-1&value=10.00", **headers: str) -> None:
        crowd.clock.forward(10)
        crowd.get(f"/c/{workspace.key}.gif?{query}", *who, **headers)

    return buy


def matched(session: Session) -> list[str]:
    session.expire_all()
    return list(session.scalars(select(Conversion.matched_by).order_by(Conversion.id)))


def test_an_impression_before_a_sale_without_a_click_is_a_view(
    see: Callable[..., None], buy: Callable[..., None], load: Callable[[], int], session: Session, link: Link
) -> None:
    see()
    see()
    buy()
    load()
    (conversion,) = session.scalars(select(Conversion))
    assert (conversion.matched_by, conversion.link_id, conversion.click_id) == ("view", link.id, None)
    assert conversion.converted_at_ms - conversion.click_at_ms == 10_000
    (touch,) = session.scalars(select(Touch))
    assert (touch.at_ms, touch.kind, touch.via) == (conversion.click_at_ms, 1, "visitor")
    assert session.scalar(select(Credited.conversion_id)) is None
    assert session.scalar(select(func.count()).select_from(ViewWait)) == 0
    assert session.scalars(select(Report.result)).one() == "recorded"


def test_what_was_seen_afterwards_or_by_others_is_no_view(
    see: Callable[..., None], buy: Callable[..., None], load: Callable[[], int], session: Session
) -> None:
    see(CHROME, "198.51.100.7")
    see(IPHONE, HOME)
    buy(CHROME, HOME)
    see(CHROME, HOME)
    load()
    assert matched(session) == []
    assert session.scalars(select(Report.reason)).one() == "no_click_id"


@pytest.mark.parametrize(
    ("who", "query"),
    [
        ({"Sec_GPC": "1"}, "order=A-1"),
        ({}, "value=10.00"),
        ({}, "order=A-1&cid=made-up"),
        ({}, "order=A-1&test=1"),
    ],
)
def test_who_asks_not_to_be_followed_and_what_cannot_be_told_apart_is_no_view(
    see: Callable[..., None],
    buy: Callable[..., None],
    load: Callable[[], int],
    session: Session,
    who: dict[str, str],
    query: str,
) -> None:
    see()
    see(**who)
    buy(query=query, **who)
    load()
    assert matched(session) == []


def test_an_event_id_is_enough_to_tell_a_reload_from_another_sale(
    see: Callable[..., None], buy: Callable[..., None], load: Callable[[], int], session: Session
) -> None:
    see()
    buy(query="event_id=e-1&value=10.00")
    buy(query="event_id=e-1&value=10.00")
    load()
    assert matched(session) == ["view"]
    assert sorted(session.scalars(select(Report.result))) == ["duplicate", "recorded"]


def test_a_bots_look_is_no_view(
    crowd: Crowd, see: Callable[..., None], buy: Callable[..., None], load: Callable[[], int], session: Session
) -> None:
    see("Googlebot/2.1", HOME)
    buy("Googlebot/2.1", HOME)
    load()
    assert matched(session) == []


def test_late_last_evening_is_within_a_day(
    crowd: Crowd, see: Callable[..., None], buy: Callable[..., None], load: Callable[[], int], session: Session
) -> None:
    crowd.clock.forward(-11.5 * HOUR_S - 3 * HOUR_S)  # half past nine in the evening of the day before, UTC
    see()
    load()
    crowd.clock.forward(14.5 * HOUR_S)
    buy()
    load()
    assert matched(session) == ["view"]


def test_without_the_salt_of_the_day_before_nobody_is_known_and_none_is_made(
    crowd: Crowd, see: Callable[..., None], buy: Callable[..., None], load: Callable[[], int], session: Session
) -> None:
    buy(query="order=B-1")
    load()
    (made,) = session.scalars(select(Salt.day))
    assert made == datetime.fromtimestamp(crowd.clock.now_ms // 1000, UTC).date()
    assert matched(session) == []


@pytest.mark.parametrize(("window_days", "hours", "found"), [(1, 20, ["view"]), (1, 25, []), (0, 0, [])])
def test_the_campaigns_window_holds(
    crowd: Crowd,
    see: Callable[..., None],
    buy: Callable[..., None],
    load: Callable[[], int],
    session: Session,
    link: Link,
    window_days: int,
    hours: int,
    found: list[str],
) -> None:
    session.get_one(Campaign, link.campaign_id).view_window_days = window_days
    session.commit()
    crowd.clock.forward(-hours * HOUR_S)
    see()
    crowd.clock.forward(hours * HOUR_S)
    buy()
    load()
    assert matched(session) == found


def test_a_view_is_looked_for_only_when_every_impression_is_stored(
    see: Callable[..., None], buy: Callable[..., None], load: Callable[[], int], session: Session
) -> None:
    buy(query="order=A-1")
    load()
    see()
    buy(query="order=A-2")
    load()
    assert list(session.scalars(select(Conversion.order_id))) == ["A-2"]


def test_a_click_beats_a_view_and_the_ledger_stays(
    crowd: Crowd,
    see: Callable[..., None],
    buy: Callable[..., None],
    load: Callable[[], int],
    session: Session,
    workspace: Workspace,
    make_link: MakeLink,
) -> None:
    see()
    buy()
    load()
    assert matched(session) == ["view"]
    other = make_link(campaign="Autumn Sale", source="ads", medium="cpc")
    crowd.clock.forward(-60)
    cid = crowd.get(f"/{other.code}", IPHONE).headers["Location"].partition("cid=")[2][:28]
    crowd.clock.forward(60)
    answer = crowd._app.test_client().post(f"/c/{workspace.key}", data={"cid": cid, "order": "A-1", "value": "10.00"})
    assert (answer.json["result"], answer.json["campaign"]) == ("updated", "autumn-sale")
    load()
    session.expire_all()
    (conversion,) = session.scalars(select(Conversion))
    assert (conversion.matched_by, conversion.link_id, conversion.click_id) == ("click", other.id, cid)
    assert conversion.click_settled
    assert [(row.status, row.minor) for row in session.scalars(select(LedgerEntry))] == [("approved", 1000)]
    (touch,) = session.scalars(select(Touch))
    assert (touch.link_id, touch.kind, touch.via) == (other.id, 2, "report")
    assert session.scalars(select(Credited.minor)).one() == 1000


def test_a_view_never_beats_a_click(
    crowd: Crowd,
    see: Callable[..., None],
    buy: Callable[..., None],
    load: Callable[[], int],
    session: Session,
    workspace: Workspace,
    link: Link,
) -> None:
    see()
    cid = crowd.get(f"/{link.code}").headers["Location"].partition("cid=")[2][:28]
    crowd._app.test_client().post(f"/c/{workspace.key}", data={"cid": cid, "order": "A-1"})
    buy()
    load()
    assert matched(session) == ["click"]


def test_a_callback_is_nobodys_browser(
    crowd: Crowd, see: Callable[..., None], load: Callable[[], int], session: Session, workspace: Workspace
) -> None:
    see()
    crowd.get(f"/c/{workspace.key}?order=A-1")
    load()
    assert matched(session) == []
    assert session.scalar(select(func.count()).select_from(ViewWait)) == 0


def test_a_visitor_who_is_forgotten_has_seen_nothing(
    see: Callable[..., None],
    buy: Callable[..., None],
    load: Callable[[], int],
    session: Session,
    store: EventStore,
    workspace: Workspace,
) -> None:
    see()
    load()
    (view,) = store.recent(workspace.id, before=None, limit=9)
    store.forget_visitor(view.at_ms, view.nonce)
    buy()
    load()
    assert matched(session) == []


def test_many_sales_are_held_against_what_was_seen_by_one_search(
    see: Callable[..., None],
    buy: Callable[..., None],
    load: Callable[[], int],
    session: Session,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    searches = []
    search = SqlReader.views_of

    def counted(self: SqlReader, visitors: Collection[int], since_ms: int, until_ms: int) -> list[StoredEvent]:
        searches.append(len(visitors))
        return search(self, visitors, since_ms, until_ms)

    monkeypatch.setattr(SqlReader, "views_of", counted)
    for number in range(5):
        see(CHROME, f"192.0.2.{number}")
    for number in range(6):
        buy(CHROME, f"192.0.2.{number}", query=f"order=B-{number}")
    load()
    assert matched(session) == ["view"] * 5
    assert len(searches) == 1


def test_a_view_is_judged_by_the_window_of_views(
    see: Callable[..., None], buy: Callable[..., None], load: Callable[[], int], session: Session, link: Link
) -> None:
    session.get_one(Campaign, link.campaign_id).click_window_days = 0
    session.commit()
    see()
    buy()
    load()
    assert session.scalars(select(Conversion.outside_window)).one() is False
    assert session.scalars(select(SaleDay.view_n).distinct()).one() == 1


def test_a_report_that_was_given_by_hand_meanwhile_is_no_view(
    crowd: Crowd, make_link: Callable[..., Link], session: Session, workspace: Workspace, settings: Settings
) -> None:
    link, keys = make_link(), settings.secrets.keys
    cid = crowd.get(f"/{link.code}").headers["Location"].partition("cid=")[2][:28]
    at_ms = crowd.clock()
    sighting = Sighting(at_ms, 7, PIXEL)
    conversions.record(session, workspace, {"event_id": "e1", "value": "5"}, sighting, keys)
    session.commit()
    waiting = session.scalars(select(Report)).one()
    with Session(session.get_bind()) as other:
        conversions.give(other, other.scalars(select(Report)).one(), keys, click_id=cid)
        other.commit()
    place = (workspace.id, link.campaign_id, link.id)
    seen = StoredEvent(at_ms - 1, 9, Kind.IMPRESSION, Verdict.COUNTED, *place, 1, *[None] * 10)
    conversions.credit_view(session, waiting, keys, seen)
    session.commit()
    assert matched(session) == ["hand"]
