"""What needs somebody is listed when it does and not when it does not: from hits over HTTP to overview and API."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine
from sqlalchemy.event import listen
from sqlalchemy.orm import Session

from tests.conftest import Api
from tests.crowd import Crowd
from tracker import days, links
from tracker.campaigning import Cost, DestinationCheck
from tracker.destinationchecks import address_of
from tracker.models import Campaign, Link, Workspace
from tracker.reports import attention

pytestmark = pytest.mark.any_database

MakeLink = Callable[..., Link]
WEDNESDAY = datetime(2026, 11, 18, 15, tzinfo=UTC)
FORTNIGHT = range(1, 17)


class Play:
    """People at the links, day by day before now: all between eight and two, so before the hour of now."""

    def __init__(self, crowd: Crowd, load: Callable[[], int], key: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self._crowd, self._load, self._key, self._monkeypatch = crowd, load, key, monkeypatch
        self._people = count(1)
        self.at(WEDNESDAY)

    def at(self, now: datetime) -> None:
        self.now = now
        self._monkeypatch.setattr(days, "now", lambda: now)

    def _times(self, n: int, days_ago: Iterable[int]) -> Iterable[int]:
        for day in sorted(days_ago, reverse=True):
            eight = (self.now - timedelta(days=day)).replace(hour=8, minute=0)
            for number in range(n):
                yield days.to_ms(eight) + number * 6 * 3_600_000 // n

    def come(self, path: str, n: int, days_ago: Iterable[int], *, buy: int = 0) -> None:
        """`n` people a day ask for a path; the first `buy` of each day report a sale."""
        for number, at_ms in enumerate(self._times(n, days_ago)):
            self._crowd.clock.now_ms = at_ms
            person = next(self._people)
            address = f"198.{18 + person // 65_536}.{person // 256 % 256}.{person % 256}"
            answer = self._crowd.get(path, address=address)
            if number % n < buy:
                cid = answer.headers["Location"].partition("cid=")[2][:28]
                self._crowd.get(f"/c/{self._key}.gif?cid={cid}&order={person}", address=address)
        assert self._load()


@pytest.fixture
def play(
    crowd: Crowd, load: Callable[[], int], workspace: Workspace, monkeypatch: pytest.MonkeyPatch, owner: FlaskClient
) -> Play:
    return Play(crowd, load, workspace.key, monkeypatch)


@pytest.fixture
def needs(api: Api) -> Callable[[], list[dict[str, Any]]]:
    def needs() -> list[dict[str, Any]]:
        response = api("GET", "/attention")
        assert response.status_code == 200, response.text
        found: list[dict[str, Any]] = response.json["items"]
        return found

    return needs


def kinds(found: list[dict[str, Any]]) -> list[str]:
    return [each["kind"] for each in found]


def said(client: FlaskClient) -> str:
    """What the overview says, as one line of text."""
    page = client.get("/app/").text
    main = page.partition("<main")[2].partition("</main>")[0]
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", main)))


def test_where_all_is_well_nothing_needs_you_and_without_campaigns_nothing_is_said(
    owner: FlaskClient, make_link: MakeLink, needs: Callable[..., Any], client: FlaskClient
) -> None:
    assert "Nothing needs you" not in said(owner)
    make_link()
    assert "Nothing needs you." in said(owner)
    assert needs() == []
    assert client.get("/api/v1/attention").status_code == 401


# Silence.


def test_impressions_that_stopped_while_clicks_go_on(
    play: Play, make_link: MakeLink, needs: Callable[..., Any], owner: FlaskClient
) -> None:
    code = make_link().code
    play.come(f"/i/{code}.gif", 12, FORTNIGHT)
    play.come(f"/{code}", 8, (0, *FORTNIGHT))
    (found,) = needs()
    assert (found["kind"], found["severity"]) == ("impressions_silent", "bad")
    assert found["campaign"] == {"slug": "spring-sale", "name": "spring-sale"}
    # The last came yesterday at 13:42.
    assert found["since"] == "2026-11-17T13:45:00+00:00"
    assert found["facts"] == {"meanwhile": 8}
    text = said(owner)
    assert "Urgent: spring-sale: no impression since 17 Nov, 13:45, and 8 clicks meanwhile." in text
    assert "Look whether the impression pixel still stands beside the links." in text


def test_clicks_that_stopped_while_impressions_go_on(
    play: Play, make_link: MakeLink, needs: Callable[..., Any], owner: FlaskClient
) -> None:
    code = make_link().code
    play.come(f"/i/{code}.gif", 15, range(6))
    play.come(f"/{code}", 10, range(1, 6))
    assert kinds(needs()) == ["clicks_silent"]
    assert "no click since 17 Nov, 13:30, and 15 impressions meanwhile" in said(owner)


def test_conversions_that_stopped_while_clicks_go_on(
    play: Play, make_link: MakeLink, needs: Callable[..., Any], owner: FlaskClient
) -> None:
    code = make_link().code
    play.come(f"/{code}", 10, range(1, 7), buy=8)
    play.come(f"/{code}", 12, [0])
    assert kinds(needs()) == ["conversions_silent"]
    assert "no conversion since 17 Nov, 12:15, and 12 clicks meanwhile" in said(owner)


def test_rare_conversions_are_missed_after_as_many_days_as_that_takes(
    play: Play, make_link: MakeLink, needs: Callable[..., Any]
) -> None:
    code = make_link().code
    play.come(f"/{code}", 5, range(5, 20), buy=2)
    play.come(f"/{code}", 5, [4])
    for quiet_days, expected in ((3, []), (2, []), (1, ["conversions_silent"]), (0, ["conversions_silent"])):
        play.come(f"/{code}", 5, [quiet_days])
        play.at(WEDNESDAY - timedelta(days=quiet_days))
        assert kinds(needs()) == expected
        play.at(WEDNESDAY)


def test_a_campaign_that_stopped_altogether_is_said_once_and_is_not_urgent(
    play: Play, make_link: MakeLink, needs: Callable[..., Any], owner: FlaskClient
) -> None:
    code = make_link().code
    play.come(f"/i/{code}.gif", 12, FORTNIGHT)
    play.come(f"/{code}", 8, FORTNIGHT)
    (found,) = needs()
    assert (found["kind"], found["severity"]) == ("campaign_silent", "warning")
    assert "Worth a look: spring-sale: nothing has counted since 17 Nov, 13:45." in said(owner)


def test_where_every_campaign_stopped_at_once_it_is_the_tracker(
    play: Play, make_link: MakeLink, needs: Callable[..., Any], owner: FlaskClient
) -> None:
    for campaign in ("a", "b"):
        play.come(f"/{make_link(campaign=campaign).code}", 10, FORTNIGHT)
    assert kinds(needs()) == ["all_silent"]
    assert "Nothing has counted since 17 Nov, 13:30, on any of 2 campaigns." in said(owner)


def test_campaigns_that_stopped_one_after_another_are_told_one_by_one(
    play: Play, make_link: MakeLink, needs: Callable[..., Any]
) -> None:
    play.come(f"/{make_link(campaign='a').code}", 10, FORTNIGHT)
    play.come(f"/{make_link(campaign='b').code}", 10, range(2, 18))
    assert kinds(needs()) == ["campaign_silent"] * 2


def test_few_a_day_are_not_missed_in_a_day(play: Play, make_link: MakeLink, needs: Callable[..., Any]) -> None:
    code = make_link().code
    play.come(f"/{code}", 6, FORTNIGHT)
    assert needs() == []


def test_at_night_nobody_is_missed(play: Play, make_link: MakeLink, needs: Callable[..., Any]) -> None:
    code = make_link().code
    play.come(f"/{code}", 30, (0, *FORTNIGHT))
    play.at(WEDNESDAY + timedelta(hours=14))
    assert needs() == []
    play.at(WEDNESDAY + timedelta(hours=24))
    assert kinds(needs()) == ["campaign_silent"]


def test_on_a_weekend_that_is_always_quiet_nobody_is_missed_and_on_monday_they_are(
    play: Play, make_link: MakeLink, needs: Callable[..., Any]
) -> None:
    code = make_link().code
    weekdays = [ago for ago in range(3, 26) if (WEDNESDAY - timedelta(days=ago)).weekday() < 5]
    play.come(f"/{code}", 30, weekdays)
    for ago in (3, 2):  # Sunday, and Monday at three, when those of a Monday have come
        play.at(WEDNESDAY - timedelta(days=ago))
        assert kinds(needs()) == ([] if ago == 3 else ["campaign_silent"])


def test_a_mailing_that_fades_out_is_not_missed(play: Play, make_link: MakeLink, needs: Callable[..., Any]) -> None:
    code = make_link().code
    for ago, n in ((7, 160), (6, 60), (5, 20), (4, 8), (3, 3), (2, 1)):
        play.come(f"/{code}", n, [ago])
    assert needs() == []


def test_a_new_campaign_is_missed_beside_what_goes_on_but_not_alone(
    play: Play, make_link: MakeLink, needs: Callable[..., Any]
) -> None:
    first, second = make_link(campaign="alone").code, make_link(campaign="beside").code
    play.come(f"/{first}", 20, range(1, 7))
    play.come(f"/i/{second}.gif", 40, range(1, 7))
    play.come(f"/{second}", 20, range(7))
    (found,) = needs()
    assert (found["kind"], found["campaign"]["slug"]) == ("impressions_silent", "beside")


def test_what_was_put_out_of_use_is_not_missed(
    play: Play, make_link: MakeLink, needs: Callable[..., Any], session: Session
) -> None:
    link = make_link()
    play.come(f"/{link.code}", 40, (*FORTNIGHT, 22, 29))
    assert kinds(needs()) == ["campaign_silent"]
    links.set_archived(session, link, True)
    assert needs() == []


def test_what_waits_in_the_spool_is_not_missed(
    play: Play, make_link: MakeLink, needs: Callable[..., Any], crowd: Crowd
) -> None:
    code = make_link().code
    play.come(f"/{code}", 20, FORTNIGHT)
    crowd.clock.now_ms = days.to_ms(WEDNESDAY - timedelta(days=1) + timedelta(minutes=5))
    crowd.get(f"/{code}")
    assert kinds(needs()) == ["behind"]


# Drops.

WEEKS = (8, 15, 22, 29)


def test_clicks_under_half_of_the_lowest_of_the_same_weekday(
    play: Play, make_link: MakeLink, needs: Callable[..., Any], owner: FlaskClient
) -> None:
    code = make_link().code
    for ago, n in zip((1, *WEEKS), (12, 40, 60, 44, 50), strict=True):
        play.come(f"/{code}", n, [ago])
    play.come(f"/{code}", 1, [0])
    (found,) = needs()
    assert (found["kind"], found["severity"], found["since"]) == ("clicks_dropped", "warning", None)
    assert found["facts"] == {"day": "2026-11-17", "weeks": 4, "n": 12, "low": 40, "high": 60}
    assert "12 clicks on Tuesday, 17 Nov, where 40–60 came on the same weekday before" in said(owner)


@pytest.mark.parametrize(
    ("counts", "why"),
    [
        ((20, 40, 60, 44, 50), "half is not under half"),
        ((3, 8, 30, 30, 30), "a week before was as low"),
        ((5, 12, 30, 14, 14), "so few differ by chance"),
        ((1, 8, 12, 9, 10), "of so few a half is no news"),
        ((10, 40, 60), "two weeks are too few"),
    ],
)
def test_what_is_no_drop(
    play: Play, make_link: MakeLink, needs: Callable[..., Any], counts: tuple[int, ...], why: str
) -> None:
    code = make_link().code
    for ago, n in zip((1, *WEEKS), counts, strict=False):
        play.come(f"/{code}", n, [ago])
    play.come(f"/{code}", 1, [0])
    assert needs() == [], why


def test_days_are_the_workspaces(
    play: Play, make_link: MakeLink, needs: Callable[..., Any], session: Session, workspace: Workspace
) -> None:
    code = make_link().code
    for ago, n in zip((1, *WEEKS), (12, 40, 60, 44, 50), strict=True):
        play.come(f"/{code}", n, [ago])
    play.come(f"/{code}", 1, [0])
    workspace.timezone = "Pacific/Kiritimati"  # fourteen hours ahead: Thursday there, and Wednesday began at ten
    session.commit()
    (found,) = needs()
    assert found["facts"] == {"day": "2026-11-18", "weeks": 4, "n": 9, "low": 26, "high": 40}


def test_a_click_through_rate_that_fell_far(
    play: Play, make_link: MakeLink, needs: Callable[..., Any], owner: FlaskClient
) -> None:
    code = make_link().code
    play.come(f"/i/{code}.gif", 60, (0, 1, *WEEKS))
    play.come(f"/{code}", 24, (0, *WEEKS))
    play.come(f"/{code}", 13, [1])
    (found,) = needs()
    assert found["kind"] == "ctr_dropped"
    assert found["facts"]["rate"]["value"] == pytest.approx(13 / 60, abs=1e-6)
    assert found["facts"]["before"]["value"] == pytest.approx(0.4)
    assert "click-through rate fell to 21.7 % on Tuesday, 17 Nov, from 40.0 %" in said(owner)


def test_a_conversion_rate_that_fell_far_and_not_one_of_clicks_that_only_grew(
    play: Play, make_link: MakeLink, needs: Callable[..., Any], owner: FlaskClient
) -> None:
    fell, grew = make_link(campaign="fell").code, make_link(campaign="grew").code
    for code in (fell, grew):
        play.come(f"/{code}", 50, WEEKS[:3], buy=16)
        play.come(f"/{code}", 1, [0], buy=1)
    play.come(f"/{fell}", 50, [1], buy=5)
    play.come(f"/{grew}", 125, [1], buy=16)
    (found,) = needs()
    assert (found["kind"], found["campaign"]["slug"]) == ("conversion_rate_dropped", "fell")
    assert "conversion rate fell to 10.0 % on Tuesday, 17 Nov, from 32.0 %" in said(owner)


# What does not lie in the figures of campaigns.


def test_unmatched_conversions_of_the_last_week_with_the_commonest_reason(
    play: Play,
    workspace: Workspace,
    needs: Callable[..., Any],
    owner: FlaskClient,
    crowd: Crowd,
    load: Callable[[], int],
) -> None:
    def report(ago: int, cid: str) -> None:
        crowd.clock.now_ms = days.to_ms(WEDNESDAY - timedelta(days=ago))
        crowd.get(f"/c/{workspace.key}.gif?cid={cid}&order={ago}{cid}")
        load()

    report(8, "A")
    assert needs() == []
    for ago in (6, 5):
        report(ago, "{clickid}")
    report(1, "B")
    (found,) = needs()
    assert found["kind"] == "unmatched"
    assert found["facts"] == {"n": 3, "reason": "macro_not_replaced", "reason_n": 2, "days": 7}
    text = said(owner)
    assert (
        "3 conversions were reported without a click to belong to in the last 7 days, most of them: placeholder" in text
    )
    assert 'href="/app/conversions?result=unmatched&amp;reason=macro_not_replaced"' in owner.get("/app/").text


def fails(session: Session, link: Link, answer: str, since: datetime, failures: int = 2) -> None:
    """What checks have noted of a link's destination."""
    url = address_of(link.destination) or ""
    session.add(
        DestinationCheck(
            workspace_id=link.workspace_id,
            digest=url.encode()[-32:],
            url=url,
            link_ids=[link.id],
            checked_at=since,
            next_at=since,
            outcome="failed",
            answer=answer,
            failures=failures,
            failed_since=since,
        )
    )
    session.commit()


def test_a_failing_destination_with_the_clicks_that_led_there(
    play: Play, make_link: MakeLink, needs: Callable[..., Any], owner: FlaskClient, session: Session
) -> None:
    link, other = make_link(), make_link(destination="https://shop.example/other")
    play.come(f"/{link.code}", 7, [1])
    play.come(f"/{link.code}", 5, [0])
    play.come(f"/{other.code}", 1, [0])
    fails(session, other, "500", WEDNESDAY - timedelta(hours=1), failures=1)
    assert needs() == []
    fails(session, link, "404", WEDNESDAY.replace(hour=8))
    play.at(WEDNESDAY + timedelta(seconds=31))
    (found,) = needs()
    assert (found["kind"], found["links"], found["severity"]) == ("destination_failing", [link.code], "bad")
    assert found["facts"] == {
        "url": "https://shop.example/sale?ref=1",
        "answer": "404",
        "clicks": 5,
        "links": 1,
    }
    text = said(owner)
    assert "Urgent: Since 08:00, shop.example/sale?ref=1 answers 404; 5 clicks led there meanwhile." in text
    assert f'href="/app/links/{link.code}"' in owner.get("/app/").text


def test_the_worst_comes_first_and_what_is_beyond_the_list_is_counted(
    make_link: MakeLink,
    api: Api,
    owner: FlaskClient,
    session: Session,
    client: FlaskClient,
    workspace: Workspace,
    load: Callable[[], int],
) -> None:
    client.get(f"/c/{workspace.key}.gif?cid=A")
    load()
    for number in range(attention.NEEDS_MAX + 2):
        link = make_link(destination=f"https://shop.example/{number:02}")
        fails(session, link, "certificate", days.now() - timedelta(minutes=number))
    found = api("GET", "/attention").json
    assert kinds(found["items"]) == ["destination_failing"] * attention.NEEDS_MAX
    assert found["more"] == 3
    text = said(owner)
    assert "And 3 more, when these are dealt with." in text
    assert "has no valid certificate; 0 clicks led there meanwhile" in text


def test_another_workspace_sees_nothing_of_it(
    play: Play, make_link: MakeLink, app: Flask, session: Session, workspace: Workspace
) -> None:
    play.come(f"/{make_link().code}", 20, FORTNIGHT)
    other = Workspace(name="Other", key="w_other0000000")
    session.add(other)
    session.commit()
    with app.app_context():
        services = app.extensions["tracker"]
        assert len(services.needs(session, workspace, WEDNESDAY).shown) == 1
        assert services.needs(session, other, WEDNESDAY).shown == []


def spend(session: Session, link: Link, minor: int, first: date, last: date, currency: str = "EUR") -> None:
    key = {"campaign_id": link.campaign_id, "workspace_id": link.workspace_id}
    session.add(Cost(**key, first_on=first, last_on=last, minor=minor, currency=currency, origin="form"))
    session.commit()


def test_a_budget_that_is_nearly_spent_by_entries_until_today_and_by_clicks(
    play: Play, make_link: MakeLink, needs: Callable[..., Any], api: Api, session: Session, owner: FlaskClient
) -> None:
    today = WEDNESDAY.date()
    link = make_link(cost_param="cost", cost_currency="EUR")
    make_link(campaign="without-budget")
    budget = {"amount": "100.00", "currency": "EUR"}
    assert api("PATCH", "/campaigns/spring-sale", {"budget": budget}).status_code == 200
    spend(session, link, 4000, today - timedelta(days=9), today - timedelta(days=1))
    spend(session, link, 8000, today - timedelta(days=4), today + timedelta(days=5))  # half of it is to come
    spend(session, link, 9000, today - timedelta(days=2), today - timedelta(days=2), "USD")
    spend(session, link, 9000, today + timedelta(days=1), today + timedelta(days=1))
    assert needs() == []
    play.come(f"/{link.code}?cost=2.50", 4, [0])
    play.at(WEDNESDAY + timedelta(seconds=31))
    (found,) = needs()
    assert (found["kind"], found["severity"]) == ("budget_spent", "warning")
    assert found["facts"] == {"spent": {"currency": "EUR", "amount": "90.00"}, "budget": budget, "percent": 90}
    assert "spring-sale: €90.00 of €100.00 spent, 90 %." in said(owner)
    spend(session, link, 2000, today, today)
    play.at(WEDNESDAY + timedelta(seconds=62))
    assert "spring-sale: €110.00 of €100.00 spent, 110 %: more than its budget." in said(owner)


# What it costs.


def test_a_page_that_asks_each_second_reads_campaigns_twice_a_minute_or_when_a_link_was_edited(
    play: Play, make_link: MakeLink, app: Flask, session: Session, workspace: Workspace
) -> None:
    link = make_link()
    play.come(f"/{link.code}", 20, FORTNIGHT)
    services = app.extensions["tracker"]
    asked: list[str] = []
    listen(services.store._engine, "before_cursor_execute", lambda _c, _u, statement, *_: asked.append(statement))

    def reads(**later: float) -> int:
        asked.clear()
        found = services.needs(session, workspace, WEDNESDAY + timedelta(**later))
        assert len(found.shown) == 1
        return sum("rollup_steps" in statement for statement in asked)

    with app.app_context():
        assert reads() > 0
        assert reads(seconds=29) == 0
        assert reads(seconds=31) > 0
        assert reads(seconds=32) == 0
        # A clock that was put back does not keep it for ever.
        assert reads(seconds=-60) > 0
        make_link(campaign="another")
        assert reads(seconds=-59) > 0


def test_many_campaigns_are_read_with_as_many_statements_as_one(
    play: Play, make_link: MakeLink, app: Flask, session: Session, workspace: Workspace, engine: Engine
) -> None:
    play.come(f"/{make_link().code}", 3, (0, 1, 8))
    services = app.extensions["tracker"]
    asked: list[str] = []
    for each in (services.store._engine, engine):
        listen(each, "before_cursor_execute", lambda _c, _u, statement, *_: asked.append(statement))

    def statements() -> int:
        asked.clear()
        services.needs(session, workspace, play.now)
        return len(asked)

    with app.app_context():
        first = statements()
        for number in range(20):
            play.come(f"/{make_link(campaign=f'c{number}').code}", 3, (0, 1, 8))
        session.expire_all()
        assert session.get(Campaign, 1) is not None
        assert statements() <= first + 1
