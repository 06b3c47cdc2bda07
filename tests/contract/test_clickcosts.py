"""What clicks said they cost, summed by every store: the same whatever is revised, forgotten or made anew."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from tests.contract.test_store import HOUR_MS, NOON_MS, _campaigns, append, drifts, event
from tests.databases import examples
from tracker import days
from tracker.events import Kind, Verdict
from tracker.stores import ClickCost, EventStore, Revision, StoredEvent

START = NOON_MS // days.BUCKET_MS
DAY_MS = 24 * HOUR_MS


def costing(nonce: int, micros: int | None, currency: str = "EUR", **changes: object) -> StoredEvent:
    return event(nonce, cost_micros=micros, cost_currency=currency, **changes)


def costs(store: EventStore, campaign_id: int = 1) -> set[ClickCost]:
    return set(store.click_costs(campaign_id, 0, 1 << 30))


def test_costs_are_summed_by_link_and_currency_and_come_back_with_their_click(store: EventStore) -> None:
    rows = [
        costing(1, 450_000),
        costing(2, 1),
        costing(3, 10**10, link_id=2),
        costing(4, 5, "JPY"),
        costing(5, 0, visitor=None),
        costing(6, None),
        costing(7, 9, campaign_id=2),
        event(8),
    ]
    append(store, *rows)
    assert costs(store) == {
        ClickCost(1, "EUR", 3, 450_001, 1),
        ClickCost(2, "EUR", 1, 10**10, 0),
        ClickCost(1, "JPY", 1, 5, 0),
    }
    assert store.recent(1, before=None, limit=9) == rows[::-1]
    assert drifts(store) == []


def test_only_clicks_that_count_have_their_cost_summed(store: EventStore) -> None:
    append(
        store,
        costing(1, 1),
        costing(2, 2, verdict=Verdict.BOT),
        costing(3, 4, verdict=Verdict.TEST),
        costing(4, 8, kind=Kind.IMPRESSION),
        costing(5, 16, link_id=None),
        costing(6, None, verdict=Verdict.DOUBLE_CLICK),
    )
    assert costs(store) == {ClickCost(1, "EUR", 1, 1, 0)}
    assert drifts(store) == []


def test_a_revised_verdict_takes_the_cost_with_it(store: EventStore) -> None:
    append(store, costing(1, 3), costing(2, None, link_id=2), costing(3, 5, verdict=Verdict.BOT))
    assert store.revise([Revision(NOON_MS, nonce, Verdict.SCANNER) for nonce in (1, 2)]) == 2
    assert costs(store) == set()
    assert store.revise([Revision(NOON_MS, nonce, Verdict.COUNTED) for nonce in (1, 2, 3)]) == 3
    assert costs(store) == {ClickCost(1, "EUR", 2, 8, 0), ClickCost(2, "EUR", 0, 0, 1)}
    assert drifts(store) == []


def test_who_is_forgotten_leaves_what_the_click_cost(store: EventStore) -> None:
    append(store, costing(1, 3), costing(2, 4, "USD"))
    assert store.forget_visitor(NOON_MS, 1) == 2
    assert costs(store) == {ClickCost(1, "EUR", 1, 3, 0), ClickCost(1, "USD", 1, 4, 0)}
    assert drifts(store) == []


def test_costs_outlast_the_raw_events(store: EventStore) -> None:
    append(store, costing(1, 3))
    assert store.prune(days.from_ms(NOON_MS + 1)) == 1
    assert costs(store) == {ClickCost(1, "EUR", 1, 3, 0)}


def test_sums_of_costs_are_held_against_the_clicks_and_made_anew(store: EventStore, engine: Engine) -> None:
    append(store, costing(1, 3), costing(2, None), costing(3, 4, at_ms=NOON_MS + DAY_MS))
    before = costs(store)
    with engine.begin() as connection:
        connection.execute(text("UPDATE cost_days SET micros = micros + 1"))
        connection.execute(text("DELETE FROM cost_quarters"))
    assert {drift.rollup for drift in drifts(store)} == {"cost_quarters", "cost_days"}
    found = next(drift for drift in drifts(store) if drift.rollup == "cost_quarters")
    assert (found.key[:3], found.kept, found.counted) == ((1, START, 1), (0, 0, 0), (1, 3, 1))
    for day in store.whole_days():
        store.repair(day)
    assert drifts(store) == []
    assert costs(store) == before


COSTS = st.tuples(
    st.integers(0, 3 * 96 - 1),
    st.integers(1, 3),
    st.sampled_from(["EUR", "USD", "JPY"]),
    st.one_of(st.none(), st.integers(0, 10**10)),
    st.sampled_from([Verdict.COUNTED, Verdict.BOT, Verdict.DOUBLE_CLICK]),
)
CHANGES = st.lists(st.tuples(st.integers(0, 39), st.sampled_from([Verdict.COUNTED, Verdict.SCANNER])))


@pytest.mark.timeout(300)
@given(
    clicks=st.lists(COSTS, max_size=40),
    changes=CHANGES,
    period=st.tuples(st.integers(0, 3 * 96), st.integers(0, 3 * 96)),
)
@hypothesis_settings(
    max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_period_costs_what_its_counted_clicks_said(
    store: EventStore,
    clicks: list[tuple[int, int, str, int | None, Verdict]],
    changes: list[tuple[int, Verdict]],
    period: tuple[int, int],
) -> None:
    campaign = next(_campaigns)
    made = [
        costing(
            number,
            micros,
            currency,
            at_ms=(START + bucket) * days.BUCKET_MS + campaign,
            campaign_id=campaign,
            link_id=link,
            verdict=verdict,
            visitor=number % 4,
        )
        for number, (bucket, link, currency, micros, verdict) in enumerate(clicks)
    ]
    append(store, *made, segment=f"cost-{campaign}")
    now = {row[:2]: row.verdict for row in made}
    wanted = {made[place % len(made)][:2]: verdict for place, verdict in changes if made}
    store.revise([Revision(*row_id, verdict) for row_id, verdict in wanted.items()])
    now |= wanted
    start, end = (START + edge for edge in sorted(period))
    expected: dict[tuple[int, str], Counter[str]] = {}
    for row in made:
        if start <= row.at_ms // days.BUCKET_MS < end and now[row[:2]] == Verdict.COUNTED:
            sums = expected.setdefault((row.link_id or 0, row.cost_currency or ""), Counter())
            sums["n" if row.cost_micros is not None else "unread"] += 1
            sums["micros"] += row.cost_micros or 0
    found = {each[:2]: each[2:] for each in store.click_costs(campaign, start, end)}
    assert found == {key: (sums["n"], sums["micros"], sums["unread"]) for key, sums in expected.items()}
    days_of = {row.at_ms // DAY_MS for row in made}
    assert [drift for day in days_of for drift in store.drifts(day)] == []
