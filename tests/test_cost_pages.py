"""Pages of costs, of their import and of rates: who may see them, what they keep, what they warn of."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.test_costfile import GOOGLE, MICROSOFT
from tracker import campaigns
from tracker.campaigning import Cost, ExchangeRate
from tracker.config import Settings
from tracker.models import Link, Workspace
from tracker.money import Money, Price
from tracker.reports.metrics import Rate, Totals
from tracker.web import changes, formats

pytestmark = pytest.mark.any_database

MakeLink = Callable[..., Link]
PATH = "/app/campaigns/spring-sale/costs"
COST = {"first_on": "2026-11-01", "last_on": "2026-11-07", "amount": "70.00", "currency": "EUR", "link": ""}


@pytest.fixture
def link(session: Session, make_link: MakeLink) -> Link:
    link = make_link(content="hero")
    campaigns.edit(session, link.campaign, name="Spring Sale")
    return link


@pytest.fixture
def upload(owner: FlaskClient, link: Link) -> Callable[[str], str]:
    """Uploads a file and answers where it may be looked at."""

    def upload(text: str) -> str:
        file = (io.BytesIO(text.encode()), "export.csv")
        sent = owner.post("/app/costs/import", data={"file": file}, content_type="multipart/form-data")
        assert sent.status_code == 303, sent.text
        return str(sent.headers["Location"])

    return upload


def stored(session: Session) -> list[tuple[str, int, str]]:
    session.expire_all()
    return [(cost.scope, cost.minor, cost.origin) for cost in session.scalars(select(Cost).order_by(Cost.id))]


def test_a_cost_is_added_changed_and_taken_away(owner: FlaskClient, session: Session, link: Link) -> None:
    assert owner.post(PATH, data=COST).status_code == 303
    owner.post(PATH, data=COST | {"link": "source:newsletter", "amount": "5"})
    owner.post(PATH, data=COST | {"link": f"link:{link.code}", "amount": "6"})
    assert stored(session) == [
        ("", 7000, "form"),
        ("source:newsletter", 500, "form"),
        (f"link:{link.id}", 600, "form"),
    ]
    again = owner.post(PATH, data=COST | {"amount": "80.00"}, follow_redirects=True)
    assert "took the place" in again.text
    number = session.scalars(select(Cost.id).where(Cost.scope == f"link:{link.id}")).one()
    page = owner.get(f"{PATH}/{number}").text
    assert 'value="6.00"' in page
    assert f'selected value="link:{link.code}"' in page
    assert owner.post(f"{PATH}/{number}", data=COST | {"amount": "9", "first_on": "2026-11-05"}).status_code == 303
    assert ("", 900, "form") in stored(session)
    number = session.scalars(select(Cost.id).where(Cost.minor == 900)).one()
    assert owner.post(f"{PATH}/{number}/remove").status_code == 303
    assert len(stored(session)) == 2
    assert owner.get(f"{PATH}/{number}").status_code == 404


def test_what_is_refused_stands_at_its_field_and_what_was_typed_is_kept(owner: FlaskClient, link: Link) -> None:
    refused = owner.post(PATH, data=COST | {"amount": "1.234,50", "last_on": "2026-10-01"})
    assert refused.status_code == 422
    assert 'id="amount-error"' in refused.text
    assert 'id="last_on-error"' in refused.text
    assert 'value="1.234,50"' in refused.text


def test_an_edit_keeps_what_the_network_counted_and_onto_other_days_it_is_refused(
    owner: FlaskClient, session: Session, upload: Callable[[str], str]
) -> None:
    owner.post(upload(GOOGLE), data={"do": "store"})
    first, second = session.scalars(select(Cost).order_by(Cost.first_on))
    day = {"first_on": "2026-11-01", "last_on": "", "amount": "5.00", "currency": "EUR", "link": ""}
    assert owner.post(f"{PATH}/{second.id}", data=day).status_code == 409
    assert owner.post(f"{PATH}/{first.id}", data=day).status_code == 303
    session.expire_all()
    assert (first.minor, first.clicks, first.impressions, first.origin) == (500, 310, 12_345, "google")


def test_likely_double_entries_are_named(owner: FlaskClient, upload: Callable[[str], str]) -> None:
    owner.post(PATH, data=COST)
    assert "twice" not in owner.get(PATH).text
    owner.post(upload(GOOGLE), data={"do": "store"})
    page = re.sub(r"\s+", " ", owner.get(PATH).text)
    assert "2 days have costs from two places (by hand and Google Ads)" in page


def test_a_stranger_sees_and_stores_nothing(client: FlaskClient, session: Session, link: Link) -> None:
    for path in (PATH, "/app/costs/import", "/app/settings/rates"):
        assert "/app/login" in client.get(path).headers["Location"]
        assert "/app/login" in client.post(path, data=COST).headers["Location"]
    assert stored(session) == []


def test_an_import_is_looked_at_mapped_and_stored_once(
    owner: FlaskClient, session: Session, workspace: Workspace, settings: Settings, upload: Callable[[str], str]
) -> None:
    other = campaigns.create(session, workspace, "brand-2026", "<b>Brand</b>")
    where = upload(GOOGLE)
    page = owner.get(where).text
    assert "Google Ads: nothing is stored yet" in page
    assert "€1,204.50" in page
    assert "<b>Brand" not in page
    assert stored(session) == []
    choices = {"name": ["brand", "Autumn, old"], "campaign": [other.slug, ""], "source": "google"}
    looked = owner.post(where, data=choices | {"do": "look"})
    assert looked.status_code == 200
    assert "Store 3 costs" in looked.text
    assert stored(session) == []
    done = owner.post(where, data=choices | {"do": "store"}, follow_redirects=True)
    assert "3 new, 0 changed, 0 as they were; 1 rows left out" in done.text
    assert stored(session) == [
        ("source:google", 725, "google"),
        ("source:google", 120_450, "google"),
        ("source:google", 0, "google"),
    ]
    assert owner.get(where).status_code == 404
    assert list((Path(settings.data_dir) / "cost-imports").iterdir()) == []
    again = owner.post(upload(GOOGLE), data=choices | {"do": "store"}, follow_redirects=True)
    assert "0 new, 0 changed, 3 as they were" in again.text


def test_nothing_of_a_file_with_faults_is_stored(
    owner: FlaskClient, session: Session, upload: Callable[[str], str]
) -> None:
    where = upload(GOOGLE.replace("2026-11-02,EUR,0.00", "2026-11-31,EUR,0.00"))
    page = owner.get(where).text
    assert "There is no day “2026-11-31”" in page
    assert 'value="store"' not in page
    assert owner.post(where, data={"do": "store"}).status_code == 422
    assert stored(session) == []


def test_the_order_of_days_is_asked_for_where_no_date_tells(
    owner: FlaskClient, session: Session, upload: Callable[[str], str]
) -> None:
    where = upload(MICROSOFT.replace("11/14/2026", "11/2/2026"))
    assert 'id="order"' in owner.get(where).text
    assert owner.post(where, data={"do": "store"}).status_code == 422
    assert owner.post(where, data={"do": "store", "order": "month"}).status_code == 303
    assert [cost.first_on.isoformat() for cost in session.scalars(select(Cost).order_by(Cost.first_on))] == [
        "2026-11-01",
        "2026-11-02",
    ]


@pytest.mark.parametrize("text", ["", "name,mail\na,b\n", "Campaign,Cost\nx,1\n"])
def test_a_file_that_is_no_export_is_refused_and_not_kept(owner: FlaskClient, settings: Settings, text: str) -> None:
    file = (io.BytesIO(text.encode()), "export.csv")
    sent = owner.post("/app/costs/import", data={"file": file}, content_type="multipart/form-data")
    assert sent.status_code == 422
    assert 'id="file-error"' in sent.text
    assert list((Path(settings.data_dir) / "cost-imports").iterdir()) == []
    assert owner.post("/app/costs/import", data={}).status_code == 422


def test_a_file_can_be_dropped_and_belongs_to_nobody_else(owner: FlaskClient, upload: Callable[[str], str]) -> None:
    where = upload(GOOGLE)
    assert owner.get(re.sub(r"/w\d+-", "/w999-", where)).status_code == 404
    assert owner.post(f"{where}/drop").status_code == 303
    assert owner.get(where).status_code == 404


def test_rates_are_entered_and_taken_away(owner: FlaskClient, session: Session) -> None:
    rate = {"currency": "usd", "from_on": "2026-11-01", "rate": "0.9215"}
    assert owner.post("/app/settings/rates", data=rate).status_code == 303
    assert "0.9215" in owner.get("/app/settings/rates").text
    refused = owner.post("/app/settings/rates", data=rate | {"rate": "0,9", "currency": "EUR"})
    assert refused.status_code == 422
    assert 'id="rate-error"' in refused.text
    assert 'id="currency-error"' in refused.text
    assert (
        owner.post("/app/settings/rates/remove", data={"currency": "USD", "from_on": "2026-11-01"}).status_code == 303
    )
    assert session.scalars(select(ExchangeRate)).all() == []


def totals(**more: object) -> Totals:
    return Totals(1000, 480, 455, 24, 24, Rate(480, 1000), Rate(24, 480), [], {}, **more)  # type: ignore[arg-type]


def test_tiles_tell_cost_and_return_with_what_has_no_rate(app: Flask) -> None:
    spent = Money(31_000, "EUR")
    now = totals(cost=[spent], cost_total=spent, revenue_total=Money(119_760, "EUR"))
    before = totals(cost=[spent], cost_total=spent, revenue_total=Money(107_050, "EUR"))
    lacking = totals(cost=[spent, Money(1200, "USD")], cost_total=spent, cost_without_rate=[Money(1200, "USD")])
    with app.test_request_context("/"):
        tiles = app.jinja_env.get_template("costs/_tiles.html").module
        found = changes.of_finances(now, before)
        cost, roas = tiles.cost(now, found, "on the 14 days before"), tiles.roas(now, found, "on the 14 days before")  # type: ignore[attr-defined]
        missing = tiles.cost(lacking, {}, "")  # type: ignore[attr-defined]
        nothing = tiles.cost(totals(cost=[]), {}, "", "/here")  # type: ignore[attr-defined]
    assert "€310.00" in cost
    assert "€0.65 per click · €12.92 per conversion" in cost
    assert "■" in cost
    assert ">3.86<" in roas
    assert "+0.41" in roas
    assert "ROI +286 %" in roas
    assert "no rate for USD: $12.00 not included in the total" in missing.replace("US$", "$")
    assert 'href="/here"' in nothing
    assert ">–<" in nothing


def test_a_click_that_costs_less_than_a_cent_is_not_nothing(app: Flask) -> None:
    with app.test_request_context("/"):
        assert formats.price(Price(Decimal("0.00451"), "EUR")) == "€0.0045"
        assert formats.price(Price(Decimal("0.6458"), "EUR")) == "€0.65"
        assert formats.price(Price(Decimal("12.4"), "JPY")) == "¥12"
