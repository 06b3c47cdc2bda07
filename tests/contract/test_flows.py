"""Sums over several campaigns at once: the same of every store."""

from __future__ import annotations

from tests.contract.test_store import NOON_MS, append, event
from tracker import days
from tracker.events import Kind, Verdict
from tracker.stores import EventStore, Flow, Revision

DAY = 96
NOON = NOON_MS // days.BUCKET_MS


def test_flows_are_what_counted_of_each_campaign_in_each_run(store: EventStore) -> None:
    append(
        store,
        event(1),
        event(2, kind=Kind.IMPRESSION),
        event(3, kind=Kind.IMPRESSION, at_ms=NOON_MS + days.BUCKET_MS),
        event(4, campaign_id=2, link_id=5),
        event(5, campaign_id=3, link_id=6),
        event(6, verdict=Verdict.BOT),
        event(7, kind=Kind.HONEYPOT, verdict=Verdict.SCANNER),
        event(8, at_ms=NOON_MS - days.DAY_MS),
    )
    runs = [(NOON, NOON + 1), (NOON + 1, NOON + 2), (NOON - 5 * DAY, NOON), (NOON + 2, NOON + DAY)]
    found = store.flows([2, 1], runs)
    assert sorted(found) == [Flow(1, 0, 1, 1), Flow(1, 1, 1, 0), Flow(1, 2, 0, 1), Flow(2, 0, 0, 1)]
    assert store.flows([], runs) == []
    assert store.flows([1], []) == []


def test_what_was_taken_back_flows_no_more(store: EventStore) -> None:
    append(store, event(1), event(2, campaign_id=2))
    store.revise([Revision(NOON_MS, 1, Verdict.SCANNER)])
    assert store.flows([1, 2], [(NOON, NOON + 1)]) == [Flow(2, 0, 0, 1)]
