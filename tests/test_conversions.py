"""The callback and the pixel: recorded once, matched by the click id, explained where they are not."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from tests.conftest import Api
from tests.databases import Database
from tracker import claims, clickid, conversions, days
from tracker.claims import Sighting
from tracker.config import Settings
from tracker.events import Kind, Verdict
from tracker.models import Conversion, LedgerEntry, Link, Report, Workspace
from tracker.stores import EventStore

pytestmark = pytest.mark.any_database

MakeLink = Callable[..., Link]
DAY_MS = 86_400_000


def ledger(session: Session) -> list[tuple[str, int]]:
    session.expire_all()
    return [(row.status, row.minor) for row in session.scalars(select(LedgerEntry).order_by(LedgerEntry.id))]


@pytest.mark.parametrize("path", ["/c/{}", "/c/{}.gif"])
def test_names_of_parameters_are_known_in_any_case_of_letters(
    client: FlaskClient,
    workspace: Workspace,
    click: Callable[..., str],
    session: Session,
    load: Callable[[], int],
    path: str,
) -> None:
    """A buyer's second order must not be taken for the first because a shop writes `Order`."""
    cid = click()
    for order in ("A-1", "A-2"):
        sale = {"CID": cid, "Order_ID": order, "Amount": "5", "Currency": "eur"}
        client.get(path.format(workspace.key), query_string=sale)
    load()
    found = session.scalars(select(Conversion).order_by(Conversion.id))
    assert [(sale.order_id, sale.minor, sale.currency) for sale in found] == [("A-1", 500, "EUR"), ("A-2", 500, "EUR")]


@pytest.mark.parametrize("how", ["query", "form", "multipart", "json", "json-number", "beacon"])
def test_a_callback_is_recorded_and_a_repeat_is_a_duplicate(
    client: FlaskClient, workspace: Workspace, click: Callable[..., str], session: Session, how: str
) -> None:
    sale: dict[str, Any] = {"cid": click(), "order": "A-1", "value": "49.90", "currency": "EUR"}

    def send() -> Any:
        if how == "query":
            return client.get(f"/c/{workspace.key}", query_string=sale)
        if how in ("form", "multipart"):
            kind = {"content_type": "multipart/form-data"} if how == "multipart" else {}
            return client.post(f"/c/{workspace.key}", data=sale, **kind)
        if how == "beacon":
            return client.post(f"/c/{workspace.key}", data=json.dumps(sale), content_type="text/plain;charset=UTF-8")
        return client.post(f"/c/{workspace.key}", json=sale | ({"value": 49.9} if how == "json-number" else {}))

    first, second = send(), send()
    assert (first.status_code, first.json["result"], first.json["campaign"]) == (200, "recorded", "spring-sale")
    assert second.json == first.json | {"result": "duplicate"}
    assert ledger(session) == [("approved", 4990)]


def test_a_refund_is_a_negative_row_and_leaves_the_count(
    client: FlaskClient, workspace: Workspace, click: Callable[..., str], session: Session, api: Api
) -> None:
    sale = {"cid": click(), "order": "A-1", "value": "49.90"}
    client.post(f"/c/{workspace.key}", data=sale)
    assert client.post(f"/c/{workspace.key}", data=sale | {"value": "39.90"}).json["result"] == "updated"
    assert client.post(f"/c/{workspace.key}", data=sale | {"status": "refunded"}).json["result"] == "updated"
    assert ledger(session) == [("approved", 4990), ("approved", -1000), ("refunded", -3990)]
    (row,) = api("GET", "/conversions").json["items"]
    assert (row["status"], row["value"]) == ("refunded", "39.90")


def test_a_known_orders_refund_needs_no_click_id(
    client: FlaskClient, workspace: Workspace, click: Callable[..., str], session: Session
) -> None:
    client.post(f"/c/{workspace.key}", data={"cid": click(), "order": "A-1", "value": "49.90"})
    refund = {"order": "A-1", "status": "refunded"}
    assert client.post(f"/c/{workspace.key}", data=refund).json["result"] == "updated"
    assert client.post(f"/c/{workspace.key}", data=refund | {"cid": "damaged"}).json["result"] == "duplicate"
    assert client.post(f"/c/{workspace.key}", data=refund | {"goal": "other"}).json["result"] == "unmatched"
    assert ledger(session) == [("approved", 4990), ("refunded", -4990)]


def test_a_pixel_fills_what_is_missing_and_changes_nothing_known(
    client: FlaskClient, workspace: Workspace, click: Callable[..., str], session: Session, load: Callable[[], int]
) -> None:
    cid = click()
    client.get(f"/c/{workspace.key}.gif", query_string={"cid": cid, "order": "1"})
    load()
    client.get(f"/c/{workspace.key}.gif", query_string={"cid": cid, "order": "1", "value": "10"})
    load()
    client.get(
        f"/c/{workspace.key}.gif", query_string={"cid": cid, "order": "1", "value": "9999", "status": "refunded"}
    )
    load()
    assert ledger(session) == [("approved", 0), ("approved", 1000)]


def test_pixel_and_callback_of_one_sale_are_one_conversion_in_either_order(
    client: FlaskClient, workspace: Workspace, click: Callable[..., str], session: Session, load: Callable[[], int]
) -> None:
    for number, order in enumerate(("pixel-first", "callback-first")):
        sale = {"cid": click(), "order": order, "value": "5"}
        if number == 0:
            client.get(f"/c/{workspace.key}.gif", query_string=sale)
            load()
        result = client.post(f"/c/{workspace.key}", data=sale).json["result"]
        assert result == ("duplicate" if number == 0 else "recorded")
        if number == 1:
            client.get(f"/c/{workspace.key}.gif", query_string=sale)
            load()
    assert session.scalar(select(func.count(Conversion.id))) == 2
    assert [row.result for row in session.scalars(select(Report).order_by(Report.id))] == [
        "recorded",
        "duplicate",
        "recorded",
        "duplicate",
    ]


def test_without_an_order_the_click_id_is_the_key_and_goals_are_apart(
    client: FlaskClient, workspace: Workspace, click: Callable[..., str]
) -> None:
    cid = click()
    results = [
        client.post(f"/c/{workspace.key}", data={"cid": cid, "goal": goal}).json["result"]
        for goal in ("", "purchase", "signup")
    ]
    assert results == ["recorded", "duplicate", "recorded"]


@pytest.mark.parametrize(
    ("name", "alias"), [(name, alias) for name, aliases in claims.ALIASES.items() for alias in aliases]
)
def test_aliases_are_accepted(name: str, alias: str) -> None:
    assert claims.read_params(f"{alias}=x%20y") == {name: "x y"}
    assert claims.read_params(f"{alias}=x&{name}=y")[name] == "y"
    for read in (claims.read_params, claims.read_pixel):
        assert read(f"{name}=&{alias}=x") == read(f"{name}=&{name}=x&{alias}=") == {name: "x"}


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "application/x-www-form-urlencoded", ""])
def test_json_is_read_whatever_its_sender_calls_it(kind: str) -> None:
    assert claims.read_params("", b' {"click_id": "x", "value": 1.10}', kind) == {"cid": "x", "value": "1.10"}


@pytest.mark.parametrize(
    ("cid", "reason"),
    [
        ("", "no_click_id"),
        ("{clickid}", "macro_not_replaced"),
        ("{{click.id}}", "macro_not_replaced"),
        ("[CLICK_ID]", "macro_not_replaced"),
        ("A" * 28, "bad_click_id"),
        ("abc", "bad_click_id"),
    ],
)
def test_an_unmatched_report_is_kept_with_reason_and_hint(
    client: FlaskClient, workspace: Workspace, api: Api, cid: str, reason: str
) -> None:
    response = client.post(f"/c/{workspace.key}", data={"cid": cid, "order": "7", "customer": "Ada@example.org"})
    assert response.status_code == 202
    assert (response.json["result"], response.json["reason"]) == ("unmatched", reason)
    assert response.json["hint"]
    (report,) = api("GET", "/conversions/reports").json["items"]
    assert (report["result"], report["reason"], report["params"]["order"]) == ("unmatched", reason, "7")
    assert "Ada@example.org" not in str(report)
    assert api("GET", "/conversions").json["items"] == []


def test_a_click_of_another_workspace_or_of_no_link_does_not_match(
    client: FlaskClient, session: Session, click: Callable[..., str], settings: Settings
) -> None:
    other = Workspace(name="Theirs", key="w_theirs")
    session.add(other)
    session.commit()
    assert client.post("/c/w_theirs", data={"cid": click()}).json["reason"] == "foreign_click_id"
    lost = clickid.make(settings.secrets.click_key, 4711, 1, 1)
    assert client.post("/c/w_theirs", data={"cid": lost}).json["reason"] == "unknown_link"


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"value": "1,50"}, {"value"}),
        ({"value": "-1"}, {"value"}),
        ({"value": "1.505"}, {"value"}),
        ({"value": "x", "currency": "ZZZ"}, {"value", "currency"}),
        ({"value": "1.5", "currency": "JPY"}, {"value"}),
        ({"status": "paid"}, {"status"}),
        ({"goal": "a b"}, {"goal"}),
        ({"order": "x" * 256}, {"order"}),
        ({"ts": "yesterday"}, {"ts"}),
        ({"ts": "9" * 5000}, {"ts"}),
    ],
)
def test_bad_values_are_422_and_name_their_fields(
    client: FlaskClient, workspace: Workspace, click: Callable[..., str], fields: dict[str, str], named: set[str]
) -> None:
    response = client.post(f"/c/{workspace.key}", data={"cid": click()} | fields)
    assert response.status_code == 422
    assert response.mimetype == "application/problem+json"
    assert {error["field"] for error in response.json["errors"]} == named


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"{", "application/json"),
        (b"[1]", "application/json"),
        (b'{"cid": []}', "application/json"),
        (b"\xff=1", ""),
        (b'{"value": NaN}', "application/json"),
        (b"[" * 60000, "application/json"),
        (b"&".join(b"a%d=1" % number for number in range(60)), ""),
    ],
)
def test_a_message_that_cannot_be_read_is_400(
    client: FlaskClient, workspace: Workspace, body: bytes, kind: str
) -> None:
    response = client.post(f"/c/{workspace.key}", data=body, content_type=kind or "application/x-www-form-urlencoded")
    assert response.status_code == 400
    assert response.json["errors"]


def test_an_unknown_key_is_404_and_every_report_is_an_event(
    client: FlaskClient, workspace: Workspace, click: Callable[..., str], load: Callable[[], int], store: EventStore
) -> None:
    assert client.post("/c/w_nobody", data={"cid": "x"}).status_code == 404
    client.post(f"/c/{workspace.key}", data={"cid": click(), "order": "1"})
    client.post(f"/c/{workspace.key}", data={"cid": "x"})
    assert client.head(f"/c/{workspace.key}").status_code == 200
    load()
    events = [event for event in store.recent(workspace.id, before=None, limit=9) if event.kind == Kind.CALLBACK]
    assert [(event.verdict, bool(event.link_id)) for event in reversed(events)] == [
        (Verdict.UNKNOWN_CODE, False),
        (Verdict.COUNTED, True),
        (Verdict.COUNTED, False),
        (Verdict.HEAD, False),
    ]


def test_while_the_database_is_away_a_callback_is_queued_and_applied_once_later(
    client: FlaskClient,
    workspace: Workspace,
    click: Callable[..., str],
    load: Callable[[], int],
    session: Session,
    database: Database,
) -> None:
    sale = {"cid": click(), "order": "Q-1", "value": "5"}
    path = f"/c/{workspace.key}"
    session.rollback()
    client.application.extensions["tracker_edge"].cache.close()
    with client.application.app_context():
        client.application.extensions["sqlalchemy"].engine.dispose()
    database.stop()
    try:
        response = client.post(path, data=sale)
    finally:
        database.start()
    assert (response.status_code, response.json) == (202, {"result": "queued"})
    load()
    load()
    assert ledger(session) == [("approved", 500)]
    assert client.post(path, data=sale).json["result"] == "duplicate"


def test_reports_that_race_make_one_conversion(
    engine: Engine, workspace: Workspace, click: Callable[..., str], settings: Settings, session: Session
) -> None:
    cid, workspace_id = click(), workspace.id
    results: list[str] = []
    start = threading.Barrier(8)

    def report(number: int) -> None:
        with Session(engine) as own:
            start.wait()
            outcome = conversions.record(
                own,
                own.get_one(Workspace, workspace_id),
                {"cid": cid, "order": "R-1", "value": "3"},
                Sighting(days.to_ms(days.now()), number, "callback"),
                settings.secrets.keys,
            )
            own.commit()
            results.append(outcome.result)

    threads = [threading.Thread(target=report, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["duplicate"] * 7 + ["recorded"]
    assert ledger(session) == [("approved", 300)]


def test_changes_that_race_leave_a_ledger_that_adds_up(
    engine: Engine, workspace: Workspace, click: Callable[..., str], settings: Settings, session: Session
) -> None:
    cid, workspace_id = click(), workspace.id
    start = threading.Barrier(8)

    def report(number: int) -> None:
        with Session(engine) as own:
            start.wait()
            for step in range(5):
                sale = {"order": "R-2", "value": f"{number}.{step}0"} | ({"cid": cid} if number % 2 else {})
                conversions.record(
                    own,
                    own.get_one(Workspace, workspace_id),
                    sale,
                    Sighting(days.to_ms(days.now()), number * 100 + step, "callback"),
                    settings.secrets.keys,
                )
                own.commit()

    threads = [threading.Thread(target=report, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sale = session.scalars(select(Conversion)).one()
    assert sum(minor for _, minor in ledger(session)) == sale.minor


def test_a_sale_beyond_the_window_is_kept_and_marked(
    client: FlaskClient, workspace: Workspace, make_link: MakeLink, settings: Settings, api: Api
) -> None:
    long_ago = days.to_ms(days.now()) - 31 * DAY_MS
    cid = clickid.make(settings.secrets.click_key, make_link().id, long_ago, 5)
    assert client.post(f"/c/{workspace.key}", data={"cid": cid, "order": "late"}).json["result"] == "recorded"
    assert [row["outside_window"] for row in api("GET", "/conversions").json["items"]] == [True]


def test_a_click_that_converts_is_never_left_out(
    client: FlaskClient,
    workspace: Workspace,
    click: Callable[..., str],
    make_link: MakeLink,
    load: Callable[[], int],
    store: EventStore,
) -> None:
    link = make_link()
    cid = click(link, **{"User-Agent": "curl/8.5.0"})
    client.post(f"/c/{workspace.key}", data={"cid": cid, "order": "1"})
    load()
    load()
    start = days.bucket_of(days.now()) - 2
    cells = {
        (cell.kind, cell.verdict): (cell.n, cell.unique_n)
        for cell in store.totals(link.campaign_id, start, start + 4)
        if cell.n
    }
    assert cells[Kind.CLICK, Verdict.COUNTED] == (1, 1)
    assert (Kind.CLICK, Verdict.BOT) not in cells


def test_a_pixel_is_read_as_far_as_it_can_be(
    client: FlaskClient, workspace: Workspace, click: Callable[..., str], load: Callable[[], int], api: Api
) -> None:
    client.get(f"/c/{workspace.key}.gif?cid={click()}&order=caf%E9&txid=other")
    load()
    (row,) = api("GET", "/conversions").json["items"]
    assert row["order"] == "caf\N{REPLACEMENT CHARACTER}"


def test_a_report_marked_test_counts_nowhere(
    client: FlaskClient, workspace: Workspace, click: Callable[..., str]
) -> None:
    response = client.post(f"/c/{workspace.key}", data={"cid": click(), "order": "1", "test": "1"})
    assert (response.status_code, response.json["reason"]) == (202, "test")
