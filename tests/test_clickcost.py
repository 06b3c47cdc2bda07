"""The cost of a click as a network says it in the link: read, kept from the destination, shown."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from zlib import crc32

import orjson
import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from tests.conftest import Api
from tests.crowd import Crowd, words
from tracker import clickcost, days, links, testcodes
from tracker.clickcost import COST_MAX, SAID_MAX
from tracker.events import Event, Kind, Verdict, decode, encode
from tracker.models import Link, Workspace
from tracker.money import Money
from tracker.stores import ClickCost, EventStore, StoredEvent

pytestmark = pytest.mark.any_database

MakeLink = Callable[..., Link]
Stored = Callable[[], list[StoredEvent]]
Costs = Callable[[], set[ClickCost]]
UNREAD = ("EUR", None)
SILENT = (None, None)


@pytest.fixture
def stored(load: Callable[[], int], store: EventStore, workspace: Workspace) -> Stored:
    """All events, in the order of time."""

    def stored() -> list[StoredEvent]:
        load()
        return store.recent(workspace.id, before=None, limit=100)[::-1]

    return stored


@pytest.fixture
def costs(load: Callable[[], int], store: EventStore, session: Session) -> Costs:
    def costs() -> set[ClickCost]:
        load()
        campaigns = {link.campaign_id for link in session.query(Link)}
        return {cost for campaign in campaigns for cost in store.click_costs(campaign, 0, 1 << 30)}

    return costs


def cost_of(event: StoredEvent) -> tuple[str | None, int | None]:
    return event.cost_currency, event.cost_micros


@pytest.mark.parametrize(
    ("said", "micros"),
    [
        ("0.45", 450_000),
        ("0,45", 450_000),
        ("0%2C45", 450_000),
        ("%30%2e45", 450_000),
        ("0", 0),
        ("0.000001", 1),
        ("007.50", 7_500_000),
        ("12", 12_000_000),
        ("10000", COST_MAX),
        ("10000.000000", COST_MAX),
        ("+0.45", 450_000),  # a plus is a space
        ("0.45%20", 450_000),
        ("10000.000001", None),
        ("10001", None),
        ("1e9", None),
        ("999999999999", None),
        ("-0.45", None),
        ("%2B0.45", None),
        ("NaN", None),
        ("inf", None),
        ("{cost}", None),
        ("%7Bcost%7D", None),
        ("${CPC}", None),
        (".45", None),
        ("1.", None),
        ("0.0000001", None),
        ("1,234.50", None),
        ("1.2.3", None),
        ("0x1", None),
        ("1_0", None),
        ("$1", None),
        ("1%00", None),
        ("1%0A", None),
        ("%D9%A1", None),
        ("0.45;", None),
        ("%", None),
        ("+", None),
        ("0" * (SAID_MAX - 1) + "1", None),
        ("1" + "0" * SAID_MAX, None),
        ("1." + "0" * 100_000, None),
    ],
)
def test_a_plain_decimal_is_a_cost_and_nothing_else_is(said: str, micros: int | None) -> None:
    assert clickcost.micros(said) == micros


@given(micros=st.integers(0, COST_MAX), mark=st.sampled_from([".", ","]))
def test_every_cost_reads_back_as_it_was_written(micros: int, mark: str) -> None:
    assert clickcost.micros(clickcost.amount(micros).replace(".", mark)) == micros
    assert clickcost.micros(f"{micros // 10**6}{mark}{micros % 10**6:06}") == micros


@given(said=st.text(alphabet="0123456789.,+-eE%2B{}_ n", max_size=60))
def test_whatever_is_said_is_a_cost_within_its_limits_or_none(said: str) -> None:
    found = clickcost.micros(said)
    assert found is None or 0 <= found <= COST_MAX


def test_sums_are_money_to_the_nearest_minor_unit() -> None:
    assert clickcost.money_of(54_123_456, "EUR") == Money(5412, "EUR")
    assert [clickcost.money_of(n, "EUR").minor for n in (5_000, 15_000, 15_001)] == [0, 2, 2]
    assert clickcost.money_of(1_500_000, "JPY") == Money(2, "JPY")
    assert clickcost.money_of(1_234_567, "KWD") == Money(1235, "KWD")


@pytest.mark.parametrize(
    ("query", "left", "said"),
    [
        ("cost=1", "", "1"),
        ("a=1&cost=2&b=%20", "a=1&b=%20", "2"),
        ("cost=1&cost=2", "", "1"),
        ("c%6Fst=1&x", "x", "1"),
        ("cost", "", ""),
        ("cost=&x=1", "x=1", ""),
        ("Cost=1&costs=2&xcost=3", "Cost=1&costs=2&xcost=3", ""),
        ("a==1&&b&cost=1=2", "a==1&&b", "1=2"),
        ("x=cost=1", "x=cost=1", ""),
    ],
)
def test_the_parameter_is_taken_out_and_every_other_byte_stays(query: str, left: str, said: str) -> None:
    assert clickcost.take(query, "cost") == (left, said)


def test_a_long_value_is_cut_to_what_cannot_be_read() -> None:
    said = clickcost.take("cost=" + "0" * SAID_MAX + "1" * 9999, "cost")[1]
    assert len(said) == SAID_MAX + 1
    assert clickcost.micros(said) is None


def test_a_clicks_cost_is_stored_and_summed_and_the_destination_never_sees_it(
    client: FlaskClient, make_link: MakeLink, stored: Stored, costs: Costs
) -> None:
    link = make_link(cost_param="cost")
    plain = client.get(f"/{link.code}").headers["Location"]
    told = client.get(f"/{link.code}?cost=0.45").headers["Location"]
    assert told.partition("cid=")[0] == plain.partition("cid=")[0]
    assert told.endswith("#top")
    client.get(f"/{link.code}?gclid=G&cost=0%2C000001&x=%20")
    assert [cost_of(event) for event in stored()] == [SILENT, ("EUR", 450_000), ("EUR", 1)]
    # The second and third were quick: a double click costs nobody anything twice.
    assert words(stored()) == ["counted", "double_click", "double_click"]
    assert costs() == set()


@pytest.mark.parametrize("mode", ["link_wins", "visitor_wins", "drop"])
@pytest.mark.parametrize("gpc", ["0", "1"])
def test_whatever_the_link_makes_of_a_query_the_cost_is_not_in_it(
    crowd: Crowd, make_link: MakeLink, costs: Costs, mode: str, gpc: str
) -> None:
    link = make_link(query_mode=mode, cost_param="price", destination="https://shop.example/?price=9&u={cost}")
    location = crowd.get(f"/{link.code}?price=1.5&a=1&price=2#price=3", Sec_GPC=gpc).headers["Location"]
    assert location.startswith("https://shop.example/?price=9&u={cost}&utm_source=newsletter")
    assert ("a=1" in location) == (mode != "drop")
    assert location.count("price") == 1
    assert costs() == {ClickCost(link.id, "EUR", 1, 1_500_000, 0)}


def test_a_macro_gets_no_cost_and_gets_what_else_the_visitor_brought(client: FlaskClient, make_link: MakeLink) -> None:
    link = make_link(cost_param="gclid", destination="https://shop.example/{gclid}/{fbclid}/{clickid}")
    location = client.get(f"/{link.code}?gclid=0.5&fbclid=F").headers["Location"]
    assert location.startswith("https://shop.example//F/")


def test_a_link_without_the_parameter_passes_everything_on(
    client: FlaskClient, make_link: MakeLink, stored: Stored
) -> None:
    assert "&cost=0.45&" in client.get(f"/{make_link().code}?cost=0.45").headers["Location"]
    assert [cost_of(event) for event in stored()] == [SILENT]


@pytest.mark.parametrize("said", ["{cost}", "-1", "NaN", "1e9", "10000.01", "0.0000001", "x" * 5000])
def test_what_cannot_be_read_is_no_cost_and_the_click_counts_and_it_is_told(
    crowd: Crowd, make_link: MakeLink, stored: Stored, costs: Costs, owner: FlaskClient, api: Api, said: str
) -> None:
    link = make_link(cost_param="cost")
    assert crowd.get(f"/{link.code}?cost={said}").status_code == 302
    assert words(stored()) == ["counted"]
    assert [cost_of(event) for event in stored()] == [UNREAD]
    assert costs() == {ClickCost(link.id, "EUR", 0, 0, 1)}
    shown = api("GET", "/events").json["items"][0]
    assert (shown["cost"], shown["cost_currency"], shown["cost_is_unreadable"]) == (None, "EUR", True)
    assert "1 said what could not be read" in owner.get(f"/app/links/{link.code}").text
    assert "cost not readable" in owner.get("/app/events").text


def test_only_what_counts_has_its_cost_summed(
    crowd: Crowd, make_link: MakeLink, session: Session, workspace: Workspace, stored: Stored, costs: Costs
) -> None:
    link, gone = make_link(cost_param="cost"), make_link(cost_param="cost", code="gone")
    links.set_archived(session, gone, True)
    code = testcodes.start(session, workspace, days.now()).code
    path = f"/{link.code}?cost=0.5"
    for number, (hit, agent, more) in enumerate(
        [
            (path, None, {}),
            (path, None, {"Sec_GPC": "1"}),
            (path, "curl/8", {}),
            (path, None, {"method": "HEAD"}),
            (path, None, {"Sec_Purpose": "prefetch"}),
            (path, None, {"Cookie": "tracker_optout=1"}),
            (f"{path}&tracker_test={code}", None, {}),
            ("/gone?cost=0.5", None, {}),
            ("/nowhere?cost=0.5", None, {}),
            (f"/i/{link.code}.gif?cost=0.5", None, {}),
            (f"/h/{link.code}?cost=0.5", None, {}),
        ]
    ):
        crowd.get(hit, *([agent] if agent else []), address=f"192.0.2.{number}", **more)
        crowd.clock.forward(1)
    found = stored()
    assert words(found)[:9] == [
        *("counted", "counted", "bot", "head", "prefetch", "internal", "test", "inactive", "unknown_code")
    ]
    assert [cost_of(event) for event in found] == [("EUR", 500_000)] * 8 + [SILENT] * 3
    assert costs() == {ClickCost(link.id, "EUR", 2, 1_000_000, 0)}


def test_a_cost_is_in_the_links_currency_or_the_workspaces_as_they_are_when_it_is_stored(
    crowd: Crowd, make_link: MakeLink, session: Session, workspace: Workspace, load: Callable[[], int], costs: Costs
) -> None:
    own, other = make_link(cost_param="c"), make_link(cost_param="bid", cost_currency=" usd ", code="other")
    assert other.cost_currency == "USD"
    for path in (f"/{own.code}?c=1", "/other?bid=2&c=7"):
        crowd.get(path)
        crowd.clock.forward(60)
    assert costs() == {ClickCost(own.id, "EUR", 1, 1_000_000, 0), ClickCost(other.id, "USD", 1, 2_000_000, 0)}
    workspace.currency = "GBP"
    session.commit()
    crowd.get(f"/{own.code}?c=1")
    assert ClickCost(own.id, "GBP", 1, 1_000_000, 0) in costs()


def test_an_edit_is_in_force_with_the_next_click(crowd: Crowd, make_link: MakeLink, api: Api, costs: Costs) -> None:
    link = make_link()
    assert "cost=1" in crowd.get(f"/{link.code}?cost=1").headers["Location"]
    assert api("PATCH", f"/links/{link.code}", {"cost_param": "cost", "cost_currency": "chf"}).status_code == 200
    crowd.clock.forward(60)
    assert "cost=1" not in crowd.get(f"/{link.code}?cost=1").headers["Location"]
    assert costs() == {ClickCost(link.id, "CHF", 1, 1_000_000, 0)}
    assert api("PATCH", f"/links/{link.code}", {"cost_param": None}).json["cost_url"] is None
    assert "cost=1" in crowd.get(f"/{link.code}?cost=1").headers["Location"]


def test_the_page_of_a_link_has_it_with_its_cost_to_be_copied_and_says_what_came_of_it(
    crowd: Crowd, make_link: MakeLink, owner: FlaskClient, load: Callable[[], int]
) -> None:
    link = make_link(cost_param="cost", cost_currency="USD")
    page = owner.get(f"/app/links/{link.code}").text
    assert f"https://go.example/{link.code}?cost={{cost}}" in page
    assert "no click has counted yet" in page
    assert "cost-url" not in owner.get(f"/app/links/{make_link().code}").text
    for query in ("?cost=0.45", "?cost=1,005", "?cost={cost}", ""):
        crowd.get(f"/{link.code}{query}")
        crowd.clock.forward(60)
    load()
    page = " ".join(owner.get(f"/app/links/{link.code}").text.split())
    assert "4 clicks counted: 2 said what they cost, $1.46 in all; <strong>1 said what" in page
    assert "; 1 said nothing." in page
    events = owner.get("/app/events").text
    assert "cost $0.45" in events
    assert "cost $1.005" in events


def test_the_form_keeps_the_cost_and_a_refusal_opens_it_at_its_field(
    owner: FlaskClient, make_link: MakeLink, session: Session
) -> None:
    link = make_link(cost_param="cost", cost_currency="USD")
    page = owner.get(f"/app/links/{link.code}/edit").text
    assert 'value="cost"' in page
    assert 'value="USD"' in page
    form: dict[str, Any] = {"destination": "https://shop.example/", "campaign": "c", "source": "s", "medium": "m"}
    answer = owner.post(f"/app/links/{link.code}/edit", data=form | {"cost_param": "b d", "cost_currency": "euro"})
    assert answer.status_code == 422
    assert "<details open>" in answer.text
    assert 'id="cost_param-error"' in answer.text
    assert 'id="cost_currency-error"' in answer.text
    answer = owner.post(f"/app/links/{link.code}/edit", data=form | {"cost_param": " bid ", "cost_currency": "gbp"})
    assert answer.status_code == 303
    session.refresh(link)
    assert (link.cost_param, link.cost_currency) == ("bid", "GBP")
    assert owner.post(f"/app/links/{link.code}/edit", data=form).status_code == 303
    session.refresh(link)
    assert (link.cost_param, link.cost_currency) == (None, None)


def test_a_report_has_what_clicks_cost_beside_what_was_entered(
    crowd: Crowd, make_link: MakeLink, api: Api, owner: FlaskClient, load: Callable[[], int]
) -> None:
    paid, free = make_link(cost_param="cost", source="network"), make_link()
    for query in ("?cost=0.45", "?cost=1.0049", "?cost={cost}"):
        crowd.get(f"/{paid.code}{query}")
        crowd.get(f"/{free.code}{query}")
        crowd.clock.forward(60)
    load()
    day = days.from_ms(crowd.clock.now_ms).date()
    span = f"from={day - timedelta(days=1)}&to={day + timedelta(days=1)}"
    stats = api("GET", f"/campaigns/spring-sale/stats?{span}&group_by=source").json
    assert stats["totals"]["cost"] == [{"currency": "EUR", "amount": "1.45"}]
    assert (stats["totals"]["clicks"], stats["totals"]["cost_total"]) == (6, "1.45")
    assert {group["key"]: group["cost_total"] for group in stats["groups"]} == {"network": "1.45", "newsletter": None}


def test_a_name_that_says_something_else_is_no_name_of_a_cost(api: Api) -> None:
    link = {"destination": "https://shop.example/", "campaign": "c", "source": "s", "medium": "m"}
    answer = api("POST", "/links", link | {"cost_param": "sub", "click_id_param": "sub"})
    assert (answer.status_code, [each["field"] for each in answer.json["errors"]]) == (422, ["cost_param"])
    made = api("POST", "/links", link | {"cost_param": "sub", "click_id_param": "other"}).json
    assert made["cost_url"] == f"{made['short_url']}?sub={{cost}}"


def test_a_test_shows_what_was_read_of_its_cost(
    client: FlaskClient, make_link: MakeLink, api: Api, owner: FlaskClient, load: Callable[[], int]
) -> None:
    link = make_link(cost_param="cost")
    code = api("POST", "/tests", {}).json["code"]
    location = client.get(f"/{link.code}?tracker_test={code}&cost=0.45").headers["Location"]
    assert f"tracker_test={code}" in location
    load()
    (line,) = api("GET", f"/tests/{code}").json["items"]
    assert (line["cost"], line["cost_currency"]) == ("0.45", "EUR")
    assert "cost €0.45" in owner.get(f"/app/debugger/tests/{code}").text


def test_exports_carry_the_cost_of_each_click(crowd: Crowd, make_link: MakeLink, api: Api, stored: Stored) -> None:
    link = make_link(cost_param="cost")
    crowd.get(f"/{link.code}?cost=0.004500")
    stored()
    for path in ("/events.csv", "/events/export.csv"):
        (row,) = csv.DictReader(io.StringIO(api("GET", path).text))
        assert (row["cost"], row["cost_currency"]) == ("0.0045", "EUR"), path


def test_a_line_that_the_version_before_wrote_is_still_read() -> None:
    event = Event(
        int(Kind.CLICK), 1_770_000_000_000, 7, int(Verdict.COUNTED), 5, "abc", "192.0.2.1", "A", "", "de", False
    )

    def line(*content: object) -> bytes:
        body = orjson.dumps(content)
        return b"%08x %b\n" % (crc32(body), body)

    assert decode(line(1, *event[:-1])) == event
    assert decode(line(2, *event)) == event
    assert decode(encode(event._replace(cost="0.45"))).cost == "0.45"
    for bad in (line(1, *event), line(2, *event[:-1]), line(3, *event), line(2, *event[:-1], 0.45)):
        with pytest.raises(ValueError, match=r"version|values"):
            decode(bad)
