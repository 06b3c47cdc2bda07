"""The report against counted truth, on local days, over links and placements."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import count
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from tests.databases import examples
from tracker import claims, clickid, conversions, days, links
from tracker.config import Settings
from tracker.destinations import OwnDomain
from tracker.events import Kind, Verdict
from tracker.models import Conversion, Link, Workspace
from tracker.reports import campaign as reports
from tracker.reports import filters, sold
from tracker.reports.campaign import Period
from tracker.reports.facts import Facts
from tracker.reports.grouping import by_field
from tracker.reports.metrics import DEFINITIONS, Sales, Totals
from tracker.salesums import SaleSums
from tracker.stores import Batch, Cell, Dimension, EventStore, Selection, StoredEvent

MakeLink = Callable[..., Link]
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
def happen(store: EventStore) -> Callable[..., None]:
    """Stores `n` events of a link at an instant."""
    batches = iter(range(10**6))
    nonces = iter(range(10**9))

    def happen(link: Link, kind: Kind, at: datetime, n: int = 1, verdict: Verdict = Verdict.COUNTED) -> None:
        rows = [
            StoredEvent(
                at_ms=days.to_ms(at),
                nonce=(nonce := next(nonces)),
                kind=kind,
                verdict=verdict,
                workspace_id=link.workspace_id,
                campaign_id=link.campaign_id,
                link_id=link.id,
                visitor=nonce,
                agent=None,
                detail=None,
                rule=None,
                referrer=None,
                language=None,
                device=None,
                os=None,
                browser=None,
                country=None,
                channel=None,
            )
            for _ in range(n)
        ]
        store.append(Batch(f"s{next(batches)}", 0, 1, rows))

    return happen


@pytest.fixture
def convert(session: Session, workspace: Workspace, settings: Settings) -> Callable[..., None]:
    """Records a sale of a click at an instant."""
    numbers = iter(range(1, 10**6))

    def convert(link: Link, at: datetime, **params: str) -> None:
        number = next(numbers)
        cid = clickid.make(settings.secrets.click_key, link.id, days.to_ms(at), number)
        sighting = claims.Sighting(days.to_ms(at) + 1000, number, "callback")
        sale = {"cid": cid, "order": str(number)} | params
        conversions.record(session, workspace, sale, sighting, settings.secrets.keys)
        session.commit()

    return convert


def test_metrics_are_those_that_are_defined() -> None:
    reckoned = {name for name, found in vars(Totals).items() if isinstance(found, property) and name[0] != "_"}
    assert set(Totals.__slots__) | reckoned == set(DEFINITIONS)


def test_ctr_leaves_out_links_without_impressions_and_the_rest_counts_all(
    session: Session,
    store: EventStore,
    workspace: Workspace,
    make_link: MakeLink,
    happen: Callable[..., None],
    convert: Callable[..., None],
) -> None:
    mail, advert = make_link(content="mail"), make_link(content=None, source="google", medium="cpc")
    at = datetime(2026, 11, 20, 9, tzinfo=UTC)
    happen(mail, Kind.IMPRESSION, at, 100)
    happen(mail, Kind.CLICK, at, 10)
    happen(advert, Kind.CLICK, at, 30)
    happen(advert, Kind.CLICK, at, 5, Verdict.BOT)
    happen(mail, Kind.IMPRESSION, at, 2, Verdict.PREFETCH)
    convert(advert, at, value="10", currency="EUR")
    convert(advert, at, value="500", currency="JPY")
    convert(advert, at, value="7", status="rejected")
    period = Period(date(2026, 11, 20), date(2026, 11, 20))
    built = reports.build(
        session, store, workspace, mail.campaign, period, now=NOW, compare=True, group_by=["content", "source"]
    )
    found = built.totals
    assert (found.impressions, found.clicks, found.conversions) == (100, 40, 2)
    assert (found.ctr.hits, found.ctr.trials, found.ctr.value) == (10, 100, 0.1)
    assert found.conversion_rate.value == 2 / 40
    assert [(money.currency, money.amount) for money in found.revenue] == [("EUR", "10.00"), ("JPY", "500")]
    assert found.filtered == {"bot": 5, "prefetch": 2}
    by_content = {group.key: group.totals for group in built.groups["content"]}
    assert by_content[None].ctr.value is None
    assert by_content["mail"].conversion_rate.value == 0
    assert {group.key: group.totals.clicks for group in built.groups["source"]} == {"google": 30, "newsletter": 10}


class Looked(list[Cell]):
    """Cells that know how often one of them was looked at."""

    times = 0

    def __iter__(self) -> Iterator[Cell]:
        for cell in super().__iter__():
            self.times += 1
            yield cell


class SalesByLink(dict[int, Sales]):
    """Sales that must be asked for by their link, not gone through."""

    def __iter__(self) -> Iterator[int]:
        raise AssertionError("all sales were gone through for the links of one group")

    def items(self) -> Any:
        return iter(self)


def test_each_cell_is_looked_at_once_however_many_groups_there_are() -> None:
    made = [Link(id=number, code=f"code{number}", content=f"content{number % 7}") for number in range(1, 51)]
    cells = Looked(Cell(link.id, Kind.CLICK, Verdict.COUNTED, link.id, 2, 1) for link in made)
    sales = SalesByLink({link.id: Sales(1, {"EUR": link.id}) for link in made[::2]})
    for name, groups in (("link", 50), ("content", 7)):
        cells.times = 0
        found = by_field(made, Facts(cells=cells, sales=sales, outside=0), name)
        assert (len(found), cells.times) == (groups, 50)
        assert sum(group.totals.clicks for group in found) == sum(range(1, 51))
        assert sum(group.totals.conversions for group in found) == 25
        assert all(group.totals.clicks == sum(link.id for link in group.links) for group in found)


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/New_York"])
def test_days_are_those_of_the_workspace(
    session: Session,
    store: EventStore,
    workspace: Workspace,
    make_link: MakeLink,
    happen: Callable[..., None],
    convert: Callable[..., None],
    zone: str,
) -> None:
    workspace.timezone = zone
    session.commit()
    link, day = make_link(), date(2026, 10, 25)
    start = days.start_of(day, ZoneInfo(zone))
    end = days.start_of(day + timedelta(days=1), ZoneInfo(zone))
    for at in (start - timedelta(milliseconds=1), start, end - timedelta(milliseconds=1), end):
        happen(link, Kind.CLICK, at)
        convert(link, at)
    period = Period(day - timedelta(days=1), day + timedelta(days=1))
    built = reports.build(session, store, workspace, link.campaign, period, now=NOW)
    assert [(point.clicks, point.conversions) for point in built.series] == [(1, 1), (2, 2), (1, 1)]
    hours = reports.build(session, store, workspace, link.campaign, Period(day, day), now=NOW, interval="hour").series
    assert len(hours) == (end - start) / timedelta(hours=1)
    assert len({point.at.isoformat() for point in hours}) == len(hours)
    assert (hours[0].clicks, hours[-1].clicks, sum(point.conversions for point in hours)) == (1, 1, 2)
    weeks = reports.build(session, store, workspace, link.campaign, period, now=NOW, interval="week").series
    assert [(point.at, point.clicks) for point in weeks] == [(date(2026, 10, 24), 3), (date(2026, 10, 26), 1)]


def test_a_link_that_moved_is_still_reported_where_it_was(
    session: Session, store: EventStore, workspace: Workspace, make_link: MakeLink, happen: Callable[..., None]
) -> None:
    link = make_link()
    first = link.campaign
    happen(link, Kind.CLICK, NOW, 3)
    links.edit(session, workspace, link, {"campaign": "other"}, OwnDomain(()))
    period = Period(NOW.date(), NOW.date())
    for campaign, clicks in ((first, 3), (link.campaign, 0)):
        built = reports.build(session, store, workspace, campaign, period, now=NOW, group_by=["link"])
        assert (built.totals.clicks, [group.totals.clicks for group in built.groups["link"]]) == (clicks, [clicks])


def test_periods_default_to_whole_days_and_run_to_today_when_only_begun(workspace: Workspace) -> None:
    assert reports.default_period(workspace, NOW) == Period(date(2026, 11, 7), date(2026, 11, 20))
    assert reports.default_period(workspace, NOW).before == Period(date(2026, 10, 24), date(2026, 11, 6))
    assert reports.read_period(workspace, "2026-11-19", None, NOW) == Period(date(2026, 11, 19), date(2026, 11, 21))
    assert reports.read_period(workspace, None, "2026-11-14", NOW) == Period(date(2026, 11, 1), date(2026, 11, 14))


def test_a_campaign_that_began_today_is_told_apart(
    store: EventStore, workspace: Workspace, make_link: MakeLink, happen: Callable[..., None]
) -> None:
    link = make_link()
    assert reports.began_today(store, link.campaign, workspace, NOW)
    happen(link, Kind.CLICK, NOW)
    assert reports.began_today(store, link.campaign, workspace, NOW)
    happen(link, Kind.CLICK, NOW - timedelta(days=1))
    assert not reports.began_today(store, link.campaign, workspace, NOW)


def test_however_many_conversions_no_more_is_held_of_them_than_there_are_values(
    session: Session, make_link: MakeLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sold, "ADDED_AT_ONCE", 10)
    most, add = [0], sold._Sums.add

    def watched(self: Any, values: Any, minors: Any) -> None:
        most.append(len(values))
        add(self, values, minors)

    monkeypatch.setattr(sold._Sums, "add", watched)
    link = make_link()
    own = {"workspace_id": link.workspace_id, "campaign_id": link.campaign_id, "link_id": link.id, "goal": "sale"}
    for n in range(95):
        session.add(
            Conversion(
                **own,
                dedup_key=f"o:{n}",
                click_id=str(n),
                click_at_ms=1000 + n,
                click_nonce=n,
                status="approved",
                currency=("EUR", "USD", None)[n % 3],
                minor=n if n % 3 != 2 else None,
                click_device=("mobile", None)[n % 2],
                converted_at_ms=days.to_ms(NOW),
            )
        )
    session.commit()
    only = Selection(frozenset([link.id]))
    found = sold.breakdowns(session, link.campaign_id, 0, 1, [Dimension.DEVICE, Dimension.OS], only)
    assert max(most) <= 10
    assert len(most) > 2 * 95 // 10
    expected = {
        sold.Sold(device, currency, len(same), sum(n for n in same if currency))
        for number, device in enumerate(("mobile", None))
        for place, currency in enumerate(("EUR", "USD", None))
        if (same := [n for n in range(95) if n % 2 == number and n % 3 == place])
    }
    assert set(found[Dimension.DEVICE]) == expected
    assert len(found[Dimension.DEVICE]) == 6
    assert sorted(one.n for one in found[Dimension.OS]) == [31, 32, 32]
    nothing = sold.breakdowns(session, link.campaign_id, 1, 9, [Dimension.DEVICE], only)
    assert nothing == {Dimension.DEVICE: []}


KNOWN = st.fixed_dictionaries(
    {name: st.sampled_from([None, f"{name}-a", f"{name}-b"]) for name in filters.DIMENSIONS if name != "channel"}
)
HAPPENED = st.lists(
    st.tuples(
        st.sampled_from([Kind.IMPRESSION, Kind.CLICK]),
        st.sampled_from([Verdict.COUNTED, Verdict.COUNTED, Verdict.BOT]),
        st.integers(0, 71),
        st.integers(0, 1),
        st.integers(1, 5),
        st.booleans(),
        KNOWN,
    ),
    max_size=30,
)
_shifts = count(1)


@given(hits=HAPPENED, cut=st.sampled_from([None, *filters.NAMES]))
@hypothesis_settings(
    max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_every_table_adds_up_to_the_totals(
    session: Session, store: EventStore, workspace: Workspace, make_link: MakeLink, hits: Any, cut: str | None
) -> None:
    shift = next(_shifts)
    pair = [make_link(campaign=f"c{shift}", content=f"{cut}-a" if one else None) for one in (0, 1)]
    rows, sums = [], SaleSums()
    for number, (kind, verdict, hour, which, visitor, is_sold, known) in enumerate(hits):
        link, at = pair[which], datetime(2026, 11, 18, tzinfo=UTC) + timedelta(hours=hour, milliseconds=shift)
        event_id = (days.to_ms(at), 1000 * shift + number)
        own = (link.workspace_id, link.campaign_id, link.id)
        rows.append(StoredEvent(*event_id, kind, verdict, *own, visitor, *[None] * 10)._replace(**known))
        if is_sold and kind == Kind.CLICK:
            sale = Conversion(
                workspace_id=own[0],
                campaign_id=own[1],
                # What was given to the campaign by hand has none.
                link_id=own[2] if visitor > 1 or cut in filters.LINK_FIELDS else None,
                goal="sale",
                dedup_key=f"o:{event_id[1]}",
                click_id=str(event_id[1]),
                click_at_ms=event_id[0],
                click_nonce=event_id[1],
                status="approved",
                minor=100 + number,
                currency="EUR",
                converted_at_ms=days.to_ms(at),
            )
            for dimension in Dimension:
                setattr(sale, f"click_{dimension.word}", getattr(rows[-1], dimension.word))
            session.add(sale)
            session.flush()
            sums.after(sale)
    sums.write(session)
    session.commit()
    store.append(Batch(f"sums-{shift}", 0, 1, rows))
    built = reports.build(
        session,
        store,
        workspace,
        pair[0].campaign,
        Period(date(2026, 11, 18), date(2026, 11, 19)),
        now=NOW,
        group_by=filters.NAMES,
        filters=filters.read({cut: f"{cut}-a"} if cut else {}),
    )
    for name, groups in built.groups.items():
        for metric in ("impressions", "clicks", "conversions"):
            found = sum(getattr(group.totals, metric) for group in groups)
            assert found == getattr(built.totals, metric), (name, metric)
        money = sum(amount.minor for group in groups for amount in group.totals.revenue)
        assert money == sum(amount.minor for amount in built.totals.revenue), name
        if name in filters.DIMENSIONS:
            assert sum(group.totals.unique_clicks for group in groups) == built.totals.unique_clicks, name
    for metric in ("impressions", "clicks", "conversions"):
        assert sum(getattr(point, metric) for point in built.series) == getattr(built.totals, metric)
