"""The inbox: looked through, judged again, exported; and only by its owner."""

from __future__ import annotations

import csv
import io
import re
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from tests.conftest import Api, lost
from tracker import accounts, inbox
from tracker.config import Settings
from tracker.events import Kind
from tracker.models import Conversion, LedgerEntry, Link, Report, Workspace
from tracker.reported import Touch

pytestmark = pytest.mark.any_database

MakeLink = Callable[..., Link]
Send = Callable[..., Any]


def rows(page: str) -> int:
    return len(re.findall(r"<tr>\s*<td>.*?</tr>", page, re.DOTALL))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/app/conversions"),
        ("GET", "/app/conversions/recorded"),
        ("GET", "/app/conversions/reports/1"),
        ("GET", "/app/conversions/1"),
        ("GET", "/app/conversions/replay"),
        ("GET", "/app/conversions/import/w1-1-1"),
        ("GET", "/app/conversions/import/w1-1-1/rows.csv"),
        ("GET", "/app/conversions/import/w1-1-1/errors.csv"),
        ("GET", "/app/conversions/reports.csv"),
        ("GET", "/app/conversions/recorded.csv"),
        ("GET", "/app/conversions/import"),
        ("POST", "/app/conversions/import"),
        ("POST", "/app/conversions/replay"),
        ("POST", "/app/conversions/replay/ticked"),
        ("POST", "/app/conversions/reports/1/retry"),
        ("POST", "/app/conversions/reports/1/match"),
        ("POST", "/app/conversions/reports/1/match/try"),
        ("POST", "/app/conversions/1/correct"),
        ("POST", "/app/conversions/1/correct/try"),
        ("POST", "/app/conversions/import/w1-1-1/try"),
        ("POST", "/app/conversions/import/w1-1-1/record"),
        ("POST", "/app/conversions/import/w1-1-1/drop"),
    ],
)
def test_a_stranger_is_sent_to_the_login(client: FlaskClient, workspace: Workspace, method: str, path: str) -> None:
    response = client.open(path, method=method)
    assert response.status_code == 303
    assert "/app/login" in response.location


def test_what_is_another_workspaces_is_not_there(
    owner: FlaskClient, client: FlaskClient, session: Session, click: Callable[..., str]
) -> None:
    other = Workspace(name="Other", key="k" * 22)
    session.add(other)
    session.commit()
    client.post(f"/c/{other.key}", data={"order": "theirs", "value": "1"})
    report = lost(session)
    assert "theirs" not in owner.get("/app/conversions").text
    for path in (f"reports/{report.id}", f"{report.id}"):
        assert owner.get(f"/app/conversions/{path}").status_code == 404
    for path in (f"reports/{report.id}/retry", f"reports/{report.id}/match", f"reports/{report.id}/match/try"):
        assert owner.post(f"/app/conversions/{path}", data={"campaign": "x"}).status_code == 404
    assert "theirs" not in owner.get("/app/conversions/reports.csv").text


def test_reports_are_filtered_by_what_became_of_them(owner: FlaskClient, send: Send, click: Callable[..., str]) -> None:
    cid = click()
    send(cid=cid, order="A-1", value="10")
    send(cid=cid, order="A-1", value="10")
    send(order="A-2", value="5")
    send(cid="{clickid}", order="A-3")
    send(cid=cid, order="A-4", value="ten")
    send(order="A-5", goal="signup", status="refunded")
    found = {
        "": {"A-1", "A-2", "A-3", "A-4", "A-5"},
        "?result=recorded": {"A-1"},
        "?result=unmatched": {"A-2", "A-3", "A-5"},
        "?reason=macro_not_replaced": {"A-3"},
        "?result=refused": {"A-4"},
        "?via=pixel": set(),
        "?sale=A-1": {"A-1"},
        "?sale=A-2": {"A-2"},
        f"?sale={cid}": {"A-1", "A-4"},
        "?campaign=spring-sale": {"A-1"},
        "?goal=signup": {"A-5"},
        "?goal=purchase": {"A-1", "A-2", "A-3", "A-4"},
        "?status=refunded": {"A-5"},
        "?status=refunded&goal=purchase": set(),
        "?status=pending&campaign=spring-sale": set(),
        "?from=2020-01-01&to=2099-01-01": {"A-1", "A-2", "A-3", "A-4", "A-5"},
        "?to=2020-01-01": set(),
    }
    for query, orders in found.items():
        page = owner.get(f"/app/conversions{query}")
        assert page.status_code == 200
        assert set(re.findall(r"order=(A-\d)", page.text)) == orders, query
    assert rows(owner.get("/app/conversions?sale=A-1").text) == 2


@pytest.mark.parametrize(
    "query",
    [
        "result=lots",
        "reason=bad",
        "via=mail",
        "status=sold",
        "goal=%00",
        "from=yesterday",
        "campaign=none-such",
        "sale=%00",
    ],
)
def test_a_filter_that_is_none_is_named_at_its_field(owner: FlaskClient, send: Send, query: str) -> None:
    send(order="A-1")
    page = owner.get(f"/app/conversions?{query}")
    assert page.status_code == 422
    name, _, value = query.partition("=")
    told = page.text.partition(f'id="{name}-error"')[2].partition("</p>")[0]
    assert f"“{value}”" in told or value == "%00"


def test_pages_of_reports_follow_one_another(owner: FlaskClient, send: Send, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tracker.web.conversions.PAGE_SIZE", 2)
    for n in range(5):
        send(order=f"A-{n}")
    seen, path = [], "/app/conversions?result=unmatched"
    while path:
        page = owner.get(path).text
        seen += re.findall(r"order=(A-\d)", page)
        following = re.search(r'href="([^"]+)" rel="next"', page)
        path = following[1].replace("&amp;", "&") if following else ""
    assert seen == ["A-4", "A-3", "A-2", "A-1", "A-0"]


def test_conversions_are_filtered_too(owner: FlaskClient, send: Send, click: Callable[..., str]) -> None:
    cid = click()
    send(cid=cid, order="A-1", value="10")
    send(cid=cid, order="A-2", value="10", status="refunded")
    send(cid=cid, order="A-3", goal="signup")
    for query, orders in {
        "": {"A-1", "A-2", "A-3"},
        "?status=refunded": {"A-2"},
        "?goal=signup": {"A-3"},
        "?matched_by=hand": set(),
        "?sale=A-1": {"A-1"},
    }.items():
        page = owner.get(f"/app/conversions/recorded{query}").text
        assert set(re.findall(r">(A-\d)<", page)) == orders, query
    assert owner.get("/app/conversions/recorded?status=lost").status_code == 422


def test_what_nothing_came_of_is_judged_again_slice_by_slice(
    owner: FlaskClient,
    client: FlaskClient,
    workspace: Workspace,
    send: Send,
    click: Callable[..., str],
    session: Session,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The customer's click is known only after the sales came in."""
    monkeypatch.setattr(inbox, "RETRIED_AT_ONCE", 2)
    for n in range(5):
        send(order=f"B-{n}", value="1", customer="ada@example.org")
    send(cid=click(), order="A-1", value="10", customer="ada@example.org", ts="1700000000")
    first = session.scalars(select(Conversion)).all()
    assert first == []  # before its click: refused
    send(cid=click(), order="A-1", value="10", customer="ada@example.org")
    session.execute(Conversion.__table__.update().values(click_at_ms=Conversion.click_at_ms - 60_000))
    session.commit()
    page = owner.post("/app/conversions/replay", data={"result": "unmatched"}, follow_redirects=True).text
    rounds = 1
    while "data-go-on" in page:
        form = dict(re.findall(r'name="(\w+)" value="([^"]*)"', page.partition("data-go-on")[2]))
        page = owner.post("/app/conversions/replay", data=form, follow_redirects=True).text
        rounds += 1
    assert rounds == 3
    assert "5 reports judged again" in page
    session.expire_all()
    sales = session.scalars(select(Conversion).where(Conversion.order_id != "A-1")).all()
    assert {sale.order_id: sale.matched_by for sale in sales} == {f"B-{n}": "customer" for n in range(5)}
    assert owner.post("/app/conversions/replay", data={}).status_code == 303
    assert len(session.scalars(select(LedgerEntry)).all()) == 6


def test_two_who_replay_at_once_make_one_sale_of_each(
    settings: Settings, send: Send, click: Callable[..., str], engine: Engine, workspace: Workspace
) -> None:
    send(cid=click(), order="A-1", value="10", customer="ada@example.org")
    with Session(engine) as session:
        session.execute(Conversion.__table__.update().values(customer=None))
        session.commit()
    for n in range(20):
        send(order=f"B-{n}", value="1", customer="ada@example.org")
    with Session(engine) as session:
        customer = session.scalars(select(Report).where(Report.result == "recorded")).one().params["customer"]
        shifted = Conversion.click_at_ms - 60_000
        session.execute(Conversion.__table__.update().values(customer=customer, click_at_ms=shifted))
        session.commit()
    start = threading.Barrier(2)

    def replay() -> None:
        with Session(engine) as own:
            start.wait()
            found = own.get_one(Workspace, workspace.id)
            inbox.retry_some(own, found, inbox.WantedReports(), settings.secrets.keys)

    threads = [threading.Thread(target=replay) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with Session(engine) as session:
        assert len(session.scalars(select(Conversion)).all()) == 21
        assert len(session.scalars(select(LedgerEntry)).all()) == 21
        assert {report.result for report in session.scalars(select(Report))} == {"recorded"}


def test_a_replays_page_may_be_reloaded_and_gone_on_with(
    owner: FlaskClient, send: Send, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "RETRIED_AT_ONCE", 2)
    for n in range(3):
        send(order=f"A-{n}")
    location = owner.post("/app/conversions/replay", data={"result": "unmatched"}).location
    for _ in range(2):
        page = owner.get(location).text
        assert "2 reports judged again, 1 left" in page
        session.expire_all()
        tried = [report.retried_at for report in session.scalars(select(Report).order_by(Report.id))]
        assert [at is not None for at in tried] == [False, True, True]
    form = dict(re.findall(r'name="(\w+)" value="([^"]*)"', page.partition("data-go-on")[2]))
    page = owner.post("/app/conversions/replay", data=form, follow_redirects=True).text
    assert "3 reports judged again" in page
    assert "That was all" in page
    assert owner.get("/app/conversions/replay?result=lots").status_code == 303


def test_ticked_reports_are_judged_again(owner: FlaskClient, send: Send, session: Session) -> None:
    send(order="A-1")
    report = lost(session)
    page = owner.post("/app/conversions/replay/ticked", data={"report": report.id}, follow_redirects=True)
    assert "Judged again: 1 unmatched." in page.text
    page = owner.post("/app/conversions/replay/ticked", data={}, follow_redirects=True)
    assert "Tick the reports" in page.text
    assert lost(session).retried_at is not None


def test_the_way_to_a_sale_is_shown_once_it_is_known(
    owner: FlaskClient, send: Send, click: Callable[..., str], session: Session
) -> None:
    send(cid=click(), order="A-1", value="49.90", currency="EUR")
    sale = session.scalars(select(Conversion)).one()
    assert "The way to it" not in owner.get(f"/app/conversions/{sale.id}").text
    assert sale.link is not None
    at = {"conversion_id": sale.id, "campaign_id": sale.campaign_id, "link_id": sale.link_id, "kind": Kind.CLICK}
    session.add(Touch(position=0, at_ms=sale.click_at_ms - 5_000, nonce=1, via="script", **at))
    session.add(Touch(position=1, at_ms=sale.click_at_ms, nonce=sale.click_nonce, via="report", **at))
    session.commit()
    page = owner.get(f"/app/conversions/{sale.id}").text.partition("The way to it")[2].partition("</section>")[0]
    assert page.index("kept by t.js") < page.index("named by the report")
    assert page.count(sale.link.code) == 4


def test_exports_hold_what_the_filter_leaves_and_nobody_under_gpc(
    owner: FlaskClient,
    client: FlaskClient,
    workspace: Workspace,
    session: Session,
    send: Send,
    click: Callable[..., str],
    api: Api,
) -> None:
    workspace.timezone = "Asia/Kathmandu"
    session.commit()
    cid = click()
    send(cid=cid, order="A-1", value="10")
    send(order="=A-2", value="5")
    client.post(f"/c/{workspace.key}", data={"order": "A-3", "cid": cid}, headers={"Sec-GPC": "1"})
    send(order="A-3", value="7")  # the shop's own report of the same sale
    table = list(csv.DictReader(io.StringIO(owner.get("/app/conversions/reports.csv").text)))
    assert {row["result"] for row in table} == {"recorded", "unmatched"}
    assert "A-3" not in str(table)
    table = list(csv.DictReader(io.StringIO(owner.get("/app/conversions/recorded.csv").text)))
    assert [(row["order"], row["value"], row["currency"]) for row in table] == [("A-1", "10.00", "EUR")]
    at = datetime.fromisoformat(table[0]["converted_at"])
    assert table[0]["converted_at_local"] == f"{at.astimezone(ZoneInfo('Asia/Kathmandu')):%Y-%m-%d %H:%M:%S}"
    for path in ("/reports.csv", "/conversions/reports.csv", "/conversions.csv"):
        assert "A-3" not in api("GET", path).text
        assert "A-1" in api("GET", path).text
    assert owner.get("/app/conversions/recorded.csv?status=refunded").text.strip() == ""
    assert owner.get("/app/conversions/recorded.csv?status=lost").status_code == 303


def test_the_api_looks_through_judges_matches_and_corrects(
    api: Api, send: Send, click: Callable[..., str], session: Session
) -> None:
    cid = click()
    send(cid=cid, order="A-1", value="10", currency="EUR")
    send(order="A-2", value="5", currency="EUR")
    items = api("GET", "/conversions/reports?result=unmatched").json["items"]
    assert [item["params"]["order"] for item in items] == ["A-2"]
    assert api("GET", "/reports?result=unmatched").json["items"] == items
    path = f"/reports/{items[0]['id']}"
    assert api("GET", path).json == items[0]
    assert api("POST", f"/conversions{path}/retry").json["result"] == "unmatched"
    assert api("POST", f"{path}/retry").json["result"] == "unmatched"
    assert api("POST", f"{path}/match", {"click_id": "no"}).status_code == 422
    matched = api("POST", f"{path}/match", {"click_id": cid}).json
    assert matched["result"] == "recorded"
    one = f"/conversions/{matched['conversion_id']}"
    assert api("PATCH", one, {"status": "lost"}).status_code == 422
    assert api("PATCH", one, {"value": "4.555"}).json["errors"][0]["field"] == "value"
    assert api("PATCH", one, {"status": "rejected"}).json["status"] == "rejected"
    assert [row["value"] for row in api("GET", one).json["ledger"]] == ["5.00", "-5.00"]
    assert [row["order"] for row in api("GET", "/conversions?status=approved").json["items"]] == ["A-1"]
    assert api("GET", "/conversions?status=lost").status_code == 422
    assert api("GET", "/conversions/999999").status_code == 404


def test_a_sale_that_was_given_to_a_campaign_alone_was_clicked_by_nobody(
    api: Api, send: Send, session: Session, click: Callable[..., str], owner: FlaskClient
) -> None:
    send(cid=click(), order="A-1")
    send(order="A-2")
    api("POST", f"/reports/{lost(session).id}/match", {"campaign": "spring-sale"})
    given, clicked = api("GET", "/conversions").json["items"]
    assert (given["link"], given["click_id"], given["clicked_at"]) == (None, None, None)
    assert clicked["clicked_at"] is not None
    table = list(csv.DictReader(io.StringIO(owner.get("/app/conversions/recorded.csv").text)))
    assert [bool(row["clicked_at_local"]) for row in table] == [False, True]


def test_a_member_of_another_workspace_gets_nothing_by_the_api(
    app: Flask, session: Session, send: Send, click: Callable[..., str]
) -> None:
    send(cid=click(), order="A-1", value="10")
    sale = session.scalars(select(Conversion)).one()
    other = Workspace(name="Other", key="k" * 22)
    session.add(other)
    session.commit()
    mine = session.scalars(select(Report)).one()
    theirs = Api(app.test_client(), accounts.create_token(session, other, "theirs"))
    assert theirs("GET", f"/conversions/{sale.id}").status_code == 404
    assert theirs("PATCH", f"/conversions/{sale.id}", {"status": "rejected"}).status_code == 404
    assert theirs("GET", "/conversions").json["items"] == []
    assert theirs("GET", "/reports").json["items"] == []
    for method, path in (("GET", ""), ("POST", "/retry"), ("POST", "/match")):
        content = {"campaign": "spring-sale"} if path == "/match" else None
        assert theirs(method, f"/reports/{mine.id}{path}", content).status_code == 404


@pytest.mark.parametrize("path", ["/api/v1/links/a%00b", "/api/v1/campaigns/a%00b/stats", "/app/campaigns/a%00b"])
def test_nothing_is_called_by_a_nul(owner: FlaskClient, api: Api, path: str) -> None:
    answer = api("GET", path.removeprefix("/api/v1")) if path.startswith("/api") else owner.get(path)
    assert answer.status_code == 404
