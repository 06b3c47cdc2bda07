"""Who may report by callback: from which addresses, how much, how often."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from tracker import callers
from tracker.api.gate import Gate
from tracker.app import create_app
from tracker.callers import Call, Queued, Typed
from tracker.config import Settings
from tracker.errors import Invalid
from tracker.events import Kind, Verdict
from tracker.extensions import db
from tracker.models import Report, Workspace
from tracker.stores import EventStore

pytestmark = pytest.mark.any_database

RANGES = "192.0.2.7\n198.51.100.0/24\n2001:db8:77::/48"
CHUNKED = {"environ_base": {"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}}
FORM = "application/x-www-form-urlencoded"


@pytest.fixture
def listed(workspace: Workspace, session: Session) -> Workspace:
    callers.edit(session, workspace, Typed("off", RANGES, "0"))
    return workspace


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("192.0.2.7", 202),
        ("192.0.2.8", 403),
        ("198.51.100.200", 202),
        ("::ffff:198.51.100.1", 202),
        ("2001:db8:77::1", 202),
        ("2001:db8:78::1", 403),
        ("", 403),
    ],
)
def test_only_listed_addresses_may_report_where_there_is_a_list(
    client: FlaskClient, listed: Workspace, session: Session, address: str, status: int
) -> None:
    response = client.post(f"/c/{listed.key}", data={"order": "1"}, environ_base={"REMOTE_ADDR": address})
    assert response.status_code == status
    if status == 403:
        assert response.mimetype == "application/problem+json"
        assert [error["field"] for error in response.json["errors"]] == ["address"]
        assert session.scalars(select(Report.reason)).one() == "address_not_allowed"


@pytest.mark.parametrize(
    ("proxies", "forwarded", "status"),
    [
        (0, "192.0.2.7", 403),
        (1, "192.0.2.7", 202),
        (1, "192.0.2.7:5555", 202),
        (1, "[2001:db8:77::1]:443", 202),
        (1, "192.0.2.7, 203.0.113.9", 403),
        (2, "203.0.113.9, 192.0.2.7, 10.0.0.1", 202),
    ],
)
def test_an_address_is_believed_as_far_as_proxies_are_trusted(
    settings: Settings, listed: Workspace, proxies: int, forwarded: str, status: int
) -> None:
    app = create_app(replace(settings, trusted_proxies=proxies))
    client = app.test_client()
    headers = {"X-Forwarded-For": forwarded}
    response = client.post(f"/c/{listed.key}", data={"order": "1"}, headers=headers)
    assert response.status_code == status
    app.extensions["tracker"].spool.close()
    app.extensions["tracker_edge"].cache.close()
    with app.app_context():
        db.engine.dispose()


def test_the_pixel_is_answered_and_recorded_whatever_address_it_comes_from(
    client: FlaskClient, listed: Workspace, session: Session, load: Callable[[], int]
) -> None:
    assert client.get(f"/c/{listed.key}.gif?order=1", environ_base={"REMOTE_ADDR": "203.0.113.1"}).status_code == 200
    load()
    assert session.scalars(select(Report.reason)).one() == "no_click_id"


@pytest.mark.parametrize(
    ("typed", "field"),
    [
        (Typed("sometimes", "", "1"), "signature_mode"),
        (Typed("required", "", "1"), "signature_mode"),
        (Typed("off", "192.0.2.7\nnowhere", "1"), "callback_ranges"),
        (Typed("off", "10.0.0.0/2", "1"), "callback_ranges"),
        (Typed("off", "\n".join(f"192.0.2.{n}" for n in range(201)), "1"), "callback_ranges"),
        (Typed("off", "", "-1"), "callbacks_per_min"),
        (Typed("off", "", "many"), "callbacks_per_min"),
        (Typed("off", "", "1000001"), "callbacks_per_min"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_its_field(
    session: Session, workspace: Workspace, typed: Typed, field: str
) -> None:
    with pytest.raises(Invalid) as refusal:
        callers.edit(session, workspace, typed)
    assert set(refusal.value.errors) == {field}


class Watch:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_more_reports_than_a_minute_takes_are_told_when_to_come_again(
    app: Flask, client: FlaskClient, workspace: Workspace, session: Session, load: Callable[[], int], store: EventStore
) -> None:
    watch = Watch()
    app.extensions["tracker_gate"] = Gate(watch)
    callers.edit(session, workspace, Typed("off", "", "3"))

    def send() -> Any:
        return client.post(f"/c/{workspace.key}", data={"order": "1"})

    assert [send().status_code for _ in range(4)] == [202, 202, 202, 429]
    refused = send()
    assert (refused.headers["Retry-After"], refused.json["errors"][0]["field"]) == ("20", "key")
    watch.now_s = 19.9
    assert send().status_code == 429
    watch.now_s = 20.1
    assert [send().status_code for _ in range(2)] == [202, 429]
    assert client.get(f"/c/{workspace.key}.gif").status_code == 200
    load()
    verdicts = [row.verdict for row in store.recent(workspace.id, before=None, limit=20) if row.kind == Kind.CALLBACK]
    assert (verdicts.count(Verdict.FLOOD), verdicts.count(Verdict.COUNTED)) == (4, 4)


def test_a_workspace_without_a_limit_is_not_counted(app: Flask, client: FlaskClient, workspace: Workspace) -> None:
    gate = Gate(lambda: 0.0)
    rules = callers.Rules("off", (), (), 0)
    for _ in range(100):
        gate.count("w", rules)


@pytest.mark.parametrize(
    ("sent", "status", "field"),
    [
        ({"data": b"a=" + b"x" * 70_000, "content_type": FORM}, 413, "body"),
        ({"data": b"x" * 70_000, "content_type": "application/json"}, 413, "body"),
        ({"input_stream": BytesIO(b"order=" + b"1" * 65_531), **CHUNKED}, 413, "body"),
        ({"query_string": "a=" + "x" * 9_000}, 414, "query"),
        ({"query_string": "&".join(f"a{n}=1" for n in range(60))}, 400, "query"),
        ({"data": b"{", "content_type": "application/json"}, 400, "body"),
    ],
)
def test_what_is_too_long_or_no_message_is_refused_and_is_an_event_all_the_same(
    client: FlaskClient,
    workspace: Workspace,
    load: Callable[[], int],
    store: EventStore,
    sent: dict[str, Any],
    status: int,
    field: str,
) -> None:
    response = client.post(f"/c/{workspace.key}", **sent)
    assert (response.status_code, response.mimetype) == (status, "application/problem+json")
    assert [error["field"] for error in response.json["errors"]] == [field]
    load()
    assert [row.kind for row in store.recent(workspace.id, before=None, limit=9)] == [Kind.CALLBACK]


def test_what_was_queued_reads_back_as_it_was() -> None:
    call = Call("192.0.2.7", "t=1,v1=0", b"cid=\xff", 5)
    for queued in (Queued({"cid": "x"}), Queued({"order": "1"}, b"\1" * 32), Queued({}, call=call)):
        assert Queued.decode(queued.encode()) == queued
    assert Queued.decode('{"cid":"x","said":"y"}') == Queued({"cid": "x", "said": "y"}), "as older versions wrote it"
