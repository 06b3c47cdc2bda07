"""How well sources of reports can be matched: shares, a grade, and what to add, on the page and as CSV."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from flask.testing import FlaskClient
from sqlalchemy import update
from sqlalchemy.orm import Session

from tests.conftest import BROWSER
from tracker import days, testcodes
from tracker.config import Settings
from tracker.models import Link, Report, Workspace
from tracker.reports import quality
from tracker.reports.quality import Advice, By, Grade, Quality

pytestmark = pytest.mark.any_database

MakeLink = Callable[..., Link]
Load = Callable[[], int]
Of = Callable[..., dict[str | None, Quality]]


@pytest.fixture
def of(session: Session, workspace: Workspace, settings: Settings, load: Load) -> Of:
    def of(by: By = By.WAY, n_days: int = 7) -> dict[str | None, Quality]:
        load()
        found = quality.of_sources(session, workspace, settings.secrets.click_keys, days.now(), n_days, by)
        return {row.name: row for row in found.rows}

    return of


def test_shares_are_of_all_reports_of_a_way_and_tell_what_to_add(
    client: FlaskClient, workspace: Workspace, click: Callable[..., str], of: Of
) -> None:
    url = f"/c/{workspace.key}"
    client.post(url, data={"cid": click(), "order": "1", "value": "5", "currency": "EUR", "customer": "ada"})
    client.post(url, data={"cid": click(), "order": "1", "value": "5", "currency": "EUR", "customer": "ada"})
    client.post(url, data={"cid": "{clickid}", "value": "5"})
    client.post(url, data={"order": "9"})
    client.get(f"{url}.gif", query_string={"cid": click(), "order": "7", "value": "5,x"})
    found = of()
    callbacks, pixels = found["callback"], found["pixel"]
    assert callbacks.n == 4
    assert callbacks.counts == {
        "cid": 3,
        "genuine": 2,
        "order": 3,
        "value": 3,
        "currency": 2,
        "customer": 2,
        "matched": 2,
        "duplicate": 1,
    }
    assert callbacks.grade == Grade.POOR
    assert callbacks.advice == [
        Advice("customer", 0.5),
        Advice("genuine", pytest.approx(1 / 3)),
        Advice("currency", pytest.approx(1 / 3)),
        Advice("order", 0.25),
        Advice("value", 0.25),
        Advice("cid", 0.25),
    ]
    assert (pixels.n, pixels.counts["genuine"], pixels.counts["matched"]) == (1, 1, 0)


def test_one_piece_of_advice_is_given_once_to_all_who_need_it() -> None:
    rows = [Quality(name, None, 10, dict.fromkeys(quality.SHARES, n)) for name, n in (("a", 10), ("b", 9), ("c", 5))]
    found = quality.Qualities(rows, False, 30).lacks
    assert [lack.what for lack in found] == ["cid", "order", "value", "customer"]
    assert all([(row.name, round(share, 3)) for row, share in lack.of] == [("c", 0.5), ("b", 0.1)] for lack in found)


def test_a_source_that_sends_everything_is_good_and_is_told_nothing(
    client: FlaskClient, workspace: Workspace, click: Callable[..., str], of: Of
) -> None:
    sale = {"cid": click(), "order": "1", "value": "5", "currency": "EUR", "customer": "ada"}
    for _ in range(9):
        client.post(f"/c/{workspace.key}", data=sale)
    row = of()["callback"]
    assert (row.grade, row.advice, row.share("duplicate")) == (Grade.GOOD, [], pytest.approx(8 / 9))


def test_refunds_by_their_order_are_no_reason_to_ask_for_click_ids(
    client: FlaskClient, workspace: Workspace, click: Callable[..., str], of: Of
) -> None:
    client.post(f"/c/{workspace.key}", data={"cid": click(), "order": "1", "value": "5"})
    client.post(f"/c/{workspace.key}", data={"order": "1", "status": "refunded"})
    row = of()["callback"]
    assert row.share("cid") == 0.5
    assert "cid" not in {advice.lacks for advice in row.advice}


def test_sources_are_told_apart_by_sender_and_by_the_utm_source_of_their_link(
    client: FlaskClient, workspace: Workspace, click: Callable[..., str], make_link: MakeLink, of: Of
) -> None:
    url, sale = f"/c/{workspace.key}", {"cid": click(make_link(source="google")), "order": "1"}
    client.post(url, data=sale, headers={"User-Agent": "ShopSystem/4.2 (php)"})
    client.post(url, data={"order": "2"}, headers={"User-Agent": BROWSER})
    client.post(url, data={"order": "3"}, headers={"User-Agent": ""})
    client.get(f"{url}.gif", query_string={"order": "4"})
    assert {name: row.n for name, row in of(By.SENDER).items()} == {
        "ShopSystem": 1,
        "browser": 1,
        None: 1,
        "pixel": 1,
    }
    assert {name: row.n for name, row in of(By.SOURCE).items()} == {"google": 1, None: 3}


def test_tests_are_no_part_of_it(
    client: FlaskClient, session: Session, workspace: Workspace, make_link: MakeLink, of: Of
) -> None:
    code = testcodes.start(session, workspace, days.now()).code
    location = client.get(f"/{make_link().code}?tracker_test={code}").headers["Location"]
    cid = location.partition("cid=")[2][:28]
    client.post(f"/c/{workspace.key}", data={"order": "1", "test": code})
    client.post(f"/c/{workspace.key}", data={"order": "2", "cid": cid})
    assert of() == {}


def test_only_the_days_asked_for_and_the_own_workspace_are_looked_at(
    client: FlaskClient, session: Session, workspace: Workspace, of: Of
) -> None:
    session.add(Workspace(name="Other", key="other-key"))
    session.commit()
    client.post(f"/c/{workspace.key}", data={"order": "1"})
    client.post("/c/other-key", data={"order": "1"})
    session.execute(update(Report).values(at_ms=days.to_ms(days.now() - timedelta(days=8))))
    session.commit()
    assert of() == {}
    assert of(n_days=30)["callback"].n == 1


def test_so_many_reports_are_read_and_so_many_sources_shown(
    client: FlaskClient,
    session: Session,
    workspace: Workspace,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quality, "REPORTS_MAX", 4)
    monkeypatch.setattr(quality, "SOURCES_MAX", 3)
    for number in range(6):
        client.post(f"/c/{workspace.key}", data={"order": str(number)}, headers={"User-Agent": f"Shop{number}/1"})
    found = quality.of_sources(session, workspace, settings.secrets.click_keys, days.now(), 7, By.SENDER)
    assert (found.n, found.is_cut) == (4, True)
    assert [(row.name, row.n) for row in found.rows] == [("Shop2", 1), ("Shop3", 1), ("others", 2)]


def test_the_page_says_it_in_sentences_and_the_csv_in_fractions(
    client: FlaskClient, owner: FlaskClient, workspace: Workspace, click: Callable[..., str]
) -> None:
    assert "Nothing was reported in these days." in owner.get("/app/debugger").text
    client.post(f"/c/{workspace.key}", data={"cid": click(), "order": "1", "value": "5"})
    client.post(f"/c/{workspace.key}", data={"cid": click(), "value": "5"})
    page = html.unescape(owner.get("/app/debugger?days=30&by=way").text)
    section = re.search(r'<section id="quality">.*?</section>', page, re.DOTALL)
    assert section
    assert "50.0 % of callbacks have no order id: a repeated report cannot be told from a second sale." in section[0]
    assert '<option value="30" selected>' in section[0]
    (row,) = csv.DictReader(io.StringIO(owner.get("/app/debugger/quality.csv?by=way").text))
    assert (row["source"], row["reports"], row["order_share"], row["grade"]) == ("callback", "2", "0.5", "poor")


@pytest.mark.parametrize("query", ["days=-1&by=nobody", "days=%00", "by=' OR 1", "days=99999999999"])
def test_a_query_that_makes_no_sense_shows_the_usual(owner: FlaskClient, query: str) -> None:
    page = owner.get(f"/app/debugger?{query}")
    assert page.status_code == 200
    assert '<option value="7" selected>' in page.text


def test_a_stranger_is_sent_to_the_login(client: FlaskClient) -> None:
    assert client.get("/app/debugger/quality.csv").headers["Location"].startswith("/app/login")


def test_a_senders_formula_is_no_formula_in_the_csv(
    client: FlaskClient, owner: FlaskClient, workspace: Workspace
) -> None:
    client.post(f"/c/{workspace.key}", data={"order": "1"}, headers={"User-Agent": "=cmd|x/1"})
    (row,) = csv.DictReader(io.StringIO(owner.get("/app/debugger/quality.csv?by=sender").text))
    assert row["source"] == "'=cmd|x"
