"""What every event store does: the same tests for each."""

from __future__ import annotations

import re
from collections import Counter
from datetime import date
from itertools import count
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text
from sqlalchemy.event import listen

from tests.databases import examples
from tracker import days
from tracker.events import Kind, Verdict
from tracker.stores import (
    Batch,
    Cell,
    Dimension,
    Drift,
    EventStore,
    Orphan,
    Part,
    Reason,
    Revision,
    StaleBatch,
    StoredEvent,
)

HOUR_MS = 3_600_000
ROLLUPS = {"rollups", "rollup_days", "rollup_steps", "rollup_parts", "rollup_part_days"}
ROLLUPS |= {"rollup_reasons", "rollup_reason_days"}
_campaigns = count(100)
NOON_MS = 1_774_000_800_000 // days.BUCKET_MS * days.BUCKET_MS


def event(nonce: int, **changes: object) -> StoredEvent:
    made = StoredEvent(
        at_ms=NOON_MS,
        nonce=nonce,
        kind=Kind.CLICK,
        verdict=Verdict.COUNTED,
        workspace_id=1,
        campaign_id=1,
        link_id=1,
        visitor=7,
        agent="Firefox",
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
    return made._replace(**changes)  # type: ignore[arg-type]


def append(store: EventStore, *events: StoredEvent, segment: str = "a", start: int = 0) -> None:
    store.append(Batch(segment, start, start + len(events), events))


def cells(store: EventStore, campaign_id: int = 1) -> set[Cell]:
    return {cell for cell in store.totals(campaign_id, 0, 1 << 30) if cell.n}


def test_a_batch_is_stored_once_with_its_place_in_the_ledger(store: EventStore) -> None:
    append(store, event(1), event(2))
    assert store.position("a") == 2
    with pytest.raises(StaleBatch):
        append(store, event(1), event(2))
    append(store, event(3), start=2)
    with pytest.raises(StaleBatch):
        append(store, event(3), start=2)
    assert store.position("a") == 3
    assert store.position("b") == 0
    assert cells(store) == {Cell(1, Kind.CLICK, Verdict.COUNTED, 3, 1, 1)}
    assert [found.nonce for found in store.recent(1, before=None, limit=9)] == [3, 2, 1]


def test_an_empty_batch_moves_the_ledger(store: EventStore) -> None:
    store.append(Batch("a", 0, 10, ()))
    assert store.position("a") == 10


def test_an_event_that_is_stored_already_does_not_hold_up_the_others(store: EventStore) -> None:
    append(store, event(1))
    append(store, event(1), event(2), event(2), segment="b")
    assert cells(store) == {Cell(1, Kind.CLICK, Verdict.COUNTED, 2, 1, 1)}


def test_events_come_back_as_they_went_in(store: EventStore) -> None:
    rich = event(
        5, agent="Ünï", referrer="mail.example", detail="why", device="mobile", verdict=Verdict.BOT, visitor=2**63 - 1
    )
    bare = event(4, agent=None, visitor=None, campaign_id=None, link_id=None)
    append(store, rich, bare)
    assert store.recent(1, before=None, limit=9) == [rich, bare]
    assert store.recent(1, before=(rich.at_ms, rich.nonce), limit=9) == [bare]
    assert store.recent(2, before=None, limit=9) == []
    assert store.find_click(NOON_MS, 5) == rich
    assert store.find_click(NOON_MS, 6) is None


def test_a_page_of_events_does_not_go_through_what_is_newer(store: EventStore, engine: Engine) -> None:
    week = 7 * 24 * HOUR_MS
    append(store, *(event(number, at_ms=NOON_MS + number * week) for number in range(1, 6)))
    asked: list[tuple[str, Any]] = []

    def note(_c: object, _cursor: object, statement: str, parameters: Any, _context: object, _many: bool) -> None:
        asked.append((statement, parameters))

    listen(engine, "before_cursor_execute", note)
    assert [found.nonce for found in store.recent(1, before=(NOON_MS + 2 * week, 3), limit=9)] == [2, 1]
    (statement, parameters) = next(one for one in asked if "FROM events" in one[0])
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            explain, bound = "EXPLAIN QUERY PLAN ", r"SEARCH events USING PRIMARY KEY \(at_ms<\?\)"
        else:
            # So few rows are read whole, whatever the condition.
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
            explain, bound = "EXPLAIN ", r"Index Cond: \(\(?\S*at_ms <= "
        plan = "\n".join(str(row) for row in connection.exec_driver_sql(explain + statement, parameters))
    assert re.search(bound, plan), plan


def test_totals_tell_links_kinds_and_verdicts_apart(store: EventStore) -> None:
    append(
        store,
        event(1),
        event(2, link_id=2, visitor=8),
        event(3, kind=Kind.IMPRESSION),
        event(4, verdict=Verdict.BOT),
        event(5, campaign_id=2),
        event(6, at_ms=NOON_MS + days.BUCKET_MS),
    )
    start = NOON_MS // days.BUCKET_MS
    assert set(store.totals(1, start, start + 1)) == {
        Cell(1, Kind.CLICK, Verdict.COUNTED, 1, 1, 1),
        Cell(2, Kind.CLICK, Verdict.COUNTED, 1, 1, 1),
        Cell(1, Kind.IMPRESSION, Verdict.COUNTED, 1, 0, 0),
        Cell(1, Kind.CLICK, Verdict.BOT, 1, 0, 0),
    }
    assert store.first_bucket(1) == start
    assert store.first_bucket(3) is None


@given(
    instants=st.lists(st.tuples(st.integers(0, 5 * 96 - 1), st.integers(1, 3), st.booleans()), max_size=60),
    period=st.tuples(st.integers(0, 5 * 96), st.integers(0, 5 * 96)),
)
@hypothesis_settings(
    max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_period_sums_what_happened_in_it(
    store: EventStore, instants: list[tuple[int, int, bool]], period: tuple[int, int]
) -> None:
    """Whatever coarser rollups a store keeps: ends that cut a day, an hour or nothing at all give the same sums."""
    campaign = next(_campaigns)
    base = NOON_MS // days.BUCKET_MS
    happened = [
        event(
            number,
            at_ms=(base + bucket) * days.BUCKET_MS + campaign,
            link_id=link,
            campaign_id=campaign,
            verdict=Verdict.BOT if bot else Verdict.COUNTED,
            visitor=number,
        )
        for number, (bucket, link, bot) in enumerate(instants)
    ]
    append(store, *happened, segment=f"p{campaign}")
    start, end = (base + edge for edge in sorted(period))
    inside = [one for one in happened if start <= one.at_ms // days.BUCKET_MS < end]
    expected = Counter((one.link_id, one.kind, one.verdict) for one in inside)
    found = {cell[:3]: (cell.n, cell.unique_n) for cell in store.totals(campaign, start, end) if cell.n}
    assert found == {key: (n, n if key[2] == Verdict.COUNTED else 0) for key, n in expected.items()}
    steps = store.series(campaign, [days.Span(start, end, 0)], 96)
    assert sum(step.n for step in steps) == sum(one.verdict == Verdict.COUNTED for one in inside)


def test_a_visitor_is_unique_once_a_day_and_campaign(store: EventStore) -> None:
    append(store, event(1), event(2), event(3, visitor=None), event(4, verdict=Verdict.BOT, visitor=9))
    append(store, event(5), event(6, visitor=8), event(7, at_ms=NOON_MS + 24 * HOUR_MS), segment="b")
    assert sum(cell.unique_n for cell in cells(store)) == 3


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Asia/Kathmandu", "America/New_York"])
def test_a_series_counts_local_days_across_a_change_of_the_clock(store: EventStore, zone: str) -> None:
    local = ZoneInfo(zone)
    first, last = date(2026, 3, 5), date(2026, 4, 2)
    instants = []
    for day in days.dates(first, last):
        start, end = (days.to_ms(days.start_of(day + (date.resolution * n), local)) for n in (0, 1))
        instants += [start, end - 1]
    append(store, *(event(number, at_ms=at_ms) for number, at_ms in enumerate(instants)))
    spans = list(days.spans(*days.bucket_range(first, last, local), local))
    counted: dict[date, int] = {}
    for step in store.series(1, spans, 96):
        day = days.local_day(step.number)
        counted[day] = counted.get(day, 0) + step.n
    assert counted == dict.fromkeys(days.dates(first, last), 2)


def test_a_revised_verdict_moves_between_the_rollups(store: EventStore) -> None:
    append(store, event(1, verdict=Verdict.BOT, detail="curl"))
    assert store.revise([Revision(NOON_MS, 1, Verdict.COUNTED)])
    assert not store.revise([Revision(NOON_MS, 1, Verdict.COUNTED)])
    assert not store.revise([Revision(NOON_MS, 99, Verdict.COUNTED)])
    assert cells(store) == {Cell(1, Kind.CLICK, Verdict.COUNTED, 1, 1, 1)}
    assert store.revise([Revision(NOON_MS, 1, Verdict.SCANNER)])
    assert cells(store) == {Cell(1, Kind.CLICK, Verdict.SCANNER, 1, 0, 0)}


def test_pruning_takes_raw_events_and_leaves_rollups(store: EventStore) -> None:
    append(store, event(1), event(2, at_ms=NOON_MS + HOUR_MS))
    assert store.prune(days.from_ms(NOON_MS + 1)) == 1
    assert [found.nonce for found in store.recent(1, before=None, limit=9)] == [2]
    assert sum(cell.n for cell in cells(store)) == 2


def test_orphans_are_counted_by_code(store: EventStore) -> None:
    lost = {"verdict": Verdict.UNKNOWN_CODE, "campaign_id": None, "link_id": None}
    append(store, event(1, detail="b", **lost), event(2, detail="a", **lost), event(3, detail="b", **lost), event(4))
    day = NOON_MS // 86_400_000
    append(store, event(5, at_ms=NOON_MS + 24 * HOUR_MS, detail="b", **lost), segment="b")
    assert store.orphans(1, day, day + 1, 9) == [Orphan("b", 3, day + 1), Orphan("a", 1, day)]
    assert store.orphans(1, day, day, 1) == [Orphan("b", 2, day)]
    assert store.orphans(2, day, day, 9) == []
    assert drifts(store) == []


def test_forgotten_visitors_can_be_new_again(store: EventStore) -> None:
    append(store, event(1))
    store.forget_visitors(NOON_MS // 86_400_000 + 1)
    append(store, event(2), segment="b")
    assert sum(cell.unique_n for cell in cells(store)) == 2


def parts(store: EventStore, start: int, end: int, dimension: Dimension) -> list[Part]:
    return store.breakdowns(1, start, end, [dimension])[dimension]


def test_counted_events_break_down_by_what_is_known_of_them(store: EventStore) -> None:
    phone = {"device": "mobile", "os": "iOS", "browser": "Safari", "language": "de"}
    append(
        store,
        event(1, referrer="mail.example", **phone),
        event(2, referrer="mail.example", visitor=8, device="desktop"),
        event(3, referrer="news.example", kind=Kind.IMPRESSION, device="mobile"),
        event(4, referrer="mail.example", verdict=Verdict.BOT, device="mobile"),
        event(5, at_ms=NOON_MS + 24 * HOUR_MS, referrer="mail.example"),
        event(6, campaign_id=2, referrer="mail.example"),
    )
    start = NOON_MS // days.BUCKET_MS
    both = set(parts(store, start - 200, start + 200, Dimension.REFERRER))
    assert both == {Part("mail.example", Kind.CLICK, 3, 3), Part("news.example", Kind.IMPRESSION, 1, 0)}
    only_then = set(parts(store, start, start + 1, Dimension.REFERRER))
    assert only_then == {Part("mail.example", Kind.CLICK, 2, 2), Part("news.example", Kind.IMPRESSION, 1, 0)}
    assert set(parts(store, start, start + 1, Dimension.DEVICE)) == {
        Part("mobile", Kind.CLICK, 1, 1),
        Part("desktop", Kind.CLICK, 1, 1),
        Part("mobile", Kind.IMPRESSION, 1, 0),
    }
    assert store.revise([Revision(NOON_MS, 4, Verdict.COUNTED)])
    assert Part("mobile", Kind.CLICK, 2, 1) in parts(store, start, start + 1, Dimension.DEVICE)
    assert drifts(store) == []


def test_when_a_first_click_counts_no_longer_the_next_one_is_the_first(store: EventStore) -> None:
    append(store, event(1), event(2, at_ms=NOON_MS + 1, link_id=2, device="mobile"), event(3, visitor=8))
    assert store.revise([Revision(NOON_MS, 1, Verdict.SCANNER)])
    assert cells(store) == {
        Cell(1, Kind.CLICK, Verdict.SCANNER, 1, 0, 0),
        Cell(2, Kind.CLICK, Verdict.COUNTED, 1, 1, 1),
        Cell(1, Kind.CLICK, Verdict.COUNTED, 1, 1, 1),
    }
    assert store.revise([Revision(NOON_MS + 1, 2, Verdict.SCANNER)])
    assert sum(cell.unique_n for cell in cells(store)) == 1
    append(store, event(4, at_ms=NOON_MS + 2), segment="b")
    assert sum(cell.unique_n for cell in cells(store)) == 2
    assert drifts(store) == []


def drifts(store: EventStore) -> list[Drift]:
    return [drift for day in store.whole_days() for drift in store.drifts(day)]


def test_rollups_are_held_against_the_raw_events_and_made_anew(store: EventStore, engine: Engine) -> None:
    append(
        store,
        event(1, device="mobile", referrer="mail.example"),
        event(2, kind=Kind.IMPRESSION, device="desktop"),
        event(3, verdict=Verdict.BOT),
        event(4, at_ms=NOON_MS + 24 * HOUR_MS, visitor=9),
    )
    before = cells(store)
    day = NOON_MS // 86_400_000
    assert store.whole_days() == [day, day + 1]
    assert drifts(store) == []
    with engine.begin() as connection:
        for table in ROLLUPS:
            connection.execute(text(f"UPDATE {table} SET n = n + 1 WHERE kind = 2"))
        connection.execute(text("DELETE FROM rollups WHERE kind = 1"))
        connection.execute(text(f"UPDATE events SET first_of_day = false WHERE at_ms > {NOON_MS}"))
    found = drifts(store)
    assert {drift.rollup for drift in found} == ROLLUPS | {"events.first_of_day"}
    assert Drift("rollups", (1, NOON_MS // days.BUCKET_MS, 1, 1, 0), (0, 0, 0), (1, 0, 0)) in found
    store.repair(day)
    assert {drift.key[1] // 96 if drift.rollup == "rollups" else day + 1 for drift in drifts(store)} == {day + 1}
    store.repair(day + 1)
    assert drifts(store) == []
    assert cells(store) == before


def test_pruned_days_are_not_held_against_anything(store: EventStore) -> None:
    day = NOON_MS // 86_400_000
    append(store, event(1), event(2, at_ms=NOON_MS + 24 * HOUR_MS), event(3, at_ms=NOON_MS + 48 * HOUR_MS))
    store.prune(days.from_ms(NOON_MS + 24 * HOUR_MS + 1))
    store.prune(days.from_ms(NOON_MS))
    assert store.whole_days() == [day + 2]
    assert drifts(store) == []


def test_of_a_day_that_retention_has_cut_nobody_becomes_a_first(store: EventStore) -> None:
    append(store, event(1), event(2, at_ms=NOON_MS + 60_000, verdict=Verdict.BOT))
    store.prune(days.from_ms(NOON_MS + 30_000))
    store.forget_visitors(NOON_MS // 86_400_000 + 1)
    assert store.revise([Revision(NOON_MS + 60_000, 2, Verdict.COUNTED)]) == 1
    assert sum(cell.unique_n for cell in cells(store)) == 1


def test_pruning_takes_many_events_over_many_weeks(store: EventStore) -> None:
    week = 7 * 24 * HOUR_MS
    append(store, *(event(number, at_ms=NOON_MS + number % 5 * week + number) for number in range(50_000)))
    assert store.prune(days.from_ms(NOON_MS + 3 * week)) == 30_000
    assert len(store.recent(1, before=(NOON_MS + 3 * week, 0), limit=9)) == 0
    append(store, event(50_001), segment="b")
    assert [found.nonce for found in store.recent(1, before=(NOON_MS + 3 * week, 0), limit=9)] == [50_001]


def test_a_rehearsal_leaves_nothing_behind(store: EventStore) -> None:
    store.rehearse(Batch("a", 0, 1, (event(1, agent="New"),)))
    assert (store.position("a"), store.recent(1, before=None, limit=9), cells(store)) == (0, [], set())
    with pytest.raises(Exception, match="surrogate"):
        store.rehearse(Batch("a", 0, 1, (event(1, agent="\ud800"),)))
    append(store, event(1, agent="New"))
    assert store.recent(1, before=None, limit=9)[0].agent == "New"


def test_unique_clicks_are_told_for_each_link_too(store: EventStore) -> None:
    append(store, event(1), event(2, at_ms=NOON_MS + 1, link_id=2), event(3, at_ms=NOON_MS + 2, link_id=2))
    assert {(cell.link_id, cell.unique_n, cell.unique_on_link_n) for cell in cells(store)} == {(1, 1, 1), (2, 0, 1)}
    assert store.revise([Revision(NOON_MS, 1, Verdict.BOT), Revision(NOON_MS + 1, 2, Verdict.BOT)]) == 2
    counted = {cell.link_id: cell[3:] for cell in cells(store) if cell.verdict == Verdict.COUNTED}
    assert counted == {2: (1, 1, 1)}
    assert drifts(store) == []


def test_reasons_tell_what_was_left_out_and_what_was_remarked(store: EventStore) -> None:
    append(
        store,
        event(1, verdict=Verdict.BOT, detail="Slack"),
        event(2, verdict=Verdict.BOT, detail="Slack", at_ms=NOON_MS + 24 * HOUR_MS),
        event(3, verdict=Verdict.HEAD),
        event(4, kind=Kind.IMPRESSION, detail="via_proxy"),
        event(5),
        event(6, campaign_id=2, verdict=Verdict.BOT, detail="Slack"),
        event(7, kind=Kind.HONEYPOT, verdict=Verdict.BOT, detail="Slack"),
    )
    start = NOON_MS // days.BUCKET_MS
    assert set(store.reasons_of([1], start - 200, start + 200)) == {
        Reason(Kind.CLICK, Verdict.BOT, "Slack", 2),
        Reason(Kind.CLICK, Verdict.HEAD, None, 1),
        Reason(Kind.IMPRESSION, Verdict.COUNTED, "via_proxy", 1),
    }
    assert Reason(Kind.CLICK, Verdict.BOT, "Slack", 1) in store.reasons_of([1], start, start + 1)
    assert store.revise([Revision(NOON_MS, 1, Verdict.SCANNER, "Barracuda", "sweep")]) == 1
    assert store.revise([Revision(NOON_MS, 1, Verdict.SCANNER, "Barracuda", "sweep")]) == 0
    assert Reason(Kind.CLICK, Verdict.SCANNER, "Barracuda", 1) in store.reasons_of([1], start, start + 1)
    found = store.find_click(NOON_MS, 1)
    assert found is not None
    assert (found.verdict, found.detail, found.rule) == (Verdict.SCANNER, "Barracuda", "sweep")
    assert drifts(store) == []


HITS = st.tuples(st.integers(0, 5), st.integers(1, 2), st.integers(1, 3), st.booleans())
CHANGES = st.lists(st.tuples(st.integers(0, 39), st.sampled_from([Verdict.COUNTED, Verdict.BOT, Verdict.SCANNER])))


@given(hits=st.lists(HITS, max_size=40), rounds=st.lists(CHANGES, max_size=3), is_forgotten=st.booleans())
@hypothesis_settings(
    max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_is_revised_the_sums_are_those_of_the_events(
    store: EventStore,
    hits: list[tuple[int, int, int, bool]],
    rounds: list[list[tuple[int, Verdict]]],
    is_forgotten: bool,
) -> None:
    campaign = next(_campaigns)
    # Two days, few visitors, two links: first clicks are taken over all the time.
    first_day = NOON_MS // 86_400_000 + 10 * campaign
    made = [
        event(
            number,
            at_ms=(first_day * 24 + 8 * eighth) * HOUR_MS + number,
            campaign_id=campaign,
            link_id=2 * campaign + link,
            visitor=visitor,
            verdict=Verdict.COUNTED if counts else Verdict.BOT,
            device="mobile",
        )
        for number, (eighth, link, visitor, counts) in enumerate(hits)
    ]
    append(store, *made, segment=f"revised-{campaign}")
    if is_forgotten:
        store.forget_visitors(first_day + 1)
    now = {(row.at_ms, row.nonce): row.verdict for row in made}
    for changes in rounds:
        wanted = {made[place % len(made)][:2]: verdict for place, verdict in changes if made}
        changed = sum(now[row_id] != verdict for row_id, verdict in wanted.items())
        assert store.revise([Revision(*row_id, verdict) for row_id, verdict in wanted.items()]) == changed
        now |= wanted
        assert [drift for day in range(first_day, first_day + 3) for drift in store.drifts(day)] == []


def test_events_between_two_ids_come_in_the_order_of_time(store: EventStore) -> None:
    append(store, event(3), event(1), event(2, at_ms=NOON_MS + 1, workspace_id=2), event(9, at_ms=NOON_MS - 1))
    every = store.between((0, 0), (2**62, 0), 9)
    assert [found.nonce for found in every] == [9, 1, 3, 2]
    assert store.between((NOON_MS, 1), (NOON_MS + 1, 2), 9) == [every[2]]
    assert store.between((0, 0), (2**62, 0), 2) == every[:2]
    assert store.between((0, 0), (2**62, 0), 2, newest=True) == every[-2:]
    assert store.between((NOON_MS + 1, 2), (2**62, 0), 9) == []


def test_a_store_remembers_numbers_by_name(store: EventStore) -> None:
    assert store.mark("a") is None
    store.set_marks({"a": 2**40, "b": 1})
    store.set_marks({"a": 3, "b": None})
    assert (store.mark("a"), store.mark("b")) == (3, None)
