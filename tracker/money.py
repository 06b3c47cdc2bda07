"""Money as integer minor units with its ISO 4217 code; never a float."""

from __future__ import annotations

import re
from decimal import Decimal
from functools import cache
from typing import NamedTuple

from iso4217 import Currency

AMOUNT = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,8})?")  # fewer digits than decimal arithmetic rounds at
# Of one amount. Sums of it are kept in 64 bits: close to a million of the largest fit.
MINOR_MAX = 10**13
SMALL_PRICE = 10  # in minor units
_COMMA = re.compile(r"-?[0-9.]*,[0-9]{1,2}")
_GROUPED = re.compile(r"-?[0-9]{1,3}([,' _][0-9]{3})+(\.[0-9]+)?")
_LONG = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_EXPONENT = re.compile(r"[+-]?[0-9.]+e[+-]?[0-9]+", re.IGNORECASE)
_WITH_SIGN = re.compile(r"[^0-9.,]*[0-9.,]+[^0-9.,]*")


class Money(NamedTuple):
    """`minor` units of `currency`: 4990 EUR is 49.90 euros, 500 JPY is 500 yen."""

    minor: int
    currency: str

    @property
    def amount(self) -> str:
        """The amount as a plain decimal with the currency's own number of places: `49.90`, `500`, `1.250`."""
        return f"{Decimal(self.minor).scaleb(-exponent(self.currency)):f}"


class Price(NamedTuple):
    """Money for one of something, as a division gives it: in units of `currency`, not rounded to minor ones."""

    value: Decimal
    currency: str

    @property
    def amount(self) -> str:
        """To two places more than the currency has, for a click may cost less than a cent: `0.6458`."""
        return f"{round(self.value, exponent(self.currency) + 2):f}"

    @property
    def rounded(self) -> Decimal:
        """For people: to the currency's places, and to two more where it is less than ten minor units."""
        places = exponent(self.currency)
        return round(self.value, places if abs(self.value).scaleb(places) >= SMALL_PRICE else places + 2)


def price(total: Money, n: int) -> Price | None:
    """What one of `n` comes to; `None` of none."""
    return Price(Decimal(total.minor).scaleb(-exponent(total.currency)) / n, total.currency) if n else None


@cache
def exponent(currency: str) -> int:
    """Decimal places of a currency (ISO 4217: EUR 2, JPY 0, KWD 3, CLF 4).

    Raises ValueError for an unknown code, and for those that have no minor unit: metals, funds, “no currency”.
    """
    places = Currency(currency).exponent
    if places is None:
        raise ValueError(f"{currency} has no minor unit.")
    return int(places)


def is_currency(code: str) -> bool:
    try:
        exponent(code)
    except ValueError:
        return False
    return True


def parse(text: str, currency: str) -> Money:
    """Reads a plain decimal (`49.90`); raises ValueError with a sentence for anything else, without guessing.

    Zeros more than are needed say nothing: `007.500` EUR is 7.50.
    """
    if not AMOUNT.fullmatch(text):
        raise ValueError(_refusal(text))
    places = exponent(currency)
    scaled = Decimal(text).scaleb(places)
    if scaled != scaled.to_integral_value():
        raise ValueError(f"{currency} has {places} decimal places; “{text}” has more.")
    if abs(scaled) > MINOR_MAX:
        raise ValueError(f"An amount is at most {Money(MINOR_MAX, currency).amount} {currency}.")
    return Money(int(scaled), currency)


def _refusal(text: str) -> str:
    """What is wrong with an amount, and how it is written where that is plain to see."""
    if _COMMA.fullmatch(text):
        return "An amount has a point and no comma, like 49.90."
    if _GROUPED.fullmatch(text):
        return "An amount has no separators between thousands, like 1234.50."
    if _LONG.fullmatch(text):
        return "An amount has at most 18 digits before its point and 8 behind it."
    if _EXPONENT.fullmatch(text):
        return "An amount has no exponent: write it out, like 1000."
    if _WITH_SIGN.fullmatch(text):
        return (
            "An amount is digits alone, like 49.90: the currency has a parameter of its own, and there is no plus sign."
        )
    return "An amount is a plain decimal with a point, like 49.90."
