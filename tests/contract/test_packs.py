"""Packs: whatever is packed, revised, added or deleted, and in whatever order, a report is told what raw events say."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, Table, select
from sqlalchemy.event import listen
from sqlalchemy.exc import OperationalError

from tests.contract.test_select import DAY, HITS, LINKS, SELECTED, START, VALUES, made
from tests.contract.test_store import HOUR_MS, NOON_MS, append, event
from tests.databases import examples
from tracker import days
from tracker.config import Settings
from tracker.days import Span
from tracker.events import Kind, Verdict
from tracker.extensions import Base
from tracker.jobs import Installation, Schedule
from tracker.stores import (
    ALL,
    Batch,
    Dimension,
    EventStore,
    Revision,
    Selected,
    Selection,
    open_store,
    packing,
    selecting,
)
from tracker.stores.packs import Packed, packs
from tracker.stores.rollups import events
from tracker.sums import StoreMark, VisitorDay, VisitorLinkDay

LATER = days.from_ms(NOON_MS + 10 * DAY * days.BUCKET_MS)
MIDNIGHT = START // DAY * DAY
PERIOD = [Span(MIDNIGHT, MIDNIGHT + 5 * DAY, 0)]
NEW_YORK = [Span(START - 30, START + 40, -20), Span(START + 40, START + 3 * DAY - 7, -16)]
LINK = Selection(frozenset({1}))
BOT = int(Verdict.BOT)
_campaigns = count(5000)


def pack(store: EventStore) -> None:
    while store.pack(LATER, 10):
        pass


def sums(selected: Selected) -> tuple[Any, ...]:
    return (
        sorted(selected.cells),
        sorted(selected.steps),
        {each: sorted(parts) for each, parts in selected.parts.items()},
    )


def packed(engine: Engine) -> dict[tuple[int, int], int]:
    """How many hits are packed of each campaign and day."""
    found: dict[tuple[int, int], int] = {}
    with engine.connect() as connection:
        for row in connection.execute(select(packs).where(packs.c.campaign_id > 0)):
            key = row.campaign_id, row.start // DAY - MIDNIGHT // DAY
            found[key] = found.get(key, 0) + row.n
    return found


@pytest.fixture
def raw(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Selected]:
    """Selects as if nothing were packed."""

    def raw(*given: Any) -> Selected:
        with monkeypatch.context() as patch:
            patch.setattr(selecting.packs, "find", lambda *_: Packed([], []))
            return store.select(*given)

    return raw


KEPT = [packs, *(cast(Table, kept.__table__) for kept in (StoreMark, VisitorDay, VisitorLinkDay))]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("pack"), st.integers(1, 12)),
        st.tuples(st.just("append"), HITS),
        st.tuples(st.just("revise"), st.lists(st.tuples(st.integers(0, 60), st.sampled_from([0, BOT])), max_size=5)),
        st.tuples(st.just("forget"), st.integers(0, 60)),
        st.tuples(st.just("prune"), st.integers(0, DAY)),
    ),
    min_size=2,
    max_size=7,
)


def empty(engine: Engine) -> None:
    """Each example begins with nothing: what others left would have to be packed again and again."""
    with engine.begin() as connection:
        for table in (events, *(table for name, table in Base.metadata.tables.items() if "rollup" in name), *KEPT):
            connection.execute(table.delete())


@given(steps=STEPS, chosen=SELECTED, links=LINKS, of_link=st.booleans(), is_local=st.booleans())
@hypothesis_settings(
    max_examples=examples(30), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_has_happened_a_selection_is_that_of_the_raw_events(
    store: EventStore,
    raw: Callable[..., Selected],
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    steps: list[Any],
    chosen: dict[str, int],
    links: frozenset[int] | None,
    of_link: bool,
    is_local: bool,
) -> None:
    empty(engine)
    campaign = next(_campaigns)
    values = {Dimension[name.upper()]: VALUES[name][place % len(VALUES[name])] for name, place in chosen.items()}
    ids = None if links is None else frozenset(10 * campaign + link for link in links)
    asked = (campaign, NEW_YORK if is_local else PERIOD, 7, Selection(ids, values, of_link), list(Dimension))
    stored: list[Any] = []
    for place, (what, how) in enumerate(steps):
        if what == "append":
            new = [hit._replace(nonce=hit.nonce + 100_000 * place) for hit in made(campaign, how)]
            append(store, *new, segment=f"p{campaign}-{place}")
            stored += new
        elif what == "revise" and stored:
            hits = {at % len(stored): verdict for at, verdict in how}
            store.revise([Revision(*stored[at][:2], verdict) for at, verdict in hits.items()])
        elif what == "forget" and stored:
            store.forget_visitor(*stored[how % len(stored)][:2])
        elif what == "prune":
            store.prune(days.from_ms((START + how) * days.BUCKET_MS))
        elif what == "pack":
            monkeypatch.setattr(packing, "EVENTS_AT_ONCE", how)
            pack(store)
        assert sums(store.select(*asked)) == sums(raw(*asked))
    for day in store.whole_days():
        assert store.drifts(day) == []


def test_what_is_packed_is_not_read_from_raw_events_and_neither_is_nothing(store: EventStore, engine: Engine) -> None:
    append(store, event(1, country="DE"), event(2, at_ms=NOON_MS + 24 * HOUR_MS), event(3, campaign_id=2, link_id=2))
    pack(store)
    asked: list[str] = []
    listen(engine, "before_cursor_execute", lambda _c, _u, statement, *_: asked.append(statement))
    selection = Selection(None, {Dimension.COUNTRY: "DE"})
    assert [cell.n for cell in store.select(1, PERIOD, DAY, selection, [Dimension.COUNTRY]).cells] == [1]
    whole = [Span(MIDNIGHT, MIDNIGHT + 2 * DAY, 0)]
    asked.clear()
    assert [cell.n for cell in store.select(1, whole, DAY, selection, [Dimension.COUNTRY]).cells] == [1]
    assert [cell.n for cell in store.select(2, whole, DAY, ALL).cells] == [1]
    assert store.select(3, whole, DAY, ALL).cells == []
    assert not [statement for statement in asked if "events." in statement or "FROM events" in statement]


def test_only_what_has_been_over_for_an_hour_is_packed(store: EventStore, engine: Engine) -> None:
    append(store, event(1), event(2, at_ms=NOON_MS + 24 * HOUR_MS))
    midnight_ms = (MIDNIGHT + DAY) * days.BUCKET_MS
    assert store.pack(days.from_ms(midnight_ms + HOUR_MS - 1), 1) == 0
    assert store.pack(days.from_ms(midnight_ms + HOUR_MS), 1) == 1
    assert packed(engine) == {(1, 0): 1}
    assert store.pack(days.from_ms(midnight_ms + HOUR_MS), 1) == 0


def test_a_day_that_is_not_over_is_packed_as_far_as_it_is_full(
    store: EventStore, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "EVENTS_AT_ONCE", 4)
    append(store, *(event(number, at_ms=NOON_MS + number * HOUR_MS) for number in range(1, 11)))
    assert store.pack(days.from_ms(NOON_MS + 7 * HOUR_MS), 1) == 1
    assert packed(engine) == {(1, 0): 4}
    append(store, event(11, at_ms=NOON_MS + 10 * HOUR_MS), segment="b")
    assert packed(engine) == {(1, 0): 4}
    append(store, event(12, at_ms=NOON_MS + 2 * HOUR_MS), segment="c")
    assert packed(engine) == {}


def test_the_latest_comes_first_and_a_little_at_a_time(store: EventStore, engine: Engine) -> None:
    append(store, *(event(number, at_ms=NOON_MS + number * 24 * HOUR_MS) for number in range(3)))
    for number in (2, 1, 0):
        assert store.pack(LATER, 0) == 1
        assert set(packed(engine)) == {(1, day) for day in range(number, 3)}
    assert store.pack(LATER, 0) == 0


def test_years_without_an_event_are_passed_over_at_once(store: EventStore, engine: Engine) -> None:
    long_ago = NOON_MS - 800 * 24 * HOUR_MS
    append(store, event(1), event(2, at_ms=long_ago), event(3, at_ms=NOON_MS - 3 * 24 * HOUR_MS))
    asked: list[str] = []
    assert store.pack(LATER, 10) == 3
    listen(engine, "before_cursor_execute", lambda _c, _u, statement, *_: asked.append(statement))
    assert store.pack(LATER, 10) == 0
    assert len(asked) < 10
    append(store, event(4, at_ms=long_ago + 48 * HOUR_MS), segment="late")
    assert store.pack(LATER, 10) == 1


def test_a_change_drops_the_packs_of_its_campaign_and_quarters_alone(store: EventStore, engine: Engine) -> None:
    second = event(2, campaign_id=2, link_id=2)
    append(store, event(1), second, event(3, at_ms=NOON_MS + 24 * HOUR_MS))
    pack(store)
    assert packed(engine) == {(1, 0): 1, (2, 0): 1, (1, 1): 1}
    store.revise([Revision(*second[:2], BOT)])
    assert packed(engine) == {(1, 0): 1, (1, 1): 1}
    pack(store)
    assert packed(engine) == {(1, 0): 1, (2, 0): 1, (1, 1): 1}
    append(store, event(4, at_ms=NOON_MS + 5), segment="late")
    assert packed(engine) == {(2, 0): 1, (1, 1): 1}
    store.forget_visitor(*second[:2])
    assert packed(engine) == {(1, 1): 1}
    pack(store)
    store.repair(NOON_MS // 86_400_000)
    assert packed(engine) == {(1, 1): 1}
    pack(store)
    assert packed(engine) == {(1, 0): 2, (2, 0): 1, (1, 1): 1}
    store.prune(days.from_ms(NOON_MS + HOUR_MS))
    assert packed(engine) == {(1, 1): 1}
    pack(store)
    assert packed(engine) == {(1, 1): 1}
    assert store.select(1, PERIOD, DAY, LINK).cells == [(1, Kind.CLICK, Verdict.COUNTED, 1, 1, 1)]


CHANGES: dict[str, Callable[[EventStore], object]] = {
    "revised": lambda store: store.revise([Revision(NOON_MS, 1, BOT)]),
    "forgotten": lambda store: store.forget_visitor(NOON_MS, 1),
    "late": lambda store: append(store, event(9, at_ms=NOON_MS + 1, visitor=8), segment="late"),
    "deleted": lambda store: store.prune(days.from_ms(NOON_MS + 1)),
    "made anew": lambda store: store.repair(NOON_MS // 86_400_000),
}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("change", CHANGES)
def test_what_is_changed_while_it_is_packed_is_not_taken_for_packed(
    store: EventStore,
    raw: Callable[..., Selected],
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    change: str,
    when: str,
) -> None:
    append(store, event(1, country="DE"), event(2, visitor=9), event(3, at_ms=NOON_MS + 24 * HOUR_MS))
    other, read = open_store(engine), packing._read
    pack(store)
    assert packed(engine) == {(1, 1): 1, (1, 0): 2}
    store.repair(NOON_MS // 86_400_000)
    is_changed = False

    def reading(connection: Connection, run: Any) -> Any:
        nonlocal is_changed
        found = read(connection, run) if when == "after" else None
        if not is_changed:
            is_changed = True
            CHANGES[change](other)
        return found or read(connection, run)

    monkeypatch.setattr(packing, "_read", reading)
    assert store.pack(LATER, 0) == 1
    assert is_changed
    assert packed(engine) == {(1, 1): 1}
    asked = (1, PERIOD, DAY, LINK, list(Dimension))
    assert sums(store.select(*asked)) == sums(raw(*asked))
    pack(store)
    assert sums(store.select(*asked)) == sums(raw(*asked))


def test_who_packs_waits_for_who_is_changing(
    store: EventStore, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(store, event(1), event(2))
    monkeypatch.setattr("tracker.stores.dialects.PACKER_WAITS_MS", 50)
    engine.dispose()
    if engine.dialect.name == "sqlite":
        listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA busy_timeout=50"))
    write = type(store)._write  # type: ignore[attr-defined]

    def writing(self: Any, connection: Connection, batch: Batch, rows: Any) -> Any:
        ids = write(self, connection, batch, rows)
        with pytest.raises(OperationalError):
            open_store(engine).pack(LATER, 10)
        return ids

    monkeypatch.setattr(type(store), "_write", writing)
    append(store, event(3, at_ms=NOON_MS + 1), segment="late")
    assert packed(engine) == {}
    pack(store)
    assert packed(engine) == {(1, 0): 3}


def test_the_loaders_process_packs_by_itself(store: EventStore, settings: Settings, engine: Engine) -> None:
    append(store, event(1))
    on = Installation(settings, engine, store)
    Schedule(on).run_due(LATER)
    on.checks.wait()  # it has begun to look at destinations, with a connection of the engine's
    assert packed(engine) == {(1, 0): 1}


def test_two_that_pack_at_once_pack_everything_once(
    store: EventStore, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(store, event(1), event(2, campaign_id=2, link_id=2), event(3, at_ms=NOON_MS + HOUR_MS))
    other, read = open_store(engine), packing._read
    depth = 0

    def reading(connection: Connection, run: Any) -> Any:
        nonlocal depth
        depth += 1
        if depth == 1:
            monkeypatch.setattr(packing, "EVENTS_AT_ONCE", 1)
            pack(other)
        return read(connection, run)

    monkeypatch.setattr(packing, "_read", reading)
    pack(store)
    assert depth > 1
    assert packed(engine) == {(1, 0): 2, (2, 0): 1}
    assert sum(cell.n for cell in store.select(1, PERIOD, DAY, LINK).cells) == 2


def test_packs_that_were_cut_otherwise_are_replaced(
    store: EventStore, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    hits = [event(number, at_ms=NOON_MS + number * HOUR_MS, campaign_id=1 + number % 2) for number in range(8)]
    append(store, *hits)
    pack(store)
    for at_once in (3, 2, 100):
        store.revise([Revision(*hits[0][:2], BOT if at_once % 2 else 0)])
        monkeypatch.setattr(packing, "EVENTS_AT_ONCE", at_once)
        pack(store)
        assert packed(engine) == {(1, 0): 4, (2, 0): 4}
        for campaign in (1, 2):
            assert sum(cell.n for cell in store.select(campaign, PERIOD, DAY, ALL).cells) == 4


def test_who_dies_while_packing_leaves_nothing_that_counts(
    store: EventStore, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(store, event(1), event(2))

    def fail(*_: object) -> None:
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(packing, "_store", fail)
        with pytest.raises(RuntimeError):
            pack(store)
    assert packed(engine) == {}
    assert sum(cell.n for cell in store.select(1, PERIOD, DAY, ALL).cells) == 2
    pack(open_store(engine))
    assert packed(engine) == {(1, 0): 2}


def test_many_campaigns_are_packed_some_at_a_time(
    store: EventStore, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "CAMPAIGNS_AT_ONCE", 2)
    append(store, *(event(number, campaign_id=number, link_id=number) for number in range(1, 6)))
    pack(store)
    assert packed(engine) == {(number, 0): 1 for number in range(1, 6)}


def test_a_quarter_that_holds_too_many_stays_raw(
    store: EventStore, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "EVENTS_AT_ONCE", 2)
    monkeypatch.setattr(packing, "QUARTER_EVENTS_MAX", 4)
    many = [event(number, at_ms=NOON_MS + number) for number in range(5)]
    append(store, event(10, at_ms=NOON_MS - 1), *many, event(11, at_ms=NOON_MS + HOUR_MS))
    pack(store)
    assert packed(engine) == {(1, 0): 2}
    assert sum(cell.n for cell in store.select(1, PERIOD, DAY, ALL).cells) == 7


def test_a_pack_that_is_wrong_is_found_and_made_anew(store: EventStore, engine: Engine) -> None:
    append(store, event(1, country="DE"), event(2, campaign_id=2, link_id=2, country="FR"))
    pack(store)
    day = NOON_MS // 86_400_000
    assert store.drifts(day) == []
    with engine.begin() as connection:
        of = select(packs.c.columns).where(packs.c.campaign_id == 2)
        connection.execute(packs.update().where(packs.c.campaign_id == 1).values(columns=connection.scalar(of)))
    (drift,) = store.drifts(day)
    assert (drift.rollup, drift.key, drift.kept[0], drift.counted[0]) == ("event_packs", (1, MIDNIGHT), 1, 1)
    assert drift.kept != drift.counted
    store.repair(day)
    pack(store)
    assert store.drifts(day) == []
    assert [cell.link_id for cell in store.select(1, PERIOD, DAY, ALL).cells] == [1]
