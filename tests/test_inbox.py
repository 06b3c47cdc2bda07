"""The inbox: looked through, judged again, matched and corrected by hand, exported; and only by its owner."""

from __future__ import annotations

import csv
import io
import re
import threading
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from tests.conftest import Api
from tracker import accounts, inbox
from tracker.audit import Audit
from tracker.config import Settings
from tracker.models import Conversion, LedgerEntry, Link, Report, Workspace
from tracker.stores import EventStore

MakeLink = Callable[..., Link]
Send = Callable[..., Any]


@pytest.fixture
def send(client: FlaskClient, workspace: Workspace) -> Send:
    return lambda **params: client.post(f"/c/{workspace.key}", data=params)


@pytest.fixture
def click(client: FlaskClient, make_link: MakeLink) -> Callable[..., str]:
    def click(link: Link | None = None) -> str:
        return str(client.get(f"/{(link or make_link()).code}").headers["Location"].partition("cid=")[2][:28])

    return click


def rows(page: str) -> int:
    return len(re.findall(r"<tr>\s*<td>.*?</tr>", page, re.DOTALL))


def lost(session: Session) -> Report:
    session.expire_all()
    return session.scalars(select(Report).where(Report.result == "unmatched")).one()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/app/conversions"),
        ("GET", "/app/conversions/recorded"),
        ("GET", "/app/conversions/reports/1"),
        ("GET", "/app/conversions/recorded/1"),
        ("GET", "/app/conversions/reports.csv"),
        ("GET", "/app/conversions/recorded.csv"),
        ("GET", "/app/conversions/import"),
        ("POST", "/app/conversions/import"),
        ("POST", "/app/conversions/replay"),
        ("POST", "/app/conversions/replay/ticked"),
        ("POST", "/app/conversions/reports/1/retry"),
        ("POST", "/app/conversions/reports/1/match"),
        ("POST", "/app/conversions/recorded/1/correct"),
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
    for path in (f"reports/{report.id}", f"recorded/{report.id}"):
        assert owner.get(f"/app/conversions/{path}").status_code == 404
    for path in (f"reports/{report.id}/retry", f"reports/{report.id}/match"):
        assert owner.post(f"/app/conversions/{path}", data={"campaign": "x"}).status_code == 404
    assert "theirs" not in owner.get("/app/conversions/reports.csv").text


def test_reports_are_filtered_by_what_became_of_them(owner: FlaskClient, send: Send, click: Callable[..., str]) -> None:
    cid = click()
    send(cid=cid, order="A-1", value="10")
    send(cid=cid, order="A-1", value="10")
    send(order="A-2", value="5")
    send(cid="{clickid}", order="A-3")
    send(cid=cid, order="A-4", value="ten")
    found = {
        "": {"A-1", "A-2", "A-3", "A-4"},
        "?result=recorded": {"A-1"},
        "?result=unmatched": {"A-2", "A-3"},
        "?reason=macro_not_replaced": {"A-3"},
        "?result=refused": {"A-4"},
        "?via=pixel": set(),
        "?sale=A-1": {"A-1"},
        "?sale=A-2": {"A-2"},
        f"?sale={cid}": {"A-1", "A-4"},
        "?campaign=spring-sale": {"A-1"},
        "?from=2020-01-01&to=2099-01-01": {"A-1", "A-2", "A-3", "A-4"},
        "?to=2020-01-01": set(),
    }
    for query, orders in found.items():
        page = owner.get(f"/app/conversions{query}")
        assert page.status_code == 200
        assert set(re.findall(r"order=(A-\d)", page.text)) == orders, query
    assert rows(owner.get("/app/conversions?sale=A-1").text) == 2


@pytest.mark.parametrize("query", ["result=lots", "via=mail", "from=yesterday", "campaign=none-such", "sale=%00"])
def test_a_filter_that_is_none_is_named_at_its_field(owner: FlaskClient, send: Send, query: str) -> None:
    send(order="A-1")
    page = owner.get(f"/app/conversions?{query}")
    assert page.status_code == 422
    assert f'id="{query.partition("=")[0]}-error"' in page.text


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


def test_a_report_is_matched_to_a_click_of_the_list(
    owner: FlaskClient, send: Send, click: Callable[..., str], session: Session, load: Callable[[], int]
) -> None:
    cid = click()
    load()
    send(order="A-1", value="49.90", currency="EUR")
    report = lost(session)
    page = owner.get(f"/app/conversions/reports/{report.id}").text
    assert re.findall(r'name="chosen" value="([\w-]{28})"', page) == [cid]
    answer = owner.post(f"/app/conversions/reports/{report.id}/match", data={"chosen": cid}, follow_redirects=True)
    assert "Given by hand: recorded" in answer.text
    assert "€49.90" in answer.text
    sale = session.scalars(select(Conversion)).one()
    assert (sale.matched_by, sale.click_id, sale.order_id) == ("hand", cid, "A-1")


def test_a_report_is_matched_to_a_campaign_alone(
    owner: FlaskClient, send: Send, make_link: MakeLink, session: Session
) -> None:
    campaign = make_link().campaign
    send(order="A-1", value="49.90", currency="EUR")
    path = f"/app/conversions/reports/{lost(session).id}/match"
    answer = owner.post(path, data={"campaign": campaign.slug}, follow_redirects=True)
    assert answer.status_code == 200
    sale = session.scalars(select(Conversion)).one()
    assert (sale.campaign_id, sale.link_id, sale.click_id) == (campaign.id, None, None)
    assert owner.post(path, data={"campaign": campaign.slug}).status_code == 422
    session.expire_all()
    assert len(session.scalars(select(LedgerEntry)).all()) == 1


def test_matching_says_at_the_field_what_is_wrong(
    owner: FlaskClient, send: Send, make_link: MakeLink, session: Session
) -> None:
    campaign = make_link().campaign
    send(order="A-1")
    path = f"/app/conversions/reports/{lost(session).id}/match"
    for typed in ({}, {"click_id": "x" * 28}, {"click_id": "x" * 28, "campaign": campaign.slug}):
        answer = owner.post(path, data=typed)
        assert answer.status_code == 422
        assert 'id="click_id-error"' in answer.text
        assert typed.get("click_id", "") in answer.text
    answer = owner.post(path, data={"campaign": "none-such"})
    assert answer.status_code == 422
    assert 'id="campaign-error"' in answer.text
    assert lost(session).result == "unmatched"


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
    page = owner.post("/app/conversions/replay", data={"result": "unmatched"}).text
    rounds = 1
    while "data-go-on" in page:
        form = dict(re.findall(r'name="(\w+)" value="([^"]*)"', page.partition("data-go-on")[2]))
        page = owner.post("/app/conversions/replay", data=form).text
        rounds += 1
    assert rounds == 3
    assert "5 reports so far" in page
    session.expire_all()
    sales = session.scalars(select(Conversion).where(Conversion.order_id != "A-1")).all()
    assert {sale.order_id: sale.matched_by for sale in sales} == {f"B-{n}": "customer" for n in range(5)}
    assert owner.post("/app/conversions/replay", data={}).status_code == 200
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


def test_ticked_reports_are_judged_again(owner: FlaskClient, send: Send, session: Session) -> None:
    send(order="A-1")
    report = lost(session)
    page = owner.post("/app/conversions/replay/ticked", data={"report": report.id}, follow_redirects=True)
    assert "Judged again: 1 unmatched." in page.text
    page = owner.post("/app/conversions/replay/ticked", data={}, follow_redirects=True)
    assert "Tick the reports" in page.text
    assert lost(session).retried_at is not None


def test_a_correction_by_hand_is_a_row_more_in_the_ledger(
    owner: FlaskClient,
    send: Send,
    click: Callable[..., str],
    session: Session,
    engine: Engine,
    store: EventStore,
    load: Callable[[], int],
) -> None:
    send(cid=click(), order="A-1", value="49.90", currency="EUR")
    sale = session.scalars(select(Conversion)).one()
    path = f"/app/conversions/recorded/{sale.id}"
    answer = owner.post(f"{path}/correct", data={"status": "approved", "value": "40,00", "currency": "EUR"})
    assert answer.status_code == 422
    assert 'value="40,00"' in answer.text
    assert 'id="value-error"' in answer.text
    owner.post(f"{path}/correct", data={"status": "approved", "value": "40", "currency": "EUR"})
    owner.post(f"{path}/correct", data={"status": "approved", "value": "45", "currency": "USD"})
    same = owner.post(f"{path}/correct", data={"status": "approved", "value": "45", "currency": "usd"})
    assert "nothing changed" in owner.get(same.location).text
    owner.post(f"{path}/correct", data={"status": "refunded", "value": "", "currency": ""})
    session.expire_all()
    told = [(row.via, row.status, row.minor, row.currency) for row in session.scalars(select(LedgerEntry))]
    assert told == [
        ("callback", "approved", 4990, "EUR"),
        ("hand", "approved", -990, "EUR"),
        ("hand", "approved", -4000, "EUR"),
        ("hand", "approved", 4500, "USD"),
        ("hand", "refunded", -4500, "USD"),
    ]
    assert owner.post(f"{path}/correct", data={"status": "sold"}).status_code == 422
    session.rollback()
    load()
    audit = Audit(engine, store)
    assert [drift for day in audit.days for drift in audit.drifts(day)] == []


def test_exports_hold_what_the_filter_leaves_and_nobody_under_gpc(
    owner: FlaskClient, client: FlaskClient, workspace: Workspace, send: Send, click: Callable[..., str]
) -> None:
    cid = click()
    send(cid=cid, order="A-1", value="10")
    send(order="=A-2", value="5")
    client.post(f"/c/{workspace.key}", data={"order": "A-3", "cid": cid}, headers={"Sec-GPC": "1"})
    table = list(csv.DictReader(io.StringIO(owner.get("/app/conversions/reports.csv").text)))
    assert {row["result"] for row in table} == {"recorded", "unmatched"}
    assert "A-3" not in str(table)
    table = list(csv.DictReader(io.StringIO(owner.get("/app/conversions/recorded.csv").text)))
    assert [(row["order"], row["value"]) for row in table] == [("A-1", "10.00")]
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
    path = f"/conversions/reports/{items[0]['id']}"
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


def test_a_member_of_another_workspace_gets_nothing_by_the_api(
    app: Flask, session: Session, send: Send, click: Callable[..., str]
) -> None:
    send(cid=click(), order="A-1", value="10")
    sale = session.scalars(select(Conversion)).one()
    other = Workspace(name="Other", key="k" * 22)
    session.add(other)
    session.commit()
    theirs = Api(app.test_client(), accounts.create_token(session, other, "theirs"))
    assert theirs("GET", f"/conversions/{sale.id}").status_code == 404
    assert theirs("PATCH", f"/conversions/{sale.id}", {"status": "rejected"}).status_code == 404
    assert theirs("GET", "/conversions").json["items"] == []
