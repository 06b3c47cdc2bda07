"""How much of a budget is used: all costs of a campaign up to today, in the budget's currency or not at all."""

from __future__ import annotations

import html
from collections.abc import Callable
from datetime import timedelta

import pytest
from flask.testing import FlaskClient

from tests.conftest import Api
from tracker import days
from tracker.models import Link

pytestmark = pytest.mark.any_database

SETTINGS = "/app/campaigns/spring-sale/settings"


def _said(owner: FlaskClient) -> str:
    return html.unescape(owner.get(SETTINGS).text)


def _give(api: Api, amount: str, currency: str = "EUR") -> None:
    budget = {"amount": amount, "currency": currency}
    assert api("PATCH", "/campaigns/spring-sale", {"budget": budget}).status_code == 200


def _spend(api: Api, amount: str, currency: str, first: int, last: int) -> None:
    """Costs over days counted from today, both inclusive."""
    today = days.now().date()
    span = [(today + timedelta(days=n)).isoformat() for n in (first, last)]
    cost = {"from": span[0], "to": span[1], "amount": amount, "currency": currency}
    response = api("PUT", "/campaigns/spring-sale/costs", {"costs": [cost]})
    assert response.status_code == 200, response.text


def test_what_was_spent_up_to_today_is_told_of_the_budget(
    api: Api, owner: FlaskClient, make_link: Callable[..., Link]
) -> None:
    make_link()
    assert "of the budget is used" not in _said(owner)
    _give(api, "200.00")
    assert "0 % of the budget is used: €0.00 of €200.00, €200.00 left." in _plain(_said(owner))
    _spend(api, "30.00", "EUR", -900, -898)
    _spend(api, "40.00", "EUR", -1, 2)  # a half of it lies ahead
    assert "25 % of the budget is used: €50.00 of €200.00, €150.00 left." in _plain(_said(owner))
    _give(api, "40.00")
    assert "125 % of the budget is used: €50.00 of €40.00. That is more than there was." in _plain(_said(owner))


def test_in_another_currency_it_is_told_as_far_as_that_can_be(
    api: Api, owner: FlaskClient, make_link: Callable[..., Link]
) -> None:
    make_link()
    _give(api, "100", "JPY")
    _spend(api, "50", "JPY", -3, -3)
    assert "50 % of the budget is used: ¥50 of ¥100, ¥50 left." in _plain(_said(owner))
    _spend(api, "10.00", "EUR", -2, -2)
    page = _plain(_said(owner))
    assert "of the budget is used" not in page
    assert "€10.00 and ¥50, of a budget of ¥100" in page


def _plain(page: str) -> str:
    """The text without its marks."""
    text = "".join(part.partition(">")[2] for part in f">{page}".split("<"))
    return " ".join(text.split())
