"""Windows by themselves: disorder, repetition, bounds, and the sums that no order may change."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.contract.test_store import NOON_MS, event
from tracker.events import Kind, Verdict
from tracker.pipeline import windows
from tracker.pipeline.rules import DEFAULT, Rules
from tracker.pipeline.windows import MINUTE_MS, SWEEP_REACH_MS, Windows
from tracker.stores import StoredEvent

pytestmark = pytest.mark.any_database


def at(ms: int, nonce: int = 0, **changes: object) -> StoredEvent:
    return event(nonce or ms + 1, at_ms=NOON_MS + ms, **changes)


def verdicts(rows: list[StoredEvent], rules: Rules = DEFAULT) -> list[int]:
    """What each is in the end, sweeps that were found later included."""
    own, found = Windows(), {}
    for row in rows:
        judgement = own.judge(row, rules)
        found[row[:2]] = int(judgement.verdict if judgement else row.verdict)
        for revision in own.take_revisions():
            found[revision[:2]] = revision.verdict
    return [found[row[:2]] for row in rows]


def test_a_double_click_is_one_near_a_click_that_counts_on_either_side() -> None:
    clicks = [at(5_000), at(4_000), at(6_900), at(2_900), at(2_950), at(7_100)]
    assert verdicts(clicks) == [0, 5, 5, 0, 5, 0]


@given(st.lists(st.tuples(st.integers(0, 90_000), st.booleans()), max_size=120), st.randoms(use_true_random=False))
@hypothesis_settings(max_examples=60, deadline=None)
def test_though_hits_come_in_some_disorder_no_minute_holds_more_than_the_limit(
    hits: list[tuple[int, bool]], chance: random.Random
) -> None:
    rules = Rules(double_click_ms=0, flood_per_min=5)
    rows = [
        at(ms, number + 1, kind=Kind.IMPRESSION if looks else Kind.CLICK) for number, (ms, looks) in enumerate(hits)
    ]
    # Neighbours change places, as hits of two workers do.
    rows = [row for _, row in sorted((row.at_ms + chance.randint(0, 3_000), row) for row in rows)]
    found = verdicts(rows, rules)
    for kind in (Kind.CLICK, Kind.IMPRESSION):
        counted = sorted(
            row.at_ms for row, verdict in zip(rows, found, strict=True) if (row.kind, verdict) == (kind, 0)
        )
        assert all(last - first >= MINUTE_MS for first, last in zip(counted, counted[5:], strict=False))


def test_a_hit_that_is_judged_twice_does_not_count_against_itself() -> None:
    own = Windows()
    for number in range(20):
        row = at(3_000 * number)
        assert [own.judge(row, DEFAULT) for _ in range(3)] == [None] * 3
    judgement = own.judge(at(58_000), DEFAULT)
    assert judgement is not None
    assert judgement.verdict in (Verdict.FLOOD, Verdict.DOUBLE_CLICK)


def test_a_sweep_is_found_in_any_order_and_reaches_ten_minutes_both_ways() -> None:
    sweep = [at(400 * number, link_id=number + 1) for number in range(3)]
    looks = [
        at(-SWEEP_REACH_MS - 1, link_id=9, kind=Kind.IMPRESSION),
        at(-SWEEP_REACH_MS + 900, link_id=9, kind=Kind.IMPRESSION),
        at(SWEEP_REACH_MS, link_id=9, kind=Kind.IMPRESSION),
        at(SWEEP_REACH_MS + 801, link_id=9, kind=Kind.IMPRESSION),
    ]
    rows = [*looks[:2], sweep[1], sweep[2], sweep[0], *looks[2:]]
    assert verdicts(rows) == [0, 4, 4, 4, 4, 4, 0]


@pytest.mark.parametrize(
    ("instants", "is_sweep"),
    [
        ([0, 500, 1_000], True),
        ([0, 500, 1_001], False),
        ([0, 1_250, 2_500, 3_750, 5_000], True),
        ([0, 1_250, 2_500, 3_750, 5_001], False),
    ],
)
def test_the_rate_of_a_sweep_is_out_of_a_persons_reach(instants: list[int], is_sweep: bool) -> None:
    found = verdicts([at(ms, link_id=number + 1) for number, ms in enumerate(instants)])
    assert found == [4 if is_sweep else 0] * len(instants)


def test_one_link_again_and_again_is_no_sweep() -> None:
    assert 4 not in verdicts([at(100 * number, link_id=1 + number % 2) for number in range(50)])


def test_heads_of_many_links_are_evidence_and_stay_heads() -> None:
    heads = [at(10 * number, link_id=number + 1, verdict=Verdict.HEAD) for number in range(3)]
    assert verdicts([*heads, at(5_000)]) == [1, 1, 1, 4]


@pytest.mark.parametrize("verdict", [Verdict.BOT, Verdict.PREFETCH, Verdict.INTERNAL, Verdict.INACTIVE])
def test_what_does_not_count_by_itself_is_no_evidence_of_a_sweep(verdict: Verdict) -> None:
    others = [at(10 * number, link_id=number + 1, verdict=verdict) for number in range(5)]
    assert verdicts([*others, at(5_000)])[-1] == 0


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "HITS_MAX", 1_000)
    own = Windows()
    for number in range(10_000):
        own.judge(at(number, visitor=number), DEFAULT)
        assert len(own._visitors) + len(own._older) <= 1_000
    for number in range(20_000):
        own.judge(at(10_000 + number, link_id=number), DEFAULT)
    (one,) = (each for each in own._visitors.values() if isinstance(each, windows._Visitor))
    assert len(one.trail) <= 2 * windows.TRAIL_MAX
    assert len(one.places) <= windows.PLACES_MAX
    assert len(one.links) <= windows.LINKS_MAX
    for number in range(20_000):
        own.judge(at(30_000 + number // 50, number + 1, link_id=1), DEFAULT)
    place = one.places[1, Kind.CLICK]
    assert len(place.hits) <= 4 * (DEFAULT.flood_per_min + 1)
    assert len(place.clicks) <= windows.CLICKS_MAX


def test_whoever_was_not_met_for_twenty_minutes_is_forgotten() -> None:
    own = Windows()
    own.judge(at(0), DEFAULT)
    for number in range(1, 4):
        own.judge(at(number * (SWEEP_REACH_MS + 1), visitor=100 + number), DEFAULT)
    assert 7 not in own._visitors
    assert 7 not in own._older
