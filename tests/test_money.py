"""Money is whole minor units; nothing is guessed."""

from __future__ import annotations

import pytest

from tracker import money

pytestmark = pytest.mark.any_database


@pytest.mark.parametrize(
    ("text", "currency", "minor", "amount"),
    [
        ("49.90", "EUR", 4990, "49.90"),
        ("49.9", "EUR", 4990, "49.90"),
        ("500", "JPY", 500, "500"),
        ("1.25", "KWD", 1250, "1.250"),
        ("0", "USD", 0, "0.00"),
    ],
)
def test_amounts_become_minor_units_and_back(text: str, currency: str, minor: int, amount: str) -> None:
    found = money.parse(text, currency)
    assert (found.minor, found.currency, found.amount) == (minor, currency, amount)


@pytest.mark.parametrize("text", ["", "1,50", "1.505", "1e3", "NaN", " 1", "١", "1" * 17, "0x10", "+1"])
def test_anything_but_a_plain_decimal_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        money.parse(text, "EUR")


def test_currencies_are_those_of_iso_4217() -> None:
    assert money.is_currency("EUR")
    assert not any(money.is_currency(code) for code in ("eur", "EURO", "", "ZZZ"))
