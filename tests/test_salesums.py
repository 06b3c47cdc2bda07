"""Sums of conversions: whatever becomes of sales, and however many change at once, they are what the rows add up to."""

from __future__ import annotations

import random
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import timedelta
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import Engine, Table, select, text, update
from sqlalchemy.orm import Session

from tests.databases import examples
from tracker import clickid, conversions, days, extensions, privacy, saleaudit, settling
from tracker.claims import Sighting
from tracker.config import Settings
from tracker.events import Verdict
from tracker.models import Campaign, Conversion, Link, Report, Workspace
from tracker.privacy import Held
from tracker.salesums import TABLES, Axis, SaleSums
from tracker.stores import Dimension, EventStore, StoredEvent
from tracker.sums import SaleDay, SalePart, SalePartDay, SaleQuarter, SaleStep

DAY_MS, QUARTER_MS = 86_400_000, 900_000
NOW_MS = days.to_ms(days.now())
# Of the click: minutes ago, hours, and more than the window.
AGES_MS = (60_000, 5 * QUARTER_MS, 30 * 3_600_000, 31 * DAY_MS)
_nonces = count(1)


def added_up(session: Session) -> dict[str, Counter[tuple[Any, ...]]]:
    """What the sums should hold, counted one conversion after another; each sum by its table's key and its name."""
    session.expire_all()
    found: dict[str, Counter[tuple[Any, ...]]] = {table.name: Counter() for table in TABLES}
    for sale in session.scalars(select(Conversion)):
        if sale.status not in ("approved", "pending") or sale.is_test:
            continue
        minor, currency = sale.minor or 0, sale.currency or ""
        if sale.outside_window:
            sums = {"outside_n": 1}
        else:
            sums = {"view_n": 1, "view_minor": minor} if sale.matched_by == "view" else {"n": 1, "minor": minor}
        if "n" in sums and sale.status == "approved":
            sums["approved_n"] = 1
        for axis, at_ms in ((0, sale.click_at_ms), (1, sale.converted_at_ms)):
            own = (sale.link_id or 0, currency)
            for name, n in sums.items():
                found[SaleQuarter.__tablename__][sale.campaign_id, axis, at_ms // QUARTER_MS, *own, name] += n
                found[SaleDay.__tablename__][sale.campaign_id, axis, at_ms // DAY_MS, *own, name] += n
            if "n" in sums:
                found[SaleStep.__tablename__][sale.campaign_id, axis, at_ms // QUARTER_MS, "n"] += 1
        if "n" in sums:
            for dimension in Dimension:
                value = getattr(sale, f"click_{dimension.word}") or ""
                for table, step in ((SalePart, QUARTER_MS), (SalePartDay, DAY_MS)):
                    key = (sale.campaign_id, int(dimension), sale.click_at_ms // step, value, currency)
                    for name in ("n", "minor"):
                        found[table.__tablename__][(*key, name)] += sums[name]
    return {name: Counter({key: n for key, n in sums.items() if n}) for name, sums in found.items()}


def kept(session: Session, table: Table) -> Counter[tuple[Any, ...]]:
    size = len(table.primary_key.columns)
    names = [column.name for column in table.columns][size:]
    return Counter(
        {
            (*row[:size], name): n
            for row in session.execute(select(table))
            for name, n in zip(names, row[size:], strict=True)
            if n
        }
    )


def check(session: Session, engine: Engine) -> None:
    should = added_up(session)
    assert {table.name: kept(session, table) for table in TABLES} == should
    session.rollback()
    assert [drift for day in saleaudit.days(engine) for drift in saleaudit.drifts(engine, day)] == []


class Shop:
    """Sends reports of a few sales, again and again; whoever has one stands for a thread of its own."""

    def __init__(self, session: Session, workspace_id: int, settings: Settings, link_ids: list[int], name: str) -> None:
        self._session, self._workspace_id, self._keys = session, workspace_id, settings.secrets.keys
        self._click_key, self._link_ids, self._name = settings.secrets.click_key, link_ids, name

    def report(self, sale: int, params: dict[str, str], via: str, age_ms: int, sums: SaleSums | None = None) -> None:
        link_id = self._link_ids[sale % len(self._link_ids)]
        cid = clickid.make(self._click_key, link_id, NOW_MS - age_ms, sale + 1)
        workspace = self._session.get_one(Workspace, self._workspace_id)
        told = {"cid": cid, "order": f"{self._name}-{sale}"} | params
        conversions.record(self._session, workspace, told, Sighting(NOW_MS, next(_nonces), via), self._keys, sums)

    def settle(self, sales: Iterable[int], value: str | None) -> None:
        """As if the clicks of these sales had come in, or had been of another browser, or of a double click."""
        orders = [f"{self._name}-{sale}" for sale in sales]
        columns = (Conversion.id, Conversion.click_at_ms, Conversion.click_nonce)
        clicks: dict[int, StoredEvent] = {}
        named: dict[int, tuple[int, int]] = {}
        for number, at_ms, nonce in self._session.execute(select(*columns).where(Conversion.order_id.in_(orders))):
            known = {dimension.word: value for dimension in Dimension}
            click: Any = SimpleNamespace(at_ms=at_ms - 1_000, nonce=nonce, verdict=int(Verdict.COUNTED), **known)
            clicks[number], named[number] = click, (at_ms, nonce)
        if clicks:
            settling.settle(self._session, clicks, named)


SALES = st.integers(0, 4)
SAID = st.fixed_dictionaries(
    {},
    optional={
        "value": st.sampled_from(["0", "10", "250"]),
        "currency": st.sampled_from(["EUR", "JPY", "KWD"]),
        "status": st.sampled_from(["approved", "pending", "rejected", "refunded"]),
        "ts": st.sampled_from([str(NOW_MS // 1000 - ago) for ago in (0, 100, 4000, 100_000)]),
        "customer": st.sampled_from(["ada", "eve"]),
    },
)
REPORTS = st.tuples(SALES, SAID, st.sampled_from(["pixel", "callback"]), st.sampled_from(AGES_MS))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("report"), REPORTS),
        st.tuples(st.just("batch"), st.lists(REPORTS, max_size=6)),
        st.tuples(st.just("settle"), st.lists(SALES, max_size=5), st.sampled_from([None, "a", "b"])),
        st.tuples(st.just("forget"), SALES),
        st.tuples(st.just("mark"), SALES, st.sampled_from(["test", "view", "click", "outside", "no link"])),
    ),
    max_size=12,
)
MARKS: dict[str, dict[str, Any]] = {
    "test": {"is_test": True},
    "view": {"matched_by": "view"},
    "click": {"matched_by": "click", "is_test": False},
    "outside": {"outside_window": True},
    "no link": {"link_id": None, "click_id": None, "matched_by": "hand"},
}


@pytest.fixture
def link_ids(make_link: Callable[..., Link], session: Session) -> list[int]:
    made = [make_link(campaign=campaign).id for campaign in ("one", "one", "two")]
    session.commit()
    return made


@given(steps=STEPS)
@hypothesis_settings(
    max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_becomes_of_sales_the_sums_are_what_their_rows_add_up_to(
    session: Session,
    store: EventStore,
    engine: Engine,
    workspace: Workspace,
    settings: Settings,
    link_ids: list[int],
    steps: list[Any],
) -> None:
    name = f"shop{next(_nonces)}"
    shop = Shop(session, workspace.id, settings, link_ids, name)
    for what, *given_ in steps:
        if what == "report":
            shop.report(*given_[0])
            session.commit()
        elif what == "batch":
            sums = SaleSums()
            for each in given_[0]:
                shop.report(*each, sums)
            sums.write(session)
            session.commit()
        elif what == "settle":
            shop.settle(*given_)
        else:
            of_it = Conversion.order_id == f"{name}-{given_[0]}"
            held = list(session.scalars(select(Conversion).where(of_it)))
            if what == "forget":
                privacy.forget(session, store, engine, Held(held))
            elif held:
                sums = SaleSums()
                sums.before_all(session, [held[0].id])
                session.execute(update(Conversion).where(of_it).values(**MARKS[given_[1]]))
                sums.after_all(session, [held[0].id])
                sums.write(session)
                session.commit()
    check(session, engine)


def test_what_is_given_by_hand_to_a_campaign_is_summed_up_and_shown_without_a_link(
    session: Session,
    engine: Engine,
    workspace: Workspace,
    settings: Settings,
    link_ids: list[int],
    owner: FlaskClient,
) -> None:
    lost = {"order": "lost", "value": "12"}
    conversions.record(session, workspace, lost, Sighting(NOW_MS, next(_nonces), "callback"), settings.secrets.keys)
    session.commit()
    report, campaign = session.scalars(select(Report)).one(), session.scalars(select(Campaign)).first()
    conversions.give(session, report, settings.secrets.keys, campaign=campaign)
    session.commit()
    assert campaign is not None
    row = session.execute(select(SaleDay.link_id, SaleDay.n, SaleDay.minor).where(SaleDay.axis == Axis.CLICK)).one()
    assert tuple(row) == (0, 1, 1200)
    check(session, engine)
    today = days.from_ms(NOW_MS).date()
    page = owner.get(f"/app/campaigns/{campaign.slug}?from={today - timedelta(days=1)}").text
    assert re.search(r"without a link\s*</th>", page)


def test_a_report_that_is_taken_back_leaves_nothing_in_the_sums(
    session: Session, engine: Engine, workspace: Workspace, settings: Settings, link_ids: list[int]
) -> None:
    shop = Shop(session, workspace.id, settings, link_ids, "shop")
    shop.report(1, {"value": "5"}, "callback", AGES_MS[0])
    session.rollback()
    assert saleaudit.days(engine) == []
    check(session, engine)


def test_sales_that_change_all_at_once_leave_sums_that_add_up(
    session: Session,
    engine: Engine,
    workspace: Workspace,
    settings: Settings,
    link_ids: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Callbacks, a loader with its batches and its settling, and a repair: none may wait for one that waits for it."""
    workspace_id, failed = workspace.id, []
    session.commit()
    # SQLite's writers have no turns: on a busy machine one of five may wait for longer than a callback does.
    monkeypatch.setattr(extensions, "BUSY_TIMEOUT_MS", 60_000)
    engine.dispose()
    start, done = threading.Barrier(5), threading.Event()

    def at_once(work: Callable[[Shop, Session, random.Random], None], seed: int) -> threading.Thread:
        def run() -> None:
            with Session(engine) as own:
                start.wait()
                try:
                    work(Shop(own, workspace_id, settings, link_ids, "shared"), own, random.Random(seed))
                except Exception as error:
                    failed.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def said(chance: random.Random) -> dict[str, str]:
        status = chance.choice(["approved", "pending", "rejected", "refunded"])
        return {"value": str(chance.randrange(100)), "currency": chance.choice(["EUR", "USD"]), "status": status}

    def call_back(shop: Shop, own: Session, chance: random.Random) -> None:
        for _ in range(25):
            shop.report(chance.randrange(9), said(chance), "callback", AGES_MS[1])
            own.commit()

    def load(shop: Shop, own: Session, chance: random.Random) -> None:
        for _ in range(10):
            sums = SaleSums()
            for sale in sorted(chance.sample(range(9), 5)):
                shop.report(sale, said(chance), "callback", AGES_MS[1], sums)
            sums.write(own)
            own.commit()
            shop.settle(range(9), chance.choice(["a", "b", None]))

    def repair(_shop: Shop, _own: Session, _chance: random.Random) -> None:
        while not done.wait(0.01):
            for day in saleaudit.days(engine):
                saleaudit.repair(engine, day)

    working = [at_once(call_back, seed) for seed in (1, 2, 3)] + [at_once(load, 4)]
    repairing = at_once(repair, 5)
    for thread in working:
        thread.join()
    done.set()
    repairing.join()
    assert failed == []
    check(session, engine)


def test_sums_that_are_wrong_are_found_and_made_anew(
    session: Session, engine: Engine, workspace: Workspace, settings: Settings, link_ids: list[int]
) -> None:
    shop = Shop(session, workspace.id, settings, link_ids, "shop")
    for sale, age_ms in enumerate(AGES_MS):
        shop.report(sale, {"value": "7"}, "callback", age_ms)
    shop.settle(range(4), "a")
    right = added_up(session)
    session.execute(text("UPDATE sale_quarters SET n = n + 1"))
    session.execute(text("UPDATE sale_days SET view_minor = 3 WHERE axis = 1"))
    for table in ("sale_steps", "sale_parts", "sale_part_days"):
        session.execute(text(f"DELETE FROM {table}"))
    session.commit()
    wrong = {drift.rollup for day in saleaudit.days(engine) for drift in saleaudit.drifts(engine, day)}
    assert wrong == {table.name for table in TABLES}
    for day in saleaudit.days(engine):
        saleaudit.repair(engine, day)
    assert {table.name: kept(session, table) for table in TABLES} == right
    check(session, engine)
