"""When an impression, a click and a conversion last counted on a link, in words and as an instant."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from tests.crowd import Crowd
from tracker import days, links
from tracker.destinations import OwnDomain
from tracker.events import Kind, Verdict
from tracker.models import Link, Workspace
from tracker.reports import lastseen
from tracker.stores import LAST_DAYS_MAX, Batch, EventStore, Last, Revision, StoredEvent

pytestmark = pytest.mark.any_database

MakeLink = Callable[..., Link]
Load = Callable[[], int]
DAY_MS = 86_400_000
BUCKET_MS = days.BUCKET_MS
NOON = 20_000 * DAY_MS + 43_200_000


def hit(at_ms: int, link_id: int, kind: int = Kind.CLICK, verdict: int = Verdict.COUNTED) -> StoredEvent:
    return StoredEvent(at_ms, link_id, kind, verdict, 1, 7, link_id, None, *[None] * 10)


def append(store: EventStore, *events: StoredEvent) -> None:
    store.append(Batch("s", store.position("s"), store.position("s") + 1, events))


def cell(page: str, what: str) -> str:
    found = re.search(rf'<th scope="row" class="muted">Last {what}</th><td>(.*?)</td>', page, re.DOTALL)
    assert found
    return html.unescape(found[1])


@pytest.mark.parametrize("days_ago", [0, 1, 2, 31, 32, LAST_DAYS_MAX - 1])
def test_the_newest_hit_that_counts_is_found_however_many_days_it_is_past(store: EventStore, days_ago: int) -> None:
    last_ms = NOON - days_ago * DAY_MS
    append(
        store,
        hit(last_ms - 3 * BUCKET_MS, 1),
        hit(last_ms - 1, 1),
        hit(last_ms, 1),
        hit(last_ms, 2, Kind.IMPRESSION),
        hit(last_ms + 1, 1, verdict=Verdict.BOT),
        hit(last_ms + BUCKET_MS, 1, verdict=Verdict.TEST),
        hit(last_ms + BUCKET_MS, 3),
    )
    found = store.last_seen(7, [1, 2], 20_000, looked_at_max=100)
    bucket = last_ms // BUCKET_MS
    assert sorted(found) == [Last(1, Kind.CLICK, bucket, last_ms), Last(2, Kind.IMPRESSION, bucket, last_ms)]
    assert store.last_seen(8, [1, 2], 20_000, looked_at_max=100) == []


def test_what_was_taken_back_was_not_seen_and_what_was_before_it_was(store: EventStore) -> None:
    append(store, hit(NOON - DAY_MS, 1), hit(NOON, 1))
    store.revise([Revision(NOON, 1, Verdict.SCANNER)])
    (found,) = store.last_seen(7, [1], 20_000, looked_at_max=100)
    assert found.at_ms == NOON - DAY_MS


def test_beyond_the_days_that_are_looked_at_nothing_is_found(store: EventStore) -> None:
    append(store, hit(NOON - LAST_DAYS_MAX * DAY_MS, 1))
    assert store.last_seen(7, [1], 20_000, looked_at_max=100) == []


def test_of_a_busy_quarter_or_a_pruned_day_the_quarter_is_known_and_not_the_instant(store: EventStore) -> None:
    append(store, hit(NOON, 1), *(hit(NOON + number, 2) for number in range(1, 6)))
    bucket = NOON // BUCKET_MS
    assert Last(1, Kind.CLICK, bucket, None) in store.last_seen(7, [1, 2], 20_000, looked_at_max=5)
    assert Last(1, Kind.CLICK, bucket, NOON) in store.last_seen(7, [1, 2], 20_000, looked_at_max=6)
    store.prune(days.from_ms(NOON + DAY_MS))
    assert store.last_seen(7, [2], 20_000, looked_at_max=6) == [Last(2, Kind.CLICK, bucket, None)]


def test_a_links_page_and_the_list_say_how_long_ago_with_the_instant_beside_it(
    owner: FlaskClient, crowd: Crowd, make_link: MakeLink, load: Load
) -> None:
    make_link(code="teapot")
    crowd.clock.now_ms = days.to_ms(days.now() - timedelta(minutes=3))
    crowd.get("/teapot")
    crowd.get("/i/teapot.gif", "curl/8.4.0")
    load()
    page = owner.get("/app/links/teapot").text
    assert "3 minutes ago" in cell(page, "click")
    assert f'datetime="{days.from_ms(crowd.clock.now_ms).isoformat(timespec="seconds")}"' in cell(page, "click")
    assert "never" in cell(page, "impression")
    assert "paste its pixel beside it" in cell(page, "impression")
    assert "see what to install" in cell(page, "conversion")
    listed = owner.get("/app/debugger").text.partition('id="links"')[2]
    assert listed.count("3 minutes ago") == 1
    assert listed.count("never") == 2


def test_the_last_conversion_is_the_instant_of_the_sale_and_not_of_its_click(
    owner: FlaskClient, client: FlaskClient, make_link: MakeLink, workspace: Workspace, load: Load
) -> None:
    make_link(code="teapot")
    cid = client.get("/teapot").headers["Location"].partition("cid=")[2][:28]
    answer = client.post(f"/c/{workspace.key}", data={"cid": cid, "order": "A-1", "value": "5"})
    assert answer.json["result"] == "recorded"
    load()
    said = cell(owner.get("/app/links/teapot").text, "conversion")
    assert "just now" in said or "second" in said
    assert "quarter of an hour" not in said
    client.post(f"/c/{workspace.key}", data={"order": "A-1", "status": "refunded"})
    assert "never" in cell(owner.get("/app/links/teapot").text, "conversion")


def test_a_link_older_than_what_is_looked_at_is_not_said_never_to_have_been_seen(
    owner: FlaskClient, make_link: MakeLink, session: Session
) -> None:
    link = make_link(code="teapot")
    link.created_at = days.now() - timedelta(days=LAST_DAYS_MAX + 1)
    session.commit()
    assert "not in 400 days" in cell(owner.get("/app/links/teapot").text, "click")


def test_links_are_listed_newest_first_a_page_at_a_time_and_can_be_searched(
    owner: FlaskClient, make_link: MakeLink
) -> None:
    for number in range(30):
        make_link(code=f"link-{number:02}", title="Autumn Pots" if number == 3 else None, campaign=f"c-{number % 2}")
    first = owner.get("/app/debugger").text
    assert first.count("Last click") == 1
    assert first.index("link-29") < first.index("link-05")
    assert "link-04" not in first
    older = re.search(r'href="([^"]+)" rel="next"', first)
    assert older
    assert "link-04" in owner.get(html.unescape(older[1])).text
    assert "Autumn Pots" in owner.get("/app/debugger?q=autumn+p").text
    assert "link-28" not in owner.get("/app/debugger?q=autumn+p").text
    assert "link-07" in owner.get("/app/debugger?q=C-1").text
    assert "link-06" not in owner.get("/app/debugger?q=C-1").text
    for nothing in ("100%25", "_ink", "%00", "x" * 300):
        page = owner.get(f"/app/debugger?q={nothing}")
        assert page.status_code == 200
        assert "No link has" in page.text


def test_another_workspaces_links_are_not_found(owner: FlaskClient, session: Session, make_link: MakeLink) -> None:
    other = Workspace(name="Other", key="other-key")
    session.add(other)
    session.commit()
    draft = links.LinkDraft(destination="https://other.example/", campaign="c", source="s", medium="m", code="foreign")
    links.create(session, other, draft, OwnDomain(("https://go.example",)))
    make_link(code="mine")
    for path in ("/app/debugger", "/app/debugger?q=foreign", "/app/debugger?q=other.example"):
        assert 'href="/app/links/foreign"' not in owner.get(path).text


def test_many_links_are_looked_at_with_few_questions(session: Session, store: EventStore, make_link: MakeLink) -> None:
    made = [make_link() for _ in range(lastseen.LINKS_MAX + 1)]
    found = lastseen.of_links(session, store, made, days.now())
    assert len(found) == lastseen.LINKS_MAX
    assert set(found.values()) == {lastseen.LastSeen(None, None, None)}
