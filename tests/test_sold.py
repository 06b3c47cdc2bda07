"""Conversions of a report: read off their sums they are the same as counted one by one, over any period."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import event, text
from sqlalchemy.orm import Session

from tests.databases import examples
from tracker.days import Span
from tracker.events import Kind, Verdict
from tracker.models import Conversion, Link
from tracker.reports import sold
from tracker.reports.facts import gather
from tracker.salesums import Axis, SaleSums
from tracker.stores import ALL, Batch, Dimension, EventStore, Selection, StoredEvent

MakeLink = Callable[..., Link]
QUARTER_MS, DAY = 900_000, 96
FIRST = 20_000 * DAY  # a bucket: the midnight of some day in UTC
_numbers = count(1)

SALES = st.lists(
    st.fixed_dictionaries(
        {
            "link": st.sampled_from([0, 1, None]),
            "clicked": st.integers(0, 5 * DAY),
            "took": st.integers(0, 2 * DAY),
            "status": st.sampled_from(["approved", "approved", "pending", "refunded"]),
            "matched_by": st.sampled_from(["click", "click", "view"]),
            "outside_window": st.sampled_from([False, False, True]),
            "is_test": st.sampled_from([False, False, False, True]),
            "money": st.sampled_from([None, (0, "EUR"), (250, "EUR"), (9, "JPY")]),
            "device": st.sampled_from([None, "mobile", "tablet"]),
        }
    ),
    max_size=15,
)
PERIODS = st.tuples(st.integers(-5, 6 * DAY), st.integers(1, 6 * DAY))


def stored(session: Session, links: list[Link], sales: list[dict[str, Any]]) -> list[Conversion]:
    sums, made = SaleSums(), []
    for sale in sales:
        number, at_ms = next(_numbers), (FIRST + sale["clicked"]) * QUARTER_MS + 5
        minor, currency = sale["money"] or (None, None)
        conversion = Conversion(
            workspace_id=links[0].workspace_id,
            campaign_id=links[0].campaign_id,
            link_id=None if sale["link"] is None else links[sale["link"]].id,
            goal="sale",
            dedup_key=f"o:{number}",
            click_id=str(number),
            click_at_ms=at_ms,
            click_nonce=number,
            minor=minor,
            currency=currency,
            click_device=sale["device"],
            converted_at_ms=at_ms + sale["took"] * QUARTER_MS,
            **{name: sale[name] for name in ("status", "matched_by", "outside_window", "is_test")},
        )
        session.add(conversion)
        session.flush()
        sums.after(conversion)
        made.append(conversion)
    sums.write(session)
    session.commit()
    return made


@given(
    sales=SALES,
    period=PERIODS,
    axis=st.sampled_from(Axis),
    chosen=st.sampled_from(["all", "link", "value", "both"]),
    offset=st.sampled_from([0, 4, -20, 23]),
    step=st.sampled_from([4, DAY]),
)
@hypothesis_settings(
    max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_is_asked_for_is_what_was_sold(
    session: Session,
    make_link: MakeLink,
    sales: list[dict[str, Any]],
    period: tuple[int, int],
    axis: Axis,
    chosen: str,
    offset: int,
    step: int,
) -> None:
    campaign = f"c{next(_numbers)}"
    links = [make_link(campaign=campaign, content=content) for content in ("a", "b")]
    links_wanted = frozenset([links[0].id]) if chosen in ("link", "both") else None
    values: dict[Dimension, str | None] = {Dimension.DEVICE: "mobile"} if chosen in ("value", "both") else {}
    selection = Selection(links_wanted, values)
    start, end = FIRST + period[0], FIRST + sum(period)
    counted: Counter[Any] = Counter()
    steps: Counter[int] = Counter()
    parts: Counter[Any] = Counter()
    for sale in stored(session, links, sales):
        bucket = (sale.click_at_ms if axis == Axis.CLICK else sale.converted_at_ms) // QUARTER_MS
        if (
            not start <= bucket < end
            or sale.status == "refunded"
            or sale.is_test
            or (links_wanted and sale.link_id not in links_wanted)
            or (values and sale.click_device != "mobile")
        ):
            continue
        what = "outside" if sale.outside_window else "views" if sale.matched_by == "view" else "n"
        own = (sale.link_id or 0, sale.currency)
        counted[own, what] += 1
        if what == "n":
            counted[own, "approved"] += sale.status == "approved"
            counted[own, "minor"] += sale.minor or 0
            steps[(bucket + offset) // step] += 1
            parts[sale.click_device, sale.currency] += 1
            parts[sale.click_device, sale.currency, "minor"] += sale.minor or 0
        elif what == "views":
            counted[own, "view_minor"] += sale.minor or 0
    asked = (session, links[0].campaign_id, start, end)
    found = sold.sums(*asked, selection, axis)
    names = sold.Sum._fields[2:]
    assert len({row[:2] for row in found}) == len(found)
    assert +Counter({(row[:2], name): n for row in found for name, n in zip(names, row[2:], strict=True)}) == +counted
    series = sold.series(session, links[0].campaign_id, Span(start, end, offset), step, selection, axis)
    assert dict(series) == steps
    devices = sold.breakdowns(*asked, [Dimension.DEVICE, Dimension.OS], selection, axis)
    of_device = devices[Dimension.DEVICE]
    assert {row[:2]: row.n for row in of_device} == {key: n for key, n in parts.items() if key[2:] == ()}
    money = +Counter({(*row[:2], "minor"): row.minor for row in of_device})
    assert money == +Counter({key: n for key, n in parts.items() if key[2:]})
    assert sum(row.n for row in devices[Dimension.OS]) == sum(steps.values())
    session.rollback()


def test_views_stand_apart_and_conversions_without_a_link_are_no_links(
    session: Session, store: EventStore, make_link: MakeLink
) -> None:
    link = make_link()
    own = {"clicked": 1, "took": DAY, "status": "approved", "outside_window": False, "is_test": False, "device": None}
    stored(
        session,
        [link],
        [
            own | {"link": 0, "matched_by": "view", "money": (5, "EUR")},
            own | {"link": None, "matched_by": "hand", "money": (7, "EUR")},
        ],
    )
    days = [[Span(FIRST + day * DAY, FIRST + (day + 1) * DAY, 0)] for day in (0, 1)]
    found = gather(session, store, link.campaign_id, days[0], selection=ALL)
    assert {key: (sales.conversions, sales.minor) for key, sales in found.views.items()} == {link.id: (1, {"EUR": 5})}
    assert found.sales[0].minor == {"EUR": 7}
    assert found.links == {link.id}
    assert not gather(session, store, link.campaign_id, days[1], selection=ALL).sales
    later = gather(session, store, link.campaign_id, days[1], selection=ALL, axis=Axis.CONVERSION, step=DAY)
    assert (sum(sales.conversions for sales in later.sales.values()), later.sale_steps) == (1, [(0, 20_001, 1)])


@pytest.fixture
def statements(session: Session) -> Iterator[list[str]]:
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        seen.append(statement)

    event.listen(session.get_bind(), "before_cursor_execute", note)
    yield seen
    event.remove(session.get_bind(), "before_cursor_execute", note)


def test_a_report_reads_no_conversion_but_for_a_dimensions_value(
    session: Session, store: EventStore, make_link: MakeLink, statements: list[str]
) -> None:
    link, span = make_link(), [Span(FIRST - 3, FIRST + 3 * DAY + 5, 3)]
    session.execute(text("SELECT 1"))
    for selection, reads in (
        (ALL, False),
        (Selection(frozenset([link.id])), False),
        (Selection(None, {Dimension.DEVICE: "mobile"}), True),
    ):
        statements.clear()
        dimensions = () if selection.links else (Dimension.DEVICE, Dimension.COUNTRY)
        gather(session, store, link.campaign_id, span, selection=selection, dimensions=dimensions, step=DAY)
        assert any("FROM conversions" in each for each in statements) is reads
        assert statements


def test_conversions_of_a_link_are_in_its_series(session: Session, store: EventStore, make_link: MakeLink) -> None:
    pair = [make_link(content=content) for content in ("a", "b")]
    own = {"took": 0, "status": "approved", "outside_window": False, "is_test": False, "device": "mobile"}
    own |= {"matched_by": "click", "money": None}
    stored(session, pair, [own | {"link": number, "clicked": 40 * number} for number in (0, 1, 1)])
    place = (pair[0].workspace_id, pair[0].campaign_id, pair[0].id)
    click = StoredEvent(FIRST * QUARTER_MS, 1, int(Kind.CLICK), int(Verdict.COUNTED), *place, 1, *[None] * 10)
    store.append(Batch("s", 0, 1, [click]))
    span = [Span(FIRST, FIRST + DAY, 0)]
    only = Selection(frozenset([pair[1].id]))
    found = gather(session, store, pair[0].campaign_id, span, selection=only, dimensions=[Dimension.DEVICE], step=4)
    assert found.sale_steps == [(0, (FIRST + 40) // 4, 2)]
    assert {value: sales.conversions for value, sales in found.sales_of[Dimension.DEVICE].items()} == {"mobile": 2}
