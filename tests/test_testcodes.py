"""Hits that carry a test code: seen in the debugger, in no report, and as true as any other on their way."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.conftest import BROWSER
from tests.crowd import Crowd
from tracker import accounts, clickid, days, jobs, links, testcodes
from tracker.config import Settings
from tracker.errors import Invalid, NotFound
from tracker.events import Kind, Verdict
from tracker.models import InternedText, Link, Workspace
from tracker.reported import TestCode
from tracker.stores import EventStore, StoredEvent

pytestmark = pytest.mark.any_database

MakeLink = Callable[..., Link]
Load = Callable[[], int]
Stored = Callable[[], list[StoredEvent]]
ALL = (0, 2**31 - 96)


@pytest.fixture
def code(session: Session, workspace: Workspace) -> str:
    return testcodes.start(session, workspace, days.now()).code


@pytest.fixture
def stored(load: Load, store: EventStore, workspace: Workspace) -> Stored:
    """All events, in the order of time."""

    def stored() -> list[StoredEvent]:
        load()
        return store.recent(workspace.id, before=None, limit=100)[::-1]

    return stored


def told(event: StoredEvent) -> tuple[int, str | None]:
    return event.verdict, event.detail


def test_a_test_click_reaches_its_page_with_code_and_genuine_click_id_and_is_in_no_report(
    client: FlaskClient,
    make_link: MakeLink,
    code: str,
    stored: Stored,
    store: EventStore,
    settings: Settings,
) -> None:
    link = make_link()
    client.get(f"/i/{link.code}.gif?tracker_test={code}")
    location = client.get(f"/{link.code}?tracker_test={code}").headers["Location"]
    assert f"&tracker_test={code}&cid=" in location
    click = clickid.read(location.partition("cid=")[2][:28], settings.secrets.click_keys)
    found = stored()
    assert [told(event) for event in found] == [(Verdict.TEST, code)] * 2
    assert [event.kind for event in found] == [Kind.IMPRESSION, Kind.CLICK]
    assert click is not None
    assert found[1][:2] == (click.at_ms, click.nonce)
    assert found[1].link_id == link.id
    assert store.totals(link.campaign_id, *ALL) == []
    assert store.reasons_of([link.campaign_id], *ALL) == []
    assert store.hits_of([link.campaign_id], *ALL) == []
    assert store.first_bucket(link.campaign_id) is None
    (day,) = store.whole_days()
    assert store.drifts(day) == []


def test_of_raw_events_a_report_takes_no_tests_either(
    owner: FlaskClient, client: FlaskClient, make_link: MakeLink, code: str, load: Load
) -> None:
    link = make_link()
    client.get(f"/{link.code}?tracker_test={code}")
    client.get(f"/{link.code}")
    load()
    today = days.now().date().isoformat()
    page = owner.get(f"/app/campaigns/spring-sale?from={today}&to={today}&device=desktop").text
    assert "test hit" not in page
    assert 'data-metric="clicks"' in page
    left_out = owner.get(f"/app/filtered?from={today}&to={today}").text
    assert "Nothing was left out" in left_out


@pytest.mark.parametrize("mode", ["link_wins", "visitor_wins", "drop"])
@pytest.mark.parametrize("gpc", ["0", "1"])
def test_the_code_goes_on_to_the_landing_page_whatever_the_link_makes_of_a_query(
    client: FlaskClient, make_link: MakeLink, code: str, mode: str, gpc: str
) -> None:
    link = make_link(query_mode=mode)
    answer = client.get(f"/{link.code}?a=1&tracker_test={code}", headers={"Sec-GPC": gpc})
    query = answer.headers["Location"].partition("?")[2].partition("#")[0].split("&")
    assert query.count(f"tracker_test={code}") == 1
    assert ("a=1" in query) == (mode != "drop")


def test_a_url_that_takes_no_parameter_of_ours_gets_none_where_the_link_drops_the_query(
    client: FlaskClient, make_link: MakeLink, code: str
) -> None:
    link = make_link(query_mode="drop", click_id_param="")
    location = client.get(f"/{link.code}?tracker_test={code}").headers["Location"]
    assert location == client.get(f"/{link.code}").headers["Location"]


def test_what_shows_by_itself_why_it_does_not_count_stays_what_it_is(
    client: FlaskClient, session: Session, make_link: MakeLink, code: str, stored: Stored
) -> None:
    link, archived = make_link(), make_link(code="archived")
    links.set_archived(session, archived, True)
    query = f"?tracker_test={code}"
    client.head(f"/{link.code}{query}")
    assert client.get(f"/{link.code}{query}", headers={"Sec-Purpose": "prefetch"}).status_code == 503
    assert client.get(f"/archived{query}").status_code == 410
    client.get(f"/i/archived.gif{query}")
    assert client.get(f"/nowhere{query}").status_code == 404
    verdicts = [Verdict(event.verdict).word for event in stored()]
    assert verdicts == ["head", "prefetch", "inactive", "inactive", "unknown_code"]


@pytest.mark.parametrize("value", ["", "0", "false"])
def test_a_parameter_that_says_no_makes_no_test(
    client: FlaskClient, make_link: MakeLink, stored: Stored, value: str
) -> None:
    client.get(f"/{make_link().code}?tracker_test={value}&not_tracker_test=Abcd1234")
    assert [told(event) for event in stored()] == [(Verdict.COUNTED, None)]


@pytest.mark.parametrize("value", ["1", "Abcd1234", "abc-def!", "A" * 33, "%00"])
def test_a_code_that_nobody_has_issued_is_a_test_of_which_the_code_is_not_kept(
    client: FlaskClient, make_link: MakeLink, session: Session, stored: Stored, value: str
) -> None:
    client.get(f"/{make_link().code}?tracker_test={value}")
    (event,) = stored()
    assert (event.verdict, event.detail, event.rule) == (Verdict.TEST, None, "test: nobody has issued this code")
    assert session.scalar(select(InternedText.id).where(InternedText.text == value)) is None


def test_an_expired_code_is_a_test_still(
    crowd: Crowd, make_link: MakeLink, session: Session, code: str, stored: Stored
) -> None:
    link = make_link()
    crowd.clock.now_ms = days.to_ms(days.now())
    crowd.get(f"/{link.code}?tracker_test={code}")
    testcodes.end(session, session.get_one(TestCode, code), days.from_ms(crowd.clock.now_ms + 1000))
    crowd.clock.forward(s=2)
    crowd.get(f"/{link.code}?tracker_test={code}")
    first, second = stored()
    assert told(first) == (Verdict.TEST, code)
    assert (*told(second), second.rule) == (Verdict.TEST, None, "test: the code has expired")


def test_another_workspaces_code_is_nobodys_here(
    client: FlaskClient, make_link: MakeLink, session: Session, store: EventStore, stored: Stored, workspace: Workspace
) -> None:
    other = Workspace(name="Other", key="other-key")
    session.add(other)
    session.commit()
    foreign = testcodes.start(session, other, days.now())
    client.get(f"/{make_link().code}?tracker_test={foreign.code}")
    (event,) = stored()
    assert told(event) == (Verdict.TEST, None)
    assert store.tests(other.id, foreign.code, since_ms=0, limit=10) == []
    assert store.tests(workspace.id, None, since_ms=0, limit=10) == [event]
    with pytest.raises(NotFound):
        testcodes.find(session, workspace, foreign.code)


@pytest.mark.parametrize(
    ("path", "headers", "rule"),
    [
        ("/{}", {}, None),
        ("/{}", {"User-Agent": "curl/8.4.0"}, "otherwise bot: is-bot: “curl”"),
        ("/i/{}.gif", {"User-Agent": "Mozilla/5.0"}, "otherwise machine_open: fetched at delivery: "),
        ("/{}", {"Referer": "https://eur01.safelinks.protection.outlook.com/"}, "otherwise counted: rewritten link: "),
        ("/{}", {"Cookie": "tracker_optout=1"}, None),
        ("/h/{}", {}, "otherwise scanner: honeypot"),
    ],
)
def test_a_test_says_what_it_would_be_without_its_code(
    app: object,
    client: FlaskClient,
    make_link: MakeLink,
    code: str,
    stored: Stored,
    path: str,
    headers: dict[str, str],
    rule: str | None,
) -> None:
    client.get(path.format(make_link().code) + f"?tracker_test={code}", headers={"User-Agent": BROWSER} | headers)
    (event,) = stored()
    assert told(event) == (Verdict.TEST, code)
    assert event.rule == rule or (rule and (event.rule or "").startswith(rule))


def test_tests_make_no_double_click_flood_or_sweep_of_a_persons_hits(
    crowd: Crowd, make_link: MakeLink, code: str, stored: Stored
) -> None:
    links = [make_link(code=f"link-{number}") for number in range(6)]
    for link in links:
        crowd.get(f"/{link.code}?tracker_test={code}")
    crowd.get(f"/h/{links[0].code}?tracker_test={code}")
    crowd.get(f"/{links[0].code}")
    assert [Verdict(event.verdict).word for event in stored()] == ["test"] * 7 + ["counted"]


def test_tests_of_a_code_are_found_newest_first_and_no_more_than_asked_for(
    crowd: Crowd, make_link: MakeLink, code: str, stored: Stored, store: EventStore, workspace: Workspace
) -> None:
    link = make_link()
    crowd.clock.now_ms = days.to_ms(days.now())
    for _ in range(3):
        crowd.get(f"/{link.code}?tracker_test={code}")
        crowd.clock.forward(s=1)
    first, second, third = stored()
    assert store.tests(workspace.id, code, since_ms=0, limit=2) == [third, second]
    assert store.tests(workspace.id, code, since_ms=second.at_ms, limit=10) == [third, second]
    assert store.tests(workspace.id, "Unheard0", since_ms=0, limit=10) == []
    assert first.detail == code


def test_so_many_tests_are_under_way_at_once_and_an_old_one_is_forgotten(
    session: Session, workspace: Workspace, settings: Settings, store: EventStore
) -> None:
    now = days.now()
    made = [testcodes.start(session, workspace, now) for _ in range(testcodes.AT_ONCE_MAX)]
    with pytest.raises(Invalid):
        testcodes.start(session, workspace, now)
    testcodes.end(session, made[0], now)
    assert len(testcodes.start(session, workspace, now).code) == testcodes.LENGTH
    on = jobs.Installation(settings, session.get_bind().engine, store)
    jobs.forget_tests(on, now + testcodes.KEPT_FOR)
    assert len(testcodes.listed(session, workspace)) == testcodes.AT_ONCE_MAX + 1
    jobs.forget_tests(on, now + testcodes.KEPT_FOR + timedelta(seconds=1))
    assert len(testcodes.listed(session, workspace)) == testcodes.AT_ONCE_MAX
    jobs.forget_tests(on, now + testcodes.VALID_FOR + testcodes.KEPT_FOR + timedelta(seconds=1))
    assert testcodes.listed(session, accounts.ensure_workspace(session)) == []
