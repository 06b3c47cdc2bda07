"""What was spent, against a ledger kept day by day; rates, roundings, and what no rate or filter can tell."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tracker import claims, clickid, conversions, costs, days, rates
from tracker.campaigning import ChangeEntry
from tracker.config import Settings
from tracker.costs import Entry, Typed
from tracker.errors import Invalid, NotFound, Taken
from tracker.events import Kind, Verdict
from tracker.models import Campaign, Link, Workspace
from tracker.money import Money, Price
from tracker.rates import Rate, Table
from tracker.reports import campaign as reports
from tracker.reports import cost as cost_report
from tracker.reports import filters, sold
from tracker.reports.campaign import CampaignReport, Period
from tracker.reports.metrics import Sales
from tracker.salesums import Axis
from tracker.stores import Batch, EventStore, StoredEvent

pytestmark = pytest.mark.any_database

MakeLink = Callable[..., Link]
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
FIRST = date(2026, 11, 1)
UNKNOWN = ("agent", "detail", "rule", "referrer", "language", "device", "os", "browser", "country", "channel")
NOVEMBER = Period(FIRST, date(2026, 11, 30))


def day(number: int) -> date:
    return FIRST + timedelta(days=number - 1)


@pytest.fixture
def campaign(make_link: MakeLink) -> Campaign:
    return make_link().campaign


@pytest.fixture
def spend(session: Session, workspace: Workspace, campaign: Campaign) -> Callable[..., costs.Stored]:
    def spend(first: int, last: int, amount: str, currency: str = "EUR", origin: str = "form", **more: str) -> Any:
        typed = Typed(f"{day(first)}", f"{day(last)}", amount, currency, **more)
        entry = costs.check(session, workspace, campaign, typed)
        return costs.put(session, workspace, [entry], origin=origin, now=NOW)

    return spend


@pytest.fixture
def rate(session: Session, workspace: Workspace) -> Callable[..., None]:
    def rate(currency: str, from_on: date, text: str) -> None:
        rates.put(session, workspace, [rates.check(workspace, currency, f"{from_on}", text)])

    return rate


@pytest.fixture
def sell(session: Session, workspace: Workspace, settings: Settings) -> Callable[..., None]:
    """Records a sale of a click at an instant."""
    numbers = iter(range(1, 10**6))

    def sell(link: Link, at: datetime, value: str, currency: str = "EUR") -> None:
        number = next(numbers)
        cid = clickid.make(settings.secrets.click_key, link.id, days.to_ms(at), number)
        sale = {"cid": cid, "order": str(number), "value": value, "currency": currency}
        sighting = claims.Sighting(days.to_ms(at) + 1000, number, "callback")
        conversions.record(session, workspace, sale, sighting, settings.secrets.keys)
        session.commit()

    return sell


@pytest.fixture
def report(
    session: Session, store: EventStore, workspace: Workspace, campaign: Campaign
) -> Callable[..., CampaignReport]:
    def report(period: Period = NOVEMBER, *, group_by: tuple[str, ...] = (), **given: Any) -> CampaignReport:
        return reports.build(session, store, workspace, campaign, period, now=NOW, group_by=group_by, **given)

    return report


@given(
    st.integers(-(10**13), 10**13),
    st.integers(1, 400),
    st.lists(st.integers(0, 400), max_size=4),
)
def test_however_a_span_is_cut_its_pieces_add_up_and_days_differ_by_one_unit(
    minor: int, length: int, cuts: list[int]
) -> None:
    last = day(length)
    edges = sorted({1, *(cut + 1 for cut in cuts if cut < length), length + 1})
    pieces = [costs.part(minor, FIRST, last, day(start), day(end - 1)) for start, end in pairwise(edges)]
    assert sum(pieces) == minor
    by_day = {costs.part(minor, FIRST, last, day(number), day(number)) for number in range(1, length + 1)}
    assert max(by_day) - min(by_day) <= 1
    assert costs.part(minor, FIRST, last, date(2020, 1, 1), date(2030, 1, 1)) == minor
    assert costs.part(minor, FIRST, last, date(2020, 1, 1), FIRST - timedelta(days=1)) == 0


def test_of_ten_cents_over_three_days_the_last_has_what_is_left() -> None:
    assert [costs.part(10, FIRST, day(3), day(number), day(number)) for number in (1, 2, 3)] == [3, 3, 4]


def test_an_entry_of_the_same_scope_days_and_origin_is_replaced_and_any_other_adds_up(
    spend: Callable[..., costs.Stored], report: Callable[..., CampaignReport]
) -> None:
    assert spend(1, 10, "100.00") == (1, 0, 0)
    assert spend(1, 10, "100.00") == (0, 0, 1)
    assert spend(1, 10, "50.00") == (0, 1, 0)
    assert spend(1, 10, "7.00", origin="google") == (1, 0, 0)
    assert spend(1, 9, "3.00") == (1, 0, 0)
    assert spend(1, 10, "1.00", source="newsletter") == (1, 0, 0)
    assert report().totals.cost == [Money(6100, "EUR")]


def test_a_period_takes_the_days_that_lie_in_it(
    spend: Callable[..., costs.Stored], report: Callable[..., CampaignReport]
) -> None:
    spend(1, 10, "100.00")
    assert report(Period(day(10), day(20))).totals.cost_total == Money(1000, "EUR")
    assert report(Period(day(3), day(4))).totals.cost_total == Money(2000, "EUR")
    outside = report(Period(day(11), day(20))).totals
    assert (outside.cost, outside.cost_total, outside.cpc, outside.roas) == ([], None, None, None)


def test_each_group_has_what_was_spent_on_it_and_the_rest_is_not_assigned(
    make_link: MakeLink, spend: Callable[..., costs.Stored], report: Callable[..., CampaignReport]
) -> None:
    hero = make_link(content="hero")
    advert = make_link(source="google", medium="cpc", content=None)
    spend(1, 1, "1.00")
    spend(1, 1, "2.00", source="newsletter")
    spend(1, 1, "4.00", source="bing")
    spend(1, 1, "8.00", link=hero.code)
    spend(1, 1, "16.00", link=advert.code)
    found = report(group_by=("source", "medium", "content", "link", "device"))

    def by(name: str) -> dict[str | None, list[Money] | None]:
        return {group.key: group.totals.cost for group in found.groups[name]}

    assert found.totals.cost == [Money(3100, "EUR")]
    assert by("source") == {
        "newsletter": [Money(1000, "EUR")],
        "google": [Money(1600, "EUR")],
        "bing": [Money(400, "EUR")],
    }
    assert by("medium") == {"email": [Money(800, "EUR")], "cpc": [Money(1600, "EUR")]}
    assert by("content") == {"hero": [Money(800, "EUR")], None: [Money(1600, "EUR")]}
    assert found.not_assigned == {
        "source": [Money(100, "EUR")],
        "medium": [Money(700, "EUR")],
        "content": [Money(700, "EUR")],
        "link": [Money(700, "EUR")],
        "device": [],
    }
    narrow = report(filters=filters.read({"source": "newsletter"}))
    assert narrow.totals.cost == [Money(1000, "EUR")]
    assert report(filters=filters.read({"content": "hero"})).totals.cost == [Money(800, "EUR")]
    of_device = report(filters=filters.read({"device": "phone"})).totals
    assert (of_device.cost, of_device.cost_total, of_device.roi) == (None, None, None)


def test_without_a_rate_an_amount_stays_in_its_currency_and_no_rate_is_made_of_a_part(
    campaign: Campaign,
    session: Session,
    spend: Callable[..., costs.Stored],
    sell: Callable[..., None],
    rate: Callable[..., None],
    report: Callable[..., CampaignReport],
    make_link: MakeLink,
) -> None:
    spend(1, 1, "10.00")
    spend(1, 2, "12.00", "USD")
    sell(make_link(), datetime(2026, 11, 2, 9, tzinfo=UTC), "30.00")
    found = report().totals
    assert found.cost == [Money(1000, "EUR"), Money(1200, "USD")]
    assert found.cost_total == Money(1000, "EUR")
    assert found.cost_without_rate == [Money(1200, "USD")]
    assert (found.cpa, found.roas, found.roi) == (None, None, None)
    assert found.aov is not None
    assert found.aov.amount == "30.0000"
    rate("USD", day(2), "0.5")
    found = report().totals
    assert found.cost_total == Money(1300, "EUR")
    assert found.cost_without_rate == [Money(600, "USD")]
    rate("USD", date(2026, 1, 1), "0.25")
    found = report().totals
    assert found.cost == [Money(1000, "EUR"), Money(1200, "USD")]
    assert found.cost_total == Money(1000 + 150 + 300, "EUR")
    assert found.roas == Decimal(3000) / 1450
    assert found.roi == Decimal(1550) / 1450
    assert found.cost_without_rate == []


def test_revenue_is_converted_by_the_rate_of_the_clicks_day_or_the_conversions(
    campaign: Campaign,
    sell: Callable[..., None],
    rate: Callable[..., None],
    report: Callable[..., CampaignReport],
    make_link: MakeLink,
    workspace: Workspace,
    session: Session,
) -> None:
    workspace.timezone = "Asia/Kathmandu"
    session.commit()
    link = make_link(content="hero")
    rate("USD", FIRST, "2")
    rate("USD", day(3), "3")
    # 18:15 in UTC is midnight there.
    sell(link, datetime(2026, 11, 2, 18, 14, 59, tzinfo=UTC), "1.00", "USD")
    sell(link, datetime(2026, 11, 2, 18, 15, tzinfo=UTC), "1.00", "USD")
    sell(link, datetime(2026, 11, 2, 18, 15, tzinfo=UTC), "5.00")
    found = report(group_by=("content",))
    assert found.totals.revenue == [Money(500, "EUR"), Money(200, "USD")]
    assert found.totals.revenue_total == Money(1000, "EUR")
    assert [group.totals.revenue_total for group in found.groups["content"] if group.key] == [Money(1000, "EUR")]
    # A second later each sale was made: the first one's day is the next.
    assert report(axis=Axis.CONVERSION).totals.revenue_total == Money(1100, "EUR")
    assert report(Period(day(2), day(2))).totals.revenue_total == Money(200, "EUR")


def test_conversions_without_a_value_give_no_return_and_none_at_all_give_nought(
    spend: Callable[..., costs.Stored], report: Callable[..., CampaignReport], workspace: Workspace
) -> None:
    spend(1, 1, "10.00")
    found = report().totals
    assert (found.revenue_total, found.roas, found.roi) == (Money(0, "EUR"), 0, -1)
    finances = cost_report.Finances(Table("EUR"), FIRST, day(2), filters.EVERYTHING)
    valueless = finances.of_totals(reports.metrics.totals([], {1: Sales(3)}))
    assert (valueless.revenue_total, valueless.epc, valueless.aov, valueless.roas) == (None, None, None, None)


def test_half_a_cent_goes_to_the_even_side_once_for_each_rate() -> None:
    half = Decimal("0.5")
    for minor, euros in ((1, 0), (3, 2), (5, 2), (7, 4), (-3, -2)):
        found = rates.settle({("USD", half): rates.micros(minor, "USD")}, "EUR")
        assert found.total == Money(euros, "EUR")
    assert rates.settle({("USD", half): 15_000, ("USD", Decimal("0.25")): 10_000}, "EUR").total == Money(1, "EUR")
    assert rates.settle({("JPY", Decimal("0.0061")): rates.micros(1000, "JPY")}, "EUR").total == Money(610, "EUR")
    assert rates.settle({("EUR", rates.ONE): rates.micros(100, "EUR")}, "KWD").amounts == [Money(100, "EUR")]
    assert rates.settle({("USD", None): 0}, "EUR") == rates.Settled([Money(0, "USD")], Money(0, "EUR"), [])


def test_a_rate_holds_from_its_day_until_the_next_and_not_before() -> None:
    table = Table("EUR", [Rate("USD", day(5), Decimal(2)), Rate("USD", day(3), Decimal(1))])
    assert [table.on("USD", day(number)) for number in (2, 3, 4, 5, 30)] == [None, 1, 1, 2, 2]
    assert table.on("EUR", day(1)) == 1
    assert table.on("GBP", day(9)) is None
    assert table.pieces("USD", day(1), day(9)) == [(day(1), day(2), None), (day(3), day(4), 1), (day(5), day(9), 2)]
    assert table.pieces("USD", day(6), day(9)) == [(day(6), day(9), 2)]


@pytest.mark.parametrize("seed", range(6))
def test_random_entries_and_rates_come_to_what_a_ledger_by_the_day_says(
    seed: int,
    session: Session,
    workspace: Workspace,
    campaign: Campaign,
    make_link: MakeLink,
    report: Callable[..., CampaignReport],
) -> None:
    chance = random.Random(seed)
    links = [make_link(content=f"c{number}", source=chance.choice(["a", "b"])) for number in range(3)]
    known = [
        Rate(code, day(chance.randint(-5, 25)), Decimal(chance.randint(1, 3000)) / 1000)
        for code in ("USD", "JPY", "KWD")
        for _ in range(chance.randint(0, 3))
    ]
    known = list({rate[:2]: rate for rate in known}.values())
    rates.put(session, workspace, known)
    entries = {}
    for _ in range(60):
        start = chance.randint(-10, 35)
        scope = chance.choice([{}, {"source": "a"}, {"source": "b"}, {"link_id": chance.choice(links).id}])
        money = Money(chance.randint(-5, 100_000), chance.choice(["EUR", "EUR", "USD", "JPY", "KWD"]))
        entry = Entry(campaign.id, day(start), day(start + chance.choice([0, 0, 6, 30])), money, **scope)
        entries[entry.key] = entry
    costs.put(session, workspace, list(entries.values()), origin="api", now=NOW)

    period = Period(day(chance.randint(1, 8)), day(chance.randint(9, 30)))
    # The ledger: each day's part by itself, with the rate that was the last to begin.
    ledger: list[tuple[Entry, Decimal | None, int]] = []
    for entry in entries.values():
        length = (entry.last_on - entry.first_on).days + 1
        for number in range(length):
            on = entry.first_on + timedelta(days=number)
            minor = entry.spent.minor * (number + 1) // length - entry.spent.minor * number // length
            begun = [rate for rate in known if rate.currency == entry.spent.currency and rate.from_on <= on]
            rate = max(begun, key=lambda rate: rate.from_on).rate if begun else None
            if period.first <= on <= period.last:
                ledger.append((entry, Decimal(1) if entry.spent.currency == "EUR" else rate, minor))

    def expected(fits: Callable[[Entry], bool]) -> tuple[list[Money], int, list[Money]]:
        sums: dict[str, int] = {}
        left: dict[str, int] = {}
        by_rate: dict[tuple[str, Decimal], int] = {}
        for entry, rate, minor in ledger:
            code = entry.spent.currency
            if not fits(entry):
                continue
            sums[code] = sums.get(code, 0) + minor
            if rate is None:
                left[code] = left.get(code, 0) + minor
            else:
                by_rate[code, rate] = by_rate.get((code, rate), 0) + minor
        total = 0
        for (code, rate), minor in by_rate.items():
            cents = Decimal(minor) * rate * Decimal(10) ** (2 - {"EUR": 2, "USD": 2, "JPY": 0, "KWD": 3}[code])
            total += int(cents.quantize(Decimal(1), rounding=ROUND_HALF_EVEN))
        told = [Money(minor, code) for code, minor in sorted(sums.items())]
        return told, total, [Money(minor, code) for code, minor in sorted(left.items()) if minor]

    found = report(period, group_by=("source", "link"))
    told, total, left = expected(lambda entry: True)
    assert found.totals.cost == told
    assert found.totals.cost_without_rate == left
    assert found.totals.cost_total is None or found.totals.cost_total.minor == total
    code_of = {link.id: link for link in links}
    for group in found.groups["link"]:
        ids = {link.id for link in group.links}
        assert group.totals.cost == expected(lambda entry, ids=ids: entry.link_id in ids)[0]  # type: ignore[misc]
    for group in found.groups["source"]:

        def fits(entry: Entry, key: str | None = group.key) -> bool:
            return entry.source == key or (entry.link_id is not None and code_of[entry.link_id].source == key)

        assert group.totals.cost == expected(fits)[0]
    whole = expected(lambda entry: entry.source is None and entry.link_id is None)[0]
    assert found.not_assigned["source"] == [amount for amount in whole if amount.minor]


@pytest.mark.parametrize(
    ("typed", "field", "said"),
    [
        (Typed("", "", "1"), "first_on", "written like"),
        (Typed("2026-11-31", "", "1"), "first_on", "written like"),
        (Typed("2026-11-02", "2026-11-01", "1"), "last_on", "before the first"),
        (Typed("2026-11-02", "2036-11-01", "1"), "last_on", "at most 1,100 days"),
        (Typed("2026-11-02", "", "1,50"), "amount", "point"),
        (Typed("2026-11-02", "", "1.505"), "amount", "decimal places"),
        (Typed("2026-11-02", "", "1", "XXX"), "currency", "ISO 4217"),
        (Typed("2026-11-02", "", "1", "EUR", "a", "b"), "link", "not to both"),
        (Typed("2026-11-02", "", "1", "EUR", "a\nb"), "source", "line break"),
        (Typed("2026-11-02", "", "1", "EUR", "", "nope"), "link", "no link"),
        (Typed("2026-11-02", "", "1", clicks="-1"), "clicks", "whole number"),
        (Typed("2026-11-02", "", "1", impressions="1e9"), "impressions", "whole number"),
    ],
)
def test_what_is_no_entry_is_refused_at_its_field(
    session: Session, workspace: Workspace, campaign: Campaign, typed: Typed, field: str, said: str
) -> None:
    with pytest.raises(Invalid) as refused:
        costs.check(session, workspace, campaign, typed)
    assert list(refused.value.errors) == [field]
    assert said in refused.value.errors[field]


def test_a_link_of_another_campaign_takes_no_cost(
    session: Session, workspace: Workspace, campaign: Campaign, make_link: MakeLink
) -> None:
    other = make_link(campaign="other")
    with pytest.raises(Invalid) as refused:
        costs.check(session, workspace, campaign, Typed("2026-11-02", "", "1", link=other.code))
    assert "link" in refused.value.errors


def test_an_entry_is_moved_to_other_days_but_not_onto_another(
    session: Session, workspace: Workspace, campaign: Campaign, spend: Callable[..., costs.Stored]
) -> None:
    spend(1, 2, "1.00")
    spend(5, 6, "2.00")
    first = costs.listed(session, campaign, before_id=None, limit=9)[-1]

    def moved(start: int) -> Entry:
        return costs.check(session, workspace, campaign, Typed(f"{day(start)}", f"{day(start + 1)}", "3.00"))

    with pytest.raises(Taken):
        costs.edit(session, workspace, first, moved(5), now=NOW)
    costs.edit(session, workspace, first, moved(8), now=NOW)
    found = costs.listed(session, campaign, before_id=None, limit=9)
    assert sorted((cost.first_on, cost.minor) for cost in found) == [(day(5), 200), (day(8), 300)]
    costs.remove(session, workspace, found[0])
    assert len(costs.listed(session, campaign, before_id=None, limit=9)) == 1
    with pytest.raises(NotFound):
        costs.find(session, campaign, found[0].id)


def test_every_change_of_costs_and_rates_is_in_the_change_log(
    session: Session,
    workspace: Workspace,
    campaign: Campaign,
    spend: Callable[..., costs.Stored],
    rate: Callable[..., None],
) -> None:
    seen = session.scalar(select(func.max(ChangeEntry.id))) or 0
    spend(1, 7, "70.00")
    spend(1, 7, "70.00")
    spend(1, 7, "80.00")
    costs.remove(session, workspace, costs.listed(session, campaign, before_id=None, limit=9)[0])
    rate("USD", FIRST, "0.9")
    rate("USD", FIRST, "0.9")
    name = "2026-11-01 to 2026-11-07, whole campaign, form"
    found = session.scalars(select(ChangeEntry).where(ChangeEntry.id > seen).order_by(ChangeEntry.id))
    assert [(entry.kind, entry.campaign_id, entry.fields) for entry in found] == [
        ("cost", campaign.id, [[name, None, "70.00 EUR"]]),
        ("cost", campaign.id, [[name, "70.00 EUR", "80.00 EUR"]]),
        ("cost", campaign.id, [[name, "80.00 EUR", None]]),
        ("workspace", None, [["rate of USD from 2026-11-01", None, "0.9"]]),
    ]


def test_entries_of_one_scope_that_share_days_are_doubted() -> None:
    found = costs.overlaps(
        [
            ("", day(1), day(10), "form"),
            ("", day(3), day(3), "google"),
            ("", day(4), day(4), "google"),
            ("", day(12), day(12), "google"),
            ("source:a", day(1), day(10), "api"),
            ("source:b", day(2), day(4), "api"),
            ("source:b", day(4), day(5), "api"),
        ]
    )
    assert found == [
        ("source:b", ("api", "api"), day(4), day(4), 1),
        ("", ("form", "google"), day(3), day(4), 2),
    ]


def test_months_are_added_up_with_spans_cut_where_they_end(
    session: Session, campaign: Campaign, spend: Callable[..., costs.Stored]
) -> None:
    spend(30, 31, "1.01")
    spend(30, 30, "2.00", "USD")
    assert costs.by_month(session, campaign) == [
        (date(2026, 12, 1), [Money(51, "EUR")]),
        (FIRST, [Money(50, "EUR"), Money(200, "USD")]),
    ]


@pytest.fixture
def clicked(store: EventStore) -> Callable[..., None]:
    """Stores a click that said what it cost, in millionths."""
    numbers = iter(range(10**6))

    def clicked(link: Link, at: datetime, currency: str, millionths: int) -> None:
        number = next(numbers)
        event = StoredEvent(
            at_ms=days.to_ms(at),
            nonce=number,
            kind=Kind.CLICK,
            verdict=Verdict.COUNTED,
            workspace_id=link.workspace_id,
            campaign_id=link.campaign_id,
            link_id=link.id,
            visitor=number,
            cost_currency=currency,
            cost_micros=millionths,
            **dict.fromkeys(UNKNOWN),
        )
        store.append(Batch(f"s{number}", 0, 1, [event]))

    return clicked


def test_what_clicks_say_they_cost_is_a_source_of_cost_like_any(
    clicked: Callable[..., None],
    spend: Callable[..., costs.Stored],
    rate: Callable[..., None],
    report: Callable[..., CampaignReport],
    make_link: MakeLink,
    workspace: Workspace,
    session: Session,
) -> None:
    workspace.timezone = "Asia/Kathmandu"
    session.commit()
    link = make_link(content="hero")
    rate("USD", FIRST, "0.5")
    rate("USD", day(3), "0.25")
    spend(1, 1, "1.00", link=link.code)
    # A tenth of a cent each, ten of which make one; and dollars on either side of midnight there.
    for minute in range(10):
        clicked(link, datetime(2026, 11, 2, 9, minute, tzinfo=UTC), "EUR", 1_000)
    clicked(link, datetime(2026, 11, 2, 18, 14, tzinfo=UTC), "USD", 200_000)
    clicked(link, datetime(2026, 11, 2, 18, 15, tzinfo=UTC), "USD", 400_000)
    found = report(group_by=("content",))
    assert found.totals.cost == [Money(101, "EUR"), Money(60, "USD")]
    assert found.totals.cost_total == Money(101 + 10 + 10, "EUR")
    (hero,) = (group for group in found.groups["content"] if group.key == "hero")
    assert hero.totals.cost_total == found.totals.cost_total
    assert found.totals.cpc == Price(Decimal("1.21") / 12, "EUR")
    assert report(Period(day(3), day(3))).totals.cost_total == Money(10, "EUR")


def test_many_campaigns_read_together_have_what_each_has_alone(
    clicked: Callable[..., None],
    sell: Callable[..., None],
    rate: Callable[..., None],
    make_link: MakeLink,
    workspace: Workspace,
    session: Session,
    store: EventStore,
) -> None:
    links = [make_link(campaign=name, content=part) for name in ("a", "b", "c") for part in ("x", "y")]
    ids = sorted({link.campaign_id for link in links})
    for on, text in ((1, "0.5"), (10, "0.7"), (11, "0.9")):
        rate("USD", day(on), text)
    chance = random.Random(5)
    for _ in range(40):
        link, currency = chance.choice(links[:-2]), chance.choice(["EUR", "USD", "GBP"])
        at = datetime(2026, 11, chance.randint(1, 28), 12, tzinfo=UTC)
        clicked(link, at, currency, chance.randint(1, 10**6))
        sell(link, at, f"{chance.randint(1, 99)}.{chance.randint(10, 99)}", currency)
        entry = Entry(
            link.campaign_id, at.date(), at.date() + timedelta(days=chance.randint(0, 9)), Money(777, currency)
        )
        costs.put(session, workspace, [entry], origin="form", now=NOW)
    spans = NOVEMBER.spans(ZoneInfo(workspace.timezone))
    sales = sold.of_campaigns(session, ids, spans[0].start, spans[-1].end)
    found = cost_report.of_campaigns(session, store, workspace, ids, spans, sales)
    together = Money(0, "EUR")
    for campaign_id in ids:
        alone = reports.totals(session, store, workspace, session.get_one(Campaign, campaign_id), NOVEMBER)
        assert found[campaign_id].of_totals(alone) == alone
        assert bool(alone.cost) == (campaign_id != ids[-1])
        together = Money(together.minor + (alone.cost_total.minor if alone.cost_total else 0), "EUR")
    of_all = found[None].of_totals(cost_report.NOTHING).cost_total
    assert of_all is not None
    # Each is rounded for itself, once for each rate.
    assert abs(of_all.minor - together.minor) <= 6
    assert (
        cost_report.of_campaigns(session, store, workspace, [], spans, {})[None].of_totals(cost_report.NOTHING).cost
        == []
    )
