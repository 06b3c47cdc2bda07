"""Reports matched and conversions corrected by hand: foreseen first, then done, with a row more in the ledger."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from flask.testing import FlaskClient
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from tests.conftest import lost
from tracker.audit import Audit
from tracker.models import Conversion, LedgerEntry, Link, Report
from tracker.stores import EventStore

MakeLink = Callable[..., Link]
Send = Callable[..., Any]


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


def test_what_a_match_would_do_is_shown_and_nothing_done(
    owner: FlaskClient, send: Send, click: Callable[..., str], session: Session
) -> None:
    cid = click()
    send(order="A-1", value="49.90", currency="EUR")
    path = f"/app/conversions/reports/{lost(session).id}/match"
    page = owner.post(f"{path}/try", data={"click_id": cid})
    assert page.status_code == 200
    foreseen = page.text.partition('id="foreseen"')[2].partition("</section>")[0]
    for told in ("recorded", "spring-sale", "approved, €49.90", "+€49.90", "rejected"):
        assert told in foreseen, told
    assert lost(session).conversion_id is None
    assert session.scalars(select(Conversion)).all() == []
    form = dict(re.findall(r'name="(\w+)" value="([^"]*)"', foreseen))
    assert owner.post(path, data=form).status_code == 303
    assert session.scalars(select(Conversion)).one().click_id == cid
    send(order="A-1", goal="signup", value="1")
    again = owner.post(f"{path}/try", data={"click_id": cid})
    assert again.status_code == 422


def test_a_match_to_a_known_sale_shows_its_news_alone(
    owner: FlaskClient, send: Send, click: Callable[..., str], session: Session
) -> None:
    cid = click()
    send(value="5", status="refunded", ts=str(2_000_000_000))  # refused: in the future
    send(cid=cid, value="49.90", currency="EUR")
    report = session.scalars(select(Report).where(Report.result == "refused")).one()
    report.params = {"status": "refunded"}
    session.commit()
    page = owner.post(f"/app/conversions/reports/{report.id}/match/try", data={"click_id": cid}).text
    foreseen = page.partition('id="foreseen"')[2].partition("</section>")[0]
    for told in ("updated", "refunded, €49.90", "-€49.90"):
        assert told in foreseen, told
    assert session.scalars(select(LedgerEntry)).one().minor == 4990


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
    path = f"/app/conversions/{sale.id}"
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


def test_what_a_correction_would_do_is_shown_and_nothing_done(
    owner: FlaskClient, send: Send, click: Callable[..., str], session: Session
) -> None:
    send(cid=click(), order="A-1", value="49.90", currency="EUR")
    sale = session.scalars(select(Conversion)).one()
    path = f"/app/conversions/{sale.id}/correct"
    page = owner.post(f"{path}/try", data={"status": "approved", "value": "45", "currency": "usd"})
    foreseen = page.text.partition('id="foreseen"')[2].partition("</form>")[0]
    for told in ("updated", "approved, -€49.90", "approved, +US$45.00" if "US$" in foreseen else "approved, +$45.00"):
        assert told in foreseen, told
    session.expire_all()
    assert len(session.scalars(select(LedgerEntry)).all()) == 1
    owner.post(path, data=dict(re.findall(r'name="(\w+)" value="([^"]*)"', foreseen)))
    session.expire_all()
    assert len(session.scalars(select(LedgerEntry)).all()) == 3
    same = owner.post(f"{path}/try", data={"status": "approved", "value": "45", "currency": "USD"}).text
    assert "nothing changes" in same
    wrong = owner.post(f"{path}/try", data={"status": "approved", "value": "4,5", "currency": "USD"})
    assert wrong.status_code == 422
    assert 'id="value-error"' in wrong.text
