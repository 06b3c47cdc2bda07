"""Before and after a change, held against what was counted, and what the pages dare to say of it."""

from __future__ import annotations

import html
import random
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from itertools import count
from zoneinfo import ZoneInfo

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.conftest import Api
from tests.contract.test_store import event
from tracker import changelog, claims, clickid, conversions, days
from tracker.campaigning import ChangeEntry
from tracker.config import Settings
from tracker.events import Kind, Verdict
from tracker.models import Campaign, Link, Workspace
from tracker.reports import beforeafter
from tracker.reports.campaign import Period
from tracker.reports.statistics import newcombe
from tracker.stores import Batch, EventStore
from tracker.web.changelog import markers

pytestmark = pytest.mark.any_database

MakeLink = Callable[..., Link]
Happen = Callable[..., None]
AT = datetime(2026, 11, 11, 9, 7, 13, tzinfo=UTC)
NOW = datetime(2026, 11, 25, 12, 20, tzinfo=UTC)
QUARTER = timedelta(minutes=15)


@pytest.fixture
def happen(store: EventStore) -> Happen:
    """Stores events of a link at instants, each of a visitor of its own."""
    batches, nonces = count(), count(1)

    def happen(link: Link, kind: Kind, *instants: datetime, verdict: Verdict = Verdict.COUNTED) -> None:
        of = {"workspace_id": link.workspace_id, "campaign_id": link.campaign_id, "link_id": link.id}
        rows = [
            event(nonce, at_ms=days.to_ms(at), kind=kind, verdict=verdict, visitor=nonce, **of)
            for at in instants
            for nonce in [next(nonces)]
        ]
        store.append(Batch(f"s{next(batches)}", 0, len(rows), rows))

    return happen


@pytest.fixture
def convert(session: Session, workspace: Workspace, settings: Settings) -> Callable[[Link, datetime], None]:
    """Records a sale of a click at an instant, a second after it."""
    numbers = count(1)

    def convert(link: Link, at: datetime) -> None:
        number = next(numbers)
        cid = clickid.make(settings.secrets.click_key, link.id, days.to_ms(at), number)
        sighting = claims.Sighting(days.to_ms(at) + 1000, number, "callback")
        conversions.record(session, workspace, {"cid": cid, "order": str(number)}, sighting, settings.secrets.keys)
        session.commit()

    return convert


def change(session: Session, campaign: Campaign, at: datetime, link: Link | None = None) -> ChangeEntry:
    entry = changelog.record(
        session,
        workspace_id=campaign.workspace_id,
        kind="link" if link else "campaign",
        campaign_id=campaign.id,
        link_id=link.id if link else None,
        fields=[("destination", "https://a.example/", "https://b.example/")],
        at=at,
    )
    assert entry is not None
    session.commit()
    return entry


def age(session: Session) -> None:
    """The log of what a test set up lies long back, beside nothing that it looks at."""
    for entry in session.scalars(select(ChangeEntry)):
        entry.at_ms = 0
    session.commit()


def test_both_sides_are_what_was_counted_to_the_quarter_hour(
    session: Session, store: EventStore, make_link: MakeLink, happen: Happen, convert: Callable[[Link, datetime], None]
) -> None:
    chance = random.Random(6)
    own, other = make_link(), make_link()
    instants: dict[tuple[int, Kind], list[datetime]] = {}
    for link in (own, other):
        for kind in (Kind.IMPRESSION, Kind.CLICK):
            instants[link.id, kind] = [
                AT + timedelta(seconds=chance.uniform(-10 * 86_400, 10 * 86_400)) for _ in range(300)
            ]
            happen(link, kind, *instants[link.id, kind])
        happen(link, Kind.CLICK, *instants[link.id, Kind.CLICK], verdict=Verdict.BOT)
    sold = {link.id: chance.sample(instants[link.id, Kind.CLICK], 12) for link in (own, other)}
    for link in (own, other):
        for at in sold[link.id]:
            convert(link, at)
    entry = change(session, own.campaign, AT, own)
    found = beforeafter.compare(session, store, own.campaign, entry, now=NOW)
    assert found.windows is not None
    middle = datetime(2026, 11, 11, 9, tzinfo=UTC)
    sides = {
        "before": (middle - timedelta(days=7), middle),
        "after": (middle + QUARTER, middle + QUARTER + timedelta(days=7)),
    }
    for name, (since, until) in sides.items():
        window = getattr(found.windows, name)
        assert (days.from_ms(window.from_ms), days.from_ms(window.until_ms)) == (since, until)
        for compared, ids in ((found.link, [own.id]), (found.campaign, [own.id, other.id])):
            assert compared is not None
            totals = getattr(compared, name)
            counted = {
                kind: sum(since <= at < until for each in ids for at in instants[each, kind])
                for kind in (Kind.IMPRESSION, Kind.CLICK)
            }
            sales = sum(since <= at < until for each in ids for at in sold[each])
            assert (totals.impressions, totals.clicks) == (counted[Kind.IMPRESSION], counted[Kind.CLICK])
            assert (totals.conversions, totals.conversion_rate.trials) == (sales, counted[Kind.CLICK])
            assert 0 < counted[Kind.CLICK] < 600
    assert found.link is not None
    before, after = found.link.before, found.link.after
    assert found.link.clicks_per_day == (before.clicks / 7, after.clicks / 7)
    difference = found.link.changes["conversion_rate"]
    assert difference is not None
    wanted = newcombe(after.conversions, after.clicks, before.conversions, before.clicks)
    assert (difference.low, difference.high) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("now", "days_wanted", "length"),
    [
        (NOW, 7, timedelta(days=7)),
        (NOW, 14, timedelta(days=10)),  # no more than there was before
        (AT + timedelta(days=2), 7, timedelta(days=2) - QUARTER),
        (datetime(2026, 11, 11, 9, 30, tzinfo=UTC), 7, QUARTER),
        (datetime(2026, 11, 11, 9, 29, 59, tzinfo=UTC), 7, None),
        (AT - timedelta(days=1), 7, None),
    ],
)
def test_as_many_days_are_compared_as_there_are_on_both_sides(
    session: Session,
    store: EventStore,
    make_link: MakeLink,
    happen: Happen,
    now: datetime,
    days_wanted: int,
    length: timedelta | None,
) -> None:
    link = make_link()
    happen(link, Kind.CLICK, datetime(2026, 11, 1, 9, 5, tzinfo=UTC))
    entry = change(session, link.campaign, AT)
    found = beforeafter.compare(session, store, link.campaign, entry, now=now, days_wanted=days_wanted)
    if length is None:
        assert (found.windows, found.too_early) == (None, True)
    else:
        assert found.windows is not None
        assert found.windows.before.days == found.windows.after.days == length / timedelta(days=1)


def test_a_change_on_the_quarter_leaves_none_out(
    session: Session, store: EventStore, make_link: MakeLink, happen: Happen
) -> None:
    link, at = make_link(), datetime(2026, 11, 11, 9, tzinfo=UTC)
    happen(link, Kind.CLICK, at - timedelta(days=8), at - timedelta(milliseconds=1), at, at + timedelta(minutes=14))
    found = beforeafter.compare(session, store, link.campaign, change(session, link.campaign, at), now=NOW)
    assert found.campaign is not None
    assert (found.campaign.before.clicks, found.campaign.after.clicks) == (1, 2)


def test_before_anything_happened_there_is_nothing_to_compare(
    session: Session, store: EventStore, make_link: MakeLink, happen: Happen
) -> None:
    link = make_link()
    entry = change(session, link.campaign, AT)
    for _ in range(2):
        found = beforeafter.compare(session, store, link.campaign, entry, now=NOW)
        assert (found.windows, found.too_early) == (None, False)
        happen(link, Kind.CLICK, AT + timedelta(hours=1))


def _page(owner: FlaskClient, entry: ChangeEntry) -> str:
    return html.unescape(owner.get(f"/app/campaigns/spring-sale/changes/{entry.id}").text)


def _spread(start: datetime, end: datetime, n: int) -> list[datetime]:
    return [start + (end - start) * (number + 0.5) / n for number in range(n)]


def test_the_page_says_what_is_likely_real_and_what_could_be_chance(
    owner: FlaskClient, session: Session, make_link: MakeLink, happen: Happen, convert: Callable[[Link, datetime], None]
) -> None:
    own, other = make_link(content="hero-a"), make_link()
    age(session)
    at = days.now() - timedelta(days=8)
    week = timedelta(days=7)
    for link, clicks in ((own, (20, 120)), (other, (60, 60))):
        for clicked, (start, end) in zip(clicks, ((at - week, at - QUARTER), (at + QUARTER, at + week)), strict=True):
            happen(link, Kind.IMPRESSION, *_spread(start, end, 1000))
            happen(link, Kind.CLICK, *_spread(start, end, clicked))
    happen(own, Kind.CLICK, at - timedelta(days=9))
    for clicked in _spread(at - week, at - QUARTER, 10):
        convert(other, clicked)
    page = _page(owner, change(session, own.campaign, at, own))
    alone, _, campaign = page.partition("The whole campaign")
    assert "This link alone" in alone
    assert "CTR: 2.0 % → 12.0 %, +10.0 points, between" in alone
    assert "likely real" in alone
    assert "CTR: 4.0 % → 9.0 %" in campaign
    # Ten sales before and none after: but those of the last days may still come in.
    assert "Conversion rate: 12.5 % → 0.0 %" in campaign
    assert "too early to say, for conversions are still coming in" in campaign
    assert "Conversions of the clicks after it may come in for" in page
    assert "Another change" not in page
    assert "other days of the week" not in page


def test_the_page_warns_of_what_else_may_be_behind_a_difference(
    owner: FlaskClient, session: Session, make_link: MakeLink, happen: Happen
) -> None:
    link = make_link(content="hero-a")
    age(session)
    now = days.now()
    at = now - timedelta(days=3)
    happen(link, Kind.CLICK, *_spread(now - timedelta(days=20), now, 200))
    entry = change(session, link.campaign, at, link)
    assert "Another change" not in _page(owner, entry)
    change(session, link.campaign, at - timedelta(days=2))
    other = change(session, link.campaign, at + timedelta(days=1))
    changelog.note(session, session.get_one(Workspace, link.workspace_id), None, "On TV", at + timedelta(hours=5))
    page = _page(owner, entry)
    assert "Another change 1 day later, and 1 more: not only this one can be behind a difference." in page
    assert f"/changes/{other.id}" in page
    assert "note: On TV" in page
    assert "they hold other days of the week" in page
    assert "Only 3 days on each side can be compared so far" in page


def test_the_page_says_that_it_is_too_early(
    owner: FlaskClient, session: Session, make_link: MakeLink, happen: Happen
) -> None:
    link = make_link()
    now = days.now()
    assert "Nothing had happened on this campaign before" in _page(
        owner, change(session, link.campaign, now - timedelta(days=1))
    )
    happen(link, Kind.CLICK, *_spread(now - timedelta(days=20), now, 200))
    assert "It is too early" in _page(owner, change(session, link.campaign, now))
    assert "This is still to come" in _page(owner, change(session, link.campaign, now + timedelta(days=1)))
    page = _page(owner, change(session, link.campaign, now - timedelta(hours=3)))
    assert "they are other hours of the day: wait for whole days" in page


def test_a_rule_of_the_workspace_is_compared_for_each_campaign(
    owner: FlaskClient, session: Session, make_link: MakeLink, happen: Happen
) -> None:
    link = make_link()
    now = days.now()
    happen(link, Kind.CLICK, *_spread(now - timedelta(days=20), now, 200))
    owner.post("/app/settings/filters", data={"double_click_s": "5", "flood_per_min": "20"})
    entry = session.scalars(select(ChangeEntry).where(ChangeEntry.kind == "rule")).one()
    entry.at_ms = days.to_ms(now - timedelta(days=8))
    session.commit()
    assert f"/app/campaigns/spring-sale/changes/{entry.id}" in owner.get(f"/app/changes/{entry.id}").text
    assert "The whole campaign" in _page(owner, entry)


def test_the_api_has_the_same_figures(
    api: Api, session: Session, make_link: MakeLink, happen: Happen, convert: Callable[[Link, datetime], None]
) -> None:
    link = make_link()
    age(session)
    now = days.now()
    at = now - timedelta(days=10)
    happen(link, Kind.CLICK, *_spread(at - timedelta(days=9), at - QUARTER, 90), *_spread(at + QUARTER, now, 200))
    convert(link, at - timedelta(days=1))
    entry = change(session, link.campaign, at, link)
    path = f"/campaigns/spring-sale/changes/{entry.id}"
    found = api("GET", path).json
    assert (found["id"], found["link"]) == (entry.id, link.code)
    effect = found["before_after"]
    assert (effect["days"], effect["other_changes"]) == (7, [])
    assert effect["link"]["before"]["conversions"] == 1
    assert effect["campaign"]["after"]["clicks_per_day"] == pytest.approx(200 / 10, abs=0.3)
    assert effect["campaign"]["changes"]["conversion_rate"]["low"] < 0
    assert api("GET", f"{path}?days=1").json["before_after"]["days"] == 1
    assert api("GET", f"{path}?days=0").status_code == 422
    early = change(session, link.campaign, now)
    assert api("GET", f"/campaigns/spring-sale/changes/{early.id}").json["before_after"] is None


def test_a_chart_marks_what_happened_in_its_days(app: Flask, session: Session, make_link: MakeLink) -> None:
    link = make_link(content="hero-b")
    age(session)
    zone, campaign = ZoneInfo("Asia/Kathmandu"), link.campaign
    workspace = session.get_one(Workspace, link.workspace_id)
    own = change(session, campaign, datetime(2026, 11, 2, 18, 15, tzinfo=UTC), link)  # midnight there
    change(session, campaign, datetime(2026, 11, 2, 18, 14, 59, tzinfo=UTC))
    changelog.note(session, workspace, None, f"On TV {'x' * 90}\nat noon", datetime(2026, 11, 3, 18, 14, tzinfo=UTC))
    changelog.record(
        session,
        workspace_id=workspace.id,
        kind="budget",
        campaign_id=campaign.id,
        fields=[("budget", "100.00 EUR", "200.00 EUR")],
        at=datetime(2026, 11, 4, 6, 15, tzinfo=UTC),
    )
    session.commit()
    period = Period(date(2026, 11, 3), date(2026, 11, 4))
    with app.test_request_context():
        found = markers(session, campaign, period, zone)
    assert [(f"{marker.at:%d %H:%M}", marker.kind) for marker in found] == [
        ("03 00:00", "link"),
        ("03 23:59", "note"),
        ("04 12:00", "budget"),
    ]
    assert found[0].title == "hero-b: destination changed"
    assert found[0].href == f"/app/campaigns/spring-sale/changes/{own.id}"
    assert found[1].title.startswith("On TV xxx")
    assert len(found[1].title) == 80
    assert found[2].title == "budget €100.00 → €200.00"
