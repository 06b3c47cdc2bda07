"""Selected hits: what a store counts of raw events is what anybody would who went through them one by one."""

from __future__ import annotations

from collections import Counter
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.contract.test_store import HOUR_MS, NOON_MS, append, event
from tests.databases import examples
from tracker import days
from tracker.days import Span
from tracker.events import Kind, Verdict
from tracker.stores import ALL, Cell, Dimension, EventStore, Part, Selection, Step, StoredEvent

START = NOON_MS // days.BUCKET_MS
DAY = 96
PERIOD = [Span(START, START + 2 * DAY, 0)]
_campaigns = count(1000)

VALUES = {"country": ["DE", "FR", None], "device": ["mobile", "desktop", None], "referrer": ["a.example", None]}
HITS = st.lists(
    st.tuples(
        st.integers(0, 3 * DAY - 1),
        st.integers(1, 3),
        st.sampled_from([Kind.IMPRESSION, Kind.CLICK, Kind.CLICK, Kind.CONVERSION]),
        st.sampled_from([Verdict.COUNTED, Verdict.COUNTED, Verdict.BOT]),
        st.integers(1, 4),
        st.fixed_dictionaries({name: st.sampled_from(values) for name, values in VALUES.items()}),
    ),
    max_size=40,
)
SELECTED = st.dictionaries(st.sampled_from(sorted(VALUES)), st.integers(0, 2), max_size=2)
LINKS = st.one_of(st.none(), st.frozensets(st.integers(1, 3)))


def made(campaign: int, hits: list[Any]) -> list[StoredEvent]:
    return [
        event(
            1000 * campaign + number,
            at_ms=(START + bucket) * days.BUCKET_MS + number,
            campaign_id=campaign,
            link_id=10 * campaign + link,
            kind=kind,
            verdict=verdict,
            visitor=visitor,
            **known,
        )
        for number, (bucket, link, kind, verdict, visitor, known) in enumerate(hits)
    ]


@given(hits=HITS, chosen=SELECTED, links=LINKS)
@hypothesis_settings(
    max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_selected_hits_are_those_that_have_all_the_values(
    store: EventStore, hits: list[Any], chosen: dict[str, int], links: frozenset[int] | None
) -> None:
    campaign = next(_campaigns)
    events = made(campaign, hits)
    append(store, *events, segment=f"s{campaign}")
    wanted = {name: VALUES[name][place % len(VALUES[name])] for name, place in chosen.items()}
    ids = None if links is None else frozenset(10 * campaign + link for link in links)
    inside = [
        each
        for each in events
        if (START <= each.at_ms // days.BUCKET_MS < START + 2 * DAY)
        and each.kind in (Kind.IMPRESSION, Kind.CLICK)
        and (ids is None or each.link_id in ids)
        and all(getattr(each, name) == value for name, value in wanted.items())
    ]
    selection = Selection(ids, {Dimension[name.upper()]: value for name, value in wanted.items()})
    found = store.select(campaign, PERIOD, DAY, selection, list(Dimension))
    assert {cell[:3]: cell.n for cell in found.cells} == Counter((e.link_id, e.kind, e.verdict) for e in inside)
    counted = [each for each in inside if each.verdict == Verdict.COUNTED]
    steps = Counter((0, each.at_ms // days.BUCKET_MS // DAY, each.kind) for each in counted)
    assert {step[:3]: step.n for step in found.steps} == steps
    for dimension, parts in found.parts.items():
        values = Counter((getattr(e, dimension.word), e.kind) for e in counted if getattr(e, dimension.word))
        assert {part[:2]: part.n for part in parts} == values


@given(hits=HITS)
@hypothesis_settings(
    max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_rollups_and_raw_events_tell_the_same(store: EventStore, hits: list[Any]) -> None:
    campaign = next(_campaigns)
    append(store, *made(campaign, hits), segment=f"r{campaign}")
    raw = store.select(campaign, PERIOD, DAY, ALL, list(Dimension))
    shown = [cell for cell in store.totals(campaign, START, START + 2 * DAY) if cell.kind <= Kind.CLICK]
    assert sorted(raw.cells) == sorted(shown)
    assert sorted(raw.steps) == sorted(store.series(campaign, PERIOD, DAY))
    kept = store.breakdowns(campaign, START, START + 2 * DAY, list(Dimension))
    assert {each: sorted(parts) for each, parts in raw.parts.items()} == {each: sorted(kept[each]) for each in kept}
    for links in (frozenset({10 * campaign + 1}), frozenset({10 * campaign + 2, 10 * campaign + 3})):
        only = store.select(campaign, PERIOD, DAY, Selection(links))
        assert sorted(only.steps) == sorted(store.series(campaign, PERIOD, DAY, links))
        assert sorted(only.cells) == sorted(cell for cell in shown if cell.link_id in links)


def test_a_value_or_a_link_that_nothing_has_selects_nothing(store: EventStore) -> None:
    append(store, event(1, country="DE"))
    nothing = ([], [], {Dimension.DEVICE: []})
    for selection in (Selection(None, {Dimension.COUNTRY: "XY"}), Selection(frozenset()), Selection(frozenset({9}))):
        assert store.select(1, PERIOD, DAY, selection, [Dimension.DEVICE]) == nothing
    assert store.series(1, PERIOD, DAY, frozenset()) == []
    assert store.select(2, PERIOD, DAY, ALL) == ([], [], {})


def test_unique_clicks_of_a_part_are_the_campaigns_or_the_links(store: EventStore) -> None:
    append(store, event(1, device="mobile"), event(2, link_id=2, device="mobile"))
    for of_link, unique in ((False, 0), (True, 1)):
        found = store.select(1, PERIOD, DAY, Selection(frozenset({2}), {}, of_link), [Dimension.DEVICE])
        assert found.parts[Dimension.DEVICE] == [Part("mobile", Kind.CLICK, 1, unique)]
        assert found.cells == [Cell(2, Kind.CLICK, Verdict.COUNTED, 1, 0, 1)]


def test_steps_are_local_on_both_sides_of_a_change_of_the_clock(store: EventStore) -> None:
    append(store, event(1, country="DE"), event(2, country="DE", at_ms=NOON_MS + 30 * HOUR_MS))
    middle = START + DAY
    spans = [Span(START - DAY, middle, 4), Span(middle, middle + DAY, 8)]
    found = store.select(1, spans, 4, Selection(None, {Dimension.COUNTRY: "DE"}))
    later = START + 30 * 4
    assert sorted(found.steps) == [Step(4, (START + 4) // 4, 2, 1), Step(8, (later + 8) // 4, 2, 1)]


def test_many_links_can_be_selected(store: EventStore) -> None:
    append(store, event(1), event(2, link_id=50_000))
    links = frozenset(range(2, 50_001))
    assert [cell.link_id for cell in store.select(1, PERIOD, DAY, Selection(links)).cells] == [50_000]
    assert [step.n for step in store.series(1, PERIOD, DAY, links)] == [1]


@pytest.mark.parametrize("hours", [0, 1])
def test_a_store_tells_since_when_it_has_raw_events(store: EventStore, hours: int) -> None:
    append(store, event(1))
    assert store.raw_since_ms() == 0
    store.prune(days.from_ms(NOON_MS + hours * HOUR_MS))
    assert store.raw_since_ms() == NOON_MS + hours * HOUR_MS
    assert len(store.select(1, PERIOD, DAY, ALL).cells) == 1 - hours
