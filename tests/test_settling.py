"""What a conversion learns of its click once that is loaded, in whichever order the two arrive."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.crowd import Crowd
from tracker import filters, settling
from tracker.events import Kind, Verdict
from tracker.filters import Typed
from tracker.models import Conversion, Link, Report, Workspace
from tracker.stores import EventStore

Load = Callable[[], int]
ORDERS = pytest.mark.parametrize("loaded_first", [True, False], ids=["click loaded first", "sale first"])


@pytest.fixture
def link(make_link: Callable[..., Link]) -> Link:
    return make_link(code="teapot")


def cid_of(response: Any) -> str:
    return str(response.headers["Location"].partition("cid=")[2][:28])


def sale_of(session: Session) -> Conversion:
    session.expire_all()
    return session.scalars(select(Conversion)).one()


@ORDERS
def test_a_double_clicks_conversion_belongs_to_the_first_of_the_pair(
    crowd: Crowd, workspace: Workspace, session: Session, link: Link, load: Load, store: EventStore, loaded_first: bool
) -> None:
    first = cid_of(crowd.get("/teapot", Referer="https://mail.example/"))
    crowd.clock.forward(1)
    second = cid_of(crowd.get("/teapot"))
    crowd.clock.forward(60)
    if loaded_first:
        load()
    assert crowd.get(f"/c/{workspace.key}?cid={second}&order=1").json["result"] == "recorded"
    load()
    load()
    sale = sale_of(session)
    clicks = [event for event in store.recent(workspace.id, before=None, limit=9) if event.kind == Kind.CLICK]
    by_verdict = {event.verdict: event for event in clicks}
    assert set(by_verdict) == {Verdict.COUNTED, Verdict.DOUBLE_CLICK}, "neither is taken for another"
    counted = by_verdict[Verdict.COUNTED]
    assert (sale.click_at_ms, sale.click_nonce) == (counted.at_ms, counted.nonce)
    assert (sale.click_id, sale.click_referrer) == (second, "mail.example")
    assert crowd.get(f"/c/{workspace.key}?cid={first}&order=1").json["result"] == "duplicate"


@ORDERS
def test_a_sale_that_came_of_an_internal_click_is_kept_and_counts_nowhere(
    crowd: Crowd, workspace: Workspace, session: Session, link: Link, load: Load, loaded_first: bool
) -> None:
    filters.edit(session, workspace, Typed("", "", "192.0.2.0/24", "2", "20"))
    cid = cid_of(crowd.get("/teapot"))
    if loaded_first:
        load()
    crowd.get(f"/c/{workspace.key}?cid={cid}&order=1&value=5", address="203.0.113.1")
    load()
    load()
    sale = sale_of(session)
    assert (sale.is_test, sale.status, sale.minor) == (True, "approved", 500)


@ORDERS
def test_of_a_bots_click_with_two_sales_one_click_is_counted(
    crowd: Crowd, workspace: Workspace, session: Session, link: Link, load: Load, store: EventStore, loaded_first: bool
) -> None:
    cid = cid_of(crowd.get("/teapot", "curl/8.5.0"))
    if loaded_first:
        load()
    for order in "12":
        crowd.get(f"/c/{workspace.key}?cid={cid}&order={order}")
    load()
    load()
    day = crowd.clock() // 86_400_000
    cells = {(cell.kind, cell.verdict): cell.n for cell in store.totals(link.campaign_id, day * 96, day * 96 + 96)}
    assert cells.get((Kind.CLICK, Verdict.COUNTED)) == 1
    assert not cells.get((Kind.CLICK, Verdict.BOT))


def test_the_click_id_that_a_head_was_answered_with_is_a_clicks_and_the_head_counts_nothing(
    crowd: Crowd, workspace: Workspace, session: Session, link: Link, load: Load, store: EventStore
) -> None:
    cid = cid_of(crowd.get("/teapot", method="HEAD"))
    assert crowd.get(f"/c/{workspace.key}?cid={cid}&order=1").json["result"] == "recorded"
    load()
    load()
    assert not sale_of(session).is_test
    (click,) = [event for event in store.recent(workspace.id, before=None, limit=9) if event.kind == Kind.CLICK]
    assert click.verdict == Verdict.HEAD


@pytest.mark.parametrize("order", [("gpc", "open"), ("open", "gpc")], ids="-".join)
def test_a_sale_is_nobodys_once_any_report_of_it_came_under_global_privacy_control(
    crowd: Crowd, workspace: Workspace, session: Session, link: Link, load: Load, order: tuple[str, str]
) -> None:
    cid = cid_of(crowd.get("/teapot"))
    for which in order:
        headers = {"Sec_GPC": "1"} if which == "gpc" else {}
        crowd.get(f"/c/{workspace.key}.gif?cid={cid}&order=1&customer=Ada&value=5", **headers)
        load()
    sale = sale_of(session)
    assert (sale.gpc, sale.customer, sale.minor) == (True, None, 500)
    assert not any("customer" in params for params in session.scalars(select(Report.params)))


def test_a_sale_that_another_click_took_over_meanwhile_is_not_settled_on_the_first(
    crowd: Crowd, workspace: Workspace, session: Session, link: Link, load: Load, store: EventStore
) -> None:
    """Between the look at the clicks and the writing somebody's report may move the sale."""
    first, second = cid_of(crowd.get("/teapot")), cid_of(crowd.get("/teapot", "Mozilla/5.0 (iPhone) Safari/604.1"))
    load()
    crowd.get(f"/c/{workspace.key}?cid={first}&order=1")
    sale = sale_of(session)
    looked_for = (sale.click_at_ms, sale.click_nonce)
    click = store.find_clicks([looked_for])[looked_for]
    sale.click_nonce, sale.click_id = sale.click_nonce + 1, second
    session.commit()
    settling.settle(session, {sale.id: click}, {sale.id: looked_for})
    moved = sale_of(session)
    assert (moved.click_settled, moved.click_nonce) == (False, looked_for[1] + 1)
