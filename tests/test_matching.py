"""How reports find their click: by its id, by another device, later, or by hand."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from sqlalchemy import Engine, func, select, update
from sqlalchemy.orm import Session

from tracker import campaigns, clickid, conversions, days, jobs
from tracker.claims import Sighting
from tracker.config import Secrets, Settings
from tracker.errors import Invalid, SettingError
from tracker.jobs import Installation
from tracker.models import Conversion, LedgerEntry, Link, Report, Workspace
from tracker.received import Outcome
from tracker.stores import EventStore

pytestmark = pytest.mark.any_database

MakeLink = Callable[..., Link]
DAY_MS = 86_400_000
HOUR_MS = 3_600_000


class Shop:
    """Reports sales of clicks that were made at any time."""

    def __init__(self, session: Session, workspace: Workspace, settings: Settings) -> None:
        self._session, self._workspace, self.keys = session, workspace, settings.secrets.keys
        self._key = settings.secrets.click_key
        self.now_ms = days.to_ms(days.now())
        self._numbers = count(1)

    def click(self, link: Link, days_ago: float = 0) -> str:
        return clickid.make(self._key, link.id, self.now_ms - int(days_ago * DAY_MS), next(self._numbers))

    def report(self, via: str = "callback", **params: str) -> Outcome:
        sighting = Sighting(self.now_ms, next(self._numbers), via)
        outcome = conversions.record(self._session, self._workspace, params, sighting, self.keys)
        self._session.commit()
        return outcome

    def sales(self) -> list[Conversion]:
        self._session.expire_all()
        return list(self._session.scalars(select(Conversion).order_by(Conversion.id)))

    def last_report(self) -> Report:
        self._session.expire_all()
        return self._session.scalars(select(Report).order_by(Report.id.desc())).first()  # type: ignore[return-value]


@pytest.fixture
def shop(session: Session, workspace: Workspace, settings: Settings) -> Shop:
    return Shop(session, workspace, settings)


@pytest.fixture
def tidy(settings: Settings, engine: Engine, store: EventStore, session: Session) -> Callable[..., None]:
    """The periodic job that tries unmatched reports again."""

    def run(later: timedelta = timedelta()) -> None:
        session.rollback()
        jobs.retry_unmatched(Installation(settings, engine, store), days.now() + later)

    return run


def test_a_sale_from_another_device_is_credited_to_the_customers_latest_click(shop: Shop, make_link: MakeLink) -> None:
    early, late = make_link(content="early"), make_link(content="late")
    shop.report(cid=shop.click(early, 5), order="1", customer="Ada")
    shop.report(cid=shop.click(late, 2), order="2", customer="Ada")
    assert shop.report(order="3", customer=" ADA ", value="9").result == "recorded"
    sale = shop.sales()[-1]
    assert (sale.matched_by, sale.link_id, sale.minor, sale.order_id) == ("customer", late.id, 900, "3")
    assert shop.report(order="3", customer="Ada", value="9").result == "duplicate"
    assert shop.report(order="3", status="refunded").result == "updated"


@pytest.mark.parametrize(
    "said",
    [
        {"customer": "Ada"},
        {"customer": "Eve", "order": "9"},
        {"customer": "Ada", "order": "9", "ts": str(days.to_ms(days.now()) // 1000 - 4 * 86_400)},
    ],
    ids=["nothing tells it from the next", "somebody else", "before the click"],
)
def test_a_customer_is_credited_with_what_is_certain_and_no_more(
    shop: Shop, make_link: MakeLink, said: dict[str, str]
) -> None:
    shop.report(cid=shop.click(make_link(), 3), order="1", customer="Ada")
    assert shop.report(**said).result == "unmatched"


def test_a_customers_click_beyond_the_window_is_not_credited(shop: Shop, make_link: MakeLink) -> None:
    shop.report(cid=shop.click(make_link(), 31), order="1", customer="Ada")
    assert shop.report(order="2", customer="Ada").result == "unmatched"


def test_an_event_without_an_order_is_one_sale_of_a_customer(shop: Shop, make_link: MakeLink) -> None:
    shop.report(cid=shop.click(make_link(), 1), order="1", customer="Ada")
    results = [shop.report(customer="Ada", event_id=event).result for event in ("e1", "e1", "e2")]
    assert results == ["recorded", "duplicate", "recorded"]


def test_a_refund_by_order_that_came_before_its_sale_is_applied_once_the_sale_is_known(
    shop: Shop, make_link: MakeLink, session: Session, tidy: Callable[..., None]
) -> None:
    assert shop.report(order="1", status="refunded").result == "unmatched"
    tidy()
    assert shop.last_report().retried_at is None, "nothing has changed: it is not even looked at"
    shop.report(cid=shop.click(make_link()), order="1", value="5")
    tidy()
    tidy(timedelta(hours=2))
    assert [(row.status, row.minor) for row in session.scalars(select(LedgerEntry))] == [
        ("approved", 500),
        ("refunded", -500),
    ]
    first = session.scalars(select(Report).order_by(Report.id)).first()
    assert first is not None
    assert (first.result, first.reason, first.hint) == ("updated", None, None)
    assert session.scalar(select(func.count(Report.id))) == 2, "it stays the one report that it was"


def test_a_customer_who_is_known_later_brings_earlier_reports_along(
    shop: Shop, make_link: MakeLink, tidy: Callable[..., None]
) -> None:
    shop.report(order="1", customer="Ada", value="5")
    shop.report(order="9", customer="Eve", value="5")
    shop.report(cid=shop.click(make_link(), 1), order="2", customer="Ada")
    tidy()
    assert [(sale.order_id, sale.matched_by) for sale in shop.sales()] == [("2", "click"), ("1", "customer")]


def test_what_still_comes_to_nothing_is_left_alone_for_an_hour(
    shop: Shop, make_link: MakeLink, tidy: Callable[..., None], session: Session
) -> None:
    link = make_link()
    cid = clickid.make(clickid.Key(1, shop.keys.click[1]), link.id + 1, shop.now_ms, 1)
    assert shop.report(cid=cid, order="1").reason == "unknown_link"
    tidy()
    tried = shop.last_report().retried_at
    assert tried is not None
    tidy()
    assert shop.last_report().retried_at == tried
    make_link(content="the next")
    tidy(timedelta(hours=2))
    assert [sale.order_id for sale in shop.sales()] == ["1"]


def test_a_report_is_tried_again_as_often_as_anybody_likes(shop: Shop, make_link: MakeLink, session: Session) -> None:
    shop.report(order="1", value="49,90", cid=shop.click(make_link()))
    report = shop.last_report()
    assert (report.result, report.reason) == ("refused", "bad_value")
    report.params = report.params | {"value": "49.90"}
    results = []
    for _ in range(3):
        results.append(conversions.retry(session, report, shop.keys).result)
        session.commit()
    assert results == ["recorded"] * 3
    assert [row.minor for row in session.scalars(select(LedgerEntry))] == [4990]
    assert report.retried_at is not None


def test_a_value_that_was_cut_to_be_kept_is_still_too_long(shop: Shop, make_link: MakeLink, session: Session) -> None:
    assert shop.report(order="x" * 300, cid=shop.click(make_link())).result == "refused"
    assert conversions.retry(session, shop.last_report(), shop.keys).result == "refused"


def test_a_report_is_given_to_a_click_by_hand_and_its_sale_is_one(
    shop: Shop, make_link: MakeLink, session: Session
) -> None:
    shop.report(order="1", value="5", cid="cut")
    cid = shop.click(make_link(), 1)
    assert conversions.give(session, shop.last_report(), shop.keys, click_id=cid).result == "recorded"
    session.commit()
    (sale,) = shop.sales()
    assert (sale.matched_by, sale.click_id, sale.order_id) == ("hand", cid, "1")
    assert shop.report(order="1", value="5", cid="cut").result == "duplicate"
    with pytest.raises(Invalid):
        conversions.give(session, shop.last_report(), shop.keys, click_id=cid)


def test_a_report_is_given_to_a_campaign_alone(shop: Shop, make_link: MakeLink, session: Session) -> None:
    campaign = make_link().campaign
    for said in ({"order": "1"}, {"event_id": "e1"}, {}):
        shop.report(value="5", **said)
        report = shop.last_report()
        assert conversions.give(session, report, shop.keys, campaign=campaign).result == "recorded"
        session.commit()
        sale = shop.sales()[-1]
        assert (sale.matched_by, sale.link_id, sale.click_id, sale.campaign_id) == ("hand", None, None, campaign.id)
        assert (sale.click_at_ms, sale.click_settled) == (sale.converted_at_ms, True)
    assert shop.report(order="1", status="refunded").result == "updated"


@pytest.mark.parametrize(
    ("given", "field"),
    [({"click_id": "cut"}, "click_id"), ({"click_id": ""}, "click_id"), ({}, "campaign"), ("theirs", "campaign")],
)
def test_what_a_report_cannot_be_given_to_is_refused(
    shop: Shop, session: Session, workspace: Workspace, given: Any, field: str
) -> None:
    if given == "theirs":
        other = Workspace(name="Theirs", key="w_theirs")
        session.add(other)
        session.flush()
        given = {"campaign": campaigns.ensure(session, other, "theirs")}
    shop.report(order="1")
    with pytest.raises(Invalid) as refusal:
        conversions.give(session, shop.last_report(), shop.keys, **given)
    assert set(refusal.value.errors) == {field}


@pytest.mark.parametrize("word", ["value", "status"])
def test_what_cannot_be_understood_cannot_be_given(
    shop: Shop, make_link: MakeLink, session: Session, word: str
) -> None:
    shop.report(order="1", **{word: "x,y"})
    with pytest.raises(Invalid) as refusal:
        conversions.give(session, shop.last_report(), shop.keys, click_id=shop.click(make_link()))
    assert set(refusal.value.errors) == {word}


def test_each_campaign_has_its_window_and_a_change_judges_nothing_anew(
    shop: Shop, make_link: MakeLink, session: Session
) -> None:
    link = make_link()
    shop.report(cid=shop.click(link, 8), order="1")
    campaigns.edit(session, link.campaign, click_window_days=7)
    shop.report(cid=shop.click(link, 8), order="2")
    shop.report(cid=shop.click(link, 6), order="3")
    assert [sale.outside_window for sale in shop.sales()] == [False, True, False]


def test_a_sale_was_made_when_the_earliest_report_says_and_its_window_follows(shop: Shop, make_link: MakeLink) -> None:
    cid = shop.click(make_link(), 31)
    shop.report("pixel", cid=cid, order="1")
    assert shop.sales()[0].outside_window
    ts = shop.now_ms // 1000 - 2 * 86_400
    shop.report(cid=cid, order="1", ts=str(ts))
    shop.report(cid=cid, order="1", ts=str(ts + 86_400))
    (sale,) = shop.sales()
    assert (sale.converted_at_ms, sale.outside_window) == (ts * 1000, False)


@pytest.mark.parametrize(("early_s", "result"), [(299, "recorded"), (301, "refused")])
def test_a_sale_before_its_click_is_believed_within_what_a_clock_may_be_off(
    shop: Shop, make_link: MakeLink, early_s: int, result: str
) -> None:
    cid = shop.click(make_link(), 1)
    ts = (shop.now_ms - DAY_MS) // 1000 - early_s
    outcome = shop.report(cid=cid, order="1", ts=str(ts))
    assert (outcome.result, set(outcome.errors or {})) == (result, set() if result == "recorded" else {"ts"})
    if result == "recorded":
        assert shop.sales()[0].converted_at_ms == shop.sales()[0].click_at_ms


@pytest.mark.parametrize("ts", ["1795630221000", "0", "-5", "1.5", "2026-11-25"])
def test_an_instant_is_in_seconds(shop: Shop, make_link: MakeLink, ts: str) -> None:
    assert set(shop.report(cid=shop.click(make_link()), order="1", ts=ts).errors or {}) == {"ts"}


@pytest.mark.parametrize("name", ["order", "event_id", "customer"])
def test_a_control_character_is_refused_at_its_field(shop: Shop, make_link: MakeLink, name: str) -> None:
    outcome = shop.report(cid=shop.click(make_link()), **{name: "a\0b"})
    assert set(outcome.errors or {}) == {name}
    assert "\0" not in str(shop.last_report().params)


def test_through_a_rotation_of_keys_every_click_id_stays_good(
    shop: Shop, make_link: MakeLink, settings: Settings, session: Session, engine: Engine, store: EventStore
) -> None:
    link = make_link()
    old = shop.click(link, 1)
    number = Secrets.rotate(settings.data_dir)
    fresh = replace(settings)
    assert fresh.secrets.click_key.number == number == 2
    new = clickid.make(fresh.secrets.click_key, link.id, shop.now_ms, 77)
    assert shop.report(cid=new, order="1").reason == "bad_click_id", "this process has not started again"
    assert shop.report(cid=old, order="2").result == "recorded"
    shop.keys = fresh.secrets.keys
    assert shop.report(cid=old, order="3").result == "recorded"
    assert (
        shop.report(cid=clickid.make(fresh.secrets.click_key, link.id, shop.now_ms, 78), order="4").result == "recorded"
    )
    session.rollback()
    jobs.retry_unmatched(Installation(fresh, engine, store), days.now())
    assert {sale.order_id for sale in shop.sales()} == {"1", "2", "3", "4"}
    changed = clickid.make(fresh.secrets.click_key._replace(number=1), link.id, shop.now_ms, 79)
    assert shop.report(cid=changed, order="5").reason == "bad_click_id", "a key is good under its own number only"


def test_keys_are_added_for_the_owners_eyes_only_until_numbers_run_out(settings: Settings) -> None:
    before = settings.secrets
    with ThreadPoolExecutor(4) as pool:
        numbers = sorted(pool.map(lambda _: Secrets.rotate(settings.data_dir), range(8)))
    assert numbers == list(range(2, 10))
    path = settings.data_dir / "secrets.json"
    assert path.stat().st_mode & 0o777 == 0o600
    after = Secrets.load(settings.data_dir)
    assert (after.session_key, after.customer_key) == (before.session_key, before.customer_key)
    assert before.click_keys.items() <= after.click_keys.items()
    for _ in range(clickid.KEYS_MAX - 10):
        Secrets.rotate(settings.data_dir)
    with pytest.raises(SettingError, match="no more"):
        Secrets.rotate(settings.data_dir)
    assert [file.name for file in settings.data_dir.glob(".secrets-*")] == []


def test_an_instant_of_endless_digits_is_refused_at_its_field(shop: Shop, make_link: MakeLink) -> None:
    outcome = shop.report(cid=shop.click(make_link()), order="1", ts="9" * 5000)
    assert (outcome.result, set(outcome.errors or ())) == ("refused", {"ts"})


def test_one_report_that_cannot_be_judged_keeps_no_other_back(
    shop: Shop, make_link: MakeLink, session: Session, tidy: Callable[..., None]
) -> None:
    shop.report(order="1", status="refunded")
    session.execute(update(Report).values(params={"order": "1", "status": "refunded", "value": 5}))
    shop.report(order="2", status="refunded")
    for order in "12":
        shop.report(order=order, cid=shop.click(make_link(), 1), value="5")
    tidy()
    assert [sale.status for sale in shop.sales()] == ["approved", "refunded"]
    waiting = select(Report.retried_at).where(Report.result == "unmatched")
    assert session.scalars(waiting).one() is not None, "it is not tried each minute"
