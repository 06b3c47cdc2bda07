"""The overview: every campaign with what it brought, sorted, searched and paged, against counted truth."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from tests.contract.test_store import append, event
from tracker import days
from tracker.events import Kind, Verdict
from tracker.models import Link, Workspace
from tracker.reports import overview
from tracker.reports.campaign import Period
from tracker.stores import EventStore, StoredEvent

MakeLink = Callable[..., Link]
Happen = Callable[..., None]


@pytest.fixture
def happen(store: EventStore) -> Happen:
    """Stores so many events of a link on a day of so many ago, at noon."""
    kept: list[StoredEvent] = []

    def make(link: Link, n: int, kind: Kind = Kind.CLICK, *, ago: int = 1, verdict: Verdict = Verdict.COUNTED) -> None:
        noon = days.to_ms(datetime.now(UTC).replace(hour=12, minute=0)) - ago * days.DAY_MS
        rows = [
            event(
                len(kept) + number,
                at_ms=noon + number,
                kind=kind,
                verdict=verdict,
                workspace_id=link.workspace_id,
                campaign_id=link.campaign_id,
                link_id=link.id,
                visitor=len(kept) + number,
            )
            for number in range(n)
        ]
        kept.extend(rows)
        if rows:
            append(store, *rows, segment=f"s{len(kept)}")

    return make


def names(page: str) -> list[str]:
    return re.findall(r'<th scope="row"><a [^>]*>([^<]+)</a>', page)


def test_campaigns_are_listed_with_totals_changes_and_a_line(
    owner: FlaskClient, make_link: MakeLink, happen: Happen
) -> None:
    busy, quiet = make_link(campaign="busy"), make_link(campaign="quiet")
    happen(busy, 400, Kind.IMPRESSION)
    happen(busy, 30)
    happen(busy, 20, ago=20)
    happen(busy, 5, verdict=Verdict.BOT)
    happen(quiet, 3, ago=3)
    page = owner.get("/app/").text
    assert names(page) == ["busy", "quiet"]
    row = page[page.index(">busy</a>") : page.index(">quiet</a>")]
    assert "<polyline" in row
    assert re.search(r">30<small[^>]*>.*?\+50 %", row)
    assert "7.5 %" in row
    totals = page[page.index('id="totals"') : page.index('id="campaigns"')]
    assert re.search(r'data-metric="clicks">33<', totals)
    assert "unmatched" not in page


@pytest.mark.any_database
def test_a_list_is_sorted_by_any_column_both_ways_and_what_has_no_value_comes_last(
    owner: FlaskClient, make_link: MakeLink, happen: Happen
) -> None:
    for name, seen, clicked in (("alpha", 100, 1), ("beta", 0, 50), ("gamma", 100, 9)):
        link = make_link(campaign=name)
        happen(link, seen, Kind.IMPRESSION)
        happen(link, clicked)
    for query, order in (
        ("", ["beta", "gamma", "alpha"]),
        ("?sort=clicks&order=asc", ["alpha", "gamma", "beta"]),
        ("?sort=ctr&order=desc", ["gamma", "alpha", "beta"]),
        ("?sort=ctr&order=asc", ["alpha", "gamma", "beta"]),
        ("?sort=name", ["alpha", "beta", "gamma"]),
        ("?sort=name&order=desc", ["gamma", "beta", "alpha"]),
        ("?sort=nonsense", ["beta", "gamma", "alpha"]),
    ):
        page = owner.get(f"/app/{query}").text
        assert names(page) == order, query
    page = owner.get("/app/?sort=ctr&order=asc").text
    assert page.count("aria-sort") == 1
    assert re.search(r'aria-sort="ascending"><a href="\?[^"]*sort=ctr&amp;order=desc', page)


@pytest.mark.any_database
def test_a_list_is_searched_and_says_what_was_not_found(
    owner: FlaskClient, make_link: MakeLink, happen: Happen
) -> None:
    for name in ("Spring_50%", "autumn"):
        happen(make_link(campaign=name), 2)
    assert names(owner.get("/app/?q=AUT").text) == ["autumn"]
    assert names(owner.get("/app/", query_string={"q": "50%"}).text) == ["Spring_50%"]
    page = owner.get("/app/", query_string={"q": '"><b>'}).text
    assert names(page) == []
    assert "No campaign has “&#34;&gt;&lt;b&gt;”" in page
    assert 'value="&#34;&gt;&lt;b&gt;"' in page


@pytest.mark.any_database
def test_a_long_list_comes_in_pages_that_keep_their_order(owner: FlaskClient, make_link: MakeLink) -> None:
    for number in range(27):
        make_link(campaign=f"c{number:02}")
    first = owner.get("/app/?sort=name").text
    assert names(first) == [f"c{number:02}" for number in range(25)]
    onward = re.search(r'rel="next" href="(\?[^"#]*)', first)
    assert onward
    second = owner.get(f"/app/{onward[1].replace('&amp;', '&')}").text
    assert names(second) == ["c25", "c26"]
    for page in ("99", "0", "-1", "x", "१"):
        assert owner.get(f"/app/?sort=name&page={page}").status_code == 200


@pytest.mark.any_database
def test_days_that_cannot_be_read_are_named_at_their_field(owner: FlaskClient, make_link: MakeLink) -> None:
    make_link()
    answer = owner.get("/app/?from=2026-02-30&to=2026-03-01")
    assert answer.status_code == 422
    assert 'id="from-error"' in answer.text
    assert 'value="2026-02-30"' in answer.text
    answer = owner.get("/app/?compare=custom&compare_from=yesterday")
    assert answer.status_code == 422
    assert 'id="compare_from-error"' in answer.text


@pytest.mark.any_database
def test_nothing_of_another_workspace_is_shown(
    owner: FlaskClient, session: Session, make_link: MakeLink, happen: Happen
) -> None:
    other = Workspace(name="Other", key="k" * 20)
    session.add(other)
    session.flush()
    link = make_link(campaign="theirs")
    link.workspace_id = link.campaign.workspace_id = other.id
    session.commit()
    happen(link, 5)
    page = owner.get("/app/").text
    assert "theirs" not in page


def test_what_is_read_together_is_what_was_counted(
    session: Session, store: EventStore, workspace: Workspace, make_link: MakeLink
) -> None:
    """Random events in a zone with a quarter of an hour in its offset, and a period that daylight saving cuts."""
    chance, zone = random.Random(6), ZoneInfo("Australia/Lord_Howe")
    workspace.timezone = zone.key
    session.commit()
    links = [make_link(campaign=f"c{number % 3}", code=f"code{number}") for number in range(6)]
    period = Period(date(2026, 3, 30), date(2026, 4, 8))
    start = days.to_ms(days.start_of(period.first, zone))
    end = days.to_ms(days.start_of(period.last + timedelta(days=1), zone))
    rows = []
    for nonce in range(900):
        link = chance.choice(links)
        rows.append(
            event(
                nonce,
                at_ms=chance.randrange(start - days.DAY_MS, end + days.DAY_MS),
                kind=chance.choice([Kind.IMPRESSION, Kind.CLICK]),
                verdict=chance.choice([Verdict.COUNTED, Verdict.COUNTED, Verdict.BOT]),
                campaign_id=link.campaign_id,
                link_id=link.id,
                visitor=nonce,
            )
        )
    append(store, *sorted(rows, key=lambda row: row.at_ms))
    counted: Counter[Any] = Counter()
    clicks: Counter[Any] = Counter()
    for row in rows:
        if row.verdict == Verdict.COUNTED and start <= row.at_ms < end:
            counted[row.campaign_id, row.kind] += 1
            if row.kind == Kind.CLICK:
                clicks[row.campaign_id, days.from_ms(row.at_ms).astimezone(zone).date()] += 1
    found = overview.build(session, store, workspace, period)
    assert found.before is None
    for line in found.lines:
        assert line.campaign is not None
        assert line.totals.impressions == counted[line.campaign.id, Kind.IMPRESSION]
        assert line.totals.clicks == counted[line.campaign.id, Kind.CLICK]
        assert line.before is None
    assert found.all.totals.clicks == sum(line.totals.clicks for line in found.lines)
    campaigns = [line.campaign for line in found.lines if line.campaign]
    by_day = overview.clicks_by_day(store, campaigns, period, zone)
    for campaign in campaigns:
        wanted = [clicks[campaign.id, day] for day in days.dates(period.first, period.last)]
        assert by_day[campaign.id] == wanted


def test_more_campaigns_than_one_statement_takes_are_read_all_the_same(store: EventStore) -> None:
    ids = list(range(1, 602))
    append(store, *(event(number, campaign_id=number, link_id=number) for number in ids))
    found = store.totals_of(ids, 0, 10**9)
    assert {(row.campaign_id, row.n) for row in found} == {(number, 1) for number in ids}
    assert store.totals_of([], 0, 10**9) == []
