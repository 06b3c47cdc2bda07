"""Money is whole minor units; nothing is guessed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from iso4217 import Currency

from tracker import money

pytestmark = pytest.mark.any_database

# ISO 4217, list one: the minor units that are not 2, and the codes that have none.
PLACES = {
    **dict.fromkeys(
        [
            "BIF",
            "CLP",
            "DJF",
            "GNF",
            "ISK",
            "JPY",
            "KMF",
            "KRW",
            "PYG",
            "RWF",
            "UGX",
            "UYI",
            "VND",
            "VUV",
            "XAF",
            "XOF",
            "XPF",
        ],
        0,
    ),
    **dict.fromkeys(["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"], 3),
    **dict.fromkeys(["CLF", "UYW"], 4),
}
WITHOUT = frozenset(["XAG", "XAU", "XBA", "XBB", "XBC", "XBD", "XDR", "XPD", "XPT", "XSU", "XTS", "XUA", "XXX"])
CODES = sorted({currency.code for currency in Currency} - WITHOUT)


@pytest.mark.parametrize(
    ("text", "currency", "minor", "amount"),
    [
        ("49.90", "EUR", 4990, "49.90"),
        ("49.9", "EUR", 4990, "49.90"),
        ("500", "JPY", 500, "500"),
        ("500.00", "JPY", 500, "500"),
        ("1.25", "KWD", 1250, "1.250"),
        ("1.0001", "CLF", 10001, "1.0001"),
        ("0", "USD", 0, "0.00"),
        ("007.500", "EUR", 750, "7.50"),
        ("100000000000", "USD", 10**13, "100000000000.00"),
        ("0.01", "EUR", 1, "0.01"),
        ("0.0001", "UYW", 1, "0.0001"),
    ],
)
def test_amounts_become_minor_units_and_back(text: str, currency: str, minor: int, amount: str) -> None:
    found = money.parse(text, currency)
    assert (found.minor, found.currency, found.amount) == (minor, currency, amount)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "plain decimal"),
        ("1,50", "no comma"),
        ("1.234,50", "no comma"),
        ("1,234.50", "thousands"),
        ("1 234.50", "thousands"),
        ("1.505", "2 decimal places"),
        ("1e3", "exponent"),
        ("1E+22", "exponent"),
        ("NaN", "plain decimal"),
        ("Infinity", "plain decimal"),
        ("-inf", "plain decimal"),
        (" 1", "plain decimal|digits alone"),
        ("\N{ARABIC-INDIC DIGIT ONE}", "plain decimal"),
        ("0x10", "plain decimal|digits alone"),
        ("+5", "no plus sign"),
        ("49.", "plain decimal|digits alone"),
        (".5", "plain decimal|digits alone"),
        ("€49.90", "parameter of its own"),
        ("49.90 EUR", "parameter of its own"),
        ("100000000000.01", "at most 100000000000.00 EUR"),
        ("9" * 18, "at most 100000000000.00 EUR"),
        ("9" * 31, "18 digits before its point"),
        ("1." + "0" * 29 + "1", "8 behind it"),
    ],
)
def test_anything_but_a_plain_decimal_is_refused_and_told_why(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        money.parse(text, "EUR")


def test_currencies_are_those_of_iso_4217() -> None:
    assert money.is_currency("EUR")
    assert not any(money.is_currency(code) for code in ("eur", "EURO", "", "ZZZ"))


@pytest.mark.parametrize("code", CODES)
def test_each_currency_has_the_minor_units_of_the_standard(code: str) -> None:
    places = PLACES.get(code, 2)
    assert money.exponent(code) == places
    assert money.parse("3", code).minor == 3 * 10**places
    with pytest.raises(ValueError, match=f"{code} has {places} decimal places"):
        money.parse(f"1.{'0' * places}1", code)


def test_what_has_no_minor_unit_is_no_currency_of_a_sale() -> None:
    assert not any(money.is_currency(code) for code in WITHOUT)


@given(st.integers(0, money.MINOR_MAX), st.sampled_from(CODES))
def test_whatever_is_stored_reads_back_as_it_was(minor: int, code: str) -> None:
    found = money.Money(minor, code)
    assert money.parse(found.amount, code) == found
