"""Audiences over HTTP: built without a script, counted, described, exported; and the setting that lists rest on."""

from __future__ import annotations

import re
from collections.abc import Callable
from hashlib import sha256
from html import unescape
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tracker import accounts, matchkeys
from tracker.audiences import rules, store
from tracker.models import Link, Workspace
from tracker.reported import Audience, Identity

pytestmark = pytest.mark.any_database

MakeLink = Callable[..., Link]
Load = Callable[[], int]
GPC = {"Sec-GPC": "1"}


def sha(text: str) -> str:
    return sha256(text.encode()).hexdigest()


class Shop:
    """Customers who click and buy."""

    def __init__(self, client: FlaskClient, workspace: Workspace) -> None:
        self._client, self._key = client, workspace.key
        self._order = 0

    def sell(self, link: Link, customer: str, value: str = "10.00", **said: str) -> str:
        cid = self._client.get(f"/{link.code}").headers["Location"].partition("cid=")[2][:28]
        self._order += 1
        report = {"cid": cid, "order": f"o{self._order}", "value": value, "customer": customer} | said
        assert self._client.post(f"/c/{self._key}", data=report).status_code == 200
        return f"o{self._order}"

    def say(self, headers: dict[str, str] | None = None, **said: str) -> None:
        self._client.post(f"/c/{self._key}", data=said, headers=headers)


@pytest.fixture
def keeping(session: Session, workspace: Workspace) -> Workspace:
    matchkeys.set_keeping(session, workspace, True)
    return workspace


@pytest.fixture
def shop(client: FlaskClient, workspace: Workspace) -> Shop:
    return Shop(client, workspace)


@pytest.fixture
def link(make_link: MakeLink) -> Link:
    return make_link()


def form(*rows: dict[str, str], name: str = "Good customers", do: str = "save", **more: str) -> dict[str, Any]:
    """What a browser sends for these rules."""
    sent: dict[str, Any] = {"name": name, "do": do, "row": [str(number) for number in range(len(rows))]} | more
    for number, row in enumerate(rows):
        sent |= {f"{parameter}-{number}": text for parameter, text in row.items()}
    return sent


def make(owner: FlaskClient, *rows: dict[str, str], name: str = "Good customers") -> str:
    """The address of a new audience's page."""
    response = owner.post("/app/audiences/new", data=form(*rows, name=name))
    assert response.status_code == 303, response.text
    return str(response.location)


def counts(page: str) -> list[str]:
    return re.findall(r'class="figure">([^<]*)<', page)


def text_of(page: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page)).split())


BOUGHT_TWICE = {"kind": "bought", "times": "2", "goal": "purchase"}


def test_a_stranger_is_sent_to_the_login(client: FlaskClient, owner: FlaskClient, session: Session) -> None:
    path = make(owner, BOUGHT_TWICE)
    for url in ("/app/audiences", "/app/audiences/new", path, f"{path}/edit", f"{path}/meta.csv"):
        response = client.get(url)
        assert response.status_code == 303, url
        assert "/app/login" in response.location
    for url in ("/app/audiences/new", f"{path}/edit", f"{path}/delete", "/app/settings/match-keys"):
        assert "/app/login" in client.post(url, data={"keeps": "1"}).location
    assert session.scalar(select(func.count(Audience.id))) == 1
    assert session.scalar(select(Workspace.keeps_identities)) is False


def test_forms_of_another_site_are_refused(app: Flask, owner: FlaskClient, session: Session) -> None:
    path = make(owner, BOUGHT_TWICE)
    app.config["WTF_CSRF_ENABLED"] = True
    for url in ("/app/audiences/new", f"{path}/edit", f"{path}/delete", "/app/settings/match-keys"):
        assert owner.post(url, data=form(BOUGHT_TWICE, keeps="1")).status_code == 400
    assert session.scalar(select(func.count(Audience.id))) == 1
    assert session.scalar(select(Workspace.keeps_identities)) is False


def test_an_audience_of_another_workspace_is_not_there(
    app: Flask, owner: FlaskClient, session: Session, link: Link
) -> None:
    path = make(owner, BOUGHT_TWICE)
    other = Workspace(name="Other", key="other")
    session.add(other)
    session.commit()
    accounts.create_user(session, other, "eve@example.org", "correct horse battery")
    eve = app.test_client()
    eve.post("/app/login", data={"email": "eve@example.org", "password": "correct horse battery"})
    for url in (path, f"{path}/edit", f"{path}/meta.csv"):
        assert eve.get(url).status_code == 404
    assert eve.post(f"{path}/delete").status_code == 404
    foreign = {"kind": "clicked", "campaign": str(link.campaign_id)}
    refused = eve.post("/app/audiences/new", data=form(foreign))
    assert refused.status_code == 422
    assert "Choose a campaign." in refused.text
    assert "spring-sale" not in eve.get("/app/audiences/new").text


def test_the_list_says_what_to_do_next_and_what_is_unknown(owner: FlaskClient) -> None:
    page = owner.get("/app/audiences").text
    assert "No audience yet" in page
    assert "never bought or signed up is nobody we know by name" in " ".join(page.split())
    assert 'aria-current="page">Audiences' in page
    assert re.findall(r"start=([\w-]+)", page) == [
        "clicked-not-converted",
        "bought-twice",
        "top-tenth",
        "not-for-a-while",
    ]


@pytest.mark.parametrize("start", ["clicked-not-converted", "bought-twice", "top-tenth", "not-for-a-while"])
def test_a_ready_made_audience_needs_one_click_and_save(
    owner: FlaskClient, session: Session, link: Link, start: str
) -> None:
    page = owner.get(f"/app/audiences/new?start={start}").text
    sent: dict[str, Any] = {"do": "save", "row": re.findall(r'name="row" value="(\d+)"', page)}
    sent |= dict(re.findall(r'<input[^>]* name="((?!row|csrf)[\w-]+)"[^>]* value="([^"]*)"', page))
    for name, options in re.findall(r'<select [^>]*name="([\w-]+)"[^>]*>(.*?)</select>', page, re.DOTALL):
        chosen = re.search(r'value="([^"]*)" selected', options)
        sent[name] = chosen[1] if chosen else ""
    response = owner.post("/app/audiences/new", data=sent)
    assert response.status_code == 303, response.text
    assert session.query(Audience).one().rules
    assert owner.get(response.location).status_code == 200
    assert "start=" in owner.get("/app/audiences").text


def test_rules_are_added_and_removed_by_buttons(owner: FlaskClient, link: Link) -> None:
    page = owner.post("/app/audiences/new", data=form(name="Mine", do="add", kind="bought")).text
    assert 'value="Mine"' in page
    assert page.count("<fieldset") == 1
    first = {"kind": "bought", "times": "3", "goal": "lead"}
    page = owner.post("/app/audiences/new", data=form(first, name="Mine", do="add", kind="clicked")).text
    assert re.findall(r"<legend>([^<]*)<", page) == ["1. Converted a number of times", "2. Clicked a campaign"]
    assert 'value="3"' in page
    assert "another look" not in page, "what has just been added is not wrong yet"
    second = {"kind": "clicked", "campaign": str(link.campaign_id), "negated": "1"}
    page = owner.post("/app/audiences/new", data=form(first, second, name="Mine", do="remove-0")).text
    assert re.findall(r"<legend>([^<]*)<", page) == ["1. Clicked a campaign"]
    assert 'value="1" selected>did not' in page
    assert owner.post("/app/audiences/new", data=form(do="add", kind="magic")).text.count("<fieldset") == 0
    many = [BOUGHT_TWICE] * rules.RULES_MAX
    assert owner.post("/app/audiences/new", data=form(*many, do="add", kind="bought")).text.count("<fieldset") == 20


def test_errors_stand_at_their_field_and_what_was_typed_is_kept(owner: FlaskClient, session: Session) -> None:
    wrong = {"kind": "worth", "amount": "much", "currency": "eur"}
    response = owner.post("/app/audiences/new", data=form(wrong, BOUGHT_TWICE | {"days": "-1"}, name=" "))
    assert response.status_code == 422
    page = response.text
    for name in ("name", "amount-0", "days-1"):
        assert f'href="#{name}"' in page
        assert f'id="{name}-error"' in page
        assert re.search(rf'id="{name}"[^>]*aria-invalid="true"', page)
    assert 'value="much"' in page
    assert 'value="eur"' in page
    assert session.scalar(select(func.count(Audience.id))) == 0
    assert "Add a rule" in owner.post("/app/audiences/new", data=form()).text
    # A field that holds markup comes back as text.
    page = owner.post("/app/audiences/new", data=form(BOUGHT_TWICE | {"goal": '"><script>'}, name="<b>")).text
    assert "<script>" not in page.replace('<script type="module"', "")
    assert "<b>" not in page


def test_the_preview_counts_customers_and_those_that_can_be_matched(
    owner: FlaskClient, shop: Shop, keeping: Workspace, link: Link
) -> None:
    for customer in ("ada@example.org", "+4930123456", "C-4711", "+x@gmail.com"):
        shop.sell(link, customer)
    once = {"kind": "bought", "times": "1"}
    page = owner.post("/app/audiences/new", data=form(once, do="preview")).text
    assert counts(page) == ["4", "3", "2"]
    assert counts(owner.post("/app/audiences/new", data=form(BOUGHT_TWICE, do="preview")).text) == ["0", "0", "0"]
    page = owner.post("/app/audiences/new", data=form({"kind": "bought"}, do="preview")).text
    assert counts(page) == []
    assert 'id="times-0-error"' in page


def test_an_audience_follows_what_becomes_of_sales(
    owner: FlaskClient, shop: Shop, keeping: Workspace, link: Link
) -> None:
    path = make(owner, BOUGHT_TWICE)
    shop.sell(link, "ada@example.org")
    order = shop.sell(link, "ada@example.org")
    assert counts(owner.get(path).text) == ["1", "1", "1"]
    shop.say(order=order, status="refunded")
    assert counts(owner.get(path).text) == ["0", "0", "0"]
    shop.sell(link, "ada@example.org")
    assert counts(owner.get(path).text) == ["1", "1", "1"]
    # Under Global Privacy Control once, and never again in any list.
    shop.say(GPC, order="o1", cid="")
    assert counts(owner.get(path).text) == ["0", "0", "0"]
    for _ in range(3):
        shop.sell(link, "ada@example.org")
    assert counts(owner.get(path).text) == ["0", "0", "0"]
    assert owner.get(f"{path}/meta.csv").text.splitlines() == ["email,phone,value"]


def test_it_is_shown_in_words_edited_and_deleted(owner: FlaskClient, session: Session, make_link: MakeLink) -> None:
    link = make_link(campaign="Spring & more")
    path = make(
        owner,
        {"kind": "clicked", "campaign": str(link.campaign_id), "days": "30"},
        {"kind": "converted", "negated": "1", "days": "14"},
        {"kind": "worth", "amount": "19.90", "currency": "EUR"},
        {"kind": "dated", "which": "last", "when": "since", "on": "2020-06-01"},
        {"kind": "came", "field": "country", "value": "de"},
        name="Quiet ones",
    )
    for page in (text_of(owner.get(path).text), text_of(owner.get("/app/audiences").text)):
        for said in (
            "clicked “Spring & more” in the last 30 days",
            "not converted in the last 14 days",
            "spent at least €19.90",
            "last converted since 1 Jun 2020",
            "came by country Germany",
        ):
            assert said in page
    assert 'value="19.90"' in owner.get(f"{path}/edit").text
    response = owner.post(f"{path}/edit", data=form(BOUGHT_TWICE, name="Renamed"))
    assert (response.status_code, response.location) == (303, path)
    assert session.query(Audience).one().name == "Renamed"
    assert "converted at least twice to purchase" in text_of(owner.get(path).text)
    refused = owner.post(f"{path}/edit", data=form({"kind": "top", "percent": "0", "currency": "EUR"}))
    assert refused.status_code == 422
    session.expire_all()
    assert session.query(Audience).one().rules == [BOUGHT_TWICE]
    assert owner.get(f"{path}/delete").status_code == 405
    assert owner.post(f"{path}/delete").location == "/app/audiences"
    assert owner.get(path).status_code == 404


def test_there_are_so_many_audiences_and_no_more(owner: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "AUDIENCES_MAX", 2)
    for _ in range(2):
        make(owner, BOUGHT_TWICE)
    refused = owner.post("/app/audiences/new", data=form(BOUGHT_TWICE))
    assert refused.status_code == 422
    assert "delete one first" in refused.text


def test_lists_are_downloaded_and_kept_by_no_cache(
    owner: FlaskClient, shop: Shop, keeping: Workspace, link: Link
) -> None:
    shop.sell(link, "A.Da+1@Gmail.com", "10.50")
    shop.sell(link, "A.Da+1@Gmail.com", "4.50", status="rejected")
    shop.sell(link, "A.Da+1@Gmail.com", "1250", currency="JPY")
    shop.sell(link, "+49 30 123456", "7")
    shop.sell(link, "C-4711", "9")
    path = make(owner, {"kind": "bought", "times": "1"}, name="Große Käufer")
    meta, google = (owner.get(f"{path}/{name}.csv", buffered=True) for name in ("meta", "google"))
    assert meta.text.splitlines()[0] == "email,phone,value"
    assert sorted(meta.text.splitlines()[1:]) == sorted(
        [f"{sha('a.da+1@gmail.com')},,10.50", f",{sha('4930123456')},7.00"]
    )
    assert google.text.splitlines()[0] == "Email,Phone"
    assert sorted(google.text.splitlines()[1:]) == sorted([f"{sha('ada@gmail.com')},", f",{sha('+4930123456')}"])
    yen = owner.get(f"{path}/meta.csv?currency=JPY").text.splitlines()
    assert sorted(line.rpartition(",")[2] for line in yen[1:]) == ["0", "1250"]
    for response in (meta, google):
        assert response.headers["Cache-Control"] == "no-store"
        assert response.mimetype == "text/csv"
        assert re.fullmatch(
            r'attachment; filename="groe-kaufer-(meta|google)-\d{4}-\d\d-\d\d\.csv"',
            response.headers["Content-Disposition"],
        )
    assert owner.get(f"{path}/tiktok.csv").status_code == 404
    assert owner.get(f"{path}/meta.csv?currency=XXL").status_code == 400
    for url in (path, "/app/audiences", "/app/settings"):
        assert sha("ada@gmail.com") not in owner.get(url).text


def test_insights_stand_beside_the_campaign_and_hide_small_groups(
    app: Flask, owner: FlaskClient, shop: Shop, keeping: Workspace, make_link: MakeLink, load: Load
) -> None:
    spring, autumn = make_link(source="newsletter"), make_link(campaign="autumn", source="google")
    for number in range(12):
        shop.sell(spring, f"n{number}@example.org")
        shop.sell(autumn, f"m{number}@example.org")
    load()
    rule = {"kind": "converted", "campaign": str(spring.campaign_id)}
    path = make(owner, rule)
    page = text_of(owner.get(path).text)
    assert "their conversions beside those of spring-sale" in page
    assert "newsletter 100.0 % 100.0 % 1.0 ×" in page
    beside_all = text_of(owner.get(f"{path}?beside=").text)
    assert "beside all of the workspace" in beside_all
    assert "newsletter 100.0 % 50.0 % 2.0 ×" in beside_all
    assert "beside those of autumn" in text_of(owner.get(f"{path}?beside={autumn.campaign_id}").text)
    few = make(owner, {"kind": "top", "percent": "10", "currency": "EUR"})
    assert "Too few to tell" in owner.get(few).text


# The setting


def test_keeping_is_off_at_first_explained_and_turned_on_and_off(
    owner: FlaskClient, shop: Shop, session: Session, link: Link
) -> None:
    path = make(owner, {"kind": "bought", "times": "1"})
    page = owner.get("/app/settings").text
    assert "Keep it from now on" in page
    shop.sell(link, "ada@example.org")
    shown = text_of(owner.get(path).text)
    assert "is not kept in this workspace" in shown
    assert owner.post("/app/settings/match-keys", data={"keeps": "1"}).status_code == 303
    shop.sell(link, "ada@example.org")
    assert session.scalar(select(func.count()).select_from(Identity)) == 1
    assert "is not kept in this workspace" not in text_of(owner.get(path).text)
    assert "Stop and erase" in owner.get("/app/settings").text
    owner.post("/app/settings/match-keys", data={"keeps": "0"})
    session.expire_all()
    assert session.scalar(select(func.count()).select_from(Identity)) == 0
    assert counts(owner.get(path).text) == ["1", "0", "0"]


def test_a_number_that_no_audience_can_have_is_not_there(owner: FlaskClient) -> None:
    assert owner.get(f"/app/audiences/{10**20}").status_code == 404


def test_a_control_character_is_refused_at_its_field(owner: FlaskClient) -> None:
    rule = {"kind-0": "came", "field-0": "source", "value-0": "a\0b"}
    answer = owner.post("/app/audiences/new", data={"name": "Mail", "row": "0", "do": "save", **rule})
    assert answer.status_code == 422
    assert 'id="value-0-error"' in answer.text
