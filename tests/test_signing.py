"""Signatures: whose they are, for how long they are good, and that each is good once."""

from __future__ import annotations

import hashlib
import hmac
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from tests.conftest import Api
from tests.crowd import Clock
from tests.databases import Database
from tracker import days, signing
from tracker.api.gate import REFUSED_KEPT_PER_MIN, Gate
from tracker.errors import Unverified
from tracker.models import Conversion, Link, Report, Workspace
from tracker.reported import SeenSignature

pytestmark = pytest.mark.any_database

MakeLink = Callable[..., Link]
FORM = "application/x-www-form-urlencoded"


class Shop:
    """A sender with a secret and a clock of its own, that makes signatures as the documentation says."""

    def __init__(self, client: FlaskClient, key: str, secret: str, clock: Clock) -> None:
        self._client, self._path, self.secret, self._clock = client, f"/c/{key}", secret, clock

    def signature(self, payload: bytes, t: str = "", secret: str = "") -> str:
        t = t or str(self._clock() // 1000)
        made = hmac.new((secret or self.secret).encode(), t.encode() + b"." + payload, hashlib.sha256).hexdigest()
        return f"t={t},v1={made}"

    def post(self, body: str, signature: str | None = None, **options: Any) -> Any:
        headers = {"X-Signature": self.signature(body.encode()) if signature is None else signature}
        return self._client.post(self._path, data=body, content_type=FORM, headers=headers, **options)

    def get(self, query: str, signature: str | None = None) -> Any:
        headers = {"X-Signature": self.signature(query.encode()) if signature is None else signature}
        return self._client.get(f"{self._path}?{query}", headers=headers)


@pytest.fixture
def clock(app: Flask) -> Clock:
    clock = Clock()
    app.extensions["tracker_edge"]._clock_ms = clock
    return clock


@pytest.fixture
def cid(client: FlaskClient, make_link: MakeLink, clock: Clock) -> str:
    return str(client.get(f"/{make_link().code}").headers["Location"].partition("cid=")[2][:28])


@pytest.fixture
def shop(client: FlaskClient, workspace: Workspace, session: Session, clock: Clock) -> Shop:
    secret = signing.create(session, workspace)
    workspace.signature_mode = "required"
    session.commit()
    return Shop(client, workspace.key, secret, clock)


def reasons(session: Session) -> list[tuple[str, str | None]]:
    session.expire_all()
    return [(row.result, row.reason) for row in session.scalars(select(Report).order_by(Report.id))]


@pytest.mark.parametrize("method", ["post", "get"])
def test_a_signed_report_is_taken_once(shop: Shop, session: Session, cid: str, method: str) -> None:
    send = getattr(shop, method)
    said = f"cid={cid}&order=A-1&value=49.90"
    signature = shop.signature(said.encode())
    assert send(said, signature).json["result"] == "recorded"
    again = send(said, signature)
    assert (again.status_code, again.mimetype) == (401, "application/problem+json")
    assert [error["field"] for error in again.json["errors"]] == ["X-Signature"]
    assert again.headers["WWW-Authenticate"] == "X-Signature"
    assert reasons(session) == [("recorded", None), ("refused", "replayed")]
    assert session.scalars(select(Report.signed).order_by(Report.id)).all() == [True, False]


def test_a_report_signed_anew_is_a_duplicate(shop: Shop, cid: str, clock: Clock) -> None:
    said = f"cid={cid}&order=A-1"
    assert shop.post(said).json["result"] == "recorded"
    clock.now_ms += 1000
    assert shop.post(said).json["result"] == "duplicate"


@pytest.mark.parametrize("change", ["body", "secret", "t", "digit", "case", "short", "no v1", "no t", "two t", "nine"])
def test_whatever_is_changed_the_signature_does_not_hold(
    shop: Shop, session: Session, cid: str, clock: Clock, change: str
) -> None:
    said = f"cid={cid}&order=A-1&value=49.90"
    t = str(clock() // 1000)
    right = shop.signature(said.encode())
    changed = {
        "body": shop.signature(said.replace("49.90", "1.00").encode()),
        "secret": shop.signature(said.encode(), secret="another"),
        "t": right.replace(f"t={t}", f"t={int(t) + 1}"),
        "digit": right[:-1] + ("0" if right[-1] != "0" else "1"),
        "case": right.replace(f"t={t}", f"t= {t}"),
        "short": right[:-1],
        "no v1": f"t={t}",
        "no t": right.partition(",")[2],
        "two t": f"t={t},{right}",
        "nine": ",".join([right, *["v1=" + "0" * 64] * 8]),
    }[change]
    response = shop.post(said, changed)
    assert response.status_code == 401
    assert [error["field"] for error in response.json["errors"]] == ["X-Signature"]
    assert reasons(session) == [("refused", "bad_signature")]
    assert shop.post(said, right).json["result"] == "recorded", "what was refused has used nothing up"


@pytest.mark.parametrize(("off_s", "status"), [(-301, 401), (-299, 200), (299, 200), (301, 401)])
def test_a_signature_is_good_for_five_minutes_either_way(
    shop: Shop, cid: str, clock: Clock, off_s: int, status: int
) -> None:
    said = f"cid={cid}&order=A-1"
    signature = shop.signature(said.encode(), t=str(clock() // 1000 + off_s))
    assert shop.post(said, signature).status_code == status


def test_of_several_secrets_any_will_do_and_a_second_signature_opens_nothing_again(
    shop: Shop, workspace: Workspace, session: Session, cid: str
) -> None:
    said = f"cid={cid}&order=A-1"
    newer = signing.create(session, workspace)
    old, new = shop.signature(said.encode()), shop.signature(said.encode(), secret=newer)
    both = f"{old},{new.partition(',')[2]},v0=whatever"
    assert shop.post(said, both).json["result"] == "recorded"
    assert shop.post(said, old).status_code == 401
    assert shop.post(said, new).status_code == 401
    first = signing.in_force(session, workspace)[0]
    signing.revoke(session, workspace, first.id)
    said += "&value=1"
    assert shop.post(said).status_code == 401
    assert shop.post(said, shop.signature(said.encode(), secret=newer)).json["result"] == "updated"


def test_what_is_not_signed_is_not_read(shop: Shop, client: FlaskClient, workspace: Workspace, cid: str) -> None:
    said = f"cid={cid}&order=A-1"
    headers = {"X-Signature": shop.signature(said.encode())}
    path = f"/c/{workspace.key}"
    response = client.post(f"{path}?status=refunded", data=said, content_type=FORM, headers=headers)
    assert (response.status_code, response.json["errors"][0]["field"]) == (400, "query")
    response = client.get(f"{path}?{said}", data="status=refunded", content_type=FORM, headers=headers)
    assert (response.status_code, response.json["errors"][0]["field"]) == (400, "body")


def test_multipart_is_signed_as_it_was_sent(shop: Shop, client: FlaskClient, workspace: Workspace, cid: str) -> None:
    lines = ["--x", 'Content-Disposition: form-data; name="cid"', "", cid, "--x--", ""]
    body = "\r\n".join(lines).encode()
    headers = {"X-Signature": shop.signature(body)}
    response = client.post(
        f"/c/{workspace.key}", data=body, content_type="multipart/form-data; boundary=x", headers=headers
    )
    assert response.json["result"] == "recorded"


@pytest.mark.parametrize(
    ("mode", "unsigned", "wrong"), [("off", 200, 200), ("accepted", 200, 401), ("required", 401, 401)]
)
def test_each_mode_asks_for_what_it_says(
    shop: Shop, workspace: Workspace, session: Session, cid: str, mode: str, unsigned: int, wrong: int
) -> None:
    workspace.signature_mode = mode
    session.commit()
    said = f"cid={cid}&order=A-1"
    assert shop.post(said, "").status_code == unsigned
    assert shop.post(said + "&value=1", shop.signature(b"other")).status_code == wrong


def test_where_signatures_are_required_a_pixel_makes_no_sale_and_fills_what_a_callback_left_out(
    shop: Shop, client: FlaskClient, workspace: Workspace, session: Session, load: Callable[[], int], cid: str
) -> None:
    pixel = f"/c/{workspace.key}.gif?cid={cid}&order=A-1&value=49.90"
    assert client.get(pixel).status_code == 200
    load()
    assert reasons(session) == [("unmatched", "signature_required")]
    assert shop.post(f"cid={cid}&order=A-1").json["result"] == "recorded"
    client.get(pixel)
    load()
    sale = session.scalars(select(Conversion)).one()
    assert (sale.minor, reasons(session)[-1][0]) == (4990, "updated")


def test_a_signature_that_many_send_at_once_opens_the_door_once(
    engine: Engine, workspace: Workspace, session: Session
) -> None:
    workspace_id = workspace.id
    session.rollback()
    start = threading.Barrier(8)
    opened: list[bool] = []

    def knock() -> None:
        with Session(engine) as own:
            workspace = own.get_one(Workspace, workspace_id)
            start.wait()
            try:
                signing.spend(own, workspace, b"\1" * 32)
                opened.append(True)
            except Unverified:
                opened.append(False)
            own.commit()

    threads = [threading.Thread(target=knock) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(opened) == [False] * 7 + [True]


def test_a_try_that_fails_uses_nothing_up_and_old_signatures_are_forgotten(
    session: Session, workspace: Workspace
) -> None:
    signing.spend(session, workspace, b"\1" * 32)
    session.rollback()
    signing.spend(session, workspace, b"\1" * 32)
    session.commit()
    signing.forget_spent(session, days.now())
    assert session.scalar(select(func.count()).select_from(SeenSignature)) == 1
    signing.forget_spent(session, days.now() + timedelta(hours=2))
    assert session.scalar(select(func.count()).select_from(SeenSignature)) == 0


def test_refused_reports_are_kept_up_to_a_bound(shop: Shop, session: Session, app: Flask) -> None:
    app.extensions["tracker_gate"] = Gate(clock_s=lambda: 0.0)
    for number in range(REFUSED_KEPT_PER_MIN + 5):
        assert shop.post(f"order={number}", "").status_code == 401
    assert reasons(session) == [("refused", "signature_required")] * REFUSED_KEPT_PER_MIN


def away(app: Flask, session: Session, database: Database, send: Callable[[], Any]) -> Any:
    """What is answered while the database is stopped."""
    session.rollback()
    app.extensions["tracker_edge"].cache.close()
    with app.app_context():
        app.extensions["sqlalchemy"].engine.dispose()
    database.stop()
    try:
        return send()
    finally:
        database.start()


@pytest.mark.parametrize("known", [True, False])
def test_while_the_database_is_away_a_signature_is_checked_then_or_by_the_loader(
    shop: Shop,
    app: Flask,
    session: Session,
    database: Database,
    load: Callable[[], int],
    cid: str,
    known: bool,
) -> None:
    if known:
        shop.post(f"cid={cid}&order=A-0")
    said = [f"cid={cid}&order=A-{number}" for number in (1, 2, 3)]
    right = shop.signature(said[0].encode())

    def send() -> list[Any]:
        return [
            shop.post(said[0], right),
            shop.post(said[0], right),
            shop.post(said[1], shop.signature(b"another")),
            shop.post(said[2], ""),
        ]

    answers = away(app, session, database, send)
    assert [each.status_code for each in answers] == ([202, 202, 401, 401] if known else [202] * 4)
    load()
    load()
    orders = session.scalars(select(Conversion.order_id).order_by(Conversion.id)).all()
    assert orders == (["A-0", "A-1"] if known else ["A-1"])
    assert ("refused", "replayed") in reasons(session)
    if not known:
        assert {("refused", "bad_signature"), ("refused", "signature_required")} <= set(reasons(session))
    assert shop.post(said[0], right).status_code == 401, "it was used up, though nobody could look at it then"


def test_a_customer_is_not_written_down_where_nobody_can_check_the_signature(
    shop: Shop, app: Flask, session: Session, database: Database, cid: str
) -> None:
    said = f"cid={cid}&order=A-1&customer=ada@example.org"
    answer = away(app, session, database, lambda: shop.post(said))
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    spool = app.extensions["tracker"].settings.spool_dir
    assert not any(b"ada" in path.read_bytes() for path in spool.rglob("*") if path.is_file())


def test_the_inbox_tells_who_was_refused(shop: Shop, api: Api, cid: str) -> None:
    shop.post(f"cid={cid}&order=A-1&customer=Ada", "")
    (report,) = api("GET", "/conversions/reports").json["items"]
    assert (report["result"], report["reason"], report["params"]["order"]) == ("refused", "signature_required", "A-1")
    assert "Ada" not in str(report)
