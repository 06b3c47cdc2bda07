"""Money as integer minor units with its ISO 4217 code; never a float."""

from __future__ import annotations

import re
from decimal import Decimal
from functools import cache
from typing import NamedTuple

from iso4217 import Currency

AMOUNT = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,8})?")
MINOR_MAX = 2**53


class Money(NamedTuple):
    """`minor` units of `currency`: 4990 EUR is 49.90 euros, 500 JPY is 500 yen."""

    minor: int
    currency: str

    @property
    def amount(self) -> str:
        """The amount as a plain decimal with the currency's own number of places: `49.90`, `500`, `1.250`."""
        return str(Decimal(self.minor).scaleb(-exponent(self.currency)))


@cache
def exponent(currency: str) -> int:
    """Decimal places of a currency (ISO 4217: EUR 2, JPY 0, KWD 3). Raises ValueError for an unknown code."""
    return Currency(currency).exponent or 0


def is_currency(code: str) -> bool:
    try:
        exponent(code)
    except ValueError:
        return False
    return True


def parse(text: str, currency: str) -> Money:
    """Reads a plain decimal (`49.90`); raises ValueError with a sentence for anything else, without guessing."""
    if not AMOUNT.fullmatch(text):
        raise ValueError("An amount is a plain decimal with a point, like 49.90.")
    places = exponent(currency)
    scaled = Decimal(text).scaleb(places)
    if scaled != scaled.to_integral_value():
        raise ValueError(f"{currency} has {places} decimal places; “{text}” has more.")
    if abs(scaled) > MINOR_MAX:
        raise ValueError("The amount is too large.")
    return Money(int(scaled), currency)
