"""What every event store finds, and what it forgets of a visitor."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from tests.contract.test_store import HOUR_MS, NOON_MS, append, cells, drifts, event
from tracker import days
from tracker.events import Kind, Verdict
from tracker.stores import Dimension, EventStore, Hits, Orphan, Reason, Revision, Search, StoredEvent, Wanted, searching

DAY = NOON_MS // 86_400_000
LOST = {"verdict": Verdict.UNKNOWN_CODE, "campaign_id": None, "link_id": None}


def nonces(events: Iterable[StoredEvent]) -> list[int]:
    return [found.nonce for found in events]


def test_a_search_leaves_what_was_asked_for(store: EventStore) -> None:
    append(
        store,
        event(1, verdict=Verdict.BOT, detail="Slack preview"),
        event(2, at_ms=NOON_MS + 1, kind=Kind.IMPRESSION),
        event(3, at_ms=NOON_MS + 2, link_id=2, campaign_id=2, verdict=Verdict.BOT, detail="curl"),
        event(4, at_ms=NOON_MS + 3, detail="via_proxy", kind=Kind.IMPRESSION),
        event(5, at_ms=NOON_MS + 4, detail="teapot", **LOST),
        event(6, at_ms=NOON_MS + 5, workspace_id=2, verdict=Verdict.BOT),
        event(7, at_ms=NOON_MS + 6, kind=Kind.CALLBACK, detail="w_key", **LOST),
    )
    asked = {
        Wanted(): [7, 5, 4, 3, 2, 1],
        Wanted(kind=Kind.IMPRESSION): [4, 2],
        Wanted(verdict=Verdict.BOT): [3, 1],
        Wanted(detail="curl"): [3],
        Wanted(detail="wget"): [],
        Wanted(link_id=2): [3],
        Wanted(link_id=2, code="teapot"): [5, 3],
        Wanted(code="teapot"): [5],
        Wanted(code="nobody"): [],
        Wanted(campaign_id=1): [4, 2, 1],
        Wanted(campaign_id=1, noted=True): [4, 1],
        Wanted(noted=True): [4, 3, 1],
        Wanted(since_ms=NOON_MS + 3): [7, 5, 4],
        Wanted(verdict=Verdict.BOT, kind=Kind.IMPRESSION): [],
    }
    assert {wanted: nonces(store.search(1, wanted, before=None, limit=9).events) for wanted in asked} == asked
    assert nonces(store.search(2, Wanted(verdict=Verdict.BOT), before=None, limit=9).events) == [6]


def test_a_search_is_paged_by_the_id_it_ended_at(store: EventStore) -> None:
    append(store, *(event(number, at_ms=NOON_MS + number // 3, link_id=number % 2) for number in range(20)))
    seen: list[int] = []
    before = None
    while True:
        page, before = store.search(1, Wanted(link_id=1), before=before, limit=3)
        seen += nonces(page)
        if before is None:
            break
    assert seen == list(range(19, 0, -2))


def test_a_search_ends_after_so_many_events_and_says_where_to_go_on(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "SEARCHED_AT_ONCE", 4)
    monkeypatch.setattr(searching, "SEARCHED_MAX", 8)
    rows = [
        event(number, at_ms=NOON_MS + number // 2, verdict=Verdict.BOT if number < 3 else 0) for number in range(20)
    ]
    append(store, *rows)
    wanted = Wanted(verdict=Verdict.BOT)
    first = store.search(1, wanted, before=None, limit=9)
    assert first == Search([], rows[12][:2])
    second = store.search(1, wanted, before=first.go_on, limit=9)
    assert second == Search([], rows[4][:2])
    third = store.search(1, wanted, before=second.go_on, limit=9)
    assert (nonces(third.events), third.go_on) == ([2, 1, 0], None)
    assert store.search(1, wanted, before=second.go_on, limit=2) == Search(rows[2:0:-1], rows[1][:2])


def test_reasons_and_hits_of_several_campaigns_add_up(store: EventStore) -> None:
    append(
        store,
        event(1, verdict=Verdict.BOT, detail="Slack preview"),
        event(2, verdict=Verdict.BOT, detail="Slack preview", campaign_id=2, at_ms=NOON_MS + 30 * HOUR_MS),
        event(3, campaign_id=2),
        event(4, campaign_id=3, verdict=Verdict.BOT),
    )
    start = NOON_MS // days.BUCKET_MS
    assert store.reasons_of([1, 2], start, start + 300) == [Reason(Kind.CLICK, Verdict.BOT, "Slack preview", 2)]
    assert store.hits_of([1, 2], start, start + 300) == [Hits(2, Verdict.COUNTED, 1), Hits(2, Verdict.BOT, 2)]
    assert store.hits_of([1, 2], start, start + 1) == [Hits(2, Verdict.COUNTED, 1), Hits(2, Verdict.BOT, 1)]
    assert (store.reasons_of([], start, start + 9), store.hits_of([], start, start + 9)) == ([], [])


def test_a_key_that_nobody_has_is_no_unknown_code(store: EventStore) -> None:
    append(store, event(1, detail="w_key", **LOST | {"kind": Kind.CALLBACK}), event(2, detail="x", **LOST))
    assert store.orphans(1, DAY, DAY, 9) == [Orphan("x", 1, DAY)]
    assert drifts(store) == []


def test_orphans_of_days_gone_by_are_forgotten_and_not_missed(store: EventStore) -> None:
    append(store, event(1, detail="a", **LOST), event(2, at_ms=NOON_MS + 24 * HOUR_MS, detail="b", **LOST))
    store.forget_orphans(DAY + 1)
    assert store.orphans(1, DAY, DAY + 1, 9) == [Orphan("b", 1, DAY + 1)]
    assert drifts(store) == []
    store.repair(DAY)
    assert store.orphans(1, DAY, DAY, 9) == []


PERSON = {"referrer": "mail.example", "language": "de", "device": "mobile", "os": "iOS", "browser": "Safari"}


def test_a_visitor_is_forgotten_and_no_count_changes(store: EventStore) -> None:
    append(
        store,
        event(1, **PERSON),
        event(2, at_ms=NOON_MS + 1, link_id=2, country="DE", channel="mail", **PERSON),
        event(3, at_ms=NOON_MS + 2, kind=Kind.IMPRESSION, detail="via_proxy", **PERSON),
        event(4, at_ms=NOON_MS + 3, verdict=Verdict.DOUBLE_CLICK, rule="within 2 s", **PERSON),
        event(5, at_ms=NOON_MS + 4, visitor=8, **PERSON),
        event(6, at_ms=NOON_MS + 24 * HOUR_MS, **PERSON),
    )
    before = cells(store)
    assert nonces(store.of_visitor(NOON_MS + 1, 2, 9)) == [1, 2, 3, 4]
    assert nonces(store.of_visitor(NOON_MS + 1, 2, 3)) == [1, 2, 3]
    assert store.forget_visitor(NOON_MS + 1, 2) == 4
    assert cells(store) == before
    assert drifts(store) == []
    forgotten = store.of_visitor(NOON_MS, 1, 9)
    assert nonces(forgotten) == [1, 2, 3, 4]
    assert {found.visitor for found in forgotten}.isdisjoint({7, None})
    nothing = dict.fromkeys((*PERSON, "agent", "country", "channel"), None)
    assert forgotten == [found._replace(**nothing) for found in forgotten]  # type: ignore[arg-type]
    assert (forgotten[2].detail, forgotten[3].rule) == ("via_proxy", "within 2 s")
    start = NOON_MS // days.BUCKET_MS
    referrers = store.breakdowns(1, start, start + 1, [Dimension.REFERRER])[Dimension.REFERRER]
    assert [(part.kind, part.n) for part in referrers if part.n] == [(Kind.CLICK, 1)]
    others = [found for found in store.recent(1, before=None, limit=9) if found.nonce > 4]
    assert {(found.visitor, found.agent, found.referrer) for found in others} == {
        (8, "Firefox", "mail.example"),
        (7, "Firefox", "mail.example"),
    }


def test_who_is_forgotten_can_still_lose_a_first_click_and_come_again(store: EventStore) -> None:
    append(store, event(1), event(2, at_ms=NOON_MS + 1))
    store.forget_visitor(NOON_MS, 1)
    assert store.revise([Revision(NOON_MS, 1, Verdict.BOT)]) == 1
    assert drifts(store) == []
    append(store, event(3, at_ms=NOON_MS + 2), segment="b")
    assert sum(cell.unique_n for cell in cells(store)) == 2
    assert drifts(store) == []


def test_nobody_is_forgotten_twice_or_in_place_of_another(store: EventStore) -> None:
    append(store, event(1, visitor=None, **PERSON), event(2, visitor=None, **PERSON))
    assert store.forget_visitor(NOON_MS, 3) == 0
    assert store.of_visitor(NOON_MS, 3, 9) == []
    assert store.forget_visitor(NOON_MS, 1) == 1
    kept = {found.nonce: (found.visitor, found.referrer) for found in store.recent(1, before=None, limit=9)}
    assert kept == {1: (None, None), 2: (None, "mail.example")}
    assert drifts(store) == []
