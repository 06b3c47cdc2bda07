"""Who is in an audience: the statement that finds them, held against the rules as one would carry them out by hand."""

from __future__ import annotations

import csv
import io
import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from copy import copy
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from tracker import days, identities, matchkeys
from tracker.audiences import insights, lists, rules, who
from tracker.audiences.rules import Bought, Came, Clicked, Condition, Converted, Dated, Rule, Top, Worth
from tracker.errors import Invalid
from tracker.events import Kind
from tracker.models import Conversion, Link, Workspace
from tracker.reported import Audience, Identity, Touch

pytestmark = pytest.mark.any_database

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
ZONE = "America/New_York"
CUSTOMERS = 60
MakeLink = Callable[..., Link]


class World:
    """Conversions of a made-up shop, as rows of the database and as the model sees them."""

    def __init__(self, session: Session, workspace: Workspace, made: list[Link], seed: int) -> None:
        workspace.timezone = ZONE
        self.chance = random.Random(seed)
        self.links, self.workspace = made, workspace
        self.sales = [self._sale(number) for number in range(400)]
        session.add_all(self.sales)
        session.flush()
        self.touches = [self._touch(sale) for sale in self.sales if self.chance.random() < 0.2]
        session.add_all(self.touches)
        people = sorted({sale.customer for sale in self.sales if sale.customer})
        self.no = set(self.chance.sample(people, 6))
        matchkeys.opt_out(session, workspace.id, self.no)
        session.commit()
        self._by_customer: dict[str, list[Conversion]] | None = None
        for row in (*self.sales, *self.touches):
            session.refresh(row)
            session.expunge(row)
        self._came_from = {link.id: {"source": link.source, "medium": link.medium} for link in made}

    def _sale(self, number: int) -> Conversion:
        chance, link = self.chance, self.chance.choice(self.links)
        clicked = NOW - timedelta(days=chance.randrange(90), milliseconds=chance.randrange(86_400_000))
        spent = chance.choice([None, 0, 500, 500, 1000, 2500, chance.randrange(1, 9_000)])
        is_view = chance.random() < 0.1
        return Conversion(
            workspace_id=self.workspace.id,
            campaign_id=link.campaign_id,
            link_id=link.id,
            goal=chance.choice(["purchase", "purchase", "signup"]),
            dedup_key=f"o:{number}",
            order_id=str(number),
            click_id=None if is_view or chance.random() < 0.1 else f"{number:028}",
            matched_by="view" if is_view else "click",
            click_at_ms=days.to_ms(clicked),
            click_nonce=number,
            status=chance.choice(["approved"] * 5 + ["pending", "rejected", "refunded"]),
            minor=spent,
            currency=None if spent is None else chance.choice(["EUR", "EUR", "JPY"]),
            customer=f"{chance.randrange(CUSTOMERS):032x}" if chance.random() < 0.85 else None,
            is_test=chance.random() < 0.05,
            gpc=chance.random() < 0.05,
            click_country=chance.choice(["DE", "FR", None]),
            click_device=chance.choice(["mobile", "desktop", None]),
            converted_at_ms=days.to_ms(min(NOW, clicked + timedelta(hours=chance.randrange(72)))),
        )

    def _touch(self, sale: Conversion) -> Touch:
        link = self.chance.choice(self.links)
        at_ms = sale.click_at_ms - self.chance.randrange(1, 5) * 86_400_000
        kind = self.chance.choice([Kind.CLICK, Kind.CLICK, Kind.IMPRESSION])
        return Touch(
            conversion_id=sale.id,
            position=0,
            at_ms=at_ms,
            nonce=1,
            kind=int(kind),
            campaign_id=link.campaign_id,
            link_id=link.id,
            via="script",
        )

    def only(self, sales: list[Conversion]) -> World:
        """The same world with some of its sales."""
        other = copy(self)
        other.sales = sales
        return other

    def source_of(self, sale: Conversion) -> str:
        return self._came_from[sale.link_id or 0]["source"]

    # The model

    def members(self, wanted: list[Rule]) -> set[str]:
        return {
            customer
            for customer in self._known()
            if all(self._fulfils(customer, rule.condition) != rule.negated for rule in wanted)
        }

    def _known(self) -> dict[str, list[Conversion]]:
        if self._by_customer is not None:
            return self._by_customer
        by_customer: dict[str, list[Conversion]] = defaultdict(list)
        for sale in self.sales:
            if sale.customer and not sale.is_test and not sale.gpc and sale.customer not in self.no:
                by_customer[sale.customer].append(sale)
        self._by_customer = by_customer
        return by_customer

    def counted(self, customer: str) -> list[Conversion]:
        return [sale for sale in self._known().get(customer, []) if sale.status in ("approved", "pending")]

    def spent(self, customer: str, currency: str) -> int:
        return sum(sale.minor or 0 for sale in self.counted(customer) if sale.currency == currency)

    def _converted(self, customer: str, goal: str | None, n_days: int | None) -> list[Conversion]:
        return [
            sale
            for sale in self.counted(customer)
            if goal in (None, sale.goal) and self._is_within(sale.converted_at_ms, n_days)
        ]

    def _is_within(self, at_ms: int, n_days: int | None) -> bool:
        return n_days is None or at_ms >= days.to_ms(NOW - timedelta(days=n_days))

    def _fulfils(self, customer: str, condition: Condition) -> bool:
        sales = self._known()[customer]
        match condition:
            case Clicked(campaign_id, n_days):
                of_sales = [
                    (s.campaign_id, s.click_at_ms) for s in sales if s.click_id is not None and s.matched_by != "view"
                ]
                ids = {sale.id for sale in sales}
                of_touches = [
                    (t.campaign_id, t.at_ms)
                    for t in self.touches
                    if t.conversion_id in ids and t.kind == int(Kind.CLICK)
                ]
                return any(c == campaign_id and self._is_within(at, n_days) for c, at in of_sales + of_touches)
            case Converted(goal, campaign, n_days):
                return any(campaign in (None, s.campaign_id) for s in self._converted(customer, goal, n_days))
            case Bought(times, goal, n_days):
                return len(self._converted(customer, goal, n_days)) >= times
            case Worth(minor, currency):
                return self.spent(customer, currency) >= minor
            case Top(percent, currency):
                spent = {who: self.spent(who, currency) for who in self._known()}
                best = sorted((-total, who) for who, total in spent.items() if total > 0)
                n = -(-len(best) * percent // 100)
                return customer in {who for _, who in best[:n]}
            case Dated(which, when, on, goal):
                instants = [sale.converted_at_ms for sale in self._converted(customer, goal, None)]
                if not instants:
                    return False
                start = days.to_ms(datetime.combine(on, datetime.min.time(), ZoneInfo(ZONE)))
                at = min(instants) if which == "first" else max(instants)
                return at < start if when == "before" else at >= start
            case Came(field, value):
                if field in ("source", "medium"):
                    return any(self._came_from[sale.link_id or 0][field] == value for sale in sales)
                return any(getattr(sale, f"click_{field}") == value for sale in sales)


@pytest.fixture
def made(make_link: MakeLink) -> list[Link]:
    return [
        make_link(campaign="spring", source="newsletter", medium="email"),
        make_link(campaign="spring", source="google", medium="cpc"),
        make_link(campaign="autumn", source="newsletter", medium="email"),
    ]


def _conditions(chance: random.Random, campaigns: list[int]) -> Iterator[Condition]:
    def maybe(value: Any) -> Any:
        return value if chance.random() < 0.6 else None

    n_days = chance.randrange(1, 95)
    goal = maybe(chance.choice(["purchase", "signup", "lead"]))
    yield Clicked(chance.choice(campaigns), maybe(n_days))
    yield Converted(goal, maybe(chance.choice(campaigns)), maybe(n_days))
    yield Bought(chance.randrange(1, 6), goal, maybe(n_days))
    yield Worth(chance.randrange(1, 12_000), chance.choice(["EUR", "JPY", "USD"]))
    yield Top(chance.randrange(1, 101), chance.choice(["EUR", "JPY", "USD"]))
    on = date(2026, 11, 20) - timedelta(days=chance.randrange(90))
    yield Dated(chance.choice(["first", "last"]), chance.choice(["before", "since"]), on, goal)
    yield Came(*chance.choice([("source", "google"), ("medium", "email"), ("country", "DE"), ("device", "mobile")]))


def found(session: Session, workspace: Workspace, wanted: list[Rule]) -> set[str | None]:
    rows = list(session.scalars(who.members(workspace, wanted, NOW)))
    assert len(rows) == len(set(rows))
    return set(rows)


@pytest.mark.parametrize("seed", range(6))
def test_the_statement_finds_whom_the_model_finds(
    session: Session, workspace: Workspace, made: list[Link], seed: int
) -> None:
    world = World(session, workspace, made, seed)
    chance = random.Random(seed + 100)
    campaigns = sorted({link.campaign_id for link in made})
    sizes = set()
    for _ in range(40):
        conditions = chance.sample(list(_conditions(chance, campaigns)), chance.choice([1, 1, 2, 3, 4]))
        wanted = [Rule(chance.random() < 0.35, condition) for condition in conditions]
        expected = world.members(wanted)
        assert found(session, workspace, wanted) == expected, wanted
        sizes.add(len(expected))
    assert len(sizes) > 10, "rules that tell customers apart"


def test_a_tenth_is_rounded_up_and_equals_are_parted_the_same_way_each_time(
    session: Session, workspace: Workspace, made: list[Link]
) -> None:
    world = World(session, workspace, made, 1)
    for sale in world.sales:
        sale.minor, sale.currency, sale.status = 500, "EUR", "approved"
    session.execute(update(Conversion).values(minor=500, currency="EUR", status="approved"))
    session.commit()
    for percent in (1, 10, 33, 100):
        top = [Rule(False, Top(percent, "EUR"))]
        assert found(session, workspace, top) == world.members(top)
    everybody = len(world.members([]))
    assert len(found(session, workspace, [Rule(False, Top(10, "EUR"))])) == -(-everybody // 10)
    assert len(found(session, workspace, [Rule(False, Top(1, "EUR"))])) == 1


def test_an_audience_is_of_its_own_workspace_only(session: Session, workspace: Workspace, made: list[Link]) -> None:
    World(session, workspace, made, 2)
    other = Workspace(name="Other", key="other")
    session.add(other)
    session.commit()
    wanted = [Rule(False, Clicked(made[0].campaign_id, None))]
    assert found(session, workspace, wanted)
    assert found(session, other, wanted) == set()
    assert who.size(session, other, [Rule(True, Bought(1, None, None))], NOW) == (0, 0, 0)


# Lists


def _identify(session: Session, workspace: Workspace, world: World) -> dict[str, identities.Match]:
    """Everybody is somebody: by e-mail, by phone, or by neither."""
    matchkeys.set_keeping(session, workspace, True)
    known = {}
    for number, customer in enumerate(sorted({sale.customer for sale in world.sales if sale.customer})):
        typed = (f"n{number}@example.org", f"+49301234{number:03}", f"C-{number}", f"+{number}@gmail.com")[number % 4]
        match = identities.match(typed)
        matchkeys.keep(session, workspace, customer, match)
        known[customer] = match
    session.commit()
    return known


def rows_of(session: Session, workspace: Workspace, wanted: list[Rule], network: str) -> list[list[str]]:
    text = "".join(lists.pages(session, workspace, wanted, network, "EUR", NOW))
    return list(csv.reader(io.StringIO(text)))


def test_lists_hold_exactly_whom_each_network_can_match(
    session: Session, workspace: Workspace, made: list[Link], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "AT_ONCE", 3)
    world = World(session, workspace, made, 3)
    known = _identify(session, workspace, world)
    wanted = [Rule(False, Converted(None, None, None))]
    members = world.members(wanted)
    meta, google = (rows_of(session, workspace, wanted, network) for network in ("meta", "google"))
    assert (meta[0], google[0]) == (["email", "phone", "value"], ["Email", "Phone"])
    assert sorted(meta[1:]) == sorted(
        [known[c].meta_email or "", known[c].meta_phone or "", f"{world.spent(c, 'EUR') / 100:.2f}"]
        for c in members
        if known[c].meta_email or known[c].meta_phone
    )
    assert sorted(google[1:]) == sorted(
        [known[c].google_email or "", known[c].google_phone or ""]
        for c in members
        if known[c].google_email or known[c].google_phone
    )
    assert who.size(session, workspace, wanted, NOW) == (len(members), len(meta) - 1, len(google) - 1)
    assert len(google) < len(meta) < len(members) + 1
    assert world.no
    listed = {cell for row in meta + google for cell in row}
    for customer in world.no:
        assert listed.isdisjoint(filter(None, known[customer]))


def test_a_list_has_a_limit(
    session: Session, workspace: Workspace, made: list[Link], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(session, workspace, made, 4)
    _identify(session, workspace, world)
    monkeypatch.setattr(lists, "LIST_MAX", 7)
    assert len(rows_of(session, workspace, [Rule(False, Bought(1, None, None))], "meta")) == 8


def test_values_have_the_places_of_their_currency(session: Session, workspace: Workspace, made: list[Link]) -> None:
    world = World(session, workspace, made, 5)
    _identify(session, workspace, world)
    wanted = [Rule(False, Worth(1, "JPY"))]
    rows = list(lists.pages(session, workspace, wanted, "meta", "JPY", NOW))
    values = [line.rpartition(",")[2] for page in rows[1:] for line in page.splitlines()]
    assert values
    assert all(value.isdecimal() and int(value) > 0 for value in values)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("Top tenth", "top-tenth-meta-2026-11-20.csv"),
        ("  Große „Käufer“ / 2026 ", "groe-kaufer-2026-meta-2026-11-20.csv"),
        ('a"b\r\nX: y', "a-b-x-y-meta-2026-11-20.csv"),
        ("../../etc", "etc-meta-2026-11-20.csv"),
        ("顧客", "audience-7-meta-2026-11-20.csv"),
        ("x" * 120, "x" * 60 + "-meta-2026-11-20.csv"),
    ],
)
def test_a_file_is_named_by_audience_network_and_local_day(name: str, file: str) -> None:
    audience = Audience(id=7, name=name)
    assert lists.file_name(audience, "meta", datetime(2026, 11, 21, 2, tzinfo=UTC), ZoneInfo(ZONE)) == file


# Rules as they are typed


def _refused(*rows: dict[str, str]) -> dict[str, str]:
    with pytest.raises(Invalid) as refusal:
        rules.read(rows, {1})
    return dict(refusal.value.errors)


def test_every_wrong_text_is_named_by_field_and_row() -> None:
    assert set(_refused()) == {"rules"}
    assert set(_refused({"kind": "magic"}, {})) == {"kind-0", "kind-1"}
    assert set(
        _refused(
            {"kind": "clicked", "campaign": "2", "days": "0"},
            {"kind": "clicked", "campaign": "", "days": "3651"},
            {"kind": "converted", "goal": "no spaces", "campaign": "x"},
            {"kind": "bought", "times": "two", "days": "1.5"},
            {"kind": "top", "percent": "101", "currency": "XXL"},
            {"kind": "worth", "amount": "1,50", "currency": "EUR"},
            {"kind": "worth", "amount": "0", "currency": "eur"},
            {"kind": "dated", "which": "middle", "when": "at", "on": "2026-02-30"},
            {"kind": "came", "field": "browser", "value": " "},
            {"kind": "came", "field": "source", "value": "x" * 256},
        )
    ) == {
        *("campaign-0", "days-0", "campaign-1", "days-1", "goal-2", "campaign-2", "times-3", "days-3"),
        *(
            "percent-4",
            "currency-4",
            "amount-5",
            "amount-6",
            "which-7",
            "when-7",
            "on-7",
            "field-8",
            "value-8",
            "value-9",
        ),
    }
    many = [{"kind": "bought", "times": "1"}] * 21
    assert set(_refused(*many)) == {"rules"}


def test_rules_are_kept_as_texts_and_read_the_same_again() -> None:
    typed = [
        {"kind": "clicked", "negated": "", "campaign": "1", "days": " 30 ", "goal": "left over"},
        {"kind": "worth", "negated": "1", "amount": "19.90", "currency": "eur"},
        {"kind": "came", "field": "country", "value": "de"},
    ]
    kept = rules.stored(typed)
    assert kept[0] == {"kind": "clicked", "campaign": "1", "days": "30"}
    expected = [
        Rule(False, Clicked(1, 30)),
        Rule(True, Worth(1990, "EUR")),
        Rule(False, Came("country", "DE")),
    ]
    assert rules.read(typed, {1}) == rules.read(kept, {1}) == expected


def test_an_identity_of_somebody_who_said_no_is_in_no_count(
    session: Session, workspace: Workspace, made: list[Link]
) -> None:
    world = World(session, workspace, made, 3)
    _identify(session, workspace, world)
    wanted = [Rule(False, Bought(1, None, None))]
    before = who.size(session, workspace, wanted, NOW)
    one = next(i for i in session.query(Identity) if i.meta_email and i.customer in world.members(wanted))
    matchkeys.opt_out(session, workspace.id, [one.customer])
    session.commit()
    after = who.size(session, workspace, wanted, NOW)
    assert (after.customers, after.at_meta) == (before.customers - 1, before.at_meta - 1)


# Insights


def _by_hand(
    world: World, value: Callable[[Conversion], Any], customers: set[str] | None
) -> dict[Any, list[str | None]]:
    """Who converted with each value: of some customers, or anybody."""
    groups: dict[Any, list[str | None]] = defaultdict(list)
    for sale in world.sales:
        counts = sale.status in ("approved", "pending") and not sale.is_test
        if counts and (customers is None or (sale.customer in customers and not sale.gpc)):
            groups[value(sale)].append(sale.customer)
    return groups


@pytest.mark.parametrize("beside", ["all", "campaign"])
def test_insights_are_shares_beside_those_of_all_or_of_a_campaign(
    session: Session, workspace: Workspace, made: list[Link], beside: str
) -> None:
    world = World(session, workspace, made, 6)
    wanted = [Rule(False, Bought(2, None, None))]
    members = world.members(wanted)
    campaign = made[0].campaign if beside == "campaign" else None
    zone = ZoneInfo(ZONE)
    values: dict[str, Callable[[Conversion], Any]] = {
        "device": lambda sale: sale.click_device,
        "country": lambda sale: sale.click_country,
        "hour": lambda sale: days.from_ms(sale.converted_at_ms).astimezone(zone).hour,
        "source": lambda sale: world.source_of(sale),
    }
    found = {insight.dimension: insight for insight in insights.describe(session, workspace, wanted, campaign, NOW)}
    assert set(found) == set(values)
    for dimension, value in values.items():
        theirs = _by_hand(world, value, members)
        if campaign is not None:
            world_of_campaign = [sale for sale in world.sales if sale.campaign_id == campaign.id]
            others = _by_hand(world.only(world_of_campaign), value, None)
        else:
            others = _by_hand(world, value, None)
        total, total_beside = sum(map(len, theirs.values())), sum(map(len, others.values()))
        for group in found[dimension].groups:
            assert group.conversions == len(theirs[group.value])
            assert group.share == pytest.approx(len(theirs[group.value]) / total)
            assert group.beside == pytest.approx(len(others.get(group.value, [])) / total_beside)
            assert len(set(theirs[group.value])) >= 10
        few = {key for key, people in theirs.items() if len(set(people)) < 10}
        assert few.isdisjoint(group.value for group in found[dimension].groups)
        assert found[dimension].hidden >= len(few)
        assert len(found[dimension].groups) + found[dimension].hidden + found[dimension].more == len(theirs)


def test_of_an_audience_of_few_people_nothing_is_told(session: Session, workspace: Workspace, made: list[Link]) -> None:
    world = World(session, workspace, made, 6)
    few = [Rule(False, Top(10, "EUR"))]
    assert 0 < len(world.members(few)) < 10
    assert insights.describe(session, workspace, few, None, NOW) == []


def test_one_group_is_not_left_out_alone(session: Session, workspace: Workspace, make_link: MakeLink) -> None:
    link = make_link()
    for number in range(40):
        country = "DE" if number < 24 else "FR" if number < 36 else "IT"
        session.add(_sale_of(workspace, link, number, country))
    session.commit()
    wanted = [Rule(False, Bought(1, None, None))]
    country = insights.describe(session, workspace, wanted, None, NOW)[1]
    assert [(group.value, group.conversions) for group in country.groups] == [("DE", 24)]
    assert country.hidden == 2


def _sale_of(workspace: Workspace, link: Link, number: int, country: str) -> Conversion:
    at_ms = days.to_ms(NOW)
    return Conversion(
        workspace_id=workspace.id,
        campaign_id=link.campaign_id,
        link_id=link.id,
        goal="purchase",
        dedup_key=f"o:{number}",
        click_at_ms=at_ms,
        click_nonce=number,
        status="approved",
        customer=f"{number:032x}",
        click_country=country,
        converted_at_ms=at_ms,
    )
