"""The hours of the week, in the workspace's zone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from tests.conftest import Api
from tests.contract.test_store import append, event
from tracker import days
from tracker.events import Kind
from tracker.models import Link, Workspace
from tracker.reports import weekhours
from tracker.reports.facts import Facts
from tracker.stores import EventStore
from tracker.web import heat

pytestmark = pytest.mark.any_database

MakeLink = Callable[..., Link]


def test_hits_stand_in_their_local_hour_of_the_week(
    api: Api, session: Session, store: EventStore, workspace: Workspace, make_link: MakeLink
) -> None:
    """Over the night when clocks are put back, in a zone a quarter of an hour off."""
    for name, first in (("Asia/Kathmandu", date(2026, 10, 19)), ("Europe/Berlin", date(2026, 10, 19))):
        workspace.timezone = name
        session.commit()
        zone, link = ZoneInfo(name), make_link(campaign=name)
        start = days.to_ms(days.start_of(first, zone))
        rows = [
            event(
                number,
                at_ms=start + number * 37 * 60_000,
                kind=Kind.CLICK if number % 3 else Kind.IMPRESSION,
                campaign_id=link.campaign_id,
                link_id=link.id,
                visitor=number,
            )
            for number in range(500)
        ]
        append(store, *(row._replace(nonce=row.nonce + 1000 * link.id) for row in rows), segment=name)
        last = days.from_ms(rows[-1].at_ms).astimezone(zone).date()
        wanted: Counter[tuple[str, int]] = Counter()
        for row in rows:
            local = days.from_ms(row.at_ms).astimezone(zone)
            wanted[f"{local.isoweekday()}T{local.hour:02}", row.kind] += 1
        path = f"/campaigns/{link.campaign.slug}/stats?group_by=weekhour&from={first}&to={last}"
        groups = api("GET", path).json["groups"]
        assert len(groups) == 168
        for group in groups:
            assert group["impressions"] == wanted[group["key"], Kind.IMPRESSION], (name, group)
            assert group["clicks"] == wanted[group["key"], Kind.CLICK], (name, group)


def test_a_long_period_is_refused_by_name_and_shown_without(api: Api, owner: FlaskClient, make_link: MakeLink) -> None:
    make_link()
    today = datetime.now(UTC).date()
    asked = {"from": str(today - timedelta(days=100)), "to": str(today)}
    refused = api("GET", "/campaigns/spring-sale/stats", query_string=asked | {"group_by": "weekhour"})
    assert refused.status_code == 422
    assert refused.json["errors"][0]["field"] == "group_by"
    assert 'id="week"' not in owner.get("/app/campaigns/spring-sale", query_string=asked).text


def test_a_cell_is_the_deeper_the_more_happened(owner: FlaskClient, store: EventStore, make_link: MakeLink) -> None:
    link = make_link()
    noon = days.to_ms(datetime.now(UTC).replace(hour=12, minute=5)) - 2 * days.DAY_MS
    own = {"campaign_id": link.campaign_id, "link_id": link.id}
    append(store, *(event(n, at_ms=noon + n, visitor=n, **own) for n in range(7)))
    append(store, event(99, at_ms=noon + 3 * 3_600_000, visitor=99, **own), segment="b")
    page = owner.get("/app/campaigns/spring-sale").text
    rows = re.findall(r'<tr><th scope="row">(\d\d)</th>((?:<td class="level-\d">\d*</td>){7})</tr>', page)
    assert [hour for hour, _ in rows] == [f"{hour:02}" for hour in range(24)]
    filled = [(hour, found) for hour, row in rows for found in re.findall(r'"level-([1-7])">(\d+)<', row)]
    assert filled == [("12", ("7", "7")), ("15", ("1", "1"))]
    assert "o’clock: 7." in page


def test_facts_that_were_not_read_by_the_hour_are_refused() -> None:
    with pytest.raises(ValueError, match="hour"):
        weekhours.of(Facts([], {}, 0, step=96))


def test_an_empty_week_has_no_busiest_hour() -> None:
    found = heat.draw(weekhours.of(Facts([], {}, 0, step=4)), "ctr")
    assert found.busiest is None
    assert {cell.level for _, cells in found.rows for cell in cells} == {0}
